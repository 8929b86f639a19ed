//! One poller: takes a batch, has it handled, and deletes what is done. There are several of them at a time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::watch;

use super::event;
use super::failures::{self, Verdict};
use super::queue::{Deletion, LONGEST_WAIT, MOST_MESSAGES, Queue};
use super::running::{Claim, Running};
use super::scaling::{Place, Scaling};
use super::{Settings, Status};
use crate::invocation::{Invocation, MAX_PAYLOAD_BYTES, Refusal};
use crate::journal::What;
use crate::platform::Platform;

/// How many requests of one batch delete messages at a time.
const DELETIONS: usize = 8;
/// How long a queue is given to notice that nobody waits for a request any more. Before that it could answer the request with messages
/// that are just being given back, and they would be away until their visibility timeout.
const HANGING_UP: Duration = Duration::from_millis(200);

/// What the pollers of one mapping share.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) platform: Platform,
    pub(super) settings: Settings,
    pub(super) queue: Queue,
    pub(super) running: Running,
    pub(super) scaling: Arc<Scaling>,
    pub(super) totals: Totals,
    /// Becomes true, or loses its sender, when everything has to end.
    pub(super) stopped: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Totals {
    received: AtomicU64,
    deleted: AtomicU64,
    failed: AtomicU64,
    delete_failed: AtomicU64,
    is_away: AtomicBool,
    /// What the journal was told last, so that it is not told again and again.
    last_notice: Mutex<String>,
}

/// A message that this poller handles.
#[derive(Debug)]
struct Received {
    claim: Claim,
    receipt: String,
    /// Its record in the event, JSON.
    record: Vec<u8>,
    /// When the queue gives it to others.
    visible_at: Instant,
}

/// What a poller does next.
#[derive(Debug)]
enum Next {
    /// Ask for messages.
    Ask,
    /// Go away, unless it is one of the few that stay: there was nothing to do, or the function takes no more.
    Leave,
    /// Wait, for something is broken.
    Wait,
    /// End.
    Stop,
}

/// Pauses between tries, each twice as long as the one before.
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// While the queue or the function cannot be used.
    fn of_an_outage() -> Self {
        Self {
            next: Duration::from_secs(1),
            longest: LONGEST_WAIT,
        }
    }

    /// While the function is busy, or messages cannot be deleted.
    fn of_a_try() -> Self {
        Self {
            next: Duration::from_millis(100),
            longest: Duration::from_secs(5),
        }
    }

    fn next(&mut self) -> Duration {
        let next = self.next;
        self.next = (next * 2).min(self.longest);
        next
    }
}

/// Polls until there is no more need for it, or everything ends.
pub(super) async fn run(mapping: Arc<Mapping>, place: Place) {
    let mut pauses = Pauses::of_an_outage();
    loop {
        let next = match mapping.collect(&place).await {
            Ok(batch) => mapping.handle(batch).await,
            Err(next) => next,
        };
        match next {
            Next::Stop => return,
            Next::Ask => pauses = Pauses::of_an_outage(),
            Next::Leave => {
                pauses = Pauses::of_an_outage();
                if !place.has_slack() {
                    return;
                }
            }
            Next::Wait => {
                if !place.has_slack() || mapping.stopped_within(pauses.next()).await {
                    return;
                }
            }
        }
    }
}

impl Mapping {
    pub(super) fn status(&self) -> Status {
        let count = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Status {
            queue: self.queue.name.clone(),
            queue_url: self.queue.url.clone(),
            function: self.settings.function.clone(),
            is_reachable: !self.totals.is_away.load(Ordering::Relaxed),
            pollers: self.scaling.pollers(),
            in_flight: self.running.count(),
            received: count(&self.totals.received),
            deleted: count(&self.totals.deleted),
            failed: count(&self.totals.failed),
            delete_failed: count(&self.totals.delete_failed),
        }
    }

    /// Waits until everything has to end.
    pub(super) async fn stopped(&self) {
        // An error says that the sender is gone, which means the same.
        let _ = self.stopped.clone().wait_for(|is_stopped| *is_stopped).await;
    }

    /// Whether everything has to end; waits for it no longer than that.
    async fn stopped_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stopped()).await.is_ok()
    }

    /// The messages of the next batch. There is at least one.
    async fn collect(&self, place: &Place) -> Result<Vec<Received>, Next> {
        let number = self.running.batch();
        let mut batch = Vec::new();
        let mut window = None;
        loop {
            let wait = match window {
                None => {
                    place.asks(Instant::now());
                    LONGEST_WAIT
                }
                Some(end) => time_until(end),
            };
            let receive = async {
                // A request waits for whole seconds.
                if wait < Duration::from_secs(1) {
                    tokio::time::sleep(wait).await;
                }
                self.receive(number, self.settings.batch_size - batch.len(), wait).await
            };
            let received = tokio::select! {
                biased;
                () = self.stopped() => None,
                received = receive => Some(received),
            };
            match received {
                Some(Some(received)) => batch.extend(received),
                Some(None) if batch.is_empty() => return Err(Next::Wait),
                Some(None) => return Ok(batch),
                None if batch.is_empty() => return Err(Next::Stop),
                None => {
                    tokio::time::sleep(HANGING_UP).await;
                    self.give_back(&batch).await;
                    return Err(Next::Stop);
                }
            }
            if batch.is_empty() {
                return Err(Next::Leave);
            }
            place.has_work();
            let end = *window.get_or_insert_with(|| Instant::now() + self.settings.window);
            let bytes: usize = batch.iter().map(|message| message.record.len()).sum();
            if batch.len() >= self.settings.batch_size || bytes >= MAX_PAYLOAD_BYTES || time_until(end).is_zero() {
                return Ok(batch);
            }
        }
    }

    /// Messages of the queue that may be handled; `None` if the queue could not be asked.
    async fn receive(&self, batch: u64, most: usize, wait: Duration) -> Option<Vec<Received>> {
        let queue = &self.queue;
        let answer = queue.receive(most, wait).await;
        let was_away = self.totals.is_away.swap(answer.is_err(), Ordering::Relaxed);
        let messages = match answer {
            Ok(messages) => messages,
            Err(reason) => {
                if !was_away {
                    self.note(format!(
                        "the queue {} is unreachable and is tried again and again: {reason}",
                        queue.name
                    ));
                }
                return None;
            }
        };
        if was_away {
            self.note(format!("the queue {} is back", queue.name));
        }
        let visible_at = queue.visible_again();
        self.totals.received.fetch_add(messages.len() as u64, Ordering::Relaxed);
        // The groups of which a message has to wait, and all behind it.
        let mut waiting = HashSet::new();
        let mut received = Vec::with_capacity(messages.len());
        for message in &messages {
            let group = self.group(message);
            if group.is_some_and(|group| waiting.contains(group)) {
                continue;
            }
            match self.claim(batch, message, group) {
                Some(claim) => received.push(Received {
                    claim,
                    receipt: message.receipt_handle().unwrap_or_default().to_owned(),
                    record: event::record(message, &queue.arn, &queue.region),
                    visible_at,
                }),
                None => waiting.extend(group),
            }
        }
        Some(received)
    }

    /// The message's group, if groups have an order.
    fn group<'a>(&self, message: &'a Message) -> Option<&'a str> {
        let attributes = message.attributes().filter(|_| self.queue.is_fifo)?;
        attributes
            .get(&MessageSystemAttributeName::MessageGroupId)
            .map(String::as_str)
    }

    /// The right to handle a message; without it, the message is left to its visibility timeout.
    fn claim(&self, batch: u64, message: &Message, group: Option<&str>) -> Option<Claim> {
        let id = message.message_id().unwrap_or_default();
        if !event::is_intact(message) {
            self.note(format!(
                "message {id} of the queue {} is not handled: its body differs from its MD5 checksum",
                self.queue.name
            ));
            return None;
        }
        self.running.claim(batch, id, group)
    }

    /// Has a batch handled, in several events if it is too large for one.
    async fn handle(&self, batch: Vec<Received>) -> Next {
        let mut rest = batch;
        while !rest.is_empty() {
            if self.stopped_within(Duration::ZERO).await {
                self.give_back(&rest).await;
                return Next::Stop;
            }
            let count = event::fitting(rest.iter().map(|message| message.record.len()));
            let behind = rest.split_off(count);
            match self.invoke(&rest).await {
                Ok(failed) => {
                    rest.iter_mut().for_each(|message| message.claim.leave_group());
                    let stalled = self.settle(&rest, failed).await;
                    rest = behind;
                    // What is behind a failed message of its group has to wait for it.
                    rest.retain(|message| message.claim.group().is_none_or(|group| !stalled.contains(group)));
                }
                Err(next @ Next::Stop) => {
                    rest.extend(behind);
                    self.give_back(&rest).await;
                    return next;
                }
                Err(next) => return next,
            }
        }
        Next::Ask
    }

    /// Has the messages handled in one event: the ids of those that failed, or `None` if all did.
    async fn invoke(&self, messages: &[Received]) -> Result<Option<HashSet<String>>, Next> {
        let function = &self.settings.function;
        let payload = event::event(messages.iter().map(|message| message.record.as_slice()));
        let mut pauses = Pauses::of_a_try();
        loop {
            let invocation = Invocation {
                payload: payload.clone(),
                source: format!("queue {}", self.queue.name),
                ..Invocation::default()
            };
            let refusal = match self.platform.invoke(function, invocation).await {
                Ok(answer) => {
                    let answer = answer.body.collect().await;
                    return Ok(answer.ok().and_then(|answer| self.failed(&answer, messages)));
                }
                Err(refusal) => refusal,
            };
            match &refusal {
                Refusal::Throttled { .. } => {
                    let pause = pauses.next();
                    let timeout = self.platform.function(function).map(|function| function.timeout);
                    let end = messages.iter().map(|message| message.visible_at).min();
                    // Later, the messages could come again while the function is at work on them.
                    if end.is_none_or(|end| time_until(end) < pause + timeout.unwrap_or_default()) {
                        return Err(Next::Leave);
                    }
                    if self.stopped_within(pause).await {
                        return Err(Next::Stop);
                    }
                }
                Refusal::TooLarge { .. } => {
                    self.note(format!(
                        "messages of the queue {} cannot be delivered: {refusal}",
                        self.queue.name
                    ));
                    return Ok(None);
                }
                Refusal::UnknownFunction(_) | Refusal::CannotStart { .. } => {
                    self.note(format!(
                        "messages of the queue {} have to wait: {refusal}",
                        self.queue.name
                    ));
                    return Err(Next::Wait);
                }
                Refusal::ShuttingDown => return Err(Next::Stop),
            }
        }
    }

    /// The ids of the messages that failed by the function's own account; `None` if all did.
    fn failed(&self, answer: &Bytes, messages: &[Received]) -> Option<HashSet<String>> {
        if !self.settings.report_batch_item_failures {
            if failures::has_report(answer) {
                self.note(format!(
                    "the function `{}` reports failed messages, and nobody reads it: without ReportBatchItemFailures \
                     they are deleted",
                    self.settings.function
                ));
            }
            return Some(HashSet::new());
        }
        let ids = messages.iter().map(|message| message.claim.id()).collect();
        match Verdict::reported(answer, &ids) {
            Verdict::DoneBut(failed) => Some(failed),
            Verdict::NoneDone(reason) => {
                self.note(format!(
                    "all messages of the batch come again, because the answer of `{}` is no list of failed ones: \
                     {reason}; where the answer means nothing, switch the reports off",
                    self.settings.function
                ));
                None
            }
        }
    }

    /// Deletes the messages that are done. The groups of the others.
    async fn settle(&self, messages: &[Received], failed: Option<HashSet<String>>) -> HashSet<String> {
        let has_failed = |message: &&Received| failed.as_ref().is_none_or(|failed| failed.contains(message.claim.id()));
        let (failed, done): (Vec<_>, Vec<_>) = messages.iter().partition(has_failed);
        self.totals.failed.fetch_add(failed.len() as u64, Ordering::Relaxed);
        self.check_order(messages, &failed);
        let requests = stream::iter(done.chunks(MOST_MESSAGES));
        requests
            .for_each_concurrent(DELETIONS, |messages| self.delete(messages))
            .await;
        failed
            .iter()
            .filter_map(|message| message.claim.group().map(str::to_owned))
            .collect()
    }

    /// Tells of a function that goes on in a group behind a failed message: Lambda deletes what is not reported, and so
    /// the order of the group is lost.
    fn check_order(&self, messages: &[Received], failed: &[&Received]) {
        let mut stalled = HashSet::new();
        for message in messages {
            let Some(group) = message.claim.group() else { return };
            if failed.iter().any(|failed| failed.claim.id() == message.claim.id()) {
                stalled.insert(group);
            } else if stalled.contains(group) {
                self.note(format!(
                    "the order of group {group:?} of the queue {} is lost: `{}` reports a failed message and not those \
                     behind it; it should stop at the first failure of a group and report all that follow",
                    self.queue.name, self.settings.function
                ));
                return;
            }
        }
    }

    /// Deletes messages, at most [`MOST_MESSAGES`]; tries again as long as they are nobody else's.
    async fn delete(&self, messages: &[&Received]) {
        let mut left = messages.to_vec();
        let mut pauses = Pauses::of_a_try();
        while !left.is_empty() {
            let receipts: Vec<_> = left.iter().map(|message| message.receipt.as_str()).collect();
            let Deletion {
                deleted,
                refused,
                pending,
            } = self.queue.delete(&receipts).await;
            self.totals.deleted.fetch_add(deleted as u64, Ordering::Relaxed);
            let pause = pauses.next();
            let in_time = |(index, _): &(usize, String)| time_until(left[*index].visible_at) > pause;
            let (again, late): (Vec<_>, Vec<_>) = pending.into_iter().partition(in_time);
            for (index, reason) in refused.into_iter().chain(late) {
                self.totals.delete_failed.fetch_add(1, Ordering::Relaxed);
                self.note(format!(
                    "message {} of the queue {} was handled and cannot be deleted, so it may come again: {reason}",
                    left[index].claim.id(),
                    self.queue.name
                ));
            }
            left = again.into_iter().map(|(index, _)| left[index]).collect();
            if !left.is_empty() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn give_back(&self, messages: &[Received]) {
        for messages in messages.chunks(MOST_MESSAGES) {
            let receipts: Vec<_> = messages.iter().map(|message| message.receipt.as_str()).collect();
            self.queue.give_back(&receipts).await;
        }
    }

    /// Writes to the journal, unless it is what was written last.
    fn note(&self, text: String) {
        let mut last = self.totals.last_notice.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            last.clone_from(&text);
            self.platform.journal().record(What::Notice { text });
        }
    }
}

fn time_until(instant: Instant) -> Duration {
    instant.saturating_duration_since(Instant::now())
}
