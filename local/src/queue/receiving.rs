//! Receiving, and what those who received a message do with it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::attributes::MAX_VISIBILITY;
use super::clock::Moment;
use super::content::Content;
use super::error::{Code, Error};
use super::fifo::MAX_RECEIVED;
use super::messages::{Number, Standing};
use super::state::{Queue, State};
use super::store::Change;

/// The most messages of a queue that can be in flight.
const MAX_IN_FLIGHT: usize = 120_000;

/// What a receipt handle stands for: one receive of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Receipt {
    queue: String,
    number: Number,
    /// Which receive of the message it was.
    receive: u32,
}

impl Receipt {
    fn encode(&self) -> String {
        BASE64_STANDARD.encode(format!("{} {} {}", self.queue, self.number, self.receive))
    }

    /// Reads a handle that was given out for that queue.
    fn decode(queue: &str, handle: &str) -> Result<Self, Error> {
        let read = || {
            let text = String::from_utf8(BASE64_STANDARD.decode(handle).ok()?).ok()?;
            let mut parts = text.split(' ');
            let receipt = Self {
                queue: parts.next()?.to_owned(),
                number: parts.next()?.parse().ok()?,
                receive: parts.next()?.parse().ok()?,
            };
            (receipt.queue == queue && parts.next().is_none()).then_some(receipt)
        };
        read().ok_or_else(|| {
            let message = format!("The receipt handle {handle:?} is not one of the queue {queue}.");
            Error::new(Code::ReceiptHandleIsInvalid, message)
        })
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// 1 to 10.
    pub(super) limit: usize,
    /// Seconds; the queue's own if `None`.
    pub(super) visibility: Option<u32>,
    /// The name of the attempt, by which it can be repeated; for FIFO queues.
    pub(super) attempt: Option<String>,
}

/// A message that was received.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) number: Number,
    pub(super) handle: String,
    pub(super) content: Arc<Content>,
    pub(super) standing: Standing,
}

impl State {
    /// Takes messages that may be received now, none if there are none. Those that were received too often go to the
    /// dead-letter queue instead.
    pub(super) fn receive(&mut self, name: &str, wanted: &Wanted, now: Moment) -> Result<Vec<Received>, Error> {
        let (queue, changes) = self.open(name, now)?;
        let visibility = wanted.visibility.unwrap_or(queue.attributes.visibility);
        let attempt = wanted.attempt.as_deref();
        let repetition = match (&queue.fifo, attempt) {
            (Some(fifo), Some(attempt)) => fifo.repetition(attempt, &queue.messages),
            (Some(_), None) | (None, None) => None,
            (None, Some(attempt)) => {
                return Err(Error::value(
                    "ReceiveRequestAttemptId",
                    attempt,
                    "Only FIFO queues know it.",
                ));
            }
        };
        if let Some(numbers) = repetition {
            let hold = |standing: &mut Standing| standing.visible_from = now.plus_seconds(visibility);
            return Ok(queue.hold(name, &numbers, now, changes, hold));
        }
        if queue.messages.counts().in_flight >= MAX_IN_FLIGHT {
            let message = format!("{MAX_IN_FLIGHT} messages of the queue are in flight already; delete some.");
            return Err(Error::new(Code::OverLimit, message));
        }
        let numbers = self.pick(name, wanted.limit, now)?;
        let (queue, changes) = self.open(name, now)?;
        let received = queue.hold(name, &numbers, now, changes, |standing| {
            standing.visible_from = now.plus_seconds(visibility);
            standing.receives += 1;
            standing.receives_here += 1;
            standing.first_received.get_or_insert(now);
            standing.received = Some(now);
        });
        if let (Some(fifo), Some(attempt)) = (&mut queue.fifo, attempt) {
            let given = received.iter().map(|one| (one.number, one.standing.receives));
            fifo.remember_attempt(attempt.to_owned(), given.collect(), now);
        }
        Ok(received)
    }

    /// Chooses messages to be received; on the way, dead ones leave the queue.
    fn pick(&mut self, name: &str, limit: usize, now: Moment) -> Result<Vec<Number>, Error> {
        loop {
            let queue = self.open(name, now)?.0;
            let numbers = queue.candidates(limit.min(MAX_RECEIVED));
            let redrive = queue.attributes.redrive.as_ref();
            let is_dead = |number: &Number| {
                let message = queue.messages.get(*number);
                redrive
                    .zip(message)
                    .is_some_and(|(redrive, message)| message.standing.receives_here >= redrive.max_receive_count)
            };
            let dead: Vec<_> = numbers.iter().copied().filter(is_dead).collect();
            // Without a dead-letter queue, which somebody may have deleted, messages stay where they are.
            let target = redrive.map(|redrive| redrive.dead_letter_target_arn.clone());
            let target = target
                .and_then(|arn| self.name_of(&arn))
                .filter(|target| target != name);
            match target {
                Some(target) if !dead.is_empty() => {
                    for number in dead {
                        self.bury(name, number, &target, now)?;
                    }
                }
                Some(_) | None => return Ok(numbers),
            }
        }
    }

    /// Moves a message to the dead-letter queue. It keeps its id; in a standard queue it keeps its age as well.
    fn bury(&mut self, name: &str, number: Number, target: &str, now: Moment) -> Result<(), Error> {
        let arn = self.arn(name);
        let (queue, changes) = self.open(name, now)?;
        let Some(mut message) = queue.remove(number, changes) else {
            return Ok(());
        };
        let is_fifo = queue.fifo.is_some();
        let standing = message.standing;
        message.standing = Standing {
            sent: if is_fifo { now } else { standing.sent },
            visible_from: now,
            receives_here: 0,
            received: None,
            source: Some(arn),
            ..standing
        };
        let new = self.next_number();
        let (queue, changes) = self.open(target, now)?;
        queue.insert(new, message, now, changes);
        Ok(())
    }

    pub(super) fn delete_message(&mut self, name: &str, handle: &str, now: Moment) -> Result<(), Error> {
        let (queue, changes) = self.open(name, now)?;
        let receipt = Receipt::decode(name, handle)?;
        let Some(message) = queue.messages.get(receipt.number) else {
            // Deleting twice is no mistake.
            return Ok(());
        };
        let is_latest = message.standing.receives == receipt.receive;
        match queue.fifo {
            Some(_) if !is_latest || !queue.messages.is_in_flight(receipt.number) => {
                let reason = "The receipt handle has expired.";
                return Err(Error::value("ReceiptHandle", handle, reason));
            }
            // Somebody else has received the message since: SQS promises success, and that the message stays.
            None if !is_latest => {}
            Some(_) | None => {
                queue.remove(receipt.number, changes);
            }
        }
        Ok(())
    }

    pub(super) fn change_visibility(
        &mut self,
        name: &str,
        handle: &str,
        seconds: i64,
        now: Moment,
    ) -> Result<(), Error> {
        let timeout = visibility(seconds)?;
        let (queue, changes) = self.open(name, now)?;
        let receipt = Receipt::decode(name, handle)?;
        let message = queue.messages.get(receipt.number);
        let Some(message) = message.filter(|message| message.standing.receives == receipt.receive) else {
            let reason = "The message is not there any more, or was received again.";
            return Err(Error::value("ReceiptHandle", handle, reason));
        };
        if !queue.messages.is_in_flight(receipt.number) {
            let message = "The message is not in flight: its visibility timeout is over.";
            return Err(Error::new(Code::MessageNotInflight, message));
        }
        let received = message.standing.received.unwrap_or(now);
        let until = now.plus_seconds(timeout);
        if until > received.plus_seconds(MAX_VISIBILITY) {
            let reason = "A message can be in flight for 43200 seconds from its receive on, and not longer.";
            return Err(Error::value("VisibilityTimeout", seconds, reason));
        }
        queue.change(receipt.number, now, changes, |standing| standing.visible_from = until);
        queue.changed.notify_waiters();
        Ok(())
    }
}

impl Queue {
    /// Up to so many messages that may be received now.
    fn candidates(&self, limit: usize) -> Vec<Number> {
        match &self.fifo {
            None => self.messages.visible().take(limit).collect(),
            Some(fifo) => fifo.candidates(&self.messages, limit),
        }
    }

    /// Puts messages in flight, as `hold` says, and hands them out.
    fn hold(
        &mut self,
        name: &str,
        numbers: &[Number],
        now: Moment,
        changes: &mut Vec<Change>,
        hold: impl Fn(&mut Standing),
    ) -> Vec<Received> {
        for number in numbers {
            self.change(*number, now, changes, &hold);
        }
        let messages = numbers
            .iter()
            .filter_map(|number| Some((*number, self.messages.get(*number)?)));
        let received = messages.map(|(number, message)| {
            let receipt = Receipt {
                queue: name.to_owned(),
                number,
                receive: message.standing.receives,
            };
            Received {
                number,
                handle: receipt.encode(),
                content: Arc::clone(&message.content),
                standing: message.standing.clone(),
            }
        });
        received.collect()
    }
}

/// Checks a visibility timeout.
pub(super) fn visibility(seconds: i64) -> Result<u32, Error> {
    let timeout = u32::try_from(seconds).ok().filter(|timeout| *timeout <= MAX_VISIBILITY);
    timeout.ok_or_else(|| Error::value("VisibilityTimeout", seconds, "It must be from 0 to 43200."))
}
