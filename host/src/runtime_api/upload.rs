//! A streamed answer on its way to Lambda (runtime contract §3.2): one request with a chunked body, on a connection that is
//! used once, driven by a thread of its own.
//!
//! The thread is what makes a chunk leave while the guest computes the next one, and what can end the stream properly when
//! the guest never returns. A success ends with an empty trailer section, a failure with the error in two trailers.

use std::convert::{self, Infallible};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use tokio::sync::oneshot;

use super::connection::{TransportError, broken, connect};
use super::message::Message;
use super::wire;
use super::{MAX_REFUSAL_BYTES, read_up_to};
use crate::error::ErrorReport;

/// What a guest streams. An error means that it broke off.
pub type StreamBody = UnsyncBoxBody<Bytes, BrokenOff>;

/// A streamed body ended before its end, for this reason.
#[derive(Debug, Clone)]
pub struct BrokenOff(pub String);

/// How Lambda answered an upload: status and body.
pub(super) type Answered = Result<(StatusCode, Bytes), TransportError>;

/// An upload under way.
#[derive(Debug)]
pub(super) struct Upload {
    /// Takes how the guest ended. Dropping it counts as a failure of the host.
    pub(super) verdict: oneshot::Sender<Result<(), ErrorReport>>,
    /// Gives Lambda's answer.
    pub(super) answered: oneshot::Receiver<Answered>,
}

/// Resolves when the guest's body has been taken over to its end, or when nobody will take any more of it.
#[derive(Debug)]
pub struct Consumed(oneshot::Receiver<()>);

impl Consumed {
    /// Waits for it.
    pub async fn wait(self) {
        // The sender is dropped in the second case.
        let _ = self.0.await;
    }
}

impl Upload {
    /// Begins to send `body` with the request that `request` makes of it.
    ///
    /// # Errors
    ///
    /// Of the operating system, when it has no thread left.
    pub(super) fn start(
        address: &str,
        body: StreamBody,
        request: impl FnOnce(UploadBody) -> Message<UploadBody>,
    ) -> io::Result<(Self, Consumed)> {
        let (verdict, verdict_receiver) = oneshot::channel();
        let (consumed_sender, consumed) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let (answered_sender, answered) = oneshot::channel();
        let body = UploadBody {
            stage: Stage::Open(body),
            verdict: verdict_receiver,
            consumed: Some(consumed_sender),
            ended: Some(ended_sender),
        };
        let (request, address) = (request(body), address.to_owned());
        thread::Builder::new().name("upload".to_owned()).spawn(move || {
            let answer = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| TransportError::Broken(format!("no event loop for the upload: {error}")))
                .and_then(|runtime| runtime.block_on(send(&address, request, ended)));
            // Nobody waits for it any more if the process is about to be replaced.
            let _ = answered_sender.send(answer);
        })?;
        Ok((Self { verdict, answered }, Consumed(consumed)))
    }
}

async fn send(address: &str, request: Message<UploadBody>, ended: oneshot::Receiver<()>) -> Answered {
    let mut sender = connect(address).await?;
    let response = sender
        .send_request(request.into_request(convert::identity))
        .await
        .map_err(|error| broken(&error))?;
    let status = response.status();
    if status.is_success() {
        // An answer before the end is no reason to cut the stream off.
        let _ = ended.await;
    }
    let body = read_up_to(response.into_body(), MAX_REFUSAL_BYTES as u64).await;
    Ok((status, body.ok().flatten().unwrap_or_default()))
}

/// The guest's body, ended by the verdict on the guest.
pub(super) struct UploadBody {
    stage: Stage,
    verdict: oneshot::Receiver<Result<(), ErrorReport>>,
    consumed: Option<oneshot::Sender<()>>,
    /// Dropped with the body or at its end.
    ended: Option<oneshot::Sender<()>>,
}

enum Stage {
    /// The guest may go on writing.
    Open(StreamBody),
    /// The guest has ended like this; what it wrote before is still to be sent.
    Draining(StreamBody, Result<(), ErrorReport>),
    /// The guest's body is over, and the guest has yet to end: in a failure, because its body broke off for this reason.
    Waiting(BrokenOff),
    /// Everything is sent.
    Ended,
}

impl UploadBody {
    fn end(&mut self, result: Result<(), ErrorReport>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.stage = Stage::Ended;
        self.consumed.take();
        self.ended.take();
        Poll::Ready(match result {
            Ok(()) => None,
            Err(report) => Some(Ok(Frame::trailers(wire::error_trailers(&report)))),
        })
    }

    fn poll_verdict(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ErrorReport>> {
        Pin::new(&mut self.verdict).poll(context).map(|verdict| {
            verdict.unwrap_or_else(|_| {
                Err(ErrorReport::new(
                    "Runtime.HostFailure",
                    "the host failed while the answer was streamed",
                    Vec::new(),
                ))
            })
        })
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Open(mut body) => {
                    if let Poll::Ready(verdict) = self.poll_verdict(context) {
                        self.stage = Stage::Draining(body, verdict);
                        continue;
                    }
                    let polled = Pin::new(&mut body).poll_frame(context);
                    let Poll::Ready(frame) = polled else {
                        self.stage = Stage::Open(body);
                        return Poll::Pending;
                    };
                    match frame {
                        None => return self.end(Ok(())),
                        Some(Ok(frame)) => {
                            self.stage = Stage::Open(body);
                            // A guest's own trailers have no place in Lambda's protocol.
                            if frame.is_data() {
                                return Poll::Ready(Some(Ok(frame)));
                            }
                        }
                        Some(Err(reason)) => {
                            self.consumed.take();
                            self.stage = Stage::Waiting(reason);
                        }
                    }
                }
                Stage::Draining(mut body, verdict) => {
                    // Pending means that there is no more, and must not mean that the task's share of time is used up.
                    let frame = tokio::task::unconstrained(poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
                    let polled = pin!(frame).poll(context);
                    return match polled {
                        Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                            self.stage = Stage::Draining(body, verdict);
                            Poll::Ready(Some(Ok(frame)))
                        }
                        Poll::Ready(Some(Err(reason))) => self.end(verdict.and_then(|()| Err(reason.report()))),
                        Poll::Ready(Some(Ok(_)) | None) | Poll::Pending => self.end(verdict),
                    };
                }
                Stage::Waiting(reason) => {
                    self.stage = Stage::Waiting(reason.clone());
                    let verdict = ready!(self.poll_verdict(context));
                    return self.end(verdict.and_then(|()| Err(reason.report())));
                }
                Stage::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl BrokenOff {
    /// The form that leaves the process.
    pub fn report(&self) -> ErrorReport {
        crate::error::FunctionError::InvalidResponse(format!("its body broke off: {}", self.0)).report()
    }
}

/// A body that begins with `first`.
pub fn beginning_with(first: Bytes, rest: StreamBody) -> StreamBody {
    Beginning {
        first: Some(first),
        rest,
    }
    .boxed_unsync()
}

struct Beginning {
    first: Option<Bytes>,
    rest: StreamBody,
}

impl Body for Beginning {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}
