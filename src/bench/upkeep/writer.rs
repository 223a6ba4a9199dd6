//! The one writer: changes its documents, and tidies up after every few changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use mentor_actors::domain::{Chunk, DocumentRecord, EmbeddedChunk};
use mentor_actors::ports::Corpus as _;
use mentor_engines::lance::LanceCorpus;
use serde::Serialize;

use super::super::search::{self, Noise};
use super::DOCUMENTS;
use super::ledger::{Change, Ledger, document_id, document_word, hash_of, version_word};

/// Changes between two tidyings: a few uploads.
const CHANGES_A_ROUND: usize = 24;
/// Of four changes of a document that is there one removes it.
const REMOVED_OF: usize = 4;
/// Most chunks of a document.
const MAX_CHUNKS: usize = 6;
/// Words that a chunk has of the book's own, beside those that name it: few, so that no two chunks say the same.
const OWN_WORDS: usize = 12;

/// How often the writer did what.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Done {
    /// Documents that were not there.
    pub added: usize,
    /// Documents that were.
    pub replaced: usize,
    /// Documents taken away.
    pub removed: usize,
    /// Ends of an ingest: merging where it is worth it, removing old versions, indexing what is due.
    pub finished: usize,
    /// Merging of all small fragments.
    pub merged: usize,
    /// Search indexes made anew.
    pub reindexed: usize,
}

/// Writes to the store.
pub(super) struct Writer<'a> {
    pub corpus: LanceCorpus,
    pub ledger: &'a Mutex<Ledger>,
    pub real: &'a [EmbeddedChunk],
    pub noise: Noise,
    pub done: Done,
}

impl Writer<'_> {
    /// Writes every document once, and tidies up.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        (0..DOCUMENTS).try_for_each(|document| self.put(document))?;
        self.corpus.finish()?;
        Ok(())
    }

    /// Goes on until it is told to end; the last thing is to tidy up.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn run(&mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        for round in 0.. {
            for _ in 0..CHANGES_A_ROUND {
                if stop.load(Ordering::Relaxed) {
                    self.corpus.finish().context("the last end of an ingest failed")?;
                    self.done.finished += 1;
                    return Ok(());
                }
                self.change()?;
            }
            self.tidy(round)?;
        }
        Ok(())
    }

    fn change(&mut self) -> anyhow::Result<()> {
        let document = self.noise.below(DOCUMENTS);
        let is_there = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.after(document, ledger.begun()).is_some()
        };
        if is_there && self.noise.below(REMOVED_OF) == 0 {
            self.done.removed += 1;
            return self.remove(document);
        }
        *(if is_there { &mut self.done.replaced } else { &mut self.done.added }) += 1;
        self.put(document)
    }

    /// The end of an ingest mostly, now and then what an operator orders.
    fn tidy(&mut self, round: usize) -> anyhow::Result<()> {
        match round % 4 {
            1 => {
                self.done.merged += 1;
                self.corpus.merge().context("merging failed")?;
            }
            3 => {
                self.done.reindexed += 1;
                self.corpus.reindex().context("making the search index failed")?;
            }
            _ => {
                self.done.finished += 1;
                self.corpus.finish().context("the end of an ingest failed")?;
            }
        }
        Ok(())
    }

    fn put(&mut self, document: usize) -> anyhow::Result<()> {
        let chunks = 1 + self.noise.below(MAX_CHUNKS);
        let change = self.note(document, Some(chunks as u32));
        let written: Vec<EmbeddedChunk> = (0..chunks).map(|page| self.chunk(document, page, change)).collect();
        let record = DocumentRecord { id: document_id(document), hash: hash_of(change), ..search::record(0, chunks) };
        self.corpus.put(&record, &written).with_context(|| format!("change {change} failed"))?;
        self.acknowledge();
        Ok(())
    }

    fn remove(&mut self, document: usize) -> anyhow::Result<()> {
        let change = self.note(document, None);
        self.corpus.remove(&document_id(document)).with_context(|| format!("change {change} failed"))?;
        self.acknowledge();
        Ok(())
    }

    /// The first one is what readers search for: by a word that it alone has, and its very vector.
    fn chunk(&mut self, document: usize, page: usize, change: Change) -> EmbeddedChunk {
        let (chunk, vector) = &self.real[(anchor(document, self.real) + page) % self.real.len()];
        let words = chunk.text.split_whitespace().take(OWN_WORDS).collect::<Vec<_>>().join(" ");
        let (word, vector) = match page {
            0 => (document_word(document), vector.clone()),
            _ => (String::new(), self.noise.near(vector)),
        };
        let text = format!("{} {word} {words}", version_word(change));
        (Chunk { page: Some(page as u32 + 1), text, ..chunk.clone() }, vector)
    }

    fn note(&self, document: usize, chunks: Option<u32>) -> Change {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).begin(document, chunks)
    }

    fn acknowledge(&self) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).acknowledge();
    }
}

/// The real chunk whose vector a document's first one has.
pub(super) fn anchor(document: usize, real: &[EmbeddedChunk]) -> usize {
    search::question(document, real)
}
