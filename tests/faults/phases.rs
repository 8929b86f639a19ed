//! A process that is stopped and goes on, in every phase of its life (F30); and signals (F28, F29).

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use orlop_tests::{Event, FakeRuntimeApi, Reply, Served, Signal, guests};

use crate::{END, posts, tolerant};

/// How long a process is stopped: longer than any of its own short times.
const STOPPED: Duration = Duration::from_millis(700);

/// Stops the process for a while, whatever it is doing.
fn freeze(served: &Served) {
    served.host.signal(Signal::STOP);
    thread::sleep(STOPPED);
    served.host.signal(Signal::CONT);
}

#[test]
fn a_stop_in_init_loses_nothing() {
    // At several moments of it, for nobody can tell how long it takes.
    for microseconds in [0, 2_000, 8_000, 20_000] {
        let served = Served::new(guests::ECHO);
        thread::sleep(Duration::from_micros(microseconds));
        freeze(&served);
        assert_eq!(served.answer("a", "1"), 1);
        assert_eq!(posts(&served.lambda).len(), 1);
    }
}

#[test]
fn a_stop_while_it_waits_loses_nothing() {
    let served = Served::new(guests::ECHO);
    for id in ["a", "b"] {
        served.lambda.wait_for_next();
        served.host.signal(Signal::STOP);
        served.lambda.send(Event::new(id, "1").due_in(Duration::from_secs(10)));
        thread::sleep(STOPPED);
        served.host.signal(Signal::CONT);
        assert_eq!(served.lambda.wait_for_answer(id).body, b"1");
    }
}

#[test]
fn a_stop_while_an_event_arrives_loses_nothing() {
    let served = Served::new(guests::ECHO);
    let event = Event::new("a", "\"0123456789\"").due_in(Duration::from_secs(10));
    served.lambda.send(event.one_byte_every(Duration::from_millis(30)));
    served.lambda.wait_until_taken();
    freeze(&served);
    assert_eq!(served.lambda.wait_for_answer("a").body, b"\"0123456789\"");
    assert_eq!(served.answer("after", "1"), 1);
}

#[test]
fn a_stop_while_the_guest_runs_loses_nothing() {
    let served = Served::new(guests::SLEEP);
    served
        .lambda
        .send(Event::new("a", "300").due_in(Duration::from_secs(10)));
    served.lambda.wait_until_taken();
    freeze(&served);
    assert_eq!(served.lambda.wait_for_answer("a").body, b"300");
    assert_eq!(served.answer("after", "1"), 1);
}

#[test]
fn a_stop_beyond_the_deadline_is_an_overrun_that_is_told_at_once_and_the_process_goes_on() {
    let served = Served::with(tolerant(), guests::SLEEP, &[]);
    served
        .lambda
        .send(Event::new("a", "60000").due_in(Duration::from_millis(400)));
    served.lambda.wait_until_taken();
    served.host.signal(Signal::STOP);
    thread::sleep(STOPPED);
    let thawed = Instant::now();
    served.host.signal(Signal::CONT);
    let answer = served.lambda.wait_for_answer("a");
    assert_eq!(answer.json()["errorType"], "Runtime.DeadlineExceeded");
    assert!(thawed.elapsed() < Duration::from_millis(500), "{:?}", thawed.elapsed());
    assert_eq!(served.answer("after", "1"), 1);
}

#[test]
fn a_stop_while_the_answer_is_confirmed_loses_nothing() {
    let served = Served::new(guests::ECHO);
    served.answer("first", "1");
    served
        .lambda
        .on_response(Reply::accepted().after(Duration::from_millis(300)));
    served.lambda.send(Event::new("a", "1").due_in(Duration::from_secs(10)));
    served.lambda.wait_for_answer("a");
    freeze(&served);
    assert_eq!(served.answer("after", "2"), 2);
    assert_eq!(served.lambda.answers("a").len(), 1);
}

#[test]
fn a_stop_while_the_process_replaces_itself_loses_nothing() {
    let served = Served::with(tolerant(), guests::SPIN, &[]);
    for (index, microseconds) in [0, 500, 2_000, 10_000].into_iter().enumerate() {
        let id = format!("overrun-{index}");
        let answer = served.ask(Event::new(&*id, "true").due_in(Duration::from_millis(300)));
        assert!(answer.is_error);
        thread::sleep(Duration::from_micros(microseconds));
        freeze(&served);
        assert!(served.answer(&format!("after-{index}"), "false").is_null());
        assert_eq!(served.lambda.answers(&id).len(), 1);
    }
}

#[test]
fn stops_at_random_moments_lose_nothing() {
    let served = Served::new(guests::ECHO);
    for index in 0..40_u64 {
        let id = format!("event-{index}");
        served
            .lambda
            .send(Event::new(&*id, "1").due_in(Duration::from_secs(20)));
        // Between before the event and after the answer.
        thread::sleep(Duration::from_micros(index * 137 % 3_000));
        served.host.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(10));
        served.host.signal(Signal::CONT);
        assert_eq!(served.lambda.wait_for_answer(&id).body, b"1");
    }
    served.lambda.wait_for_next();
    assert_eq!(posts(&served.lambda).len(), 40);
}

/// A process that has answered one event and computes for the next one for ten seconds.
fn busy() -> Served {
    let served = Served::with(tolerant(), guests::SPIN, &[]);
    served.answer("warm", "false");
    served.lambda.wait_for_next();
    served
        .lambda
        .send(Event::new("long", "true").due_in(Duration::from_secs(10)));
    served.lambda.wait_until_taken();
    served
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let served = busy();
    served.host.signal(Signal::TERM);
    // Two that come at the same time are one, and nothing shows that the first one was heard.
    thread::sleep(Duration::from_millis(20));
    served.host.signal(Signal::TERM);
    let sent = Instant::now();
    let status = served.host.wait_for_exit(END);
    assert!(status.code().is_some(), "{status}");
    assert!(sent.elapsed() < Duration::from_millis(150), "{:?}", sent.elapsed());
}

#[test]
fn signals_that_mean_nothing_change_nothing() {
    let served = Served::with(FakeRuntimeApi::start(), guests::ECHO, &[]);
    served.answer("before", "1");
    for signal in [Signal::PIPE, Signal::CHILD, Signal::URG, Signal::WINCH, Signal::CONT] {
        served.host.signal(signal);
        assert_eq!(served.answer(&format!("after-{signal:?}"), "1"), 1);
    }
}

#[test]
fn signals_that_ask_for_nothing_the_process_knows_end_it_by_their_name_and_nothing_is_answered_for_the_event() {
    // Not SIGHUP, which whoever started the tests may have had ignored.
    for (signal, number) in [(Signal::USR1, 10), (Signal::USR2, 12)] {
        let served = busy();
        served.host.signal(signal);
        let status = served.host.wait_for_exit(END);
        assert_eq!(status.signal(), Some(number), "{status}");
        assert_eq!(posts(&served.lambda).len(), 1, "{}", served.lambda.record());
    }
}
