//! Admission by permits, before any work: so many turns are in the program at once, the rest is told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{ErrorCode, TurnError};

/// Most clients are told to wait between this and [`LONGEST_WAIT`], by how many turns are before them.
const WAIT_PER_TURN: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When a server that stops is likely to be back.
const STOPPING_WAIT: Duration = Duration::from_secs(5);

/// Clones share the places.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    capacity: usize,
    closed: Arc<AtomicBool>,
}

/// A place in the program; free again when dropped.
#[derive(Debug)]
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// That many turns may run or wait at once.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(capacity)), capacity, closed: Arc::default() }
    }

    /// A place, or an honest no at once.
    ///
    /// # Errors
    /// `overloaded` with a time to come back after, `unavailable` once it is closed.
    pub fn admit(&self) -> Result<Admitted, TurnError> {
        if self.is_closed() {
            let stopping = TurnError::new(ErrorCode::Unavailable, "the server is stopping, ask again in a moment");
            return Err(stopping.retry_after(STOPPING_WAIT));
        }
        let permit = self.places.clone().try_acquire_owned().map_err(|_| self.full())?;
        Ok(Admitted { _permit: permit })
    }

    /// Admits no turn any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether it admits no turn any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends when no turn is in the program.
    pub async fn empty(&self) {
        let all = u32::try_from(self.capacity).unwrap_or(u32::MAX);
        // The semaphore is never closed, so waiting can't fail; the places are free again at once.
        drop(self.places.acquire_many(all).await);
    }

    fn full(&self) -> TurnError {
        let turns = u32::try_from(self.capacity).unwrap_or(u32::MAX);
        TurnError::overloaded("the tutor", WAIT_PER_TURN.saturating_mul(turns).min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorCode;

    #[test]
    fn a_full_house_says_when_to_come_back_and_a_leaving_turn_makes_room() {
        let admission = Admission::new(1);
        let first = admission.admit().unwrap();
        let error = admission.admit().unwrap_err();
        assert_eq!((error.code, error.retry_after), (ErrorCode::Overloaded, Some(WAIT_PER_TURN)));
        drop(first);
        assert!(admission.admit().is_ok());
    }

    #[tokio::test]
    async fn a_closed_house_lets_nobody_in_and_is_empty_when_the_last_turn_left() {
        let admission = Admission::new(2);
        let last = admission.admit().unwrap();
        admission.close();
        assert_eq!(admission.admit().unwrap_err().code, ErrorCode::Unavailable);
        let leave = async { drop(last) };
        tokio::join!(biased; admission.empty(), leave);
    }
}
