use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::header::CONTENT_LENGTH;

use super::*;

/// What the server does with one connection: how much of a request it reads before it writes what.
type Script = Vec<(Until, Vec<u8>)>;

enum Until {
    /// The end of the request's head.
    Head,
    /// So many bytes.
    Bytes(usize),
}

/// Serves one connection after the other, closes each at the end of its script, and gives back what it has read.
fn server(scripts: Vec<Script>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let mut heard = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = Vec::new();
            for (until, answer) in script {
                let from = read.len();
                loop {
                    let is_enough = match until {
                        Until::Head => read[from..].windows(4).any(|window| window == b"\r\n\r\n"),
                        Until::Bytes(count) => read.len() - from >= count,
                    };
                    if is_enough {
                        break;
                    }
                    let mut buffer = [0; 4096];
                    let count = stream.read(&mut buffer).unwrap();
                    assert!(count > 0, "the client hung up");
                    read.extend_from_slice(&buffer[..count]);
                }
                stream.write_all(&answer).unwrap();
            }
            heard.push(String::from_utf8_lossy(&read).into_owned());
        }
        heard
    });
    (address, serving)
}

fn connection(address: SocketAddr) -> Connection {
    Connection::new(&address.to_string(), Interrupter::default())
}

fn get() -> Message<Bytes> {
    Message {
        method: Method::GET,
        path: "/next".into(),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

fn post(body: impl Into<Bytes>) -> Message<Bytes> {
    let body = body.into();
    Message {
        method: Method::POST,
        path: "/answer".into(),
        headers: vec![(CONTENT_LENGTH, body.len().into())],
        body,
    }
}

/// Sends, and reads a body of up to 100 bytes.
fn exchange(connection: &mut Connection, request: &Message<Bytes>) -> Result<(u16, Option<Bytes>), TransportError> {
    let (head, ()) = connection.send(request, |_| ())?;
    let body = connection.read_up_to(&head, 100)?;
    Ok((head.status.as_u16(), body))
}

fn answered(answers: &[&[u8]]) -> Vec<Result<(u16, Option<Bytes>), String>> {
    let script = answers.iter().map(|answer| (Until::Head, answer.to_vec())).collect();
    let (address, serving) = server(vec![script]);
    let mut connection = connection(address);
    let answers = answers
        .iter()
        .map(|_| exchange(&mut connection, &get()).map_err(|error| error.to_string()))
        .collect();
    drop(connection);
    serving.join().unwrap();
    answers
}

fn is(status: u16, body: &'static str) -> Result<(u16, Option<Bytes>), String> {
    Ok((status, Some(Bytes::from_static(body.as_bytes()))))
}

#[test]
fn bodies_end_where_their_framing_says_and_the_connection_is_used_again() {
    let got = answered(&[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n\
          3;name=\"value\"\r\nsec\r\n03\r\nond\r\n0\r\nTrailer: t\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nagain",
        b"HTTP/1.0 200 OK\r\n\r\nuntil it is closed",
    ]);
    let expected = [
        is(200, "first"),
        is(202, "second"),
        is(204, ""),
        is(200, "again"),
        is(200, "until it is closed"),
    ];
    assert_eq!(got, expected);
}

#[test]
fn a_body_beyond_the_limit_is_not_read() {
    let chunk = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "65\r\n".as_bytes(),
        &[b'x'; 101],
    ]
    .concat();
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 101]].concat();
    for answer in [b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", &chunk[..], &endless] {
        assert_eq!(answered(&[answer]), [Ok((200, None))]);
    }
}

#[test]
fn what_is_no_response_is_an_error() {
    for answer in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfirst".as_slice(),
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nfirst",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirs",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nlonger\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200",
        b"",
    ] {
        let [answer] = answered(&[answer]).try_into().unwrap();
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced_before_an_answer_is_written() {
    let once = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let (address, serving) = server(vec![
        vec![(Until::Head, once("event"))],
        vec![(Until::Head, once("taken"))],
        vec![(Until::Head, once("another event"))],
    ]);
    let mut connection = connection(address);
    for request in [get(), post("an answer"), get()] {
        exchange(&mut connection, &request).unwrap();
        // The server's end of the connection arrives.
        while !matches!(&connection.open, Some(open) if !open.is_usable(false)) {
            thread::yield_now();
        }
    }
    let heard = serving.join().unwrap();
    assert!(heard[1].ends_with("\r\n\r\nan answer"), "{heard:?}");
}

#[test]
fn a_long_answer_is_written_whole_and_a_refusal_in_the_middle_of_it_is_heard() {
    let body = Bytes::from(vec![b'x'; 8 << 20]);
    let accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    let (address, serving) = server(vec![vec![(Until::Bytes(body.len()), accepted.to_vec())]]);
    assert_eq!(exchange(&mut connection(address), &post(body.clone())).unwrap().0, 202);
    serving.join().unwrap();
    let refused = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n";
    let (address, serving) = server(vec![vec![(Until::Head, refused.to_vec())]]);
    assert_eq!(exchange(&mut connection(address), &post(body)).unwrap().0, 413);
    serving.join().unwrap();
}

#[test]
fn a_wait_for_an_event_can_be_ended_from_outside_and_none_begins_after_that() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let interrupter = Interrupter::default();
    let address = listener.local_addr().unwrap().to_string();
    let mut connection = Connection::new(&address, interrupter.clone());
    let waiting = thread::spawn(move || [0, 1].map(|_| connection.send(&get(), |_| ()).err()));
    // The request has arrived, so the wait for the answer has begun or is about to.
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    interrupter.interrupt();
    for failure in waiting.join().unwrap() {
        assert!(matches!(failure, Some(TransportError::Interrupted)), "{failure:?}");
    }
}
