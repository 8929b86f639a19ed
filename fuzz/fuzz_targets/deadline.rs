//! Any deadline at any time of the clock: a guest gets some time, never more than Lambda's longest, and stops before Lambda
//! does.
#![no_main]

use std::time::{Duration, Instant, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use orlop_host::invocation::{Deadline, DeadlineHeader, DeadlinePolicy};

const DAY_MS: u64 = 86_400_000;
const LONGEST: Duration = Duration::from_secs(90 * 60);

fuzz_target!(|parts: (Option<Result<u64, String>>, u64, u64, u32)| {
    let (header, margin_ms, timeout_ms, clock) = parts;
    let header = match header {
        None => DeadlineHeader::Absent,
        Some(Ok(unix_ms)) => DeadlineHeader::At(unix_ms),
        Some(Err(text)) => DeadlineHeader::Malformed(text),
    };
    let policy = DeadlinePolicy {
        margin: Duration::from_millis(margin_ms % DAY_MS),
        default_timeout: Duration::from_millis(timeout_ms % DAY_MS),
    };
    let now = Instant::now();
    let wall_clock = UNIX_EPOCH + Duration::from_secs(clock.into());
    let deadline = Deadline::new(&header, &policy, now, wall_clock);
    assert!(now < deadline.instant && deadline.instant <= deadline.platform);
    assert!(deadline.platform <= now + LONGEST);
});
