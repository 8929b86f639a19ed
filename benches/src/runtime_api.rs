//! Plays Lambda's Runtime API for one process: a blocking socket and as little work as possible, so that what is
//! measured is the other side.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::chunked::ChunkedRequest;

/// How long a process may be silent before it counts as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The timeout of the function, from which deadlines are made.
pub(crate) const FUNCTION_TIMEOUT: Duration = Duration::from_secs(3);
/// The same of a function that never answers.
const SHORT_TIMEOUT: Duration = Duration::from_millis(20);
/// The same of a function that streams.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_REQUEST_BYTES: usize = 1 << 20;
pub(crate) const MAX_HEADERS: usize = 32;

/// Of the first event that an API sends.
pub(crate) const FIRST_REQUEST_ID: &str = "8f5c1e2a-0000-4000-8000-000000000001";

pub(crate) const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";

/// The API of one process. Another one would inherit what the first left in the queue of connections.
pub(crate) struct RuntimeApi {
    listener: TcpListener,
    pub(crate) address: String,
    /// Clients with a pool of connections open a second one at times, and go on with either.
    streams: Vec<TcpStream>,
    /// The one that the last request came from.
    current: usize,
    buffer: Vec<u8>,
    events: u64,
}

/// How long one event took.
pub(crate) struct Exchange {
    /// From handing the event to the socket until the whole answer was there.
    pub(crate) latency: Duration,
    /// From then until the process asked for the next event.
    pub(crate) turn: Duration,
}

/// How long a streamed answer took.
pub(crate) struct Streamed {
    /// From handing the event to the socket until the head of the answer was there.
    pub(crate) until_head: Duration,
    /// From the same moment until the end.
    pub(crate) until_end: Duration,
    /// Of the answer, without the framing.
    pub(crate) bytes: u64,
}

impl RuntimeApi {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .context("cannot listen on the loopback interface")?;
        let address = listener
            .local_addr()
            .context("the listener has no address")?
            .to_string();
        Ok(Self {
            listener,
            address,
            streams: Vec::new(),
            current: 0,
            buffer: vec![0; MAX_REQUEST_BYTES],
            events: 0,
        })
    }

    /// Waits until the process asks for an event.
    pub(crate) fn expect_next(&mut self) -> anyhow::Result<()> {
        let request = self.read_request()?;
        match request.call {
            Call::Next => Ok(()),
            Call::Response => bail!("it answered without having been asked"),
            Call::Error => bail!(
                "it reported an error: {}",
                String::from_utf8_lossy(&self.buffer[request.body])
            ),
        }
    }

    /// Sends one event, takes the answer, and waits until the process asks again.
    pub(crate) fn exchange(&mut self, event: &[u8]) -> anyhow::Result<Exchange> {
        let (sent, answered, _) = self.ask(event)?;
        self.accept_answer()?;
        self.expect_next()?;
        Ok(Exchange {
            latency: answered - sent,
            turn: answered.elapsed(),
        })
    }

    /// Sends one event, takes the answer, and leaves it at that.
    pub(crate) fn ask_once(&mut self, event: &[u8]) -> anyhow::Result<(Instant, Vec<u8>)> {
        let (_, answered, body) = self.ask(event)?;
        let answer = self.buffer[body].to_vec();
        self.accept_answer()?;
        Ok((answered, answer))
    }

    /// Sends one event, takes a streamed answer as fast as it comes, and waits until the process asks again.
    pub(crate) fn exchange_stream(&mut self, event: &[u8]) -> anyhow::Result<Streamed> {
        let sent = self.send(event, STREAM_TIMEOUT)?;
        self.wait_for_data()?;
        // The connection of an earlier stream, which has ended meanwhile.
        while self.streams[self.current].peek(&mut [0]).context("it broke off")? == 0 {
            self.streams.remove(self.current);
            self.wait_for_data()?;
        }
        let mut request = ChunkedRequest::new(&mut self.streams[self.current], &mut self.buffer);
        request.read_head()?;
        let began = Instant::now();
        let bytes = request.read_body()?;
        let took = sent.elapsed();
        self.accept_answer()?;
        self.expect_next()?;
        Ok(Streamed {
            until_head: began - sent,
            until_end: took,
            bytes,
        })
    }

    /// Sends an event that is never answered. Returns how long it takes from the error to the question for the next event.
    pub(crate) fn outlast(&mut self, event: &[u8]) -> anyhow::Result<Duration> {
        self.send(event, SHORT_TIMEOUT)?;
        let request = self.read_request()?;
        let failed = Instant::now();
        ensure!(
            matches!(request.call, Call::Error),
            "it did something else than to give up"
        );
        self.accept_answer()?;
        self.expect_next()?;
        Ok(failed.elapsed())
    }

    /// Returns the time just before it was sent.
    fn send(&mut self, event: &[u8], timeout: Duration) -> anyhow::Result<Instant> {
        self.events += 1;
        let message = message(self.events, event, timeout);
        let sent = Instant::now();
        self.streams[self.current]
            .write_all(&message)
            .context("cannot send an event")?;
        Ok(sent)
    }

    fn ask(&mut self, event: &[u8]) -> anyhow::Result<(Instant, Instant, Range<usize>)> {
        let sent = self.send(event, FUNCTION_TIMEOUT)?;
        let request = self.read_request()?;
        let answered = Instant::now();
        let body = request.body;
        match request.call {
            Call::Response => Ok((sent, answered, body)),
            Call::Next => bail!("it asked for the next event without having answered"),
            Call::Error => bail!(
                "it answered with an error: {}",
                String::from_utf8_lossy(&self.buffer[body])
            ),
        }
    }

    fn accept_answer(&mut self) -> anyhow::Result<()> {
        self.streams[self.current]
            .write_all(ACCEPTED)
            .context("cannot accept an answer")
    }

    fn read_request(&mut self) -> anyhow::Result<Request> {
        let mut filled = 0;
        loop {
            if filled == 0 {
                self.wait_for_data()?;
            }
            let count = self.streams[self.current]
                .read(&mut self.buffer[filled..])
                .context("it did not finish its request in time")?;
            if count == 0 {
                ensure!(filled == 0, "it broke off, or sent a request that is too large");
                self.streams.remove(self.current);
                continue;
            }
            filled += count;
            if let Some(request) = Request::parse(&self.buffer[..filled])? {
                ensure!(
                    request.body.end == filled,
                    "it sent a request before the last one was answered"
                );
                return Ok(request);
            }
        }
    }

    /// Makes the connection that has something to read, or has ended, the current one.
    fn wait_for_data(&mut self) -> anyhow::Result<()> {
        let timeout = Timespec::try_from(PATIENCE).unwrap_or_default();
        loop {
            let mut descriptors: Vec<_> = self
                .streams
                .iter()
                .map(|stream| PollFd::new(stream, PollFlags::IN))
                .chain([PollFd::new(&self.listener, PollFlags::IN)])
                .collect();
            let ready = poll(&mut descriptors, Some(&timeout)).context("cannot wait for a request")?;
            ensure!(ready > 0, "it sent no request within {PATIENCE:?}");
            let first = descriptors
                .iter()
                .position(|descriptor| !descriptor.revents().is_empty());
            if let Some(index) = first.filter(|index| *index < self.streams.len()) {
                self.current = index;
                return Ok(());
            }
            let (stream, _) = self.listener.accept().context("cannot accept a connection")?;
            stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
            stream
                .set_read_timeout(Some(PATIENCE))
                .context("cannot set a read timeout")?;
            self.streams.push(stream);
        }
    }
}

pub(crate) enum Call {
    Next,
    Response,
    Error,
}

pub(crate) struct Request {
    pub(crate) call: Call,
    pub(crate) body: Range<usize>,
}

impl Request {
    /// `None` if there is more to come.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head_bytes) = request.parse(bytes).context("it does not speak HTTP/1.1")? else {
            return Ok(None);
        };
        let mut body_bytes = 0;
        for header in request.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = str::from_utf8(header.value).ok().and_then(|value| value.parse().ok());
                body_bytes = length.context("it sent a Content-Length that is no number")?;
            }
            ensure!(
                !header.name.eq_ignore_ascii_case("transfer-encoding"),
                "it sent a body of unknown length, which this measurement does not take"
            );
        }
        let end = head_bytes + body_bytes;
        if bytes.len() < end {
            return Ok(None);
        }
        let path = request.path.unwrap_or_default();
        let call = match path.rsplit('/').next() {
            Some("next") => Call::Next,
            Some("response") => Call::Response,
            Some("error") => Call::Error,
            Some(_) | None => bail!("it called `{path}`, which is not part of this measurement"),
        };
        Ok(Some(Self {
            call,
            body: head_bytes..end,
        }))
    }
}

/// The answer to `GET next`, with the headers that Lambda sends.
pub(crate) fn message(number: u64, event: &[u8], timeout: Duration) -> Vec<u8> {
    let deadline = SystemTime::now() + timeout;
    let deadline_ms = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut message = format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: application/json\r\n\
         Lambda-Runtime-Aws-Request-Id: 8f5c1e2a-0000-4000-8000-{number:012x}\r\n\
         Lambda-Runtime-Deadline-Ms: {deadline_ms}\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\n\
         Lambda-Runtime-Trace-Id: Root=1-6745d3a1-{number:024x};Parent=53995c3f42cd8ad8;Sampled=0\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Length: {}\r\n\r\n",
        event.len()
    )
    .into_bytes();
    message.extend_from_slice(event);
    message
}
