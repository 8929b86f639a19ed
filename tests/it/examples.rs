//! The examples, in the host, under AWS's emulator and under the stock `wasmtime` CLI: the same file, the same answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use orlop_tests::http_server::respond;
use orlop_tests::stock::{Response, StockServe, stock_run};
use orlop_tests::{
    Component, Emulator, Event, FakeRuntimeApi, Host, HttpServer, Served, TaskRoot, bootstrap, examples, orlop,
};
use serde_json::Value;

/// One event of an example beside the answer to expect.
struct Case {
    path: PathBuf,
    event: Vec<u8>,
    expected: Value,
}

/// The cases of an example: `event.json`, and those in `events` whose name begins with `prefix`.
fn cases(folder: &str, prefix: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(folder);
    let mut paths = vec![folder.join("event.json")];
    if let Ok(entries) = folder.join("events").read_dir() {
        paths.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(prefix) && name.ends_with(".json") && !name.ends_with(".expected.json")
        }));
    }
    paths.retain(|path| path.is_file());
    assert!(!paths.is_empty());
    let case = |path: PathBuf| {
        let beside = match path.file_name().unwrap().to_str().unwrap() {
            "event.json" => path.with_file_name("expected.json"),
            _ => path.with_extension("expected.json"),
        };
        Case {
            event: fs::read(&path).unwrap(),
            expected: serde_json::from_slice(&fs::read(beside).unwrap()).unwrap(),
            path,
        }
    };
    paths.into_iter().map(case).collect()
}

/// In the host, event by event in one process.
fn in_the_host(example: Component, cases: &[Case]) {
    let served = Served::new(example);
    for (index, case) in cases.iter().enumerate() {
        let answer = served.ask(Event::new(format!("case-{index}"), case.event.clone()));
        assert!(
            !answer.is_error,
            "{}: {}",
            case.path.display(),
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(answer.json(), case.expected, "{} in the host", case.path.display());
    }
}

/// Under AWS's emulator.
fn in_the_emulator(example: Component, cases: &[Case]) {
    let task_root = TaskRoot::new().with_compiled(example);
    let emulator = Emulator::of(bootstrap())
        .arg(example.name())
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "10")
        .start();
    for case in cases {
        let (status, body) = emulator.invoke(&case.event);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer), (200, &case.expected), "{}", case.path.display());
    }
}

/// Under `wasmtime run`, the event on stdin.
fn as_a_program(example: Component, cases: &[Case]) {
    for case in cases {
        let output = stock_run(example, &[], &case.event, &[]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer, case.expected, "{} under wasmtime", case.path.display());
    }
}

/// Under `wasmtime serve`, the event as the request that it stands for.
fn as_a_server(example: Component, cases: &[Case]) {
    let server = StockServe::start(example, &[]);
    for case in cases {
        let event: Value = serde_json::from_slice(&case.event).unwrap();
        let response = request(&server, &event);
        compare(&response, &case.expected, &case.path);
    }
}

fn request(server: &StockServe, event: &Value) -> Response {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let query = string(&event["rawQueryString"]);
    let target = match query.is_empty() {
        true => string(&event["rawPath"]),
        false => format!("{}?{query}", string(&event["rawPath"])),
    };
    let mut headers: Vec<(String, String)> = event["headers"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| !["host", "content-length", "cookie"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), string(value)))
        .collect();
    if let Some(cookies) = event["cookies"].as_array() {
        let cookies: Vec<&str> = cookies.iter().filter_map(Value::as_str).collect();
        headers.push(("cookie".to_owned(), cookies.join("; ")));
    }
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let body = match (event["isBase64Encoded"].as_bool(), string(&event["body"])) {
        (Some(true), body) => BASE64_STANDARD.decode(body).unwrap(),
        (_, body) => body.into_bytes(),
    };
    let method = string(&event["requestContext"]["http"]["method"]);
    server.request(&method, &target, &headers, &body).unwrap()
}

fn compare(response: &Response, envelope: &Value, path: &Path) {
    let place = format!("{} under wasmtime", path.display());
    assert_eq!(Value::from(response.status), envelope["statusCode"], "{place}");
    let text = envelope["body"].as_str().unwrap();
    let body = match envelope["isBase64Encoded"].as_bool() {
        Some(true) => BASE64_STANDARD.decode(text).unwrap(),
        _ => text.as_bytes().to_vec(),
    };
    assert_eq!(response.body, body, "{place}");
    for (name, value) in envelope["headers"].as_object().unwrap() {
        let seen = response
            .header(name)
            .first()
            .map(|value| String::from_utf8_lossy(value));
        assert_eq!(seen.as_deref(), value.as_str(), "{name} of {place}");
    }
    let cookies: Vec<String> = response
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect();
    let expected: Vec<String> = envelope["cookies"].as_array().map_or_else(Vec::new, |cookies| {
        cookies
            .iter()
            .map(|cookie| cookie.as_str().unwrap().to_owned())
            .collect()
    });
    assert_eq!(cookies, expected, "{place}");
}

#[test]
fn hello_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("hello", "");
    in_the_host(examples::HELLO, &cases);
    in_the_emulator(examples::HELLO, &cases);
    as_a_program(examples::HELLO, &cases);
}

#[test]
fn api_gateway_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("api-gateway", "");
    in_the_host(examples::API_GATEWAY, &cases);
    in_the_emulator(examples::API_GATEWAY, &cases);
    as_a_program(examples::API_GATEWAY, &cases);
}

#[test]
fn sqs_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("sqs", "");
    in_the_host(examples::SQS, &cases);
    in_the_emulator(examples::SQS, &cases);
    as_a_program(examples::SQS, &cases);
}

#[test]
fn program_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("program", "");
    in_the_host(examples::PROGRAM, &cases);
    in_the_emulator(examples::PROGRAM, &cases);
    as_a_program(examples::PROGRAM, &cases);
}

#[test]
fn web_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("web", "");
    in_the_host(examples::WEB, &cases);
    in_the_emulator(examples::WEB, &cases);
    as_a_server(examples::WEB, &cases);
}

#[test]
fn stream_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("stream", "");
    in_the_host(examples::STREAM, &cases);
    in_the_emulator(examples::STREAM, &cases);
    as_a_server(examples::STREAM, &cases);
}

#[test]
fn the_api_of_orders_answers_alike_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("orders", "api-");
    in_the_host(examples::ORDERS_API, &cases);
    in_the_emulator(examples::ORDERS_API, &cases);
    as_a_server(examples::ORDERS_API, &cases);
}

/// `lookup` as `orlop build` makes it: a snapshot, as its `orlop.toml` says.
fn snapshot_of_lookup() -> TaskRoot {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(examples::LOOKUP.path(), folder.path().join("lookup.wasm")).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lookup/orlop.toml");
    fs::copy(manifest, folder.path().join("orlop.toml")).unwrap();
    let task_root = TaskRoot::new();
    let output = Command::new(orlop())
        .arg("build")
        .arg(folder.path())
        .arg("-o")
        .arg(task_root.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    task_root
}

#[test]
fn lookup_answers_alike_from_its_snapshot_in_the_host_in_the_emulator_and_under_wasmtime() {
    let cases = cases("lookup", "");
    let task_root = snapshot_of_lookup();
    for case in &cases {
        let output = stock_run(task_root.path().join("lookup.wasm"), &[], &case.event, &[]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer, case.expected, "{} under wasmtime", case.path.display());
    }
    let emulator = Emulator::of(bootstrap())
        .arg("lookup")
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .start();
    for case in &cases {
        let (status, body) = emulator.invoke(&case.event);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer), (200, &case.expected), "{}", case.path.display());
    }
    let served = Served::in_task_root(FakeRuntimeApi::start(), task_root, "lookup", &[]);
    for (index, case) in cases.iter().enumerate() {
        assert_eq!(
            served.answer(&format!("case-{index}"), case.event.clone()),
            case.expected
        );
    }
    served.host.wait_for_log(|line| line.contains("isolation=event"));
}

#[test]
fn an_event_of_stream_arrives_before_the_next_one_is_due() {
    let served = Served::with_env(examples::STREAM, &[("ORLOP_RESPONSE_MODE", "streaming")]);
    let case = cases("stream", "").swap_remove(0);
    let answer = served.ask(Event::new("a", case.event));
    let (prelude, body) = answer
        .body
        .split_at(answer.body.windows(8).position(|bytes| bytes == [0; 8]).unwrap());
    let prelude: Value = serde_json::from_slice(prelude).unwrap();
    assert_eq!(prelude["statusCode"], 200);
    assert_eq!(&body[8..], case.expected["body"].as_str().unwrap().as_bytes());
    let arrivals: Vec<_> = answer.pieces.iter().map(|(at, _)| *at).collect();
    assert!(arrivals.len() > 2, "{arrivals:?}");
    assert!(arrivals.last().unwrap().duration_since(arrivals[0]).as_millis() > 0);
}

/// The image of `orders`: three components and their `orlop.toml`, the payment service a local one.
fn image_of_orders(payments: &HttpServer) -> TaskRoot {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/orders/orlop.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let manifest = manifest.replace("https://payments.example.com", &payments.origin());
    TaskRoot::new()
        .with_compiled(examples::ORDERS_API)
        .with_compiled(examples::ORDERS_QUEUE)
        .with_compiled(examples::ORDERS_REPORT)
        .with_content("orlop.toml", manifest)
}

/// Takes every payment.
fn payments() -> HttpServer {
    HttpServer::start(|_, stream| respond(stream, 200, &[("content-type", "application/json")], b"{}"))
}

#[test]
fn one_image_of_orders_serves_requests_messages_and_a_schedule() {
    let payments = payments();
    let lambda = FakeRuntimeApi::start();
    let task_root = image_of_orders(&payments);
    let host = Host::bootstrap(&lambda).task_root(&task_root).function(256).start();
    let served = Served::of(lambda, host, task_root);
    for (index, case) in cases("orders", "").into_iter().enumerate() {
        let answer = served.ask(Event::new(format!("case-{index}"), case.event));
        assert!(!answer.is_error, "{}: {}", case.path.display(), answer.text());
        assert_eq!(answer.json(), case.expected, "{}", case.path.display());
    }
    assert!(!payments.requests().is_empty());
}

#[test]
fn one_image_of_orders_serves_them_under_the_emulator_too() {
    let payments = payments();
    let task_root = image_of_orders(&payments);
    let emulator = Emulator::of(bootstrap())
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "10")
        .start();
    for case in cases("orders", "") {
        let (status, body) = emulator.invoke(&case.event);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer), (200, &case.expected), "{}", case.path.display());
    }
}

#[test]
fn the_report_of_orders_is_the_same_under_wasmtime() {
    for case in cases("orders", "report") {
        let variables = [("REPORT_TITLE", "Orders of the day")];
        let output = stock_run(examples::ORDERS_REPORT, &[], &case.event, &variables);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer, case.expected);
    }
}

#[test]
fn every_example_is_one_of_these() {
    // `site` has a module of its own.
    assert_eq!(examples::ALL.len(), 11, "a new example needs a test above");
}
