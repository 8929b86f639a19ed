//! The right to answer one event, and the three ways to use it: an answer, a stream, an error.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::HeaderValue;
use tracing::{error, warn};

use super::connection::TransportError;
use super::upload::{Consumed, StreamBody, Upload};
use super::wire::EventIdentity;
use super::{Client, Endpoint, Error, Posted, judge, refusal_text};
use crate::error::ErrorReport;
use crate::function::SharedProgress;

/// The right and the means to answer one event, once.
///
/// A clone is an understudy: to be used only by whoever has won the right to answer from the
/// [`Watch`](crate::watchdog::Watch).
#[derive(Debug, Clone)]
pub struct Responder {
    exchange: Arc<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    identity: EventIdentity,
    trace_id: Option<String>,
    endpoint: Arc<Endpoint>,
    stage: Mutex<Stage>,
    progress: OnceLock<SharedProgress>,
}

/// How far the answer is.
#[derive(Debug)]
enum Stage {
    /// Nothing of it has been sent.
    Open,
    /// A stream is on its way; an error would have to end it.
    Streaming(Upload),
    /// It is given, or being given.
    Closed,
}

/// What an answer consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These bytes.
    Whole(Bytes),
    /// What has gone through [`Responder::stream`].
    Streamed,
}

/// The `Content-Type` of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamType {
    /// Bytes, of the type that is configured, else `application/octet-stream`.
    Bytes,
    /// An HTTP response behind its prelude (runtime contract §3.4).
    Http,
}

/// A stream cannot begin: somebody else answers the event, or the system is out of threads.
#[derive(Debug, thiserror::Error)]
#[error("the response stream cannot begin: {0}")]
pub struct StreamRefused(String);

impl Responder {
    pub(super) fn new(identity: EventIdentity, trace_id: Option<String>, endpoint: Arc<Endpoint>) -> Self {
        Self {
            exchange: Arc::new(Exchange {
                identity,
                trace_id,
                endpoint,
                stage: Mutex::new(Stage::Open),
                progress: OnceLock::new(),
            }),
        }
    }

    /// The event's request id.
    pub fn request_id(&self) -> &str {
        &self.exchange.identity.request_id
    }

    /// The nonce of this attempt, if Lambda sent one.
    pub fn invocation_id(&self) -> Option<Vec<u8>> {
        self.exchange.identity.invocation_id()
    }

    /// The event is a batch, and this is how far it is.
    pub fn set_progress(&self, progress: SharedProgress) {
        // An event is run once.
        let _ = self.exchange.progress.set(progress);
    }

    /// How far the event's batch is, if it is one that is run record by record.
    pub fn progress(&self) -> Option<&SharedProgress> {
        self.exchange.progress.get()
    }

    /// Begins a streamed answer, which lasts until `body` ends, or until [`Self::respond`] or [`Self::fail`].
    ///
    /// # Errors
    ///
    /// [`StreamRefused`].
    pub fn stream(&self, stream_type: StreamType, body: StreamBody) -> Result<Consumed, StreamRefused> {
        let Exchange {
            identity,
            endpoint,
            stage,
            trace_id: _,
            progress: _,
        } = &*self.exchange;
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stage {
            Stage::Open => {}
            Stage::Streaming(_) => return Err(StreamRefused("one has begun already".to_owned())),
            Stage::Closed => return Err(StreamRefused("the event is answered".to_owned())),
        }
        let content_type = match stream_type {
            StreamType::Http => HeaderValue::from_static("application/vnd.awslambda.http-integration-response"),
            StreamType::Bytes => endpoint
                .response_content_type
                .clone()
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
        };
        let (upload, consumed) = Upload::start(&endpoint.address, body, |body| {
            endpoint.requests.streaming_response(identity, content_type, body)
        })
        .map_err(|error| StreamRefused(format!("no thread for it: {error}")))?;
        *stage = Stage::Streaming(upload);
        Ok(consumed)
    }

    fn close(&self) -> Stage {
        let mut stage = self.exchange.stage.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut stage, Stage::Closed)
    }

    /// Posts the guest's answer, or ends the stream that was the answer.
    ///
    /// # Errors
    ///
    /// [`Error`] where only an exit helps. An answer that Lambda refuses for this event alone is logged.
    pub async fn respond(self, client: &mut Client, answer: Answer) -> Result<(), Error> {
        let stage = self.close();
        let answer = match (answer, stage) {
            (Answer::Streamed, Stage::Streaming(upload)) => return end_stream(upload, Ok(())).await,
            // A stream without a first byte is an answer without one.
            (Answer::Streamed, Stage::Open | Stage::Closed) => Bytes::new(),
            (Answer::Whole(answer), Stage::Open | Stage::Closed | Stage::Streaming(_)) => answer,
        };
        let size = answer.len();
        let Exchange { identity, endpoint, .. } = &*self.exchange;
        let content_type = endpoint
            .response_content_type
            .clone()
            .unwrap_or(HeaderValue::from_static("application/json"));
        let posted = client
            .post("POST response", |requests| {
                requests.response(identity, content_type.clone(), answer.clone())
            })
            .await?;
        if let Posted::TooLarge(reason) = posted {
            // Lambda has told the caller already; an error report on top would only be refused.
            error!(bytes = size, reason, "the response is larger than Lambda takes");
        }
        Ok(())
    }

    /// Posts an error report; a smaller one if Lambda finds it too large. A stream that has begun is ended by the report
    /// instead.
    ///
    /// # Errors
    ///
    /// As [`Self::respond`].
    pub async fn fail(self, client: &mut Client, report: &ErrorReport) -> Result<(), Error> {
        if let Stage::Streaming(upload) = self.close() {
            return end_stream(upload, Err(report.clone())).await;
        }
        let Exchange { identity, trace_id, .. } = &*self.exchange;
        for json in [report.to_json(), report.to_short_json()] {
            let json = Bytes::from(json);
            let posted = client
                .post("POST error", |requests| {
                    requests.error(identity, trace_id.as_deref(), report, json.clone())
                })
                .await?;
            match posted {
                Posted::TooLarge(reason) => {
                    warn!(
                        bytes = json.len(),
                        reason, "the error report is larger than Lambda takes"
                    );
                }
                Posted::Accepted | Posted::Refused => break,
            }
        }
        Ok(())
    }
}

/// Tells an upload how the guest ended, and waits for what Lambda says to all of it.
async fn end_stream(upload: Upload, verdict: Result<(), ErrorReport>) -> Result<(), Error> {
    const CALL: &str = "POST response (streaming)";
    // An upload that Lambda has refused, or a guest's body that has ended, takes no verdict any more.
    let _ = upload.verdict.send(verdict);
    let answered = upload
        .answered
        .await
        .unwrap_or_else(|_| Err(TransportError::Broken("the upload's thread ended early".to_owned())));
    let (status, body) = answered.map_err(|source| Error::Transport { call: CALL, source })?;
    let posted = judge(CALL, status, refusal_text(&body), false)?;
    if let Posted::TooLarge(reason) = posted {
        error!(reason, "the streamed response is larger than Lambda takes");
    }
    Ok(())
}
