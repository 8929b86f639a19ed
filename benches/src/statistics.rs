//! Medians, percentiles, and what the rounds of one measurement have in common.

use serde::Serialize;

/// One number per round.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Rounds(Vec<f64>);

/// What the rounds have in common.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) minimum: f64,
    pub(crate) maximum: f64,
}

impl Rounds {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn summary(&self) -> Summary {
        let sorted = sorted(self.0.clone());
        Summary {
            median: percentile(&sorted, 50),
            minimum: percentile(&sorted, 0),
            maximum: percentile(&sorted, 100),
        }
    }

    /// Round by round, because what slows a machine down slows down its neighbours in time.
    pub(crate) fn ratio_to(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect())
    }
}

pub(crate) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The smallest of the sorted values that is not below `percent` of them; NaN if there are none.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values = sorted(vec![3.0, 1.0, 2.0]);
        assert_eq!(percentile(&values, 0), 1.0);
        assert_eq!(percentile(&values, 50), 2.0);
        assert_eq!(percentile(&values, 99), 3.0);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (own, other) = (Rounds(vec![1.0, 20.0, 3.0]), Rounds(vec![2.0, 40.0, 6.0]));
        let ratio = own.ratio_to(&other).summary();
        assert_eq!((ratio.minimum, ratio.median, ratio.maximum), (0.5, 0.5, 0.5));
    }
}
