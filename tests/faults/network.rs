//! What a network may do to a conversation, at many places of it.

use std::time::{Duration, Instant};

use orlop_tests::{End, Event, FakeRuntimeApi, Served, Toxic, ToxicProxy, guests};

use crate::{END, accepted, assert_ended_with_reason, echo_behind, tolerant};

#[test]
fn late_sliced_and_slow_bytes_are_waited_for() {
    let payload = format!("\"{}\"", "x".repeat(20_000));
    for (what, toxic) in [
        ("latency", Toxic::latency(Duration::from_millis(100))),
        ("slices", Toxic::slices(7, Duration::from_micros(50))),
        ("bandwidth", Toxic::bandwidth(100_000)),
    ] {
        let lambda = FakeRuntimeApi::start();
        let proxy = ToxicProxy::before(&lambda.address());
        proxy.downstream(toxic.clone()).upstream(toxic);
        let served = echo_behind(&proxy, lambda);
        for id in ["a", "b"] {
            let answer = served.ask(Event::new(id, payload.clone()).due_in(Duration::from_secs(15)));
            assert_eq!(answer.text(), payload, "{what}");
        }
    }
}

/// Waits until it is so, and says whether it became so in time.
fn becomes(is_so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + END;
    while !is_so() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// One process after the other, each for as long as it lives.
struct Victims {
    current: Option<(ToxicProxy, Served)>,
    count: usize,
    survived: usize,
}

impl Victims {
    fn new() -> Self {
        Self {
            current: None,
            count: 0,
            survived: 0,
        }
    }

    /// Has `toxic` meet one event, and sees to it that the event was answered once, or that the process has ended with a reason.
    fn meet(&mut self, told: &str, downstream: Toxic, upstream: Toxic) {
        let (proxy, served) = self.current.take().unwrap_or_else(|| {
            let lambda = tolerant();
            let proxy = ToxicProxy::before(&lambda.address());
            let served = echo_behind(&proxy, lambda);
            served.answer("first", "1");
            (proxy, served)
        });
        served.lambda.wait_for_next();
        self.count += 1;
        let id = format!("event-{}", self.count);
        proxy.downstream(downstream).upstream(upstream);
        served
            .lambda
            .send(Event::new(&*id, "\"0123456789\"").due_in(Duration::from_millis(1200)));
        // Either the next event is asked for, or the process ends: both are ends of this one.
        let is_over =
            || served.host.has_exited() || (accepted(&served.lambda, &id) > 0 && served.lambda.pending_next() > 0);
        assert!(
            becomes(is_over),
            "{told}: neither answered nor ended: {} {:?}",
            served.lambda.record(),
            served.host.log()
        );
        proxy.downstream(Toxic::none()).upstream(Toxic::none());
        if served.host.has_exited() {
            assert_ended_with_reason(&served, told);
            assert!(accepted(&served.lambda, &id) <= 1, "{told}: {}", served.lambda.record());
            return;
        }
        assert_eq!(accepted(&served.lambda, &id), 1, "{told}: {}", served.lambda.record());
        assert_eq!(served.answer(&format!("after-{}", self.count), "1"), 1, "{told}");
        self.survived += 1;
        self.current = Some((proxy, served));
    }
}

/// Bytes of the head and the body of an event, of a little more than what follows it, and of an answer.
const EVENT_BYTES: usize = 420;
const ANSWER_BYTES: usize = 330;
/// How far the places are apart where something happens: primes, so that they fall into all parts of heads and bodies. Each
/// costs a process, or a wait.
const CUT_EVERY_BYTES: usize = 29;
const GARBAGE_EVERY_BYTES: usize = 53;

#[test]
fn a_connection_that_ends_within_an_event_costs_at_most_the_process() {
    for end in [End::Reset, End::Close] {
        let mut victims = Victims::new();
        for after in (0..EVENT_BYTES).step_by(CUT_EVERY_BYTES) {
            let told = format!("{end:?} after {after} bytes of an event");
            victims.meet(&told, Toxic::cut(after, end.clone()), Toxic::none());
        }
        // As long as the head was not whole, the event was asked for again.
        assert!(
            victims.survived >= 8,
            "{end:?}: {} of {}",
            victims.survived,
            victims.count
        );
    }
}

#[test]
fn a_connection_that_ends_within_an_answer_costs_at_most_a_second_copy_of_it() {
    for end in [End::Reset, End::Close] {
        let mut victims = Victims::new();
        for after in (0..ANSWER_BYTES).step_by(CUT_EVERY_BYTES) {
            let told = format!("{end:?} after {after} bytes of an answer");
            victims.meet(&told, Toxic::none(), Toxic::cut(after, end.clone()));
        }
        // Lambda may still be reading the first copy when the second one comes; then only an end helps.
        assert!(
            victims.survived + 2 >= victims.count,
            "{end:?}: {} of {}",
            victims.survived,
            victims.count
        );
    }
}

#[test]
fn garbage_within_an_event_costs_at_most_the_process() {
    let nonsense: [&[u8]; 4] = [
        b"\0\xff\r\n\r\n",
        b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x80",
    ];
    let mut victims = Victims::new();
    for bytes in nonsense {
        for after in (0..EVENT_BYTES).step_by(GARBAGE_EVERY_BYTES) {
            let told = format!("{:?} after {after} bytes of an event", bytes.escape_ascii().to_string());
            victims.meet_garbage(&told, Toxic::cut(after, End::Garbage(bytes.to_vec())));
        }
    }
}

impl Victims {
    /// As [`Self::meet`], where the event's very identity may have been changed on the way: then its answer goes astray, and
    /// what counts is that the process goes on or says why not.
    fn meet_garbage(&mut self, told: &str, downstream: Toxic) {
        let lambda = tolerant();
        let proxy = ToxicProxy::before(&lambda.address());
        let served = echo_behind(&proxy, lambda);
        served.answer("first", "1");
        served.lambda.wait_for_next();
        self.count += 1;
        let id = format!("event-{}", self.count);
        proxy.downstream(downstream);
        served
            .lambda
            .send(Event::new(&*id, "\"0123456789\"").due_in(Duration::from_millis(1200)));
        let is_over = || {
            let is_through = proxy.has_cut() || accepted(&served.lambda, &id) > 0;
            served.host.has_exited() || served.lambda.pending_next() > 0 && is_through
        };
        assert!(
            becomes(is_over),
            "{told}: {} {:?}",
            served.lambda.record(),
            served.host.log()
        );
        assert!(accepted(&served.lambda, &id) <= 1, "{told}: {}", served.lambda.record());
        if served.host.has_exited() {
            assert_ended_with_reason(&served, told);
        }
    }
}

#[test]
fn an_answer_that_nobody_confirms_costs_the_wait_until_lambdas_deadline_and_the_process_goes_on() {
    // On the way there, so that Lambda delivers the event again; and on the way back.
    for is_there in [true, false] {
        let lambda = tolerant();
        let proxy = ToxicProxy::before(&lambda.address());
        let address = proxy.address();
        let served = Served::with(lambda, guests::SLEEP, &[("AWS_LAMBDA_RUNTIME_API", &*address)]);
        served.answer("first", "1");
        served.lambda.wait_for_next();
        let before = proxy.passed_downstream();
        served
            .lambda
            .send(Event::new("lost", "500").due_in(Duration::from_millis(1200)));
        assert!(
            becomes(|| proxy.passed_downstream() > before),
            "the event does not arrive: {}",
            served.lambda.record()
        );
        let cut = Toxic::cut(0, End::HalfOpen);
        match is_there {
            true => proxy.upstream(cut),
            false => proxy.downstream(cut),
        };
        served
            .host
            .wait_for_log(|line| line.contains("\tready ") && line.contains("restarts=1"));
        assert_eq!(served.answer("after", "2"), 2);
        assert_eq!(accepted(&served.lambda, "lost"), 1, "{}", served.lambda.record());
    }
}

#[test]
fn a_runtime_api_that_says_nothing_is_waited_for() {
    let lambda = FakeRuntimeApi::start();
    let served = Served::with(lambda, guests::ECHO, &[]);
    served.lambda.wait_for_next();
    // That nothing comes of it cannot be waited for.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!served.host.has_exited());
    assert_eq!(served.answer("a", "1"), 1);
    assert_eq!(served.lambda.connections(), 1);
}
