//! Clients that are slow, or many. What takes seconds and minutes by default takes tenths of a second here.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use orlop_local::server::{BrokenOff, Limits, Request, Server, read, respond};
use orlop_tests::process::PATIENCE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::clients::read_to_end;

const TICK: Duration = Duration::from_millis(50);

/// As the defaults, but a hundredth of the time; a body may take a bit longer than that, for slow machines.
const LIMITS: Limits = Limits {
    connections: 512,
    head: Duration::from_millis(400),
    pause: Duration::from_millis(400),
    body: Duration::from_millis(1_500),
    answer: Duration::from_millis(1_200),
};

/// A server that answers with the length of the body, or says that it broke off.
async fn server(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answer = |request: Request| async {
        match read(request.into_body(), 1 << 20).await {
            Ok(body) => respond(StatusCode::OK, "text/plain", body.len().to_string()),
            Err(error) => respond(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
        }
    };
    Server::with_limits(listener, limits, answer).unwrap()
}

async fn sent(server: &Server, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Sends bytes one by one, a tick between them, until there are so many or the server does not want them.
async fn drip(stream: &mut TcpStream, count: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        if stream.write_all(b"a").await.is_err() {
            break;
        }
        tokio::time::sleep(TICK).await;
    }
    start.elapsed()
}

#[test]
fn clients_have_the_time_that_the_documentation_says() {
    let expected = Limits {
        connections: 512,
        head: Duration::from_secs(10),
        pause: Duration::from_secs(30),
        body: Duration::from_secs(120),
        answer: Duration::from_secs(120),
    };
    assert_eq!(Limits::default(), expected);
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_its_connection_however_it_drips() {
    let server = server(LIMITS).await;
    for beginning in ["", "G", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let start = Instant::now();
        let mut stream = sent(&server, beginning).await;
        assert_eq!(read_to_end(&mut stream).await, "", "{beginning:?}");
        assert!(start.elapsed() >= LIMITS.head, "{beginning:?}");
    }
    let mut stream = sent(&server, "GET / HTTP/1.1\r\nx-a: ").await;
    let took = drip(&mut stream, 200).await;
    assert!(took < TICK * 100, "{took:?}");
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_as_long_as_a_head_may_take() {
    let server = server(LIMITS).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut stream = sent(&server, request).await;
    tokio::time::sleep(LIMITS.head / 4).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let start = Instant::now();
    let answers = read_to_end(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(start.elapsed() >= LIMITS.head);
}

#[tokio::test]
async fn a_body_may_neither_pause_nor_take_too_long() {
    let server = server(LIMITS).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100\r\n\r\n";
    let mut silent = sent(&server, &format!("{head}half")).await;
    let answer = read_to_end(&mut silent).await;
    assert!(answer.ends_with("the body broke off"), "{answer}");

    let mut slow = sent(&server, head).await;
    let took = drip(&mut slow, 100).await;
    assert!(took < TICK * 100, "{took:?}");
    let answer = read_to_end(&mut slow).await;
    assert!(answer.is_empty() || answer.ends_with("the body broke off"), "{answer}");

    let mut steady = sent(&server, &format!("{head}{}", "a".repeat(96))).await;
    drip(&mut steady, 4).await;
    let answer = read_to_end(&mut steady).await;
    assert!(answer.ends_with("\r\n\r\n100"), "{answer}");
}

/// Counts when it is dropped.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ended, sent_pieces) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (ending, counting) = (Arc::clone(&ended), Arc::clone(&sent_pieces));
    let answer = move |_: Request| {
        let (held, count) = (Held(Arc::clone(&ending)), Arc::clone(&counting));
        async move {
            let pieces = stream::poll_fn(move |_| {
                let _held = &held;
                count.fetch_add(1, Ordering::Relaxed);
                let piece = Frame::data(Bytes::from(vec![b'x'; 1 << 20]));
                Poll::Ready(Some(Ok::<_, BrokenOff>(piece)))
            });
            Response::new(StreamBody::new(pieces).boxed())
        }
    };
    let server = Server::with_limits(listener, LIMITS, answer).unwrap();
    let start = Instant::now();
    let _deaf = sent(&server, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while ended.load(Ordering::Relaxed) == 0 {
        assert!(start.elapsed() < PATIENCE, "the client is not let go");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= LIMITS.answer);
    // The answer is endless; what no client takes is not made.
    let made = sent_pieces.load(Ordering::Relaxed);
    assert!(made < 64, "{made} MiB");
}

#[tokio::test]
async fn a_request_beside_six_hundred_idle_and_half_open_connections_is_answered() {
    // Both ends of all connections are in this process.
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let server = server(LIMITS).await;
    let mut idle = Vec::new();
    for number in 0..600 {
        let beginning = ["", "GET / HTTP/1.1\r\nhost: a\r\n"][number % 2];
        idle.push(sent(&server, beginning).await);
    }
    let mut stream = sent(&server, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    for stream in &mut idle {
        match stream.read(&mut [0]).await {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}
