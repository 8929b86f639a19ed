//! The sequential loop: events in, answers out, and what Lambda may say to them (conformance statements 18–39).

use std::time::{Duration, Instant};

use orlop_tests::{Event, FakeRuntimeApi, Reply, Signal, guests};

use crate::{END, Served};

const MAX_ANSWER_BYTES: usize = orlop_tests::fake_runtime_api::MAX_ANSWER_BYTES;

// Statement 18.
#[test]
fn events_reach_the_guest_byte_for_byte() {
    let served = Served::new(guests::ECHO);
    let events: [&[u8]; 6] = [
        b"",
        b"{}",
        b"not json",
        b"\xff\xfe\x00\xc3\x28",
        "\u{feff}{\"a\":\"\\ud800\"}".as_bytes(),
        &[0; 1000],
    ];
    for (index, event) in events.iter().enumerate() {
        let answer = served.ask(Event::new(format!("event-{index}"), *event));
        assert!(!answer.is_error);
        assert_eq!(answer.body, *event);
    }
}

// Statement 19.
#[test]
fn events_of_any_size_arrive_whole_however_they_are_framed() {
    let served = Served::with_env(guests::ECHO, &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")]);
    for size in [1, 2047, 2048, 65_536, 1 << 20, 6 << 20] {
        let payload: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let whole = served.ask(Event::new(format!("length-{size}"), payload.clone()));
        assert!(!whole.is_error, "{}", String::from_utf8_lossy(&whole.body));
        assert!(whole.body == payload, "{size} bytes by length");
        let chunked = served.ask(Event::new(format!("chunks-{size}"), payload.clone()).in_chunks_of(4093));
        assert!(chunked.body == payload, "{size} bytes in chunks");
    }
}

// Statement 19.
#[test]
fn an_event_that_arrives_byte_by_byte_is_waited_for() {
    let served = Served::new(guests::ECHO);
    let event = Event::new("slow", "0123456789").one_byte_every(Duration::from_millis(50));
    assert_eq!(served.ask(event).body, b"0123456789");
}

// Statement 20.
#[test]
fn a_process_that_was_frozen_while_it_waited_serves_the_next_event() {
    let served = Served::new(guests::ECHO);
    served.answer("before", "1");
    served.lambda.wait_for_next();
    served.host.signal(Signal::STOP);
    // The event waits for the thaw, as it does on Lambda.
    served.lambda.send(Event::new("after", "2"));
    std::thread::sleep(Duration::from_millis(1500));
    served.host.signal(Signal::CONT);
    assert_eq!(served.lambda.wait_for_answer("after").body, b"2");
}

// Statements 21, 22, 24 and 25; the fake complains of double answers and of a `/next` before the answer.
#[test]
fn one_connection_carries_one_answer_per_event() {
    let served = Served::new(guests::ECHO);
    for index in 0..100 {
        served.answer(&format!("event-{index}"), "1");
    }
    served.lambda.wait_for_next();
    let requests = served.lambda.requests();
    assert_eq!(requests.len(), 201, "{}", served.lambda.record());
    assert_eq!(served.lambda.connections(), 1);
}

// Statement 23.
#[test]
fn answers_are_json_unless_the_deployment_says_otherwise() {
    let content_type = |variables: &[(&str, &str)]| {
        let served = Served::with_env(guests::ECHO, variables);
        let answer = served.ask(Event::new("a", "1"));
        String::from_utf8(answer.header("content-type").unwrap_or_default().to_vec()).unwrap()
    };
    assert_eq!(content_type(&[]), "application/json");
    assert_eq!(
        content_type(&[("ORLOP_CONTENT_TYPE", "text/csv; charset=utf-8")]),
        "text/csv; charset=utf-8"
    );
}

// Statement 26.
#[test]
fn a_connection_that_lambda_closed_meanwhile_is_replaced() {
    let served = Served::new(guests::ECHO);
    served.lambda.send(Event::new("a", "1").then_closing());
    assert_eq!(served.lambda.wait_for_answer("a").body, b"1");
    served.lambda.on_response(Reply::accepted().then_closing());
    served.answer("b", "2");
    served.answer("c", "3");
    assert!(served.lambda.connections() >= 3, "{}", served.lambda.record());
}

// Statements 27, 28 and 37.
#[test]
fn a_next_that_cannot_be_mended_ends_the_process() {
    for (status, reason) in [
        (500, "InternalServerError: Internal Server Error"),
        (403, "InvalidStateTransition"),
    ] {
        let lambda = FakeRuntimeApi::start();
        lambda.on_next(Reply::status(status));
        let served = Served::with(lambda, guests::ECHO, &[]);
        assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
        let log = served.host.log();
        assert!(
            log.last()
                .is_some_and(|line| line.contains("FATAL") && line.contains(reason)),
            "{log:?}"
        );
    }
}

// Statement 29.
#[test]
fn a_runtime_api_that_stays_away_ends_the_process_after_a_few_tries() {
    let lambda = FakeRuntimeApi::builder().refusing_connections().start();
    let served = Served::with(lambda, guests::ECHO, &[]);
    assert_eq!(served.host.wait_for_exit(Duration::from_secs(10)).code(), Some(2));
    let log = served.host.log();
    assert!(
        log.last().is_some_and(|line| line.contains(&served.lambda.address())),
        "{log:?}"
    );
}

// Statement 29.
#[test]
fn a_runtime_api_that_comes_late_is_waited_for() {
    let lambda = FakeRuntimeApi::builder().refusing_connections().start();
    let served = Served::with(lambda, guests::ECHO, &[]);
    served
        .host
        .wait_for_log(|line| line.contains("asking for the next event again"));
    served.lambda.accept_connections();
    served.answer("a", "1");
}

#[test]
fn nonsense_in_place_of_an_event_is_asked_about_again() {
    for reply in [
        Reply::status(204).with_body(""),
        Reply::status(502),
        Reply::status(429),
        Reply::hang_up(),
        Reply::reset(),
    ] {
        let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
        lambda.on_next(reply);
        let served = Served::with(lambda, guests::ECHO, &[]);
        served.answer("a", "1");
    }
}

// Statement 30.
#[test]
fn an_event_that_breaks_off_is_not_answered_and_ends_the_process() {
    let served = Served::new(guests::ECHO);
    served.lambda.send(Event::new("broken", "0123456789").cut_after(4));
    assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
    assert!(served.lambda.answers("broken").is_empty(), "{}", served.lambda.record());
}

// Statements 31, 32, 33, 34 and 37.
#[test]
fn an_answer_that_lambda_refuses_is_logged_and_the_loop_goes_on() {
    let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
    let served = Served::with(lambda, guests::ECHO, &[]);
    for (status, reason) in [
        (400, "InvalidRequestID"),
        (403, "InvalidStateTransition"),
        (410, "InvokeTimeout"),
        (413, "RequestEntityTooLarge"),
    ] {
        let id = format!("refused-{status}");
        served.lambda.on_response(Reply::status(status));
        served.lambda.send(Event::new(&*id, "1"));
        served
            .host
            .wait_for_log(|line| line.contains(&id) && line.contains(reason));
        served.answer(&format!("after-{status}"), "2");
        let answers = served.lambda.answers(&id);
        assert!(
            answers.iter().all(|answer| !answer.is_error),
            "no /error for it: {answers:?}"
        );
    }
}

// Statement 35.
#[test]
fn a_response_that_lambda_fails_to_take_ends_the_process() {
    let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
    lambda.on_response(Reply::status(500));
    let served = Served::with(lambda, guests::ECHO, &[]);
    served.lambda.send(Event::new("a", "1"));
    assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
}

#[test]
fn an_answer_whose_connection_breaks_is_posted_once_more() {
    let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
    lambda.on_response(Reply::reset());
    let served = Served::with(lambda, guests::ECHO, &[]);
    served.lambda.send(Event::new("a", "1"));
    let answers = served.lambda.wait_for_answers("a", 2);
    assert!(answers.iter().all(|answer| answer.body == b"1"));
    served.answer("b", "2");
}

// Statement 36.
#[test]
fn an_error_report_that_is_too_large_is_posted_once_more_and_smaller() {
    let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
    lambda.on_error(Reply::status(413).leaving_the_event_open());
    let served = Served::with(lambda, guests::FAIL, &[]);
    let message = "m".repeat(3000);
    served
        .lambda
        .send(Event::new("a", format!(r#"{{"type":"Large","message":"{message}"}}"#)));
    let answers = served.lambda.wait_for_answers("a", 2);
    assert!(answers[1].body.len() < answers[0].body.len() / 4, "{answers:?}");
    assert_eq!(answers[1].json()["errorType"], "Large");
    served.answer("b", "{}");
}

// Statement 38, and one byte more.
#[test]
fn the_largest_answer_is_delivered_and_a_larger_one_is_an_error_that_says_so() {
    let served = Served::with_env(guests::BIG, &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")]);
    for size in [MAX_ANSWER_BYTES - 1, MAX_ANSWER_BYTES] {
        let largest = served.ask(Event::new(format!("{size}"), size.to_string()));
        assert_eq!((largest.is_error, largest.body.len()), (false, size));
    }
    for size in [MAX_ANSWER_BYTES + 1, 9 << 20, 100 << 20] {
        let report = served.failure(&format!("{size}"), size.to_string());
        assert_eq!(report["errorType"], "Function.ResponseTooLarge", "{report}");
        assert!(
            report["errorMessage"]
                .as_str()
                .is_some_and(|message| message.contains("6291556")),
            "{report}"
        );
    }
    served.answer("after", "2");
}

#[test]
fn an_event_beyond_the_limit_is_an_error_and_the_next_one_is_served() {
    let served = Served::with_env(guests::ECHO, &[("ORLOP_LIMIT_EVENT", "1000")]);
    for bytes in [999, 1000] {
        let event = format!("\"{}\"", "x".repeat(bytes - 2));
        assert_eq!(served.ask(Event::new(format!("{bytes}"), &*event)).text(), event);
    }
    for event in [
        Event::new("length", vec![b'x'; 1001]),
        Event::new("chunks", vec![b'x'; 100_000]).in_chunks_of(77),
    ] {
        let answer = served.ask(event);
        assert!(answer.is_error);
        assert_eq!(answer.json()["errorType"], "Runtime.UnmarshalError");
    }
    served.answer("after", "1");
}

// Statement 39.
#[test]
fn unknown_headers_and_a_hundred_of_them_are_ignored() {
    let served = Served::new(guests::ECHO);
    let event = (0..200).fold(Event::new("a", "1"), |event, index| {
        event.add_header(&format!("X-Unknown-{index}"), vec![0x80, 0xff])
    });
    assert_eq!(served.ask(event).body, b"1");
}

#[test]
fn an_idle_process_uses_no_processor_time() {
    let served = Served::new(guests::ECHO);
    served.answer("a", "1");
    served.lambda.wait_for_next();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", served.host.pid())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap())
            .collect();
        fields[0] + fields[1]
    };
    let (before, since) = (ticks(), Instant::now());
    // An idle process does nothing, and nothing can be waited for.
    std::thread::sleep(Duration::from_millis(1000));
    assert!(
        ticks() - before <= 1,
        "{} ticks in {:?}",
        ticks() - before,
        since.elapsed()
    );
}
