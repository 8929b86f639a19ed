//! The messages, and who may have them when. Time is an argument; nothing here waits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A message's place in the order of sending, which is also its id.
pub(super) type Number = usize;

/// All messages that were ever sent.
#[derive(Debug)]
pub(super) struct Messages {
    is_fifo: bool,
    visibility: Duration,
    max_receives: u32,
    all: Vec<Message>,
    /// Those of a standard queue that may be visible, in the order in which they became so.
    visible: VecDeque<Number>,
    /// Those of each group that are neither deleted nor dead, in their order.
    groups: BTreeMap<String, VecDeque<Number>>,
    /// When which receipt runs out.
    timers: BTreeMap<(Instant, u64), Number>,
    receipts: HashMap<u64, Number>,
    last_receipt: u64,
    left: usize,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) group: String,
    pub(super) body: String,
    pub(super) receives: u32,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Visible,
    /// By that receipt, until then.
    InFlight(u64, Instant),
    Deleted,
    Dead,
}

impl Message {
    pub(super) fn is_resolved(&self) -> bool {
        matches!(self.state, State::Deleted | State::Dead)
    }
}

/// A message that is given away.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) number: Number,
    pub(super) receipt: u64,
    pub(super) receives: u32,
}

/// What became of messages without anybody's doing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Died(pub(super) Number);

impl Messages {
    pub(super) fn new(is_fifo: bool, visibility: Duration, max_receives: u32) -> Self {
        Self {
            is_fifo,
            visibility,
            max_receives,
            all: Vec::new(),
            visible: VecDeque::new(),
            groups: BTreeMap::new(),
            timers: BTreeMap::new(),
            receipts: HashMap::new(),
            last_receipt: 0,
            left: 0,
        }
    }

    pub(super) fn add(&mut self, group: String, body: String) -> Number {
        let number = self.all.len();
        if self.is_fifo {
            self.groups.entry(group.clone()).or_default().push_back(number);
        } else {
            self.visible.push_back(number);
        }
        self.all.push(Message {
            group,
            body,
            receives: 0,
            state: State::Visible,
        });
        self.left += 1;
        number
    }

    pub(super) fn get(&self, number: Number) -> Option<&Message> {
        self.all.get(number)
    }

    pub(super) fn all(&self) -> &[Message] {
        &self.all
    }

    /// The message that a receipt was for.
    pub(super) fn number_of(&self, receipt: u64) -> Option<Number> {
        self.receipts.get(&receipt).copied()
    }

    pub(super) fn is_deleted(&self, number: Number) -> bool {
        self.all[number].state == State::Deleted
    }

    /// How many are neither deleted nor dead.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Takes at most so many visible messages; and those that die because they would have been received too often.
    pub(super) fn receive(&mut self, most: usize, now: Instant) -> (Vec<Given>, Vec<Died>) {
        self.run_out(now);
        let (mut given, mut died) = (Vec::new(), Vec::new());
        while given.len() < most {
            let next = if self.is_fifo {
                self.next_of_groups(&given)
            } else {
                self.visible.pop_front()
            };
            let Some(number) = next else { break };
            if self.all[number].state != State::Visible {
                continue;
            }
            if self.all[number].receives >= self.max_receives {
                self.end(number, State::Dead);
                died.push(Died(number));
                continue;
            }
            given.push(self.give(number, now));
        }
        (given, died)
    }

    /// Gives away once more what is in flight and may be received once more, as a standard queue may. The receipt before is
    /// worth nothing any more.
    pub(super) fn double(&mut self, now: Instant) -> Option<Given> {
        let number = self.timers.iter().next_back().map(|(_, number)| *number)?;
        let may_be = !self.is_fifo && self.all[number].receives < self.max_receives;
        may_be.then(|| self.give(number, now))
    }

    /// Deletes a message that is in flight by that receipt, or has been deleted by it.
    pub(super) fn delete(&mut self, receipt: u64, now: Instant) -> Result<Number, &'static str> {
        let number = self.in_flight(receipt, now)?;
        if self.all[number].state != State::Deleted {
            self.end(number, State::Deleted);
        }
        Ok(number)
    }

    /// Makes a message visible that is in flight by that receipt.
    pub(super) fn give_back(&mut self, receipt: u64, now: Instant) -> Result<Number, &'static str> {
        let number = self.in_flight(receipt, now)?;
        if self.all[number].state == State::Deleted {
            return Err("the message is deleted");
        }
        self.make_visible(number);
        Ok(number)
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(end, _)| *end)
    }

    fn in_flight(&mut self, receipt: u64, now: Instant) -> Result<Number, &'static str> {
        self.run_out(now);
        let number = *self.receipts.get(&receipt).ok_or("there is no such receipt")?;
        match self.all[number].state {
            State::InFlight(current, _) if current == receipt => Ok(number),
            // As SQS says to a second try whose first one had no answer.
            State::Deleted => Ok(number),
            State::InFlight(..) => Err("the message was received again since"),
            State::Visible => Err("the visibility timeout is over"),
            State::Dead => Err("the message is dead"),
        }
    }

    fn give(&mut self, number: Number, now: Instant) -> Given {
        self.stop_timer(number);
        self.last_receipt += 1;
        let (receipt, end) = (self.last_receipt, now + self.visibility);
        self.timers.insert((end, receipt), number);
        self.receipts.insert(receipt, number);
        let message = &mut self.all[number];
        message.receives += 1;
        message.state = State::InFlight(receipt, end);
        Given {
            number,
            receipt,
            receives: message.receives,
        }
    }

    /// The first visible message of a group of which nothing is in flight but what is given away together with it.
    fn next_of_groups(&self, given: &[Given]) -> Option<Number> {
        let is_given = |number: &Number| given.iter().any(|given| given.number == *number);
        self.groups.values().find_map(|group| {
            let next = group.iter().position(|number| !is_given(number))?;
            let is_free = group
                .iter()
                .skip(next)
                .all(|number| self.all[*number].state == State::Visible);
            is_free.then(|| group[next])
        })
    }

    fn run_out(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let number = *entry.get();
            self.make_visible(number);
        }
    }

    fn make_visible(&mut self, number: Number) {
        self.stop_timer(number);
        self.all[number].state = State::Visible;
        if !self.is_fifo {
            self.visible.push_back(number);
        }
    }

    fn end(&mut self, number: Number, state: State) {
        self.stop_timer(number);
        self.all[number].state = state;
        self.left -= 1;
        if let Some(group) = self.groups.get_mut(&self.all[number].group) {
            group.retain(|other| *other != number);
        }
    }

    fn stop_timer(&mut self, number: Number) {
        if let State::InFlight(receipt, end) = self.all[number].state {
            self.timers.remove(&(end, receipt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn queue(is_fifo: bool, count: usize) -> Messages {
        let mut messages = Messages::new(is_fifo, SECOND, 2);
        for number in 0..count {
            messages.add((number % 2).to_string(), number.to_string());
        }
        messages
    }

    fn numbers(given: &[Given]) -> Vec<Number> {
        given.iter().map(|given| given.number).collect()
    }

    #[test]
    fn a_receipt_counts_for_the_latest_receive_and_while_its_timeout_runs() {
        let (mut messages, start) = (queue(false, 1), Instant::now());
        let first = messages.receive(10, start).0[0].receipt;
        assert!(messages.receive(10, start).0.is_empty());
        assert_eq!(
            messages.delete(first, start + SECOND),
            Err("the visibility timeout is over")
        );
        let second = messages.receive(10, start + SECOND).0[0].receipt;
        let now = start + SECOND;
        assert_eq!(messages.delete(first, now), Err("the message was received again since"));
        assert_eq!(messages.delete(99, now), Err("there is no such receipt"));
        assert_eq!((messages.delete(second, now), messages.left()), (Ok(0), 0));
        assert_eq!(messages.delete(second, now), Ok(0));
    }

    #[test]
    fn a_message_dies_when_it_would_be_received_once_too_often() {
        let (mut messages, start) = (queue(false, 1), Instant::now());
        for second in 0..2 {
            assert_eq!(messages.receive(1, start + SECOND * second).0.len(), 1);
        }
        let (given, died) = messages.receive(1, start + SECOND * 2);
        assert_eq!((given.len(), died, messages.left()), (0, vec![Died(0)], 0));
    }

    #[test]
    fn a_group_waits_for_what_is_in_flight_of_it() {
        let (mut messages, start) = (queue(true, 4), Instant::now());
        let first = messages.receive(1, start).0;
        assert_eq!(numbers(&first), [0]);
        assert_eq!(numbers(&messages.receive(10, start).0), [1, 3]);
        assert!(messages.receive(10, start).0.is_empty());
        messages.delete(first[0].receipt, start).unwrap();
        assert_eq!(numbers(&messages.receive(10, start).0), [2]);
        assert_eq!(numbers(&messages.receive(10, start + SECOND).0), [2, 1, 3]);
    }
}
