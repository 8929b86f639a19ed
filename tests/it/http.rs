//! Components that are HTTP servers, where something is not as it should be: each has its answer, and the next event
//! succeeds in the same process. What goes well is in the fixtures.

use std::time::Duration;

use orlop_tests::{Answer, Event, FakeRuntimeApi, Served, foreign, guests, text};
use serde_json::{Value, json};

/// The event of a Function URL for a `GET` of that path.
fn get(path: &str) -> Value {
    json!({
        "version": "2.0",
        "rawPath": path,
        "headers": { "host": "example.org" },
        "requestContext": { "domainName": "a.lambda-url.eu-central-1.on.aws", "http": { "method": "GET" } },
    })
}

/// The same with a body that describes the response.
fn ordering(status: u16, headers: &[(&str, &str)], body: &str) -> Value {
    let mut event = get("/");
    let order = json!({ "respond": { "status": status, "headers": headers, "body": body } });
    event["body"] = json!(order.to_string());
    event
}

fn envelope(served: &Served, event: &Value) -> Value {
    let envelope = served.answer("bad", event.to_string());
    assert_goes_on(served);
    envelope
}

fn failure(served: &Served, event: &Value) -> Value {
    let report = served.failure("bad", event.to_string());
    assert_goes_on(served);
    report
}

/// The next event succeeds, in the process that has been there from the start.
fn assert_goes_on(served: &Served) {
    let envelope = served.answer("next", get("/next").to_string());
    assert_eq!(envelope["statusCode"], 200);
    assert_eq!(description(&envelope)["path_with_query"], "/next");
    let is_start = |line: &str| line.contains("ready component=http");
    served.host.wait_for_log(is_start);
    let log = served.host.log();
    assert_eq!(log.iter().filter(|line| is_start(line)).count(), 1, "{log:?}");
}

/// What the guest says of its request.
fn description(envelope: &Value) -> Value {
    serde_json::from_str(text(envelope, "body")).unwrap()
}

#[test]
fn a_panic_before_the_response_is_a_function_error() {
    let report = failure(&Served::new(guests::HTTP), &get("/panic"));
    assert_eq!(text(&report, "errorType"), "Runtime.GuestTrap");
    assert!(
        text(&report, "errorMessage").contains("before the response"),
        "{report}"
    );
}

#[test]
fn a_panic_within_the_body_is_a_function_error() {
    let report = failure(&Served::new(guests::HTTP), &get("/panic-in-body"));
    assert_eq!(text(&report, "errorType"), "Runtime.GuestTrap");
    assert!(text(&report, "errorMessage").contains("in the body"), "{report}");
}

#[test]
fn a_panic_after_the_response_leaves_it_as_it_is_and_is_logged() {
    for isolation in ["event", "environment"] {
        let served = Served::with_env(guests::HTTP, &[("ORLOP_ISOLATION", isolation)]);
        let envelope = envelope(&served, &get("/panic-at-end"));
        assert_eq!(envelope["body"], "all of it");
        served.host.wait_for_log(|line| line.contains("the response stands"));
    }
}

#[test]
fn an_exit_before_the_response_is_a_function_error() {
    let report = failure(&Served::new(guests::HTTP), &get("/exit"));
    assert_eq!(text(&report, "errorType"), "Runtime.GuestExit");
}

#[test]
fn an_exit_after_the_response_leaves_it_as_it_is() {
    for isolation in ["event", "environment"] {
        let served = Served::with_env(guests::HTTP, &[("ORLOP_ISOLATION", isolation)]);
        assert_eq!(envelope(&served, &get("/exit-at-end"))["body"], "all of it");
    }
}

#[test]
fn no_response_is_a_function_error() {
    let report = failure(&Served::new(guests::HTTP), &get("/no-response"));
    assert_eq!(text(&report, "errorType"), "Function.InvalidResponse");
    assert!(text(&report, "errorMessage").contains("without a response"), "{report}");
}

#[test]
fn an_error_in_place_of_a_response_is_a_function_error_that_names_it() {
    let report = failure(&Served::new(guests::HTTP), &get("/error-code"));
    assert_eq!(text(&report, "errorType"), "Function.InvalidResponse");
    assert!(text(&report, "errorMessage").contains("ConfigurationError"), "{report}");
}

#[test]
fn a_status_that_is_no_end_of_a_response_becomes_a_502_and_a_line_of_the_log() {
    for status in [100, 101, 199, 600, 999] {
        let served = Served::new(guests::HTTP);
        let envelope = envelope(&served, &ordering(status, &[("x-a", "1")], "secret"));
        assert_eq!(envelope["statusCode"], 502);
        assert!(!envelope.to_string().contains("secret"), "{envelope}");
        assert!(envelope["headers"]["x-a"].is_null(), "{envelope}");
        served
            .host
            .wait_for_log(|line| line.contains(&format!("answered with status {status}")));
    }
}

#[test]
fn headers_cannot_be_injected() {
    let envelope = envelope(&Served::new(guests::HTTP), &get("/inject"));
    let outcomes: Vec<String> = serde_json::from_str(text(&envelope, "body")).unwrap();
    assert_eq!(outcomes.len(), 5);
    assert!(
        outcomes.iter().all(|outcome| outcome.contains("InvalidSyntax")),
        "{outcomes:?}"
    );
    assert_eq!(envelope["headers"], json!({}));
    assert!(envelope["cookies"].is_null(), "{envelope}");
}

#[test]
fn a_second_content_length_is_refused() {
    let envelope = envelope(&Served::new(guests::HTTP), &get("/lengths"));
    assert_eq!(envelope["body"], "[true,false]");
}

#[test]
fn a_body_of_another_length_than_announced_is_a_function_error() {
    for (length, body) in [("9", "short"), ("3", "too long"), ("1", "")] {
        let report = failure(
            &Served::new(guests::HTTP),
            &ordering(200, &[("content-length", length)], body),
        );
        assert_eq!(text(&report, "errorType"), "Function.InvalidResponse");
        assert!(text(&report, "errorMessage").contains("its body broke off"), "{report}");
    }
}

#[test]
fn a_body_that_is_dropped_unfinished_is_a_function_error() {
    let report = failure(&Served::new(guests::HTTP), &get("/drop-body"));
    assert_eq!(text(&report, "errorType"), "Function.InvalidResponse");
    assert!(text(&report, "errorMessage").contains("its body broke off"), "{report}");
}

#[test]
fn a_body_that_is_never_finished_ends_when_the_guest_returns() {
    for path in ["/forget-body", "/forget-stream"] {
        for isolation in ["event", "environment"] {
            let served = Served::with_env(guests::HTTP, &[("ORLOP_ISOLATION", isolation)]);
            let envelope = envelope(&served, &get(path));
            assert_eq!(
                (&envelope["statusCode"], text(&envelope, "body")),
                (&json!(200), "all of it")
            );
        }
    }
}

#[test]
fn a_response_whose_body_was_never_asked_for_has_an_empty_one() {
    let envelope = envelope(&Served::new(guests::HTTP), &get("/no-body"));
    assert_eq!((&envelope["statusCode"], text(&envelope, "body")), (&json!(200), ""));
}

#[test]
fn a_body_that_never_ends_is_stopped_before_the_deadline() {
    for path in ["/spin-in-body", "/wait-in-body"] {
        let served = Served::new(guests::HTTP);
        let pid = served.host.pid();
        let answer = served.ask(Event::new("bad", get(path).to_string()).due_in(Duration::from_secs(2)));
        let report = answer.json();
        assert_eq!(text(&report, "errorType"), "Runtime.DeadlineExceeded", "{path}");
        let next = served.answer("next", get("/next").to_string());
        assert_eq!(next["statusCode"], 200);
        assert_eq!(served.host.pid(), pid);
        assert!(!served.host.has_exited());
    }
}

#[test]
fn two_thousand_headers_arrive_in_both_directions() {
    let served = Served::new(guests::HTTP);
    let envelope = envelope(&served, &get("/headers"));
    let headers = envelope["headers"].as_object().unwrap();
    assert_eq!(headers.len(), 2_000);
    assert!(headers.values().all(|value| value == "y"));

    let mut event = get("/");
    event["headers"] = (0..2_000).map(|index| (format!("x-{index}"), json!("y"))).collect();
    let seen = description(&served.answer("many", event.to_string()));
    let seen = seen["headers"].as_array().unwrap().iter();
    assert_eq!(seen.filter(|header| header[1] == "y").count(), 2_000);
}

// Conformance statement 98.
#[test]
fn a_response_above_the_limit_becomes_a_502_and_a_line_of_the_log() {
    let served = Served::new(guests::HTTP);
    let envelope = envelope(&served, &get("/large"));
    assert_eq!(envelope["statusCode"], 502);
    assert!(envelope.to_string().len() < 1_000);
    served
        .host
        .wait_for_log(|line| line.contains("is more than the 6291556 bytes"));
}

#[test]
fn a_body_of_nearly_six_megabytes_arrives() {
    let served = Served::new(guests::HTTP);
    let mut event = get("/");
    event["body"] = json!("a".repeat(5_500_000));
    let seen = description(&envelope(&served, &event));
    assert_eq!(text(&seen, "body").len(), 5_500_000);
}

// Conformance statement 99.
#[test]
fn the_answer_to_an_event_that_is_no_http_is_the_body_as_it_is() {
    let served = Served::new(guests::HTTP);
    let ask = |id: &str, status: u16, body: &str| {
        let order = json!({ "respond": { "status": status, "headers": [["x-a", "1"]], "body": body } });
        served.ask(Event::new(id, order.to_string()))
    };
    let succeeds = |answer: &Answer, body: &str| assert_eq!((answer.is_error, answer.text()), (false, body));
    succeeds(
        &ask("json", 200, r#"{"batchItemFailures":[]}"#),
        r#"{"batchItemFailures":[]}"#,
    );
    succeeds(&ask("text", 201, "plain"), "plain");
    succeeds(&ask("nothing", 204, ""), "");
    for (status, body) in [(400, "what?"), (503, "no stock"), (101, ""), (600, "")] {
        let answer = ask(&status.to_string(), status, body);
        assert!(answer.is_error);
        let report = answer.json();
        assert_eq!(text(&report, "errorType"), "Function.HttpStatus");
        assert!(
            text(&report, "errorMessage").ends_with(&format!("with status {status}: {body}")),
            "{report}"
        );
    }
    assert_goes_on(&served);
}

#[test]
fn an_event_that_is_no_http_is_answered_in_one_piece_also_where_answers_are_streamed() {
    let served = Served::with_env(guests::HTTP, &[("ORLOP_RESPONSE_MODE", "streaming")]);
    assert_eq!(text(&served.answer("a", "{}"), "body"), "{}");
    assert_eq!(
        text(&served.failure("b", r#"{"respond":{"status":500}}"#), "errorType"),
        "Function.HttpStatus"
    );
    assert_eq!(text(&served.answer("c", "{}"), "body"), "{}");
}

#[test]
fn an_instance_serves_one_event_unless_it_is_kept() {
    for mode in ["buffered", "streaming"] {
        for (isolation, counts) in [("event", [1, 1, 1]), ("environment", [1, 2, 3]), ("tenant", [1, 2, 1])] {
            let variables = [("ORLOP_ISOLATION", isolation), ("ORLOP_RESPONSE_MODE", mode)];
            let served = Served::with(FakeRuntimeApi::start(), guests::HTTP, &variables);
            let count = |id: &str, tenant: &str| {
                let answer = served.ask(Event::new(id, get("/").to_string()).tenant_id(tenant));
                let body = match mode {
                    "buffered" => description(&answer.json()),
                    _ => streamed(&answer),
                };
                body["count"].as_u64().unwrap()
            };
            let seen = [count("a", "one"), count("b", "one"), count("c", "two")];
            assert_eq!(seen, counts, "{mode}, {isolation}");
        }
    }
}

#[test]
fn a_complete_response_is_streamed_to_its_end_however_the_guest_ends() {
    for isolation in ["event", "environment"] {
        for path in ["/panic-at-end", "/exit-at-end", "/forget-body", "/forget-stream"] {
            let variables = [("ORLOP_ISOLATION", isolation), ("ORLOP_RESPONSE_MODE", "streaming")];
            let served = Served::with_env(guests::HTTP, &variables);
            let answer = served.ask(Event::new("bad", get(path).to_string()));
            assert!(!answer.is_error, "{path}: {}", answer.text());
            assert!(answer.body.ends_with(b"\0all of it"), "{path}: {:?}", answer.text());
            assert!(answer.trailers.is_empty(), "{path}: {:?}", answer.trailers);
            let next = served.ask(Event::new("next", get("/next").to_string()));
            assert_eq!(streamed(&next)["path_with_query"], "/next", "{path}");
        }
    }
}

#[test]
fn a_response_that_is_streamed_and_not_complete_ends_with_the_guests_failure() {
    let served = Served::with_env(guests::HTTP, &[("ORLOP_RESPONSE_MODE", "streaming")]);
    let answer = served.ask(Event::new("bad", get("/panic-in-body").to_string()));
    // Before anything was sent or after it, as it happens.
    let error_type = match answer.is_error {
        true => answer.error_type_header.clone().unwrap(),
        false => {
            let trailer = answer.trailer("Lambda-Runtime-Function-Error-Type").unwrap();
            String::from_utf8(trailer.to_vec()).unwrap()
        }
    };
    assert_eq!(error_type, "Runtime.GuestTrap");
}

/// What follows the prelude.
fn streamed(answer: &Answer) -> Value {
    let end = answer.body.windows(8).position(|bytes| bytes == [0; 8]).unwrap();
    serde_json::from_slice(&answer.body[end + 8..]).unwrap()
}

#[test]
fn a_page_that_fails_in_any_language_is_a_function_error_and_the_next_one_is_there() {
    for site in [foreign::rust_web_03(), foreign::python_web(), foreign::javascript_web()] {
        for isolation in ["event", "environment"] {
            let variables = [
                ("ORLOP_ISOLATION", isolation),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ];
            let served = Served::with_env(site, &variables);
            let before = served.answer("before", get("/").to_string());
            let answer = served.ask(Event::new("bad", get("/fail").to_string()));
            let outcome = answer.json();
            assert!(
                answer.is_error || outcome["statusCode"] == 500,
                "{}: {outcome}",
                site.name()
            );
            assert_eq!(served.answer("after", get("/").to_string()), before, "{}", site.name());
        }
    }
}
