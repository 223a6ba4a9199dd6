//! `mentor serve`: engines, actors and doors, until a signal.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mentor_actors::cancel::CancelToken;
use mentor_actors::ports::Sampling;
use mentor_actors::telemetry::Telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ServeArgs;
use crate::config::Config;
use crate::drain::Drain;
use crate::engines::{self, ConversationKeeper, FAKE_BACKEND, Retrieval, Tutor};
use crate::faults::Faults;
use crate::guard::{Clock, Guard, Mode};
use crate::http::{AskLimits, Doors, HEARTBEAT, serve as serve_doors};
use crate::jobs::{FolderIngest, Jobs};
use crate::materials::{Materials, UploadLimits};
use crate::metrics::Metrics;
use crate::open_files;

use super::rescue::Rescue;

/// How often keys and certificates are looked at for changes.
const LOOK: Duration = Duration::from_secs(1);

/// Longest that a job which is told to stop is waited for; it needs a fraction of a second, but for what the disk takes.
const JOB_PATIENCE: Duration = Duration::from_secs(10);

/// # Errors
/// An address that cannot be bound, or that others reach and no key protects; a model that is missing; a store of another embedder.
pub fn serve(config: &Config, arguments: &ServeArgs) -> anyhow::Result<u8> {
    let start = Instant::now();
    // Before the models: a port in use should cost no waiting.
    let listener = TcpListener::bind(&config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    open_files::allow(config.max_connections);
    let guard = Arc::new(Guard::open(config.guard(), Clock::default())?);
    refuse_exposure(&guard, listener.local_addr()?)?;
    let (watch, has_parent) = (Watch::new(arguments)?, arguments.has_parent);
    let tutor = match arguments.fake_generator {
        None => engines::for_answers(config, &watch.telemetry)?,
        Some(rate) => {
            tracing::warn!(rate, "THE GENERATOR IS A FAKE: questions get words without meaning, for load tests alone");
            engines::for_load(config, rate, &watch.telemetry)?
        }
    };
    let names = tutor.names();
    watch.metrics.set_build_info(&names.generator, &names.embedder, &names.execution_provider);
    let keeper = ConversationKeeper::in_data_dir(config, &watch.telemetry)?;
    let result =
        actix::System::new().block_on(run(config, &tutor, &keeper, watch, guard, listener, Life { start, has_parent }));
    tutor.stop();
    keeper.stop();
    result.map(|()| 0)
}

/// How this process came to be.
struct Life {
    start: Instant,
    /// Whether somebody starts another one when it dies.
    has_parent: bool,
}

async fn run(
    config: &Config,
    tutor: &Tutor,
    keeper: &ConversationKeeper,
    Watch { metrics, telemetry, faults }: Watch,
    guard: Arc<Guard>,
    listener: TcpListener,
    Life { start, has_parent }: Life,
) -> anyhow::Result<()> {
    log_sampling(config, tutor);
    let storage = keeper.storage.clone();
    let actors = tutor.start_actors(config, &storage, &telemetry);
    let drain = Drain {
        admission: actors.admission.clone(),
        cut_off: actors.services.cut_off.clone(),
        storage: storage.clone(),
    };
    let mut workers = tutor.health();
    workers.push(storage.health());
    workers.extend(actors.health);
    let materials = materials(config);
    let (jobs, ingest) = Jobs::start(folder_ingest(config, tutor, &metrics), config.max_jobs, &telemetry)?;
    workers.push(ingest.health());
    let step_deadline = Duration::from_secs(config.step_deadline_s);
    let rescue = has_parent.then(|| Rescue::start(workers.clone(), step_deadline)).transpose()?;
    let shutdown = CancelToken::default();
    let address = listener.local_addr()?;
    let doors = Doors {
        conversations: actors.conversations,
        storage,
        list_conversations: config.list_conversations,
        serve_files: config.serve_files,
        admission: actors.admission,
        services: actors.services,
        store: tutor.retrieval.store.clone(),
        jobs,
        materials,
        workers,
        step_deadline,
        faults,
        problems: tutor.generator.problem.iter().cloned().collect(),
        metrics,
        models: tutor.names(),
        embeddings: tutor.embedding_door(),
        limits: AskLimits { message_chars: config.message_chars, max_tokens: config.max_tokens },
        abandon_after: Duration::from_secs(config.abandon_after_s),
        time_limit: Duration::from_secs(config.turn_time_limit_s),
        max_connections: config.max_connections,
        guard: guard.clone(),
        heartbeat: HEARTBEAT,
        shutdown: shutdown.clone(),
        started: start,
    };
    tutor.retrieval.warm_up(config).await;
    let (handle, server) = serve_doors(listener, doors, config.http_workers)?;
    let serving = actix::spawn(server);
    let refreshing = actix::spawn(refresh(guard.clone()));
    introduce(tutor, &guard, address, start).await;
    let mut signals = Signals::new()?;
    signals.next().await;
    tracing::info!("stopping: no question is taken any more, running answers get their end");
    drain.run(Duration::from_secs(config.drain_seconds), signals.next()).await;
    refreshing.abort();
    drop(rescue);
    shutdown.cancel();
    // At once: streams of a job's events end with the job.
    let (ended, ()) = tokio::join!(tokio::task::spawn_blocking(|| ingest.stop(JOB_PATIENCE)), handle.stop(true));
    if !ended.unwrap_or(false) {
        tracing::warn!("an ingest job did not end in time; what it has stored is whole, the next one does the rest");
    }
    serving.await??;
    Ok(())
}

/// What is measured, and who takes it: with faults, whoever takes it panics where tests want it to.
struct Watch {
    metrics: Arc<Metrics>,
    telemetry: Arc<dyn Telemetry>,
    faults: Option<Faults>,
}

impl Watch {
    fn new(arguments: &ServeArgs) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        let faults = arguments.fault_injection.then(Faults::default);
        let telemetry: Arc<dyn Telemetry> = match &faults {
            Some(faults) => {
                tracing::warn!(
                    "FAULT INJECTION IS ON: whoever may administer this server can make any part of it panic"
                );
                faults.within(metrics.clone())
            }
            None => metrics.clone(),
        };
        Ok(Self { metrics, telemetry, faults })
    }
}

/// Without keys only this machine may ask, unless it was said in so many words that everybody may.
fn refuse_exposure(guard: &Guard, address: SocketAddr) -> anyhow::Result<()> {
    match guard.mode() {
        Mode::Local if !address.ip().to_canonical().is_loopback() => bail!(
            "others can reach {address}, and there is no API key: make one with `mentor keys create --name NAME`, \
             or let everybody in with --insecure-no-keys"
        ),
        Mode::Local => {}
        Mode::Everybody => {
            tracing::warn!(%address, "THERE ARE NO API KEYS: whoever reaches this address may do everything")
        }
        Mode::Keys if guard.live_keys() == 0 => {
            tracing::warn!("every API key is revoked or has expired: nobody may ask; see `mentor keys create`");
        }
        Mode::Keys if guard.tls().is_none() && !address.ip().to_canonical().is_loopback() => {
            tracing::warn!(%address, "keys travel in the clear here: set tls_cert and tls_key, or put a proxy with TLS in front");
        }
        Mode::Keys => {}
    }
    Ok(())
}

/// Keeps keys and certificate as they are on disk.
async fn refresh(guard: Arc<Guard>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let guard = guard.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || guard.refresh()).await {
            tracing::error!(%error, "the keys could not be looked at");
        }
    }
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
    let Retrieval { embedding, store, .. } = &tutor.retrieval;
    FolderIngest { config: config.clone(), embedder: embedding.share(), store: store.clone(), metrics: metrics.clone() }
}

/// How tokens are chosen, as the configuration and the model's file together have it.
fn log_sampling(config: &Config, tutor: &Tutor) {
    let own = &tutor.generator.info.sampling;
    let Sampling { temperature, top_p, top_k, min_p, repeat_penalty, repeat_last_tokens, dry_multiplier, .. } =
        engines::sampling(config, own);
    tracing::info!(
        temperature,
        top_p,
        top_k,
        min_p,
        repeat_penalty,
        repeat_last_tokens,
        dry_multiplier,
        ?own,
        "sampling"
    );
}

/// The lines that tell a lecturer where to go, and who answers there.
async fn introduce(tutor: &Tutor, guard: &Guard, address: SocketAddr, start: Instant) {
    let stats = tutor.retrieval.store.stats().await.unwrap_or_default();
    eprintln!("generator  {}", tutor.generator.info);
    if tutor.generator.info.backend != FAKE_BACKEND {
        eprintln!("           a larger model answers better: see models/README.md, then --llm PATH");
    }
    eprintln!(
        "embedder   {} on {}",
        tutor.retrieval.embedding.info.model_id, tutor.retrieval.embedding.info.execution_provider
    );
    if let Some(reranker) = &tutor.retrieval.reranker {
        eprintln!("reranker   {}", reranker.info);
    }
    eprintln!("course     {} documents, {} pages, {} passages", stats.documents, stats.pages, stats.chunks);
    if stats.documents == 0 {
        eprintln!(
            "           nothing to answer from yet: run `mentor ingest --directory FOLDER`; no restart is needed"
        );
    }
    let who = match guard.mode() {
        Mode::Local => "this machine alone, without a key".to_owned(),
        Mode::Everybody => "EVERYBODY who reaches the address, without a key".to_owned(),
        Mode::Keys => format!("holders of API keys ({})", guard.live_keys()),
    };
    eprintln!("open to    {who}");
    let scheme = if guard.tls().is_some() { "https" } else { "http" };
    eprintln!("ready      {scheme}://{address} (after {:.1} s)", start.elapsed().as_secs_f64());
}

/// What tells the server to stop; a second one to hurry.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
