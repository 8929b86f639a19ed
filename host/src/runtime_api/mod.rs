//! The client of Lambda's Runtime API: next, response, error, init error (runtime contract §1), and a restore (§8.4).
//!
//! It carries bytes and knows nothing of WebAssembly or of event shapes. An event comes with a [`Responder`], and only that
//! can answer it.

mod connection;
mod extension;
mod message;
mod responder;
mod socket;
mod transport;
mod upload;
mod wire;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tracing::{error, warn};

use connection::Connection;
pub use connection::TransportError;
pub use extension::Extension;
use message::Message;
pub use responder::{Answer, Responder, StreamRefused, StreamType};
pub use socket::Interrupter;
use transport::{Reply, Transport, Unread};
pub use upload::{BrokenOff, Consumed, StreamBody, beginning_with};
use wire::{EventIdentity, NextHeaders, Refusal, Requests};

use crate::config::RuntimeApi;
use crate::error::{ErrorReport, FunctionError};
use crate::handover::InterruptedBatch;
use crate::invocation::{Context, Deadline, DeadlineHeader, DeadlinePolicy, Invocation};
use crate::pieces::Pieces;

/// How long `/next` is retried while the API cannot be reached or answers nonsense.
const NEXT_PATIENCE: Duration = Duration::from_secs(3);
/// The same for one of several pollers. When hundreds of them connect at the same moment, some have to wait for their turn.
const NEXT_PATIENCE_OF_SEVERAL: Duration = Duration::from_secs(10);
/// The first pause between two tries; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// `/init/error` and `/restore/error` must not keep a failed process alive.
const REPORT_TIMEOUT: Duration = Duration::from_millis(800);
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
    /// The wait for an event was ended by an [`Interrupter`].
    #[error("the wait for an event was ended from within")]
    Interrupted,
}

impl Error {
    /// Whether Lambda itself has failed, and waits for the process to end (runtime contract §1.9). Where several events are
    /// worked on at a time, any other error concerns one of them.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::NOT_FOUND,
            Self::Transport { .. } | Self::EventLost(_) | Self::Unanswerable(_) | Self::Interrupted => false,
        }
    }
}

/// A client of the Runtime API, on one connection.
pub struct Client {
    is_one_of_several: bool,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    policy: DeadlinePolicy,
    max_event_bytes: u64,
}

/// What every request and every answer needs to know.
#[derive(Debug)]
struct Endpoint {
    address: String,
    requests: Requests,
    response_content_type: Option<HeaderValue>,
}

impl Client {
    /// A client that has not connected yet, for an event loop.
    pub fn new(config: &RuntimeApi, policy: &DeadlinePolicy, max_event_bytes: u64) -> Self {
        let connection = Connection::new(&config.address);
        Self::over(Transport::Waiting(connection), config, policy, max_event_bytes)
    }

    /// The same for a thread that serves one event at a time: while it waits for Lambda, the thread does nothing else. There
    /// is no other way to stop it than `interrupter`, which ends [`Self::next`].
    pub fn blocking(
        config: &RuntimeApi,
        policy: &DeadlinePolicy,
        max_event_bytes: u64,
        interrupter: Interrupter,
    ) -> Self {
        let connection = socket::Connection::new(&config.address, interrupter);
        Self::over(Transport::Blocking(connection), config, policy, max_event_bytes)
    }

    fn over(transport: Transport, config: &RuntimeApi, policy: &DeadlinePolicy, max_event_bytes: u64) -> Self {
        let RuntimeApi {
            address,
            response_content_type,
        } = config;
        Self {
            is_one_of_several: false,
            transport,
            endpoint: Arc::new(Endpoint {
                address: address.clone(),
                requests: Requests::new(address),
                response_content_type: response_content_type.as_deref().map(wire::content_type),
            }),
            policy: policy.clone(),
            max_event_bytes,
        }
    }

    /// The same for one of several pollers: a refusal of this one's request says nothing of the others', so it is retried.
    pub fn of_several(self) -> Self {
        Self {
            is_one_of_several: true,
            ..self
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
            let request = self.endpoint.requests.next();
            let failure = match self.transport.send(request, NextHeaders::parse).await {
                Ok(Reply {
                    status: StatusCode::OK,
                    heeded,
                    body,
                }) => match heeded {
                    Ok(headers) => return self.read_event(headers, body).await,
                    Err(reason) => {
                        self.transport.close();
                        Error::Unanswerable(reason)
                    }
                },
                Ok(Reply {
                    status,
                    body,
                    heeded: _,
                }) => {
                    let failure = Error::Refused {
                        call: CALL,
                        status,
                        reason: self.read_refusal(body).await,
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
                        StatusCode::FORBIDDEN if !self.is_one_of_several => return Err(failure),
                        StatusCode::INTERNAL_SERVER_ERROR => return Err(failure),
                        _ => failure,
                    }
                }
                Err(TransportError::Interrupted) => return Err(Error::Interrupted),
                Err(source) => Error::Transport { call: CALL, source },
            };
            let since = *trying_since.get_or_insert_with(|| {
                warn!(
                    error = &failure as &dyn std::error::Error,
                    "asking for the next event again"
                );
                Instant::now()
            });
            let patience = match self.is_one_of_several {
                true => NEXT_PATIENCE_OF_SEVERAL,
                false => NEXT_PATIENCE,
            };
            if since.elapsed() + pause > patience {
                return Err(failure);
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn read_event(&mut self, headers: NextHeaders, body: Unread) -> Result<(Invocation, Responder), Error> {
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
        let event = match self.transport.read_up_to(body, limit_bytes).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(FunctionError::EventTooLarge { limit_bytes }),
            Err(error) => return Err(Error::EventLost(error.to_string())),
        };
        let context = Context {
            request_id: identity.request_id.clone(),
            deadline,
            invoked_function_arn,
            trace_id,
            client_context,
            identity: cognito_identity,
            tenant_id,
        };
        let responder = Responder::new(identity, context.trace_id.clone(), Arc::clone(&self.endpoint));
        let invocation = Invocation {
            context,
            event,
            standing: None,
        };
        Ok((invocation, responder))
    }

    /// The event that an earlier run of this process has taken and not answered.
    pub fn resume(&self, batch: InterruptedBatch, event: Bytes) -> (Invocation, Responder) {
        let InterruptedBatch {
            request_id,
            invocation_id,
            deadline_unix_ms,
            invoked_function_arn,
            trace_id,
            client_context,
            identity,
            tenant_id,
            standing,
        } = batch;
        let deadline = DeadlineHeader::At(deadline_unix_ms);
        let context = Context {
            request_id: request_id.clone(),
            deadline: Deadline::new(&deadline, &self.policy, Instant::now(), SystemTime::now()),
            invoked_function_arn,
            trace_id: trace_id.clone(),
            client_context,
            identity,
            tenant_id,
        };
        let invocation = Invocation {
            context,
            event: Ok(event),
            standing: Some(standing),
        };
        let identity = EventIdentity::resumed(request_id, invocation_id.as_deref());
        let responder = Responder::new(identity, trace_id, Arc::clone(&self.endpoint));
        (invocation, responder)
    }

    /// Reports that Init failed. Whatever Lambda answers, the process ends next, so nothing but a log line comes of a
    /// failure here.
    pub async fn init_error(&mut self, report: &ErrorReport) {
        self.report("POST init/error", report, Requests::init_error).await;
    }

    /// As [`Self::init_error`], after a restore.
    pub async fn restore_error(&mut self, report: &ErrorReport) {
        self.report("POST restore/error", report, Requests::restore_error).await;
    }

    async fn report(
        &mut self,
        call: &'static str,
        report: &ErrorReport,
        request: impl Fn(&Requests, &ErrorReport, Bytes) -> Message<Bytes>,
    ) {
        let post = async {
            let whole = request(&self.endpoint.requests, report, report.to_json().into());
            let reply = self.transport.send(whole, |_| ()).await?;
            if reply.status == StatusCode::PAYLOAD_TOO_LARGE {
                self.transport.close();
                let short = request(&self.endpoint.requests, report, report.to_short_json().into());
                return self.transport.send(short, |_| ()).await;
            }
            Ok(reply)
        };
        match tokio::time::timeout(REPORT_TIMEOUT, post).await {
            Ok(Ok(reply)) if reply.status.is_success() => {}
            Ok(Ok(Reply {
                status,
                body,
                heeded: (),
            })) => {
                let reason = self.read_refusal(body).await;
                warn!(
                    call,
                    status = status.as_u16(),
                    reason,
                    "the Runtime API did not take the report of the error"
                );
            }
            Ok(Err(error)) => warn!(
                call,
                error = &error as &dyn std::error::Error,
                "cannot report the error"
            ),
            Err(_) => warn!(call, "the Runtime API did not answer the report of the error in time"),
        }
    }

    /// Tells Lambda that the process may be written down, and returns in a copy of it: hours later, or years. There is no
    /// timeout, and no second try: only Lambda knows what a broken connection means here. What is sent next has a connection
    /// of its own.
    ///
    /// # Errors
    ///
    /// [`Error`]; the process should end.
    pub async fn restore_next(&mut self) -> Result<(), Error> {
        const CALL: &str = "GET restore/next";
        let sent = self.transport.send(self.endpoint.requests.restore_next(), |_| ()).await;
        let Reply { status, body, .. } = sent.map_err(|source| Error::Transport { call: CALL, source })?;
        let reason = self.read_refusal(body).await;
        self.transport.close();
        match status {
            StatusCode::OK => Ok(()),
            status => Err(Error::Refused {
                call: CALL,
                status,
                reason,
            }),
        }
    }

    /// Posts an answer, and once more if the connection broke: a second copy of an answer that did arrive is refused by
    /// Lambda and harmless.
    ///
    /// There is no timeout here; the caller's watch has one.
    async fn post(
        &mut self,
        call: &'static str,
        request: impl Fn(&Requests) -> Message<Bytes>,
    ) -> Result<Posted, Error> {
        let first = self.transport.send(request(&self.endpoint.requests), |_| ()).await;
        match first {
            Ok(reply) => self.judge(call, reply, false).await,
            Err(error) => {
                warn!(
                    call,
                    error = &error as &dyn std::error::Error,
                    "posting the answer again"
                );
                match self.transport.send(request(&self.endpoint.requests), |_| ()).await {
                    Ok(reply) => self.judge(call, reply, true).await,
                    Err(source) => Err(Error::Transport { call, source }),
                }
            }
        }
    }

    async fn judge(&mut self, call: &'static str, reply: Reply<()>, is_retry: bool) -> Result<Posted, Error> {
        let Reply {
            status,
            body,
            heeded: (),
        } = reply;
        if status.is_success() {
            // The body is `{"status":"OK"}`; reading it lets the connection be used again, and nothing depends on it.
            let _ = self.transport.read_up_to(body, MAX_REFUSAL_BYTES as u64).await;
            return Ok(Posted::Accepted);
        }
        let reason = self.read_refusal(body).await;
        judge(call, status, reason, is_retry)
    }

    async fn read_refusal(&mut self, body: Unread) -> String {
        let Ok(Some(body)) = self.transport.read_up_to(body, MAX_REFUSAL_BYTES as u64).await else {
            return "the body could not be read".to_owned();
        };
        refusal_text(&body)
    }
}

/// Between half of the pause and all of it, so that pollers that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    // The standard library seeds each of these at random.
    let random = RandomState::new().build_hasher().finish();
    pause / 2 + pause.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64) / 2
}

fn refusal_text(body: &[u8]) -> String {
    let Refusal {
        error_type,
        error_message,
    } = Refusal::parse(body);
    if error_type.is_empty() {
        error_message
    } else {
        format!("{error_type}: {error_message}")
    }
}

enum Posted {
    Accepted,
    Refused,
    TooLarge(String),
}

/// The decision table of the runtime contract, §1.9, for answers.
fn judge(call: &'static str, status: StatusCode, reason: String, is_retry: bool) -> Result<Posted, Error> {
    match status {
        status if status.is_success() => Ok(Posted::Accepted),
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if is_retry => Ok(Posted::Accepted),
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::GONE => {
            error!(call, status = status.as_u16(), reason, "Lambda did not take the answer");
            Ok(Posted::Refused)
        }
        StatusCode::PAYLOAD_TOO_LARGE => Ok(Posted::TooLarge(reason)),
        _ => Err(Error::Refused { call, status, reason }),
    }
}

/// The whole body, or `None` if it is larger than `limit` bytes.
async fn read_up_to(mut body: Incoming, limit: u64) -> Result<Option<Bytes>, hyper::Error> {
    let mut all = Pieces::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        all.push(data);
        if all.size() as u64 > limit {
            return Ok(None);
        }
    }
    Ok(Some(all.into_bytes()))
}
