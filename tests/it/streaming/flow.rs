//! Chunks leave when they are written, and no faster than they are read (conformance statements 57, 64 and 65).

use std::time::{Duration, Instant};

use orlop_tests::fake_runtime_api::Request;
use orlop_tests::{Event, FakeRuntimeApi, Reply, Served, examples, text};

use super::{
    END, LONG, MARGIN, MIB, OVERRUN, STREAMING, WORLDS, World, assert_nothing_at_error, assert_serves_on,
    assert_well_ended, error_of, function_url, http_parts, peak_memory,
};

/// Statements 51, 57, 59 and 61: the second chunk is never produced.
fn first_chunk_leaves_at_once(world: World, meanwhile: &str) {
    let served = world.served();
    let pid = served.host.pid();
    assert_serves_on(&served, world);
    let sent = Instant::now();
    let steps = ["write one", meanwhile, "write two"];
    served.lambda.send(world.event("a", &steps).due_in(OVERRUN));
    let first = served.lambda.wait_for_upload("a", world.prelude_bytes() + "one".len());
    let after = sent.elapsed();
    assert_eq!(world.written(&first), "one");
    assert!(after < OVERRUN / 2, "the first chunk came after {after:?}");

    let answer = served.lambda.wait_for_answer("a");
    let after = sent.elapsed();
    assert_eq!(text(&error_of(&answer), "errorType"), "Runtime.DeadlineExceeded");
    assert_eq!(world.written(&answer.body), "one");
    assert!(after < OVERRUN, "ended after {after:?}, when Lambda had given up");
    assert_nothing_at_error(&served.lambda);
    let next = served.ask(world.event("next", &["write next"]));
    assert_eq!(world.written(&next.body), "next");
    assert_eq!(served.host.pid(), pid);
}

#[test]
fn the_first_chunk_of_a_server_leaves_while_it_waits() {
    first_chunk_leaves_at_once(World::Http, "sleep 60000");
}

#[test]
fn the_first_chunk_of_a_server_leaves_while_it_computes() {
    first_chunk_leaves_at_once(World::Http, "spin");
}

#[test]
fn the_first_chunk_of_a_program_leaves_while_it_waits() {
    first_chunk_leaves_at_once(World::Command, "sleep 60000");
}

#[test]
fn the_first_chunk_of_a_program_leaves_while_it_computes() {
    first_chunk_leaves_at_once(World::Command, "spin");
}

// Statement 57.
#[test]
fn chunks_arrive_when_they_are_written() {
    for world in WORLDS {
        let served = world.served();
        let answer = served.ask(world.event("a", &["write one", "compute 300", "write two"]));
        assert_eq!(world.written(&answer.body), "onetwo");
        let [.., (first, 3), (second, 3)] = answer.pieces[..] else {
            panic!("{:?}", answer.pieces)
        };
        let between = second - first;
        assert!(between >= Duration::from_millis(200), "{world:?}: {between:?}");
    }
}

// Statement 57, with a component that knows nothing of us.
#[test]
fn server_sent_events_arrive_one_by_one() {
    let served = Served::with_env(examples::STREAM, &[STREAMING, MARGIN]);
    let event = Event::new("a", function_url("GET", "/?count=2&interval=1s", ""));
    served.lambda.send(event.due_in(LONG));
    let has = |request: &Request, tick: &str| String::from_utf8_lossy(&request.body).contains(tick);
    let first = served
        .lambda
        .wait_for_request("the first tick", |request| has(request, r#""number":1"#));
    assert!(!has(&first, r#""number":2"#) && first.completed_at.is_none());
    let answer = served.lambda.wait_for_answer("a");
    assert_well_ended(&answer);
    let (prelude, body) = http_parts(&answer.body);
    assert_eq!(prelude["headers"]["content-type"], "text/event-stream");
    assert!(body.ends_with(b"event: end\ndata: {}\n\n"));
}

/// How far the guest has come, in bytes, by its own account.
fn guest_wrote(served: &Served) -> usize {
    let count = |line: &String| line.rsplit_once("wrote ")?.1.trim_end_matches(['"', '}']).parse().ok();
    served.host.log().iter().filter_map(count).max().unwrap_or_default()
}

// Statement 64.
#[test]
fn a_slow_reader_holds_the_guest_back() {
    const OFFERED: usize = 48 * MIB;
    /// The kernel's buffers, and what is on its way.
    const IN_BETWEEN: usize = 16 * MIB;
    for world in WORLDS {
        let lambda = FakeRuntimeApi::builder().upload_bytes_per_second(8 << 20).start();
        let served = world.served_with(lambda, &[]);
        assert_serves_on(&served, world);
        let before = peak_memory(&served);
        served.lambda.on_response(Reply::accepted());
        served
            .lambda
            .send(world.event("a", &[&format!("bytes {OFFERED}")]).due_in(LONG));
        served.lambda.wait_for_upload("a", 4 * MIB);
        let wrote = guest_wrote(&served);
        let received = served.lambda.wait_for_upload("a", 4 * MIB).len();
        assert!(
            wrote <= received + IN_BETWEEN,
            "{world:?}: wrote {wrote} when {received} were read"
        );
        let answer = served.lambda.wait_for_answer("a");
        assert_well_ended(&answer);
        assert_eq!(answer.body.len(), world.prelude_bytes() + OFFERED);
        let grown = peak_memory(&served) - before;
        assert!(grown < 16 * MIB, "{world:?}: {grown} bytes more");
    }
}

// Statements 58 and 64.
#[test]
fn an_overrun_that_is_read_slowly_ends_with_its_trailers_all_the_same() {
    for world in WORLDS {
        let lambda = FakeRuntimeApi::builder()
            .upload_bytes_per_second(1 << 20)
            .patience(LONG)
            .start();
        let served = world.served_with(lambda, &[("ORLOP_TIMEOUT", "1s")]);
        let answer = served.ask(world.event("a", &["bytes 200000000"]).due_in(LONG));
        assert_eq!(text(&error_of(&answer), "errorType"), "Runtime.DeadlineExceeded");
        assert_serves_on(&served, world);
    }
}

// Statement 64.
#[test]
fn memory_does_not_grow_with_the_stream() {
    const SENT: usize = 200 * MIB;
    for world in WORLDS {
        let lambda = FakeRuntimeApi::builder().patience(LONG).start();
        let served = world.served_with(lambda, &[]);
        let warm = served.ask(world.event("warm", &["bytes 1048576"]).due_in(LONG));
        assert_well_ended(&warm);
        let before = peak_memory(&served);
        // Lambda's limit of a buffered answer does not hold here.
        served.lambda.on_response(Reply::accepted());
        let answer = served.ask(world.event("a", &[&format!("bytes {SENT}")]).due_in(LONG));
        assert_well_ended(&answer);
        assert_eq!(answer.body.len(), world.prelude_bytes() + SENT);
        let grown = peak_memory(&served) - before;
        assert!(grown < 16 * MIB, "{world:?}: {grown} bytes more");
    }
}

// Statement 65.
#[test]
fn an_early_refusal_stops_the_guest_and_the_next_event_is_served() {
    for world in WORLDS {
        for status in [413, 410, 403] {
            let served = world.served();
            served.lambda.on_response(Reply::status(status).within_the_body(MIB));
            served.lambda.send(world.event("a", &["bytes 200000000"]).due_in(LONG));
            let line = served.host.wait_for_log(|line| line.contains("stopped after"));
            let written = line.split_once("stopped after ").unwrap().1;
            let written: usize = written.split_once(':').unwrap().0.parse().unwrap();
            assert!(written < 100_000_000, "{line}");
            assert_serves_on(&served, world);
            assert_nothing_at_error(&served.lambda);
            served.host.wait_for_log(|line| line.contains("ERROR"));
        }
    }
}

// Statement 65.
#[test]
fn a_trap_after_an_early_refusal_is_not_said_to_leave_a_response() {
    let world = World::Http;
    let served = world.served();
    let whole = world.prelude_bytes() + "one".len();
    served.lambda.on_response(Reply::status(410).within_the_body(whole));
    served
        .lambda
        .send(world.event("a", &["write one", "sleep 500", "panic"]).due_in(LONG));
    let line = served.host.wait_for_log(|line| line.contains("the guest failed"));
    assert!(
        line.contains("nobody took any more") && line.contains("Runtime.GuestTrap"),
        "{line}"
    );
    served
        .host
        .wait_for_log(|line| line.contains("did not take the answer"));
    assert_serves_on(&served, world);
    assert_nothing_at_error(&served.lambda);
}

// Statement 65.
#[test]
fn an_early_500_ends_the_process() {
    for world in WORLDS {
        let served = world.served();
        served.lambda.on_response(Reply::status(500).within_the_body(MIB));
        served.lambda.send(world.event("a", &["bytes 200000000"]).due_in(LONG));
        assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
        let log = served.host.log();
        let last = log.last().unwrap();
        assert!(
            last.contains("FATAL") && last.contains("POST response") && last.contains("500"),
            "{last}"
        );
    }
}

#[test]
fn a_refusal_at_the_end_costs_the_event_only() {
    for world in WORLDS {
        let served = world.served();
        served.lambda.on_response(Reply::status(413));
        served.ask(world.event("a", &["write one"]));
        assert_serves_on(&served, world);
        assert_nothing_at_error(&served.lambda);
    }
}

// As runtime contract §1.2: only the end of the process gets Lambda out of a broken upload.
#[test]
fn a_connection_that_breaks_in_mid_stream_ends_the_process() {
    for world in WORLDS {
        let served = world.served();
        served.lambda.on_response(Reply::reset().within_the_body(MIB));
        served.lambda.send(world.event("a", &["bytes 200000000"]).due_in(LONG));
        assert_eq!(served.host.wait_for_exit(END).code(), Some(2));
        let log = served.host.log();
        let last = log.last().unwrap();
        assert!(last.contains("FATAL") && last.contains("POST response"), "{last}");
        assert_nothing_at_error(&served.lambda);
    }
}

#[test]
fn the_caller_does_not_wait_for_what_a_server_does_after_its_body() {
    let served = World::Http.served();
    let pid = served.host.pid();
    let sent = Instant::now();
    let answer = served.ask(World::Http.event("a", &["write one", "finish", "spin"]).due_in(OVERRUN));
    assert_well_ended(&answer);
    assert_eq!(World::Http.written(&answer.body), "one");
    assert!(answer.completed_at - sent < OVERRUN / 2);
    assert_serves_on(&served, World::Http);
    assert_eq!(served.host.pid(), pid);
    served
        .host
        .wait_for_log(|line| line.contains("Runtime.DeadlineExceeded"));
    assert_nothing_at_error(&served.lambda);
}
