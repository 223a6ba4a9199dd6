//! How often to try, and how long to wait between. Only before the first token: see [`super::task`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::failure::RemoteFailure;

/// What to do about a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first one.
    pub retries: u32,
    /// Wait before the first of them; doubled for each further one.
    pub first_wait: Duration,
    /// Longest wait. A server that asks for a longer one is not asked again.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Three within two seconds or so, when the server asks for nothing else: a restart behind a balancer, a moment of overload.
    fn default() -> Self {
        Self { retries: 3, first_wait: Duration::from_millis(250), longest_wait: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// How long to wait before try `retry` (from 0) after the first; `None` to give up. `dice` is random, from 0 to 1: half of
    /// a wait is random, so that those who failed together do not come back together.
    fn wait(&self, retry: u32, failure: &RemoteFailure, dice: f64) -> Option<Duration> {
        if retry >= self.retries || !failure.may_pass() {
            return None;
        }
        if let Some(asked) = failure.retry_after() {
            return (asked <= self.longest_wait).then_some(asked);
        }
        let full = self.first_wait.saturating_mul(1 << retry.min(16)).min(self.longest_wait);
        Some(full.mul_f64(f64::midpoint(1.0, dice.clamp(0.0, 1.0))))
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Retries {
    policy: RetryPolicy,
    made: u32,
}

impl Retries {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, made: 0 }
    }

    /// Waits until the next try.
    ///
    /// # Errors
    /// The failure itself, when there is none.
    pub(super) async fn pause(&mut self, failure: RemoteFailure) -> Result<(), RemoteFailure> {
        let Some(wait) = self.policy.wait(self.made, &failure, dice()) else { return Err(failure) };
        self.made += 1;
        tracing::debug!(%failure, ?wait, "the remote server is asked again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// From 0 to 1. The standard library's only source of chance is the seed of its hash maps.
fn dice() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::failure::ErrorBody;
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { retries: 4, first_wait: Duration::from_millis(100), longest_wait: Duration::from_millis(500) };

    fn busy(retry_after: Option<Duration>) -> RemoteFailure {
        RemoteFailure::Status { status: 429, code: ErrorBody::default(), retry_after }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let waits = (0..5).map(|retry| POLICY.wait(retry, &busy(None), 1.0).map(|wait| wait.as_millis()));
        assert!(waits.eq([Some(100), Some(200), Some(400), Some(500), None]));
    }

    #[test]
    fn half_of_a_wait_is_random() {
        let wait = |dice| POLICY.wait(1, &busy(None), dice).unwrap().as_millis();
        assert_eq!((wait(0.0), wait(0.5), wait(1.0)), (100, 150, 200));
    }

    #[test]
    fn the_server_s_own_wait_is_kept_to_unless_it_is_too_long() {
        let asked = |ms| POLICY.wait(0, &busy(Some(Duration::from_millis(ms))), 0.3);
        assert_eq!((asked(0), asked(450)), (Some(Duration::ZERO), Some(Duration::from_millis(450))));
        assert_eq!(asked(60_000), None);
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        assert_eq!(POLICY.wait(0, &RemoteFailure::Unfinished, 0.5), None);
    }

    #[test]
    fn the_dice_are_within_their_range_and_not_always_the_same() {
        let rolls: Vec<f64> = (0..100).map(|_| dice()).collect();
        assert!(rolls.iter().all(|roll| (0.0..=1.0).contains(roll)));
        assert!(rolls.iter().any(|roll| (roll - rolls[0]).abs() > f64::EPSILON));
    }
}
