//! Lambda's SnapStart: what happens between Init and the first event, and what must not be the same in two copies.

use std::time::Duration;

use orlop_tests::{Component, Event, FakeRuntimeApi, Reply, Signal, guests};
use serde_json::Value;

use crate::{END, Served, text};

const SNAP_START: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start");

fn served(guest: Component, variables: &[(&str, &str)]) -> Served {
    let lambda = FakeRuntimeApi::builder().snap_start().start();
    Served::with(lambda, guest, &[&[SNAP_START], variables].concat())
}

fn paths(served: &Served) -> Vec<String> {
    let requests = served.lambda.requests();
    requests.into_iter().map(|request| request.path).collect()
}

// Statement 81.
#[test]
fn only_with_snap_start_lambda_is_told_that_init_is_over_and_waited_for_without_a_timeout() {
    let ordinary = Served::new(guests::ECHO);
    ordinary.lambda.wait_for_next();
    assert!(paths(&ordinary).iter().all(|path| !path.contains("restore")));

    let served = served(guests::ECHO, &[]);
    served.lambda.wait_for_snapshot();
    served.host.wait_for_log(|line| line.contains("\tready "));
    // The environment is stopped for long, and goes on as if nothing had been.
    served.host.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(1500));
    served.host.signal(Signal::CONT);
    assert_eq!(paths(&served), ["/2018-06-01/runtime/restore/next"]);
    served.lambda.restore(Reply::status(200));
    assert_eq!(served.answer("a", "7"), 7);
    served
        .host
        .wait_for_log(|line| line.contains("restored from a snapshot"));
}

// Statement 82.
#[test]
fn no_connection_of_before_is_used_after_the_restore() {
    let served = served(guests::ECHO, &[]);
    served.lambda.restore(Reply::status(200));
    served.answer("a", "1");
    served.answer("b", "2");
    let requests = served.lambda.requests();
    let (restore, rest) = requests.split_first().unwrap();
    assert!(rest.len() >= 4);
    assert!(rest.iter().all(|request| request.connection > restore.connection));
}

// Statement 82.
#[test]
fn what_a_guest_has_drawn_at_random_before_the_snapshot_is_not_there_after_it() {
    let served = served(guests::DRAWN, &[]);
    let drawn = served.host.wait_for_log(|line| line.contains("drawn "));
    served.lambda.wait_for_snapshot();
    served.lambda.restore(Reply::status(200));
    let answer = served.answer("a", "{}").to_string();
    assert!(!drawn.contains(&answer), "{drawn}");
    // It is kept from then on, as a guest with `init` is.
    assert_eq!(served.answer("b", "{}").to_string(), answer);
}

#[test]
fn a_guest_with_hooks_is_kept_through_the_snapshot_and_hears_of_both_moments() {
    let served = served(guests::SNAP_START, &[]);
    served.lambda.wait_for_snapshot();
    served.host.wait_for_log(|line| line.contains("before "));
    served.lambda.restore(Reply::status(200));
    for (id, steps) in [
        ("a", &["init", "before", "after", "handle"][..]),
        ("b", &["init", "before", "after", "handle", "handle"]),
    ] {
        let answer = served.answer(id, "{}");
        let names: Vec<&str> = answer
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|step| step[0].as_str())
            .collect();
        assert_eq!(names, steps);
        let mut numbers: Vec<u64> = answer
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|step| step[1].as_u64())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), steps.len(), "no number comes twice");
    }
}

// Statement 83.
#[test]
fn a_hook_that_fails_before_the_snapshot_is_an_init_error_and_the_end() {
    for (behaviour, message) in [("fail", "told to fail"), ("panic", "told to panic")] {
        let served = served(guests::SNAP_START, &[("BEFORE", behaviour)]);
        let report = served.lambda.wait_for_init_error();
        assert_eq!(text(&report.json(), "errorType"), "Runtime.BeforeSnapshotError");
        assert!(report.text().contains(message), "{}", report.text());
        assert_eq!(served.host.wait_for_exit(END).code(), Some(64));
        assert!(paths(&served).iter().all(|path| !path.contains("restore")));
    }
}

// Statement 83.
#[test]
fn a_hook_that_fails_after_the_restore_is_a_restore_error_and_the_end() {
    for behaviour in ["fail", "panic"] {
        let served = served(guests::SNAP_START, &[("AFTER", behaviour)]);
        served.lambda.restore(Reply::status(200));
        let report = served.lambda.wait_for_restore_error();
        assert_eq!(text(&report.json(), "errorType"), "Runtime.AfterRestoreError");
        assert!(report.text().contains("told to "), "{}", report.text());
        assert_eq!(served.host.wait_for_exit(END).code(), Some(65));
        assert!(paths(&served).iter().all(|path| !path.contains("invocation/next")));
    }
}

// Statement 83.
#[test]
fn a_hook_that_does_not_return_is_ended_after_ten_seconds() {
    let served = served(guests::SNAP_START, &[("AFTER", "spin")]);
    served.lambda.restore(Reply::status(200));
    let report = served.lambda.wait_for_restore_error();
    assert_eq!(text(&report.json(), "errorType"), "Runtime.AfterRestoreError");
    assert_eq!(served.host.wait_for_exit(END).code(), Some(65));
}

#[test]
fn a_restore_that_lambda_refuses_ends_the_process() {
    let served = served(guests::ECHO, &[]);
    served.lambda.restore(Reply::status(500));
    assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
    assert!(!paths(&served).iter().any(|path| path.contains("invocation")));
}

#[test]
fn an_overrun_after_the_restore_restarts_in_place_and_does_not_wait_for_another_restore() {
    let served = served(guests::SPIN, &[]);
    served.lambda.restore(Reply::status(200));
    let overrun = Event::new("a", "true").due_in(Duration::from_millis(600));
    assert!(served.ask(overrun).is_error);
    assert_eq!(served.answer("b", "false"), Value::Null);
    let restores = paths(&served).iter().filter(|path| path.contains("restore")).count();
    assert_eq!(restores, 1);
}
