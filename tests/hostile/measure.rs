//! What the kernel says that a process holds.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use orlop_tests::Served;

/// What must not grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) memory_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
}

/// How long idle threads of a pool may stay.
const IDLE_THREADS: Duration = Duration::from_secs(15);

impl Held {
    /// What the process holds while it waits for an event.
    pub(crate) fn by(served: &Served) -> Self {
        served.lambda.wait_for_next();
        Self::now(served.host.pid())
    }

    /// The same, once it has no more descriptors and threads than that, or does not let go of them.
    pub(crate) fn by_within(served: &Served, before: Self) -> Self {
        let until = Instant::now() + IDLE_THREADS;
        loop {
            let held = Self::by(served);
            if (held.descriptors <= before.descriptors && held.threads <= before.threads) || Instant::now() > until {
                return held;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn now(pid: i32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self {
            memory_kib: number("VmRSS:"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            threads: number("Threads:"),
        }
    }
}
