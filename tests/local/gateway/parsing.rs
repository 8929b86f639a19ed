//! Requests as two parsers read them: the server's, and Python's h11. From one stream of bytes they must never make two
//! different requests, and what h11 refuses, the server refuses.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use orlop_local::server::{Request, Response, Server, read, respond};
use orlop_tests::tools;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::clients::read_to_end;

const CONNECTIONS: usize = 6_000;
const AT_A_TIME: usize = 32;

/// The bytes of one connection.
#[derive(Debug, Clone)]
struct Case {
    bytes: Vec<u8>,
    /// Nothing was done to the requests that the bytes were made of, so many.
    clean: Option<usize>,
}

/// What a parser makes of it.
#[derive(Debug, PartialEq)]
struct Reading {
    requests: Vec<Value>,
    end: String,
}

#[tokio::test]
async fn no_stream_of_bytes_is_read_otherwise_than_by_an_independent_parser() {
    let mut dice = Dice(20_261_127);
    let cases: Vec<_> = (0..CONNECTIONS).map(|_| case(&mut dice)).collect();
    let expected = by_h11(&cases);
    let server = server().await;
    let (mut alike, mut stricter, mut refused_by_both) = (0, 0, 0);
    for (cases, expected) in cases.chunks(AT_A_TIME).zip(expected.chunks(AT_A_TIME)) {
        let readings = cases.iter().zip(expected);
        let readings = readings.map(|(case, expected)| by_the_server(&server, case, expected.requests.len()));
        let readings = futures_util::future::join_all(readings).await;
        for ((case, expected), requests) in cases.iter().zip(expected).zip(readings) {
            let text = String::from_utf8_lossy(&case.bytes);
            let count = requests.len();
            assert!(
                expected.requests.get(..count) == Some(&requests),
                "{text:?} is read in two ways:\nserver: {requests:?}\nh11: {expected:?}"
            );
            if let Some(clean) = case.clean {
                assert_eq!(
                    (count, expected.requests.len()),
                    (clean, clean),
                    "{text:?}: {expected:?}"
                );
            } else if count < expected.requests.len() {
                stricter += 1;
            } else if expected.end == "refused" {
                refused_by_both += 1;
            } else {
                alike += 1;
            }
        }
    }
    println!("{alike} read alike, {refused_by_both} refused by both, {stricter} by the server alone");
    // The corpus has enough of everything to say something.
    assert!(alike > CONNECTIONS / 20 && refused_by_both > CONNECTIONS / 20 && stricter > CONNECTIONS / 20);
}

/// A server that says in a header of each answer what it has read.
async fn server() -> Arc<Server> {
    let answer = |request: Request| async {
        let (head, body) = request.into_parts();
        match read(body, 1 << 20).await {
            Ok(body) => echo(head.method.as_ref(), &head.uri.to_string(), &body),
            Err(error) => respond(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Arc::new(Server::start(listener, answer).unwrap())
}

fn echo(method: &str, target: &str, body: &Bytes) -> Response {
    let mut response = respond(StatusCode::OK, "text/plain", "");
    let seen = json!([method, target, BASE64_STANDARD.encode(body)]).to_string();
    response
        .headers_mut()
        .insert("x-seen", HeaderValue::from_str(&seen).unwrap());
    response
}

/// The requests that the server answers. It may have more to say than that many; then it is asked to end.
async fn by_the_server(server: &Server, case: &Case, expected: usize) -> Vec<Value> {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // A server that has seen enough may close while the rest is on its way.
    let _ = stream.write_all(&case.bytes).await;
    let mut answers = Vec::new();
    let mut is_open = true;
    while is_open && requests(&answers).len() < expected {
        let count = stream.read_buf(&mut answers).await.unwrap_or(0);
        is_open = count > 0;
    }
    if is_open {
        // The end of the bytes: what is not complete now will not become so.
        let _ = stream.shutdown().await;
        answers.extend(read_to_end(&mut stream).await.into_bytes());
    }
    requests(&answers)
}

fn requests(answers: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(answers);
    let complete = text.rsplit_once("\r\n").map_or("", |(complete, _)| complete);
    let seen = complete.split("\r\n").filter_map(|line| line.strip_prefix("x-seen: "));
    seen.map(|seen| serde_json::from_str(seen).unwrap()).collect()
}

fn by_h11(cases: &[Case]) -> Vec<Reading> {
    let mut python = tools::python_with_h11();
    python
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/python/h11_requests.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = cases.iter().fold(String::new(), |mut input, case| {
        writeln!(input, "{}", BASE64_STANDARD.encode(&case.bytes)).unwrap();
        input
    });
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let readings: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect();
    assert_eq!(readings.len(), cases.len());
    let reading = |value: &Value| Reading {
        requests: value["requests"].as_array().unwrap().iter().map(spelt_alike).collect(),
        end: value["end"].as_str().unwrap().to_owned(),
    };
    readings.iter().map(reading).collect()
}

/// The request with its target as the server spells it: an absolute URL without a path has the path `/`.
fn spelt_alike(request: &Value) -> Value {
    let mut request = request.clone();
    if let Ok(target) = request[1].as_str().unwrap().parse::<Uri>() {
        request[1] = json!(target.to_string());
    }
    request
}

/// One to three requests, as they should be or changed in one to three places.
fn case(dice: &mut Dice) -> Case {
    let count = 1 + dice.below(3);
    let mut lines: Vec<Vec<u8>> = (0..count).flat_map(|_| request(dice)).collect();
    if dice.below(5) == 0 {
        return Case {
            bytes: lines.concat(),
            clean: Some(count),
        };
    }
    for _ in 0..=dice.below(3) {
        let at = dice.below(lines.len());
        change(dice, &mut lines, at);
    }
    Case {
        bytes: lines.concat(),
        clean: None,
    }
}

/// A request as lines with their ends; chunks and bodies count as lines, too.
fn request(dice: &mut Dice) -> Vec<Vec<u8>> {
    let method = dice.one_of(&["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "M-SEARCH", "get"]);
    let target = dice.one_of(&[
        "/",
        "/a/b?c=d&e",
        "/%zz/../%00",
        "//",
        "/a;b",
        "*",
        "http://b/path?q",
        "/~a!$'()*,",
    ]);
    let mut lines = vec![format!("{method} {target} HTTP/1.1\r\n"), "Host: a\r\n".to_owned()];
    for _ in 0..dice.below(3) {
        let header = [
            "Accept: */*\r\n",
            "X-Empty:\r\n",
            "x-tab:\tb \t\r\n",
            "Cookie: a=b; c=\"d\"\r\n",
            "X-Odd: caf\u{e9}\r\n",
            "Connection: keep-alive\r\n",
        ];
        lines.push(dice.one_of(&header).to_owned());
    }
    let body = dice.one_of(&[
        "",
        "a",
        "a=b\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "0\r\n\r\n",
    ]);
    match dice.below(3) {
        0 => lines.push("\r\n".to_owned()),
        1 => {
            let name = dice.one_of(&["Content-Length", "content-length", "CONTENT-LENGTH"]);
            lines.extend([
                format!("{name}: {}\r\n", body.len()),
                "\r\n".to_owned(),
                body.to_owned(),
            ]);
        }
        _ => {
            let coding = dice.one_of(&["chunked", "Chunked", "CHUNKED"]);
            lines.extend([format!("Transfer-Encoding: {coding}\r\n"), "\r\n".to_owned()]);
            let cut = body.len() / 2;
            for piece in [&body[..cut], &body[cut..]]
                .into_iter()
                .filter(|piece| !piece.is_empty())
            {
                let extension = dice.one_of(&["", ";a=b", ";a"]);
                lines.extend([format!("{:x}{extension}\r\n", piece.len()), format!("{piece}\r\n")]);
            }
            lines.push("0\r\n".to_owned());
            lines.extend((dice.below(4) == 0).then(|| "X-Trailer: a\r\n".to_owned()));
            lines.push("\r\n".to_owned());
        }
    }
    lines.into_iter().map(String::into_bytes).collect()
}

/// What an attacker, or a broken client, does to a line.
fn change(dice: &mut Dice, lines: &mut Vec<Vec<u8>>, at: usize) {
    const LINES: [&[u8]; 20] = [
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length : 3\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding\r\n : chunked\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\n",
        b"Host: b\r\n",
        b"no colon\r\n",
        b"\r\n",
        b"0\r\n\r\n",
    ];
    const BYTES: &[u8] = b"\r\n \t:;\0\x0b\x0c\x7f\x80\xff,+-/0aZ#\"";
    let line = &mut lines[at];
    let place = dice.below(line.len().max(1));
    match dice.below(10) {
        // The ends of lines.
        0 => line.retain(|byte| *byte != b'\r'),
        1 => line.retain(|byte| *byte != b'\n'),
        2 => line.extend_from_slice(b"\r\n"),
        // Lines that are there twice, in other places, or not at all.
        3..=5 => lines.insert(at, dice.one_of(&LINES).to_vec()),
        6 => {
            let line = lines.remove(at);
            let to = dice.below(lines.len() + 1);
            lines.insert(to, line);
        }
        // Single bytes.
        7 => line.insert(place.min(line.len()), BYTES[dice.below(BYTES.len())]),
        8 if !line.is_empty() => line[place] = BYTES[dice.below(BYTES.len())],
        _ if !line.is_empty() => {
            line.remove(place);
        }
        _ => {}
    }
    if lines.is_empty() {
        lines.push(Vec::new());
    }
}

/// Numbers that look like chance and are always the same (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
