//! The distribution of one quantity: milliseconds, or tokens per second.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Values are kept as whole thousandths, so milliseconds as microseconds.
const STEPS: f64 = 1_000.0;

/// Largest value, in thousandths: an hour of milliseconds. What is larger counts as that.
const LARGEST: u64 = 3_600_000_000;

/// Three digits: a tenth of a percent.
const DIGITS: u8 = 3;

/// The values so far.
#[derive(Debug)]
pub struct Spread(Histogram<u64>);

impl Default for Spread {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LARGEST, DIGITS).expect("1 < LARGEST / 2 and DIGITS is at most 5"))
    }
}

impl Spread {
    /// Adds a value; a negative one counts as 0.
    pub fn record(&mut self, value: f64) {
        self.0.saturating_record((value * STEPS).round() as u64);
    }

    /// Adds a time, in milliseconds.
    pub fn record_ms(&mut self, time: Duration) {
        self.record(time.as_secs_f64() * 1_000.0);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value at a quantile, 0 to 1.
    pub fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / STEPS
    }

    /// The values summed up; `None` when there are none.
    pub fn summary(&self) -> Option<Summary> {
        let value = |steps: u64| rounded(steps as f64 / STEPS);
        let at = |quantile: f64| value(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            mean: rounded(self.0.mean() / STEPS),
            min: value(self.0.min()),
            p5: at(0.05),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: value(self.0.max()),
        })
    }
}

fn rounded(value: f64) -> f64 {
    (value * STEPS).round() / STEPS
}

/// A distribution in a few figures, each right to a tenth of a percent. Of few values, the high percentiles are the
/// maximum.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// 5 in 100 are at most this.
    pub p5: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 95 in 100 are at most this.
    pub p95: f64,
    /// 99 in 100 are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_tenth_of_a_percent() {
        let mut spread = Spread::default();
        (1..=1_000).for_each(|ms| spread.record_ms(Duration::from_millis(ms)));
        let summary = spread.summary().unwrap();
        assert_eq!(summary.count, 1_000);
        let close = |value: f64, exact: f64| (value - exact).abs() <= exact / 1_000.0;
        assert!(close(summary.min, 1.0) && close(summary.p5, 50.0) && close(summary.p50, 500.0), "{summary:?}");
        assert!(close(summary.p99, 990.0) && close(summary.max, 1_000.0) && close(summary.mean, 500.5), "{summary:?}");
    }

    #[test]
    fn no_values_have_no_summary() {
        assert_eq!(Spread::default().summary(), None);
    }

    #[test]
    fn what_is_too_large_counts_as_the_largest() {
        let mut spread = Spread::default();
        spread.record(f64::INFINITY);
        assert!(spread.summary().unwrap().max >= 3_600_000.0);
    }
}
