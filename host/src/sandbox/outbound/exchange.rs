//! One request and its response, over a connection of their own.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::connect::Stream;
use super::error::Error;

/// The largest head of a response, in bytes.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// The most header fields of a response.
const MAX_HEADERS: usize = 256;

/// A request's body, its error whatever the guest's side of it says.
pub(super) type OutgoingBody = UnsyncBoxBody<Bytes, BoxError>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long the guest is prepared to wait; `None` is as long as the event may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection, the name resolved and TLS agreed on.
    pub connect: Option<Duration>,
    /// Until the head of the response is there.
    pub first_byte: Option<Duration>,
    /// From one piece of the response's body to the next.
    pub between_bytes: Option<Duration>,
}

/// The work on one connection, which goes on for as long as this is kept: dropping it closes the connection. As a
/// future it is the end of that work.
pub struct Connection(JoinHandle<Result<(), Error>>);

impl Future for Connection {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|end| {
            // It is cancelled only when the event loop itself ends.
            end.unwrap_or_else(|error| Err(Error::ConnectionTerminated(error.to_string())))
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Awaits what may take until the event's deadline, and no longer than the guest waits.
///
/// # Errors
///
/// [`Error::DeadlineExceeded`], or `late` if it was the guest's own patience that ended.
pub(super) async fn in_time<T>(
    deadline: Instant,
    patience: Option<Duration>,
    late: Error,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let limit = limit(deadline, patience);
    match tokio::time::timeout_at(limit.into(), work).await {
        Ok(result) => result,
        Err(_) if limit >= deadline => Err(Error::DeadlineExceeded),
        Err(_) => Err(late),
    }
}

fn limit(deadline: Instant, patience: Option<Duration>) -> Instant {
    patience
        .and_then(|patience| Instant::now().checked_add(patience))
        .map_or(deadline, |limit| limit.min(deadline))
}

/// Sends the request, whose URI is a path and no more, and waits for the head of the response.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<OutgoingBody>,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<(Response<IncomingBody>, Connection), Error> {
    let failure = Failure::default();
    let request = request.map(|body| failure.watch(body));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(stream)
        .await
        .map_err(|error| failure.explain(&error))?;
    let connection = Connection(tokio::spawn({
        let failure = failure.clone();
        async move { connection.await.map_err(|error| failure.explain(&error)) }
    }));
    let response = in_time(deadline, timeouts.first_byte, Error::ReadTimeout, async {
        sender
            .send_request(request)
            .await
            .map_err(|error| failure.explain(&error))
    })
    .await?;
    // The client looks at its buffer's size between two reads, so a larger head passes if it comes at once.
    if header_bytes(response.headers()) > MAX_HEADER_BYTES {
        return Err(headers_too_large());
    }
    let body = |incoming| IncomingBody {
        incoming,
        patience: timeouts.between_bytes,
        deadline,
        timer: None,
    };
    Ok((response.map(body), connection))
}

/// The first failure of the guest's own body: the HTTP client reports only that there was one.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<BoxError>>>);

/// Stands for the failure that [`Failure`] keeps.
#[derive(Debug, thiserror::Error)]
#[error("the request's body failed")]
struct BodyFailed;

impl Failure {
    fn watch(&self, body: OutgoingBody) -> UnsyncBoxBody<Bytes, BodyFailed> {
        let failure = self.clone();
        body.map_err(move |error| {
            *failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            BodyFailed
        })
        .boxed_unsync()
    }

    fn explain(&self, error: &hyper::Error) -> Error {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Error::RequestBody(failure),
            None => explain(error),
        }
    }
}

fn explain(error: &hyper::Error) -> Error {
    let cause = error.source();
    let reason = match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let kind = cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    if error.is_parse_too_large() {
        headers_too_large()
    } else if error.is_incomplete_message() || kind == Some(io::ErrorKind::UnexpectedEof) {
        Error::ResponseIncomplete
    } else if error.is_parse() || matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) {
        Error::Protocol(reason)
    } else {
        Error::ConnectionTerminated(reason)
    }
}

fn headers_too_large() -> Error {
    Error::ResponseHeadersTooLarge {
        limit_bytes: MAX_HEADER_BYTES,
        limit_count: MAX_HEADERS,
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// A response's body as it arrives. The peer is read from no faster than this is.
pub struct IncomingBody {
    incoming: Incoming,
    patience: Option<Duration>,
    deadline: Instant,
    /// When waiting ends, and whether it ends because of the deadline. Set while nothing is there.
    timer: Option<(Pin<Box<Sleep>>, bool)>,
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| explain(&error))));
        }
        let (timer, is_deadline) = this.timer.get_or_insert_with(|| {
            let limit = limit(this.deadline, this.patience);
            (Box::pin(tokio::time::sleep_until(limit.into())), limit >= this.deadline)
        });
        let late = if *is_deadline {
            Error::DeadlineExceeded
        } else {
            Error::ReadTimeout
        };
        timer.as_mut().poll(context).map(|()| Some(Err(late)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
