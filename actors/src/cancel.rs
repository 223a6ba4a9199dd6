//! A cancellation that many can watch: looked at by threads, awaited by futures.

use std::sync::Arc;

use tokio::sync::watch;

/// Clones share one state; once cancelled it stays cancelled.
#[derive(Debug, Clone)]
pub struct CancelToken {
    state: Arc<watch::Sender<bool>>,
}

impl Default for CancelToken {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(false)) }
    }
}

impl CancelToken {
    /// Cancels; again has no effect.
    pub fn cancel(&self) {
        self.state.send_replace(true);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.state.borrow()
    }

    /// Ends when it is cancelled.
    pub async fn cancelled(&self) {
        // The sender lives in `self`, so waiting can't fail.
        let mut state = self.state.subscribe();
        let _ended = state.wait_for(|cancelled| *cancelled).await;
    }
}
