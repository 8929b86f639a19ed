//! The event source mapping: what takes messages from a queue, gives them to a function in batches, and deletes those
//! that are done.
//!
//! The queue may be anywhere where SQS is spoken: at AWS, in this program or in another emulator. There is one way to
//! it, the official SDK.
//!
//! ```text
//! poller: receive ─► claim ─► (window) ─► event ─► invoke ─► verdict ─► delete what is done
//!    ▲                                                          └─► the rest comes again after its visibility timeout
//!    └── five at first, more while messages wait (`scaling`)
//! ```

mod event;
mod failures;
mod poller;
mod queue;
mod running;
mod scaling;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::journal::What;
use crate::platform::Platform;
use poller::{Mapping, Totals};
use queue::Queue;
pub use queue::QueueAddress;
use running::Running;
use scaling::Scaling;

const MOST_MESSAGES: usize = 10_000;
/// The most messages of a batch for which no window is needed, and the most at all for a FIFO queue.
const MOST_AT_ONCE: usize = 10;
const LONGEST_WINDOW: Duration = Duration::from_secs(300);
const CONCURRENCY: std::ops::RangeInclusive<u32> = 2..=1_000;
/// The longest visibility timeout that a queue can have, in seconds.
const LONGEST_VISIBILITY: u64 = 43_200;

/// How messages become events. The defaults are Lambda's but for the reports, which are on here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The queue.
    pub queue: QueueAddress,
    /// The function's name.
    pub function: String,
    /// The most messages of one event: 1 to 10,000; more than 10 with a window only, and not from a FIFO queue.
    pub batch_size: usize,
    /// How long a batch waits to be filled, up to 300 s, in whole seconds. Not for FIFO queues.
    pub window: Duration,
    /// Whether answers are read for `batchItemFailures`. On Lambda it has to be asked for with
    /// `ReportBatchItemFailures`. An answer that reports nothing is success either way.
    pub report_batch_item_failures: bool,
    /// The most batches at a time, 2 to 1,000. The function's own concurrency is a limit in any case.
    pub maximum_concurrency: Option<NonZeroU32>,
    /// How long [`EventSourceMapping::stop`] waits for the events that are being handled.
    pub grace: Duration,
}

impl Settings {
    /// Batches of up to 10 messages from that queue for that function.
    pub fn new(queue: QueueAddress, function: impl Into<String>) -> Self {
        Self {
            queue,
            function: function.into(),
            batch_size: MOST_AT_ONCE,
            window: Duration::ZERO,
            report_batch_item_failures: true,
            maximum_concurrency: None,
            grace: Duration::from_secs(5),
        }
    }

    fn check(&self) -> Result<(), StartError> {
        let Self { batch_size, window, .. } = *self;
        let refuse = |what: String, help| Err(StartError::Setting { what, help });
        if !(1..=MOST_MESSAGES).contains(&batch_size) {
            return refuse(
                format!("a batch of {batch_size} messages is not possible"),
                "Lambda takes batch sizes from 1 to 10,000".to_owned(),
            );
        }
        if window > LONGEST_WINDOW || window.subsec_nanos() > 0 {
            return refuse(
                format!("a batching window of {} s is not possible", window.as_secs_f64()),
                "Lambda takes windows from 0 to 300 whole seconds".to_owned(),
            );
        }
        if batch_size > MOST_AT_ONCE && window.is_zero() {
            return refuse(
                format!("batches of {batch_size} messages need a batching window"),
                "set a window of at least 1 s, or a batch size of at most 10".to_owned(),
            );
        }
        match self.maximum_concurrency {
            Some(most) if !CONCURRENCY.contains(&most.get()) => refuse(
                format!("a maximum concurrency of {most} is not possible"),
                "Lambda takes 2 to 1,000".to_owned(),
            ),
            Some(_) | None => Ok(()),
        }
    }

    fn check_for(&self, queue: &Queue, timeout: Duration) -> Result<(), StartError> {
        let Queue {
            name, visibility, url, ..
        } = queue;
        if queue.is_fifo && (self.batch_size > MOST_AT_ONCE || !self.window.is_zero()) {
            return Err(StartError::Setting {
                what: format!(
                    "the queue `{name}` is a FIFO queue, whose batches are of at most 10 messages without a window"
                ),
                help: "set a batch size of at most 10 and no batching window".to_owned(),
            });
        }
        if *visibility < timeout {
            let advised = (timeout * 6 + self.window).as_secs_f64().ceil();
            return Err(StartError::ShortVisibility {
                queue: name.clone(),
                visibility: *visibility,
                function: self.function.clone(),
                timeout,
                help: format!(
                    "make it six times the timeout and the batching window: aws sqs set-queue-attributes \
                     --queue-url {url} --attributes VisibilityTimeout={}",
                    (advised as u64).min(LONGEST_VISIBILITY)
                ),
            });
        }
        Ok(())
    }
}

/// Why a mapping was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Lambda would not take the setting.
    #[error("{what}")]
    Setting {
        /// What is wrong.
        what: String,
        /// How to mend it.
        help: String,
    },
    /// There is no such function.
    #[error("the function `{0}`, which is to get the messages, does not exist")]
    UnknownFunction(String),
    /// There is no such queue.
    #[error("the queue {queue} does not exist")]
    NoSuchQueue {
        /// As it was given.
        queue: String,
    },
    /// The queue cannot be used.
    #[error("cannot use the queue {queue}: {reason}")]
    UnusableQueue {
        /// As it was given.
        queue: String,
        /// In words.
        reason: String,
    },
    /// Nothing answers there, or the credentials for it cannot be had.
    #[error("cannot reach the queue {queue}: {reason}")]
    Unreachable {
        /// As it was given.
        queue: String,
        /// In words.
        reason: String,
    },
    /// Messages would come again while the function is still at work on them.
    #[error(
        "the visibility timeout of the queue `{queue}`, {} s, is shorter than the timeout of the function \
         `{function}`, {} s",
        visibility.as_secs_f64(), timeout.as_secs_f64()
    )]
    ShortVisibility {
        /// The queue's name.
        queue: String,
        /// What it is.
        visibility: Duration,
        /// The function's name.
        function: String,
        /// What it must not be shorter than.
        timeout: Duration,
        /// How to mend it.
        help: String,
    },
}

impl StartError {
    /// How to mend it, in one sentence.
    pub fn help(&self) -> String {
        match self {
            Self::Setting { help, .. } | Self::ShortVisibility { help, .. } => help.clone(),
            Self::UnknownFunction(_) => "name a function that is deployed here".to_owned(),
            Self::NoSuchQueue { .. } => "create it first, with `aws sqs create-queue --queue-name NAME`".to_owned(),
            Self::UnusableQueue { .. } => {
                "give a queue's URL as `aws sqs get-queue-url` prints it, and credentials that may receive, delete and \
                 change the visibility of messages, and get the queue's attributes"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "see whether the endpoint runs and whether AWS credentials can be found; profiles of `aws sso login` \
                 need `eval \"$(aws configure export-credentials --format env)\"` first"
                    .to_owned()
            }
        }
    }
}

/// What a mapping has done since it was started, for the page.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The queue's name.
    pub queue: String,
    /// The queue's URL.
    pub queue_url: String,
    /// The function's name.
    pub function: String,
    /// Whether the last request for messages was answered.
    pub is_reachable: bool,
    /// How many pollers there are at the moment.
    pub pollers: usize,
    /// How many messages are being collected or handled at the moment.
    pub in_flight: usize,
    /// How many messages came, repeated ones included.
    pub received: u64,
    /// How many messages were done and have been deleted.
    pub deleted: u64,
    /// How many times a message failed, or the whole batch that it was in.
    pub failed: u64,
    /// How many messages were done and could not be deleted. They may come again.
    pub delete_failed: u64,
}

/// A mapping that runs. [`Self::stop`] ends it well; when this is dropped it ends, too, and nobody waits for it.
#[derive(Debug)]
pub struct EventSourceMapping {
    mapping: Arc<Mapping>,
    stopping: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
}

impl EventSourceMapping {
    /// Finds the queue and begins to take messages from it. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If Lambda would refuse the settings for this queue and this function, or the queue cannot be reached. Later on,
    /// a queue that goes away is waited for.
    pub async fn start(platform: Platform, settings: Settings) -> Result<Self, StartError> {
        settings.check()?;
        let name = &settings.function;
        let function = platform
            .function(name)
            .ok_or_else(|| StartError::UnknownFunction(name.clone()))?;
        let queue = Queue::find(&settings.queue).await?;
        settings.check_for(&queue, function.timeout)?;
        if queue.visibility < function.timeout + settings.window {
            let text = format!(
                "messages of the queue {} may come again before their batch is done: its visibility timeout, {} s, is \
                 shorter than the batching window and the timeout of {name} together",
                queue.name,
                queue.visibility.as_secs()
            );
            platform.journal().record(What::Notice { text });
        }
        let events = function.events_per_environment.map_or(1, NonZeroU32::get);
        let asked = settings.maximum_concurrency.map_or(*CONCURRENCY.end(), NonZeroU32::get);
        let limit = function.concurrency.get().saturating_mul(events).min(asked);
        let (stopping, stopped) = watch::channel(false);
        let mapping = Arc::new(Mapping {
            platform,
            settings,
            queue,
            running: Running::default(),
            scaling: Arc::new(Scaling::new(limit as usize)),
            totals: Totals::default(),
            stopped,
        });
        let supervisor = tokio::spawn(supervise(Arc::clone(&mapping)));
        Ok(Self {
            mapping,
            stopping,
            supervisor,
        })
    }

    /// What it has done until now.
    pub fn status(&self) -> Status {
        self.mapping.status()
    }

    /// Takes no more messages, waits for the events that are being handled, as long as the settings say, and gives back
    /// the messages whose handling has not begun.
    pub async fn stop(self) {
        let _ = self.stopping.send(true);
        let mut supervisor = self.supervisor;
        if tokio::time::timeout(self.mapping.settings.grace, &mut supervisor)
            .await
            .is_ok()
        {
            return;
        }
        supervisor.abort();
        let queue = &self.mapping.queue;
        let text = format!(
            "{} messages of the queue {} were still being handled at the end; they come again within {} s",
            self.mapping.running.count(),
            queue.name,
            queue.visibility.as_secs()
        );
        self.mapping.platform.journal().record(What::Notice { text });
    }
}

/// Starts pollers while there is need for them, until the end of them all.
async fn supervise(mapping: Arc<Mapping>) {
    let mut pollers = JoinSet::new();
    let mut clock = tokio::time::interval(scaling::PERIOD);
    loop {
        tokio::select! {
            () = mapping.stopped() => break,
            _ = clock.tick() => {
                for place in mapping.scaling.grow(std::time::Instant::now()) {
                    pollers.spawn(poller::run(Arc::clone(&mapping), place));
                }
            }
            Some(_) = pollers.join_next() => {}
        }
    }
    while pollers.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new(QueueAddress::Url("http://127.0.0.1:1/1/q".to_owned()), "f")
    }

    fn is_taken(change: impl FnOnce(&mut Settings)) -> bool {
        let mut settings = settings();
        change(&mut settings);
        settings.check().is_ok()
    }

    #[test]
    fn settings_are_taken_exactly_where_lambda_takes_them() {
        assert!(is_taken(|_| ()));
        for (size, seconds, taken) in [
            (0, 0, false),
            (1, 0, true),
            (10, 0, true),
            (11, 0, false),
            (11, 1, true),
            (10_000, 300, true),
            (10_001, 300, false),
            (10, 301, false),
        ] {
            let change = |settings: &mut Settings| {
                settings.batch_size = size;
                settings.window = Duration::from_secs(seconds);
            };
            assert_eq!(is_taken(change), taken, "{size} messages, {seconds} s");
        }
        assert!(!is_taken(|settings| settings.window = Duration::from_millis(500)));
        for (most, taken) in [(1, false), (2, true), (1_000, true), (1_001, false)] {
            let change = |settings: &mut Settings| settings.maximum_concurrency = NonZeroU32::new(most);
            assert_eq!(is_taken(change), taken, "{most}");
        }
    }
}
