//! What an invocation carries besides its event (conformance statements 40–47).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use orlop_tests::{Event, guests};
use serde_json::Value;

use crate::{Served, text};

const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

#[test]
fn the_guest_sees_everything_lambda_says() {
    let served = Served::new(guests::CONTEXT);
    let event = Event::new("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "{}")
        .function_arn("arn:aws:lambda:eu-central-1:123456789012:function:test:live")
        .trace_id(TRACE)
        .client_context(r#"{"client":{"app_title":"Grüße"}}"#)
        .cognito_identity(r#"{"cognitoIdentityId":"x"}"#)
        .tenant_id("tenant-1");
    let context = served.ask(event).json();
    assert_eq!(text(&context, "request_id"), "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    assert_eq!(text(&context, "function_name"), "test");
    assert_eq!(text(&context, "function_version"), "$LATEST");
    assert_eq!(
        text(&context, "invoked_function_arn"),
        "arn:aws:lambda:eu-central-1:123456789012:function:test:live"
    );
    assert_eq!(context["memory_limit_mb"], 128);
    assert_eq!(text(&context, "trace_id"), TRACE);
    assert_eq!(text(&context, "client_context"), r#"{"client":{"app_title":"Grüße"}}"#);
    assert_eq!(text(&context, "identity"), r#"{"cognitoIdentityId":"x"}"#);
    assert_eq!(text(&context, "tenant_id"), "tenant-1");
    assert_eq!(text(&context, "log_group"), "/aws/lambda/test");
    assert_eq!(text(&context, "log_stream"), "2026/11/23/[$LATEST]0123456789abcdef");
}

// Statements 40 and 41.
#[test]
fn whatever_lambda_leaves_out_or_garbles_does_not_fail_the_event() {
    let served = Served::new(guests::CONTEXT);
    let bare = Event::new("bare", "{}")
        .without_deadline()
        .without_header("Lambda-Runtime-Invoked-Function-Arn")
        .without_header("Content-Type");
    let empty = Event::new("empty", "{}")
        .deadline("")
        .function_arn("")
        .trace_id("")
        .client_context("")
        .cognito_identity("")
        .tenant_id("")
        .invocation_id("");
    for event in [bare, empty] {
        let context = served.ask(event).json();
        for name in [
            "invoked_function_arn",
            "trace_id",
            "client_context",
            "identity",
            "tenant_id",
        ] {
            assert_eq!(context[name], Value::Null, "{name}");
        }
        assert!(
            context["remaining_ms"]
                .as_u64()
                .is_some_and(|remaining| remaining > 800_000),
            "{context}"
        );
    }
    let garbled = Event::new("garbled", "{}")
        .client_context("{not json")
        .cognito_identity(vec![0xff, 0xfe]);
    let context = served.ask(garbled).json();
    assert_eq!(text(&context, "client_context"), "{not json");
}

// Statement 42.
#[test]
fn the_time_left_counts_down_to_a_margin_before_the_deadline_and_never_below_zero() {
    let served = Served::new(guests::CONTEXT);
    let remaining = |event: Event| served.ask(event).json()["remaining_ms"].as_u64().unwrap();
    let usual = remaining(Event::new("usual", "{}").due_in(Duration::from_secs(3)));
    assert!((2000..=2900).contains(&usual), "{usual}");
    let far = remaining(Event::new("far", "{}").deadline(u64::MAX.to_string()));
    assert!(far <= 5_400_000, "{far}");
    let garbled = remaining(Event::new("garbled", "{}").deadline("soon"));
    assert!(garbled <= 900_000, "{garbled}");
    served
        .host
        .wait_for_log(|line| line.contains("\"soon\" is not a number"));
}

#[test]
fn an_event_whose_deadline_has_passed_is_answered_as_overrun() {
    let served = Served::new(guests::SLEEP);
    let answer = served.ask(Event::new("late", "10000").deadline("0"));
    assert_eq!(answer.json()["errorType"], "Runtime.DeadlineExceeded");
    served.answer("next", "1");
}

// Statement 43.
#[test]
fn the_invocation_id_is_echoed_byte_for_byte_and_only_if_there_is_one() {
    let served = Served::new(guests::FAIL);
    for (id, event) in [("answer", "{}"), ("error", r#"{"type":"X","message":"y"}"#)] {
        let nonce = [b"n/\xc3\xbc+ ", id.as_bytes()].concat();
        let answer = served.ask(Event::new(id, event).invocation_id(nonce.clone()));
        assert_eq!(answer.header("lambda-runtime-invocation-id"), Some(nonce.as_slice()));
        let answer = served.ask(Event::new(format!("{id}-without"), event));
        assert_eq!(answer.header("lambda-runtime-invocation-id"), None);
        let answer = served.ask(Event::new(format!("{id}-empty"), event).invocation_id(""));
        assert_eq!(answer.header("lambda-runtime-invocation-id"), None);
    }
}

// Statement 44; the fake complains of an invocation id on a restore error, which this runtime never sends.
#[test]
fn an_init_error_carries_no_invocation_id() {
    let served = Served::with_env(guests::COUNTER, &[("INIT", "fail")]);
    assert_eq!(
        served
            .lambda
            .wait_for_init_error()
            .header("lambda-runtime-invocation-id"),
        None
    );
}

// Statement 45.
#[test]
fn the_trace_header_is_in_the_guests_environment_for_its_own_event_only() {
    let served = Served::new(guests::ENVIRONMENT);
    let first = served.ask(Event::new("first", "{}").trace_id(TRACE)).json();
    assert_eq!(first["_X_AMZN_TRACE_ID"], TRACE);
    let second = served.answer("second", "{}");
    assert_eq!(second.get("_X_AMZN_TRACE_ID"), None);
}

// Statement 46.
#[test]
fn request_ids_of_any_form_are_answered() {
    let served = Served::new(guests::ECHO);
    for id in [
        "1",
        "not-a-uuid",
        "a/b?c=d#e",
        "a%20b",
        "..",
        "ü",
        "a b",
        &"x".repeat(1000),
    ] {
        assert_eq!(served.ask(Event::new(id, "1")).body, b"1", "{id}");
    }
}

// Statement 47.
#[test]
fn the_tenant_is_in_json_logs() {
    let served = Served::with_env(guests::PANIC, &[("AWS_LAMBDA_LOG_FORMAT", "JSON")]);
    served.ask(Event::new("a", "\"boo\"").tenant_id("tenant-1"));
    let line = served.host.wait_for_log(|line| line.contains("the invocation failed"));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(text(&line, "tenantId"), "tenant-1");
    assert_eq!(text(&line, "requestId"), "a");
}

#[test]
fn the_deadline_a_guest_sees_lies_in_the_future() {
    let served = Served::new(guests::CONTEXT);
    let deadline = served.answer("a", "{}")["deadline_ms"].as_u64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert!(u128::from(deadline) > now - 1000);
}
