//! What a job does: the ingest of `mentor ingest`, with the server's own embedder, whose questions go first.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mentor_actors::domain::{DocumentId, DocumentRecord, EngineError, ErrorCode, TurnError};
use mentor_actors::ports::{Corpus, Retriever};

use super::job::{DocumentResult, Job, Order};
use super::progress::JobProgress;
use super::queue::Runner;
use crate::config::Config;
use crate::engines::{self, SharedEmbedder};
use crate::ingest::{Folder, Hashes, Plan, Stop, discover, discover_if_any, find, plan, run};
use crate::metrics::Metrics;

/// When it makes sense to try again while another process writes to the store.
const WRITER_WAIT: Duration = Duration::from_secs(5);

/// Ingests the folder of course materials into the store.
pub struct FolderIngest {
    /// What is configured.
    pub config: Config,
    /// Embeds chunks when no question waits.
    pub embedder: SharedEmbedder,
    /// Told to look for the new version at the end of a job.
    pub store: Arc<dyn Retriever>,
    /// Counts documents and chunks.
    pub metrics: Arc<Metrics>,
}

impl Runner for FolderIngest {
    fn run(&mut self, job: &Job) -> Result<(), TurnError> {
        self.ingest(job).map_err(|error| for_clients(job, &error))?;
        // Who hears that the job has ended finds what it stored. An error is the next question's.
        let seen = self.store.documents();
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
            drop(runtime.block_on(seen));
        }
        Ok(())
    }
}

impl FolderIngest {
    fn ingest(&self, job: &Job) -> anyhow::Result<()> {
        let stop = Stop { storing: job.cancel_token().clone(), ..Stop::default() };
        let parts = engines::for_job(&self.config, &self.embedder, &stop.storing)?;
        // From here on nobody else writes, so what the folder is compared with stays as it is.
        let mut corpus = engines::open_corpus(&self.config, &self.embedder.info)?;
        let plan = self.plan(job.order(), corpus.documents()?)?;
        let progress = JobProgress::new(job, &self.metrics, &plan);
        // What upkeep could not do is in the log.
        run(&plan, &parts, &mut corpus, &progress, &stop)?;
        report_others(job, &progress, &plan);
        Ok(())
    }

    fn plan(&self, order: &Order, stored: Vec<DocumentRecord>) -> anyhow::Result<Plan> {
        match order {
            Order::Sync { retry } => Ok(plan(self.look(discover)?, stored, *retry)),
            Order::Take(ids) => Ok(plan(self.look(discover_if_any)?, stored, false).only(ids)),
            Order::Remove(id) => {
                if let Some(file) = find(&self.config.materials_dir, id)? {
                    std::fs::remove_file(file)?;
                }
                let only = BTreeSet::from([id.clone()]);
                Ok(plan(self.look(discover_if_any)?, stored, false).only(&only))
            }
        }
    }

    fn look(&self, discover: fn(&Path, &mut Hashes) -> anyhow::Result<Folder>) -> anyhow::Result<Folder> {
        let mut hashes = Hashes::read(&self.config.data_dir);
        let folder = discover(&self.config.materials_dir, &mut hashes)?;
        hashes.save();
        Ok(folder)
    }
}

/// What needed no reading: of the documents that the caller named each one, of a whole folder what is worth a line.
fn report_others(job: &Job, progress: &JobProgress<'_>, plan: &Plan) {
    for renamed in &plan.renamed {
        progress.document(&renamed.record.id, DocumentResult::Renamed { from: renamed.from.clone() });
    }
    if job.cancel_token().is_cancelled() {
        return; // what stands for the others may not be there
    }
    let is_named = |id: &DocumentId| match job.order() {
        Order::Take(ids) => ids.contains(id),
        Order::Remove(_) => false,
        Order::Sync { .. } => true,
    };
    for (copy, of) in plan.copies().into_iter().filter(|(copy, _)| is_named(copy)) {
        progress.document(copy, DocumentResult::Copy { of: of.clone() });
    }
    let failed_before = plan.failed_before.iter().filter_map(|record| {
        let failure = record.failure.as_ref()?;
        Some((&record.id, &failure.reason))
    });
    let unreadable = plan.unreadable.iter().map(|(id, reason)| (id, reason));
    for (id, reason) in failed_before.chain(unreadable).filter(|(id, _)| is_named(id)) {
        progress.document(id, DocumentResult::Failed { reason: reason.clone() });
    }
    match job.order() {
        Order::Sync { .. } => job.count_unchanged(plan.unchanged.len()),
        Order::Take(_) => {
            for record in plan.unchanged.iter().filter(|record| is_named(&record.id)) {
                progress.document(&record.id, DocumentResult::Unchanged);
            }
        }
        // The store had it under the name of a copy, or not at all.
        Order::Remove(id) if !plan.gone.contains(id) => progress.document(id, DocumentResult::Removed),
        Order::Remove(_) => {}
    }
}

/// An error as clients may read it: without paths. The log has it whole.
fn for_clients(job: &Job, error: &anyhow::Error) -> TurnError {
    if let Some(EngineError::Busy(reason)) = error.downcast_ref() {
        return TurnError::new(ErrorCode::Unavailable, reason.clone()).retry_after(WRITER_WAIT);
    }
    tracing::error!(job = job.id(), error = format!("{error:#}"), "an ingest job failed");
    let reason = "the folder (is it empty?) or the store cannot be used; the server's log says why";
    TurnError::new(ErrorCode::Unavailable, reason)
}
