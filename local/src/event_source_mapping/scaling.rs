//! How many pollers there are: few while there is little to do, more each second while messages are waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pollers that there always are, and how many may come in each period: Lambda begins with 5 and adds up to 300 a
/// minute.
const STEP: usize = 5;
/// How often pollers may be added.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// The pollers of one mapping.
#[derive(Debug)]
pub(super) struct Scaling {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each poller by its number, and since when it has been waiting for messages, if it is.
    pollers: HashMap<u64, Option<Instant>>,
    last: u64,
    /// Messages have come since the last look.
    has_work: bool,
    /// A poller had nothing to do, or was not let, since the last look.
    has_slack: bool,
}

/// One poller's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    scaling: Arc<Scaling>,
    number: u64,
}

impl Scaling {
    /// At most `limit` pollers.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// How many pollers there are.
    pub(super) fn pollers(&self) -> usize {
        self.lock().pollers.len()
    }

    /// The places of the pollers that have to be started now; to be called once in a [`PERIOD`].
    pub(super) fn grow(self: &Arc<Self>, now: Instant) -> Vec<Place> {
        let mut state = self.lock();
        let is_waiting = |since: &Option<Instant>| since.is_some_and(|since| now - since >= PERIOD);
        let is_backlogged = state.has_work && !state.has_slack && !state.pollers.values().any(is_waiting);
        (state.has_work, state.has_slack) = (false, false);
        let count = state.pollers.len();
        let wanted = if is_backlogged { count + STEP } else { count.max(STEP) };
        let added = wanted.min(self.limit).saturating_sub(count);
        let places = (0..added).map(|_| {
            state.last += 1;
            let number = state.last;
            state.pollers.insert(number, None);
            Place {
                scaling: Arc::clone(self),
                number,
            }
        });
        places.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The poller asks for messages.
    pub(super) fn asks(&self, now: Instant) {
        self.scaling.lock().pollers.insert(self.number, Some(now));
    }

    /// Messages have come.
    pub(super) fn has_work(&self) {
        let mut state = self.scaling.lock();
        state.pollers.insert(self.number, None);
        state.has_work = true;
    }

    /// There was nothing to do, or the function takes no more. Whether the poller stays: it has to go where this is
    /// false.
    pub(super) fn has_slack(&self) -> bool {
        let mut state = self.scaling.lock();
        state.has_slack = true;
        if state.pollers.len() > STEP {
            state.pollers.remove(&self.number);
            return false;
        }
        state.pollers.insert(self.number, None);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.scaling.lock().pollers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grows once a second, each time after all pollers have been `busy`.
    fn grown(scaling: &Arc<Scaling>, places: &mut Vec<Place>, start: Instant, seconds: u64) -> Vec<usize> {
        let second = |second| {
            places.extend(scaling.grow(start + Duration::from_secs(second)));
            places.iter().for_each(Place::has_work);
            places.len()
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn five_pollers_begin_and_five_more_come_each_second_while_all_have_work() {
        let scaling = Arc::new(Scaling::new(18));
        let counts = grown(&scaling, &mut Vec::new(), Instant::now(), 5);
        assert_eq!(counts, [5, 10, 15, 18, 18]);
    }

    #[test]
    fn a_limit_below_five_holds_from_the_beginning() {
        let scaling = Arc::new(Scaling::new(2));
        assert_eq!(grown(&scaling, &mut Vec::new(), Instant::now(), 3), [2, 2, 2]);
    }

    #[test]
    fn nobody_is_added_while_a_poller_waits_or_nothing_comes() {
        let (scaling, start) = (Arc::new(Scaling::new(100)), Instant::now());
        let places = scaling.grow(start);
        assert_eq!(scaling.grow(start + PERIOD).len(), 0, "nothing has come");
        places[0].asks(start);
        places[1].has_work();
        assert_eq!(scaling.grow(start + PERIOD).len(), 0, "one waits");
        places[0].has_work();
        places[2].asks(start + PERIOD);
        assert_eq!(
            scaling.grow(start + PERIOD).len(),
            STEP,
            "one has only just begun to wait"
        );
    }

    #[test]
    fn pollers_without_work_go_until_five_are_left() {
        let (scaling, start) = (Arc::new(Scaling::new(100)), Instant::now());
        let mut places = Vec::new();
        assert_eq!(grown(&scaling, &mut places, start, 3), [5, 10, 15]);
        places.retain(Place::has_slack);
        assert_eq!(places.len(), STEP);
        assert_eq!(scaling.pollers(), STEP);
    }

    #[test]
    fn a_poller_that_has_died_is_replaced() {
        let (scaling, start) = (Arc::new(Scaling::new(100)), Instant::now());
        let mut places = scaling.grow(start);
        places.truncate(3);
        assert_eq!(scaling.grow(start).len(), 2);
    }
}
