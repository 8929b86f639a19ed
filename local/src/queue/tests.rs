//! The state of queues, by a clock that the tests move.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::messages::{Number, Phase};
use super::receiving::{Received, Wanted};
use super::store::{Change, Kept, Place, QueueRecord};
use super::{Code, Error, Moment, Outgoing, Settings, State};

const DAY: u64 = 86_400;

/// Queues, a clock, and a disk that holds what was noted for it.
struct Bench {
    state: State,
    seconds: u64,
    disk: Disk,
}

/// What a store that has applied every change would hold.
#[derive(Default)]
struct Disk {
    queues: BTreeMap<String, QueueRecord>,
    messages: BTreeMap<Number, (super::content::Content, Place)>,
    originals: BTreeMap<(String, String), super::fifo::Original>,
    next: Number,
}

impl Disk {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Queue(name, record) => {
                self.queues.insert(name, record);
            }
            Change::QueueGone(name) => {
                self.queues.remove(&name).unwrap();
            }
            Change::Message(number, content, place) => {
                assert!(self.messages.insert(number, ((*content).clone(), place)).is_none());
            }
            Change::Place(number, place) => self.messages.get_mut(&number).unwrap().1 = place,
            Change::MessageGone(number) => {
                self.messages.remove(&number).unwrap();
            }
            Change::Original(queue, key, original) => {
                self.originals.insert((queue, key), original);
            }
            Change::OriginalGone(queue, key) => {
                self.originals.remove(&(queue, key)).unwrap();
            }
            Change::Next(next) => self.next = next,
        }
    }

    fn read(&self) -> Kept {
        let messages = self.messages.iter();
        let originals = self.originals.iter();
        Kept {
            queues: self.queues.clone().into_iter().collect(),
            messages: messages
                .map(|(number, (content, place))| (*number, content.clone(), place.clone()))
                .collect(),
            originals: originals
                .map(|((queue, key), original)| (queue.clone(), key.clone(), original.clone()))
                .collect(),
            next: self.next,
        }
    }
}

impl Bench {
    fn new() -> Self {
        let seconds = 20_000 * DAY;
        let state = State::new(Settings::default(), Kept::default(), Moment::from_seconds(seconds));
        Self {
            state: state.unwrap(),
            seconds,
            disk: Disk::default(),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.seconds += seconds;
    }

    /// Goes on with what is on disk.
    fn restart(&mut self) {
        let now = Moment::from_seconds(self.seconds);
        self.state = State::new(Settings::default(), self.disk.read(), now).unwrap();
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut State, Moment) -> T) -> T {
        let result = act(&mut self.state, Moment::from_seconds(self.seconds));
        for change in std::mem::take(&mut self.state.changes) {
            self.disk.apply(change);
        }
        result
    }

    fn create(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let attributes = attributes.collect();
        self.act(|state, now| state.create(name, &attributes, BTreeMap::new(), now))
            .unwrap();
    }

    fn send(&mut self, queue: &str, message: Outgoing) -> String {
        self.act(|state, now| state.send(queue, message, now))
            .unwrap()
            .message_id
    }

    fn receive(&mut self, queue: &str, limit: usize, visibility: u32) -> Vec<Received> {
        let wanted = Wanted {
            limit,
            visibility: Some(visibility),
            attempt: None,
        };
        self.act(|state, now| state.receive(queue, &wanted, now)).unwrap()
    }

    fn delete(&mut self, queue: &str, received: &Received) -> Result<(), Error> {
        self.act(|state, now| state.delete_message(queue, &received.handle, now))
    }

    fn hold(&mut self, queue: &str, received: &Received, seconds: i64) -> Result<(), Error> {
        self.act(|state, now| state.change_visibility(queue, &received.handle, seconds, now))
    }

    /// Id, group, phase and receives of every message, in order.
    fn messages(&mut self, queue: &str) -> Vec<(String, Option<String>, Phase, u32)> {
        self.act(|state, now| {
            let messages = state.open(queue, now).unwrap().0.messages.iter();
            let seen = messages.map(|(_, message, phase)| {
                let (content, standing) = (&message.content, &message.standing);
                (content.id.clone(), content.group.clone(), phase, standing.receives)
            });
            seen.collect()
        })
    }
}

/// A redrive policy.
fn policy(target: &str, count: u32) -> String {
    let arn = Settings::default().arn(target);
    format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":{count}}}")
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.content.body.as_str()).collect()
}

#[test]
fn a_deduplication_id_counts_for_five_minutes() {
    let mut bench = Bench::new();
    bench.create("q.fifo", &[("FifoQueue", "true")]);
    let message = || Outgoing::new("x").in_group("g").with_deduplication_id("1");
    let first = bench.send("q.fifo", message());
    bench.pass(299);
    assert_eq!(bench.send("q.fifo", message()), first);
    bench.restart();
    assert_eq!(bench.send("q.fifo", message()), first);
    bench.pass(1);
    assert_ne!(bench.send("q.fifo", message()), first);
    assert_eq!(bench.disk.originals.len(), 1);
}

#[test]
fn a_receive_can_be_repeated_for_five_minutes() {
    let mut bench = Bench::new();
    bench.create(
        "q.fifo",
        &[("FifoQueue", "true"), ("ContentBasedDeduplication", "true")],
    );
    bench.send("q.fifo", Outgoing::new("x").in_group("g"));
    let mut attempt = || {
        bench.pass(150);
        let wanted = Wanted {
            limit: 10,
            visibility: Some(1_000),
            attempt: Some("a".to_owned()),
        };
        bench
            .act(|state, now| state.receive("q.fifo", &wanted, now))
            .unwrap()
            .len()
    };
    assert_eq!([attempt(), attempt(), attempt()], [1, 1, 0]);
}

#[test]
fn a_message_is_kept_for_four_days_and_the_time_in_a_queue_before_counts_for_its_dead_letter_queue() {
    let mut bench = Bench::new();
    bench.create("dead", &[]);
    bench.create("q", &[("RedrivePolicy", &policy("dead", 1))]);
    bench.send("q", Outgoing::new("old"));
    bench.pass(3 * DAY);
    bench.send("q", Outgoing::new("young"));
    assert_eq!(bodies(&bench.receive("q", 1, 0)), ["old"]);
    assert_eq!(bodies(&bench.receive("q", 1, 0)), ["young"]);
    assert_eq!(bench.messages("dead").len(), 1);
    bench.pass(DAY - 1);
    assert_eq!(bodies(&bench.receive("dead", 1, 0)), ["old"]);
    bench.pass(1);
    assert!(bench.receive("dead", 1, 0).is_empty());
    assert_eq!(bench.disk.messages.len(), 1);
}

#[test]
fn a_dead_letter_queue_with_one_of_its_own_counts_from_the_beginning() {
    let mut bench = Bench::new();
    bench.create("grave", &[]);
    bench.create("dead", &[("RedrivePolicy", &policy("grave", 2))]);
    bench.create("q", &[("RedrivePolicy", &policy("dead", 2))]);
    bench.send("q", Outgoing::new("x"));
    let mut receives = |queue| bench.receive(queue, 1, 0).first().map(|one| one.standing.receives);
    assert_eq!(["q", "q", "q"].map(&mut receives), [Some(1), Some(2), None]);
    assert_eq!(["dead", "dead", "dead"].map(&mut receives), [Some(3), Some(4), None]);
    assert_eq!(receives("grave"), Some(5));
}

#[test]
fn the_group_that_has_waited_longest_comes_first() {
    let mut bench = Bench::new();
    bench.create(
        "q.fifo",
        &[("FifoQueue", "true"), ("ContentBasedDeduplication", "true")],
    );
    for (body, group) in [("1", "z"), ("2", "a"), ("3", "z")] {
        bench.send("q.fifo", Outgoing::new(body).in_group(group));
    }
    assert_eq!(bodies(&bench.receive("q.fifo", 1, 9)), ["1"]);
    assert_eq!(bodies(&bench.receive("q.fifo", 10, 0)), ["2"]);
    bench.pass(9);
    assert_eq!(bodies(&bench.receive("q.fifo", 10, 0)), ["1", "3", "2"]);
}

#[test]
fn a_message_is_in_flight_for_twelve_hours_at_most() {
    let mut bench = Bench::new();
    bench.create("q", &[]);
    bench.send("q", Outgoing::new("x"));
    let received = bench.receive("q", 1, 43_200);
    bench.pass(43_000);
    assert_eq!(bench.hold("q", &received[0], 200), Ok(()));
    let refusal = bench.hold("q", &received[0], 201).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidParameterValue);
    bench.pass(200);
    let refusal = bench.hold("q", &received[0], 1).unwrap_err();
    assert_eq!(refusal.code, Code::MessageNotInflight);
}

#[test]
fn no_more_than_120000_messages_are_in_flight() {
    let mut bench = Bench::new();
    bench.create("q", &[]);
    for _ in 0..120_001 {
        bench.send("q", Outgoing::new("x"));
    }
    for _ in 0..12_000 {
        assert_eq!(bench.receive("q", 10, 60).len(), 10);
    }
    let wanted = Wanted {
        limit: 1,
        visibility: None,
        attempt: None,
    };
    let refusal = bench.act(|state, now| state.receive("q", &wanted, now));
    assert_eq!(refusal.unwrap_err().code, Code::OverLimit);
    bench.pass(60);
    assert_eq!(bench.receive("q", 1, 60).len(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Send {
        fifo: bool,
        group: u8,
        id: u8,
        delay: u32,
    },
    Receive {
        queue: usize,
        limit: usize,
        visibility: u32,
    },
    Delete(Index),
    Hold(Index, i64),
    Pass(u64),
    Purge(usize),
    MoveBack(bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 0..2_u8, 0..40_u8, 0..20_u32)
            .prop_map(|(fifo, group, id, delay)| Step::Send { fifo, group, id, delay }),
        6 => (0..4_usize, 1..11_usize, 0..30_u32)
            .prop_map(|(queue, limit, visibility)| Step::Receive { queue, limit, visibility }),
        4 => any::<Index>().prop_map(Step::Delete),
        4 => (any::<Index>(), prop_oneof![Just(0), 1..30_i64]).prop_map(|(index, seconds)| Step::Hold(index, seconds)),
        2 => (0..20_u64).prop_map(Step::Pass),
        1 => (0..QUEUES.len()).prop_map(Step::Purge),
        1 => any::<bool>().prop_map(Step::MoveBack),
        1 => Just(Step::Restart),
    ]
}

const QUEUES: [&str; 4] = ["q", "q.fifo", "dead", "dead.fifo"];

impl Bench {
    /// Standard and FIFO queues with their dead-letter queues.
    fn with_all_kinds() -> Self {
        let mut bench = Self::new();
        for (suffix, fifo) in [("", &[][..]), (".fifo", &[("FifoQueue", "true")])] {
            bench.create(&format!("dead{suffix}"), fifo);
            let policy = policy(&format!("dead{suffix}"), 2);
            bench.create(&format!("q{suffix}"), &[fifo, &[("RedrivePolicy", &policy)]].concat());
        }
        bench
    }

    fn all(&mut self) -> Vec<(String, String)> {
        let all = QUEUES.map(|queue| {
            let messages = self.messages(queue).into_iter();
            messages.map(|(id, ..)| (id, queue.to_owned())).collect::<Vec<_>>()
        });
        let mut all = all.concat();
        all.sort();
        all
    }

    /// Receives from a FIFO queue, which has to give the first messages of groups that have none in flight.
    fn receive_in_order(&mut self, queue: &str, limit: usize, visibility: u32) -> Vec<Received> {
        let before = self.messages(queue);
        let received = self.receive(queue, limit, visibility);
        let after = self.messages(queue);
        for group in ["0", "1"] {
            let of_group = |messages: &[(String, Option<String>, Phase, u32)]| {
                let mine = messages.iter().filter(|message| message.1.as_deref() == Some(group));
                mine.map(|(id, _, phase, _)| (id.clone(), *phase)).collect::<Vec<_>>()
            };
            let (before, after) = (of_group(&before), of_group(&after));
            let given = received
                .iter()
                .filter(|one| one.content.group.as_deref() == Some(group));
            let given: Vec<_> = given.map(|one| one.content.id.clone()).collect();
            assert!(given.is_empty() || before.iter().all(|(_, phase)| *phase != Phase::InFlight));
            let first: Vec<_> = after.iter().take(given.len()).map(|(id, _)| id.clone()).collect();
            assert_eq!(given, first);
        }
        received
    }
}

proptest! {
    /// Invariants I1 to I4 of a queue: nothing is lost or comes twice, only the latest handle deletes, groups are in order.
    /// The disk always knows what memory knows.
    #[test]
    fn whatever_is_done_every_message_that_was_not_deleted_is_in_exactly_one_queue(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut bench = Bench::with_all_kinds();
        let mut handles: Vec<(String, Received)> = Vec::new();
        for step in steps {
            let before = bench.all();
            match step {
                Step::Send { fifo: false, delay, .. } => {
                    bench.send("q", Outgoing::new("x").delayed(delay));
                    prop_assert_eq!(bench.all().len(), before.len() + 1);
                }
                Step::Send { fifo: true, group, id, .. } => {
                    let message = Outgoing::new("x").in_group(group.to_string()).with_deduplication_id(id.to_string());
                    bench.send("q.fifo", message);
                    prop_assert!(bench.all().len() <= before.len() + 1);
                }
                Step::Receive { queue, limit, visibility } => {
                    let queue = QUEUES[queue];
                    let received = if queue.ends_with(".fifo") {
                        bench.receive_in_order(queue, limit, visibility)
                    } else {
                        bench.receive(queue, limit, visibility)
                    };
                    prop_assert!(received.len() <= limit);
                    handles.extend(received.into_iter().map(|one| (queue.to_owned(), one)));
                    let ids = |all: &[(String, String)]| all.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
                    prop_assert_eq!(ids(&bench.all()), ids(&before));
                }
                Step::Delete(index) if !handles.is_empty() => {
                    let (queue, received) = index.get(&handles).clone();
                    let done = bench.delete(&queue, &received).is_ok();
                    let id = &received.content.id;
                    let is_latest = handles.iter().rev().find(|(_, one)| one.content.id == *id).unwrap().1.handle
                        == received.handle;
                    let after = bench.all();
                    let gone: Vec<_> = before.iter().filter(|message| !after.contains(message)).collect();
                    prop_assert!(gone.iter().all(|(one, _)| done && is_latest && one == id));
                    prop_assert_eq!(before.len(), after.len() + gone.len());
                }
                Step::Hold(index, seconds) if !handles.is_empty() => {
                    let (queue, received) = index.get(&handles).clone();
                    let _ = bench.hold(&queue, &received, seconds);
                    prop_assert_eq!(bench.all(), before);
                }
                Step::Delete(_) | Step::Hold(..) => {}
                Step::Pass(seconds) => bench.pass(seconds),
                Step::Purge(queue) => {
                    let queue = QUEUES[queue];
                    bench.act(|state, now| state.purge(queue, now)).unwrap();
                    let after = bench.all();
                    prop_assert!(after.iter().all(|(_, one)| one != queue));
                    prop_assert!(before.iter().all(|one| one.1 == queue || after.contains(one)));
                }
                Step::MoveBack(fifo) => {
                    let source = if fifo { "dead.fifo" } else { "dead" };
                    bench.act(|state, now| {
                        let handle = state.start_move(&state.arn(source), None, None, now).unwrap();
                        state.go_on_moving(&handle, usize::MAX, now)
                    });
                    prop_assert_eq!(bench.all().len(), before.len());
                }
                Step::Restart => {
                    let seen = QUEUES.map(|queue| bench.messages(queue));
                    bench.restart();
                    prop_assert_eq!(QUEUES.map(|queue| bench.messages(queue)), seen);
                }
            }
            let all = bench.all();
            prop_assert!(all.windows(2).all(|pair| pair[0].0 != pair[1].0));
            for queue in QUEUES {
                let (messages, counts) = (bench.messages(queue), bench.act(|state, now| {
                    state.open(queue, now).unwrap().0.messages.counts()
                }));
                let count = |phase| messages.iter().filter(|message| message.2 == phase).count();
                prop_assert_eq!(count(Phase::Visible), counts.visible);
                prop_assert_eq!(count(Phase::InFlight), counts.in_flight);
                prop_assert_eq!(count(Phase::Delayed), counts.delayed);
            }
        }
        // In the end everything can be had.
        bench.pass(1_000);
        let mut rest = bench.all().len();
        for queue in QUEUES {
            for _ in 0..rest + 3 {
                for one in bench.receive(queue, 10, 1_000) {
                    prop_assert!(bench.delete(queue, &one).is_ok());
                    rest -= 1;
                }
            }
        }
        prop_assert_eq!(rest, 0);
        prop_assert!(bench.disk.messages.is_empty());
    }
}
