//! The least that a runtime can do: a blocking socket, and the answer that its first argument gives. What it takes is the
//! cost of the measurement itself.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long Lambda's address may refuse connections.
const PATIENCE: Duration = Duration::from_secs(1);
const HEAD_END: &[u8] = b"\r\n\r\n";
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const CONTENT_LENGTH: &str = "content-length";

fn main() -> io::Result<()> {
    let answer = std::env::args().nth(1).unwrap_or_default();
    let address = runtime_api();
    let mut stream = connect(&address)?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {address}\r\n\r\n");
    loop {
        stream.write_all(next.as_bytes())?;
        let head = read_message(&mut stream, &mut buffer)?;
        let request_id = field(&head, REQUEST_ID).unwrap_or_default();
        let request = format!(
            "POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: {address}\r\n\
             Content-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(request.as_bytes())?;
        read_message(&mut stream, &mut buffer)?;
    }
}

/// AWS's emulator starts the runtime before it listens, and this one is there first now and then.
fn connect(address: &str) -> io::Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && started.elapsed() < PATIENCE => {}
            outcome => return outcome,
        }
    }
}

/// Reads one message and returns its head.
fn read_message(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<String> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        let read = &buffer[..filled];
        let Some(head_bytes) = read.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
            continue;
        };
        let head = String::from_utf8_lossy(&read[..head_bytes]);
        let body_bytes: usize = field(&head, CONTENT_LENGTH)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        if filled >= head_bytes + HEAD_END.len() + body_bytes {
            return Ok(head.into_owned());
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let (_, value) = fields.into_iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
    Some(value)
}

#[expect(clippy::disallowed_methods, reason = "Lambda names the address in a variable")]
fn runtime_api() -> String {
    std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default()
}
