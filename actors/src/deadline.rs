//! Until when something is wanted, and waiting no longer than that.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::cancel::CancelToken;
use crate::domain::{ErrorCode, TurnError};

/// A point in time after which an answer is useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// That much time from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// Ends when it has passed.
    pub async fn reached(self) {
        tokio::time::sleep_until(self.0).await;
    }

    /// Waits for `work` until the deadline or the cancel, whichever comes first; `doing` completes the message
    /// "the time allowed for this question ended ...".
    ///
    /// # Errors
    /// `deadline_exceeded`, or [`cancelled`].
    pub async fn or_cancelled<T>(
        self,
        cancel: &CancelToken,
        doing: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, TurnError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(cancelled()),
            done = tokio::time::timeout_at(self.0, work) => done.map_err(|_| TurnError::deadline(doing)),
        }
    }
}

/// The error of work that was cancelled; the conversation turns it into a cancelled completion.
#[must_use]
pub fn cancelled() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the question was cancelled")
}
