//! How long a file may be worked on without a page to show for it. No clock: who uses it says how long something took.

use std::time::Duration;

/// After a page that took too long, the next ones get only this part of its time: a file made of such pages must not cost much
/// more than one of them.
const HURRY: u32 = 10;
/// What is left for other pages when one has used all of its time, as a part of that.
const REST: u32 = 8;

/// The time that opening a file, pages that never come and crashes may take together, however they share it.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    page_time: Duration,
    left: Duration,
}

impl Patience {
    /// A page may take `page_time`, and everything that comes to nothing an eighth more.
    pub fn new(page_time: Duration) -> Self {
        Self { page_time, left: page_time + page_time / REST }
    }

    /// How long the next line of a child may take: the first one, which comes after opening the file, always as long as a page.
    pub fn for_line(&self, is_first: bool, has_stalled: bool) -> Duration {
        let whole = if has_stalled && !is_first { self.page_time / HURRY } else { self.page_time };
        whole.min(self.left)
    }

    /// So long nothing was gained.
    pub fn charge(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// Whether nothing more is to be tried.
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::reader::ReaderLimits;

    /// What a file costs that never yields a page: each child takes `opening`, and then all the time it gets, or crashes after
    /// `crash`. Without the end of a process, which takes no more than a second.
    fn cost(opening: Duration, crash: Option<Duration>) -> Duration {
        let limits = ReaderLimits::default();
        let (mut patience, mut cost, mut stalled) = (Patience::new(limits.page_time), Duration::ZERO, false);
        for _ in 0..limits.max_crashes {
            for is_first in [true, false] {
                if patience.is_over() {
                    return cost;
                }
                let allowed = patience.for_line(is_first, stalled);
                let wanted = if is_first { Some(opening) } else { crash };
                let took = wanted.map_or(allowed, |wanted| wanted.min(allowed));
                stalled |= took == allowed;
                patience.charge(took);
                cost += took;
            }
        }
        cost
    }

    #[test]
    fn whatever_a_file_does_with_the_shipped_limits_it_ends_within_25_seconds() {
        let seconds = [0, 1, 3, 7, 10, 15, 19, 20, 60].map(Duration::from_secs);
        for opening in seconds {
            for crash in seconds.map(Some).into_iter().chain([None]) {
                let cost = cost(opening, crash);
                assert!(cost <= Duration::from_secs(24), "{opening:?} to open, {crash:?} to crash: {cost:?}");
            }
        }
    }

    #[test]
    fn a_page_that_takes_all_of_its_time_leaves_some_for_the_others() {
        let mut patience = Patience::new(Duration::from_secs(20));
        patience.charge(patience.for_line(false, false));
        assert_eq!(patience.for_line(true, true), Duration::from_millis(2_500));
        assert_eq!(patience.for_line(false, true), Duration::from_secs(2));
        assert!(!patience.is_over());
    }
}
