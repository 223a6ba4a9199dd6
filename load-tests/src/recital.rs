//! The schedule of a fake generator's answer. Its first word is `FAKE@<microseconds since 1970>+<microseconds>`: when that word
//! was due, and how long after it each next one is. What a word comes later than it was due, the server has added (and the
//! network, and this client). The clocks of both must agree: load from the same machine, or mind the offset.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An answer of a fake generator.
#[derive(Debug, Clone, Copy)]
pub struct Recital {
    /// When the first word was due.
    start: Instant,
    interval: Duration,
    /// Words that came.
    words: u32,
}

impl Recital {
    /// Reads the first token of an answer; `None` when a model wrote it.
    pub fn begin(token: &str) -> Option<Self> {
        Self::begin_at(token, Instant::now(), SystemTime::now())
    }

    fn begin_at(token: &str, now: Instant, on_the_wall: SystemTime) -> Option<Self> {
        let first = token.split(' ').next()?.strip_prefix("FAKE@")?;
        let (start, interval) = first.split_once('+')?;
        let start = UNIX_EPOCH + Duration::from_micros(start.parse().ok()?);
        let interval = Duration::from_micros(interval.parse().ok()?);
        // A clock that was set meanwhile makes nonsense of it, but no panic.
        let ago = on_the_wall.duration_since(start).unwrap_or_default();
        Some(Self { start: now.checked_sub(ago)?, interval, words: 0 })
    }

    /// Takes a token that came at a moment: how late each of its words is.
    pub fn take(&mut self, token: &str, at: Instant) -> impl Iterator<Item = Duration> + use<> {
        let first = self.words;
        // Every word but the first begins with a space, also where several came as one token.
        self.words += token.matches(' ').count() as u32 + u32::from(first == 0);
        let Self { start, interval, words } = *self;
        (first..words).map(move |word| at.saturating_duration_since(start + interval * word))
    }

    /// Words so far.
    pub fn words(&self) -> u32 {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_late_by_what_has_passed_since_it_was_due() {
        let (now, wall) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(100));
        let mut recital = Recital::begin_at("FAKE@99990000+50000", now, wall).unwrap();
        let ms = |late: Vec<Duration>| late.iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(ms(recital.take("FAKE@99990000+50000", now).collect()), [10]);
        assert_eq!(ms(recital.take(" alfa bravo.", now + Duration::from_millis(100)).collect()), [60, 10]);
        assert_eq!(recital.words(), 3);
    }

    #[test]
    fn a_word_that_seems_early_is_not_late() {
        let (now, wall) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(100));
        let mut recital = Recital::begin_at("FAKE@100000500+1000", now, wall).unwrap();
        assert_eq!(recital.take("FAKE@100000500+1000", now).collect::<Vec<_>>(), [Duration::ZERO]);
    }

    #[test]
    fn what_a_model_wrote_has_no_schedule() {
        assert!(Recital::begin("A heap is").is_none() && Recital::begin("FAKE@x+1").is_none());
    }
}
