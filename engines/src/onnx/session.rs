//! Opening a session on the CPU or on CUDA, with the options of the configuration.

use std::path::Path;

use mentor_actors::domain::EngineError;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};

use super::config::{EmbedderConfig, ExecutionProvider};
use super::folder::damaged;
use super::runtime::{in_one_line, no_panic};

/// Opens the model of `file` on one execution provider, and on no other.
///
/// # Errors
/// [`EngineError::Load`] when the file is no model, or the provider cannot be had.
pub(super) fn open(
    environment: &Environment,
    config: &EmbedderConfig,
    file: &Path,
    provider: ExecutionProvider,
) -> Result<Session, EngineError> {
    let open = || {
        let builder = builder(environment, config).map_err(|e| e.to_string())?;
        let mut builder = on(builder, provider)?;
        builder.commit_from_file(file).map_err(|e| e.to_string())
    };
    no_panic(open).map_err(|problem| unusable(file, &problem))
}

/// The model file is there, but cannot serve.
pub(super) fn unusable(file: &Path, problem: &str) -> EngineError {
    damaged(file, &format!("cannot be used as an embedding model: {}", in_one_line(problem, file)))
}

/// Everything but the execution provider. One inter-op thread is the default, and enough: the graph is a chain.
fn builder(environment: &Environment, config: &EmbedderConfig) -> ort::Result<SessionBuilder> {
    let tuning = &config.tuning;
    let mut builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(config.intra_threads.max(1))?
        .with_intra_op_spinning(tuning.spinning)?
        .with_memory_pattern(tuning.memory_pattern)?;
    for (key, value) in &tuning.entries {
        builder = builder.with_config_entry(key, value)?;
    }
    Ok(builder)
}

fn on(builder: SessionBuilder, provider: ExecutionProvider) -> Result<SessionBuilder, String> {
    match provider {
        // Without a policy ort prefers other accelerators, where the runtime library knows any.
        ExecutionProvider::Cpu => builder.with_auto_device(AutoDevicePolicy::PreferCPU).map_err(|e| e.to_string()),
        ExecutionProvider::Cuda => on_cuda(builder),
    }
}

#[cfg(feature = "cuda")]
fn on_cuda(builder: SessionBuilder) -> Result<SessionBuilder, String> {
    use ort::ep::{ArenaExtendStrategy, CUDA};
    // The generator has its memory on the same GPU: take what is needed, not the next power of two.
    let cuda = CUDA::default().with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested).build();
    builder.with_execution_providers([cuda.error_on_failure()]).map_err(|e| e.to_string())
}

#[cfg(not(feature = "cuda"))]
fn on_cuda(_: SessionBuilder) -> Result<SessionBuilder, String> {
    Err("this program was built without CUDA".to_owned())
}
