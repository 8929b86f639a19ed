//! What a runtime may do when: the state machine behind one Runtime API (runtime contract §1.8, §8.1 and §9).
//!
//! ```text
//!            next                 next taken             answer begun            answer ended
//! Starting ───────► Asking(n) ───────────────► running ───────────────► answering ───────────► answered
//!    │                  ▲                                                                          │
//!    │ init/error       └──────────────────────────────── next ────────────────────────────────────┘
//!    ▼
//! InitFailed
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::invocation::{ResponseStream, error_body};
use crate::journal::unix_ms;

/// How many request ids of events whose time was over are remembered (runtime contract §8.1).
const MAX_TIMED_OUT: usize = 1_000;
/// The most extensions (runtime contract §9).
const MAX_EXTENSIONS: usize = 10;

/// How an environment takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One at a time.
    OnDemand,
    /// As many as it asks for: Lambda Managed Instances.
    ManagedInstances,
}

/// One event as the runtime gets it.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) request_id: String,
    /// New for each attempt.
    pub(crate) invocation_id: String,
    pub(crate) payload: Bytes,
    pub(crate) content_type: String,
    pub(crate) deadline_ms: u64,
    pub(crate) function_arn: String,
    pub(crate) trace_id: String,
    pub(crate) client_context: Option<String>,
    pub(crate) tenant_id: Option<String>,
}

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Outcome {
    Response(Bytes),
    Error(Bytes),
    Stream(ResponseStream),
}

/// How the runtime stands to its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In Init.
    Starting,
    /// It has reported this error of Init, and its type.
    InitFailed { error_type: String, body: Bytes },
    /// So many of its requests for an event are waiting, and so are all its extensions.
    Asking(usize),
    /// It has something to do.
    Busy,
}

/// Why a request was not granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("State transition from {from} to {to} failed for runtime. Error: State transition is not allowed")]
    WrongState { from: &'static str, to: &'static str },
    #[error("Invalid request ID")]
    UnknownRequest,
    #[error("Invalid function response mode")]
    WrongMode,
    #[error("the body broke off, or has no end")]
    BrokenOff,
    #[error("Invoke timeout")]
    TooLate,
    #[error("Exceeded maximum allowed payload size (6291556 bytes).")]
    TooLarge,
    #[error("the environment is shutting down")]
    ShuttingDown,
    #[error("{message}")]
    Extension {
        error_type: &'static str,
        message: &'static str,
    },
}

impl Refusal {
    pub(super) fn error_type(&self) -> &'static str {
        match self {
            Self::WrongState { .. } => "InvalidStateTransition",
            Self::UnknownRequest => "InvalidRequestID",
            Self::WrongMode => "InvalidFunctionResponseMode",
            Self::BrokenOff => "TruncatedHTTPRequest",
            Self::TooLate => "InvokeTimeout",
            Self::TooLarge => "RequestEntityTooLarge",
            Self::ShuttingDown => "InternalServerError",
            Self::Extension { error_type, .. } => error_type,
        }
    }
}

/// The state of one Runtime API.
#[derive(Debug)]
pub(crate) struct Session {
    mode: Mode,
    function: serde_json::Value,
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the runtime has ever asked for an event.
    is_initialised: bool,
    init_error: Option<(String, Bytes)>,
    /// Requests for an event. One whose connection is gone has nobody at its other end.
    waiting: VecDeque<oneshot::Sender<Delivery>>,
    running: HashMap<String, Running>,
    timed_out: VecDeque<String>,
    extensions: Vec<Extension>,
}

#[derive(Debug)]
struct Running {
    delivery: Delivery,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Running(oneshot::Sender<Outcome>),
    Answering,
    /// The answer broke off. Whoever waits for it goes on waiting, for the runtime's end or the event's.
    Spoiled(#[expect(dead_code, reason = "held so that its receiver waits")] oneshot::Sender<Outcome>),
    Answered,
}

#[derive(Debug)]
struct Extension {
    identifier: String,
    name: String,
    wants_events: bool,
    waiting: Option<oneshot::Sender<String>>,
}

impl Session {
    pub(super) fn new(mode: Mode, function: serde_json::Value) -> Self {
        Self {
            mode,
            function,
            state: Mutex::default(),
            standing: watch::Sender::new(Standing::Starting),
        }
    }

    pub(super) fn function(&self) -> &serde_json::Value {
        &self.function
    }

    /// How the runtime stands, now and from now on.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether it has asked to be told of its end (runtime contract §6, 7).
    pub(crate) fn has_extensions(&self) -> bool {
        !self.lock().extensions.is_empty()
    }

    /// Gives an event to a runtime that asks for one, and says what becomes of it; `None` if nobody asks.
    ///
    /// The deadline is `timeout` from now.
    pub(crate) fn deliver(&self, mut delivery: Delivery, timeout: Duration) -> Option<oneshot::Receiver<Outcome>> {
        delivery.deadline_ms = unix_ms().saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let mut state = self.lock();
        while let Some(next) = state.waiting.pop_front() {
            if next.send(delivery.clone()).is_err() {
                continue;
            }
            state.tell_extensions(&delivery);
            let (outcome, answered) = oneshot::channel();
            let running = Running {
                phase: Phase::Running(outcome),
                delivery: delivery.clone(),
            };
            state.running.insert(delivery.request_id.clone(), running);
            self.publish(&state);
            return Some(answered);
        }
        self.publish(&state);
        None
    }

    /// The caller has been told that the time was over; an answer comes too late from now on.
    pub(crate) fn give_up(&self, request_id: &str) {
        let mut state = self.lock();
        if state.running.remove(request_id).is_some() {
            state.timed_out.push_back(request_id.to_owned());
            if state.timed_out.len() > MAX_TIMED_OUT {
                state.timed_out.pop_front();
            }
        }
    }

    pub(super) async fn next(&self) -> Result<Delivery, Refusal> {
        let delivery = {
            let mut state = self.lock();
            if state.init_error.is_some() {
                return Err(wrong_state("InitError", "Ready"));
            }
            if self.mode == Mode::OnDemand {
                match state.running.values().next() {
                    // An event that was never answered is delivered again, as Lambda does.
                    Some(Running {
                        phase: Phase::Running(_),
                        delivery,
                    }) => return Ok(delivery.clone()),
                    Some(Running {
                        phase: Phase::Answering | Phase::Spoiled(_),
                        ..
                    }) => return Err(wrong_state("InvocationResponse", "Ready")),
                    Some(Running {
                        phase: Phase::Answered, ..
                    })
                    | None => state.running.clear(),
                }
            }
            state.is_initialised = true;
            let (sender, delivery) = oneshot::channel();
            state.waiting.push_back(sender);
            self.publish(&state);
            delivery
        };
        // Without a timeout: it may wait for hours.
        delivery.await.map_err(|_| Refusal::ShuttingDown)
    }

    pub(super) fn fail_init(&self, error_type: String, body: Bytes) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.is_initialised {
            return Err(wrong_state("Ready", "InitError"));
        }
        if state.init_error.is_some() {
            return Err(wrong_state("InitError", "InitError"));
        }
        state.init_error = Some((error_type, body));
        self.publish(&state);
        Ok(())
    }

    /// The right to answer the event `request_id`, if there still is one.
    pub(super) fn begin_answer(&self, request_id: &str, invocation_id: Option<&[u8]>) -> Result<Pen<'_>, Refusal> {
        let mut state = self.lock();
        if state.timed_out.iter().any(|id| id == request_id) {
            return Err(Refusal::TooLate);
        }
        let is_idle = state.running.is_empty();
        let Some(running) = state.running.get_mut(request_id) else {
            return Err(match (self.mode, is_idle) {
                (Mode::OnDemand, true) => wrong_state("Ready", "InvocationResponse"),
                (Mode::OnDemand, false) | (Mode::ManagedInstances, _) => Refusal::UnknownRequest,
            });
        };
        if invocation_id.is_some_and(|id| id != running.delivery.invocation_id.as_bytes()) {
            return Err(Refusal::TooLate);
        }
        match std::mem::replace(&mut running.phase, Phase::Answering) {
            Phase::Running(outcome) => Ok(Pen {
                session: self,
                request_id: request_id.to_owned(),
                outcome,
            }),
            phase @ (Phase::Answering | Phase::Spoiled(_)) => {
                running.phase = phase;
                Err(wrong_state("InvocationResponse", "InvocationResponse"))
            }
            Phase::Answered => {
                running.phase = Phase::Answered;
                Err(match self.mode {
                    Mode::OnDemand => wrong_state("RuntimeResponseSent", "InvocationResponse"),
                    Mode::ManagedInstances => Refusal::UnknownRequest,
                })
            }
        }
    }

    fn end_answer(&self, request_id: &str) {
        let mut state = self.lock();
        match self.mode {
            // Its next request for an event ends the invocation.
            Mode::OnDemand => {
                if let Some(running) = state.running.get_mut(request_id) {
                    running.phase = Phase::Answered;
                }
            }
            Mode::ManagedInstances => {
                state.running.remove(request_id);
            }
        }
    }

    /// Registers an internal extension: one that lives in the runtime's process.
    pub(super) fn register(&self, name: &str, body: &[u8]) -> Result<String, Refusal> {
        let events: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let events = events["events"].as_array().cloned().unwrap_or_default();
        let wants = |kind: &str| events.iter().any(|event| event == kind);
        let mut state = self.lock();
        let problem = if name.is_empty() {
            Some((
                "Extension.InvalidExtensionName",
                "the header Lambda-Extension-Name is missing",
            ))
        } else if state.is_initialised {
            Some(("Extension.RegistrationClosed", "Init is over"))
        } else if wants("SHUTDOWN") {
            let message = "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension";
            Some(("Extension.InvalidEventType", message))
        } else if self.mode == Mode::ManagedInstances && !events.is_empty() {
            let message = "No events allowed for internal extensions";
            Some(("Extension.InvalidEventType", message))
        } else if state.extensions.iter().any(|extension| extension.name == name) {
            Some((
                "Extension.InvalidExtensionState",
                "an extension of this name is registered",
            ))
        } else if state.extensions.len() >= MAX_EXTENSIONS {
            Some(("Extension.TooManyExtensions", "there are 10 extensions at most"))
        } else {
            None
        };
        if let Some((error_type, message)) = problem {
            return Err(Refusal::Extension { error_type, message });
        }
        let identifier = uuid::Uuid::new_v4().to_string();
        state.extensions.push(Extension {
            identifier: identifier.clone(),
            name: name.to_owned(),
            wants_events: wants("INVOKE"),
            waiting: None,
        });
        Ok(identifier)
    }

    pub(super) fn know_extension(&self, identifier: Option<&str>) -> Result<(), Refusal> {
        self.lock().extension(identifier).map(|_| ())
    }

    /// The next event of an extension. One that wants none waits here until its process ends.
    pub(super) async fn next_for_extension(&self, identifier: Option<&str>) -> Result<String, Refusal> {
        let event = {
            let mut state = self.lock();
            let (sender, event) = oneshot::channel();
            state.extension(identifier)?.waiting = Some(sender);
            self.publish(&state);
            event
        };
        event.await.map_err(|_| Refusal::ShuttingDown)
    }

    fn publish(&self, state: &State) {
        let standing = state.standing();
        self.standing.send_if_modified(|current| {
            let is_new = *current != standing;
            *current = standing;
            is_new
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn standing(&self) -> Standing {
        if let Some((error_type, body)) = &self.init_error {
            return Standing::InitFailed {
                error_type: error_type.clone(),
                body: body.clone(),
            };
        }
        let asking = self.waiting.iter().filter(|next| !next.is_closed()).count();
        let are_extensions_waiting = self.extensions.iter().all(|extension| extension.waiting.is_some());
        match (self.is_initialised, asking) {
            (true, 1..) if are_extensions_waiting => Standing::Asking(asking),
            (false, _) => Standing::Starting,
            (true, _) => Standing::Busy,
        }
    }

    fn extension(&mut self, identifier: Option<&str>) -> Result<&mut Extension, Refusal> {
        let refusal = |error_type, message| Refusal::Extension { error_type, message };
        let Some(identifier) = identifier else {
            let message = "the header Lambda-Extension-Identifier is missing";
            return Err(refusal("Extension.MissingExtensionIdentifier", message));
        };
        if uuid::Uuid::parse_str(identifier).is_err() {
            return Err(refusal(
                "Extension.InvalidExtensionIdentifier",
                "the identifier is no UUID",
            ));
        }
        self.extensions
            .iter_mut()
            .find(|extension| extension.identifier == identifier)
            .ok_or_else(|| {
                refusal(
                    "Extension.UnknownExtensionIdentifier",
                    "no extension has this identifier",
                )
            })
    }

    fn tell_extensions(&mut self, delivery: &Delivery) {
        let event = serde_json::json!({
            "eventType": "INVOKE",
            "deadlineMs": delivery.deadline_ms,
            "requestId": delivery.request_id,
            "invokedFunctionArn": delivery.function_arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": delivery.trace_id },
        })
        .to_string();
        for extension in self.extensions.iter_mut().filter(|extension| extension.wants_events) {
            if let Some(waiting) = extension.waiting.take() {
                // One that has left meanwhile will not ask again either.
                let _ = waiting.send(event.clone());
            }
        }
    }
}

/// The right to answer one event, given to one request.
pub(super) struct Pen<'a> {
    session: &'a Session,
    request_id: String,
    outcome: oneshot::Sender<Outcome>,
}

impl<'a> Pen<'a> {
    pub(super) fn finish(self, outcome: Outcome) {
        self.session.end_answer(&self.request_id);
        // The platform may have given up on this event.
        let _ = self.outcome.send(outcome);
    }

    /// The answer begins to arrive.
    pub(super) fn stream(self, stream: ResponseStream) -> Upload<'a> {
        let Self {
            session,
            request_id,
            outcome,
        } = self;
        let _ = outcome.send(Outcome::Stream(stream));
        Upload { session, request_id }
    }

    /// The body broke off. On demand, nothing but the runtime's end helps then (runtime contract §1.2).
    pub(super) fn broken_off(self, refusal: Refusal) -> Refusal {
        self.spoil("Runtime.TruncatedResponse", "the response broke off");
        refusal
    }

    /// The response mode is none. On demand, nothing but the runtime's end helps then (runtime contract §1.2).
    pub(super) fn refuse_mode(self) -> Refusal {
        self.spoil(
            "Runtime.InvalidResponseModeHeader",
            "the response mode is not `streaming`",
        );
        Refusal::WrongMode
    }

    fn spoil(self, error_type: &str, message: &str) {
        match self.session.mode {
            Mode::OnDemand => {
                if let Some(running) = self.session.lock().running.get_mut(&self.request_id) {
                    running.phase = Phase::Spoiled(self.outcome);
                }
            }
            Mode::ManagedInstances => self.finish(Outcome::Error(error_body(error_type, message))),
        }
    }
}

/// A streamed answer on its way.
pub(super) struct Upload<'a> {
    session: &'a Session,
    request_id: String,
}

impl Upload<'_> {
    pub(super) fn finish(self) {
        self.session.end_answer(&self.request_id);
    }

    /// As [`Pen::broken_off`]; the caller has been told by the stream's end.
    pub(super) fn broken_off(self) -> Refusal {
        match self.session.mode {
            Mode::OnDemand => {}
            Mode::ManagedInstances => self.session.end_answer(&self.request_id),
        }
        Refusal::BrokenOff
    }
}

fn wrong_state(from: &'static str, to: &'static str) -> Refusal {
    Refusal::WrongState { from, to }
}
