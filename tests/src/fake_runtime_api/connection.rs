//! One connection of the runtime to the fake: reads its requests, has them judged, answers.

use std::io;
use std::net::TcpStream;
use std::sync::{MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use rustix::net::RecvFlags;
use serde_json::Value;

use super::judge::{Verdict, refused_transition};
use super::script::Transmission;
use super::wire::{self, Headers, RequestHead, Source};
use super::{Invocation, MAX_ANSWER_BYTES, Reply, Request, Shared, State, Step};

pub(super) const RESPONSE: &str = "/response";
const ERROR: &str = "/error";

/// How often a waiting `/next` looks whether the runtime is still there.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Next,
    Response(String),
    Error(String),
    InitError,
    RestoreNext,
    RestoreError,
    Register,
    ExtensionNext,
    Ping,
    WrongMethod,
    Unknown,
}

impl Call {
    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_) | Self::InitError | Self::RestoreError)
    }

    /// The end of the path and the request id, if this is an answer to an event.
    pub(super) fn answered_event(&self) -> Option<(&'static str, &str)> {
        if let Self::Response(id) = self {
            Some((RESPONSE, id))
        } else if let Self::Error(id) = self {
            Some((ERROR, id))
        } else {
            None
        }
    }
}

pub(super) fn call(request: &Request) -> Call {
    let path = request.path.split('?').next().unwrap_or_default();
    let (method, call) = match path {
        "/2018-06-01/runtime/invocation/next" => ("GET", Call::Next),
        "/2018-06-01/runtime/init/error" => ("POST", Call::InitError),
        "/2018-06-01/runtime/restore/next" => ("GET", Call::RestoreNext),
        "/2018-06-01/runtime/restore/error" => ("POST", Call::RestoreError),
        "/2020-01-01/extension/register" => ("POST", Call::Register),
        "/2020-01-01/extension/event/next" => ("GET", Call::ExtensionNext),
        "/2018-06-01/ping" => ("GET", Call::Ping),
        _ => match path
            .strip_prefix("/2018-06-01/runtime/invocation/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((id, "response")) => ("POST", Call::Response(decoded(id))),
            Some((id, "error")) => ("POST", Call::Error(decoded(id))),
            _ => return Call::Unknown,
        },
    };
    if request.method == method {
        call
    } else {
        Call::WrongMethod
    }
}

fn decoded(id: &str) -> String {
    percent_decode_str(id).decode_utf8_lossy().into_owned()
}

pub(super) fn serve(shared: &Shared, stream: TcpStream, number: usize) {
    // Each write is to be seen by itself.
    stream.set_nodelay(true).ok();
    let source = Source::new(stream.try_clone().expect("a descriptor is free"));
    let mut connection = Connection {
        shared,
        stream,
        source,
        number,
    };
    let outcome = connection.serve();
    let Connection { stream, .. } = connection;
    let mut state = shared.lock();
    state.connections.remove(&number);
    if let Err(error) = outcome
        && !state.is_stopping
    {
        state.violations.push(format!("connection {number}: {error}"));
    }
    shared.changed.notify_all();
    drop(state);
    drop(stream);
}

struct Connection<'shared> {
    shared: &'shared Shared,
    stream: TcpStream,
    source: Source,
    number: usize,
}

impl Connection<'_> {
    fn serve(&mut self) -> io::Result<()> {
        while let Some(head) = self.source.request_head()? {
            let request = self.record(head);
            let call = call(&self.shared.lock().requests[request]);
            let is_of_snap_start = matches!(call, Call::RestoreNext | Call::RestoreError);
            // Without SnapStart there is no such thing.
            let is_there = !is_of_snap_start || self.shared.is_snap_start;
            let call = if is_there { call } else { Call::Unknown };
            let is_kept = match call {
                Call::Next => self.next(request),
                Call::RestoreNext => self.restore_next(request),
                call @ (Call::Response(_) | Call::Error(_) | Call::InitError | Call::RestoreError) => {
                    self.answer(request, &call)
                }
                Call::Register => self.register(request),
                Call::ExtensionNext => self.extension_next(request),
                Call::Ping => self.plain(
                    request,
                    &Reply::verbatim("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong"),
                ),
                Call::WrongMethod => {
                    self.stray(request, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                }
                Call::Unknown => self.stray(
                    request,
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n",
                ),
            }?;
            if !is_kept {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the request down and checks what all requests have in common.
    fn record(&self, head: RequestHead) -> usize {
        let RequestHead { method, path, headers } = head;
        let mut state = self.shared.lock();
        for name in ["User-Agent", "Host"] {
            if wire::value(&headers, name).is_none_or(<[u8]>::is_empty) {
                state.violations.push(format!("{method} {path} has no {name}"));
            }
        }
        if let (Some(_), Some(_)) = (
            wire::value(&headers, "Content-Length"),
            wire::value(&headers, "Transfer-Encoding"),
        ) {
            state
                .violations
                .push(format!("{method} {path} has both a length and a transfer encoding"));
        }
        state.requests.push(Request {
            method,
            path,
            headers,
            body: Vec::new(),
            pieces: Vec::new(),
            trailers: Headers::new(),
            connection: self.number,
            at: Instant::now(),
            completed_at: None,
            status: None,
        });
        self.shared.changed.notify_all();
        state.requests.len() - 1
    }

    fn next(&mut self, request: usize) -> io::Result<bool> {
        self.read_body(request)?;
        let mut state = self.shared.lock();
        if !state.requests[request].body.is_empty() {
            state.violations.push(String::from("/next has a body"));
        }
        state.has_polled = true;
        if self.shared.is_snap_start && !state.is_restored {
            state.violations.push(String::from("/next before the restore"));
            drop(state);
            return self.plain(request, &refused_transition("Started", "Ready"));
        }
        if state.has_failed_init {
            state.violations.push(String::from("/next after /init/error"));
            drop(state);
            return self.plain(request, &refused_transition("InitError", "Ready"));
        }
        let current = state
            .invocations
            .last_mut()
            .filter(|_| self.shared.concurrency.is_none());
        if let Some(Invocation {
            event,
            is_uploading,
            is_answered: false,
            is_lost,
        }) = current
        {
            let id = event.id.clone();
            if *is_uploading {
                state
                    .violations
                    .push(format!("/next while an answer for `{id}` is being uploaded"));
                drop(state);
                return self.plain(request, &refused_transition("InvocationResponse", "Ready"));
            }
            let again = event.mended();
            if !std::mem::take(is_lost) {
                state.violations.push(format!("/next before the answer for `{id}`"));
            }
            // As Lambda does: the same event once more.
            drop(state);
            return self.transmit(request, 200, &again.transmission());
        }
        // A runtime that was killed cannot be a second one that polls.
        let State {
            pending_next,
            connections,
            ..
        } = &mut *state;
        pending_next.retain(|number| connections.get(number).is_some_and(|stream| !has_gone(stream)));
        let open = state
            .invocations
            .iter()
            .filter(|invocation| !invocation.is_answered)
            .count();
        let allowed = self.shared.concurrency.unwrap_or(1);
        if state.pending_next.len() + open >= allowed {
            let pending = state.pending_next.len();
            state.violations.push(format!(
                "/next with {pending} pending and {open} events open, {allowed} allowed"
            ));
        }
        state.pending_next.push(self.number);
        self.shared.changed.notify_all();
        let (mut state, step) = self.wait(state, |state| {
            // Init is over when every extension waits as well.
            let is_ready = state.polling_extensions >= state.extensions.len();
            if is_ready { state.next_script.pop_front() } else { None }
        });
        state.pending_next.retain(|number| *number != self.number);
        self.shared.changed.notify_all();
        match step {
            None => Ok(false),
            Some(Step::Reply(reply)) => {
                drop(state);
                self.plain(request, &reply)
            }
            Some(Step::Deliver(event)) => {
                let transmission = event.transmission();
                let is_lost = event.is_cut();
                state.invocations.push(Invocation {
                    event,
                    is_uploading: false,
                    is_answered: false,
                    is_lost,
                });
                drop(state);
                self.transmit(request, 200, &transmission)
            }
        }
    }

    fn restore_next(&mut self, request: usize) -> io::Result<bool> {
        self.read_body(request)?;
        let mut state = self.shared.lock();
        if state.is_ready_for_snapshot || state.has_polled || state.has_failed_init {
            state.violations.push(String::from("/restore/next at the wrong time"));
            drop(state);
            return self.plain(request, &refused_transition("Ready", "RestoreReady"));
        }
        state.is_ready_for_snapshot = true;
        self.shared.changed.notify_all();
        let (mut state, reply) = self.wait(state, |state| state.restore_script.pop_front());
        let Some(reply) = reply else {
            return Ok(false);
        };
        state.is_restored = reply.status == 200;
        drop(state);
        self.plain(request, &reply)
    }

    fn answer(&mut self, request: usize, call: &Call) -> io::Result<bool> {
        let mut state = self.shared.lock();
        let headers = state.requests[request].headers.clone();
        let verdict = match call.answered_event() {
            None if *call == Call::RestoreError => state.judge_restore_error(&headers),
            None => state.judge_init_error(&headers),
            Some((name, id)) => state.judge_answer(name, id, &headers, self.shared.concurrency.is_some()),
        };
        state.check_answer_headers(call, &headers);
        if let Some(invocation) = verdict.invocation {
            state.invocations[invocation].is_uploading = true;
        }
        self.shared.changed.notify_all();
        drop(state);

        let mut early = None;
        let outcome = self.read_body_with(request, Some(&verdict), &mut early);
        if let Err(error) = outcome {
            // A runtime may stop when it hears that nobody wants the rest.
            if early == Some(false) || early.is_some() && verdict.reply.status >= 400 {
                return Ok(false);
            }
            // Nothing but the end of the process gets a sequential runtime out of a broken upload: it counts as open.
            let reason = format!("the upload of {call:?} broke off: {error}");
            return Err(io::Error::new(error.kind(), reason));
        }

        let mut state = self.shared.lock();
        let is_error = call.is_error();
        if is_error {
            state.check_error_body(request, call);
        }
        let Verdict {
            invocation,
            mut reply,
            is_scripted,
            mut wedges,
        } = verdict;
        let length = state.requests[request].body.len();
        if length > MAX_ANSWER_BYTES && !is_scripted && invocation.is_some() {
            reply = Reply::status(413);
            if is_error && self.shared.concurrency.is_none() {
                // Lambda's handler breaks down here.
                (reply, wedges) = (Reply::reset(), true);
            }
        }
        let is_open = reply.leaves_event_open || (is_error && reply.status == 413);
        if let Some(invocation) = invocation
            && !wedges
        {
            let invocation = &mut state.invocations[invocation];
            (invocation.is_uploading, invocation.is_answered) = (false, !is_open);
        }
        if *call == Call::InitError && !is_open {
            state.has_failed_init = true;
        }
        drop(state);
        match early {
            Some(is_kept) => Ok(is_kept),
            None => self.plain(request, &reply),
        }
    }

    fn register(&mut self, request: usize) -> io::Result<bool> {
        self.read_body(request)?;
        let mut state = self.shared.lock();
        if let Some(reply) = state.register_script.pop_front() {
            drop(state);
            return self.plain(request, &reply);
        }
        let refusal = if state.has_polled {
            Some(("Extension.RegistrationClosed", "Extension registration closed already"))
        } else {
            let body = serde_json::from_slice::<Value>(&state.requests[request].body).unwrap_or_default();
            let events = body["events"].as_array().cloned().unwrap_or_default();
            let is_refused = events.iter().any(|event| event == "SHUTDOWN");
            is_refused.then_some((
                "Extension.InvalidEventType",
                "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
            ))
        };
        if let Some((error_type, message)) = refusal {
            state.violations.push(format!("extension registration: {message}"));
            drop(state);
            return self.plain(request, &Reply::refusal(403, error_type, message));
        }
        let identifier = format!("00000000-0000-4000-8000-{:012}", state.extensions.len() + 1);
        state.extensions.push(identifier.clone());
        drop(state);
        let body = r#"{"functionName":"test","functionVersion":"$LATEST","handler":"test"}"#;
        let reply = Reply::status(200)
            .with_header("Lambda-Extension-Identifier", identifier)
            .with_body(body);
        self.plain(request, &reply)
    }

    fn extension_next(&mut self, request: usize) -> io::Result<bool> {
        self.read_body(request)?;
        let mut state = self.shared.lock();
        let identifier = state.requests[request]
            .header("Lambda-Extension-Identifier")
            .unwrap_or_default()
            .to_vec();
        if !state.extensions.iter().any(|known| known.as_bytes() == identifier) {
            state.violations.push(String::from("an unknown extension polls"));
            drop(state);
            let reply = Reply::refusal(403, "Extension.UnknownExtensionIdentifier", "Unknown extension");
            return self.plain(request, &reply);
        }
        state.polling_extensions += 1;
        self.shared.changed.notify_all();
        // An internal extension that asked for no events gets none.
        let (mut state, _) = self.wait(state, |_| None::<()>);
        state.polling_extensions -= 1;
        Ok(false)
    }

    fn stray(&mut self, request: usize, bytes: &str) -> io::Result<bool> {
        self.read_body(request)?;
        let mut state = self.shared.lock();
        let Request { method, path, .. } = &state.requests[request];
        let violation = format!("there is no {method} {path}");
        state.violations.push(violation);
        drop(state);
        self.plain(request, &Reply::verbatim(bytes))
    }

    /// Waits until `condition` holds; `None` if the fake stops or the runtime closes the connection before.
    fn wait<'state, T>(
        &self,
        mut state: MutexGuard<'state, State>,
        mut condition: impl FnMut(&mut State) -> Option<T>,
    ) -> (MutexGuard<'state, State>, Option<T>)
    where
        Self: 'state,
    {
        loop {
            if state.is_stopping || has_gone(&self.stream) {
                return (state, None);
            }
            if let Some(value) = condition(&mut state) {
                return (state, Some(value));
            }
            let changed = &self.shared.changed;
            state = changed
                .wait_timeout(state, HEARTBEAT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn read_body(&mut self, request: usize) -> io::Result<()> {
        self.read_body_with(request, None, &mut None)
    }

    /// Reads a body, and answers in the middle of it if the verdict says so. `early` tells that this has happened, and
    /// whether the connection stays, without which nothing more is read.
    fn read_body_with(
        &mut self,
        request: usize,
        mut verdict: Option<&Verdict>,
        early: &mut Option<bool>,
    ) -> io::Result<()> {
        let Self {
            shared, stream, source, ..
        } = self;
        let framing = wire::request_framing(&shared.lock().requests[request].headers)?;
        let mut answer_early = |received: usize| {
            let is_due = |verdict: &mut &Verdict| verdict.reply.interrupts_at.is_some_and(|length| received >= length);
            let Some(Verdict { reply, invocation, .. }) = verdict.take_if(is_due) else {
                return Ok(());
            };
            if let Some(invocation) = invocation.filter(|_| reply.status >= 400 && !reply.leaves_event_open) {
                let invocation = &mut shared.lock().invocations[invocation];
                (invocation.is_uploading, invocation.is_answered) = (false, true);
            }
            let stays = transmit(shared, stream, request, reply.status, &reply.transmission());
            *early = Some(stays);
            match stays {
                true => Ok(()),
                false => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        };
        answer_early(0)?;
        let trailers = source.body_until(framing, |piece| {
            let mut state = shared.lock();
            let request = &mut state.requests[request];
            request.body.extend_from_slice(piece);
            request.pieces.push((Instant::now(), piece.len()));
            let received = request.body.len();
            drop(state);
            shared.changed.notify_all();
            if let Some(rate) = shared.upload_bytes_per_second {
                let seconds = piece.len() as f64 / f64::from(rate);
                thread::sleep(Duration::from_secs_f64(seconds));
            }
            answer_early(received)
        })?;
        let mut state = shared.lock();
        let request = &mut state.requests[request];
        (request.trailers, request.completed_at) = (trailers, Some(Instant::now()));
        drop(state);
        shared.changed.notify_all();
        Ok(())
    }

    fn plain(&mut self, request: usize, reply: &Reply) -> io::Result<bool> {
        thread::sleep(reply.delay);
        self.transmit(request, reply.status, &reply.transmission())
    }

    fn transmit(&mut self, request: usize, status: u16, transmission: &Transmission) -> io::Result<bool> {
        Ok(transmit(self.shared, &mut self.stream, request, status, transmission))
    }
}

/// Writes an answer; returns whether the connection stays.
fn transmit(shared: &Shared, stream: &mut TcpStream, request: usize, status: u16, transmission: &Transmission) -> bool {
    shared.lock().requests[request].status = Some(status);
    shared.changed.notify_all();
    transmission.write_to(stream)
}

/// Whether the peer has closed its side; bytes that wait to be read are a sign of life.
fn has_gone(stream: &TcpStream) -> bool {
    match rustix::net::recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => length == 0,
        Err(error) => error != rustix::io::Errno::WOULDBLOCK,
    }
}
