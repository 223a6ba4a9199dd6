//! An ingest's progress, told to its job and to the metrics.

use mentor_actors::domain::{DocumentId, DocumentRecord};

use super::job::{DocumentResult, Job, Stage};
use crate::ingest::{Plan, Progress};
use crate::metrics::Metrics;

/// Tells a job what its ingest does.
pub(super) struct JobProgress<'a> {
    job: &'a Job,
    metrics: &'a Metrics,
}

impl<'a> JobProgress<'a> {
    /// For a job that carries out that plan.
    pub(super) fn new(job: &'a Job, metrics: &'a Metrics, plan: &Plan) -> Self {
        let documents = plan.to_ingest();
        let total = |count: usize| Stage { done: 0, total: count as u64 };
        job.advance(|stages| {
            stages.extract.total = documents.iter().map(|planned| planned.found.stamp.bytes).sum();
            stages.write = total(documents.len());
        });
        Self { job, metrics }
    }

    /// A document is done with.
    pub(super) fn document(&self, id: &DocumentId, result: DocumentResult) {
        let outcome = match &result {
            DocumentResult::Ingested { .. } => Some("ingested"),
            DocumentResult::Failed { .. } => Some("failed"),
            DocumentResult::Removed => Some("removed"),
            DocumentResult::Renamed { .. } => Some("renamed"),
            DocumentResult::Copy { .. } | DocumentResult::Unchanged => None,
        };
        if let Some(outcome) = outcome {
            self.metrics.ingest_documents.with_label_values(&[outcome]).inc();
        }
        self.job.document(id.clone(), result);
    }
}

impl Progress for JobProgress<'_> {
    fn extracted(&self, _: &DocumentId, bytes: u64) {
        self.job.advance(|stages| stages.extract.done += bytes);
    }

    fn to_embed(&self, chunks: usize) {
        self.job.advance(|stages| stages.embed.total += chunks as u64);
    }

    fn embedded(&self, chunks: usize) {
        self.job.advance(|stages| stages.embed.done += chunks as u64);
    }

    fn written(&self, record: &DocumentRecord) {
        self.metrics.ingest_chunks.inc_by(u64::from(record.chunks));
        let DocumentRecord { pages, chunks, failed_pages, .. } = record.clone();
        self.document(&record.id, DocumentResult::Ingested { pages, chunks, failed_pages });
        self.job.advance(|stages| stages.write.done += 1);
    }

    fn failed(&self, id: &DocumentId, reason: &str) {
        self.document(id, DocumentResult::Failed { reason: reason.to_owned() });
        self.job.advance(|stages| stages.write.done += 1);
    }

    fn removed(&self, id: &DocumentId) {
        self.document(id, DocumentResult::Removed);
    }

    fn finish(&self) {}
}
