//! An SQS queue that forgives nothing and breaks at random, and the history of all that happened to its messages.
//!
//! ```text
//! consumer under test ── SQS's JSON protocol ──► service ─► faults ─► messages ─┐
//!                                                                               ├─► history ─► the invariants
//! function (the program `queue-worker`) ── a line for each phase ──► desk ──────┘
//! ```
//!
//! Unlike SQS it takes a receipt handle only while the message is in flight by that very receipt. So a consumer that
//! deletes what is no longer its own is seen, not pardoned.

mod desk;
mod faults;
mod history;
mod messages;
mod service;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use faults::Dice;
pub use faults::Faults;
pub use history::{Expectations, Summary};
use history::{History, What};
use messages::Messages;

/// The queue and the desk at which its function reports, each on a port of its own, until this is dropped.
#[derive(Debug)]
pub struct StrictQueue {
    shared: Arc<Shared>,
    address: SocketAddr,
    desk: SocketAddr,
    /// Keeps serving until it is dropped.
    _runtime: Runtime,
}

/// What the queue is like.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Whether messages have groups whose order is kept.
    pub is_fifo: bool,
    /// How long a message that was received stays away from other receivers.
    pub visibility: Duration,
    /// How many receives in vain make a message dead.
    pub max_receives: u32,
    /// How far its clock is ahead of everybody else's. Like AWS it refuses what was signed at another time than now.
    pub clock_ahead: Duration,
    /// What goes wrong.
    pub faults: Faults,
    /// What the faults are thrown with. The order of requests is not the same twice, so neither are the faults.
    pub seed: u64,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// Messages may have come within reach.
    changed: Notify,
    /// Nobody gets through.
    is_cut: AtomicBool,
}

#[derive(Debug)]
struct State {
    messages: Messages,
    history: History,
    dice: Dice,
    access_keys: BTreeSet<String>,
    refused_signatures: usize,
}

impl StrictQueue {
    /// An empty queue on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If no port or no thread can be had.
    pub fn start(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads can be started");
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::new(State {
                messages: Messages::new(settings.is_fifo, settings.visibility, settings.max_receives),
                history: History::default(),
                dice: Dice::new(settings.seed),
                access_keys: BTreeSet::new(),
                refused_signatures: 0,
            }),
            changed: Notify::new(),
            is_cut: AtomicBool::new(false),
        });
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(service::serve(listener, Arc::clone(&shared)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let desk = listener.local_addr().expect("a bound socket has an address");
        desk::open(listener, &shared);
        Self {
            shared,
            address,
            desk,
            _runtime: runtime,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.url_at(&format!("http://{}", self.address))
    }

    /// Its URL where scheme, host and port are others, because something stands in front of it.
    pub fn url_at(&self, origin: &str) -> String {
        format!("{origin}/000000000000/{}", self.shared.name())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where its function reports: what `queue-worker` takes as `DESK`.
    pub fn desk(&self) -> String {
        self.desk.to_string()
    }

    /// Sends messages, pairs of a group and a body.
    pub fn send(&self, messages: impl IntoIterator<Item = (String, String)>) {
        let mut state = self.shared.lock();
        for (group, body) in messages {
            let State { messages, history, .. } = &mut *state;
            let number = messages.add(group, body);
            history.add(What::Sent(number));
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// How many messages are neither deleted nor dead.
    pub fn left(&self) -> usize {
        self.shared.lock().messages.left()
    }

    /// Some of the messages that are left, and what has happened to them.
    pub fn leftovers(&self) -> String {
        let state = self.shared.lock();
        let left = state.messages.all().iter().enumerate();
        let left = left.filter(|(_, message)| !message.is_resolved()).take(3);
        let describe = |(number, message)| format!("{message:?}: {:?}", state.history.of(number));
        left.map(describe).collect::<Vec<_>>().join("\n")
    }

    /// Lets nobody through, or lets everybody through again. Connections that are there break.
    pub fn cut(&self, is_cut: bool) {
        self.shared.is_cut.store(is_cut, Ordering::Relaxed);
        self.shared.changed.notify_waiters();
    }

    /// The access keys that requests were signed with. One such as `EXPIRES1790000000` is refused from that second of Unix time on.
    pub fn access_keys(&self) -> BTreeSet<String> {
        self.shared.lock().access_keys.clone()
    }

    /// How many requests were refused for the time of their signature or an access key that had expired.
    pub fn refused_signatures(&self) -> usize {
        self.shared.lock().refused_signatures
    }

    /// Another generation of the consumer begins: the one before is dead.
    pub fn begin_generation(&self) -> u32 {
        self.shared.lock().history.begin_generation()
    }

    /// The processes of the function that are at work on messages now.
    pub fn workers(&self) -> Vec<i32> {
        self.shared.lock().history.workers()
    }

    /// Checks the whole history.
    ///
    /// # Panics
    ///
    /// If an invariant was broken, with the messages that show it.
    pub fn check(&self, expectations: Expectations) -> Summary {
        let state = self.shared.lock();
        state.history.check(&state.messages, expectations)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time by its clock.
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.settings.clock_ahead
    }

    fn name(&self) -> &'static str {
        if self.settings.is_fifo { "strict.fifo" } else { "strict" }
    }
}
