//! What a process holds between two events.

use std::thread;
use std::time::{Duration, Instant};

use orlop_tests::{Held, Served};

/// How long idle threads of a pool may stay.
const IDLE_THREADS: Duration = Duration::from_secs(15);

/// What the process holds while it waits for an event.
pub(crate) fn held_by(served: &Served) -> Held {
    served.lambda.wait_for_next();
    Held::by(served.host.pid()).unwrap()
}

/// The same, once it has no more descriptors and threads than that, or does not let go of them.
pub(crate) fn held_within(served: &Served, before: Held) -> Held {
    let until = Instant::now() + IDLE_THREADS;
    loop {
        let held = held_by(served);
        if (held.descriptors <= before.descriptors && held.threads <= before.threads) || Instant::now() > until {
            return held;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
