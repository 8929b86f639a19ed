//! The messages of one queue, and where each of them stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::content::Content;

/// The place of a message in the order of arrival; unique among all queues and for all time.
pub(super) type Number = u64;

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) content: Arc<Content>,
    pub(super) standing: Standing,
}

/// The part of a message that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) sent: Moment,
    /// Before that it is delayed, or in flight.
    pub(super) visible_from: Moment,
    /// How often it was received, here and in queues that it came from. Every receive has its own receipt handle by it.
    #[serde(default)]
    pub(super) receives: u32,
    /// How often it was received since it came into this queue.
    #[serde(default)]
    pub(super) receives_here: u32,
    /// When it was received first.
    #[serde(default)]
    pub(super) first_received: Option<Moment>,
    /// When it was received last in this queue.
    #[serde(default)]
    pub(super) received: Option<Moment>,
    /// The ARN of the queue whose dead letter it is.
    #[serde(default)]
    pub(super) source: Option<String>,
}

/// What a message can be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It can be received.
    Visible,
    /// It was received, and its visibility timeout runs.
    InFlight,
    /// It was sent with a delay that is not over.
    Delayed,
}

impl Standing {
    /// That of a message that arrives now.
    pub(super) fn new(now: Moment, delay: u32) -> Self {
        Self {
            sent: now,
            visible_from: now.plus_seconds(delay),
            receives: 0,
            receives_here: 0,
            first_received: None,
            received: None,
            source: None,
        }
    }

    fn phase(&self, now: Moment) -> Phase {
        match self.received {
            _ if self.visible_from <= now => Phase::Visible,
            Some(_) => Phase::InFlight,
            None => Phase::Delayed,
        }
    }
}

/// How many messages a queue has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that can be received.
    pub visible: usize,
    /// Those that were received and neither deleted nor given back.
    pub in_flight: usize,
    /// Those whose delay is not over.
    pub delayed: usize,
}

/// All messages of a queue, found by number, by what they are doing, and by age.
///
/// What they are doing is as of the last [`Self::advance`].
#[derive(Debug, Default)]
pub(super) struct Messages {
    all: BTreeMap<Number, Message>,
    visible: BTreeSet<Number>,
    in_flight: BTreeSet<(Moment, Number)>,
    delayed: BTreeSet<(Moment, Number)>,
    by_age: BTreeSet<(Moment, Number)>,
}

impl Messages {
    /// Lets time pass: those whose delay or visibility timeout is over become visible.
    pub(super) fn advance(&mut self, now: Moment) {
        for waiting in [&mut self.in_flight, &mut self.delayed] {
            while let Some((_, number)) = waiting.first().copied().filter(|(due, _)| *due <= now) {
                waiting.pop_first();
                self.visible.insert(number);
            }
        }
    }

    /// The messages that were sent before then.
    pub(super) fn older_than(&self, retention: u32, now: Moment) -> Vec<Number> {
        let is_over = |(sent, _): &&(Moment, Number)| sent.plus_seconds(retention) <= now;
        let old = self.by_age.iter().take_while(is_over);
        old.map(|(_, number)| *number).collect()
    }

    pub(super) fn insert(&mut self, number: Number, message: Message, now: Moment) {
        self.file(number, &message.standing, now);
        self.by_age.insert((message.standing.sent, number));
        self.all.insert(number, message);
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<Message> {
        let message = self.all.remove(&number)?;
        self.unfile(number, message.standing.visible_from);
        self.by_age.remove(&(message.standing.sent, number));
        Some(message)
    }

    /// Changes what a message is doing; when it was sent stays.
    pub(super) fn change(
        &mut self,
        number: Number,
        now: Moment,
        change: impl FnOnce(&mut Standing),
    ) -> Option<&Message> {
        let old = self.all.get(&number)?.standing.visible_from;
        self.unfile(number, old);
        let message = self.all.get_mut(&number)?;
        change(&mut message.standing);
        let standing = message.standing.clone();
        self.file(number, &standing, now);
        self.all.get(&number)
    }

    fn file(&mut self, number: Number, standing: &Standing, now: Moment) {
        let key = (standing.visible_from, number);
        match standing.phase(now) {
            Phase::Visible => self.visible.insert(number),
            Phase::InFlight => self.in_flight.insert(key),
            Phase::Delayed => self.delayed.insert(key),
        };
    }

    fn unfile(&mut self, number: Number, visible_from: Moment) {
        self.visible.remove(&number);
        self.in_flight.remove(&(visible_from, number));
        self.delayed.remove(&(visible_from, number));
    }

    pub(super) fn get(&self, number: Number) -> Option<&Message> {
        self.all.get(&number)
    }

    pub(super) fn is_visible(&self, number: Number) -> bool {
        self.visible.contains(&number)
    }

    pub(super) fn is_in_flight(&self, number: Number) -> bool {
        let message = self.all.get(&number);
        message.is_some_and(|message| self.in_flight.contains(&(message.standing.visible_from, number)))
    }

    /// The visible ones, oldest first.
    pub(super) fn visible(&self) -> impl Iterator<Item = Number> {
        self.visible.iter().copied()
    }

    /// All of them, oldest first, with what they are doing.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &Message, Phase)> {
        self.all.iter().map(|(number, message)| {
            let phase = match message.standing.received {
                _ if self.visible.contains(number) => Phase::Visible,
                Some(_) => Phase::InFlight,
                None => Phase::Delayed,
            };
            (*number, message, phase)
        })
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            visible: self.visible.len(),
            in_flight: self.in_flight.len(),
            delayed: self.delayed.len(),
        }
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_visible(&self) -> Option<Moment> {
        let first = [self.in_flight.first(), self.delayed.first()];
        first.into_iter().flatten().map(|(due, _)| *due).min()
    }
}
