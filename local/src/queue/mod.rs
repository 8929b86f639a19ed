//! Queues as Amazon SQS has them, inside this process.
//!
//! [`Queues::answer`] speaks SQS's JSON protocol (AWS JSON 1.0), which the AWS CLI and the SDKs use, and is mounted on
//! whatever listener there is; the other methods are the same queues for code in this process. Signatures are not looked at.
//!
//! What a request does happens in `state`, at once and under one lock, without waiting for anything. What it changed is
//! acknowledged when `store` has it on disk, if the queues are kept there. `protocol` turns requests into calls and back.

mod actions;
mod attributes;
mod clock;
mod content;
mod error;
mod fifo;
mod messages;
mod moves;
mod protocol;
mod receiving;
mod selection;
mod sending;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use clock::Moment;
pub use error::{Code, Error};
pub use messages::{Counts, Phase};
pub use protocol::MAX_REQUEST_BYTES;
use receiving::{Received, Wanted};
pub use sending::{Outgoing, Sent};
use state::State;
pub use store::OpenError;
use store::{Kept, Store};

/// Where the queues seem to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The account, twelve digits.
    pub account: String,
    /// The region.
    pub region: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }
}

impl Settings {
    fn arn(&self, name: &str) -> String {
        format!("arn:aws:sqs:{}:{}:{name}", self.region, self.account)
    }
}

/// A set of queues. Cheap to clone; every clone is the same set.
#[derive(Debug, Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Who seems to send every message.
    account: String,
    state: Mutex<State>,
    store: Store,
}

/// A queue as the page shows it.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Whether it is a FIFO queue.
    pub is_fifo: bool,
    /// The name of its dead-letter queue.
    pub dead_letter_queue: Option<String>,
    /// How many messages it has.
    pub counts: Counts,
}

/// A message that is looked at without being received.
#[derive(Debug, Clone)]
pub struct Peeked {
    /// A UUID.
    pub message_id: String,
    /// The body.
    pub body: String,
    /// The group, if it has one.
    pub group: Option<String>,
    /// Milliseconds since 1970.
    pub sent: u64,
    /// How often it was received.
    pub receives: u32,
    /// What it is doing.
    pub phase: Phase,
}

impl Queues {
    /// Queues that are forgotten when the last clone goes.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let account = settings.account.clone();
        let state = State::new(settings, Kept::default(), Moment::now());
        Self {
            inner: Arc::new(Inner {
                account,
                state: Mutex::new(state.expect("no queues have no wrong attributes")),
                store: Store::default(),
            }),
        }
    }

    /// Queues that are kept in a directory, in the file `queues.redb`; made if they are not there. What a client was told is
    /// on disk before, and survives whatever ends this process.
    ///
    /// Reads everything into memory, and blocks meanwhile. Dropping the last clone waits for the last write.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the directory or the file cannot be used, or another process uses it.
    pub fn open(settings: Settings, directory: &Path) -> Result<Self, OpenError> {
        let (store, kept) = Store::open(directory)?;
        let account = settings.account.clone();
        let state = State::new(settings, kept, Moment::now())
            .map_err(|reason| OpenError::Form(directory.to_owned(), reason))?;
        Ok(Self {
            inner: Arc::new(Inner {
                account,
                state: Mutex::new(state),
                store,
            }),
        })
    }

    /// Whether a request is one for SQS: for those who serve several services on one listener.
    pub fn concerns<B>(request: &http::Request<B>) -> bool {
        protocol::concerns(request.headers())
    }

    /// Answers a request of SQS's JSON protocol, whatever its path. A long poll takes up to 20 s; dropping the future ends it.
    ///
    /// The body should have been read with [`MAX_REQUEST_BYTES`] as limit.
    pub async fn answer(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
        protocol::answer(self, request).await
    }

    /// Makes a queue with these attributes, named as in SQS's `CreateQueue`; one that is there with them is left as it is.
    /// Returns its ARN.
    ///
    /// # Errors
    ///
    /// As `CreateQueue`.
    pub async fn create(&self, name: &str, attributes: &[(&str, &str)]) -> Result<String, Error> {
        let owned = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let attributes = owned.collect();
        self.act(|state, now| {
            state.create(name, &attributes, BTreeMap::new(), now)?;
            Ok(state.arn(name))
        })
        .await
    }

    /// Changes a queue's visibility timeout to `seconds` if it is shorter than `least`. Whether it was.
    ///
    /// # Errors
    ///
    /// As `SetQueueAttributes`.
    pub async fn lengthen_visibility(&self, queue: &str, least: u64, seconds: u64) -> Result<bool, Error> {
        self.act(|state, now| {
            let is_short = u64::from(state.open(queue, now)?.0.attributes.visibility) < least;
            if is_short {
                let attributes = BTreeMap::from([("VisibilityTimeout".to_owned(), seconds.to_string())]);
                state.set_attributes(queue, &attributes, now)?;
            }
            Ok(is_short)
        })
        .await
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// As `SendMessage`.
    pub async fn send(&self, queue: &str, message: Outgoing) -> Result<Sent, Error> {
        self.act(|state, now| state.send(queue, message, now)).await
    }

    /// All queues, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Overview> {
        let (mut state, now) = (self.lock(), Moment::now());
        let names: Vec<_> = state.queues.keys().cloned().collect();
        let overview = |name: String| {
            let arn = state.arn(&name);
            let queue = state.open(&name, now).ok()?.0;
            let redrive = queue.attributes.redrive.as_ref();
            let target = redrive.and_then(|redrive| redrive.dead_letter_target_arn.rsplit(':').next());
            Some(Overview {
                arn,
                is_fifo: queue.fifo.is_some(),
                dead_letter_queue: target.map(str::to_owned),
                counts: queue.messages.counts(),
                name,
            })
        };
        names.into_iter().filter_map(overview).collect()
    }

    /// The oldest messages of a queue, up to so many. Nothing happens to them.
    ///
    /// # Errors
    ///
    /// [`Code::QueueDoesNotExist`].
    pub fn peek(&self, queue: &str, limit: usize) -> Result<Vec<Peeked>, Error> {
        let mut state = self.lock();
        let messages = state.open(queue, Moment::now())?.0.messages.iter().take(limit);
        let peeked = messages.map(|(_, message, phase)| Peeked {
            message_id: message.content.id.clone(),
            body: message.content.body.clone(),
            group: message.content.group.clone(),
            sent: message.standing.sent.milliseconds(),
            receives: message.standing.receives,
            phase,
        });
        Ok(peeked.collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the state, and returns when it, and all that was seen on the way, is on disk.
    async fn act<T>(&self, act: impl FnOnce(&mut State, Moment) -> Result<T, Error>) -> Result<T, Error> {
        let (result, commit) = {
            let mut state = self.lock();
            let result = act(&mut state, Moment::now());
            let changes = std::mem::take(&mut state.changes);
            // Under the lock, so that the disk sees changes in the same order.
            (result, self.inner.store.submit(changes))
        };
        commit.done().await?;
        result
    }

    /// Receives messages; if there are none, waits for the first for up to so many seconds.
    async fn receive(&self, queue: &str, wanted: &Wanted, wait: Option<u32>) -> Result<Vec<Received>, Error> {
        let changed = |state: &mut State, now| {
            let queue = state.open(queue, now)?.0;
            Ok((Arc::clone(&queue.changed), queue.attributes.wait))
        };
        let (changed, usual) = self.act(changed).await?;
        let end = Instant::now() + Duration::from_secs(u64::from(wait.unwrap_or(usual)));
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            // From here on no change goes unnoticed.
            notified.as_mut().enable();
            let attempt = |state: &mut State, now: Moment| {
                let received = state.receive(queue, wanted, now)?;
                let next = state.open(queue, now)?.0.messages.next_visible();
                Ok((received, next.map(|next| next.since(now))))
            };
            let (received, next) = self.act(attempt).await?;
            if !received.is_empty() || Instant::now() >= end {
                return Ok(received);
            }
            let wake = next.map_or(end, |next| end.min(Instant::now() + next));
            // Whichever it is, the queue is looked at once more.
            tokio::select! {
                () = notified => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Starts moving messages out of a dead-letter queue.
    async fn start_move(&self, source: &str, destination: Option<&str>, rate: Option<u32>) -> Result<String, Error> {
        let start = |state: &mut State, now| {
            let handle = state.start_move(source, destination, rate, now)?;
            match rate {
                None => {
                    state.go_on_moving(&handle, usize::MAX, now);
                }
                // Here, so that a task that was begun goes on even if nobody waits for the answer.
                Some(rate) => {
                    tokio::spawn(go_on_moving(Arc::downgrade(&self.inner), handle.clone(), rate));
                }
            }
            Ok(handle)
        };
        self.act(start).await
    }
}

/// Moves so many messages a second, until the task or the queues end.
async fn go_on_moving(inner: Weak<Inner>, handle: String, rate: u32) {
    let limit = usize::try_from(rate).unwrap_or(usize::MAX);
    while let Some(queues) = inner.upgrade().map(|inner| Queues { inner }) {
        let more = queues.act(|state, now| Ok(state.go_on_moving(&handle, limit, now)));
        if !matches!(more.await, Ok(true)) {
            break;
        }
        drop(queues);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
