//! How many guests run at a time, and how one that does not end is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How long compiled code with checks runs until it lets others have the thread.
const TICK: Duration = Duration::from_millis(2);

/// How a process runs guests, and the kind of code that this takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// One event at a time. Code carries no checks; a guest that does not end is stopped by replacing the process.
    Sequential,
    /// Several events at a time. Code looks at a counter in every loop and function, so that a guest that does not end can be
    /// stopped alone.
    Concurrent,
}

impl Execution {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sequential, Self::Concurrent];

    /// Its name in stamps and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Concurrent => "concurrent",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|execution| execution.name() == name)
    }
}

/// Makes guests of concurrent execution let go of their thread every [`TICK`], as long as any is running. It says nothing of
/// deadlines, which are instants on the clock: a guest that has let go goes on only if its own has not passed.
#[derive(Debug)]
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    is_over: AtomicBool,
}

/// A guest is running, for as long as this lives.
#[derive(Debug)]
pub struct Running<'a> {
    shared: &'a Shared,
}

impl Ticker {
    /// A ticker for guests of those engines.
    ///
    /// # Errors
    ///
    /// Of the operating system, when it has no thread left.
    pub fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let handle = {
            let shared = Arc::clone(&shared);
            let tick = move || {
                while !shared.is_over.load(Ordering::SeqCst) {
                    match shared.running.load(Ordering::SeqCst) {
                        0 => thread::park(),
                        _ => {
                            thread::sleep(TICK);
                            engines.iter().for_each(Engine::increment_epoch);
                        }
                    }
                }
            };
            thread::Builder::new().name("ticker".to_owned()).spawn(tick)?
        };
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
            handle: Some(handle),
        })
    }

    /// A guest begins to run. The thread that ticks is woken for the first one only, and sleeps when there is none.
    pub fn run(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Running { shared: &self.shared }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            // It panics never, and nobody would have to know.
            let _ = handle.join();
        }
    }
}
