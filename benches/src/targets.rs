//! What the numbers have to be, and by how much a run may miss it.

use crate::lineup::{FRESH, KEPT, SMALL};
use crate::measure::{Measurement, Metric};

/// A promise about one contestant's median in relation to the reference's.
struct Target {
    measurement: &'static str,
    contestant: &'static str,
    metric: Metric,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Those of `docs/performance.md`.
const TARGETS: [Target; 16] = [
    Target::new("api-gateway", FRESH, Metric::LatencyP50Us, Bound::AtMost(0.90)),
    Target::new("api-gateway", FRESH, Metric::EventsPerSecond, Bound::AtLeast(0.90)),
    Target::new("api-gateway", FRESH, Metric::FirstAnswerMs, Bound::AtMost(0.90)),
    Target::new("api-gateway", FRESH, Metric::ResidentMib, Bound::AtMost(1.40)),
    Target::new("api-gateway", SMALL, Metric::FirstAnswerMs, Bound::AtMost(0.90)),
    Target::new("api-gateway", SMALL, Metric::ResidentMib, Bound::AtMost(1.40)),
    Target::new("api-gateway", KEPT, Metric::LatencyP50Us, Bound::AtMost(0.82)),
    Target::new("api-gateway", KEPT, Metric::EventsPerSecond, Bound::AtLeast(1.25)),
    Target::new(
        "python",
        "Orlop, component in Python, fresh sandbox per event",
        Metric::FirstAnswerMs,
        Bound::AtMost(0.25),
    ),
    Target::new(
        "javascript",
        "Orlop, component in JavaScript, fresh sandbox per event",
        Metric::FirstAnswerMs,
        Bound::AtMost(1.0 / 15.0),
    ),
    // 1.2 times as long for an event.
    Target::new(
        "snapshots",
        "lookup from its snapshot, fresh sandbox per event",
        Metric::EventsPerSecond,
        Bound::AtLeast(1.0 / 1.2),
    ),
    // 1.5 times as long for an event.
    Target::new(
        "worlds",
        "http, bindings only",
        Metric::EventsPerSecond,
        Bound::AtLeast(1.0 / 1.5),
    ),
    Target::new(
        "busy",
        "two busy guests",
        Metric::SeveralPerSecond,
        Bound::AtLeast(1.70),
    ),
    Target::new(
        "neighbours",
        "beside one that never returns",
        Metric::BesideP99Us,
        Bound::AtMost(2.0),
    ),
    Target::new(
        "neighbours",
        "beside one that traps",
        Metric::BesideP99Us,
        Bound::AtMost(2.0),
    ),
    Target::new(
        "neighbours",
        "beside one that fills its memory",
        Metric::BesideP99Us,
        Bound::AtMost(2.0),
    ),
];

impl Target {
    const fn new(measurement: &'static str, contestant: &'static str, metric: Metric, bound: Bound) -> Self {
        Self {
            measurement,
            contestant,
            metric,
            bound,
        }
    }
}

impl Bound {
    /// Whether `ratio` misses it by more than so many parts of a hundred.
    fn is_missed_by(self, ratio: f64, percent: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio > most * (1.0 + percent / 100.0),
            Self::AtLeast(least) => ratio < least / (1.0 + percent / 100.0),
        }
    }
}

/// A sentence for each target that the measurements miss by more than `margin` percent.
pub(crate) fn missed(measurements: &[Measurement], margin: f64) -> Vec<String> {
    let mut missed = Vec::new();
    for Target {
        measurement,
        contestant,
        metric,
        bound,
    } in &TARGETS
    {
        let Some(ratio) = measurements
            .iter()
            .find(|taken| taken.name == *measurement)
            .and_then(|taken| taken.ratio(contestant, *metric))
        else {
            continue;
        };
        if bound.is_missed_by(ratio, margin) {
            let (bound, word) = match bound {
                Bound::AtMost(most) => (most, "at most"),
                Bound::AtLeast(least) => (least, "at least"),
            };
            missed.push(format!(
                "{measurement}, {contestant}: {} is {ratio:.2}×, and should be {word} {bound:.2}×",
                metric.title()
            ));
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_may_be_missed_by_the_margin_and_no_more() {
        assert!(!Bound::AtMost(1.0).is_missed_by(1.09, 10.0));
        assert!(Bound::AtMost(1.0).is_missed_by(1.11, 10.0));
        assert!(!Bound::AtLeast(1.0).is_missed_by(0.92, 10.0));
        assert!(Bound::AtLeast(1.0).is_missed_by(0.90, 10.0));
    }
}
