//! Opening a session on the CPU or on CUDA, with the options of the configuration.

use std::path::Path;

use mentor_actors::domain::EngineError;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};

use super::config::{Device, ExecutionProvider, OnnxConfig};
use super::folder::damaged;
use super::runtime::{in_one_line, no_panic};

/// The optimisers not to use on a CPU, by ONNX Runtime's names, separated by semicolons. The fused kernel of skip
/// connection and layer normalisation is slower there than the two it replaces: all-MiniLM-L6-v2 ran 7 % more tokens
/// per CPU second without it (ONNX Runtime 1.32, AVX2, batches of 8 texts of 90 tokens), with the same vectors.
const SLOW_CPU_OPTIMIZERS: &str = "SkipLayerNormFusion";

/// Opens the model of `file` on one execution provider, and on no other.
///
/// # Errors
/// [`EngineError::Load`] when the file is no model, or the provider cannot be had.
pub(super) fn open(
    environment: &Environment,
    config: &OnnxConfig,
    file: &Path,
    provider: ExecutionProvider,
) -> Result<Session, EngineError> {
    no_panic(|| {
        let mut builder = builder(environment, config, provider)?;
        builder.commit_from_file(file).map_err(|e| e.to_string())
    })
    .map_err(|problem| unusable(file, &problem))
}

/// Opens a graph that was rewritten for the CPU.
///
/// # Errors
/// Why the runtime refuses it.
pub(super) fn open_rewritten(environment: &Environment, config: &OnnxConfig, graph: &[u8]) -> Result<Session, String> {
    no_panic(|| {
        let mut builder = builder(environment, config, ExecutionProvider::Cpu)?;
        builder.commit_from_memory(graph).map_err(|e| e.to_string())
    })
}

/// Loads a model where the configuration wants it: on CUDA, else on the CPU where it leaves the choice. `model` is what a warning
/// calls it.
///
/// # Errors
/// Those of `load`.
pub(super) fn on_device<T>(
    device: Device,
    model: &str,
    load: impl Fn(ExecutionProvider) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    match device {
        Device::Cpu => load(ExecutionProvider::Cpu),
        Device::Cuda => load(ExecutionProvider::Cuda),
        Device::Auto if !cfg!(feature = "cuda") => load(ExecutionProvider::Cpu),
        Device::Auto => load(ExecutionProvider::Cuda).or_else(|problem| {
            tracing::warn!(%problem, "the {model} cannot use CUDA and runs on the CPU");
            load(ExecutionProvider::Cpu)
        }),
    }
}

/// The model file is there, but cannot serve.
pub(super) fn unusable(file: &Path, problem: &str) -> EngineError {
    damaged(file, &format!("cannot be used: {}", in_one_line(problem, file)))
}

fn builder(
    environment: &Environment,
    config: &OnnxConfig,
    provider: ExecutionProvider,
) -> Result<SessionBuilder, String> {
    let builder = on(tuned(environment, config).map_err(|e| e.to_string())?, provider)?;
    with_entries(builder, &config.tuning.entries).map_err(|e| e.to_string())
}

/// Everything but the execution provider and the caller's entries. One inter-op thread is the default, and enough: the graph is a
/// chain.
fn tuned(environment: &Environment, config: &OnnxConfig) -> ort::Result<SessionBuilder> {
    let tuning = &config.tuning;
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(config.intra_threads.max(1))?
        .with_intra_op_spinning(tuning.spinning)?
        .with_memory_pattern(tuning.memory_pattern)?;
    Ok(builder)
}

/// The caller's entries come last, so that they win over ours.
fn with_entries(mut builder: SessionBuilder, entries: &[(String, String)]) -> ort::Result<SessionBuilder> {
    for (key, value) in entries {
        builder = builder.with_config_entry(key, value)?;
    }
    Ok(builder)
}

fn on(builder: SessionBuilder, provider: ExecutionProvider) -> Result<SessionBuilder, String> {
    match provider {
        ExecutionProvider::Cpu => on_cpu(builder).map_err(|e| e.to_string()),
        ExecutionProvider::Cuda => on_cuda(builder),
    }
}

/// Without a policy ort prefers other accelerators, where the runtime library knows any.
fn on_cpu(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    let builder = builder.with_auto_device(AutoDevicePolicy::PreferCPU)?;
    Ok(builder.with_disabled_optimizers(SLOW_CPU_OPTIMIZERS)?)
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
