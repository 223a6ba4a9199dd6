//! A cancellation that many can watch: looked at by threads, awaited by futures.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// Clones share one state; once cancelled it stays cancelled.
#[derive(Debug, Clone)]
pub struct CancelToken {
    /// Since when it is cancelled.
    state: Arc<watch::Sender<Option<Instant>>>,
}

impl Default for CancelToken {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(None)) }
    }
}

/// Cancels when it is dropped: for work that is nobody's once its caller has left.
#[derive(Debug, Default)]
pub struct CancelOnDrop(pub CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl CancelToken {
    /// Cancels; again has no effect.
    pub fn cancel(&self) {
        self.state.send_if_modified(|since| {
            let first = since.is_none();
            since.get_or_insert_with(Instant::now);
            first
        });
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled_since().is_some()
    }

    /// Since when it is cancelled, if it is.
    #[must_use]
    pub fn cancelled_since(&self) -> Option<Instant> {
        *self.state.borrow()
    }

    /// Ends when it is cancelled.
    pub async fn cancelled(&self) {
        // The sender lives in `self`, so waiting can't fail.
        let mut state = self.state.subscribe();
        let _ended = state.wait_for(Option::is_some).await;
    }
}
