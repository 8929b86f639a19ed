//! What FIFO queues have beyond standard ones: groups, deduplication, and receives that can be repeated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::messages::{Messages, Number};

/// How long a deduplication id counts, and how long a receive can be repeated, in seconds.
const WINDOW: u32 = 300;

/// The most messages of one group that can be in flight: as many as one receive takes.
pub(super) const MAX_RECEIVED: usize = 10;

/// The first sequence number. SQS's have twenty digits.
const FIRST_SEQUENCE_NUMBER: u128 = 10_000_000_000_000_000_000;

/// What a number looks like to clients.
pub(super) fn sequence_number(number: Number) -> String {
    (FIRST_SEQUENCE_NUMBER + u128::from(number)).to_string()
}

/// A message that was sent already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Original {
    pub(super) id: String,
    pub(super) number: Number,
    /// When the id may be used anew.
    pub(super) until: Moment,
}

impl Original {
    pub(super) fn new(id: &str, number: Number, now: Moment) -> Self {
        Self {
            id: id.to_owned(),
            number,
            until: now.plus_seconds(WINDOW),
        }
    }
}

/// The key of a deduplication id.
pub(super) fn deduplication_key(scope: Option<&str>, id: &str) -> String {
    // Neither part can contain the character between them.
    format!("{}\n{id}", scope.unwrap_or_default())
}

/// The state of a FIFO queue besides its messages.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    groups: BTreeMap<String, BTreeSet<Number>>,
    originals: BTreeMap<String, Original>,
    /// The keys of `originals`, those that end first in front.
    endings: VecDeque<(Moment, String)>,
    attempts: BTreeMap<String, Attempt>,
}

/// What a receive that named its attempt has been given.
#[derive(Debug)]
struct Attempt {
    until: Moment,
    /// Each with how often it had been received then.
    given: Vec<(Number, u32)>,
}

impl Fifo {
    pub(super) fn join(&mut self, group: &str, number: Number) {
        self.groups.entry(group.to_owned()).or_default().insert(number);
    }

    pub(super) fn leave(&mut self, group: &str, number: Number) {
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&number);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Up to so many messages that may be received now: of every group that has none in flight, as many as are visible
    /// from its first one on. Groups whose first message is older come first.
    pub(super) fn candidates(&self, messages: &Messages, limit: usize) -> Vec<Number> {
        let is_free = |members: &BTreeSet<Number>| {
            // Messages in flight are among those that the last receive took from the front.
            !members
                .iter()
                .take(MAX_RECEIVED)
                .any(|number| messages.is_in_flight(*number))
        };
        let mut free: Vec<_> = self.groups.values().filter(|members| is_free(members)).collect();
        free.sort_by_key(|members| members.first());
        let visible = free.into_iter().flat_map(|members| {
            members
                .iter()
                .copied()
                .take_while(|number| messages.is_visible(*number))
        });
        visible.take(limit).collect()
    }

    /// The message that was sent with that deduplication id within the five minutes before the last [`Self::forget`].
    pub(super) fn original(&self, key: &str) -> Option<&Original> {
        self.originals.get(key)
    }

    pub(super) fn remember(&mut self, key: String, original: Original) {
        self.endings.push_back((original.until, key.clone()));
        self.originals.insert(key, original);
    }

    /// Forgets attempts and deduplication ids that do not count any more, and returns the keys of the latter.
    pub(super) fn forget(&mut self, now: Moment) -> Vec<String> {
        let mut forgotten = Vec::new();
        while let Some((_, key)) = self.endings.pop_front_if(|(until, _)| *until <= now) {
            self.originals.remove(&key);
            forgotten.push(key);
        }
        self.attempts.retain(|_, attempt| attempt.until > now);
        forgotten
    }

    /// All keys of deduplication ids.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.originals.keys()
    }

    /// What an attempt was given, if all of it is still as the attempt left it.
    pub(super) fn repetition(&self, attempt: &str, messages: &Messages) -> Option<Vec<Number>> {
        let attempt = self.attempts.get(attempt)?;
        let is_unchanged = |(number, receives): &(Number, u32)| {
            let message = messages.get(*number);
            messages.is_in_flight(*number) && message.is_some_and(|message| message.standing.receives == *receives)
        };
        let given = &attempt.given;
        (!given.is_empty() && given.iter().all(is_unchanged)).then(|| given.iter().map(|(number, _)| *number).collect())
    }

    pub(super) fn remember_attempt(&mut self, attempt: String, given: Vec<(Number, u32)>, now: Moment) {
        let until = now.plus_seconds(WINDOW);
        self.attempts.insert(attempt, Attempt { until, given });
    }
}
