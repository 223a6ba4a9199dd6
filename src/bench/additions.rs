//! A store to which many small documents were added one at a time and which was then tidied, beside a fresh one of the same
//! documents. Both are asked in turn, question by question, so that whatever else the machine does is fair to both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mentor_actors::domain::{CorpusStats, EmbeddedChunk};
use mentor_actors::ports::{Corpus as _, Retriever, SearchQuery};
use mentor_engines::lance::{LanceCorpus, LanceRetriever, ReaderOptions, StoreIdentity, StoreSurvey};
use serde::Serialize;

use super::search::{self, CHUNKS_PER_DOCUMENT, CONTEXT_CHARS, Noise, QUESTIONS, SearchTimes, TOP_K};

/// Chunks of an addition: a short hand-out.
const CHUNKS_OF_ADDITION: usize = 2;
/// Fragments that may be left.
const MAX_FRAGMENTS: u64 = 10;
/// How much longer the slowest of twenty searches may take than in the fresh store.
const MAX_P95_RATIO: f64 = 1.2;
/// How much disk the store may take, in that of what it holds.
const MAX_DISK_RATIO: f64 = 2.0;

/// How it is to be measured.
#[derive(Debug, Clone)]
pub struct AdditionsLoad {
    /// Where the two stores are made.
    pub folder: PathBuf,
    /// Chunks that there are before the additions.
    pub chunks: usize,
    /// Documents that are added.
    pub additions: usize,
    /// Each addition ends as an ingest of its own, and not all of them together.
    pub one_ingest_each: bool,
    /// How often all questions are asked.
    pub rounds: usize,
    /// Ends of former ingests that are kept, as in the configuration.
    pub keep_versions: usize,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AdditionsFigures {
    /// Chunks of each store.
    pub chunks: u64,
    /// Documents that were added one at a time.
    pub additions: usize,
    /// What that took.
    pub add_seconds: f64,
    /// Fragments before the maintenance.
    pub fragments_before: u64,
    /// What the maintenance took.
    pub maintenance_seconds: f64,
    /// Fragments after it.
    pub fragments: u64,
    /// On disk, with kept versions and the search index.
    pub bytes: u64,
    /// What the newest version and its index need of that.
    pub live_bytes: u64,
    /// Both together, as a part.
    pub disk_ratio: f64,
    /// Searches in the fresh store, in milliseconds.
    pub fresh: SearchTimes,
    /// Searches in the one that was added to.
    pub maintained: SearchTimes,
    /// The latter's 95th percentile, in those of the fresh store.
    pub p95_ratio: f64,
}

impl AdditionsFigures {
    /// What is not as it should be, a line each.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let Self { fragments, p95_ratio, disk_ratio, .. } = *self;
        let lines = [
            (fragments > MAX_FRAGMENTS).then(|| format!("{fragments} fragments, more than {MAX_FRAGMENTS}")),
            (p95_ratio > MAX_P95_RATIO)
                .then(|| format!("p95 is {p95_ratio:.2} times that of the fresh store, more than {MAX_P95_RATIO}")),
            (disk_ratio > MAX_DISK_RATIO)
                .then(|| format!("{disk_ratio:.2} times the disk of the live data, more than {MAX_DISK_RATIO}")),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// Makes both stores out of the chunks of `source`, and asks them in turn.
///
/// # Errors
/// When there is something in the folder, or nothing in `source`; when the disk refuses, or the stores hold different documents.
pub fn measure_additions(source: &StoreSurvey, load: &AdditionsLoad) -> anyhow::Result<AdditionsFigures> {
    let real = source.embedded_chunks()?;
    ensure!(!real.is_empty(), "the store that the chunks come from has none");
    let [fresh, maintained] = ["fresh", "maintained"].map(|name| load.folder.join(name));
    for folder in [&fresh, &maintained] {
        ensure!(!folder.exists(), "{} is there already: give another folder, or remove it", folder.display());
    }
    let identity = source.identity();
    let mut making = Making::open(&fresh, identity, load, &real)?;
    making.put_books()?;
    making.put_additions(false)?;
    let expected = making.corpus.finish()?;
    drop(making);

    let mut making = Making::open(&maintained, identity, load, &real)?;
    making.put_books()?;
    making.corpus.finish()?;
    let start = Instant::now();
    making.put_additions(load.one_ingest_each)?;
    let add_seconds = start.elapsed().as_secs_f64();
    let fragments_before = stats_of(&maintained)?.0.fragments;
    let start = Instant::now();
    making.corpus.merge()?;
    let maintenance_seconds = start.elapsed().as_secs_f64();
    drop(making);

    let (stats, live_bytes) = stats_of(&maintained)?;
    ensure!(
        (stats.documents, stats.chunks) == (expected.documents, expected.chunks),
        "{} documents and {} chunks are there, not {} and {}",
        stats.documents,
        stats.chunks,
        expected.documents,
        expected.chunks
    );
    let questions = questions(&real);
    let [fresh, maintained] =
        super::runtime()?.block_on(ask_in_turn([&fresh, &maintained], identity, &questions, load.rounds))?;
    Ok(AdditionsFigures {
        chunks: stats.chunks,
        additions: load.additions,
        add_seconds,
        fragments_before,
        maintenance_seconds,
        fragments: stats.fragments,
        bytes: stats.bytes,
        live_bytes,
        disk_ratio: stats.bytes as f64 / live_bytes as f64,
        fresh,
        maintained,
        p95_ratio: maintained.p95 / fresh.p95,
    })
}

/// A store that is made. The same noise for both: they hold the same.
struct Making<'a> {
    corpus: LanceCorpus,
    load: &'a AdditionsLoad,
    real: &'a [EmbeddedChunk],
    noise: Noise,
}

impl<'a> Making<'a> {
    fn open(
        data_dir: &Path,
        identity: &StoreIdentity,
        load: &'a AdditionsLoad,
        real: &'a [EmbeddedChunk],
    ) -> anyhow::Result<Self> {
        let corpus = LanceCorpus::open(data_dir, identity)?.keeping(load.keep_versions);
        Ok(Self { corpus, load, real, noise: Noise::new() })
    }

    fn put_books(&mut self) -> anyhow::Result<()> {
        let chunks = self.load.chunks;
        for (number, first) in (0..chunks).step_by(CHUNKS_PER_DOCUMENT).enumerate() {
            self.put(number, first, CHUNKS_PER_DOCUMENT.min(chunks - first))?;
        }
        Ok(())
    }

    fn put_additions(&mut self, one_ingest_each: bool) -> anyhow::Result<()> {
        let (chunks, books) = (self.load.chunks, self.load.chunks.div_ceil(CHUNKS_PER_DOCUMENT));
        for number in 0..self.load.additions {
            self.put(books + number, chunks + number * CHUNKS_OF_ADDITION, CHUNKS_OF_ADDITION)?;
            if one_ingest_each {
                self.corpus.finish()?;
            }
        }
        Ok(())
    }

    fn put(&mut self, number: usize, first: usize, chunks: usize) -> anyhow::Result<()> {
        let written: Vec<EmbeddedChunk> =
            (first..first + chunks).map(|row| search::copy(row, first, self.real, &mut self.noise)).collect();
        Ok(self.corpus.put(&search::record(number, chunks), &written)?)
    }
}

/// What a store says of itself, and the bytes that its newest version needs.
fn stats_of(data_dir: &Path) -> anyhow::Result<(CorpusStats, u64)> {
    let survey = StoreSurvey::open(data_dir)?.context("the store is gone")?;
    Ok((survey.stats()?, survey.live_bytes()?))
}

fn questions(real: &[EmbeddedChunk]) -> Vec<SearchQuery> {
    let mut noise = Noise::new();
    let query = |number| SearchQuery {
        text: search::question_text(number, real),
        embedding: noise.near(&real[search::question(number, real)].1),
        top_k: TOP_K,
        context_chars: CONTEXT_CHARS,
        documents: Vec::new(),
    };
    (0..QUESTIONS).map(query).collect()
}

/// Asks both each question, the one first and next time the other. The first round warms up.
async fn ask_in_turn(
    folders: [&PathBuf; 2],
    identity: &StoreIdentity,
    questions: &[SearchQuery],
    rounds: usize,
) -> anyhow::Result<[SearchTimes; 2]> {
    let open = |folder: &PathBuf| LanceRetriever::open(folder, identity, ReaderOptions::default()).map(Arc::new);
    let stores = [open(folders[0])?, open(folders[1])?];
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..=rounds {
        for (number, question) in questions.iter().enumerate() {
            for turn in 0..2 {
                let which = (round + number + turn) % 2;
                let asked = question.clone();
                let start = Instant::now();
                stores[which].search(asked).await?;
                if round > 0 {
                    times[which].push(start.elapsed());
                }
            }
        }
    }
    Ok(times.map(SearchTimes::of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_is_held_or_named() {
        let times = SearchTimes { p50: 1.0, p95: 2.0, max: 3.0 };
        let good = AdditionsFigures {
            chunks: 1,
            additions: 1,
            add_seconds: 1.0,
            fragments_before: 100,
            maintenance_seconds: 1.0,
            fragments: 10,
            bytes: 200,
            live_bytes: 100,
            disk_ratio: 2.0,
            fresh: times,
            maintained: times,
            p95_ratio: 1.2,
        };
        assert_eq!(good.missed(), Vec::<String>::new());
        let bad = AdditionsFigures { fragments: 11, disk_ratio: 2.5, p95_ratio: 1.25, ..good };
        assert_eq!(
            bad.missed(),
            [
                "11 fragments, more than 10",
                "p95 is 1.25 times that of the fresh store, more than 1.2",
                "2.50 times the disk of the live data, more than 2"
            ]
        );
    }
}
