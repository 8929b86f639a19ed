//! What the fake has seen.

use std::fmt;
use std::time::{Duration, Instant};

use super::wire::{self, Headers};

/// How much of a body the printed record shows, in bytes.
const PREVIEW_BYTES: usize = 400;

/// One request as it came in; its body may still be on the way.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// The target as it was sent: path and query, still encoded.
    pub path: String,
    /// Order, case and repetitions as sent.
    pub headers: Headers,
    /// What has arrived of the body.
    pub body: Vec<u8>,
    /// The arrival of each chunk of a chunked body, or else of each piece, with its length in bytes.
    pub pieces: Vec<(Instant, usize)>,
    /// What followed a chunked body.
    pub trailers: Headers,
    /// The number of its connection, counted from 1.
    pub connection: usize,
    /// When the last header had arrived.
    pub at: Instant,
    /// When the body had arrived whole.
    pub completed_at: Option<Instant>,
    /// The status that the fake sent back; 0 when it sent something else than an answer.
    pub status: Option<u16>,
}

/// One answer to an event: a request to `/response` or `/error` that has arrived whole. Also one to `/init/error`.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it came as an error.
    pub is_error: bool,
    /// `Lambda-Runtime-Function-Error-Type`.
    pub error_type_header: Option<String>,
    /// Order, case and repetitions as sent.
    pub headers: Headers,
    /// As sent.
    pub body: Vec<u8>,
    /// The arrival of each chunk of a chunked body, or else of each piece, with its length in bytes.
    pub pieces: Vec<(Instant, usize)>,
    /// What followed a chunked body.
    pub trailers: Headers,
    /// The number of its connection, counted from 1.
    pub connection: usize,
    /// When the last header had arrived.
    pub at: Instant,
    /// When the body had arrived whole.
    pub completed_at: Instant,
}

impl Request {
    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        wire::value(&self.headers, name)
    }
}

impl Answer {
    pub(crate) fn of(request: &Request, is_error: bool) -> Option<Self> {
        let completed_at = request.completed_at?;
        let error_type_header = request.header("Lambda-Runtime-Function-Error-Type");
        Some(Self {
            is_error,
            error_type_header: error_type_header.map(|value| String::from_utf8_lossy(value).into_owned()),
            headers: request.headers.clone(),
            body: request.body.clone(),
            pieces: request.pieces.clone(),
            trailers: request.trailers.clone(),
            connection: request.connection,
            at: request.at,
            completed_at,
        })
    }

    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        wire::value(&self.headers, name)
    }

    /// The value of the first trailer of that name, in any case.
    pub fn trailer(&self, name: &str) -> Option<&[u8]> {
        wire::value(&self.trailers, name)
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error} in answer {:?}", preview(&self.body)))
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in answer {:?}", preview(&self.body)))
    }
}

/// A request with its time relative to a common beginning.
pub(crate) struct Line<'request> {
    pub(crate) request: &'request Request,
    pub(crate) began_at: Instant,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, began_at } = self;
        let since: Duration = request.at.saturating_duration_since(*began_at);
        let Request {
            method,
            path,
            connection,
            ..
        } = request;
        write!(
            formatter,
            "{:9.3} ms  connection {connection}  {method} {path}",
            since.as_secs_f64() * 1000.0
        )?;
        match request.status {
            Some(0) => write!(formatter, " -> no answer")?,
            Some(status) => write!(formatter, " -> {status}")?,
            None => write!(formatter, " -> pending")?,
        }
        for (name, value) in request.headers.iter().chain(&request.trailers) {
            write!(formatter, "\n    {name}: {}", value.escape_ascii())?;
        }
        match request.body.len() {
            0 => Ok(()),
            length => write!(formatter, "\n    {length} bytes: {}", preview(&request.body)),
        }
    }
}

fn preview(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(PREVIEW_BYTES)]).into_owned()
}
