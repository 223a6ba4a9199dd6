//! When to try again, and when to give up.

use std::thread;
use std::time::Duration;

use super::error::{Failure, ModelsError};
use super::progress::{Listener, PullEvent};

/// Tries after the first.
pub(super) const RETRIES: u32 = 3;
/// A try that brought this much was no failure: a large file over a bad line needs many.
const WORTH_IT_BYTES: u64 = 1 << 20;

/// Repeats `attempt` until it succeeds, fails for good, or fails [`RETRIES`] times more in a row.
///
/// Nobody answering at the first try is told at once: then there is no network, and waiting does not bring it.
pub(super) fn with_retries<T>(
    label: &str,
    first_pause: Duration,
    tell: Listener<'_>,
    mut attempt: impl FnMut(Listener<'_>) -> Result<T, Failure>,
) -> Result<T, ModelsError> {
    let what = label.to_owned();
    let mut failures = 0;
    loop {
        let (reason, wait) = match attempt(&mut *tell) {
            Ok(value) => return Ok(value),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Unreachable { host, reason }) if failures == 0 => {
                return Err(ModelsError::Offline { what, host, reason });
            }
            Err(Failure::Unreachable { reason, .. }) => (reason, None),
            Err(Failure::Transient { reason, gained_bytes, wait }) => {
                failures = if gained_bytes >= WORTH_IT_BYTES { 0 } else { failures };
                (reason, wait)
            }
        };
        failures += 1;
        if failures > RETRIES {
            return Err(ModelsError::Interrupted { what, tries: failures, reason });
        }
        let pause = wait.unwrap_or(first_pause * 2_u32.pow(failures - 1));
        tell(PullEvent::Retrying { label, reason: &reason, pause });
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a row of failures, and after how many tries.
    fn outcome(mut script: Vec<Failure>) -> (Result<(), ModelsError>, usize) {
        script.reverse();
        let mut tries = 0;
        let result = with_retries("a file", Duration::ZERO, &mut |_| (), |_| {
            tries += 1;
            script.pop().map_or(Ok(()), Err)
        });
        (result, tries)
    }

    fn broken(gained_bytes: u64) -> Failure {
        Failure::Transient { reason: "reset".into(), gained_bytes, wait: None }
    }

    fn nobody() -> Failure {
        Failure::Unreachable { host: "h".into(), reason: "refused".into() }
    }

    #[test]
    fn three_failures_are_forgiven_and_a_fourth_is_not() {
        assert!(matches!(outcome(vec![broken(0), broken(0), broken(0)]), (Ok(()), 4)));
        let (result, tries) = outcome(vec![broken(0), broken(0), broken(0), broken(0)]);
        assert!(matches!(result, Err(ModelsError::Interrupted { tries: 4, .. })));
        assert_eq!(tries, 4);
    }

    #[test]
    fn a_try_that_brought_much_does_not_count() {
        let (result, tries) = outcome((0..20).map(|_| broken(WORTH_IT_BYTES)).collect());
        assert!(result.is_ok());
        assert_eq!(tries, 21);
    }

    #[test]
    fn nobody_answering_is_told_at_once_unless_somebody_did_before() {
        assert!(matches!(outcome(vec![nobody()]), (Err(ModelsError::Offline { .. }), 1)));
        assert!(matches!(outcome(vec![broken(0), nobody()]), (Ok(()), 3)));
    }
}
