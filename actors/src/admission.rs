//! Admission by permits, before any work: so many turns are in the program at once, the rest is told to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::TurnError;

/// Most clients are told to wait between this and [`LONGEST_WAIT`], by how many turns are before them.
const WAIT_PER_TURN: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Clones share the places.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    capacity: usize,
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
        Self { places: Arc::new(Semaphore::new(capacity)), capacity }
    }

    /// A place, or an honest no at once.
    ///
    /// # Errors
    /// `overloaded` with a time to come back after.
    pub fn admit(&self) -> Result<Admitted, TurnError> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| self.full())?;
        Ok(Admitted { _permit: permit })
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
}
