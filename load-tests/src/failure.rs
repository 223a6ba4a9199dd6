//! What went wrong without a rule of the protocol being broken, and the deadline that every wait has.

use std::time::Duration;

/// Code of a wait that was given up.
pub const CLIENT_DEADLINE: &str = "client_deadline";

/// Longest that a server's `retry_after_ms` is obeyed.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// Something that did not work: an error the server answered, or one of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failures are counted by: the protocol's code, or one of ours.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
    /// When the server says that trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a time to retry after.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into(), retry_after: None }
    }

    /// The connection could not be made.
    pub fn connecting(error: &impl ToString) -> Self {
        Self::new("connect_failed", error.to_string())
    }

    /// The connection was lost.
    pub fn lost(error: &impl ToString) -> Self {
        Self::new("connection_lost", error.to_string())
    }

    /// The same failure, with a time to retry after, if any, in milliseconds.
    pub fn retry_after_ms(mut self, wait: Option<u64>) -> Self {
        self.retry_after = wait.map(Duration::from_millis);
        self
    }

    /// Waits as long as the server asked for, within reason.
    pub async fn back_off(&self) {
        if let Some(wait) = self.retry_after {
            tokio::time::sleep(wait.min(LONGEST_BACK_OFF)).await;
        }
    }
}

/// Waits for something no longer than the deadline.
///
/// # Errors
/// What it fails with, or [`CLIENT_DEADLINE`].
pub async fn within<T>(
    deadline: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = |_| Failure::new(CLIENT_DEADLINE, format!("{what} took longer than {} s", deadline.as_secs_f64()));
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_at_its_deadline() {
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = within(Duration::from_millis(1), "waiting", never).await.unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.detail.as_str()),
            (CLIENT_DEADLINE, "waiting took longer than 0.001 s")
        );
    }
}
