//! Searching a large store while one writer adds, replaces and removes documents and tidies up all the time.
//!
//! The writer notes each change before and after it makes it (`ledger`), and marks what it writes with words of its own. So of every
//! answer can be said whether it is one that the store may give at that moment: nothing lost, nothing double, nothing that was
//! removed, no two versions of a document. The readers share one [`Retriever`] that refreshes itself, as a server's do.
//!
//! It works in a copy of the store of `mentor bench search`, which stays as it is.

mod ledger;
mod readers;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mentor_actors::ports::Retriever;
use mentor_engines::lance::{INDEX_FROM, LanceCorpus, LanceRetriever, ReaderOptions, Severity, StoreSurvey, examine};
use serde::Serialize;

use super::search::{Noise, SearchBench, SearchTimes};
use ledger::{Ledger, document_number, version_in};
use readers::{Heard, Questions, Reading};
pub use writer::Done;
use writer::Writer;

/// Documents that the writer has to itself: a course's.
const DOCUMENTS: usize = 48;
/// Part of the time beside the writer for which readers ask alone, before it and once more after it.
const ALONE: f64 = 0.1;
/// Fewer chunks cannot fill every answer.
const MIN_CHUNKS: u64 = 1_000;
/// The store's folder in its data folder.
const DATASET: &str = "corpus.lance";
/// How much longer the slowest of twenty searches may take beside the writer.
const MAX_P95_RATIO: f64 = 2.0;

/// How it is to be measured.
#[derive(Debug, Clone, Copy)]
pub struct UpkeepLoad {
    /// Readers that ask one question after the other.
    pub readers: usize,
    /// How long beside the writer.
    pub time: Duration,
    /// Ends of former ingests that are kept, as in the configuration.
    pub keep_versions: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct UpkeepFigures {
    /// Chunks of the store, without the writer's.
    pub chunks: u64,
    /// Readers.
    pub readers: usize,
    /// How long beside the writer.
    pub seconds: f64,
    /// Answers with nothing else at work, and their times.
    pub alone_answers: usize,
    /// In milliseconds.
    pub alone: SearchTimes,
    /// Answers beside the writer.
    pub beside_answers: usize,
    /// In milliseconds.
    pub beside: SearchTimes,
    /// The 95th percentile beside the writer, in those of alone.
    pub p95_ratio: f64,
    /// What the writer did meanwhile.
    pub done: Done,
    /// Searches that failed.
    pub errors: usize,
    /// Answers, lists and rows with something lost, double or out of date.
    pub wrong: usize,
    /// The first of both.
    pub complaints: Vec<String>,
}

impl UpkeepFigures {
    /// What is not as it should be, a line each.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let mut missed = self.complaints.clone();
        if self.errors + self.wrong > 0 {
            missed.push(format!("{} searches failed, {} answers were wrong", self.errors, self.wrong));
        }
        if self.p95_ratio > MAX_P95_RATIO {
            missed.push(format!("p95 is {:.2} times that of alone, more than {MAX_P95_RATIO}", self.p95_ratio));
        }
        missed
    }
}

/// Measures a store that [`super::make_store`] made; `source` is where its chunks came from.
///
/// # Errors
/// When the disk refuses, or the writer fails: readers' errors are counted.
pub fn measure_upkeep(bench: &SearchBench, source: &StoreSurvey, load: UpkeepLoad) -> anyhow::Result<UpkeepFigures> {
    let data_dir = copy_of(bench)?;
    let real = source.embedded_chunks()?;
    ensure!(!real.is_empty(), "the store that the chunks come from has none");
    let before = StoreSurvey::open(&data_dir)?.context("the copy of the store is gone")?;
    let stats = before.stats()?;
    ensure!(stats.chunks >= MIN_CHUNKS, "{} chunks are too few, {MIN_CHUNKS} are needed", stats.chunks);
    let (identity, resting) = (before.identity().clone(), before.records().len());
    drop(before);

    let ledger = Mutex::new(Ledger::new(DOCUMENTS));
    let mut noise = Noise::new();
    let questions = Questions::of(&real, &mut noise);
    let corpus = LanceCorpus::open(&data_dir, &identity)?.keeping(load.keep_versions);
    let mut writer = Writer { corpus, ledger: &ledger, real: &real, noise, done: Done::default() };
    writer.begin()?;
    let store: Arc<dyn Retriever> = Arc::new(LanceRetriever::open(&data_dir, &identity, ReaderOptions::default())?);
    let reading = Reading { store, questions: &questions, ledger: &ledger, resting, seen: AtomicU64::new(0) };

    let quiet = load.time.mul_f64(ALONE);
    // Warms up, and is not counted.
    reading.read(load.readers, Instant::now() + quiet / 2)?;
    let mut alone = reading.read(load.readers, Instant::now() + quiet)?;
    let (beside, done) = read_beside(&reading, &mut writer, load)?;
    alone.add(reading.read(load.readers, Instant::now() + quiet)?);
    drop((reading, writer));

    let store: Arc<dyn Retriever> = Arc::new(LanceRetriever::open(&data_dir, &identity, ReaderOptions::default())?);
    let reopened = Reading { store, questions: &questions, ledger: &ledger, resting, seen: AtomicU64::new(0) };
    let mut at_rest = Heard::default();
    super::runtime()?.block_on(reopened.ask_for_all(&mut at_rest));
    drop(reopened);
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows_of(&data_dir, &ledger, stats.chunks, &mut at_rest)?;
    let figures = figures(load, stats.chunks, [alone, beside, at_rest], done);
    if figures.wrong == 0 {
        fs::remove_dir_all(&data_dir)?;
    }
    Ok(figures)
}

/// Readers while the writer is at work; what both did.
fn read_beside(reading: &Reading<'_>, writer: &mut Writer<'_>, load: UpkeepLoad) -> anyhow::Result<(Heard, Done)> {
    let stop = AtomicBool::new(false);
    writer.done = Done::default();
    thread::scope(|scope| {
        let writing = thread::Builder::new().name("writer".into()).spawn_scoped(scope, || {
            writer.run(&stop)?;
            anyhow::Ok(writer.done)
        })?;
        let heard = reading.read(load.readers, Instant::now() + load.time);
        stop.store(true, Ordering::Relaxed);
        let done = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((heard?, done))
    })
}

/// Sums up what was heard alone, beside the writer, and at the end.
fn figures(load: UpkeepLoad, chunks: u64, heard: [Heard; 3], done: Done) -> UpkeepFigures {
    let answers = heard.each_ref().map(|heard| heard.times.len());
    let [alone, beside, _] = heard.each_ref().map(|heard| SearchTimes::of(heard.times.clone()));
    let mut all = Heard::default();
    heard.into_iter().for_each(|heard| all.add(heard));
    UpkeepFigures {
        chunks,
        readers: load.readers,
        seconds: load.time.as_secs_f64(),
        alone_answers: answers[0],
        alone,
        beside_answers: answers[1],
        beside,
        p95_ratio: beside.p95 / alone.p95,
        done,
        errors: all.errors,
        wrong: all.wrong,
        complaints: all.complaints,
    }
}

/// Whether every row of the store is as the ledger says, and nothing is wrong with the store itself.
fn rows_of(data_dir: &Path, ledger: &Ledger, resting_chunks: u64, heard: &mut Heard) -> anyhow::Result<()> {
    let survey = StoreSurvey::open(data_dir)?.context("the copy of the store is gone")?;
    let expected = ledger.all_after(ledger.acknowledged());
    let (mut resting, mut found) = (0, 0);
    let mut documents = survey.documents_with_text();
    while let Some(document) = documents.blocking_recv() {
        let (record, chunks) = document?;
        let Some(number) = document_number(&record.id) else {
            resting += chunks.len() as u64;
            continue;
        };
        found += 1;
        let is_whole = expected.get(&number).is_some_and(|version| {
            let pages = chunks.iter().map(|chunk| chunk.page);
            let is_its = chunks.iter().all(|chunk| version_in(&chunk.text) == Some(version.change));
            is_its && pages.eq((1..=version.chunks).map(Some))
        });
        if !is_whole {
            let should = expected.get(&number);
            heard.complain(format!("at the end {} has {} chunks: {record:?}, not {should:?}", record.id, chunks.len()));
        }
    }
    if (resting, found) != (resting_chunks, expected.len()) {
        heard.complain(format!(
            "at the end there are {found} documents of the writer and {resting} other chunks, not {} and {resting_chunks}",
            expected.len()
        ));
    }
    let findings = examine(data_dir, Some(survey.identity()), INDEX_FROM)?;
    for finding in findings.into_iter().filter(|finding| finding.severity == Severity::Problem) {
        heard.complain(format!("at the end the doctor finds: {}", finding.message));
    }
    Ok(())
}

/// A copy of the bench's store by links: a store's files are written once and never changed. A former copy goes.
fn copy_of(bench: &SearchBench) -> anyhow::Result<PathBuf> {
    let data_dir = bench.data_dir().with_file_name("upkeep");
    match fs::remove_dir_all(&data_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    link(&bench.data_dir().join(DATASET), &data_dir.join(DATASET))?;
    Ok(data_dir)
}

fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link(&path, &copy)?;
        } else if fs::hard_link(&path, &copy).is_err() {
            fs::copy(&path, &copy).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(errors: usize, wrong: usize, beside_p95: f64) -> Vec<String> {
        let times = |p95| SearchTimes { p50: 1.0, p95, max: 9.0 };
        let figures = UpkeepFigures {
            chunks: 1,
            readers: 4,
            seconds: 1.0,
            alone_answers: 1,
            alone: times(2.0),
            beside_answers: 1,
            beside: times(beside_p95),
            p95_ratio: beside_p95 / 2.0,
            done: Done::default(),
            errors,
            wrong,
            complaints: Vec::new(),
        };
        figures.missed()
    }

    #[test]
    fn one_error_or_one_wrong_answer_is_too_many_and_so_is_more_than_twice_the_time() {
        assert_eq!(measured(0, 0, 4.0), Vec::<String>::new());
        assert_eq!(measured(1, 0, 4.0), ["1 searches failed, 0 answers were wrong"]);
        assert_eq!(measured(0, 2, 4.0), ["0 searches failed, 2 answers were wrong"]);
        assert_eq!(measured(0, 0, 4.1), ["p95 is 2.05 times that of alone, more than 2"]);
    }
}
