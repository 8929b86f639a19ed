//! The examples, in the host and under the stock `wasmtime` CLI: the same file, the same answers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use orlop_tests::{Component, Event, examples, tools};
use serde_json::Value;

use crate::Served;

/// Every event of an example beside its expected answer: `event.json`, and the cases in `events`.
fn cases(example: Component) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(example.name());
    let mut cases = vec![(folder.join("event.json"), folder.join("expected.json"))];
    if let Ok(entries) = folder.join("events").read_dir() {
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(case) = name.strip_suffix(".json").filter(|case| !case.ends_with(".expected")) {
                let expected = path.with_file_name(format!("{case}.expected.json"));
                cases.push((path, expected));
            }
        }
    }
    cases
        .into_iter()
        .map(|(event, expected)| (event, serde_json::from_slice(&fs::read(expected).unwrap()).unwrap()))
        .collect()
}

fn under_the_stock_cli(example: Component, event: &[u8]) -> Vec<u8> {
    let mut child = Command::new(tools::wasmtime_cli())
        .arg("run")
        .arg(example.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(event).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn gives_the_expected_answers(example: Component) {
    let served = Served::new(example);
    let cases = cases(example);
    assert!(!cases.is_empty());
    for (index, (path, expected)) in cases.into_iter().enumerate() {
        let event = fs::read(&path).unwrap();
        let answer = served.ask(Event::new(format!("case-{index}"), event.clone()));
        assert!(
            !answer.is_error,
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(answer.json(), expected, "{} in the host", path.display());
        let stock: Value = serde_json::from_slice(&under_the_stock_cli(example, &event)).unwrap();
        assert_eq!(stock, expected, "{} under wasmtime", path.display());
    }
}

#[test]
fn hello_answers_alike_in_the_host_and_under_wasmtime() {
    gives_the_expected_answers(examples::HELLO);
}

#[test]
fn api_gateway_answers_alike_in_the_host_and_under_wasmtime() {
    gives_the_expected_answers(examples::API_GATEWAY);
}

#[test]
fn sqs_answers_alike_in_the_host_and_under_wasmtime() {
    gives_the_expected_answers(examples::SQS);
}

#[test]
fn every_example_is_one_of_these() {
    assert_eq!(examples::ALL.len(), 3, "a new example needs a test above");
}
