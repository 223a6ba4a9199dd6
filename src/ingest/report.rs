//! What an ingest did, for people and for programs.

use std::fmt::{self, Display};

use mentor_actors::domain::CorpusStats;
use serde::Serialize;

use super::Plan;
use super::pipeline::page_failures;

/// Something that could not be ingested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failure {
    /// Which document.
    pub document: String,
    /// Which page; the whole document when `None`.
    pub page: Option<u32>,
    /// Why.
    pub reason: String,
}

/// Where the time went, in seconds of each stage's own work; the stages overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageSeconds {
    /// Reading text out of files.
    pub extract: f64,
    /// Cutting it into chunks, tokenising included.
    pub chunk: f64,
    /// Embedding, summed over the workers and divided by their number.
    pub embed: f64,
    /// Writing and tidying the store.
    pub write: f64,
}

/// A file with the content of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Which file.
    pub document: String,
    /// The document that stands for it.
    pub of: String,
}

/// The result of an ingest.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Documents stored in this run.
    pub ingested: usize,
    /// Documents that were already there.
    pub unchanged: usize,
    /// Documents removed.
    pub removed: usize,
    /// Documents that were given another name.
    pub renamed: usize,
    /// Files that are stored under the name of another one with the same content.
    pub copies: Vec<Copied>,
    /// Pages of the documents stored in this run.
    pub pages: u64,
    /// Chunks stored in this run.
    pub chunks: u64,
    /// Tokens embedded in this run.
    pub tokens: u64,
    /// From start to end.
    pub seconds: f64,
    /// Where they went.
    pub stages: StageSeconds,
    /// Pages and documents without text, also those remembered from earlier runs.
    pub failures: Vec<Failure>,
    /// How many of them failed for want of something that passes, such as a process to read them in: the next run tries again.
    pub passing: usize,
    /// Chunks in the store now.
    pub chunks_in_store: u64,
    /// Documents in the store now.
    pub documents_in_store: u64,
    /// What the store's upkeep could not do, with the reason: everything is stored all the same.
    pub undone: Vec<String>,
}

impl Report {
    /// Exit code of the command: 0 when everything was ingested, 3 when something failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.failures.is_empty() { 0 } else { 3 }
    }

    /// What is known before anything is done.
    pub(super) fn of(plan: &Plan) -> Self {
        let whole = |document: &str, reason: &str| Failure {
            document: document.to_owned(),
            page: None,
            reason: reason.to_owned(),
        };
        let failed_before = plan
            .failed_before
            .iter()
            .filter_map(|record| record.failure.as_ref().map(|failure| whole(&record.id.0, &failure.reason)));
        let unreadable = plan.unreadable.iter().map(|(id, reason)| whole(&id.0, reason));
        let renamed = plan.renamed.iter().map(|renamed| &renamed.record);
        let pages = plan.unchanged.iter().chain(renamed).flat_map(page_failures);
        let copied = |(copy, of): (&_, &_)| {
            let name = |id: &mentor_actors::domain::DocumentId| id.0.clone();
            Copied { document: name(copy), of: name(of) }
        };
        Self {
            unchanged: plan.unchanged.len(),
            renamed: plan.renamed.len(),
            copies: plan.copies().into_iter().map(copied).collect(),
            failures: failed_before.chain(unreadable).chain(pages).collect(),
            ..Self::default()
        }
    }

    pub(super) fn close(&mut self, stats: &CorpusStats) {
        self.failures.sort();
        self.chunks_in_store = stats.chunks;
        self.documents_in_store = stats.documents;
        self.undone.clone_from(&stats.undone);
    }

    /// Part of the time in which the embedder worked, 0 to 1.
    fn embedder_busy(&self) -> f64 {
        if self.seconds > 0.0 { self.stages.embed / self.seconds } else { 0.0 }
    }
}

/// `count / seconds`, or zero for no time.
#[allow(clippy::cast_precision_loss)] // counts of pages and tokens are far below 2^52
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12}{:>10}", "documents", self.ingested)?;
        writeln!(f, "{:<12}{:>10}   {:.1} pages/s", "pages", self.pages, rate(self.pages, self.seconds))?;
        writeln!(f, "{:<12}{:>10}", "chunks", self.chunks)?;
        writeln!(f, "{:<12}{:>10}   {:.0} tokens/s", "tokens", self.tokens, rate(self.tokens, self.seconds))?;
        let StageSeconds { extract, chunk, embed, write } = self.stages;
        writeln!(
            f,
            "{:<12}{:>10.1}   extract {extract:.1}, chunk {chunk:.1}, embed {embed:.1} (busy {:.0} %), write {write:.1}",
            "seconds",
            self.seconds,
            100.0 * self.embedder_busy()
        )?;
        writeln!(f, "{:<12}{:>10}   removed {}, renamed {}", "unchanged", self.unchanged, self.removed, self.renamed)?;
        write!(f, "{:<12}{:>10}   in {} documents", "in store", self.chunks_in_store, self.documents_in_store)?;
        for Copied { document, of } in &self.copies {
            write!(f, "\ncopy        {document} is stored as {of}")?;
        }
        for reason in &self.undone {
            write!(f, "\nupkeep      {reason}; everything is stored, `mentor compact` tries again")?;
        }
        if !self.failures.is_empty() {
            write!(f, "\n\nwithout text ({}):", self.failures.len())?;
        }
        for Failure { document, page, reason } in &self.failures {
            match page {
                Some(page) => write!(f, "\n  {document}, page {page}: {reason}")?,
                None => write!(f, "\n  {document}: {reason}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_listed_with_page_and_reason_and_decide_the_exit_code() {
        let failure = Failure { document: "a.pdf".into(), page: Some(84), reason: "broken font".into() };
        let report = Report { failures: vec![failure], ..Report::default() };
        assert!(report.to_string().ends_with("  a.pdf, page 84: broken font"));
        assert_eq!((report.exit_code(), Report::default().exit_code()), (3, 0));
    }

    #[test]
    fn upkeep_that_was_not_done_is_told_and_is_no_failure() {
        let mut report = Report::default();
        report.close(&CorpusStats { undone: vec!["no space left".into()], ..CorpusStats::default() });
        assert!(report.to_string().contains("upkeep      no space left; everything is stored"), "{report}");
        assert_eq!(report.exit_code(), 0);
    }
}
