//! How far a batch is, and what would be reported of it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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

/// Where the work on a batch stood when it was interrupted. As text, a letter for each record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Standing(Vec<State>);

impl From<Standing> for String {
    fn from(standing: Standing) -> Self {
        let letter = |state| match state {
            State::Waiting => 'w',
            State::Running => 'r',
            State::Succeeded => 's',
            State::Failed => 'f',
            State::Skipped => 'x',
        };
        standing.0.into_iter().map(letter).collect()
    }
}

impl TryFrom<String> for Standing {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let state = |letter| match letter {
            'w' => Ok(State::Waiting),
            'r' => Ok(State::Running),
            's' => Ok(State::Succeeded),
            'f' => Ok(State::Failed),
            'x' => Ok(State::Skipped),
            other => Err(format!("{other:?} stands for no state of a record")),
        };
        text.chars().map(state).collect::<Result<_, _>>().map(Self)
    }
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

    /// The same batch again, from where it was [interrupted](Progress::interrupt). Nothing is run twice.
    ///
    /// `None` if that was another batch.
    pub fn resume(batch: &Batch, limit: NonZeroUsize, standing: Standing) -> Option<Self> {
        let Standing(states) = standing;
        if states.len() != batch.len() || states.contains(&State::Running) {
            return None;
        }
        let mut progress = Self::new(batch, limit);
        for (index, state) in states.iter().enumerate() {
            if *state == State::Succeeded {
                progress.ready.extend(progress.followers[index]);
            }
        }
        progress.ready.retain(|index| states[*index] == State::Waiting);
        progress.states = states;
        Some(progress)
    }

    /// Fails what is under way, because whoever does it never returns, and tells where the rest stands.
    pub fn interrupt(&mut self) -> Standing {
        for index in self.running() {
            self.finished(index, false);
        }
        Standing(self.states.clone())
    }

    /// The records that are under way.
    pub fn running(&self) -> Vec<usize> {
        let indices = self.states.iter().enumerate();
        indices
            .filter_map(|(index, state)| (*state == State::Running).then_some(index))
            .collect()
    }

    /// A record's identifier.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub fn identifier(&self, index: usize) -> &str {
        &self.identifiers[index]
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
