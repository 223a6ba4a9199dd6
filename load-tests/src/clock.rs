//! The times of one turn, as its client sees them.

use std::time::{Duration, Instant};

use crate::check::Completion;
use crate::frame::Usage;

/// What was measured of a turn that ended with an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Why it ended.
    pub finish_reason: String,
    /// Tokens used, as the server counts them.
    pub usage: Usage,
    /// From the question to the first token; `None` when there was none.
    pub first_token: Option<Duration>,
    /// From the question to the end.
    pub total: Duration,
    /// Tokens of the answer per second while it was written.
    pub tokens_per_second: Option<f64>,
}

/// The clock of a turn, told about what happens when.
#[derive(Debug)]
pub struct TurnClock {
    asked: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl TurnClock {
    /// The question is about to be sent.
    pub fn start(asked: Instant) -> Self {
        Self { asked, first_token: None, last_token: None }
    }

    /// A token came.
    pub fn token(&mut self, at: Instant) {
        self.first_token.get_or_insert(at);
        self.last_token = Some(at);
    }

    /// The turn ended with an answer.
    pub fn complete(self, at: Instant, done: Completion) -> Measured {
        let tokens_per_second = self.tokens_per_second(done.usage.completion_tokens);
        Measured {
            finish_reason: done.finish_reason,
            usage: done.usage,
            first_token: self.first_token.map(|first| first - self.asked),
            total: at - self.asked,
            tokens_per_second,
        }
    }

    /// The first token is where the time begins, so it is not counted. `None` where all came at once, in no time.
    fn tokens_per_second(&self, tokens: u64) -> Option<f64> {
        let seconds = (self.last_token? - self.first_token?).as_secs_f64();
        (tokens > 1 && seconds > 0.0).then(|| (tokens - 1) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(completion_tokens: u64) -> Completion {
        let usage = Usage { completion_tokens, ..Usage::default() };
        Completion { finish_reason: "stop".into(), usage, answer: String::new() }
    }

    #[test]
    fn times_are_counted_from_the_question_and_speed_from_the_first_token() {
        let asked = Instant::now();
        let after = |ms| asked + Duration::from_millis(ms);
        let mut clock = TurnClock::start(asked);
        [200, 400, 700].into_iter().for_each(|ms| clock.token(after(ms)));
        let measured = clock.complete(after(900), done(11));
        assert_eq!(
            (measured.first_token, measured.total),
            (Some(Duration::from_millis(200)), Duration::from_millis(900))
        );
        assert_eq!(measured.tokens_per_second, Some(20.0));
    }

    #[test]
    fn an_answer_in_one_piece_has_no_speed() {
        let asked = Instant::now();
        let mut clock = TurnClock::start(asked);
        clock.token(asked);
        assert_eq!(clock.complete(asked, done(5)).tokens_per_second, None);
    }

    #[test]
    fn an_answer_without_tokens_has_no_first_one() {
        let asked = Instant::now();
        assert_eq!(TurnClock::start(asked).complete(asked, done(0)).first_token, None);
    }
}
