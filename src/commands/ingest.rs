//! `mentor ingest`: makes the store what a folder is, once or for as long as the folder is watched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use mentor_actors::cancel::CancelToken;
use mentor_actors::ports::Corpus as _;
use mentor_actors::telemetry::Telemetry;
use mentor_engines::lance::LanceCorpus;
use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, silent};
use crate::cli::IngestArgs;
use crate::config::Config;
use crate::engines::{self, IngestEngines};
use crate::ingest::{
    Bars, CHUNKS_A_JOB, EmbedClock, Folder, Hashes, IngestParts, Plan, Report, Stop, Watch, discover, plan, run,
};

/// How often a watched folder is looked at; a change is ingested once it is seen twice.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// # Errors
/// A folder that is missing or empty, a store that is locked or was made with another embedder, a model that is missing.
pub fn ingest(config: &Config, arguments: &IngestArgs) -> anyhow::Result<u8> {
    let directory = arguments.directory.as_ref().unwrap_or(&config.materials_dir);
    let mut ingest = Ingest { config, arguments, directory, engines: None, clock: Arc::default() };
    if arguments.dry_run {
        return ingest.dry_run();
    }
    let result = if arguments.watch {
        ingest.watch()
    } else {
        ingest.once(arguments.overwrite, &Stop::default()).map(|report| report.exit_code())
    };
    if let Some(engines) = ingest.engines {
        engines.embedding.stop();
    }
    result
}

struct Ingest<'a> {
    config: &'a Config,
    arguments: &'a IngestArgs,
    directory: &'a Path,
    /// Loaded for the first ingest, kept for the next.
    engines: Option<IngestEngines>,
    clock: Arc<EmbedClock>,
}

impl Ingest<'_> {
    fn once(&mut self, overwrite: bool, stop: &Stop) -> anyhow::Result<Report> {
        let mut hashes = Hashes::read(&self.config.data_dir);
        // Before the models: a wrong folder should cost no waiting.
        let folder = discover(self.directory, &mut hashes)?;
        if self.engines.is_none() {
            let telemetry: Arc<dyn Telemetry> = self.clock.clone();
            self.engines = Some(engines::for_ingest(self.config, &telemetry)?);
        }
        let Some(engines) = &self.engines else { bail!("the embedder was not loaded") };
        let info = &engines.embedding.info;
        let report = if overwrite {
            let replacement = engines::begin_replacement(self.config)?;
            let mut corpus = engines::open_replacement(self.config, &replacement, &engines::identity(info))?;
            hashes.save();
            let report = self.sync(folder, &mut corpus, engines, stop)?;
            if stop.reading.is_cancelled() {
                bail!("stopped before everything was ingested: the store is what it was");
            }
            drop(corpus);
            replacement.swap()?;
            report
        } else {
            let mut corpus = engines::open_corpus(self.config, info)?;
            hashes.save();
            self.sync(folder, &mut corpus, engines, stop)?
        };
        if self.arguments.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{report}");
        }
        Ok(report)
    }

    /// Makes a store what the folder is.
    fn sync(
        &self,
        folder: Folder,
        corpus: &mut LanceCorpus,
        engines: &IngestEngines,
        stop: &Stop,
    ) -> anyhow::Result<Report> {
        let plan = plan(folder, corpus.documents()?, self.arguments.retry);
        eprintln!("{}: {}", self.directory.display(), plan.summary());
        let to_ingest = plan.to_ingest();
        let bytes = to_ingest.iter().map(|planned| planned.found.stamp.bytes).sum();
        let progress = Bars::new(to_ingest.len(), bytes, self.arguments.json);
        let parts = IngestParts {
            extractor: engines.extractor.clone(),
            readers: engines.readers,
            chunker: engines.chunker.clone(),
            embedding: engines.embedding.workers.clone(),
            workers: engines.embedding.count,
            chunks_a_job: CHUNKS_A_JOB,
            clock: self.clock.clone(),
        };
        run(&plan, &parts, corpus, &progress, stop)
    }

    /// Ingests whenever the folder has changed. An error is printed; what may succeed with the same files is tried again.
    fn watch(&mut self) -> anyhow::Result<u8> {
        let stop = Stop::default();
        stop_on_signal(stop.reading.clone())?;
        let mut watch = Watch::default();
        let mut overwrite = self.arguments.overwrite;
        while !stop.reading.is_cancelled() {
            match watch.look(self.directory) {
                Ok(false) => {}
                Ok(true) => match self.once(overwrite, &stop) {
                    Ok(report) => {
                        overwrite = false;
                        if report.passing > 0 { watch.try_again() } else { watch.is_done() }
                    }
                    Err(error) if stop.reading.is_cancelled() => eprintln!("mentor: {error:#}"),
                    Err(error) => {
                        eprintln!("mentor: {error:#}; trying again, later each time");
                        watch.try_again();
                    }
                },
                Err(reason) => eprintln!("mentor: {reason}; waiting for it"),
            }
            // Ends early when it is time to stop.
            drop(block_on(async { tokio::time::timeout(LOOK_EVERY, stop.reading.cancelled()).await })?);
        }
        Ok(0)
    }

    /// Compares folder and store without a lock and without writing.
    fn dry_run(&self) -> anyhow::Result<u8> {
        let folder = discover(self.directory, &mut Hashes::read(&self.config.data_dir))?;
        let stored = if self.arguments.overwrite {
            Vec::new()
        } else {
            let retrieval = engines::for_retrieval(self.config, &silent())?;
            let stored = block_on(retrieval.store.documents())??;
            retrieval.stop();
            stored
        };
        let plan: Plan = plan(folder, stored, self.arguments.retry);
        if self.arguments.json {
            println!("{}", plan.to_json());
        } else {
            println!("{plan}");
        }
        Ok(0)
    }
}

/// The first signal lets the running ingest end with the documents at hand, a second one ends the program at once, which
/// costs no document that was stored.
fn stop_on_signal(stop: CancelToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = async move {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            stop.cancel();
        }
    };
    let waiting = move || {
        let result: std::io::Result<()> = runtime.block_on(wait);
        if let Err(error) = result {
            tracing::warn!(%error, "signals cannot be waited for");
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(waiting)?;
    Ok(())
}
