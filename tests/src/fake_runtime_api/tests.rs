//! The fake against a client that does as it is told.

use std::io::Write;

use super::*;
use wire::Source;

const NEXT: &str = "/2018-06-01/runtime/invocation/next";

/// A runtime that is nothing but a connection.
struct Client {
    stream: TcpStream,
    source: Source,
}

impl Client {
    fn new(fake: &FakeRuntimeApi) -> Self {
        let stream = TcpStream::connect(fake.address()).unwrap();
        Self {
            source: Source::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: fake\r\nUser-Agent: test/1\r\n").into_bytes();
        for (name, value) in headers {
            request.extend(header_line(name, value.as_bytes()));
        }
        if method == "POST" && !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
            request.extend(header_line("Content-Length", body.len().to_string().as_bytes()));
        }
        self.stream
            .write_all(&[request.as_slice(), b"\r\n", body].concat())
            .unwrap();
    }

    fn receive(&mut self) -> std::io::Result<(u16, Headers, Vec<u8>)> {
        let (status, headers) = self.source.response_head()?;
        let mut body = Vec::new();
        let framing = if status == 204 {
            wire::Framing::Length(0)
        } else {
            response_framing(&headers)?
        };
        self.source.body(framing, |piece| body.extend_from_slice(piece))?;
        Ok((status, headers, body))
    }

    fn next(&mut self) -> (u16, Headers, Vec<u8>) {
        self.send("GET", NEXT, &[], b"");
        self.receive().unwrap()
    }

    fn respond(&mut self, id: &str, body: &[u8]) -> u16 {
        self.send(
            "POST",
            &format!("/2018-06-01/runtime/invocation/{id}/response"),
            &[],
            body,
        );
        self.receive().unwrap().0
    }

    fn fail(&mut self, id: &str) -> u16 {
        self.report(&format!("/2018-06-01/runtime/invocation/{id}/error"))
    }

    fn report(&mut self, path: &str) -> u16 {
        let body = br#"{"errorType":"Runtime.Test","errorMessage":"no","stackTrace":[]}"#;
        self.send(
            "POST",
            path,
            &[("Lambda-Runtime-Function-Error-Type", "Runtime.Test")],
            body,
        );
        self.receive().unwrap().0
    }
}

fn tolerant() -> FakeRuntimeApi {
    FakeRuntimeApi::builder().tolerate_violations().start()
}

#[test]
fn events_go_out_in_order_and_answers_come_back() {
    let fake = FakeRuntimeApi::start();
    fake.send(Event::new("one", "{}").tenant_id("blue").trace_id(""))
        .send(Event::new("two/2", b"\xFF").in_chunks_of(1));
    let mut client = Client::new(&fake);

    let (status, headers, body) = client.next();
    assert_eq!((status, body.as_slice()), (200, b"{}".as_slice()));
    assert_eq!(
        wire::value(&headers, "lambda-runtime-aws-tenant-id"),
        Some(b"blue".as_slice())
    );
    assert_eq!(wire::value(&headers, "lambda-runtime-trace-id"), Some(b"".as_slice()));
    assert!(wire::value(&headers, "lambda-runtime-deadline-ms").is_some());
    assert_eq!(client.respond("one", b"1"), 202);

    assert_eq!(client.next().2, b"\xFF");
    assert_eq!(client.fail("two%2F2"), 202);

    let answer = fake.wait_for_answer("one");
    assert_eq!((answer.is_error, answer.text(), answer.connection), (false, "1", 1));
    let answer = fake.wait_for_answer("two/2");
    assert_eq!(answer.error_type_header.as_deref(), Some("Runtime.Test"));
    assert_eq!(answer.json()["errorMessage"], "no");
}

#[test]
fn a_pending_next_is_seen_and_released() {
    let fake = FakeRuntimeApi::start();
    let mut client = Client::new(&fake);
    client.send("GET", NEXT, &[], b"");
    fake.wait_for_next();
    fake.send(Event::new("one", "{}"));
    assert_eq!(client.receive().unwrap().0, 200);
    assert_eq!(fake.pending_next(), 0);
}

#[test]
fn a_runtime_that_left_does_not_swallow_an_event() {
    let fake = FakeRuntimeApi::start();
    let mut gone = Client::new(&fake);
    gone.send("GET", NEXT, &[], b"");
    fake.wait_for_next();
    // A mere drop leaves it open as long as another test is between the fork and the exec of a child.
    gone.stream.shutdown(Shutdown::Both).unwrap();
    fake.send(Event::new("one", "{}"));
    assert_eq!(Client::new(&fake).next().2, b"{}");
}

#[test]
fn illegal_transitions_are_refused_and_noted() {
    let fake = tolerant();
    fake.send(Event::new("one", "{}"));
    let mut client = Client::new(&fake);
    assert_eq!(client.respond("none", b""), 400);
    client.next();
    assert_eq!(client.next().2, b"{}", "an event without an answer comes again");
    assert_eq!(client.respond("other", b""), 400);
    assert_eq!(client.respond("one", b""), 202);
    assert_eq!(client.fail("one"), 403);
    assert_eq!(client.report("/2018-06-01/runtime/init/error"), 403);
    assert_eq!(
        fake.violations(),
        [
            "/response for `none`, which is not the current event",
            "/next before the answer for `one`",
            "/response for `other`, which is not the current event",
            "/error for `one`, which has its answer",
            "/init/error after the first /next",
        ]
    );
}

#[test]
#[should_panic(expected = "GET /elsewhere has no User-Agent; GET /elsewhere has no Host; there is no GET /elsewhere")]
fn violations_fail_the_test_that_does_not_look() {
    let fake = FakeRuntimeApi::start();
    let mut client = Client::new(&fake);
    client.stream.write_all(b"GET /elsewhere HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.receive().unwrap().0, 404);
}

#[test]
fn malformed_errors_are_noted() {
    let fake = tolerant();
    fake.send(Event::new("one", "{}").invocation_id("nonce"));
    let mut client = Client::new(&fake);
    client.next();
    let path = "/2018-06-01/runtime/invocation/one/error";
    client.send(
        "POST",
        path,
        &[
            ("Lambda-Runtime-Function-Error-Type", "Odd"),
            ("Transfer-Encoding", "chunked"),
        ],
        b"2\r\n{}\r\n0\r\n\r\n",
    );
    assert_eq!(client.receive().unwrap().0, 202);
    let violations = fake.violations().join("\n");
    for part in [
        "echoes the invocation id None",
        "no Content-Length",
        "error type `Odd`",
        "without errorMessage",
    ] {
        assert!(violations.contains(part), "{part} in {violations}");
    }
}

#[test]
fn scripted_answers_come_once_and_in_line() {
    let fake = FakeRuntimeApi::start();
    fake.on_next(Reply::status(204))
        .send(Event::new("one", "{}"))
        .send(Event::new("two", "{}"))
        .on_next(Reply::status(500));
    fake.on_response(Reply::status(413)).on_error(Reply::status(413));
    let mut client = Client::new(&fake);
    assert_eq!(client.next().0, 204);
    assert_eq!(client.next().0, 200);
    assert_eq!(client.respond("one", b"1"), 413);
    assert_eq!(client.next().0, 200);
    assert_eq!(client.fail("two"), 413);
    assert_eq!(client.fail("two"), 202, "a smaller error is taken after the refusal");
    assert_eq!(fake.wait_for_answers("two", 2).len(), 2);
    let (status, _, body) = client.next();
    assert_eq!(
        (status, body.as_slice()),
        (
            500,
            br#"{"errorMessage":"Internal Server Error","errorType":"InternalServerError"}"#.as_slice()
        )
    );
}

#[test]
fn connections_break_where_the_script_says() {
    let fake = FakeRuntimeApi::start();
    fake.drop_connections(1);
    let mut client = Client::new(&fake);
    client.stream.write_all(b"GET").ok();
    assert!(client.receive().is_err());

    fake.on_next(Reply::reset())
        .send(Event::new("one", "[1,2,3]").cut_after(3))
        .send(Event::new("two", "{}").then_closing());
    let mut client = Client::new(&fake);
    client.send("GET", NEXT, &[], b"");
    assert!(client.receive().is_err());

    let mut client = Client::new(&fake);
    client.send("GET", NEXT, &[], b"");
    assert_eq!(client.receive().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);

    let mut client = Client::new(&fake);
    assert_eq!(client.next().2, b"[1,2,3]", "what was cut short comes again");
    assert_eq!(client.respond("one", b""), 202);
    assert_eq!(client.next().2, b"{}");
    client.stream.write_all(b"x").ok();
    assert!(client.receive().is_err(), "the idle connection is dead");
    assert_eq!(Client::new(&fake).respond("two", b""), 202);
}

#[test]
fn the_port_can_refuse_and_accept() {
    let fake = FakeRuntimeApi::builder().refusing_connections().start();
    let refused = || TcpStream::connect(fake.address()).unwrap_err().kind() == std::io::ErrorKind::ConnectionRefused;
    assert!(refused());
    fake.accept_connections();
    let mut client = Client::new(&fake);
    client.send("GET", NEXT, &[], b"");
    fake.wait_for_next();
    fake.refuse_connections();
    assert!(client.receive().is_err());
    assert!(refused());
    fake.accept_connections().send(Event::new("one", "{}"));
    assert_eq!(Client::new(&fake).next().0, 200);
}

#[test]
fn a_streamed_answer_is_seen_chunk_by_chunk_with_its_trailers() {
    let fake = FakeRuntimeApi::start();
    fake.send(Event::new("one", "{}").invocation_id("nonce"));
    let mut client = Client::new(&fake);
    client.next();
    let headers = [
        ("Lambda-Runtime-Function-Response-Mode", "streaming"),
        ("Lambda-Runtime-Invocation-Id", "nonce"),
        ("Transfer-Encoding", "chunked"),
    ];
    client.send(
        "POST",
        "/2018-06-01/runtime/invocation/one/response",
        &headers,
        b"3\r\nabc\r\n",
    );
    assert_eq!(fake.wait_for_upload("one", 3), b"abc");
    client
        .stream
        .write_all(b"1;x=y\r\nd\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.Late\r\n\r\n")
        .unwrap();
    assert_eq!(client.receive().unwrap().0, 202);
    let answer = fake.wait_for_answer("one");
    assert_eq!(answer.body, b"abcd");
    assert_eq!(
        answer.pieces.iter().map(|(_, length)| *length).collect::<Vec<_>>(),
        [3, 1]
    );
    assert_eq!(
        answer.trailer("lambda-runtime-function-error-type"),
        Some(b"Function.Late".as_slice())
    );
}

#[test]
fn an_upload_that_breaks_off_wedges_the_state_machine() {
    let fake = tolerant();
    fake.send(Event::new("one", "{}"));
    let mut client = Client::new(&fake);
    client.next();
    let request = b"POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\nContent-Length: 5\r\n\r\nabc";
    client.stream.write_all(request).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.receive().is_err());
    assert_eq!(Client::new(&fake).next().0, 403);
    assert!(fake.violations()[0].contains("broke off"), "{:?}", fake.violations());
}

#[test]
fn a_refusal_in_the_middle_of_an_upload_ends_the_event_whether_or_not_the_rest_comes() {
    let fake = FakeRuntimeApi::start();
    fake.send(Event::new("one", "{}"))
        .on_response(Reply::status(413).within_the_body(3));
    let mut client = Client::new(&fake);
    client.next();
    let mut upload = Client::new(&fake);
    let path = "/2018-06-01/runtime/invocation/one/response";
    let headers = [
        ("Lambda-Runtime-Function-Response-Mode", "streaming"),
        ("Transfer-Encoding", "chunked"),
    ];
    upload.send("POST", path, &headers, b"2\r\nab\r\n");
    fake.wait_for_upload("one", 2);
    upload.stream.write_all(b"1\r\nc\r\n").unwrap();
    assert_eq!(upload.receive().unwrap().0, 413);
    upload.stream.shutdown(Shutdown::Both).unwrap();
    fake.send(Event::new("two", "{}"));
    assert_eq!(client.next().0, 200);
    assert_eq!(client.respond("two", b"2"), 202);
}

#[test]
fn several_events_are_open_at_once_where_allowed() {
    let fake = FakeRuntimeApi::builder().concurrency(2).start();
    let mut clients = [Client::new(&fake), Client::new(&fake)];
    for client in &mut clients {
        client.send("GET", NEXT, &[], b"");
    }
    fake.wait_for_nexts(2);
    fake.send(Event::new("one", "1")).send(Event::new("two", "2"));
    for client in &mut clients {
        let id = if client.receive().unwrap().2 == b"1" {
            "one"
        } else {
            "two"
        };
        assert_eq!(client.respond(id, id.as_bytes()), 202);
    }
    assert_eq!(fake.wait_for_answer("one").body, b"one");
    assert_eq!(fake.wait_for_answer("two").body, b"two");
}

#[test]
fn init_ends_when_a_registered_extension_polls_too() {
    let fake = FakeRuntimeApi::start();
    let (mut runtime, mut extension) = (Client::new(&fake), Client::new(&fake));
    let name = [("Lambda-Extension-Name", "graceful")];
    runtime.send("POST", "/2020-01-01/extension/register", &name, br#"{"events":[]}"#);
    let (status, headers, _) = runtime.receive().unwrap();
    assert_eq!(status, 200);
    let identifier = wire::value(&headers, "Lambda-Extension-Identifier").unwrap();
    let identifier = std::str::from_utf8(identifier).unwrap();

    fake.send(Event::new("one", "{}"));
    runtime.send("GET", NEXT, &[], b"");
    fake.wait_for_request("/next", |request| request.path == NEXT);
    extension.send(
        "GET",
        "/2020-01-01/extension/event/next",
        &[("Lambda-Extension-Identifier", identifier)],
        b"",
    );
    assert_eq!(runtime.receive().unwrap().0, 200);
}

#[test]
fn a_new_runtime_starts_from_the_beginning() {
    let fake = FakeRuntimeApi::start();
    fake.send(Event::new("one", "{}")).send(Event::new("two", "{}"));
    assert_eq!(Client::new(&fake).next().0, 200);
    fake.restart_runtime();
    assert_eq!(Client::new(&fake).report("/2018-06-01/runtime/init/error"), 202);
    fake.restart_runtime();
    let mut client = Client::new(&fake);
    client.next();
    assert_eq!(client.respond("two", b""), 202);
}

#[test]
fn init_errors_are_reported_once() {
    let fake = tolerant();
    let mut client = Client::new(&fake);
    assert_eq!(client.report("/2018-06-01/runtime/init/error"), 202);
    assert_eq!(client.report("/2018-06-01/runtime/init/error"), 403);
    assert_eq!(client.next().0, 403);
    assert_eq!(fake.wait_for_init_error().json()["errorType"], "Runtime.Test");
    assert_eq!(fake.violations(), ["a second /init/error", "/next after /init/error"]);
}

#[test]
#[should_panic(expected = "in vain for 1 answers for `one`; the fake Runtime API saw:\n")]
fn a_wait_that_expires_shows_the_record() {
    let fake = FakeRuntimeApi::builder().patience(Duration::from_millis(1)).start();
    fake.wait_for_answer("one");
}
