//! `mentor serve`: engines, actors and doors, until a signal.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mentor_actors::cancel::CancelToken;
use mentor_actors::ports::Sampling;
use mentor_actors::telemetry::Telemetry;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::engines::{self, Retrieval, Tutor};
use crate::http::{AskLimits, Doors, serve as serve_doors};
use crate::jobs::{FolderIngest, Jobs};
use crate::materials::{Materials, UploadLimits};
use crate::metrics::Metrics;

/// Longest that a job which is told to stop is waited for; it needs a fraction of a second, but for what the disk takes.
const JOB_PATIENCE: Duration = Duration::from_secs(10);

/// # Errors
/// An address that cannot be bound, a model that is missing, a store of another embedder.
pub fn serve(config: &Config) -> anyhow::Result<u8> {
    let start = Instant::now();
    // Before the models: a port in use should cost no waiting.
    let listener = TcpListener::bind(&config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    let metrics = Arc::new(Metrics::new()?);
    let telemetry: Arc<dyn Telemetry> = metrics.clone();
    let tutor = engines::for_answers(config, &telemetry)?;
    let names = tutor.names();
    metrics.set_build_info(&names.generator, &names.embedder, &names.execution_provider);
    let result = actix::System::new().block_on(run(config, &tutor, metrics, listener, start));
    tutor.stop();
    result.map(|()| 0)
}

async fn run(
    config: &Config,
    tutor: &Tutor,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    start: Instant,
) -> anyhow::Result<()> {
    let telemetry: Arc<dyn Telemetry> = metrics.clone();
    log_sampling(config, tutor);
    let actors = tutor.start_actors(config, &telemetry);
    let materials = materials(config);
    let (jobs, ingest) = Jobs::start(folder_ingest(config, tutor, &metrics), config.max_jobs)?;
    let shutdown = CancelToken::default();
    let address = listener.local_addr()?;
    let doors = Doors {
        conversations: actors.conversations,
        services: actors.services,
        store: tutor.retrieval.store.clone(),
        jobs,
        materials,
        workers: tutor.health(),
        problems: tutor.generator.problem.iter().cloned().collect(),
        metrics,
        models: tutor.names(),
        limits: AskLimits { message_chars: config.message_chars, max_tokens: config.max_tokens },
        abandon_after: Duration::from_secs(config.abandon_after_s),
        time_limit: Duration::from_secs(config.turn_time_limit_s),
        max_connections: config.max_connections,
        shutdown: shutdown.clone(),
        started: start,
    };
    let (handle, server) = serve_doors(listener, doors, config.http_workers)?;
    let serving = actix::spawn(server);
    introduce(tutor, address, start).await;
    wait_for_signal().await?;
    tracing::info!("stopping");
    shutdown.cancel();
    // At once: streams of a job's events end with the job.
    let (ended, ()) = tokio::join!(tokio::task::spawn_blocking(|| ingest.stop(JOB_PATIENCE)), handle.stop(true));
    if !ended.unwrap_or(false) {
        tracing::warn!("an ingest job did not end in time; what it has stored is whole, the next one does the rest");
    }
    serving.await??;
    Ok(())
}

/// The folder that uploads go to, without what a killed server left in it.
fn materials(config: &Config) -> Materials {
    let limits = UploadLimits {
        file_bytes: config.max_upload_bytes,
        files: config.max_upload_files,
        free_bytes: config.min_free_mb << 20,
    };
    let materials = Materials::new(config.materials_dir.clone(), limits);
    materials.remove_leftovers();
    materials
}

fn folder_ingest(config: &Config, tutor: &Tutor, metrics: &Arc<Metrics>) -> FolderIngest {
    let Retrieval { embedding, store } = &tutor.retrieval;
    FolderIngest { config: config.clone(), embedder: embedding.share(), store: store.clone(), metrics: metrics.clone() }
}

/// How tokens are chosen, as the configuration and the model's file together have it.
fn log_sampling(config: &Config, tutor: &Tutor) {
    let own = &tutor.generator.info.sampling;
    let Sampling { temperature, top_p, top_k, min_p, repeat_penalty, repeat_last_tokens, .. } =
        engines::sampling(config, own);
    tracing::info!(temperature, top_p, top_k, min_p, repeat_penalty, repeat_last_tokens, ?own, "sampling");
}

/// The lines that tell a lecturer where to go, and who answers there.
async fn introduce(tutor: &Tutor, address: std::net::SocketAddr, start: Instant) {
    let stats = tutor.retrieval.store.stats().await.unwrap_or_default();
    eprintln!("generator  {}", tutor.generator.info);
    eprintln!("           a larger model answers better: see models/README.md, then --llm PATH");
    eprintln!(
        "embedder   {} on {}",
        tutor.retrieval.embedding.info.model_id, tutor.retrieval.embedding.info.execution_provider
    );
    eprintln!("course     {} documents, {} pages, {} passages", stats.documents, stats.pages, stats.chunks);
    if stats.documents == 0 {
        eprintln!(
            "           nothing to answer from yet: run `mentor ingest --directory FOLDER`; no restart is needed"
        );
    }
    eprintln!("ready      http://{address} (after {:.1} s)", start.elapsed().as_secs_f64());
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
