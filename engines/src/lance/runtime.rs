//! The threads Lance runs on: callers are synchronous, or on runtimes with a single thread.

use std::future::Future;
use std::sync::mpsc;

use mentor_actors::domain::EngineError;
use tokio::runtime::{Builder, Handle, Runtime};

use super::error::StoreError;

/// Lance's own reads and the scans of searches run on these, beside [`WORKERS`].
const BLOCKING_THREADS: usize = 16;
const WORKERS: usize = 2;

/// A tokio runtime with threads named `lance-store`, usable from any thread.
#[derive(Debug)]
pub(super) struct StoreRuntime(Option<Runtime>);

impl StoreRuntime {
    /// # Errors
    /// [`EngineError::Load`] when the operating system refuses the threads.
    pub(super) fn start() -> Result<Self, EngineError> {
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("lance-store")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|error| EngineError::Load(format!("the store's threads cannot be started: {error}")))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("taken only in drop").handle()
    }

    /// Runs `work` and waits for it, also on a thread that belongs to another runtime.
    ///
    /// # Errors
    /// That of `work`, or [`StoreError::Panicked`].
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.handle().spawn(async move {
            // Never waits: there is room for the only answer. The caller waits for it below.
            drop(reply.send(work.await));
        });
        answer.recv().unwrap_or(Err(StoreError::Panicked))
    }
}

impl Drop for StoreRuntime {
    /// Does not wait: the last owner may be a task of this runtime, or of another one.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_the_work_is_an_error_for_the_caller_alone() {
        let runtime = StoreRuntime::start().unwrap();
        let result: Result<(), _> = runtime.run(async { panic!("a damaged file") });
        assert!(matches!(result, Err(StoreError::Panicked)));
        assert_eq!(runtime.run(async { Ok(7) }).unwrap(), 7);
    }

    #[tokio::test]
    async fn it_can_be_used_and_dropped_inside_another_runtime() {
        let runtime = StoreRuntime::start().unwrap();
        assert_eq!(runtime.run(async { Ok(7) }).unwrap(), 7);
        drop(runtime);
    }
}
