//! How long turns really take here, learned while they run, and what follows from it for those who wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::workload::Workload;

/// What remains of a measurement when the next one comes: it weighs a sixteenth.
const KEPT: f64 = 15.0 / 16.0;

/// The same of what was measured lately: the last one weighs as much as all before it.
const KEPT_LATELY: f64 = 1.0 / 2.0;

/// Part of its expected time that a turn which has taken longer is believed to need still.
const OVERDUE: u32 = 8;

/// Time per unit of work, as a ratio of sums of which older parts fade.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    seconds: f64,
    units: f64,
}

impl Rate {
    fn observe(&mut self, took: Duration, units: u64, kept: f64) {
        #[allow(clippy::cast_precision_loss)] // thousands
        let units = units as f64;
        self.seconds = self.seconds * kept + took.as_secs_f64();
        self.units = self.units * kept + units;
    }

    fn time_for(&self, units: u64) -> Option<Duration> {
        #[allow(clippy::cast_precision_loss)] // thousands
        let seconds = self.seconds / self.units * units as f64;
        Duration::try_from_secs_f64(seconds).ok().filter(|_| self.units > 0.0)
    }
}

/// Time per unit of work, over long and lately. The smaller one is told: when a slow spell has passed, nobody is kept away by what
/// it took then, and while it begins, whoever comes back early costs a refusal.
#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    usual: Rate,
    lately: Rate,
}

impl Speed {
    fn observe(&mut self, took: Duration, units: u64) {
        self.usual.observe(took, units, KEPT);
        self.lately.observe(took, units, KEPT_LATELY);
    }

    fn time_for(&self, units: u64) -> Option<Duration> {
        self.usual.time_for(units).zip(self.lately.time_for(units)).map(|(usual, lately)| usual.min(lately))
    }
}

/// Running means of the turns that have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// Tokens of an answer.
    answer_tokens: Option<f64>,
    /// Of turns that ended while every slot was taken: nobody waits otherwise.
    crowded: Speed,
    /// Of all turns; used until the generator was crowded once.
    any: Speed,
}

impl Pace {
    /// A turn of which so many units had been expected came to its end.
    pub(super) fn observe(&mut self, expected: u64, took: Duration, answer_tokens: usize, is_crowded: bool) {
        #[allow(clippy::cast_precision_loss)] // thousands
        let tokens = answer_tokens as f64;
        self.answer_tokens = Some(self.answer_tokens.map_or(tokens, |mean| mean * KEPT + tokens * (1.0 - KEPT)));
        self.any.observe(took, expected);
        if is_crowded {
            self.crowded.observe(took, expected);
        }
    }

    /// Whether any turn has ended.
    pub(super) fn is_known(&self) -> bool {
        self.answer_tokens.is_some()
    }

    /// Units that a turn is expected to have: its answer as long as answers are, or as long as it may be.
    pub(super) fn expect(&self, work: Workload) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // thousands, and never below zero
        let usual = self.answer_tokens.map_or(usize::MAX, |tokens| tokens.ceil() as usize);
        Workload { answer_tokens: work.answer_tokens.min(usual), ..work }.units()
    }

    /// How long a turn has its slot, while others have the rest; `None` before any has ended.
    pub(super) fn time_for(&self, units: u64) -> Option<Duration> {
        self.crowded.time_for(units).or_else(|| self.any.time_for(units))
    }

    /// How long a running turn is likely to go on.
    pub(super) fn time_left(&self, units: u64, elapsed: Duration) -> Option<Duration> {
        let whole = self.time_for(units)?;
        Some(whole.saturating_sub(elapsed).max(whole / OVERDUE))
    }
}

/// When each of the waiting turns gets a slot, and, last, when one more would: whichever slot is free first takes the next one.
/// `running` is how long the turns in slots go on, `waiting` how long those in the queue take, in their order.
pub(super) fn starts(
    slots: usize,
    running: impl IntoIterator<Item = Duration>,
    waiting: impl IntoIterator<Item = Duration>,
) -> Vec<Duration> {
    let mut free: BinaryHeap<Reverse<Duration>> = running.into_iter().map(Reverse).collect();
    free.extend(std::iter::repeat_n(Reverse(Duration::ZERO), slots.saturating_sub(free.len())));
    let mut starts = Vec::new();
    for takes in waiting {
        let Some(Reverse(start)) = free.pop() else { return starts };
        starts.push(start);
        free.push(Reverse(start.saturating_add(takes)));
    }
    starts.extend(free.pop().map(|Reverse(start)| start));
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_said_before_anything_was_measured() {
        assert_eq!(Pace::default().time_for(100), None);
        assert_eq!(Pace::default().expect(Workload { prompt_tokens: 60, answer_tokens: 10 }), 100);
    }

    #[test]
    fn time_grows_with_work_and_follows_what_is_measured() {
        let mut pace = Pace::default();
        pace.observe(1_000, SECOND, 50, true);
        assert_eq!((pace.time_for(1_000), pace.time_for(3_000)), (Some(SECOND), Some(3 * SECOND)));
        (0..100).for_each(|_| pace.observe(1_000, 2 * SECOND, 50, true));
        let now = pace.time_for(1_000).unwrap();
        assert!(now > SECOND * 19 / 10 && now <= 2 * SECOND, "{now:?}");
    }

    #[test]
    fn a_slow_spell_that_has_passed_is_not_told_for_long() {
        let mut pace = Pace::default();
        (0..50).for_each(|_| pace.observe(1_000, 10 * SECOND, 50, true));
        (0..3).for_each(|_| pace.observe(1_000, SECOND, 50, true));
        let told = pace.time_for(1_000).unwrap();
        assert!(told < 3 * SECOND, "{told:?}");
    }

    #[test]
    fn who_waits_is_told_how_long_turns_take_when_every_slot_is_taken() {
        let mut pace = Pace::default();
        pace.observe(1_000, SECOND, 50, false);
        assert_eq!(pace.time_for(1_000), Some(SECOND), "better than nothing");
        pace.observe(1_000, 4 * SECOND, 50, true);
        (0..10).for_each(|_| pace.observe(1_000, SECOND, 50, false));
        assert_eq!(pace.time_for(1_000), Some(4 * SECOND));
    }

    #[test]
    fn an_answer_is_expected_to_be_as_long_as_answers_are_unless_it_must_be_shorter() {
        let mut pace = Pace::default();
        pace.observe(1_000, SECOND, 50, true);
        let expect = |answer_tokens| pace.expect(Workload { prompt_tokens: 0, answer_tokens });
        assert_eq!((expect(192), expect(10)), (200, 40));
    }

    #[test]
    fn a_turn_that_takes_longer_than_expected_is_still_there() {
        let mut pace = Pace::default();
        pace.observe(1_000, 8 * SECOND, 50, true);
        assert_eq!(pace.time_left(1_000, 3 * SECOND), Some(5 * SECOND));
        assert_eq!(pace.time_left(1_000, 60 * SECOND), Some(SECOND));
    }

    #[test]
    fn the_next_one_goes_where_a_slot_is_free_first() {
        let s = |seconds| Duration::from_secs(seconds);
        assert_eq!(starts(2, [s(3), s(1)], [s(4), s(1), s(1)]), [s(1), s(3), s(4), s(5)]);
        assert_eq!(starts(3, [s(3)], []), [s(0)], "a slot is free");
        assert_eq!(starts(0, [], [s(1)]), [], "no engine");
    }
}
