//! One event on its way through the platform: what a caller asks for, and what it gets.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::journal::unix_ms;

/// The largest event, and the largest buffered answer, in bytes (runtime contract §3.1).
pub const MAX_PAYLOAD_BYTES: usize = 6_291_556;
/// The largest streamed answer, in bytes (runtime contract §3.3).
pub const MAX_STREAM_BYTES: u64 = 200 << 20;

/// What a caller asks for. Everything but the payload may be left at its default.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// The event, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Bytes,
    /// Where it comes from, in words for the journal, such as `POST /orders`, `queue orders` or `Invoke`.
    pub source: String,
    /// The request id; a new UUID if `None`. Retries of one event share theirs.
    pub request_id: Option<String>,
    /// The media type of the event; `application/json` if `None`.
    pub content_type: Option<String>,
    /// The client context, JSON in text.
    pub client_context: Option<String>,
    /// The tenant id.
    pub tenant_id: Option<String>,
    /// The X-Ray header; a new root, not sampled, if `None`.
    pub trace_id: Option<String>,
    /// The alias or version that the caller named.
    pub qualifier: Option<String>,
}

/// What the caller gets, as soon as there is something to give.
#[derive(Debug)]
pub struct Answer {
    /// The request id.
    pub request_id: String,
    /// The answer itself.
    pub body: AnswerBody,
    /// Comes when the invocation is over, which is later: the environment has asked for its next event, or is gone.
    pub report: oneshot::Receiver<Report>,
}

/// Success, failure, or a stream that may become either.
#[derive(Debug)]
pub enum AnswerBody {
    /// What the runtime posted as its response, verbatim.
    Response(Bytes),
    /// A function error: the JSON body that Lambda's callers get, be it the runtime's or the platform's.
    Error(Bytes),
    /// A response in streaming mode.
    Stream(ResponseStream),
}

/// A response while it is being made. Dropping it does not stop the function (runtime contract §3.2).
#[derive(Debug)]
pub struct ResponseStream {
    /// The media type that the runtime gave; `application/octet-stream` if it gave none.
    pub content_type: String,
    /// The pieces. The function waits while they are not taken.
    pub chunks: mpsc::Receiver<Bytes>,
    /// How it ended; comes after the last piece.
    pub end: oneshot::Receiver<StreamEnd>,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// It is complete.
    Complete,
    /// The function, or the platform, ended it with this error body.
    Failed(Bytes),
}

impl AnswerBody {
    /// The whole answer, as a caller gets it who does not stream: a stream is collected up to [`MAX_PAYLOAD_BYTES`].
    ///
    /// # Errors
    ///
    /// The body of the function error.
    pub async fn collect(self) -> Result<Bytes, Bytes> {
        match self {
            Self::Response(body) => Ok(body),
            Self::Error(body) => Err(body),
            Self::Stream(ResponseStream {
                content_type: _,
                mut chunks,
                end,
            }) => {
                let mut body = Vec::new();
                while let Some(chunk) = chunks.recv().await {
                    if body.len() + chunk.len() > MAX_PAYLOAD_BYTES {
                        return Err(error_body("Function.ResponseSizeTooLarge", &too_large_message()));
                    }
                    body.extend_from_slice(&chunk);
                }
                match end.await {
                    Ok(StreamEnd::Complete) => Ok(body.into()),
                    Ok(StreamEnd::Failed(error)) => Err(error),
                    Err(_) => Err(error_body("Runtime.TruncatedResponse", "the response broke off")),
                }
            }
        }
    }
}

/// Why no environment took an event. The function has not seen it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no function of this name.
    #[error("Function not found: {0}")]
    UnknownFunction(String),
    /// All environments that the function may have are busy.
    #[error("Rate Exceeded: all {limit} environments of `{function}` are busy")]
    Throttled {
        /// The function's name.
        function: String,
        /// How many there may be.
        limit: u32,
    },
    /// The event is too large.
    #[error("the event has {size} bytes; the limit is {MAX_PAYLOAD_BYTES}")]
    TooLarge {
        /// Its bytes.
        size: usize,
    },
    /// The runtime could not be started at all.
    #[error("cannot start `{program}`: {source}")]
    CannotStart {
        /// The program.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The platform is going down.
    #[error("the platform is shutting down")]
    ShuttingDown,
}

/// What Lambda's line REPORT says about one event.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The request id.
    pub request_id: String,
    /// From the event's delivery until the environment asked for the next one.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// What Init took, for the first event of an environment.
    #[serde(rename = "init_ms", serialize_with = "optional_milliseconds")]
    pub init: Option<Duration>,
    /// The function's memory setting, in MiB.
    pub memory_mib: u32,
    /// The most memory that the environment's process has had resident so far, in MiB, if the system can tell.
    pub peak_memory_mib: Option<u64>,
    /// How it ended.
    pub status: Status,
    /// The last 4 KiB of this event's log, with the platform's own lines.
    #[serde(skip)]
    pub log_tail: String,
}

impl Report {
    /// The billed time in milliseconds, Init included, rounded up.
    pub fn billed_ms(&self) -> u128 {
        (self.duration + self.init.unwrap_or_default())
            .as_micros()
            .div_ceil(1_000)
    }
}

/// The line REPORT, with its fields separated by tabulators as Lambda writes it.
impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        write!(
            formatter,
            "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB",
            self.request_id,
            milliseconds(self.duration),
            self.billed_ms(),
            self.memory_mib,
        )?;
        if let Some(peak) = self.peak_memory_mib {
            write!(formatter, "\tMax Memory Used: {peak} MB")?;
        }
        if let Some(init) = self.init {
            write!(formatter, "\tInit Duration: {:.2} ms", milliseconds(init))?;
        }
        match self.status {
            Status::Success => Ok(()),
            Status::Error | Status::Crash | Status::InitFailed => formatter.write_str("\tStatus: error"),
            Status::Timeout => formatter.write_str("\tStatus: timeout"),
        }
    }
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// With a response.
    Success,
    /// With an error that the runtime reported.
    Error,
    /// The function's time was over.
    Timeout,
    /// The runtime's process ended.
    Crash,
    /// The runtime did not get through Init.
    InitFailed,
}

/// The header of a new trace that is not sampled (runtime contract §2).
pub(crate) fn new_trace_id() -> String {
    let parent = uuid::Uuid::new_v4().simple().to_string();
    format!("{};Parent={};Sampled=0", new_trace_root(unix_ms()), &parent[..16])
}

/// `Root=1-…-…`, of a trace that begins at this Unix time.
pub(crate) fn new_trace_root(unix_ms: u64) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{}", unix_ms / 1_000, &random[..24])
}

/// A function error as Lambda writes it (runtime contract §4).
pub(crate) fn error_body(error_type: &str, message: &str) -> Bytes {
    let body = serde_json::json!({ "errorType": error_type, "errorMessage": message });
    Bytes::from(body.to_string())
}

/// What a caller reads whose answer was too large.
pub(crate) fn too_large_message() -> String {
    format!("Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).")
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1_000.0)
}

fn optional_milliseconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
