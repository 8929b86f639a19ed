//! Sizes, and clients that send what they should not.

use std::time::Duration;

use orlop_local::gateway::{Kind, RestApi};
use orlop_local::platform::{EnvironmentStatus, State};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::{curl, exchange, get, get_with, read_to_end};
use super::{Front, every_kind};

const URL: Kind = Kind::FunctionUrl { streamed: false };
const BALANCER: Kind = Kind::LoadBalancer { multi_value: false };

#[tokio::test]
async fn bodies_beyond_the_front_doors_limit_are_refused() {
    let limits = [
        (Kind::HttpApi, 10 << 20),
        (Kind::RestApi(RestApi::default()), 10 << 20),
        (URL, 6_291_556),
        (BALANCER, 1 << 20),
    ];
    for (kind, limit) in limits {
        let front = Front::of(kind.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, vec![b'x'; limit + 1]).unwrap();
        let body = format!("@{}", file.display());
        for encoding in ["x-a: announced", "transfer-encoding: chunked"] {
            let sent = ["--data-binary", &body, "-H", "content-type: text/plain", "-H", encoding];
            assert_eq!(curl(&front.url("/"), &sent).await.status, 413, "{kind:?} {encoding}");
        }
        assert!(front.platform.environments().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_and_reads_only_then_sees_why_it_was_refused() {
    let front = Front::of(BALANCER).await;
    let mut stream = TcpStream::connect(front.server.address()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 20 << 20);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 20 << 20]).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_load_balancer_takes_a_body_of_one_mebibyte() {
    let front = Front::of(BALANCER).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
    let body = format!("@{}", file.display());
    let todo = format!("x-todo: {}", json!({"answer": {"statusCode": 200}}));
    let sent = ["--data-binary", &body, "-H", "content-type: text/plain", "-H", &todo];
    assert_eq!(curl(&front.url("/"), &sent).await.status, 200);
    // An answer is counted with all that stands around the body.
    let got = get_with(&front.url("/"), &json!({"size": 1 << 20})).await;
    assert_eq!(got.status, 502);
    assert_eq!(
        get_with(&front.url("/"), &json!({"size": 1_000_000})).await.bytes.len(),
        1_000_000
    );
}

#[tokio::test]
async fn a_body_that_makes_too_large_an_event_is_refused_and_the_developer_is_told() {
    let front = Front::of(Kind::HttpApi).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![0; 5 << 20]).unwrap();
    let sent = ["--data-binary", &format!("@{}", file.display())];
    assert_eq!(curl(&front.url("/"), &sent).await.status, 413);
    let notices = front.notices();
    assert!(notices[0].ends_with("bytes; the limit is 6291556"), "{notices:?}");
}

#[tokio::test]
async fn headers_beyond_api_gateways_limit_are_refused() {
    let large = format!("x-large: {}", "x".repeat(10_240));
    for (kind, expected) in every_kind().into_iter().zip([431, 431, 200, 200, 200, 200]) {
        let front = Front::of(kind.clone()).await;
        let got = curl(&front.url("/"), &["-H", &large]).await;
        assert_eq!(got.status, expected, "{kind:?}");
        if expected == 431 {
            let value = "x".repeat(9_000);
            let got = curl(&front.url("/"), &["-H", &format!("x-large: {value}")]).await;
            assert_eq!(got.status, 200);
        }
    }
    let front = Front::of(URL).await;
    let address = front.server.address();
    let huge = format!("GET / HTTP/1.1\r\nhost: a\r\nx-huge: {}\r\n\r\n", "x".repeat(600_000));
    assert!(exchange(address, huge.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert!(exchange(address, many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(front.platform.environments().len() <= 1);
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused() {
    let front = Front::of(URL).await;
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\nabc",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\n\r\n",
        "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let answer = exchange(front.server.address(), head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    assert!(front.platform.environments().is_empty());
    assert_eq!(get(&front.url("/")).await.status, 200);
}

#[tokio::test]
async fn what_follows_a_request_that_was_refused_is_not_read() {
    let front = Front::of(URL).await;
    for refused in [
        "POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 44\r\n\r\n",
        "GET /first HTTP/1.1\nhost: a\n\n",
        "GET /first HTTP/1.1\r\n\r\n",
    ] {
        let sent = format!("{refused}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = exchange(front.server.address(), sent.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(front.platform.environments().is_empty());
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_with_trailers_is_the_same_request() {
    let front = Front::of(URL).await;
    let sent = "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\
                connection: close\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx-late: 1\r\n\r\n";
    let mut stream = TcpStream::connect(front.server.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in sent.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("\"hello\"") && !answer.contains("x-late"), "{answer}");
}

#[tokio::test]
async fn a_client_that_resets_its_connection_in_the_middle_of_a_request_disturbs_nobody() {
    let front = Front::of(URL).await;
    let address = front.server.address();
    let todo = json!({"sleep": 0.3});
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-todo: {todo}\r\n\r\n");
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let is_busy = |status: &EnvironmentStatus| status.state == State::Busy;
        while !front.platform.environments().iter().any(is_busy) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        assert_eq!(get(&front.url("/")).await.status, 200);
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let front = Front::of(URL).await;
    let sent = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(front.server.address(), sent.as_bytes()).await;
    let (first, second) = (answer.find("\"/1\\\"").or(answer.find("\"/1\"")), answer.find("\"/2\""));
    assert!(first.is_some() && first < second, "{answer}");
}

#[tokio::test]
async fn methods_and_upgrades_that_are_not_served_are_refused() {
    let web_socket = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for (kind, expected) in every_kind().into_iter().zip([501, 501, 501, 501, 400, 400]) {
        let front = Front::of(kind.clone()).await;
        let address = front.server.address();
        let connect = exchange(address, b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n").await;
        assert!(connect.starts_with("HTTP/1.1 405 "), "{kind:?}: {connect}");
        let answer = exchange(address, web_socket.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{kind:?}: {answer}"
        );
    }
    let front = Front::of(BALANCER).await;
    assert_eq!(curl(&front.url("/"), &["-X", "TRACE"]).await.status, 405);
    let many = format!("x-forwarded-for: {}", ["198.51.100.1"; 31].join(","));
    assert_eq!(curl(&front.url("/"), &["-H", &many]).await.status, 463);
    // An offer to go on in HTTP/2 is passed over.
    assert_eq!(curl(&front.url("/"), &["--http2"]).await.status, 200);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_becomes_an_event() {
    let front = Front::of(URL).await;
    let mut stream = TcpStream::connect(front.server.address()).await.unwrap();
    let half = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
    read_to_end(&mut stream).await;
    let bad_chunk = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = exchange(front.server.address(), bad_chunk).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(front.platform.environments().is_empty());
    assert_eq!(get(&front.url("/")).await.status, 200);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_let_go() {
    let front = Front::of(URL).await;
    let answer = exchange(front.server.address(), b"GET / HTTP/1.1\r\nhost: a\r\nx-").await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_path_reaches_the_function_as_it_was_sent() {
    let front = Front::of(URL).await;
    for path in [
        "/a/../b",
        "/%2e%2e/a",
        "/%zz",
        "//a//",
        "/%00",
        "/a%2Fb",
        "/a;b=c",
        "/*",
    ] {
        let event = get(&front.url(path)).await.json();
        assert_eq!(event["rawPath"], path);
    }
    let event = get(&front.url("/?a=%zz&b=&&c")).await.json();
    assert_eq!(event["rawQueryString"], "a=%zz&b=&&c");
    let absolute = b"GET http://b/path?q HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(front.server.address(), absolute).await;
    assert!(answer.contains("\"rawPath\": \"/path\""), "{answer}");
}

#[tokio::test]
async fn header_values_that_are_no_utf_8_never_fail_a_request() {
    for kind in every_kind() {
        let is_streamed = kind == Kind::FunctionUrl { streamed: true };
        let front = Front::of(kind.clone()).await;
        let sent = b"GET / HTTP/1.1\r\nhost: a\r\nx-odd: caf\xe9\r\nconnection: close\r\n\r\n";
        let answer = exchange(front.server.address(), sent).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{kind:?}: {answer}");
        assert!(is_streamed || answer.contains("caf\\u00e9"), "{kind:?}: {answer}");
    }
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_has_begun() {
    let Front { platform, server } = Front::of(URL).await;
    let address = server.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    let running = tokio::spawn(async move { get_with(&format!("http://{address}/"), &json!({"sleep": 1})).await });
    while platform.environments().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop(Duration::from_secs(10)).await;
    assert_eq!(running.await.unwrap().status, 200);
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(address).await.is_err());
}
