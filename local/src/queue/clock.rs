//! The one place that queues take time from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since 1970. It is kept on disk, so it is of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    #[cfg(test)]
    pub(super) fn from_seconds(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    pub(super) fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(u64::from(seconds) * 1_000))
    }

    /// The time that has to pass until then; none if it is over.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// As messages carry it.
    pub(super) fn milliseconds(self) -> u64 {
        self.0
    }

    /// As queues carry it.
    pub(super) fn seconds(self) -> u64 {
        self.0 / 1_000
    }
}
