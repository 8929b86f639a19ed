//! All that happened to the messages, in one order, and the invariants that it must not break:
//!
//! - **I1** A message is deleted only after an attempt on it has succeeded.
//! - **I2** A message that was sent and not deleted is visible, in flight with a timer, or dead; never nowhere.
//! - **I3** No message is handled more often than it was received, and none by two at a time in one consumer.
//! - **I4** Of a group, nothing is handled or deleted before all that is ahead of it is done or dead.
//! - **I5** In the end, all that was sent is deleted or dead, and what is dead was received as often as the queue allows.
//! - **I6** No more batches are handled at a time than the function may have environments.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::messages::{Message, Messages, Number, State};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The message was sent.
    Sent(Number),
    /// It was given to the consumer, so many times by now.
    Received(Number, u32),
    /// It was given to the consumer with a body that is not its own.
    Damaged(Number, u32),
    /// It was deleted.
    Deleted(Number),
    /// The consumer wanted to delete it and had no right to.
    DeleteRefused(Number, &'static str),
    /// It was received too often.
    Died(Number),
    /// The function began to handle these, in this order.
    Begun(Run, Vec<Number>),
    /// The function was about to say that it is done, but for those of the batch that are not named here.
    Done(Run, Vec<Number>),
    /// The process that was at work on a batch is gone, or has answered.
    Ended(Run),
    /// The consumer was killed and started anew.
    Generation(u32),
}

/// One execution of the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Run {
    /// Which consumer had it executed.
    pub(super) generation: u32,
    /// The process.
    pub(super) pid: i32,
    /// Its number.
    pub(super) number: u64,
}

/// What the consumer promises.
#[derive(Debug, Clone, Copy)]
pub struct Expectations {
    /// The most batches at a time.
    pub concurrency: usize,
    /// How many receives in vain make a message dead.
    pub max_receives: u32,
}

/// What a history comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that were sent.
    pub sent: usize,
    /// Messages that were deleted.
    pub deleted: usize,
    /// Messages in the dead-letter queue.
    pub dead: usize,
    /// Messages given to the consumer, repeated ones included.
    pub received: usize,
    /// Those of them whose body was changed.
    pub damaged: usize,
    /// Batches that were handled.
    pub batches: usize,
    /// Batches whose process died, or that failed as a whole.
    pub failed_batches: usize,
    /// Messages that were handled successfully more than once.
    pub doubled: usize,
    /// Deletions that the queue refused, because the message was somebody else's again.
    pub refused: usize,
    /// How often the consumer was killed.
    pub kills: usize,
}

/// Everything, in the order in which it happened.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: Vec<What>,
    generation: u32,
    open: HashMap<Run, Vec<Number>>,
}

impl History {
    pub(super) fn add(&mut self, what: What) {
        match &what {
            What::Begun(run, batch) => {
                self.open.insert(*run, batch.clone());
            }
            What::Ended(run) => {
                self.open.remove(run);
            }
            What::Sent(_)
            | What::Received(..)
            | What::Damaged(..)
            | What::Deleted(_)
            | What::DeleteRefused(..)
            | What::Died(_)
            | What::Done(..)
            | What::Generation(_) => {}
        }
        self.entries.push(what);
    }

    pub(super) fn begin_generation(&mut self) -> u32 {
        self.generation += 1;
        self.add(What::Generation(self.generation));
        self.generation
    }

    pub(super) fn workers(&self) -> Vec<i32> {
        self.open.keys().map(|run| run.pid).collect()
    }

    /// What has happened to a message.
    pub(super) fn of(&self, wanted: Number) -> Vec<&What> {
        let concerns = |what: &&What| match what {
            What::Sent(number)
            | What::Received(number, _)
            | What::Damaged(number, _)
            | What::Deleted(number)
            | What::DeleteRefused(number, _)
            | What::Died(number) => *number == wanted,
            What::Begun(_, batch) | What::Done(_, batch) => batch.contains(&wanted),
            What::Ended(_) | What::Generation(_) => false,
        };
        self.entries.iter().filter(concerns).collect()
    }

    pub(super) fn check(&self, messages: &Messages, expectations: Expectations) -> Summary {
        let mut seen = Seen::new(messages, expectations);
        self.entries.iter().for_each(|what| seen.take(what));
        seen.end()
    }
}

/// What is known of the messages up to a place in the history.
struct Seen<'a> {
    messages: &'a [Message],
    expectations: Expectations,
    received: Vec<u32>,
    begun: Vec<u32>,
    succeeded: Vec<u32>,
    is_gone: Vec<bool>,
    /// For each message, the one ahead of it in its group.
    ahead: Vec<Option<Number>>,
    running: HashMap<Run, Vec<Number>>,
    summary: Summary,
}

impl<'a> Seen<'a> {
    fn new(messages: &'a Messages, expectations: Expectations) -> Self {
        let messages = messages.all();
        let mut last = HashMap::new();
        let ahead = messages
            .iter()
            .enumerate()
            .map(|(number, message)| match message.group.is_empty() {
                true => None,
                false => last.insert(message.group.as_str(), number),
            });
        Self {
            ahead: ahead.collect(),
            messages,
            expectations,
            received: vec![0; messages.len()],
            begun: vec![0; messages.len()],
            succeeded: vec![0; messages.len()],
            is_gone: vec![false; messages.len()],
            running: HashMap::new(),
            summary: Summary::default(),
        }
    }

    fn take(&mut self, what: &What) {
        match what {
            What::Sent(_) => self.summary.sent += 1,
            What::Received(number, receives) | What::Damaged(number, receives) => {
                self.summary.received += 1;
                self.summary.damaged += usize::from(matches!(what, What::Damaged(..)));
                self.received[*number] += 1;
                assert_eq!(
                    self.received[*number], *receives,
                    "the queue counts as the history does"
                );
            }
            What::Deleted(number) => {
                assert!(
                    self.succeeded[*number] > 0,
                    "I1: message {number} was deleted before it was done"
                );
                self.check_order("deleted", *number, &[]);
                self.is_gone[*number] = true;
                self.summary.deleted += 1;
            }
            What::DeleteRefused(..) => self.summary.refused += 1,
            What::Died(number) => {
                self.is_gone[*number] = true;
                self.summary.dead += 1;
            }
            What::Begun(run, batch) => self.begin(*run, batch),
            What::Done(run, done) => {
                let batch = self.running.get(run);
                let batch: HashSet<_> = batch.into_iter().flatten().collect();
                assert!(done.iter().all(|number| batch.contains(number)), "{run:?}");
                done.iter().for_each(|number| self.succeeded[*number] += 1);
                self.summary.failed_batches += usize::from(done.is_empty());
            }
            What::Ended(run) => {
                self.running.remove(run);
            }
            What::Generation(generation) => self.summary.kills += usize::from(*generation > 1),
        }
    }

    fn begin(&mut self, run: Run, batch: &[Number]) {
        self.summary.batches += 1;
        let beside = self
            .running
            .iter()
            .filter(|(other, _)| other.generation == run.generation);
        let beside: Vec<_> = beside.collect();
        let most = self.expectations.concurrency;
        assert!(
            beside.len() < most,
            "I6: {} batches at a time, the limit is {most}",
            beside.len() + 1
        );
        for (place, number) in batch.iter().enumerate() {
            let twice = batch[..place].contains(number) || beside.iter().any(|(_, other)| other.contains(number));
            assert!(!twice, "I3: message {number} is handled by two at a time");
            self.begun[*number] += 1;
            let (begun, received) = (self.begun[*number], self.received[*number]);
            assert!(
                begun <= received,
                "I3: message {number} is handled {begun} times and was received {received} times"
            );
            self.check_order("handled", *number, &batch[..place]);
        }
        self.running.insert(run, batch.to_vec());
    }

    /// I4, for a message and those that are handled before it in the same batch.
    fn check_order(&self, what: &str, number: Number, before: &[Number]) {
        if let Some(ahead) = self.ahead[number] {
            let is_resolved = self.succeeded[ahead] > 0 || self.is_gone[ahead] || before.contains(&ahead);
            assert!(
                is_resolved,
                "I4: message {number} is {what} before message {ahead}, which is ahead of it"
            );
        }
    }

    fn end(mut self) -> Summary {
        for (number, message) in self.messages.iter().enumerate() {
            match message.state {
                State::Deleted => assert!(self.is_gone[number], "I2: message {number} went unseen"),
                State::Dead => {
                    assert!(self.is_gone[number], "I2: message {number} went unseen");
                    let (received, allowed) = (self.received[number], self.expectations.max_receives);
                    assert_eq!(
                        received, allowed,
                        "I5: message {number} is dead and was received {received} of {allowed} times"
                    );
                }
                State::Visible | State::InFlight(..) => panic!("I5: message {number} is left: {message:?}"),
            }
        }
        self.summary.doubled = self.succeeded.iter().filter(|times| **times > 1).count();
        let Summary {
            sent, deleted, dead, ..
        } = self.summary;
        assert_eq!(sent, deleted + dead, "I5: all that was sent is deleted or dead");
        self.summary
    }
}

impl Summary {
    /// In one line, with the time that it took.
    pub fn in_words(&self, took: Duration) -> String {
        let Self {
            sent,
            deleted,
            dead,
            received,
            damaged,
            batches,
            failed_batches,
            doubled,
            refused,
            kills,
        } = self;
        format!(
            "{sent} messages in {} s: {deleted} deleted, {dead} dead, 0 lost, {doubled} done more than once; {received} \
             received, {damaged} of them damaged; {batches} batches, {failed_batches} of them failed as a whole; {refused} \
             deletions refused; {kills} times killed and started anew",
            took.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const RUN: Run = Run {
        generation: 1,
        pid: 1,
        number: 1,
    };
    const OTHER: Run = Run { number: 2, ..RUN };
    const EXPECTATIONS: Expectations = Expectations {
        concurrency: 1,
        max_receives: 5,
    };

    /// Two messages of one group that are deleted, and what happened to them.
    fn checked(happened: impl IntoIterator<Item = What>) -> Summary {
        let mut messages = Messages::new(false, Duration::from_secs(1), EXPECTATIONS.max_receives);
        let mut history = History::default();
        for body in ["a", "b"] {
            let number = messages.add("group".to_owned(), body.to_owned());
            history.add(What::Sent(number));
        }
        let (given, _) = messages.receive(2, Instant::now());
        for given in given {
            messages.delete(given.receipt, Instant::now()).unwrap();
            history.add(What::Received(given.number, 1));
        }
        happened.into_iter().for_each(|what| history.add(what));
        history.check(&messages, EXPECTATIONS)
    }

    fn is_broken(invariant: &str, happened: impl IntoIterator<Item = What> + std::panic::UnwindSafe) {
        let panic = std::panic::catch_unwind(|| checked(happened)).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.starts_with(invariant), "{message}");
    }

    #[test]
    fn a_history_in_which_all_is_well_is_counted() {
        let summary = checked([
            What::Begun(RUN, vec![0, 1]),
            What::Done(RUN, vec![0, 1]),
            What::Ended(RUN),
            What::Deleted(0),
            What::Deleted(1),
        ]);
        assert_eq!((summary.sent, summary.deleted, summary.batches), (2, 2, 1));
    }

    #[test]
    fn every_broken_invariant_is_seen() {
        let begun = || What::Begun(RUN, vec![0, 1]);
        is_broken(
            "I1",
            [begun(), What::Done(RUN, vec![1]), What::Ended(RUN), What::Deleted(0)],
        );
        is_broken("I2", [begun(), What::Done(RUN, vec![0]), What::Deleted(0)]);
        is_broken("I3", [begun(), What::Ended(RUN), What::Begun(OTHER, vec![0])]);
        is_broken("I3", [What::Begun(RUN, vec![0, 0])]);
        is_broken("I4", [What::Begun(RUN, vec![1, 0])]);
        is_broken("I4", [begun(), What::Done(RUN, vec![1]), What::Deleted(1)]);
        is_broken("I6", [begun(), What::Begun(OTHER, vec![0])]);
    }

    #[test]
    #[should_panic(expected = "I5: message 0 is dead and was received 1 of 5 times")]
    fn a_message_that_dies_too_soon_is_seen() {
        let mut messages = Messages::new(false, Duration::ZERO, 1);
        let mut history = History::default();
        let number = messages.add(String::new(), "a".to_owned());
        history.add(What::Sent(number));
        messages.receive(1, Instant::now());
        history.add(What::Received(number, 1));
        let (_, died) = messages.receive(1, Instant::now());
        died.into_iter().for_each(|died| history.add(What::Died(died.0)));
        history.check(&messages, EXPECTATIONS);
    }

    #[test]
    #[should_panic(expected = "I5: message 0 is left")]
    fn a_message_that_is_left_is_seen() {
        let mut messages = Messages::new(false, Duration::from_secs(1), EXPECTATIONS.max_receives);
        messages.add(String::new(), "a".to_owned());
        History::default().check(&messages, EXPECTATIONS);
    }
}
