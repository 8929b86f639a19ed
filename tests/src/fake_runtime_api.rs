//! A real HTTP server that plays Lambda's classic Runtime API from a script, and remembers everything.
//!
//! A test queues [`Event`]s and unusual [`Reply`]s; whatever it leaves unsaid goes as on Lambda, state machine included.
//! The fake complains by itself about a runtime that breaks the protocol: see [`FakeRuntimeApi::violations`].
//! Deadlines are announced and not enforced.
//!
//! ```text
//!  test ──► script ──► one thread per connection ◄──► runtime under test
//!    ▲                             │
//!    └── waits ◄── record ◄────────┘
//! ```

mod connection;
mod judge;
mod record;
mod script;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

pub use record::{Answer, Request};
pub use script::{DEFAULT_TIMEOUT, Event, Reply};
pub use wire::Headers;

pub(crate) use wire::{Source, header_line, request_framing, response_framing, value};

use connection::{Call, call};

/// Lambda's limit of a buffered answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 6_291_556;

const BACKLOG: i32 = 1024;

const SLOW_READER_BUFFER_BYTES: usize = 128 * 1024;

/// The fake. It stops when dropped.
///
/// # Panics
///
/// When dropped, if there were violations, unless they are tolerated or the test is panicking anyway.
#[derive(Debug)]
pub struct FakeRuntimeApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    door: Mutex<Door>,
    patience: Duration,
    tolerates_violations: bool,
}

/// How the fake behaves from the start.
#[derive(Debug)]
pub struct Builder {
    port: u16,
    patience: Duration,
    tolerates_violations: bool,
    is_refusing: bool,
    is_snap_start: bool,
    concurrency: Option<usize>,
    upload_bytes_per_second: Option<u32>,
}

/// The listening side: the port is held from the start to the end, also while nobody may connect.
#[derive(Debug)]
enum Door {
    /// Bound and not listening, which is refused connections to a client.
    Shut(OwnedFd),
    Open(JoinHandle<()>),
    Moving,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    began_at: Instant,
    is_snap_start: bool,
    concurrency: Option<usize>,
    upload_bytes_per_second: Option<u32>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    violations: Vec<String>,
    next_script: VecDeque<Step>,
    response_script: VecDeque<Reply>,
    error_script: VecDeque<Reply>,
    init_error_script: VecDeque<Reply>,
    register_script: VecDeque<Reply>,
    /// What those get who wait at `/restore/next`.
    restore_script: VecDeque<Reply>,
    /// Every event handed out, in order; the last is the current one of a sequential runtime.
    invocations: Vec<Invocation>,
    /// The connections on which a `/next` waits for an event.
    pending_next: Vec<usize>,
    has_polled: bool,
    has_failed_init: bool,
    is_ready_for_snapshot: bool,
    is_restored: bool,
    extensions: Vec<String>,
    polling_extensions: usize,
    connections: HashMap<usize, TcpStream>,
    last_connection: usize,
    connections_to_drop: usize,
    is_stopping: bool,
}

/// What the next `/next` gets.
#[derive(Debug)]
enum Step {
    Deliver(Event),
    Reply(Reply),
}

#[derive(Debug)]
struct Invocation {
    event: Event,
    is_uploading: bool,
    is_answered: bool,
    /// Whether the runtime cannot have got it whole.
    is_lost: bool,
}

impl FakeRuntimeApi {
    /// A fake with nothing unusual about it, on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// For everything that has to be said before the start.
    pub fn builder() -> Builder {
        Builder {
            port: 0,
            patience: crate::process::PATIENCE,
            tolerates_violations: false,
            is_refusing: false,
            is_snap_start: false,
            concurrency: None,
            upload_bytes_per_second: None,
        }
    }

    /// Host and port, as `AWS_LAMBDA_RUNTIME_API` gives them.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Queues an event; a `/next` gets it when those queued before are through.
    pub fn send(&self, event: Event) -> &Self {
        self.script(|state| state.next_script.push_back(Step::Deliver(event)))
    }

    /// Queues an answer to `/next` that is not an event, in line with the events.
    pub fn on_next(&self, reply: Reply) -> &Self {
        self.script(|state| state.next_script.push_back(Step::Reply(reply)))
    }

    /// Queues an answer to a valid `/response`; those beyond the queue are accepted.
    pub fn on_response(&self, reply: Reply) -> &Self {
        self.script(|state| state.response_script.push_back(reply))
    }

    /// Queues an answer to a valid `/error`; those beyond the queue are accepted.
    pub fn on_error(&self, reply: Reply) -> &Self {
        self.script(|state| state.error_script.push_back(reply))
    }

    /// Queues an answer to a valid `/init/error`; those beyond the queue are accepted.
    pub fn on_init_error(&self, reply: Reply) -> &Self {
        self.script(|state| state.init_error_script.push_back(reply))
    }

    /// Queues an answer to an extension's registration; those beyond the queue succeed.
    pub fn on_register(&self, reply: Reply) -> &Self {
        self.script(|state| state.register_script.push_back(reply))
    }

    /// Answers a `/restore/next`, the one that waits or the next one: with 200, the runtime is a restored copy from then on.
    pub fn restore(&self, reply: Reply) -> &Self {
        self.script(|state| state.restore_script.push_back(reply))
    }

    /// Resets the next `count` connections before a request is read.
    pub fn drop_connections(&self, count: usize) -> &Self {
        self.script(|state| state.connections_to_drop += count)
    }

    /// Closes every connection and refuses new ones, until [`Self::accept_connections`].
    pub fn refuse_connections(&self) -> &Self {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Door::Open(acceptor) = std::mem::replace(&mut *door, Door::Moving) {
            self.stop(acceptor);
        }
        *door = Door::Shut(bind(self.port()).0);
        self
    }

    /// Takes connections (again) on the port that was refused until now.
    pub fn accept_connections(&self) -> &Self {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        *door = match std::mem::replace(&mut *door, Door::Moving) {
            Door::Shut(socket) => Door::Open(self.shared.open(socket)),
            Door::Open(acceptor) => Door::Open(acceptor),
            Door::Moving => panic!("the door moved while it was moved"),
        };
        self
    }

    /// Has the next runtime start from the beginning, as Lambda does after the end of one: open events have failed,
    /// nothing is registered, and Init comes again.
    pub fn restart_runtime(&self) -> &Self {
        self.script(|state| {
            for invocation in &mut state.invocations {
                (invocation.is_uploading, invocation.is_answered) = (false, true);
            }
            (state.has_polled, state.has_failed_init) = (false, false);
            (state.is_ready_for_snapshot, state.is_restored) = (false, false);
            state.extensions.clear();
        })
    }

    /// What came in so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// What came in so far that breaks the protocol, one sentence each.
    ///
    /// These are: a second answer for an event, or one for no event; `/next` before the answer, or twice at once;
    /// `/init/error` after the first `/next`, or twice; `/error` while a response is being uploaded; an upload that
    /// breaks off; a missing `User-Agent`; a buffered body without `Content-Length`, a streamed one with it; an
    /// error type that Lambda does not keep, an error body that is not one; a wrong echo of the invocation id; an
    /// extension that registers too late or polls as somebody else; with SnapStart, `/next` before the restore, a second
    /// `/restore/next`, `/restore/error` before the restore or after `/next`; unknown paths; bytes that are not HTTP.
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().violations.clone()
    }

    /// How many `/next` wait for an event right now.
    pub fn pending_next(&self) -> usize {
        self.shared.lock().pending_next.len()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().last_connection
    }

    /// The answers for this request id that have arrived whole, in order.
    pub fn answers(&self, id: &str) -> Vec<Answer> {
        self.shared.lock().answers(id)
    }

    /// Waits for the first answer for this request id, whatever status it got.
    ///
    /// # Panics
    ///
    /// Like every wait: when it takes too long, with the whole record.
    pub fn wait_for_answer(&self, id: &str) -> Answer {
        self.wait_for_answers(id, 1).remove(0)
    }

    /// Waits for `count` answers for this request id.
    pub fn wait_for_answers(&self, id: &str, count: usize) -> Vec<Answer> {
        self.wait(&format!("{count} answers for `{id}`"), |state| {
            let answers = state.answers(id);
            (answers.len() >= count).then_some(answers)
        })
    }

    /// Waits until at least `length` bytes of an answer for this request id have arrived, and returns what has.
    pub fn wait_for_upload(&self, id: &str, length: usize) -> Vec<u8> {
        self.wait(&format!("{length} bytes of an answer for `{id}`"), |state| {
            let is_wanted = |request: &&Request| {
                let is_answer = call(request).answered_event().is_some_and(|(_, known)| known == id);
                is_answer && request.body.len() >= length
            };
            state
                .requests
                .iter()
                .find(is_wanted)
                .map(|request| request.body.clone())
        })
    }

    /// Waits until a `/next` is pending for which there is nothing in the queue.
    pub fn wait_for_next(&self) {
        self.wait_for_nexts(1);
    }

    /// Waits until `count` `/next` are pending for which there is nothing in the queue.
    pub fn wait_for_nexts(&self, count: usize) {
        self.wait(&format!("{count} pending /next"), |state| {
            (state.pending_next.len() >= state.next_script.len() + count).then_some(())
        });
    }

    /// Waits until nothing is in the queue and `count` `/next` are pending: the other pollers have an event.
    pub fn wait_until_pending(&self, count: usize) {
        self.wait(&format!("{count} pending /next and no more"), |state| {
            (state.next_script.is_empty() && state.pending_next.len() == count).then_some(())
        });
    }

    /// Waits until no `/next` is pending: the runtime has taken what there was.
    pub fn wait_until_taken(&self) {
        self.wait("the event to be taken", |state| {
            (state.pending_next.is_empty() && state.next_script.is_empty()).then_some(())
        });
    }

    /// Waits for the first `/init/error`, whatever status it got.
    pub fn wait_for_init_error(&self) -> Answer {
        self.wait("an /init/error", |state| {
            let mut reports = state.requests.iter().filter(|request| call(request) == Call::InitError);
            reports.find_map(|request| Answer::of(request, true))
        })
    }

    /// Waits until the runtime says that it may be written down.
    pub fn wait_for_snapshot(&self) {
        self.wait("a /restore/next", |state| state.is_ready_for_snapshot.then_some(()));
    }

    /// Waits for the first `/restore/error`, whatever status it got.
    pub fn wait_for_restore_error(&self) -> Answer {
        self.wait("a /restore/error", |state| {
            let mut reports = state
                .requests
                .iter()
                .filter(|request| call(request) == Call::RestoreError);
            reports.find_map(|request| Answer::of(request, true))
        })
    }

    /// Waits for the first request that `is_wanted`; its body may still be on the way.
    pub fn wait_for_request(&self, what: &str, is_wanted: impl Fn(&Request) -> bool) -> Request {
        self.wait(what, |state| {
            state.requests.iter().find(|request| is_wanted(request)).cloned()
        })
    }

    /// All requests and violations as text.
    pub fn record(&self) -> String {
        let state = self.shared.lock();
        let mut text = String::from("the fake Runtime API saw:\n");
        for request in &state.requests {
            let line = record::Line {
                request,
                began_at: self.shared.began_at,
            };
            writeln!(text, "{line}").expect("a string takes any text");
        }
        for violation in &state.violations {
            writeln!(text, "violation: {violation}").expect("a string takes any text");
        }
        let (queued, pending) = (state.next_script.len(), state.pending_next.len());
        write!(text, "in the queue: {queued}; pending /next: {pending}").expect("a string takes any text");
        text
    }

    fn wait<T>(&self, what: &str, mut condition: impl FnMut(&State) -> Option<T>) -> T {
        let expiry = Instant::now() + self.patience;
        let mut state = self.shared.lock();
        loop {
            if let Some(value) = condition(&state) {
                return value;
            }
            let Some(left) = expiry.checked_duration_since(Instant::now()) else {
                drop(state);
                panic!("waited {:?} in vain for {what}; {}", self.patience, self.record());
            };
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn script(&self, change: impl FnOnce(&mut State)) -> &Self {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
        self
    }

    fn stop(&self, acceptor: JoinHandle<()>) {
        self.shared.lock().is_stopping = true;
        self.shared.changed.notify_all();
        // Wakes the thread that waits for connections; it may have left by itself.
        TcpStream::connect(self.address).ok();
        acceptor.join().ok();
        for stream in self.shared.lock().connections.values() {
            // The peer may have closed it already.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for FakeRuntimeApi {
    fn drop(&mut self) {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Door::Open(acceptor) = std::mem::replace(&mut *door, Door::Moving) {
            self.stop(acceptor);
        }
        drop(door);
        let violations = self.violations();
        if violations.is_empty() || self.tolerates_violations || thread::panicking() {
            return;
        }
        panic!(
            "the runtime broke the protocol: {}; {}",
            violations.join("; "),
            self.record()
        );
    }
}

impl Builder {
    /// Listens on this port of 127.0.0.1 in place of a free one.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts with its port held and closed, until [`FakeRuntimeApi::accept_connections`].
    #[must_use]
    pub fn refusing_connections(mut self) -> Self {
        self.is_refusing = true;
        self
    }

    /// Lets the test end well with violations; they are listed all the same.
    #[must_use]
    pub fn tolerate_violations(mut self) -> Self {
        self.tolerates_violations = true;
        self
    }

    /// Plays Lambda with SnapStart: between Init and the first `/next` there is `/restore/next`.
    #[must_use]
    pub fn snap_start(mut self) -> Self {
        self.is_snap_start = true;
        self
    }

    /// Plays the Runtime API of a Managed Instance: `count` `/next` may be pending, and events overlap.
    #[must_use]
    pub fn concurrency(mut self, count: usize) -> Self {
        self.concurrency = Some(count);
        self
    }

    /// How long a wait lasts before it panics, in place of [`crate::process::PATIENCE`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Reads bodies at this pace at most, as Lambda does with a long stream.
    #[must_use]
    pub fn upload_bytes_per_second(mut self, rate: u32) -> Self {
        self.upload_bytes_per_second = Some(rate);
        self
    }

    /// Binds the port and starts to serve.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub fn start(self) -> FakeRuntimeApi {
        let Self {
            port,
            patience,
            tolerates_violations,
            is_refusing,
            is_snap_start,
            concurrency,
            upload_bytes_per_second,
        } = self;
        let (socket, address) = bind(port);
        let shared = Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            began_at: Instant::now(),
            is_snap_start,
            concurrency,
            upload_bytes_per_second,
        };
        let door = Mutex::new(Door::Shut(socket));
        let fake = FakeRuntimeApi {
            shared: Arc::new(shared),
            address,
            door,
            patience,
            tolerates_violations,
        };
        if !is_refusing {
            fake.accept_connections();
        }
        fake
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, socket: OwnedFd) -> JoinHandle<()> {
        rustix::net::listen(&socket, BACKLOG).expect("a bound socket can listen");
        let listener = TcpListener::from(socket);
        self.lock().is_stopping = false;
        let shared = Arc::clone(self);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut state = shared.lock();
                if state.is_stopping {
                    // A child that another test is just starting holds a copy of this socket until its exec; the port
                    // is to be closed now. Where a listening socket cannot be shut down, the close does it.
                    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).ok();
                    return;
                }
                if let Some(left) = state.connections_to_drop.checked_sub(1) {
                    state.connections_to_drop = left;
                    reset_when_closed(&stream);
                    continue;
                }
                state.last_connection += 1;
                let number = state.last_connection;
                let kept = stream.try_clone().expect("a descriptor is free");
                state.connections.insert(number, kept);
                drop(state);
                if shared.upload_bytes_per_second.is_some() {
                    // What it has not read yet has to wait in the runtime, not in the kernel.
                    sockopt::set_socket_recv_buffer_size(&stream, SLOW_READER_BUFFER_BYTES)
                        .expect("sockets have this option");
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || connection::serve(&shared, stream, number));
            }
        })
    }
}

impl State {
    fn answers(&self, id: &str) -> Vec<Answer> {
        let answers = self.requests.iter().filter_map(|request| {
            let call = call(request);
            let is_answer = call.answered_event().is_some_and(|(_, known)| known == id);
            if is_answer {
                Answer::of(request, call.is_error())
            } else {
                None
            }
        });
        answers.collect()
    }
}

fn bind(port: u16) -> (OwnedFd, SocketAddr) {
    // Children of other tests must not keep the port.
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a descriptor is free");
    sockopt::set_socket_reuseaddr(&socket, true).expect("sockets have this option");
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    rustix::net::bind(&socket, &wanted).unwrap_or_else(|error| panic!("cannot bind {wanted}: {error}"));
    let address = rustix::net::getsockname(&socket).expect("a bound socket has a name");
    (
        socket,
        SocketAddr::try_from(address).expect("an INET socket has an INET name"),
    )
}

/// Has the close of the last handle to this connection send a reset.
fn reset_when_closed(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("sockets have this option");
}

#[cfg(test)]
mod tests;
