//! A client that keeps its connection, and does as little as possible.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::runtime_api::MAX_HEADERS;

/// How long an answer may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_ANSWER_BYTES: usize = 64 << 10;

pub(super) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .context("cannot set a read timeout")?;
        Ok(Self {
            stream,
            address,
            buffer: vec![0; MAX_ANSWER_BYTES],
        })
    }

    /// Sends a request and returns the body of the answer, whose status has to be 200, with the time from handing the request
    /// to the socket until the whole answer was there.
    pub(super) fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<(Duration, &[u8])> {
        let mut message = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        message.extend_from_slice(body);
        let sent = Instant::now();
        self.stream.write_all(&message).context("cannot send a request")?;
        let mut filled = 0;
        loop {
            let count = self
                .stream
                .read(&mut self.buffer[filled..])
                .context("there was no answer in time")?;
            ensure!(count > 0, "the connection broke off");
            filled += count;
            if let Some(head_bytes) = whole(&self.buffer[..filled])? {
                let took = sent.elapsed();
                return Ok((took, &self.buffer[head_bytes..filled]));
            }
        }
    }
}

/// The length of the head, if all of the answer is there.
fn whole(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).context("it does not speak HTTP/1.1")? else {
        return Ok(None);
    };
    let header = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = header.and_then(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let length = length.context("it sent an answer without a Content-Length")?;
    if bytes.len() < head_bytes + length {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&bytes[head_bytes..]);
    ensure!(response.code == Some(200), "it answered {:?}: {body}", response.code);
    Ok(Some(head_bytes))
}
