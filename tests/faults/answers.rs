//! What a Runtime API may answer, in place of what it should (F07 to F16, F37).

use std::net::TcpListener;
use std::time::Duration;

use orlop_tests::{Event, FakeRuntimeApi, Reply, Served, guests};

use crate::{assert_ended_with_reason, posts, tolerant};

#[test]
fn a_status_of_next_that_may_pass_is_asked_about_again_and_never_followed_elsewhere() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("http://{}/next", elsewhere.local_addr().unwrap());
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    for status in [
        201, 204, 206, 301, 302, 307, 308, 400, 401, 404, 408, 410, 418, 429, 501, 502, 503, 504,
    ] {
        let body = if status == 204 { "" } else { "{}" };
        let reply = Reply::status(status)
            .with_body(body)
            .with_header("Location", location.clone());
        served.lambda.on_next(reply);
        let id = format!("after-{status}");
        assert_eq!(served.answer(&id, "1"), 1, "{status}");
        assert_eq!(served.lambda.answers(&id).len(), 1, "{status}");
    }
    assert!(elsewhere.accept().is_err(), "somebody followed a redirection");
}

#[test]
fn a_status_of_next_that_does_not_pass_ends_the_process() {
    for (status, replies) in [(500, 1), (403, 1), (503, 40), (400, 40)] {
        let lambda = tolerant();
        for _ in 0..replies {
            lambda.on_next(Reply::status(status));
        }
        let served = Served::with(lambda, guests::ECHO, &[]);
        let told = format!("{replies} times {status}");
        assert_ended_with_reason(&served, &told);
        assert!(
            served
                .host
                .log()
                .last()
                .is_some_and(|line| line.contains(&status.to_string())),
            "{told}"
        );
        let polls = served.lambda.requests().len();
        assert!(polls <= replies && polls < 20, "{told}: asked {polls} times");
    }
}

#[test]
fn an_answer_that_was_taken_counts_however_badly_that_is_said() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    for (what, reply) in [
        ("a body that breaks off", Reply::accepted().cut_after(3)),
        (
            "no body",
            Reply::verbatim("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
        ),
        (
            "no length",
            Reply::verbatim("HTTP/1.1 202 Accepted\r\n\r\n{\"status\":\"OK\"}").then_closing(),
        ),
        ("an end of the connection", Reply::accepted().then_closing()),
        ("a body that is no JSON", Reply::accepted().with_body(vec![0xff; 1000])),
        (
            "more than was announced",
            Reply::verbatim("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}surplus"),
        ),
        (
            "HTTP/1.0",
            Reply::verbatim("HTTP/1.0 202 Accepted\r\n\r\n{}").then_closing(),
        ),
        ("another success", Reply::status(200)),
        (
            "an interim response",
            Reply::verbatim("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"),
        ),
    ] {
        served.lambda.on_response(reply);
        served.lambda.send(Event::new(what, "1"));
        assert_eq!(served.answer(&format!("after {what}"), "2"), 2, "{what}");
        assert_eq!(served.lambda.answers(what).len(), 1, "{what}: posted once");
    }
    assert!(!served.host.log().iter().any(|line| line.contains("restarts=1")));
}

#[test]
fn an_answer_that_was_refused_is_void_and_the_next_event_is_served() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    for status in [400, 403, 410, 413] {
        let id = format!("refused-{status}");
        served.lambda.on_response(Reply::status(status));
        served.lambda.send(Event::new(&*id, "1"));
        assert_eq!(served.answer(&format!("after-{status}"), "2"), 2);
        assert_eq!(
            served.lambda.answers(&id).len(),
            1,
            "{id} is not posted again, and not as an error"
        );
    }
}

#[test]
fn an_answer_that_cannot_be_taken_ends_the_process() {
    for status in [500, 502, 301, 418] {
        let lambda = tolerant();
        lambda.on_response(Reply::status(status));
        let served = Served::with(lambda, guests::ECHO, &[]);
        served.lambda.send(Event::new("a", "1"));
        assert_ended_with_reason(&served, &status.to_string());
        assert_eq!(served.lambda.answers("a").len(), 1, "{status}");
    }
}

#[test]
fn a_connection_that_breaks_under_an_answer_costs_one_more_try() {
    for (what, reply) in [
        ("a reset", Reply::reset()),
        ("an end", Reply::hang_up()),
        ("half a status", Reply::verbatim("HTTP/1.1 20").then_closing()),
    ] {
        // The first copy has arrived, so that the second one is refused: which is as good as accepted.
        for is_taken in [true, false] {
            let reply = if is_taken {
                reply.clone()
            } else {
                reply.clone().leaving_the_event_open()
            };
            let served = Served::with(tolerant(), guests::ECHO, &[]);
            served.lambda.on_response(reply);
            served.lambda.send(Event::new("a", "1"));
            let copies = served.lambda.wait_for_answers("a", 2);
            assert!(copies.iter().all(|copy| copy.body == b"1"), "{what}");
            assert_eq!(served.answer("after", "2"), 2, "{what}");
            assert_eq!(served.lambda.answers("a").len(), 2, "{what}: two copies, no more");
        }
    }
}

#[test]
fn a_connection_that_breaks_under_each_copy_of_an_answer_ends_the_process() {
    let lambda = tolerant();
    for _ in 0..2 {
        lambda.on_response(Reply::reset().leaving_the_event_open());
    }
    let served = Served::with(lambda, guests::ECHO, &[]);
    served.lambda.send(Event::new("a", "1"));
    assert_ended_with_reason(&served, "two resets");
    assert_eq!(served.lambda.answers("a").len(), 2);
}

#[test]
fn an_answer_that_is_taken_late_is_waited_for_until_lambdas_deadline() {
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    served
        .lambda
        .on_response(Reply::accepted().after(Duration::from_millis(700)));
    served
        .lambda
        .send(Event::new("late", "1").due_in(Duration::from_secs(10)));
    assert_eq!(served.answer("after", "2"), 2);
    assert!(
        !served.host.log().iter().any(|line| line.contains("restarts=1")),
        "{:?}",
        served.host.log()
    );
    // And not beyond it.
    served
        .lambda
        .on_response(Reply::accepted().after(Duration::from_secs(4)));
    served
        .lambda
        .send(Event::new("never", "1").due_in(Duration::from_millis(300)));
    served.host.wait_for_log(|line| line.contains("restarts=1"));
    assert_eq!(served.answer("at last", "3"), 3);
}

#[test]
fn an_event_of_two_minds_about_its_id_is_not_run() {
    const ID: &str = "Lambda-Runtime-Aws-Request-Id";
    let served = Served::with(tolerant(), guests::ECHO, &[]);
    served.lambda.send(Event::new("same", "1").add_header(ID, "same"));
    assert_eq!(served.lambda.wait_for_answer("same").body, b"1");
    for event in [
        Event::new("one", "1").add_header(ID, "another"),
        Event::new("none", "1").without_header(ID),
        Event::new("empty", "1").set_header(ID, ""),
    ] {
        let served = Served::with(tolerant(), guests::ECHO, &[]);
        let told = format!("{event:?}");
        served.lambda.send(event);
        assert_ended_with_reason(&served, &told);
        assert!(posts(&served.lambda).is_empty(), "{told}: {}", served.lambda.record());
    }
}

#[test]
fn an_event_that_comes_again_under_its_old_id_is_answered_again() {
    let served = Served::new(guests::ECHO);
    for round in 1..=3 {
        served.lambda.send(Event::new("again", round.to_string()));
        let answers = served.lambda.wait_for_answers("again", round);
        assert_eq!(answers[round - 1].text(), round.to_string());
    }
}

#[test]
fn a_half_close_after_an_event_is_no_obstacle() {
    let lambda = FakeRuntimeApi::start();
    let served = Served::with(lambda, guests::ECHO, &[]);
    served.lambda.send(Event::new("closing", "1").then_closing());
    assert_eq!(served.lambda.wait_for_answer("closing").body, b"1");
    served.lambda.send(Event::new("open-ended", "2").until_close());
    assert_eq!(served.lambda.wait_for_answer("open-ended").body, b"2");
    assert_eq!(served.answer("after", "3"), 3);
}
