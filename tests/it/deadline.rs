//! One deadline stops whatever runs too long, and the process goes on under the same id (conformance statement 51).

use std::time::{Duration, Instant};

use orlop_tests::{Event, FakeRuntimeApi, Signal, guests};

use crate::{END, Served, text};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Room for a busy machine between our deadline and Lambda's.
const MARGIN: (&str, &str) = ("ORLOP_DEADLINE_MARGIN", "700ms");

fn overrun(served: &Served, id: &str, event: &str) {
    let sent = Instant::now();
    let answer = served.ask(Event::new(id, event).due_in(TIMEOUT));
    let after = sent.elapsed();
    assert_eq!(answer.error_type_header.as_deref(), Some("Runtime.DeadlineExceeded"));
    let report = answer.json();
    assert_eq!(text(&report, "errorType"), "Runtime.DeadlineExceeded");
    assert!(after < TIMEOUT, "answered after {after:?}, when Lambda had given up");
    assert!(
        after > TIMEOUT / 2,
        "answered after {after:?}, long before the deadline"
    );
}

// Statement 51.
#[test]
fn a_guest_that_computes_forever_is_stopped_before_lambda_gives_up_and_the_pid_stays() {
    let served = Served::with_env(guests::SPIN, &[MARGIN]);
    let pid = served.host.pid();
    served.answer("before", "false");
    for round in 0..3 {
        overrun(&served, &format!("overrun-{round}"), "true");
        served.answer(&format!("after-{round}"), "false");
    }
    assert_eq!(served.host.pid(), pid);
    assert!(!served.host.has_exited());
    served
        .host
        .wait_for_log(|line| line.contains("ready") && line.contains("restarts=3"));
}

#[test]
fn a_guest_that_waits_in_the_host_is_stopped_too() {
    let served = Served::with_env(guests::SLEEP, &[MARGIN]);
    overrun(&served, "overrun", "60000");
    assert_eq!(served.answer("after", "1"), 1);
}

#[test]
fn a_guest_that_answers_in_time_is_left_alone() {
    let served = Served::new(guests::SLEEP);
    let answer = served.ask(Event::new("just", "600").due_in(TIMEOUT));
    assert!(!answer.is_error);
}

#[test]
fn the_margin_is_a_setting() {
    let served = Served::with_env(guests::SPIN, &[("ORLOP_DEADLINE_MARGIN", "600ms")]);
    let sent = Instant::now();
    let answer = served.ask(Event::new("a", "true").due_in(Duration::from_secs(2)));
    assert!(answer.is_error);
    assert!(sent.elapsed() < Duration::from_millis(1800), "{:?}", sent.elapsed());
}

#[test]
fn what_the_guest_wrote_before_it_was_stopped_is_in_the_log() {
    let served = Served::with_env(guests::SPIN, &[MARGIN]);
    overrun(&served, "overrun", "true");
    let line = served.host.wait_for_log(|line| line.contains("the invocation failed"));
    assert!(
        line.contains("overrun") && line.contains("Runtime.DeadlineExceeded"),
        "{line}"
    );
}

#[test]
fn an_overrun_whose_error_cannot_be_posted_ends_the_process() {
    let lambda = FakeRuntimeApi::builder().tolerate_violations().start();
    let served = Served::with(lambda, guests::SPIN, &[]);
    served.answer("before", "false");
    served.lambda.on_error(orlop_tests::Reply::status(500));
    served.lambda.send(Event::new("overrun", "true").due_in(TIMEOUT));
    assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
    let log = served.host.log();
    assert!(
        log.last()
            .is_some_and(|line| line.contains("FATAL") && line.contains("POST error")),
        "{log:?}"
    );
}

#[test]
fn a_kept_guest_prepares_itself_anew_after_an_overrun() {
    let served = Served::with_env(guests::SPIN, &[("ORLOP_ISOLATION", "environment"), MARGIN]);
    overrun(&served, "overrun", "true");
    served.answer("after", "false");
}

#[test]
fn a_stop_of_the_process_in_mid_event_loses_nothing() {
    let served = Served::new(guests::SLEEP);
    served
        .lambda
        .send(Event::new("a", "500").due_in(Duration::from_secs(10)));
    served.lambda.wait_until_taken();
    served.host.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(700));
    served.host.signal(Signal::CONT);
    assert_eq!(served.lambda.wait_for_answer("a").body, b"500");
}
