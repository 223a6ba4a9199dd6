//! What a guessed token costs here, learned while it runs: it decides when guessing pays.
//!
//! A step in which `w` answers get a token each takes `t`; every guessed token makes it `c` longer. A guess that is right with
//! probability `p` brings `p` tokens for `c`, where waiting for the next step brings `w` tokens for `t`: it pays if
//! `p > w c / t`. On a CPU `c / t` is about a half for a small model and one answer, because a step computes about as long as
//! it waits for memory; on a GPU it is almost nothing.

use std::time::Duration;

/// `c / t` before anything was measured.
const ASSUMED: f32 = 0.45;
/// Weight of the newest step in the running means.
const LEARNING: f32 = 0.1;
/// Weight of what was assumed, in a step without guesses.
const FORGETTING: f32 = 0.01;
/// Most that a guessed token is taken to cost, in steps: what takes longer was held up by something else.
const MOST_STEPS: f32 = 2.0;
/// Numbers of answers from which on they count as the same.
const MANY: usize = 16;

/// Running means for each number of answers that are written together.
#[derive(Debug, Default)]
pub(super) struct StepCost {
    by_writing: [Means; MANY + 1],
}

#[derive(Debug, Clone, Copy, Default)]
struct Means {
    /// Seconds of a step without guesses.
    step: Option<f32>,
    /// Further seconds of a guessed token.
    guess: Option<f32>,
}

impl Means {
    /// Guesses that were dearer than `assumed` steps come back to that: while none are made, nothing else would be learned.
    fn forget(&mut self, assumed: f32) {
        if let (Some(guess), Some(step)) = (&mut self.guess, self.step) {
            *guess -= FORGETTING * (*guess - assumed * step).max(0.0);
        }
    }
}

impl StepCost {
    /// A step in which no prompt was read.
    pub(super) fn observe(&mut self, writing: usize, guessed: usize, took: Duration) {
        let means = &mut self.by_writing[writing.min(MANY)];
        let seconds = took.as_secs_f32();
        if guessed == 0 {
            learn(&mut means.step, seconds);
            means.forget(assumed(writing));
        } else if let Some(step) = means.step {
            learn(&mut means.guess, ((seconds - step) / guessed as f32).clamp(0.0, MOST_STEPS * step));
        }
    }

    /// Share of right guesses from which on guessing pays while so many answers are written.
    pub(super) fn break_even(&self, writing: usize) -> f32 {
        let means = &self.by_writing[writing.min(MANY)];
        let ratio = match (means.guess, means.step) {
            (Some(guess), Some(step)) if step > 0.0 => guess / step,
            _ => assumed(writing),
        };
        ratio * writing.max(1) as f32
    }
}

/// `c / t` where nothing is known: the more answers a step has, the longer it takes anyway.
fn assumed(writing: usize) -> f32 {
    ASSUMED / (1.0 + ASSUMED * writing.saturating_sub(1) as f32)
}

fn learn(mean: &mut Option<f32>, value: f32) {
    *mean = Some(mean.map_or(value, |mean| mean + LEARNING * (value - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_break_even_is_what_a_guess_costs_in_steps() {
        let mut cost = StepCost::default();
        for _ in 0..50 {
            cost.observe(1, 0, Duration::from_millis(10));
            cost.observe(1, 8, Duration::from_millis(34));
            cost.observe(4, 0, Duration::from_millis(20));
            cost.observe(4, 4, Duration::from_millis(28));
        }
        assert!((cost.break_even(1) - 0.3).abs() < 1e-3, "{}", cost.break_even(1));
        assert!((cost.break_even(4) - 0.4).abs() < 1e-3, "{}", cost.break_even(4));
    }

    #[test]
    fn the_more_answers_are_written_the_better_guesses_must_be() {
        let cost = StepCost::default();
        let shares: Vec<f32> = [1, 2, 4, 16].map(|writing| cost.break_even(writing)).to_vec();
        assert!(shares.is_sorted() && shares[0] > 0.0 && shares[3] < 1.0, "{shares:?}");
    }

    #[test]
    fn a_step_that_was_held_up_ends_guessing_for_a_while_and_not_for_ever() {
        for writing in [1, 4, 16] {
            let mut cost = StepCost::default();
            cost.observe(writing, 0, Duration::from_millis(15));
            cost.observe(writing, 1, Duration::from_secs(60));
            assert!(cost.break_even(writing) > 1.0);
            let steps = (0..2_000).take_while(|_| {
                cost.observe(writing, 0, Duration::from_millis(15));
                cost.break_even(writing) >= 1.0
            });
            let steps = steps.count();
            assert!(steps < 1_000, "{writing}: {steps}");
        }
    }

    #[test]
    fn guesses_that_are_cheap_stay_so_while_none_are_made() {
        let mut cost = StepCost::default();
        cost.observe(1, 0, Duration::from_millis(10));
        cost.observe(1, 8, Duration::from_millis(12));
        let before = cost.break_even(1);
        (0..1_000).for_each(|_| cost.observe(1, 0, Duration::from_millis(10)));
        assert!((cost.break_even(1) - before).abs() < 1e-3, "{}", cost.break_even(1));
    }

    #[test]
    fn guesses_that_cost_nothing_always_pay() {
        let mut cost = StepCost::default();
        cost.observe(2, 0, Duration::from_millis(10));
        cost.observe(2, 8, Duration::from_millis(9));
        assert_eq!(cost.break_even(2), 0.0);
    }
}
