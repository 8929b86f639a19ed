//! The main thread keeps watch while another one works: it stops what runs past its deadline and hears termination signals.
//!
//! Where events come one at a time, guests carry no interruption checks, because those cost up to a quarter of their speed and
//! more. So a deadline cannot be enforced from within. The watchdog owns it: when the instant passes, it takes from the worker
//! the right to answer the event, which is one atomic word and thus can be won by one of them only, and the process answers and
//! replaces itself (see [`crate::handover`]). It makes no difference whether the worker was computing or waiting in a host
//! call.
//!
//! ```text
//!              begin(deadline)                 finish()
//!   worker  IDLE ───────────────► deadline D ───────────► IDLE      the worker may answer
//!                                     │
//!   watchdog                          └── D passes ─────► EXPIRED   the watchdog may answer; the worker parks for good
//! ```
//!
//! Arming costs the worker a store. The watchdog is woken only if it would otherwise sleep too long. It does not go back to
//! sleep for good when a task ends early, but until the time it was woken for; so a stream of events with the same timeout
//! wakes it about once per timeout, not once per event.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::Notify;

use crate::error::panic_message;
use crate::function::SharedProgress;
use crate::runtime_api::{Interrupter, Responder};
use crate::sandbox::Output;
use crate::snap_start::Hook;

/// Nothing is running.
const IDLE: u64 = 0;
/// The watchdog has taken over.
const EXPIRED: u64 = u64::MAX;
/// The watchdog has no reason to wake up by itself.
const NEVER: u64 = u64::MAX;
/// When the watchdog looks for the first time, in nanoseconds after its beginning. By then Init and often the first event have
/// begun; waking it for each of them would cost a cold start several changes between threads.
const FIRST_LOOK: u64 = 500_000_000;
/// How long after a termination signal an event may still arrive.
pub const LAST_CALL: Duration = Duration::from_millis(20);
/// How far the clock may jump back, as it may when Lambda restores a snapshot of the process: no instant is before `epoch`.
const LARGEST_JUMP: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a running guest may go on after a termination signal. Lambda kills the process 300 ms after it.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(150);

/// What the worker is doing, for whoever has to finish it.
#[derive(Debug)]
pub enum Task {
    /// Init: failing it means `/init/error` and exit.
    Init,
    /// What guests do around a snapshot of the process: failing it means a report and exit.
    Hook(Hook),
    /// Init of a process that goes on with a batch: what is done of the batch so far can be answered.
    Resumption {
        /// Answers the event.
        responder: Responder,
        /// How far the batch is.
        progress: Box<SharedProgress>,
    },
    /// Posting an answer and preparing the next sandbox. Lambda's own deadline applies; it has nothing more to be told.
    Completion,
    /// Running a guest for this event.
    Invocation {
        /// Answers the event.
        responder: Responder,
        /// What the guest has written, if there is one.
        output: Option<Arc<Output>>,
        /// When it began.
        since: Instant,
        /// Lambda's own deadline.
        platform: Instant,
    },
}

/// Why the watch ended.
pub enum Outcome<T> {
    /// The worker returned.
    Finished(T),
    /// The worker panicked. An event that was being worked on comes along.
    Panicked(String, Option<Task>),
    /// The deadline of this task passed, or a termination signal's grace did.
    Expired(Task, Cause),
    /// A second termination signal: exit at once.
    Terminated,
}

/// What made a task expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its deadline.
    Deadline,
    /// A termination signal, and the grace after it.
    Signal,
}

#[derive(Debug)]
struct Shared {
    epoch: Instant,
    /// [`IDLE`], [`EXPIRED`], or the deadline in nanoseconds after `epoch`.
    deadline: AtomicU64,
    /// When the watchdog will look next by itself, in nanoseconds after `epoch`.
    wakes_at: AtomicU64,
    task: Mutex<Option<Task>>,
    waker: UnixStream,
    shutdown: Notify,
    is_shutting_down: AtomicBool,
    /// What ends a worker's wait for the next event.
    interrupter: OnceLock<Interrupter>,
    /// The worker's thread is at its end, by returning or by a panic.
    worker_ended: AtomicBool,
}

impl Shared {
    fn nanoseconds(&self, instant: Instant) -> u64 {
        let nanoseconds = instant.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanoseconds)
            .unwrap_or(EXPIRED)
            .clamp(IDLE + 1, EXPIRED - 1)
    }

    fn task(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running task's deadline, or [`NEVER`].
    fn next_deadline(&self) -> u64 {
        match self.deadline.load(Ordering::SeqCst) {
            IDLE | EXPIRED => NEVER,
            deadline => deadline,
        }
    }

    /// Leaves a running task only the grace that a termination signal leaves us.
    fn hasten(&self) {
        let grace = self.nanoseconds(Instant::now() + SHUTDOWN_GRACE);
        let hastened = self
            .deadline
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |deadline| {
                (!matches!(deadline, IDLE | EXPIRED)).then_some(deadline.min(grace))
            });
        if hastened.is_ok() {
            self.wakes_at.fetch_min(grace, Ordering::SeqCst);
        }
    }

    fn wake(&self) {
        // A full buffer means that a wake-up is already on its way.
        let _ = (&self.waker).write(b"w");
    }
}

/// The worker's side.
#[derive(Debug, Clone)]
pub struct Watch {
    shared: Arc<Shared>,
}

/// A task under watch.
#[must_use = "a task that is never finished expires"]
pub struct Watched<'a> {
    shared: &'a Shared,
}

impl Watch {
    /// Puts a task under watch until `deadline`.
    pub fn begin(&self, task: Task, deadline: Instant) -> Watched<'_> {
        *self.shared.task() = Some(task);
        let deadline = self.shared.nanoseconds(deadline);
        self.shared.deadline.store(deadline, Ordering::SeqCst);
        // A signal that arrives later finds the deadline stored, and hastens it.
        if self.is_shutting_down() {
            self.shared.hasten();
            self.shared.wake();
        } else if deadline < self.shared.wakes_at.load(Ordering::SeqCst) {
            self.shared.wakes_at.fetch_min(deadline, Ordering::SeqCst);
            self.shared.wake();
        }
        Watched { shared: &self.shared }
    }

    /// Has the wait for an event interrupted a moment after a termination signal: an event that Lambda had sent by then has
    /// arrived and is served.
    pub fn interrupt_with(&self, interrupter: Interrupter) {
        // A process has one loop that waits like this.
        let _ = self.shared.interrupter.set(interrupter);
    }

    /// Resolves when a termination signal has arrived, once for each.
    pub async fn shutdown(&self) {
        self.shared.shutdown.notified().await;
    }

    /// Whether a termination signal has arrived.
    pub fn is_shutting_down(&self) -> bool {
        self.shared.is_shutting_down.load(Ordering::SeqCst)
    }
}

impl Watched<'_> {
    /// Gives the task another deadline. Returns only to a worker that still has the right to answer, as [`Self::finish`].
    pub fn move_to(&self, deadline: Instant) {
        let mut deadline = self.shared.nanoseconds(deadline);
        if self.shared.is_shutting_down.load(Ordering::SeqCst) {
            // A termination signal leaves no more time than it left before.
            deadline = deadline.min(self.shared.next_deadline());
        }
        let moved = self
            .shared
            .deadline
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |current| {
                (current != EXPIRED).then_some(deadline)
            });
        if moved.is_err() {
            park();
        }
        if deadline < self.shared.wakes_at.load(Ordering::SeqCst) {
            self.shared.wakes_at.fetch_min(deadline, Ordering::SeqCst);
            self.shared.wake();
        }
    }

    /// Ends the watch in time. Returns only to a worker that still has the right to answer; the process of any other one is
    /// about to be replaced, and its thread stays here until then.
    pub fn finish(self) {
        if self.shared.deadline.swap(IDLE, Ordering::SeqCst) == EXPIRED {
            // The swap must not look like a task that could begin again.
            self.shared.deadline.store(EXPIRED, Ordering::SeqCst);
            park();
        }
        self.shared.task().take();
    }
}

/// The end of a worker that has lost the right to answer: its process is about to be replaced.
fn park() -> ! {
    loop {
        thread::park();
    }
}

/// The watchdog's side.
pub struct Watchdog {
    shared: Arc<Shared>,
    /// Receives `w` from the worker and `X` from the signal handlers.
    events: UnixStream,
    signals: u32,
    /// When a wait for the next event is interrupted, if a termination signal has arrived and that has not been done.
    last_call: Option<Instant>,
}

impl Watchdog {
    /// Installs the handlers of SIGTERM and SIGINT. As process 1 of a container, the process would otherwise ignore them.
    ///
    /// # Errors
    ///
    /// Of the operating system, when it is out of descriptors.
    pub fn new() -> io::Result<Self> {
        let (events, waker) = UnixStream::pair()?;
        events.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        let now = Instant::now();
        let epoch = now.checked_sub(LARGEST_JUMP).unwrap_or(now);
        let began = u64::try_from((now - epoch).as_nanos()).unwrap_or(0);
        let shared = Shared {
            epoch,
            deadline: AtomicU64::new(IDLE),
            wakes_at: AtomicU64::new(began.saturating_add(FIRST_LOOK)),
            task: Mutex::new(None),
            waker,
            shutdown: Notify::new(),
            is_shutting_down: AtomicBool::new(false),
            interrupter: OnceLock::new(),
            worker_ended: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            events,
            signals: 0,
            last_call: None,
        })
    }

    /// Runs `work` on a thread of its own and keeps watch over it from this one.
    ///
    /// # Errors
    ///
    /// Of the operating system, when it has no thread left.
    pub fn watch<T: Send + 'static>(
        mut self,
        work: impl FnOnce(Watch) -> T + Send + 'static,
    ) -> io::Result<Outcome<T>> {
        let watch = Watch {
            shared: Arc::clone(&self.shared),
        };
        let at_the_end = WorkerEnd {
            shared: Arc::clone(&self.shared),
        };
        let worker = thread::Builder::new().name("worker".to_owned()).spawn(move || {
            let _at_the_end = at_the_end;
            work(watch)
        })?;
        loop {
            self.sleep();
            if self.shared.worker_ended.load(Ordering::SeqCst) {
                return Ok(self.outcome(worker));
            }
            if self.signals > 1 {
                return Ok(Outcome::Terminated);
            }
            if let Some(task) = self.claim_expired() {
                let cause = if self.signals > 0 {
                    Cause::Signal
                } else {
                    Cause::Deadline
                };
                return Ok(Outcome::Expired(task, cause));
            }
            if self.last_call.is_some_and(|last_call| last_call <= Instant::now()) {
                self.last_call = None;
                if let Some(interrupter) = self.shared.interrupter.get() {
                    interrupter.interrupt();
                }
            }
        }
    }

    fn outcome<T>(&self, worker: JoinHandle<T>) -> Outcome<T> {
        match worker.join() {
            Ok(result) => Outcome::Finished(result),
            Err(panic) => Outcome::Panicked(panic_message(&*panic), self.shared.task().take()),
        }
    }

    /// Sleeps until the time to look, a signal, or a wake-up.
    fn sleep(&mut self) {
        let now = self.shared.nanoseconds(Instant::now());
        let mut wakes_at = self.shared.wakes_at.load(Ordering::SeqCst);
        if wakes_at <= now {
            wakes_at = self.shared.next_deadline();
            self.shared.wakes_at.store(wakes_at, Ordering::SeqCst);
            // A task that began meanwhile saw a time in the past there, and did not wake us.
            wakes_at = wakes_at.min(self.shared.next_deadline());
            self.shared.wakes_at.fetch_min(wakes_at, Ordering::SeqCst);
        }
        if let Some(last_call) = self.last_call {
            wakes_at = wakes_at.min(self.shared.nanoseconds(last_call));
        }
        let timeout = (wakes_at != NEVER).then(|| Duration::from_nanos(wakes_at.saturating_sub(now)));
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or_default());
        let mut descriptors = [PollFd::new(&self.events, PollFlags::IN)];
        // Interrupted or not, the loop looks at everything again.
        let _ = poll(&mut descriptors, timeout.as_ref());
        self.drain();
    }

    fn drain(&mut self) {
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = self.events.read(&mut buffer) {
            let signals = buffer[..count].iter().filter(|byte| **byte == b'X').count();
            if signals > 0 {
                if self.signals == 0 {
                    self.last_call = Some(Instant::now() + LAST_CALL);
                }
                self.signals = self.signals.saturating_add(u32::try_from(signals).unwrap_or(u32::MAX));
                self.shared.is_shutting_down.store(true, Ordering::SeqCst);
                self.shared.shutdown.notify_one();
                self.shared.hasten();
            }
        }
    }

    /// Takes the right to answer from the worker if its deadline has passed.
    fn claim_expired(&self) -> Option<Task> {
        let deadline = self.shared.deadline.load(Ordering::SeqCst);
        if matches!(deadline, IDLE | EXPIRED) || self.shared.nanoseconds(Instant::now()) < deadline {
            return None;
        }
        self.shared
            .deadline
            .compare_exchange(deadline, EXPIRED, Ordering::SeqCst, Ordering::SeqCst)
            .ok()?;
        self.shared.task().take()
    }
}

/// Tells the watchdog that the worker is about to end, also by a panic.
struct WorkerEnd {
    shared: Arc<Shared>,
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        self.shared.worker_ended.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch<T: Send + 'static>(work: impl FnOnce(Watch) -> T + Send + 'static) -> Outcome<T> {
        Watchdog::new().unwrap().watch(work).unwrap()
    }

    #[test]
    fn work_that_ends_in_time_is_finished() {
        let outcome = watch(|watch| {
            watch
                .begin(Task::Init, Instant::now() + Duration::from_secs(60))
                .finish();
            7
        });
        assert!(matches!(outcome, Outcome::Finished(7)));
    }

    #[test]
    fn a_task_past_its_deadline_is_taken_over_even_if_an_earlier_one_ended_late() {
        let outcome = watch(|watch| {
            for _ in 0..1000 {
                watch
                    .begin(Task::Init, Instant::now() + Duration::from_millis(50))
                    .finish();
            }
            let watched = watch.begin(Task::Completion, Instant::now() + Duration::from_millis(20));
            thread::sleep(Duration::from_secs(60));
            watched.finish();
        });
        assert!(matches!(outcome, Outcome::Expired(Task::Completion, Cause::Deadline)));
    }

    // Conformance statement 52.
    #[test]
    fn a_panic_of_the_worker_comes_back_with_what_it_was_doing() {
        let outcome = watch(|watch| {
            let _watched = watch.begin(Task::Completion, Instant::now() + Duration::from_secs(60));
            panic!("a broken invariant");
        });
        let Outcome::<()>::Panicked(message, Some(Task::Completion)) = outcome else {
            panic!("the panic went unnoticed");
        };
        assert_eq!(message, "a broken invariant");
    }
}
