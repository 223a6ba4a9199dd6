//! When to stop asking a server that is down: students then hear so at once instead of after a minute.
//!
//! Closed, everybody may ask. After some failures in a row it opens, and nobody may. After a pause it is half open: one may,
//! and what becomes of that one decides. A first token is enough to close it again; failures in the middle of answers are
//! forgotten only by an answer that came to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it, each after its own retries.
    pub failures: u32,
    /// How long nobody asks then.
    pub pause: Duration,
}

impl Default for BreakerSettings {
    /// Five, as some fail together when a server restarts; and 10 s, a short time for it to come back.
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(10) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// Allows one request; each gets its `began`, `succeeded`, `failed` or `left`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    is_probe: bool,
}

/// Nobody may ask now, and for so long at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("failed several times in a row, and is asked again in {:.0} s at the earliest", .remaining.as_secs_f64().ceil())]
pub(super) struct IsOpen {
    remaining: Duration,
}

/// What others may see of a breaker, and of the one that follows it when its engine is rebuilt.
#[derive(Debug, Clone)]
pub(super) struct BreakerWatch(Arc<Mutex<State>>);

impl Default for BreakerWatch {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::Closed { failures: 0 })))
    }
}

impl BreakerWatch {
    /// Why nobody may ask at `now`, if so. After the pause somebody may, so that there is one to try.
    pub(super) fn problem(&self, now: Instant) -> Option<String> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed { .. } => None,
            State::Open { until } if now < until => Some(IsOpen { remaining: until - now }.to_string()),
            State::Open { .. } => None,
            State::HalfOpen => Some("failed several times in a row, and is being tried again".into()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    watch: BreakerWatch,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings, watch: BreakerWatch) -> Self {
        let state = State::Closed { failures: 0 };
        let mut breaker = Self { settings, state, watch };
        breaker.change(state);
        breaker
    }

    fn change(&mut self, state: State) {
        self.state = state;
        *self.watch.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Whether somebody may ask at `now`.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, IsOpen> {
        match self.state {
            State::Closed { .. } => Ok(Pass { is_probe: false }),
            State::Open { until } if now < until => Err(IsOpen { remaining: until - now }),
            State::Open { .. } => {
                self.change(State::HalfOpen);
                Ok(Pass { is_probe: true })
            }
            State::HalfOpen => Err(IsOpen { remaining: Duration::ZERO }),
        }
    }

    /// The first token came.
    pub(super) fn began(&mut self) {
        if !matches!(self.state, State::Closed { .. }) {
            self.close();
        }
    }

    /// The answer came to its end.
    pub(super) fn succeeded(&mut self) {
        self.close();
    }

    /// It failed in a way that says that the server is unwell.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant) {
        let failures = match self.state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen if pass.is_probe => self.settings.failures,
            // Somebody who asked before it opened: that is known already, or the one who tries will tell.
            State::HalfOpen | State::Open { .. } => return,
        };
        self.change(State::Closed { failures });
        if failures >= self.settings.failures {
            tracing::warn!(failures, pause = ?self.settings.pause, "the remote server is not asked for a while");
            self.change(State::Open { until: now + self.settings.pause });
        }
    }

    /// It was given up, or failed in a way that says nothing of the server: the next one decides.
    pub(super) fn left(&mut self, pass: Pass, now: Instant) {
        if pass.is_probe && self.state == State::HalfOpen {
            self.change(State::Open { until: now });
        }
    }

    fn close(&mut self) {
        self.change(State::Closed { failures: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings { failures: 3, pause: Duration::from_secs(10) };
    /// Of somebody who asked while it was closed.
    const PASS: Pass = Pass { is_probe: false };

    fn closed() -> Breaker {
        Breaker::new(SETTINGS, BreakerWatch::default())
    }

    /// An open breaker, and when it opened.
    fn open() -> (Breaker, Instant) {
        let (mut breaker, now) = (closed(), Instant::now());
        for _ in 0..3 {
            let pass = breaker.admit(now).unwrap();
            breaker.failed(pass, now);
        }
        (breaker, now)
    }

    #[test]
    fn failures_in_a_row_open_it_for_the_pause() {
        let (mut breaker, now) = open();
        assert_eq!(breaker.admit(now), Err(IsOpen { remaining: Duration::from_secs(10) }));
        let later = now + Duration::from_secs(9);
        let refusal = breaker.admit(later + Duration::from_millis(300)).unwrap_err().to_string();
        assert!(refusal.contains("asked again in 1 s"), "{refusal}");
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let (mut breaker, now) = (closed(), Instant::now());
        for _ in 0..5 {
            breaker.failed(PASS, now);
            breaker.failed(PASS, now);
            breaker.succeeded();
        }
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn answers_that_begin_and_then_fail_open_it_too() {
        let (mut breaker, now) = (closed(), Instant::now());
        for _ in 0..3 {
            breaker.began();
            breaker.failed(PASS, now);
        }
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn after_the_pause_one_may_ask_and_its_first_token_lets_all_in() {
        let (mut breaker, now) = open();
        let later = now + SETTINGS.pause;
        assert!(breaker.admit(later).is_ok());
        assert_eq!(breaker.admit(later), Err(IsOpen { remaining: Duration::ZERO }));
        breaker.began();
        assert!(breaker.admit(later).is_ok() && breaker.admit(later).is_ok());
    }

    #[test]
    fn a_failed_probe_opens_it_again_at_once() {
        let (mut breaker, now) = open();
        let later = now + SETTINGS.pause;
        let probe = breaker.admit(later).unwrap();
        breaker.failed(probe, later);
        assert_eq!(breaker.admit(later), Err(IsOpen { remaining: SETTINGS.pause }));
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_its_place_to_the_next() {
        let (mut breaker, now) = open();
        let later = now + SETTINGS.pause;
        let pass = breaker.admit(later).unwrap();
        breaker.left(pass, later);
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn late_failures_of_requests_from_before_do_not_lengthen_the_pause() {
        let (mut breaker, now) = open();
        breaker.failed(PASS, now + Duration::from_secs(5));
        assert!(breaker.admit(now + SETTINGS.pause).is_ok());
    }

    #[test]
    fn a_late_failure_of_a_request_from_before_does_not_decide_for_the_one_that_tries() {
        let (mut breaker, now) = open();
        let later = now + SETTINGS.pause;
        let probe = breaker.admit(later).unwrap();
        breaker.failed(PASS, later);
        assert_eq!(breaker.admit(later), Err(IsOpen { remaining: Duration::ZERO }), "it is still being tried");
        breaker.began();
        assert!(breaker.admit(later).is_ok());
        breaker.failed(probe, later);
        assert!(breaker.admit(later).is_ok(), "one failure after its first token is one of three");
    }

    #[test]
    fn others_see_that_it_is_open_until_somebody_may_try_again() {
        let (mut breaker, now) = open();
        let watch = breaker.watch.clone();
        assert!(watch.problem(now).is_some_and(|problem| problem.contains("asked again in 10 s")));
        let later = now + SETTINGS.pause;
        assert_eq!(watch.problem(later), None, "or nobody would be sent here to try");
        let pass = breaker.admit(later).unwrap();
        assert!(watch.problem(later).is_some_and(|problem| problem.contains("being tried again")));
        breaker.left(pass, later);
        assert_eq!(watch.problem(later), None);
        breaker.succeeded();
        assert_eq!(watch.problem(now), None);
    }

    #[test]
    fn a_breaker_that_follows_another_one_begins_closed() {
        let (breaker, now) = open();
        let watch = breaker.watch.clone();
        drop(Breaker::new(SETTINGS, watch.clone()));
        assert_eq!(watch.problem(now), None);
    }
}
