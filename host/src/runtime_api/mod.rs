//! The client of Lambda's Runtime API: next, response, error, init error (runtime contract §1).
//!
//! It carries bytes and knows nothing of WebAssembly or of event shapes. An event comes with a [`Responder`], and only that
//! can answer it.

mod connection;
mod extension;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tracing::{error, warn};

pub use connection::TransportError;
use connection::{Connection, broken};
pub use extension::Extension;
use wire::{EventIdentity, NextHeaders, Refusal, Requests};

use crate::config::RuntimeApi;
use crate::error::{ErrorReport, FunctionError};
use crate::invocation::{Context, Deadline, DeadlinePolicy, Invocation};

/// How long `/next` is retried while the API cannot be reached or answers nonsense.
const NEXT_PATIENCE: Duration = Duration::from_secs(3);
/// The first pause between two tries; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// `/init/error` must not keep a failed process alive.
const INIT_ERROR_TIMEOUT: Duration = Duration::from_millis(800);
/// The body of a refusal is read up to here.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// The Runtime API cannot be worked with any more; the process ends and Lambda replaces it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request got no response, several times where that is safe.
    #[error("{call} got no response")]
    Transport {
        /// The call, such as `GET next`.
        call: &'static str,
        /// The cause.
        source: TransportError,
    },
    /// A status that only an exit can answer.
    #[error("{call} was answered with {status}: {reason}")]
    Refused {
        /// The call.
        call: &'static str,
        /// The status.
        status: StatusCode,
        /// What the body said.
        reason: String,
    },
    /// An event broke off while it was being delivered. It is lost to this process; Lambda sees the exit.
    #[error("an event broke off while it was being read: {0}")]
    EventLost(String),
    /// `/next` answered 200 without saying for which event.
    #[error("GET next answered with an event that cannot be answered: {0}")]
    Unanswerable(String),
}

/// A client of the Runtime API, on one connection.
pub struct Client {
    connection: Connection,
    requests: Requests,
    response_content_type: HeaderValue,
    policy: DeadlinePolicy,
    max_event_bytes: u64,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(config: &RuntimeApi, policy: &DeadlinePolicy, max_event_bytes: u64) -> Self {
        let RuntimeApi {
            address,
            response_content_type,
        } = config;
        Self {
            connection: Connection::new(address),
            requests: Requests::new(address),
            response_content_type: wire::content_type(response_content_type),
            policy: policy.clone(),
            max_event_bytes,
        }
    }

    /// Waits for the next event, without any timeout: the process may be frozen for hours meanwhile.
    ///
    /// While no byte of an event has arrived, asking again is safe, and is done for a few seconds.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; the process should end.
    pub async fn next(&mut self) -> Result<(Invocation, Responder), Error> {
        const CALL: &str = "GET next";
        let mut pause = FIRST_PAUSE;
        let mut trying_since: Option<Instant> = None;
        loop {
            let failure = match self.connection.send(self.requests.next()).await {
                Ok(response) if response.status() == StatusCode::OK => match NextHeaders::parse(response.headers()) {
                    Ok(headers) => return self.read_event(headers, response.into_body()).await,
                    Err(reason) => {
                        self.connection.close();
                        Error::Unanswerable(reason)
                    }
                },
                Ok(response) => {
                    let status = response.status();
                    let failure = Error::Refused {
                        call: CALL,
                        status,
                        reason: self.read_refusal(response).await,
                    };
                    match status {
                        // Some emulators say so when they have no event; that is no failure, however long it lasts.
                        StatusCode::NO_CONTENT => {
                            trying_since = None;
                            tokio::time::sleep(pause).await;
                            pause = (pause * 2).min(LONGEST_PAUSE);
                            continue;
                        }
                        // Our state and Lambda's have parted, or Lambda itself has failed: only an exit helps.
                        StatusCode::FORBIDDEN | StatusCode::INTERNAL_SERVER_ERROR => return Err(failure),
                        _ => failure,
                    }
                }
                Err(source) => Error::Transport { call: CALL, source },
            };
            let since = *trying_since.get_or_insert_with(|| {
                warn!(
                    error = &failure as &dyn std::error::Error,
                    "asking for the next event again"
                );
                Instant::now()
            });
            if since.elapsed() + pause > NEXT_PATIENCE {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn read_event(&mut self, headers: NextHeaders, body: Incoming) -> Result<(Invocation, Responder), Error> {
        let NextHeaders {
            identity,
            deadline,
            invoked_function_arn,
            trace_id,
            client_context,
            cognito_identity,
            tenant_id,
        } = headers;
        let deadline = Deadline::new(&deadline, &self.policy, Instant::now(), SystemTime::now());
        let limit_bytes = self.max_event_bytes;
        let event = match read_up_to(body, limit_bytes).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => {
                self.connection.close();
                Err(FunctionError::EventTooLarge { limit_bytes })
            }
            Err(error) => return Err(Error::EventLost(broken(&error).to_string())),
        };
        let responder = Responder {
            identity: Arc::new(identity),
            trace_id: trace_id.clone(),
        };
        let context = Context {
            request_id: responder.identity.request_id.clone(),
            deadline,
            invoked_function_arn,
            trace_id,
            client_context,
            identity: cognito_identity,
            tenant_id,
        };
        Ok((Invocation { context, event }, responder))
    }

    /// Reports that Init failed. Whatever Lambda answers, the process ends next, so nothing but a log line comes of a
    /// failure here.
    pub async fn init_error(&mut self, report: &ErrorReport) {
        let post = async {
            let response = self
                .connection
                .send(self.requests.init_error(report, body(report.to_json())))
                .await?;
            let status = response.status();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                self.connection.close();
                return self
                    .connection
                    .send(self.requests.init_error(report, body(report.to_short_json())))
                    .await;
            }
            Ok(response)
        };
        match tokio::time::timeout(INIT_ERROR_TIMEOUT, post).await {
            Ok(Ok(response)) if response.status().is_success() => {}
            Ok(Ok(response)) => {
                let status = response.status();
                let reason = self.read_refusal(response).await;
                warn!(
                    status = status.as_u16(),
                    reason, "the Runtime API did not take the init error"
                );
            }
            Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "cannot report the init error"),
            Err(_) => warn!("the Runtime API did not answer the init error in time"),
        }
    }

    /// Posts an answer, and once more if the connection broke: a second copy of an answer that did arrive is refused by
    /// Lambda and harmless.
    ///
    /// There is no timeout here; the caller's watch has one.
    async fn post(
        &mut self,
        call: &'static str,
        request: impl Fn(&Requests) -> Request<Full<Bytes>>,
    ) -> Result<Posted, Error> {
        let first = self.connection.send(request(&self.requests)).await;
        match first {
            Ok(response) => self.judge(call, response, false).await,
            Err(error) => {
                warn!(
                    call,
                    error = &error as &dyn std::error::Error,
                    "posting the answer again"
                );
                match self.connection.send(request(&self.requests)).await {
                    Ok(response) => self.judge(call, response, true).await,
                    Err(source) => Err(Error::Transport { call, source }),
                }
            }
        }
    }

    /// The decision table of the runtime contract, §1.9, for answers.
    async fn judge(
        &mut self,
        call: &'static str,
        response: Response<Incoming>,
        is_retry: bool,
    ) -> Result<Posted, Error> {
        let status = response.status();
        if status.is_success() {
            // The body is `{"status":"OK"}`; reading it lets the connection be used again.
            if !matches!(
                read_up_to(response.into_body(), MAX_REFUSAL_BYTES as u64).await,
                Ok(Some(_))
            ) {
                self.connection.close();
            }
            return Ok(Posted::Accepted);
        }
        let reason = self.read_refusal(response).await;
        match status {
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if is_retry => Ok(Posted::Accepted),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::GONE => {
                error!(call, status = status.as_u16(), reason, "Lambda did not take the answer");
                Ok(Posted::Refused)
            }
            StatusCode::PAYLOAD_TOO_LARGE => Ok(Posted::TooLarge(reason)),
            _ => Err(Error::Refused { call, status, reason }),
        }
    }

    async fn read_refusal(&mut self, response: Response<Incoming>) -> String {
        let Ok(Some(body)) = read_up_to(response.into_body(), MAX_REFUSAL_BYTES as u64).await else {
            self.connection.close();
            return "the body could not be read".to_owned();
        };
        let Refusal {
            error_type,
            error_message,
        } = Refusal::parse(&body);
        if error_type.is_empty() {
            error_message
        } else {
            format!("{error_type}: {error_message}")
        }
    }
}

enum Posted {
    Accepted,
    Refused,
    TooLarge(String),
}

/// The right and the means to answer one event, once.
#[derive(Debug)]
pub struct Responder {
    identity: Arc<EventIdentity>,
    trace_id: Option<String>,
}

impl Responder {
    /// A second responder for the same event, to be used only by whoever has won the right to answer it from the
    /// [`Watch`](crate::watchdog::Watch).
    pub fn understudy(&self) -> Self {
        Self {
            identity: Arc::clone(&self.identity),
            trace_id: self.trace_id.clone(),
        }
    }

    /// The event's request id.
    pub fn request_id(&self) -> &str {
        &self.identity.request_id
    }

    /// Posts the guest's answer.
    ///
    /// # Errors
    ///
    /// [`Error`] where only an exit helps. An answer that Lambda refuses for this event alone is logged.
    pub async fn respond(self, client: &mut Client, answer: Bytes) -> Result<(), Error> {
        let size = answer.len();
        let content_type = client.response_content_type.clone();
        let posted = client
            .post("POST response", |requests| {
                requests.response(&self.identity, content_type.clone(), Full::new(answer.clone()))
            })
            .await?;
        if let Posted::TooLarge(reason) = posted {
            // Lambda has told the caller already; an error report on top would only be refused.
            error!(bytes = size, reason, "the response is larger than Lambda takes");
        }
        Ok(())
    }

    /// Posts an error report; a smaller one if Lambda finds it too large.
    ///
    /// # Errors
    ///
    /// As [`Self::respond`].
    pub async fn fail(self, client: &mut Client, report: &ErrorReport) -> Result<(), Error> {
        for json in [report.to_json(), report.to_short_json()] {
            let posted = client
                .post("POST error", |requests| {
                    requests.error(&self.identity, self.trace_id.as_deref(), report, body(json.clone()))
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

fn body(bytes: Vec<u8>) -> Full<Bytes> {
    Full::new(bytes.into())
}

/// The whole body, or `None` if it is larger than `limit` bytes.
async fn read_up_to(mut body: Incoming, limit: u64) -> Result<Option<Bytes>, hyper::Error> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        size += data.len() as u64;
        if size > limit {
            return Ok(None);
        }
        // Small events arrive in one piece, which is then passed on as it is.
        match (&first, rest.is_empty()) {
            (None, true) => first = Some(data),
            (Some(start), true) => {
                rest.extend_from_slice(start);
                rest.extend_from_slice(&data);
            }
            (_, false) => rest.extend_from_slice(&data),
        }
    }
    Ok(Some(if rest.is_empty() {
        first.unwrap_or_default()
    } else {
        rest.freeze()
    }))
}
