//! Signals, the extension that makes Lambda send them, and what is left at the end (conformance statements 76–80).

use std::time::{Duration, Instant};

use orlop_tests::{Event, FakeRuntimeApi, Reply, Signal, guests};

use crate::{END, Served};

const GRACEFUL: &[(&str, &str)] = &[("ORLOP_GRACEFUL_SHUTDOWN", "true")];

// Statement 76.
#[test]
fn graceful_shutdown_registers_one_extension_without_events_and_polls_for_it() {
    let served = Served::with(FakeRuntimeApi::start(), guests::ECHO, GRACEFUL);
    served.answer("a", "1");
    let requests = served.lambda.requests();
    let position = |end: &str| requests.iter().position(|request| request.path.ends_with(end)).unwrap();
    let register = &requests[position("/extension/register")];
    assert_eq!(register.body, br#"{"events":[]}"#);
    assert!(
        register
            .header("lambda-extension-name")
            .is_some_and(|name| !name.is_empty())
    );
    assert!(position("/extension/register") < position("/invocation/next"));
    let poll = &requests[position("/extension/event/next")];
    assert!(
        poll.header("lambda-extension-identifier")
            .is_some_and(|identifier| !identifier.is_empty())
    );
    let registrations = requests
        .iter()
        .filter(|request| request.path.ends_with("/extension/register"))
        .count();
    assert_eq!(registrations, 1);
}

#[test]
fn an_extension_is_registered_only_on_request() {
    let served = Served::new(guests::ECHO);
    served.answer("a", "1");
    assert!(
        served
            .lambda
            .requests()
            .iter()
            .all(|request| !request.path.contains("extension"))
    );
}

#[test]
fn an_extension_survives_the_restart_after_an_overrun() {
    let served = Served::with(FakeRuntimeApi::start(), guests::SPIN, GRACEFUL);
    let answer = served.ask(Event::new("overrun", "true").due_in(Duration::from_millis(500)));
    assert!(answer.is_error);
    served.answer("after", "false");
    let requests = served.lambda.requests();
    let count = |end: &str| requests.iter().filter(|request| request.path.ends_with(end)).count();
    assert_eq!(
        (count("/extension/register"), count("/extension/event/next")),
        (1, 2),
        "{}",
        served.lambda.record()
    );
}

/// The quickest of three tries: what the process needs, without what a busy machine adds.
fn quickest(attempt: impl Fn() -> Duration) -> Duration {
    (0..3).map(|_| attempt()).min().expect("there are three")
}

// Statement 77.
#[test]
fn a_waiting_process_obeys_sigterm_and_sigint_within_300_ms() {
    for (signal, variables) in [
        (Signal::TERM, GRACEFUL),
        (Signal::TERM, &[][..]),
        (Signal::INT, &[][..]),
    ] {
        let end = quickest(|| {
            let served = Served::with(FakeRuntimeApi::start(), guests::ECHO, variables);
            served.answer("a", "1");
            served.lambda.wait_for_next();
            let sent = Instant::now();
            served.host.signal(signal);
            assert_eq!(served.host.wait_for_exit(END).code(), Some(0));
            sent.elapsed()
        });
        assert!(end < Duration::from_millis(300), "{end:?}");
    }
}

// Statement 77.
#[test]
fn a_running_event_may_finish_within_the_grace_and_no_other_is_taken() {
    let served = Served::new(guests::SLEEP);
    served.answer("warm", "1");
    served.lambda.wait_for_next();
    served.lambda.send(Event::new("quick", "60"));
    served.lambda.wait_until_taken();
    served.host.signal(Signal::TERM);
    assert_eq!(served.lambda.wait_for_answer("quick").body, b"60");
    assert_eq!(served.host.wait_for_exit(END).code(), Some(0));
}

// Statement 77.
#[test]
fn an_event_that_outlasts_the_grace_is_answered_with_an_error_within_300_ms() {
    let end = quickest(|| {
        let served = Served::new(guests::SPIN);
        served.answer("warm", "false");
        served.lambda.wait_for_next();
        served.lambda.send(Event::new("long", "true"));
        served.lambda.wait_until_taken();
        let sent = Instant::now();
        served.host.signal(Signal::TERM);
        let answer = served.lambda.wait_for_answer("long");
        assert_eq!(answer.json()["errorType"], "Runtime.ShuttingDown");
        assert_eq!(served.host.wait_for_exit(END).code(), Some(0));
        sent.elapsed()
    });
    assert!(end < Duration::from_millis(300), "{end:?}");
}

// Statement 78.
#[test]
fn a_registration_that_fails_is_logged_and_the_events_are_served() {
    for reply in [Reply::status(403), Reply::status(500), Reply::hang_up()] {
        let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
        lambda.on_register(reply);
        let served = Served::with(lambda, guests::ECHO, GRACEFUL);
        served.answer("a", "1");
        served.host.wait_for_log(|line| line.contains("cannot register"));
    }
}

// Statement 80; 79 is held by the image's tests.
#[test]
fn everything_a_guest_wrote_is_in_the_log_before_its_answer_is_posted() {
    let served = Served::new(guests::PRINT);
    for index in 0..50 {
        let event = format!(r#"[{{"stream":"stdout","text":"line {index}\nno line feed {index}"}}]"#);
        served.answer(&format!("event-{index}"), event);
        let log = served.host.log();
        // The lines were written to the pipe before the answer to the socket; the test's own reader may lag behind.
        let complete = |log: &[String]| log.iter().any(|line| line.ends_with(&format!("no line feed {index}")));
        if !complete(&log) {
            served
                .host
                .wait_for_log(|line| line.ends_with(&format!("no line feed {index}")));
        }
    }
}
