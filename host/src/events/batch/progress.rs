//! How far a batch is, and what would be reported of it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::Batch;

/// How far a batch is: which record may start, and what would be reported if it ended now.
///
/// It owns what it needs, so that a thread that did not do the work can report it.
#[derive(Debug)]
pub struct Progress {
    identifiers: Arc<[String]>,
    followers: Vec<Option<usize>>,
    limit: usize,
    in_flight: usize,
    states: Vec<State>,
    /// Those that may start, first of all the first of the batch.
    ready: BTreeSet<usize>,
    given_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Succeeded,
    Failed,
    /// Never run, because one before it failed or time was up.
    Skipped,
}

/// How many records came to which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Run, and well.
    pub succeeded: usize,
    /// Run, and failed or not finished.
    pub failed: usize,
    /// Never run. They are reported as failed.
    pub not_run: usize,
}

impl Progress {
    /// A batch of which nothing has been done, and of which at most `limit` records are worked on at a time.
    pub fn new(batch: &Batch, limit: NonZeroUsize) -> Self {
        let mut ready: BTreeSet<usize> = (0..batch.len()).collect();
        for follower in batch.followers.iter().flatten() {
            ready.remove(follower);
        }
        Self {
            identifiers: Arc::clone(&batch.identifiers),
            followers: batch.followers.clone(),
            limit: limit.get(),
            in_flight: 0,
            states: vec![State::Waiting; batch.len()],
            ready,
            given_up: false,
        }
    }

    /// Takes the next record that may start now, if there is one. It is under way until [`Progress::finished`].
    pub fn start(&mut self) -> Option<usize> {
        if self.given_up || self.in_flight >= self.limit {
            return None;
        }
        let index = self.ready.pop_first()?;
        self.states[index] = State::Running;
        self.in_flight += 1;
        Some(index)
    }

    /// Notes how a record ended. After a failure, those that wait for it are never run.
    ///
    /// What comes after [`Progress::give_up`] is too late, and a record that is not under way has no end: both change
    /// nothing.
    pub fn finished(&mut self, index: usize, succeeded: bool) {
        if self.given_up || self.states.get(index) != Some(&State::Running) {
            return;
        }
        self.in_flight -= 1;
        let mut follower = self.followers[index];
        if succeeded {
            self.states[index] = State::Succeeded;
            self.ready.extend(follower);
            return;
        }
        self.states[index] = State::Failed;
        while let Some(index) = follower {
            self.states[index] = State::Skipped;
            follower = self.followers[index];
        }
    }

    /// Ends the work, because time is up or nobody is left to do it. What has not succeeded by now has failed, for
    /// good.
    pub fn give_up(&mut self) {
        self.given_up = true;
        self.in_flight = 0;
        self.ready.clear();
        for state in &mut self.states {
            *state = match *state {
                State::Waiting => State::Skipped,
                State::Running => State::Failed,
                State::Succeeded | State::Failed | State::Skipped => *state,
            };
        }
    }

    /// Whether nothing is under way and nothing is left to start.
    pub fn is_complete(&self) -> bool {
        self.in_flight == 0 && self.ready.is_empty()
    }

    /// How many records came to which end. What is still under way counts as failed, what waits as not run.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for state in &self.states {
            let count = match state {
                State::Succeeded => &mut tally.succeeded,
                State::Failed | State::Running => &mut tally.failed,
                State::Waiting | State::Skipped => &mut tally.not_run,
            };
            *count += 1;
        }
        tally
    }

    /// The answer for Lambda, JSON: the identifiers, in the batch's order and each once, of all that has not succeeded.
    ///
    /// A stream goes on from the lowest of them; a queue delivers these again and forgets the others.
    pub fn answer(&self) -> Bytes {
        let mut seen = BTreeSet::new();
        let failures = self
            .states
            .iter()
            .zip(self.identifiers.iter())
            .filter(|(state, _)| **state != State::Succeeded)
            .filter(|(_, identifier)| seen.insert(identifier.as_str()))
            .map(|(_, item_identifier)| Failure { item_identifier })
            .collect();
        let answer = Answer {
            batch_item_failures: failures,
        };
        serde_json::to_vec(&answer).expect("strings always serialise").into()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    batch_item_failures: Vec<Failure<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    item_identifier: &'a str,
}
