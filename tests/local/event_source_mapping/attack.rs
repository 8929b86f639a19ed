//! A queue that breaks at random, a function that dies at random, and an `orlop dev` that is killed at random: no message is
//! lost, and none is deleted before it is done.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orlop_tests::orlop;
use orlop_tests::strict_queue::{Expectations, Faults, Settings, StrictQueue};
use rustix::process::{Pid, Signal, kill_process};

use crate::dev::DEV_ON_FREE_PORTS;

/// How many environments the function may have.
const CONCURRENCY: usize = 8;
/// How long a message stays away from others, and the longest that the function may take.
const VISIBILITY: Duration = Duration::from_secs(2);
/// How many receives in vain make a message dead.
const MAX_RECEIVES: u32 = 5;

/// What is done to a consumer.
struct Attack {
    messages: usize,
    is_fifo: bool,
    seed: u64,
    /// So many of 1,000 batches meet trouble in the function.
    trouble: u32,
    /// How long a consumer lives at most.
    life: Duration,
    /// How long it may take.
    patience: Duration,
}

/// An `orlop dev` that takes messages, killed with all it has started when it is dropped.
pub(super) struct Consumer(Child);

impl Consumer {
    fn start(queue: &StrictQueue, trouble: u32) -> Self {
        Self::spawn(Self::command(queue, &queue.url(), trouble))
    }

    /// What takes messages from that URL for a function of the queue's. So many of 1,000 batches meet trouble in it.
    pub(super) fn command(queue: &StrictQueue, url: &str, trouble: u32) -> Command {
        let generation = queue.begin_generation();
        let mut command = Command::new(orlop());
        command
            .args(DEV_ON_FREE_PORTS)
            .args([
                "--function",
                "worker",
                "--timeout",
                "1s",
                "--concurrency",
                &CONCURRENCY.to_string(),
            ])
            .args(["--sqs", url])
            .args(["--env", &format!("DESK={}", queue.desk())])
            .args(["--env", &format!("GENERATION={generation}")])
            .args(["--env", &format!("TROUBLE={trouble}")])
            .args([".", "--", env!("CARGO_BIN_EXE_queue-worker")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(super) fn spawn(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Consumer {
    /// By SIGKILL: nobody says goodbye.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Attack {
    /// Runs it until no message is left, and checks the history.
    fn run(&self) {
        let queue = StrictQueue::start(Settings {
            is_fifo: self.is_fifo,
            visibility: VISIBILITY,
            max_receives: MAX_RECEIVES,
            clock_ahead: Duration::ZERO,
            faults: Faults::some(),
            seed: self.seed,
        });
        queue.send((0..self.messages).map(|number| {
            let group = if self.is_fifo {
                format!("group {}", number % 16)
            } else {
                String::new()
            };
            let kind = match number % 100 {
                50 => "poison",
                17 | 71 => "flaky",
                _ => "order",
            };
            (group, format!("{kind} {number}"))
        }));
        let start = Instant::now();
        let mut consumer = Consumer::start(&queue, self.trouble);
        let (mut born, mut step) = (start, 0_u64);
        while queue.left() > 0 {
            let is_late = start.elapsed() > self.patience;
            assert!(
                !is_late,
                "{} messages are left, such as\n{}",
                queue.left(),
                queue.leftovers()
            );
            std::thread::sleep(Duration::from_millis(20));
            step += 1;
            // One environment in the middle of its work.
            if step % 10 == self.seed % 10
                && let Some(pid) = queue.workers().first().and_then(|pid| Pid::from_raw(*pid))
            {
                // It may have ended.
                let _ = kill_process(pid, Signal::KILL);
            }
            // Every twelfth second is one of a partition.
            let is_cut = start.elapsed().as_secs() % 12 == 7;
            queue.cut(is_cut);
            if is_cut {
                continue;
            }
            if consumer.0.try_wait().unwrap().is_some() || born.elapsed() > self.life {
                drop(consumer);
                consumer = Consumer::start(&queue, self.trouble);
                born = Instant::now();
            }
        }
        drop(consumer);
        let summary = queue.check(Expectations {
            concurrency: CONCURRENCY,
            max_receives: MAX_RECEIVES,
        });
        println!("{}", summary.in_words(start.elapsed()));
        assert_eq!(summary.sent, self.messages);
        // Nothing of this would mean much if nothing had gone wrong.
        assert!(
            summary.kills > 0 && summary.failed_batches > 0 && summary.damaged > 0,
            "{summary:?}"
        );
        assert!(summary.dead >= self.messages / 100, "{summary:?}");
    }
}

#[test]
fn no_message_is_lost_or_deleted_before_it_is_done_whatever_dies_or_breaks() {
    let attack = Attack {
        messages: 2_000,
        is_fifo: false,
        seed: 1,
        trouble: 20,
        life: Duration::from_secs(4),
        patience: Duration::from_secs(60),
    };
    attack.run();
}

#[test]
fn no_group_of_a_fifo_queue_loses_a_message_or_its_order_whatever_dies_or_breaks() {
    let attack = Attack {
        messages: 320,
        is_fifo: true,
        seed: 2,
        trouble: 20,
        life: Duration::from_secs(4),
        patience: Duration::from_secs(60),
    };
    attack.run();
}

#[test]
#[ignore = "takes minutes; docs/queues.md has the command and its last result"]
fn a_hundred_thousand_messages_survive_it() {
    let attack = Attack {
        messages: 100_000,
        is_fifo: false,
        seed: 3,
        trouble: 5,
        life: Duration::from_secs(5),
        patience: Duration::from_secs(3_600),
    };
    attack.run();
}
