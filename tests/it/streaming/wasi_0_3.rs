//! A server on `wasi:http` 0.3, whose body is read while its handler goes on (conformance statements 57–61, 64 and 65).

use std::time::Instant;

use orlop_tests::{Event, Reply, Served, guests, text};

use super::{
    LONG, MARGIN, MIB, OVERRUN, STREAMING, assert_nothing_at_error, assert_well_ended, error_of, function_url,
    http_parts, peak_memory,
};

/// One event for the server on `wasi:http` 0.3.
fn event_03(id: &str, path: &str) -> Event {
    Event::new(id, function_url("GET", path, ""))
}

fn assert_serves_on_03(served: &Served, id: &str) {
    let answer = served.ask(event_03(id, "/"));
    assert_well_ended(&answer);
    assert_eq!(http_parts(&answer.body).1, b"onetwo");
}

// Statements 57, 58, 59, 60 and 61.
#[test]
fn a_server_on_wasi_0_3_streams_and_fails_in_trailers() {
    let served = Served::with_env(guests::DRIP_03, &[STREAMING, MARGIN]);
    let pid = served.host.pid();
    assert_serves_on_03(&served, "before");
    for (path, error_type) in [
        ("/panic", "Runtime.GuestTrap"),
        ("/error", "Function.InvalidResponse"),
        ("/sleep", "Runtime.DeadlineExceeded"),
        ("/spin", "Runtime.DeadlineExceeded"),
    ] {
        let sent = Instant::now();
        served.lambda.send(event_03(path, path).due_in(OVERRUN));
        served.lambda.wait_for_request("the first chunk", |request| {
            request
                .path
                .ends_with(&format!("{}/response", path.trim_start_matches('/')))
                && request.body.ends_with(b"one")
        });
        assert!(sent.elapsed() < OVERRUN / 2, "{path}");
        let answer = served.lambda.wait_for_answer(path);
        assert_eq!(text(&error_of(&answer), "errorType"), error_type, "{path}");
        assert_eq!(http_parts(&answer.body).1, b"one", "{path}");
        assert_serves_on_03(&served, &format!("after{path}"));
    }
    assert_nothing_at_error(&served.lambda);
    assert_eq!(served.host.pid(), pid);
}

// Statements 64 and 65.
#[test]
fn a_server_on_wasi_0_3_streams_more_than_memory_holds_and_stops_when_it_is_told_to() {
    const SENT: usize = 100 * MIB;
    let served = Served::with_env(guests::DRIP_03, &[STREAMING, MARGIN]);
    let path = format!("/bytes/{SENT}");
    assert_serves_on_03(&served, "before");
    let before = peak_memory(&served);
    served.lambda.on_response(Reply::accepted());
    let answer = served.ask(event_03("a", &path).due_in(LONG));
    assert_well_ended(&answer);
    assert_eq!(http_parts(&answer.body).1.len(), SENT + "onetwo".len());
    let grown = peak_memory(&served) - before;
    assert!(grown < 16 * MIB, "{grown} bytes more");

    served.lambda.on_response(Reply::status(413).within_the_body(MIB));
    served.lambda.send(event_03("b", &path).due_in(LONG));
    assert_serves_on_03(&served, "after");
    assert_nothing_at_error(&served.lambda);
}
