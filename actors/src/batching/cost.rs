//! What a row of a batch costs here, learned while it runs: it decides when guessing pays.
//!
//! A step of `r` rows takes about `base + row * r`: the weights are read once, each row is computed. With `w` answers
//! that guess `g` tokens each, of which a share `p` is right, a step brings `w (1 + g p)` tokens in `base + row w (1 + g)`. That
//! is more a second than without guesses, for any `g`, exactly if `p / (1 - p) > row w / base`.

use std::time::Duration;

/// `row / base` before anything was measured, for a small model on a few cores.
const ASSUMED_RATIO: f64 = 0.35;
/// Weight that older steps keep when a new one is observed.
const MEMORY: f64 = 0.98;

/// A running least-squares line through the times of steps in which no prompt was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StepCost {
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_rows: f64,
    rows_seconds: f64,
}

impl StepCost {
    pub(super) fn observe(&mut self, rows: usize, took: Duration) {
        let (rows, seconds) = (rows as f64, took.as_secs_f64());
        self.weight = self.weight * MEMORY + 1.0;
        self.rows = self.rows * MEMORY + rows;
        self.seconds = self.seconds * MEMORY + seconds;
        self.rows_rows = self.rows_rows * MEMORY + rows * rows;
        self.rows_seconds = self.rows_seconds * MEMORY + rows * seconds;
    }

    /// Share of right guesses from which on guessing pays while so many answers are written.
    pub(super) fn break_even(&self, writing: usize) -> f32 {
        let odds = self.ratio().unwrap_or(ASSUMED_RATIO) * writing.max(1) as f64;
        (odds / (1.0 + odds)) as f32
    }

    /// Cost of a row over the cost of a step; `None` while the steps were all alike.
    fn ratio(&self) -> Option<f64> {
        let variance = self.weight * self.rows_rows - self.rows * self.rows;
        if variance < self.weight * self.weight * 0.1 {
            return None;
        }
        let row = (self.weight * self.rows_seconds - self.rows * self.seconds) / variance;
        let base = (self.seconds - row * self.rows) / self.weight;
        // A step that costs nothing, or gets cheaper with more rows, was measured in too much noise.
        (row > 0.0 && base > 0.0).then(|| row / base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(base_ms: f64, row_ms: f64) -> StepCost {
        let mut cost = StepCost::default();
        for step in 0..200 {
            let rows = 1 + step % 5;
            cost.observe(rows, Duration::from_secs_f64((base_ms + row_ms * rows as f64) / 1e3));
        }
        cost
    }

    #[test]
    fn the_line_through_the_steps_gives_the_break_even() {
        let cost = observed(8.0, 2.0);
        assert!((cost.break_even(1) - 0.2).abs() < 1e-3, "{}", cost.break_even(1));
        assert!((cost.break_even(4) - 0.5).abs() < 1e-3, "{}", cost.break_even(4));
    }

    #[test]
    fn steps_that_are_all_alike_tell_nothing() {
        let mut cost = StepCost::default();
        for _ in 0..50 {
            cost.observe(1, Duration::from_millis(9));
        }
        assert_eq!(cost.break_even(1), StepCost::default().break_even(1));
    }

    #[test]
    fn the_more_answers_are_written_the_better_guesses_must_be() {
        let cost = StepCost::default();
        let shares: Vec<f32> = [1, 2, 4, 16].map(|writing| cost.break_even(writing)).to_vec();
        assert!(shares.is_sorted() && shares[0] > 0.0 && shares[3] < 1.0, "{shares:?}");
    }
}
