//! What a test has the fake do: events to deliver and answers that are not the usual ones.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::reset_when_closed;
use super::wire::{Headers, header_line};

/// How long an event's deadline lies ahead of its delivery unless the test says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) const REQUEST_ID: &str = "Lambda-Runtime-Aws-Request-Id";
pub(crate) const INVOCATION_ID: &str = "Lambda-Runtime-Invocation-Id";
const DEADLINE: &str = "Lambda-Runtime-Deadline-Ms";
const FUNCTION_ARN: &str = "Lambda-Runtime-Invoked-Function-Arn";
const TRACE_ID: &str = "Lambda-Runtime-Trace-Id";
const CLIENT_CONTEXT: &str = "Lambda-Runtime-Client-Context";
const COGNITO_IDENTITY: &str = "Lambda-Runtime-Cognito-Identity";
const TENANT_ID: &str = "Lambda-Runtime-Aws-Tenant-Id";

/// One event to deliver through `/next`.
///
/// By default it comes as Lambda sends it: JSON content type, request id, ARN, a deadline in [`DEFAULT_TIMEOUT`], and
/// the body with its length.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) id: String,
    pub(crate) headers: Headers,
    payload: Vec<u8>,
    timeout: Option<Duration>,
    delivery: Delivery,
}

/// An answer of the fake in place of the usual one, on any path.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    headers: Headers,
    body: Vec<u8>,
    delivery: Delivery,
    pub(crate) delay: Duration,
    pub(crate) leaves_event_open: bool,
    /// How much of the body has to be there; `None` for all of it.
    pub(crate) interrupts_at: Option<usize>,
}

/// How bytes get onto the wire, or fail to.
#[derive(Clone, Debug, Default)]
struct Delivery {
    transfer: Transfer,
    pause: Duration,
    sent_bytes: Option<usize>,
    verbatim: Option<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default)]
enum Transfer {
    #[default]
    Length,
    Chunks(usize),
    UntilClose,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    KeepAlive,
    Close,
    Reset,
}

/// An answer ready to be written: each piece in one write, with the pause between two of them.
#[derive(Debug)]
pub(crate) struct Transmission {
    pieces: Vec<Vec<u8>>,
    pause: Duration,
    end: End,
}

impl Event {
    /// An event with this request id.
    pub fn new(id: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let id = id.into();
        let headers = Headers::new();
        let (payload, timeout) = (payload.into(), Some(DEFAULT_TIMEOUT));
        let event = Self {
            id: id.clone(),
            headers,
            payload,
            timeout,
            delivery: Delivery::default(),
        };
        event
            .set_header("Content-Type", "application/json")
            .set_header(REQUEST_ID, id)
            .function_arn("arn:aws:lambda:us-east-1:012345678912:function:test")
    }

    /// Its request id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Puts the deadline this far behind the moment of delivery.
    #[must_use]
    pub fn due_in(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the deadline header as it is; [`Self::due_in`] is for a moment in time.
    #[must_use]
    pub fn deadline(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.timeout = None;
        self.set_header(DEADLINE, value)
    }

    /// Leaves the deadline header out.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Sets the ARN the caller used.
    #[must_use]
    pub fn function_arn(self, value: impl Into<Vec<u8>>) -> Self {
        self.set_header(FUNCTION_ARN, value)
    }

    /// Sets the X-Ray trace header.
    #[must_use]
    pub fn trace_id(self, value: impl Into<Vec<u8>>) -> Self {
        self.set_header(TRACE_ID, value)
    }

    /// Sets the client context.
    #[must_use]
    pub fn client_context(self, value: impl Into<Vec<u8>>) -> Self {
        self.set_header(CLIENT_CONTEXT, value)
    }

    /// Sets the Cognito identity.
    #[must_use]
    pub fn cognito_identity(self, value: impl Into<Vec<u8>>) -> Self {
        self.set_header(COGNITO_IDENTITY, value)
    }

    /// Sets the tenant id.
    #[must_use]
    pub fn tenant_id(self, value: impl Into<Vec<u8>>) -> Self {
        self.set_header(TENANT_ID, value)
    }

    /// Sets the nonce of this attempt, which the runtime has to echo.
    #[must_use]
    pub fn invocation_id(self, value: impl Into<Vec<u8>>) -> Self {
        self.set_header(INVOCATION_ID, value)
    }

    /// Sets a header, in place of all of that name. Values are bytes; empty ones are sent.
    #[must_use]
    pub fn set_header(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.without_header(name).add_header(name, value)
    }

    /// Adds a header, also where there is one of that name.
    #[must_use]
    pub fn add_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Leaves out every header of that name.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Sends the body in chunks of at most `size` bytes.
    #[must_use]
    pub fn in_chunks_of(mut self, size: usize) -> Self {
        self.delivery.transfer = Transfer::Chunks(size);
        self
    }

    /// Sends the body without a length; the end of the connection is its end.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.delivery.transfer = Transfer::UntilClose;
        self.then_closing()
    }

    /// Sends the body byte by byte, with a pause before each.
    #[must_use]
    pub fn one_byte_every(mut self, pause: Duration) -> Self {
        self.delivery.pause = pause;
        self
    }

    /// Closes the connection after `length` bytes of the body, although more was announced.
    #[must_use]
    pub fn cut_after(mut self, length: usize) -> Self {
        self.delivery.sent_bytes = Some(length);
        self.then_closing()
    }

    /// Closes the connection after the event, without having said so; what follows needs a new one.
    #[must_use]
    pub fn then_closing(mut self) -> Self {
        self.delivery.end = End::Close;
        self
    }

    /// Sends exactly these bytes in place of status line, headers and body.
    #[must_use]
    pub fn as_bytes_on_the_wire(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.delivery.verbatim = Some(bytes.into());
        self
    }

    /// Whether it cannot arrive whole.
    pub(crate) fn is_cut(&self) -> bool {
        self.delivery
            .sent_bytes
            .is_some_and(|length| length < self.payload.len())
    }

    /// The same event with nothing in its way, as it is delivered again.
    pub(crate) fn mended(&self) -> Self {
        Self {
            delivery: Delivery::default(),
            ..self.clone()
        }
    }

    pub(crate) fn transmission(&self) -> Transmission {
        let mut headers = self.headers.clone();
        if let Some(timeout) = self.timeout {
            let deadline = SystemTime::now() + timeout;
            let since_epoch = deadline
                .duration_since(UNIX_EPOCH)
                .expect("the clock stands after 1970");
            headers.push((DEADLINE.to_owned(), since_epoch.as_millis().to_string().into_bytes()));
        }
        self.delivery.transmission(200, &headers, &self.payload)
    }
}

impl Reply {
    /// An answer with this status and, for an error, the body that Lambda sends with it.
    pub fn status(status: u16) -> Self {
        let (error_type, message) = match status {
            200..=299 => return Self::new(status, r#"{"status":"OK"}"#),
            400 => ("InvalidRequestID", "Invalid request ID"),
            403 => (
                "InvalidStateTransition",
                "State transition from Ready to Ready failed for runtime. Error: State transition is not allowed",
            ),
            410 => ("InvokeTimeout", "Invoke timeout"),
            413 => (
                "RequestEntityTooLarge",
                "Exceeded maximum allowed payload size (6291556 bytes).",
            ),
            500 => ("InternalServerError", "Internal Server Error"),
            _ => ("UnknownError", "Unknown error"),
        };
        Self::refusal(status, error_type, message)
    }

    /// An answer with this status and an error body.
    pub fn refusal(status: u16, error_type: &str, message: &str) -> Self {
        Self::new(
            status,
            serde_json::json!({ "errorMessage": message, "errorType": error_type }).to_string(),
        )
    }

    /// What Lambda answers when it accepts something; the start for [`Self::after`] and [`Self::then_closing`].
    pub fn accepted() -> Self {
        Self::status(202)
    }

    /// No answer: the request is read, then the connection closed.
    pub fn hang_up() -> Self {
        Self::verbatim("").then_closing()
    }

    /// No answer: the request is read, then the connection reset.
    pub fn reset() -> Self {
        let mut reply = Self::verbatim("");
        reply.delivery.end = End::Reset;
        reply
    }

    /// Exactly these bytes as the answer.
    pub fn verbatim(bytes: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::new(0, "");
        reply.delivery.verbatim = Some(bytes.into());
        reply
    }

    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), b"application/json".to_vec())],
            body: body.into(),
            delivery: Delivery::default(),
            delay: Duration::ZERO,
            leaves_event_open: false,
            interrupts_at: None,
        }
    }

    /// Replaces the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Comes this long after the request.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Comes as soon as `length` bytes of the request's body are read; the rest is read afterwards if the connection
    /// stays, and may be missing after a refusal.
    #[must_use]
    pub fn within_the_body(mut self, length: usize) -> Self {
        self.interrupts_at = Some(length);
        self
    }

    /// Closes the connection after the body's first `length` bytes, although more was announced.
    #[must_use]
    pub fn cut_after(mut self, length: usize) -> Self {
        self.delivery.sent_bytes = Some(length);
        self.then_closing()
    }

    /// Closes the connection after the answer, without having said so; what follows needs a new one.
    #[must_use]
    pub fn then_closing(mut self) -> Self {
        self.delivery.end = End::Close;
        self
    }

    /// Has the event still wait for its answer. By default any answer on `/response` or `/error` ends the event, also
    /// one that refuses; the exception is a 413 on `/error`, after which Lambda takes a smaller one.
    #[must_use]
    pub fn leaving_the_event_open(mut self) -> Self {
        self.leaves_event_open = true;
        self
    }

    pub(crate) fn transmission(&self) -> Transmission {
        self.delivery.transmission(self.status, &self.headers, &self.body)
    }
}

impl Transmission {
    /// Writes it; returns whether the connection stays.
    pub(crate) fn write_to(&self, stream: &mut TcpStream) -> bool {
        let Self { pieces, pause, end } = self;
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                thread::sleep(*pause);
            }
            if stream.write_all(piece).is_err() {
                // The runtime may leave at any time; that it left is seen in the record.
                return false;
            }
        }
        match end {
            End::KeepAlive => true,
            End::Close => {
                stream.shutdown(Shutdown::Both).ok();
                false
            }
            End::Reset => {
                reset_when_closed(stream);
                false
            }
        }
    }
}

impl Delivery {
    fn transmission(&self, status: u16, headers: &Headers, body: &[u8]) -> Transmission {
        let Self {
            transfer,
            pause,
            sent_bytes,
            verbatim,
            end,
        } = self;
        let (pause, end) = (*pause, *end);
        if let Some(bytes) = verbatim {
            return Transmission {
                pieces: vec![bytes.clone()],
                pause,
                end,
            };
        }
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
        for (name, value) in headers {
            head.extend(header_line(name, value));
        }
        let sent = &body[..sent_bytes.unwrap_or(body.len()).min(body.len())];
        let step = if pause.is_zero() { usize::MAX } else { 1 };
        let mut pieces = Vec::new();
        match *transfer {
            // Neither has a body, and a length would be wrong there.
            _ if matches!(status, 204 | 304) => {}
            Transfer::UntilClose => pieces.extend(sent.chunks(step).map(<[u8]>::to_vec)),
            Transfer::Length => {
                head.extend(header_line("Content-Length", body.len().to_string().as_bytes()));
                pieces.extend(sent.chunks(step).map(<[u8]>::to_vec));
            }
            Transfer::Chunks(size) => {
                head.extend(header_line("Transfer-Encoding", b"chunked"));
                for chunk in sent.chunks(size.min(step)) {
                    pieces.push([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                if sent.len() == body.len() {
                    pieces.push(b"0\r\n\r\n".to_vec());
                }
            }
        }
        head.extend(b"\r\n");
        pieces.insert(0, head);
        Transmission { pieces, pause, end }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        413 => "Request Entity Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Unusual",
    }
}
