//! Log lines, in text and in JSON, of the host and of guests (conformance statements 84–88).

use std::os::fd::AsRawFd;

use orlop_tests::{Event, FakeRuntimeApi, Host, TaskRoot, guests};
use serde_json::Value;

use crate::{Served, text};

const JSON: (&str, &str) = ("AWS_LAMBDA_LOG_FORMAT", "JSON");

// Statement 84.
#[test]
fn in_json_every_line_is_one_object_with_time_level_message_and_request_id() {
    for format in ["JSON", "json", "Json"] {
        let served = Served::with_env(
            guests::PANIC,
            &[("AWS_LAMBDA_LOG_FORMAT", format), ("AWS_LAMBDA_LOG_LEVEL", "TRACE")],
        );
        served.failure("a", "\"boo\"");
        served.answer("b", "null");
        served
            .host
            .wait_for_log(|line| line.contains("\"b\"") && line.contains("answered"));
        let lines: Vec<Value> = served
            .host
            .log()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in &lines {
            let time = text(line, "timestamp");
            assert!(
                time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
                "{line}"
            );
            assert!(
                ["DEBUG", "INFO", "WARN", "ERROR"].contains(&text(line, "level")),
                "{line}"
            );
            text(line, "message");
        }
        let failure = lines
            .iter()
            .find(|line| line["message"] == "the invocation failed")
            .unwrap();
        assert_eq!(text(failure, "requestId"), "a");
        assert_eq!(text(failure, "errorType"), "Runtime.GuestTrap");
        assert!(failure["stackTrace"].is_array(), "{failure}");
        let guest = lines.iter().find(|line| text(line, "message").contains("boo")).unwrap();
        assert_eq!((text(guest, "requestId"), text(guest, "level")), ("a", "ERROR"));
    }
}

// Statement 85.
#[test]
fn the_level_filters_the_hosts_lines() {
    let lines = |level| {
        let served = Served::with_env(guests::ECHO, &[JSON, ("AWS_LAMBDA_LOG_LEVEL", level)]);
        served.answer("a", "1");
        served.lambda.wait_for_next();
        // The end of the process is the end of its output.
        served.host.signal(orlop_tests::Signal::KILL);
        served.host.wait_for_exit(crate::END);
        served.host.log().len()
    };
    assert_eq!(lines("ERROR"), 0);
    assert_eq!(lines("INFO"), 1);
    assert_eq!(lines("nonsense"), 1);
    assert!(lines("debug") > 1);
}

// Statement 86.
#[test]
fn a_guests_json_object_passes_through_unchanged_and_other_lines_are_wrapped() {
    let metrics = r#"{"_aws": {"Timestamp":1,"CloudWatchMetrics":[]},  "latency":  1.50}"#;
    let outputs = serde_json::json!([{ "stream": "stdout", "text": format!("{metrics}\nplain \"text\"\n[1]\n") }]);
    for format in ["JSON", "Text"] {
        let served = Served::with_env(guests::PRINT, &[("AWS_LAMBDA_LOG_FORMAT", format)]);
        served.answer("a", outputs.to_string());
        served.host.wait_for_log(|line| line == metrics);
        let plain = served.host.wait_for_log(|line| line.contains("plain"));
        match format {
            "JSON" => {
                let plain: Value = serde_json::from_str(&plain).unwrap();
                assert_eq!(text(&plain, "message"), "plain \"text\"");
                assert_eq!((text(&plain, "level"), text(&plain, "requestId")), ("INFO", "a"));
                served.host.wait_for_log(|line| line.contains(r#""message":"[1]""#));
            }
            _ => assert!(plain.ends_with("\ta\tstdout\tplain \"text\""), "{plain}"),
        }
    }
}

// Statement 87.
#[test]
fn lines_of_stdout_and_stderr_are_not_mixed() {
    let served = Served::new(guests::PRINT);
    let outputs = serde_json::json!([
        { "stream": "stdout", "text": "out one" },
        { "stream": "stderr", "text": "err one" },
        { "stream": "stdout", "text": " out two\nout three\n" },
        { "stream": "stderr", "text": " err two\n" },
    ]);
    served.answer("a", outputs.to_string());
    for line in [
        "stdout\tout one out two",
        "stdout\tout three",
        "stderr\terr one err two",
    ] {
        served.host.wait_for_log(|logged| logged.ends_with(line));
    }
}

// Statement 88.
#[test]
fn with_a_telemetry_descriptor_every_line_is_a_frame_and_guests_do_not_see_the_variable() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new()
        .with_compiled(guests::ENVIRONMENT)
        .with_compiled(guests::SPIN);
    let host = Host::bootstrap(&lambda)
        .task_root(&task_root)
        .handler("environment")
        .env("_LAMBDA_TELEMETRY_LOG_FD", writer.as_raw_fd().to_string())
        .start();
    drop(writer);
    lambda.send(Event::new("a", "{}"));
    let variables = lambda.wait_for_answer("a").json();
    assert_eq!(variables.get("_LAMBDA_TELEMETRY_LOG_FD"), None);
    host.signal(orlop_tests::Signal::TERM);
    host.wait_for_exit(crate::END);
    assert!(host.log().is_empty(), "{:?}", host.log());
    let mut frames = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut frames).unwrap();
    let mut rest = frames.as_slice();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (header, tail) = rest.split_at(16);
        assert_eq!(
            header[..4],
            [0xA5, 0x5A, 0x00, 0x0F],
            "an INFO line in text, with a time"
        );
        let length = u32::from_be_bytes(header[4..8].try_into().unwrap()) as usize;
        let microseconds = u64::from_be_bytes(header[8..16].try_into().unwrap());
        assert!(microseconds > 1_700_000_000_000_000, "{microseconds}");
        messages.push(String::from_utf8(tail[..length].to_vec()).unwrap());
        rest = &tail[length..];
    }
    assert!(
        messages[0].contains("ready") && messages[1].contains("shut down"),
        "{messages:?}"
    );
}

#[test]
fn a_guest_cannot_forge_lines_of_the_platform_or_of_the_host() {
    let hostile =
        "START RequestId: 1 Version: 2\n\u{1b}[31mred\0\r\u{202e}\n2026-01-01T00:00:00.000Z\tb\tERROR\tforged\n";
    let outputs = serde_json::json!([
        { "stream": "stdout", "text": hostile },
        { "stream": "stderr", "bytes": [0xff, 0xfe, 0x0a] },
    ]);
    for format in ["Text", "JSON"] {
        let served = Served::with_env(guests::PRINT, &[("AWS_LAMBDA_LOG_FORMAT", format)]);
        served.answer("a", outputs.to_string());
        served.host.wait_for_log(|line| line.contains("forged"));
        for line in served.host.log() {
            assert!(!line.starts_with("START") && !line.starts_with("2026-01-01"), "{line}");
            assert!(
                !line
                    .chars()
                    .any(|character| character.is_control() && character != '\t'),
                "{line:?}"
            );
        }
    }
}

#[test]
fn a_json_object_that_poses_as_the_hosts_or_as_another_events_is_marked_as_the_guests() {
    let forged = [
        r#"{"timestamp":"2026-01-01T00:00:00.000Z","level":"ERROR","message":"the invocation failed","logger":"orlop"}"#,
        r#"{"level":"ERROR","message":"forged","requestId":"victim"}"#,
        r#"{"level":"ERROR","requestId":"a","request\u0049d":"victim"}"#,
        r#"{"tenantId":"somebody"}"#,
    ];
    let honest = [
        r#"{"requestId":"a","level":"FATAL"}"#,
        r#"{"logger":"mine","inner":{"requestId":"victim"}}"#,
    ];
    let lines = [&forged[..], &honest[..]].concat();
    let outputs = serde_json::json!([{ "stream": "stdout", "text": lines.join("\n") + "\nlast\n" }]);
    for format in ["Text", "JSON"] {
        let served = Served::with_env(guests::PRINT, &[("AWS_LAMBDA_LOG_FORMAT", format)]);
        served.answer("a", outputs.to_string());
        served.host.wait_for_log(|line| line.contains("last"));
        let log = served.host.log();
        for line in forged {
            assert!(!log.iter().any(|logged| logged == line), "{line}");
        }
        for line in honest {
            assert!(log.iter().any(|logged| logged == line), "{line}");
        }
        if format == "JSON" {
            let wrapped = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let wrapped = wrapped.filter(|line| line["stream"] == "stdout" && line["requestId"] == "a");
            let messages = wrapped
                .map(|line| text(&line, "message").to_owned())
                .collect::<Vec<_>>();
            assert_eq!(messages[..4], forged);
        }
    }
}

#[test]
fn output_beyond_the_limit_is_cut_with_a_notice_for_each_event() {
    let served = Served::with_env(guests::PRINT, &[("ORLOP_LIMIT_OUTPUT", "10KiB")]);
    let outputs = r#"[{"stream":"stdout","text":"0123456789abcdef\n","times":100000}]"#;
    for id in ["first", "second"] {
        served.answer(id, outputs);
        served
            .host
            .wait_for_log(|line| line.contains(id) && line.contains("ORLOP_LIMIT_OUTPUT"));
        let lines = served.host.log().iter().filter(|line| line.contains(id)).count();
        assert!((600..610).contains(&lines), "{lines} lines");
    }
}

#[test]
fn a_reader_that_does_not_read_does_not_stop_the_function() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_compiled(guests::PRINT);
    // A pipe that nobody reads, in place of stderr.
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut command = std::process::Command::new(orlop_tests::bootstrap());
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", lambda.address())
        .env("LAMBDA_TASK_ROOT", task_root.path())
        .stderr(writer);
    let mut child = command.spawn().unwrap();
    for id in ["a", "b"] {
        lambda.send(Event::new(
            id,
            r#"[{"stream":"stdout","text":"0123456789abcdef\n","times":20000}]"#,
        ));
        assert!(!lambda.wait_for_answer(id).is_error);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
