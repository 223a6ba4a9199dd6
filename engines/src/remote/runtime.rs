//! The thread the engine's requests run on: its caller is synchronous.

use std::ops::Deref;

use mentor_actors::domain::EngineError;
use tokio::runtime::{Builder, Runtime};

/// Name lookups at once: they block.
const LOOKUPS: usize = 4;

/// A tokio runtime with one thread named `remote-llm`; passing text on takes little time.
#[derive(Debug)]
pub(super) struct RemoteRuntime(Option<Runtime>);

impl RemoteRuntime {
    /// # Errors
    /// [`EngineError::Load`] when the operating system refuses the thread.
    pub(super) fn start() -> Result<Self, EngineError> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LOOKUPS)
            .thread_name("remote-llm")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|error| EngineError::Load(format!("no thread for the remote engine: {error}")))
    }
}

impl Deref for RemoteRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("taken only in drop")
    }
}

impl Drop for RemoteRuntime {
    /// Drops all tasks, and with them their connections, without waiting for a name lookup.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
