//! What the fake thinks of what a runtime sends: Lambda's state machine, and the mistakes that it would let pass.

use serde_json::Value;

use super::connection::{Call, RESPONSE};
use super::script::INVOCATION_ID;
use super::wire::{self, Headers};
use super::{Invocation, Reply, State};

const RESPONSE_MODE: &str = "Lambda-Runtime-Function-Response-Mode";

/// The largest error body that a runtime should send, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// What the fake thinks of an answer once its headers are read.
pub(super) struct Verdict {
    /// The index of the invocation that it answers.
    pub(super) invocation: Option<usize>,
    pub(super) reply: Reply,
    pub(super) is_scripted: bool,
    /// Whether a sequential runtime cannot get out of this except by its end.
    pub(super) wedges: bool,
}

impl State {
    pub(super) fn judge_answer(&mut self, name: &str, id: &str, headers: &Headers, is_concurrent: bool) -> Verdict {
        let is_of_id = |invocation: &Invocation| invocation.event.id == id;
        let found = if is_concurrent {
            let open = self
                .invocations
                .iter()
                .rposition(|known| is_of_id(known) && !known.is_answered);
            open.or_else(|| self.invocations.iter().rposition(is_of_id))
        } else {
            self.invocations
                .iter()
                .rposition(is_of_id)
                .filter(|index| index + 1 == self.invocations.len())
        };
        let Some(index) = found else {
            return self.refuse(
                format!("{name} for `{id}`, which is not the current event"),
                Reply::status(400),
            );
        };
        let Invocation {
            event,
            is_uploading,
            is_answered,
            is_lost: _,
        } = &self.invocations[index];
        if *is_answered {
            let reply = if is_concurrent {
                Reply::status(400)
            } else {
                refused_transition("RuntimeResponseSent", "InvocationResponse")
            };
            return self.refuse(format!("{name} for `{id}`, which has its answer"), reply);
        }
        if *is_uploading {
            let reply = refused_transition("InvocationResponse", "InvocationResponse");
            return self.refuse(
                format!("{name} for `{id}` while another answer is being uploaded"),
                reply,
            );
        }
        let expected = wire::value(&event.headers, INVOCATION_ID)
            .filter(|value| !value.is_empty())
            .map(<[u8]>::to_vec);
        let echo = wire::value(headers, INVOCATION_ID);
        let is_wrong_attempt = echo.is_some_and(|echo| !echo.is_empty() && expected.as_deref() != Some(echo));
        if echo != expected.as_deref() {
            let [echo, expected] =
                [echo, expected.as_deref()].map(|value| value.map(|value| value.escape_ascii().to_string()));
            self.violations.push(format!(
                "{name} for `{id}` echoes the invocation id {echo:?}, not {expected:?}"
            ));
        }
        let script = if name == RESPONSE {
            &mut self.response_script
        } else {
            &mut self.error_script
        };
        if let Some(reply) = script.pop_front() {
            return Verdict {
                invocation: Some(index),
                reply,
                is_scripted: true,
                wedges: false,
            };
        }
        let mut wedges = false;
        let mut reply = if is_wrong_attempt {
            Reply::status(410)
        } else {
            Reply::accepted()
        };
        if let Some(mode) = wire::value(headers, RESPONSE_MODE)
            && mode != b"streaming"
        {
            self.violations
                .push(format!("{name} for `{id}` has an invalid response mode"));
            reply = Reply::refusal(400, "InvalidFunctionResponseMode", "Invalid function response mode");
            wedges = !is_concurrent;
        }
        Verdict {
            invocation: Some(index),
            reply,
            is_scripted: false,
            wedges,
        }
    }

    pub(super) fn judge_init_error(&mut self, headers: &Headers) -> Verdict {
        if wire::value(headers, INVOCATION_ID).is_some() {
            self.violations
                .push(String::from("/init/error echoes an invocation id"));
        }
        if self.has_polled {
            let reply = refused_transition("Ready", "InitError");
            return self.refuse(String::from("/init/error after the first /next"), reply);
        }
        if self.has_failed_init {
            let reply = refused_transition("InitError", "InitError");
            return self.refuse(String::from("a second /init/error"), reply);
        }
        let scripted = self.init_error_script.pop_front();
        let is_scripted = scripted.is_some();
        Verdict {
            invocation: None,
            reply: scripted.unwrap_or_else(Reply::accepted),
            is_scripted,
            wedges: false,
        }
    }

    pub(super) fn judge_restore_error(&mut self, headers: &Headers) -> Verdict {
        if wire::value(headers, INVOCATION_ID).is_some() {
            self.violations
                .push(String::from("/restore/error echoes an invocation id"));
        }
        if !self.is_restored || self.has_polled {
            let reply = refused_transition("Ready", "RestoreError");
            return self.refuse(String::from("/restore/error at the wrong time"), reply);
        }
        Verdict {
            invocation: None,
            reply: Reply::accepted(),
            is_scripted: false,
            wedges: false,
        }
    }

    fn refuse(&mut self, violation: String, reply: Reply) -> Verdict {
        self.violations.push(violation);
        Verdict {
            invocation: None,
            reply: reply.leaving_the_event_open(),
            is_scripted: false,
            wedges: false,
        }
    }

    pub(super) fn check_answer_headers(&mut self, call: &Call, headers: &Headers) {
        let is_streaming = wire::value(headers, RESPONSE_MODE).is_some();
        let has_length = wire::value(headers, "Content-Length").is_some();
        if is_streaming && has_length {
            self.violations
                .push(format!("{call:?} is streamed and has a Content-Length"));
        }
        if !is_streaming && !has_length {
            self.violations
                .push(format!("{call:?} is buffered and has no Content-Length"));
        }
        if call.is_error() {
            let error_type = wire::value(headers, "Lambda-Runtime-Function-Error-Type").unwrap_or_default();
            if !is_kept_error_type(error_type) {
                let error_type = error_type.escape_ascii();
                self.violations.push(format!(
                    "{call:?} has the error type `{error_type}`, which Lambda does not keep"
                ));
            }
        }
    }

    pub(super) fn check_error_body(&mut self, request: usize, call: &Call) {
        let body = &self.requests[request].body;
        if body.len() > MAX_ERROR_BYTES {
            let violation = format!(
                "{call:?} has a body of {} bytes, more than {MAX_ERROR_BYTES}",
                body.len()
            );
            self.violations.push(violation);
            return;
        }
        let parsed = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let is_report = parsed["errorMessage"].is_string()
            && parsed["errorType"].is_string()
            && parsed["stackTrace"]
                .as_array()
                .is_some_and(|frames| frames.iter().all(Value::is_string));
        if !is_report {
            self.violations.push(format!(
                "{call:?} has a body without errorMessage, errorType or stackTrace"
            ));
        }
    }
}

/// `(Runtime|Function)\.[A-Z][a-zA-Z]+`
fn is_kept_error_type(value: &[u8]) -> bool {
    let reason = value
        .strip_prefix(b"Runtime.")
        .or_else(|| value.strip_prefix(b"Function."));
    reason.is_some_and(|reason| {
        reason.len() > 1 && reason[0].is_ascii_uppercase() && reason.iter().all(u8::is_ascii_alphabetic)
    })
}

pub(super) fn refused_transition(from: &str, to: &str) -> Reply {
    let message =
        format!("State transition from {from} to {to} failed for runtime. Error: State transition is not allowed");
    Reply::refusal(403, "InvalidStateTransition", &message)
}
