//! Requests and responses on the wire.

use http::StatusCode;
use http_body_util::Full;
use http_body_util::channel::Channel;

use super::*;

async fn peer_and_outbound() -> (Peer, Outbound, String) {
    let peer = Peer::new().await;
    let origin = format!("http://{}", peer.address);
    let outbound = outbound(&format!("outbound = ['{origin}']"));
    (peer, outbound, origin)
}

/// What becomes of a `GET` that is answered with these bytes, after which the peer closes the connection.
async fn answered_with(response: &str) -> Result<Bytes, Error> {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let (body, _) = tokio::join!(fetch(&outbound, &origin), peer.answer(response));
    body
}

#[tokio::test]
async fn the_request_line_is_a_path_and_the_host_is_the_checked_one() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    for (uri, line) in [
        (origin.clone(), "GET / HTTP/1.1"),
        (format!("{origin}?q"), "GET /?q HTTP/1.1"),
        (
            format!("{origin}//a/../%2e%2F?x=%20&y"),
            "GET //a/../%2e%2F?x=%20&y HTTP/1.1",
        ),
        (
            format!("{origin}/http://other.example/"),
            "GET /http://other.example/ HTTP/1.1",
        ),
    ] {
        let request = Request::get(uri)
            .header("host", "other.example")
            .header("x-own", "kept")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let (response, seen) = tokio::join!(send(&outbound, request), peer.answer("HTTP/1.1 204 No Content\r\n\r\n"));
        assert_eq!(response.unwrap().0.status(), StatusCode::NO_CONTENT);
        assert_eq!(seen.split("\r\n").next(), Some(line));
        assert_eq!(header(&seen, "host"), Some(peer.address.to_string().as_str()));
        assert_eq!(header(&seen, "x-own"), Some("kept"));
    }
}

#[tokio::test]
async fn a_response_is_streamed_as_it_comes() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let request = get(&origin);
    let (response, mut stream) = tokio::join!(send(&outbound, request), async {
        let mut stream = peer.accept().await;
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nx-answer: yes\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        stream
    });
    let (response, _connection) = response.unwrap();
    assert_eq!(response.headers()["x-answer"], "yes");
    let mut body = response.into_body();
    for piece in ["one", "two"] {
        // Only what has been read of one piece lets the next one go.
        stream.write_all(format!("3\r\n{piece}\r\n").as_bytes()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_request_body_is_streamed_as_the_guest_writes_it() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let (mut pieces, body) = Channel::<Bytes>::new(1);
    let request = Request::post(&origin).body(body).unwrap();
    let (response, ()) = tokio::join!(send(&outbound, request), async {
        let mut stream = peer.accept().await;
        for piece in ["one", "two"] {
            pieces.send_data(Bytes::from(piece)).await.unwrap();
            read_until(&mut stream, piece).await;
        }
        drop(pieces);
        read_until(&mut stream, "0\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    assert_eq!(response.unwrap().0.status(), StatusCode::NO_CONTENT);
}

async fn read_until(stream: &mut TcpStream, end: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(end) {
        seen.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_failure_of_the_guests_own_body_comes_back_unchanged() {
    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("out of ink")]
    struct OutOfInk;
    let (peer, outbound, origin) = peer_and_outbound().await;
    let (pieces, body) = Channel::<Bytes, OutOfInk>::new(1);
    let request = Request::post(&origin).body(body).unwrap();
    let (result, _stream) = tokio::join!(send(&outbound, request), async {
        let stream = peer.accept().await;
        pieces.abort(OutOfInk);
        stream
    });
    let Err(Error::RequestBody(cause)) = result else {
        panic!("the failure is lost");
    };
    assert_eq!(cause.downcast_ref(), Some(&OutOfInk));
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let (response, _) = tokio::join!(
        send(&outbound, get(&origin)),
        peer.answer("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n")
    );
    assert_eq!(response.unwrap().0.status(), StatusCode::FOUND);
    assert!(peer.was_spared());
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_and_not_a_shorter_body() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonly",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly",
        "HTTP/1.1 200 OK\r\nx-",
        "",
    ] {
        let result = answered_with(cut).await;
        assert!(matches!(result, Err(Error::ResponseIncomplete)), "{cut:?}: {result:?}");
    }
    assert_eq!(
        answered_with("HTTP/1.1 200 OK\r\n\r\nto the end").await.unwrap(),
        "to the end"
    );
}

#[tokio::test]
async fn what_is_not_http_or_has_too_large_a_head_is_told_apart() {
    for odd in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let result = answered_with(odd).await;
        assert!(matches!(result, Err(Error::Protocol(_))), "{odd:?}: {result:?}");
    }
    for head in ["x-a: b\r\n".repeat(300), format!("x-a: {}\r\n", "b".repeat(200_000))] {
        let (peer, outbound, origin) = peer_and_outbound().await;
        let (result, _) = tokio::join!(fetch(&outbound, &origin), async {
            let mut stream = peer.accept().await;
            read_request(&mut stream).await;
            // The client may have hung up before it has all of it.
            let _ = stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes())
                .await;
        });
        assert!(
            matches!(result, Err(Error::ResponseHeadersTooLarge { .. })),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_at_the_deadline() {
    for beginning in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonly"] {
        let (peer, outbound, origin) = peer_and_outbound().await;
        let deadline = Instant::now() + Duration::from_millis(100);
        let call = async {
            let (response, _connection) = outbound.send(get(&origin), Timeouts::default(), deadline).await?;
            response.into_body().collect().await
        };
        let result = tokio::select! {
            result = call => result,
            () = hang(&peer, beginning) => unreachable!(),
        };
        assert!(
            matches!(result, Err(Error::DeadlineExceeded)),
            "{beginning:?}: {result:?}"
        );
        assert!(Instant::now() >= deadline);
    }
}

async fn hang(peer: &Peer, beginning: &str) {
    let mut stream = peer.accept().await;
    read_request(&mut stream).await;
    stream.write_all(beginning.as_bytes()).await.unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn the_guests_own_patience_ends_before_the_deadline() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let brief = Some(Duration::from_millis(1));
    let first_byte = Timeouts {
        first_byte: brief,
        ..Timeouts::default()
    };
    let result = tokio::select! {
        result = outbound.send(get(&origin), first_byte, later()) => result.err(),
        () = hang(&peer, "") => unreachable!(),
    };
    assert!(matches!(result, Some(Error::ReadTimeout)), "{result:?}");
    let between_bytes = Timeouts {
        between_bytes: brief,
        ..Timeouts::default()
    };
    let call = async {
        let (response, _connection) = outbound.send(get(&origin), between_bytes, later()).await?;
        response.into_body().collect().await
    };
    let result = tokio::select! {
        result = call => result,
        () = hang(&peer, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonly") => unreachable!(),
    };
    assert!(matches!(result, Err(Error::ReadTimeout)), "{result:?}");
}

#[tokio::test]
async fn giving_the_connection_up_closes_it() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let (sent, mut stream) = tokio::join!(send(&outbound, get(&origin)), async {
        let mut stream = peer.accept().await;
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
            .await
            .unwrap();
        stream
    });
    let (response, connection) = sent.unwrap();
    drop(connection);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_connection_ends_well_when_the_response_does() {
    let (peer, outbound, origin) = peer_and_outbound().await;
    let request = Request::post(&origin).body(Full::new(Bytes::from("in"))).unwrap();
    let (sent, seen) = tokio::join!(
        send(&outbound, request),
        peer.answer("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nout")
    );
    assert!(seen.ends_with("\r\n\r\nin"), "{seen}");
    let (response, connection) = sent.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "out");
    connection.await.unwrap();
}
