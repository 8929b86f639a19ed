//! Everything that happens on the platform, in order: the one source of what the terminal prints and the page shows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio::sync::broadcast;

use crate::invocation::Report;

/// How many entries are kept.
const MAX_ENTRIES: usize = 8_192;
/// How many bytes of payloads and answers the kept entries may hold.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// How much of one payload or answer is kept.
const MAX_TEXT_BYTES: usize = 256 << 10;
/// How many entries a reader may fall behind.
const MAX_BACKLOG: usize = 4_096;

/// One thing that happened. Serialises to a flat JSON object with `sequence`, `at_ms` (Unix time) and `kind`.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts from 1, without gaps.
    pub sequence: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen. An environment has a number for life; numbers are not used again.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// A function can be called from now on, in place of an older version if there was one.
    Deployed {
        /// The function.
        function: String,
        /// Counts from 1.
        version: u64,
    },
    /// A process was started.
    EnvironmentStarted {
        /// Its number.
        environment: u64,
        /// The function.
        function: String,
        /// The function's version.
        version: u64,
        /// The process id.
        pid: u32,
    },
    /// Init is over; it asks for events.
    EnvironmentReady {
        /// Its number.
        environment: u64,
        /// How long Init took, in milliseconds.
        init_ms: f64,
    },
    /// Init did not come to its end.
    InitFailed {
        /// Its number.
        environment: u64,
        /// `error` or `timeout`.
        status: String,
        /// Such as `Runtime.ExitError`.
        error_type: String,
        /// How long it took, in milliseconds.
        init_ms: f64,
    },
    /// It has nothing to do and is stopped, as Lambda freezes it.
    EnvironmentFrozen {
        /// Its number.
        environment: u64,
    },
    /// The process has ended.
    EnvironmentGone {
        /// Its number.
        environment: u64,
        /// In words.
        reason: String,
    },
    /// An environment takes an event.
    InvocationStarted {
        /// The request id.
        request_id: String,
        /// The function.
        function: String,
        /// The environment's number.
        environment: u64,
        /// Where the event comes from, in words.
        source: String,
        /// Whether the environment was started for it.
        is_cold: bool,
        /// The event.
        payload: Text,
    },
    /// A line of the runtime's or the guest's.
    Line {
        /// The environment's number.
        environment: u64,
        /// The event that was being answered, if it was one only.
        request_id: Option<String>,
        /// Without the line's end.
        text: String,
    },
    /// The caller has its answer. Of a stream, what was sent is not kept.
    InvocationAnswered {
        /// The request id.
        request_id: String,
        /// Whether it is a function error.
        is_error: bool,
        /// The answer.
        answer: Text,
    },
    /// An invocation is over.
    InvocationEnded(Report),
    /// An event was turned away, because all environments are busy.
    Throttled {
        /// The function.
        function: String,
        /// Where the event comes from, in words.
        source: String,
    },
    /// Sources have changed, or this is the start: it is being built.
    Building {
        /// What is built.
        name: String,
    },
    /// It is built.
    Built {
        /// What was built.
        name: String,
        /// In milliseconds.
        duration_ms: f64,
    },
    /// It cannot be built; what was there before goes on.
    BuildFailed {
        /// What is built.
        name: String,
        /// What the tools say.
        message: String,
    },
    /// Something else that a developer should know.
    Notice {
        /// In words.
        text: String,
    },
}

/// A payload, of which the first 256 KiB are kept. Serialises to text; bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone)]
pub struct Text(Bytes);

impl Text {
    /// Keeps the beginning of `bytes`.
    pub fn new(bytes: &Bytes) -> Self {
        if bytes.len() <= MAX_TEXT_BYTES {
            return Self(bytes.clone());
        }
        Self(Bytes::copy_from_slice(&bytes[..MAX_TEXT_BYTES]))
    }

    /// What is kept.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&self.0))
    }
}

impl What {
    fn kept_bytes(&self) -> usize {
        match self {
            Self::InvocationStarted { payload: text, .. } | Self::InvocationAnswered { answer: text, .. } => {
                text.0.len()
            }
            Self::Line { text, .. } | Self::BuildFailed { message: text, .. } => text.len(),
            Self::Deployed { .. }
            | Self::EnvironmentStarted { .. }
            | Self::EnvironmentReady { .. }
            | Self::InitFailed { .. }
            | Self::EnvironmentFrozen { .. }
            | Self::EnvironmentGone { .. }
            | Self::InvocationEnded(_)
            | Self::Throttled { .. }
            | Self::Building { .. }
            | Self::Built { .. }
            | Self::Notice { .. } => 0,
        }
    }
}

/// The journal. Clones are handles to one and the same.
#[derive(Debug, Clone)]
pub struct Journal {
    kept: Arc<Mutex<Kept>>,
    sender: broadcast::Sender<Arc<Entry>>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    sequence: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            sender: broadcast::Sender::new(MAX_BACKLOG),
        }
    }
}

impl Journal {
    /// Writes one entry.
    pub fn record(&self, what: What) {
        let mut kept = self.lock();
        kept.sequence += 1;
        let entry = Arc::new(Entry {
            sequence: kept.sequence,
            at_ms: unix_ms(),
            what,
        });
        kept.bytes += entry.what.kept_bytes();
        kept.entries.push_back(Arc::clone(&entry));
        while kept.entries.len() > MAX_ENTRIES || kept.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = kept.entries.pop_front() else { break };
            kept.bytes -= oldest.what.kept_bytes();
        }
        // Sent under the lock, so that readers see the order of the numbers. Nobody may be reading.
        let _ = self.sender.send(entry);
    }

    /// The entries that are kept, oldest first, and all that come after them.
    pub fn read(&self) -> (Vec<Arc<Entry>>, broadcast::Receiver<Arc<Entry>>) {
        let kept = self.lock();
        (kept.entries.iter().cloned().collect(), self.sender.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
