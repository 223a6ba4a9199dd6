//! How fast passages are found in a large store. Real chunks are few: each stands in the store many times, its vector moved by noise
//! each time, so that there are as many different ones as are wanted, and as like each other as real ones are.
//!
//! [`make_store`] writes such a store through the port that an ingest uses, and beside it the vectors, the questions and the exact answers,
//! for other programs to be measured with the same. [`measure_search`] asks the store.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mentor_actors::domain::{Chunk, DocumentHash, DocumentId, DocumentKind, DocumentRecord, EmbeddedChunk};
use mentor_actors::ports::{Corpus as _, Retriever, SearchQuery};
use mentor_engines::lance::{LanceCorpus, StoreIdentity, StoreSurvey};
use serde::Serialize;

use super::cancel::mebibytes_of;
use super::{percentile, sorted};

/// Standard deviation of the noise, together over all values of a vector of length 1.
const NOISE: f32 = 0.5;
/// Chunks of a document: a book of 250 pages.
pub(super) const CHUNKS_PER_DOCUMENT: usize = 250;
pub(super) const QUESTIONS: usize = 1_000;
/// Passages that a question asks for.
pub(super) const TOP_K: usize = 10;
/// Words of a question, from the middle of the chunk it is near to.
const QUESTION_WORDS: usize = 8;
/// What a prompt has room for, in characters.
pub(super) const CONTEXT_CHARS: usize = 2_600;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct SearchBench(PathBuf);

/// What making the store took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MakeFigures {
    /// Chunks of the store.
    pub chunks: usize,
    /// From the first document to the end of the last one's commit.
    pub put_seconds: f64,
    /// Merging files and making the search index.
    pub finish_seconds: f64,
    /// On disk.
    pub bytes: u64,
}

/// Times of many searches, one after the other, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SearchTimes {
    /// Half of them took less.
    pub p50: f64,
    /// Of 20, 19 took less.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct SearchFigures {
    /// Chunks of the store.
    pub chunks: u64,
    /// What is said of the index.
    pub index: String,
    /// From opening the store to the first answer.
    pub open_seconds: f64,
    /// By vectors alone.
    pub vectors: SearchTimes,
    /// Of the ten nearest, so many were found.
    pub recall: f64,
    /// By vectors and words, with the passages grown.
    pub hybrid: SearchTimes,
    /// What the process has in main memory after all that, in MiB.
    pub resident_mebibytes: usize,
    /// How much of it is of files that the system may drop: nearly all the index.
    pub mapped_mebibytes: usize,
}

impl SearchBench {
    /// In `folder`, whether there is something or not.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The store's data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Whether the store was made to its end.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.0.join(NEAREST).exists()
    }
}

/// Files beside the store: numbers of 32 bits, or a line each.
const VECTORS: &str = "vectors.f32";
const QUESTION_VECTORS: &str = "questions.f32";
const QUESTION_TEXTS: &str = "questions.txt";
const NEAREST: &str = "nearest.u32";

/// Makes a store of `chunks` chunks out of those in `source`.
///
/// # Errors
/// When there is nothing in `source`, or the disk refuses.
pub fn make_store(bench: &SearchBench, source: &StoreSurvey, chunks: usize) -> anyhow::Result<MakeFigures> {
    let identity: &StoreIdentity = source.identity();
    let real = source.embedded_chunks()?;
    ensure!(!real.is_empty(), "the store that the chunks come from has none");
    fs::create_dir_all(&bench.0)?;
    let mut noise = Noise::new();
    let questions: Vec<Vec<f32>> = (0..QUESTIONS).map(|number| noise.near(&real[question(number, &real)].1)).collect();
    let mut nearest = vec![Nearest::default(); QUESTIONS];
    let mut vectors = BufWriter::new(File::create(bench.0.join(VECTORS))?);
    let mut corpus = LanceCorpus::open(&bench.data_dir(), identity)?;
    let mut put = Duration::ZERO;
    for first in (0..chunks).step_by(CHUNKS_PER_DOCUMENT) {
        let rows = first..chunks.min(first + CHUNKS_PER_DOCUMENT);
        let written: Vec<EmbeddedChunk> = rows.clone().map(|row| copy(row, first, &real, &mut noise)).collect();
        for (_, vector) in &written {
            vector.iter().try_for_each(|value| vectors.write_all(&value.to_le_bytes()))?;
        }
        compare(&questions, &written, first, &mut nearest);
        let record = record(first / CHUNKS_PER_DOCUMENT, written.len());
        let start = Instant::now();
        corpus.put(&record, &written)?;
        put += start.elapsed();
    }
    let start = Instant::now();
    let stats = corpus.finish()?;
    let finish_seconds = start.elapsed().as_secs_f64();
    vectors.flush()?;
    write_questions(bench, &questions, &real, &nearest)?;
    Ok(MakeFigures { chunks, put_seconds: put.as_secs_f64(), finish_seconds, bytes: stats.bytes })
}

/// The chunk that a question is near to.
pub(super) fn question(number: usize, real: &[EmbeddedChunk]) -> usize {
    number * 7_919 % real.len()
}

pub(super) fn copy(row: usize, first: usize, real: &[EmbeddedChunk], noise: &mut Noise) -> EmbeddedChunk {
    let (chunk, vector) = &real[row % real.len()];
    // Each on a page of its own: a search gives one passage a page.
    (Chunk { page: Some((row - first) as u32 + 1), ..chunk.clone() }, noise.near(vector))
}

pub(super) fn record(number: usize, chunks: usize) -> DocumentRecord {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
    DocumentRecord {
        id: DocumentId(format!("{number}.pdf")),
        hash: DocumentHash(hash),
        kind: DocumentKind::Pdf,
        pages: chunks as u32,
        failed_pages: Vec::new(),
        chunks: chunks as u32,
        copies: Vec::new(),
        failure: None,
        bytes: None,
        stored_at_s: None,
    }
}

/// Words out of the chunk that a question is near to.
pub(super) fn question_text(number: usize, real: &[EmbeddedChunk]) -> String {
    let words: Vec<&str> = real[question(number, real)].0.text.split_whitespace().collect();
    words[words.len() / 3..].iter().take(QUESTION_WORDS).copied().collect::<Vec<_>>().join(" ")
}

/// The nearest rows of a question so far, nearest first.
#[derive(Debug, Clone, Default)]
struct Nearest(Vec<(f32, u32)>);

impl Nearest {
    fn offer(&mut self, likeness: f32, row: u32) {
        if self.0.len() < TOP_K || self.0.last().is_some_and(|(worst, _)| likeness > *worst) {
            let place = self.0.partition_point(|(better, _)| *better >= likeness);
            self.0.insert(place, (likeness, row));
            self.0.truncate(TOP_K);
        }
    }
}

fn compare(questions: &[Vec<f32>], written: &[EmbeddedChunk], first: usize, nearest: &mut [Nearest]) {
    let share = questions.len().div_ceil(thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| {
        for (questions, nearest) in questions.chunks(share).zip(nearest.chunks_mut(share)) {
            scope.spawn(move || {
                for (question, nearest) in questions.iter().zip(nearest) {
                    for ((_, vector), row) in written.iter().zip(first as u32..) {
                        nearest.offer(product(question, vector), row);
                    }
                }
            });
        }
    });
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

fn write_questions(
    bench: &SearchBench,
    questions: &[Vec<f32>],
    real: &[EmbeddedChunk],
    nearest: &[Nearest],
) -> anyhow::Result<()> {
    let bytes: Vec<u8> = questions.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(bench.0.join(QUESTION_VECTORS), bytes)?;
    let texts: Vec<String> = (0..questions.len()).map(|number| question_text(number, real)).collect();
    fs::write(bench.0.join(QUESTION_TEXTS), texts.join("\n"))?;
    let rows: Vec<u8> = nearest.iter().flat_map(|found| &found.0).flat_map(|(_, row)| row.to_le_bytes()).collect();
    // Last: it says that everything is there.
    Ok(fs::write(bench.0.join(NEAREST), rows)?)
}

/// Asks the store that was made; `open` opens it for searching.
///
/// # Errors
/// When a file is missing, or a search fails.
pub async fn measure_search(
    bench: &SearchBench,
    open: impl FnOnce(&Path) -> anyhow::Result<Arc<dyn Retriever>>,
) -> anyhow::Result<SearchFigures> {
    let words: Vec<String> = fs::read_to_string(bench.0.join(QUESTION_TEXTS))?.lines().map(str::to_owned).collect();
    let vectors: Vec<f32> = numbers(&bench.0.join(QUESTION_VECTORS), f32::from_le_bytes)?;
    let nearest: Vec<u32> = numbers(&bench.0.join(NEAREST), u32::from_le_bytes)?;
    let query = |number: usize, text: &str, context_chars: usize| SearchQuery {
        text: text.to_owned(),
        embedding: vectors.chunks_exact(vectors.len() / QUESTIONS).nth(number).unwrap_or_default().to_vec(),
        top_k: TOP_K,
        context_chars,
        documents: Vec::new(),
    };
    let start = Instant::now();
    let store = open(&bench.data_dir())?;
    store.search(query(0, &words[0], CONTEXT_CHARS)).await?;
    let open_seconds = start.elapsed().as_secs_f64();
    // The first round warms up.
    let (mut by_vectors, mut hybrid, mut found) = (Vec::new(), Vec::new(), 0);
    for _ in 0..2 {
        (by_vectors, hybrid, found) = (Vec::new(), Vec::new(), 0);
        for (number, nearest) in nearest.chunks_exact(TOP_K).enumerate() {
            let asked = query(number, "", 0);
            let start = Instant::now();
            let answer = store.search(asked).await?;
            by_vectors.push(start.elapsed());
            found += answer.passages.iter().filter(|hit| nearest.contains(&row_of(&hit.passage))).count();
        }
        for (number, text) in words.iter().enumerate() {
            let asked = query(number, text, CONTEXT_CHARS);
            let start = Instant::now();
            store.search(asked).await?;
            hybrid.push(start.elapsed());
        }
    }
    let stats = store.stats().await?;
    Ok(SearchFigures {
        chunks: stats.chunks,
        index: stats.index_state,
        open_seconds,
        vectors: SearchTimes::of(by_vectors),
        recall: found as f64 / nearest.len() as f64,
        hybrid: SearchTimes::of(hybrid),
        resident_mebibytes: mebibytes_of("VmRSS:"),
        mapped_mebibytes: mebibytes_of("RssFile:"),
    })
}

fn row_of(passage: &mentor_actors::domain::Passage) -> u32 {
    let number: u32 = passage.document_id.0.trim_end_matches(".pdf").parse().unwrap_or_default();
    number * CHUNKS_PER_DOCUMENT as u32 + passage.page.unwrap_or_default() - 1
}

fn numbers<T>(path: &Path, of: fn([u8; 4]) -> T) -> anyhow::Result<Vec<T>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| of(*bytes)).collect())
}

impl SearchTimes {
    pub(super) fn of(times: Vec<Duration>) -> Self {
        let times = sorted(times.into_iter().map(|time| time.as_secs_f64() * 1e3));
        let [p50, p95, max] = [50, 95, 100].map(|percent| percentile(&times, percent));
        Self { p50, p95, max }
    }
}

/// Numbers that look random and are the same every time.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new() -> Self {
        Self(0x5eed)
    }

    /// 24 bits: xorshift64*.
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40
    }

    /// From 0 to 1, without 0.
    fn next(&mut self) -> f32 {
        (self.bits() + 1) as f32 / (1_u64 << 24) as f32
    }

    /// A number below `end`, which is small.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.bits() as usize % end
    }

    /// A vector of length 1 beside `vector`. Normal noise, two values at a time (Box and Muller, 1958).
    pub(super) fn near(&mut self, vector: &[f32]) -> Vec<f32> {
        let deviation = NOISE / (vector.len() as f32).sqrt();
        let mut moved = vector.to_vec();
        for pair in moved.chunks_mut(2) {
            let (radius, angle) = (deviation * (-2.0 * self.next().ln()).sqrt(), std::f32::consts::TAU * self.next());
            pair.iter_mut().zip([angle.cos(), angle.sin()]).for_each(|(value, side)| *value += radius * side);
        }
        let length = product(&moved, &moved).sqrt();
        moved.into_iter().map(|value| value / length).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_moves_a_vector_by_as_much_as_is_said() {
        let mut vector = vec![0.0; 384];
        vector[3] = 1.0;
        let mut noise = Noise(7);
        let cosines: Vec<f32> = (0..200).map(|_| product(&noise.near(&vector), &vector)).collect();
        let expected = 1.0 / (1.0 + NOISE * NOISE).sqrt();
        let average = cosines.iter().sum::<f32>() / cosines.len() as f32;
        assert!((average - expected).abs() < 0.01, "{average} {expected}");
    }

    #[test]
    fn the_nearest_rows_are_kept_over_all_documents() {
        let chunk = |vector: Vec<f32>| {
            let chunk = Chunk { page: None, section: None, span: Default::default(), text: String::new(), tokens: 0 };
            (chunk, vector)
        };
        let mut nearest = vec![Nearest::default()];
        for first in (0..40).step_by(10) {
            let written: Vec<_> = (first..first + 10).map(|row| chunk(vec![1.0, (row as f32 - 17.2).abs()])).collect();
            compare(&[vec![0.0, -1.0]], &written, first, &mut nearest);
        }
        let rows: Vec<u32> = nearest[0].0.iter().map(|(_, row)| *row).collect();
        assert_eq!(rows[..4], [17, 18, 16, 19]);
        assert_eq!(rows.len(), TOP_K);
    }
}
