//! Writers killed at random moments of everything they do: what they acknowledged is there, wholly, and of the one thing they
//! were at either all or nothing.
//!
//! `MENTOR_TEST_KILLS` sets how many are killed (40 otherwise).
#![cfg(feature = "lance")]

mod lance_support;

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lance_support::{Random, document, identity, query};
use mentor_actors::domain::{DocumentId, DocumentRecord};
use mentor_actors::ports::{Corpus, Retriever};
use mentor_engines::lance::{
    INDEX_FROM, LanceCorpus, LanceRetriever, ReaderOptions, Replacement, StoreSurvey, examine,
};

/// Set in the process that is to be killed: the data folder it writes to, and the number of its first step.
const VICTIM: &str = "MENTOR_TEST_RANDOM_VICTIM";
const FIRST: &str = "MENTOR_TEST_FIRST_STEP";
const SWAPPER: &str = "MENTOR_TEST_SWAPPING_VICTIM";
const DOCUMENTS: u64 = 6;
const INDEXED_FROM: usize = 4;

/// What a document is: the step that wrote it, how many chunks that gave it, and the step that noted something last.
type Document = (u64, usize, u64);
type State = BTreeMap<String, Document>;

/// What a store should hold.
#[derive(Debug, Clone, Default)]
struct Model {
    state: State,
    tags: BTreeMap<String, State>,
}

#[derive(Debug, Clone)]
enum Step {
    Put(String),
    Remove(String),
    Rename(String, String),
    Note(String),
    Finish,
    Reindex,
    Tag(String),
    RollBack(String),
    Nothing,
}

fn name(number: u64) -> String {
    format!("{}.pdf", number % DOCUMENTS)
}

fn chunks_of(step: u64) -> usize {
    1 + (step % 4) as usize
}

impl Model {
    /// The model after all steps before `step`.
    fn before(step: u64) -> Self {
        let mut model = Self::default();
        (0..step).for_each(|number| model.apply(number));
        model
    }

    /// What step `number` does; always the same.
    fn step(&self, number: u64) -> Step {
        let mut random = Random::new(number + 1);
        let (kind, a, b) = (random.below(100), random.below(DOCUMENTS), random.below(DOCUMENTS));
        let tag = format!("t{}", a % 2);
        match kind {
            0..50 => Step::Put(name(a)),
            50..62 if self.state.contains_key(&name(a)) => Step::Remove(name(a)),
            62..74 if self.state.contains_key(&name(a)) && a != b => Step::Rename(name(a), name(b)),
            74..82 if self.state.contains_key(&name(a)) => Step::Note(name(a)),
            82..88 => Step::Finish,
            88..92 => Step::Reindex,
            92..96 => Step::Tag(tag),
            96.. if self.tags.contains_key(&tag) => Step::RollBack(tag),
            _ => Step::Nothing,
        }
    }

    fn apply(&mut self, number: u64) {
        match self.step(number) {
            Step::Put(id) => drop(self.state.insert(id, (number, chunks_of(number), 0))),
            Step::Remove(id) => drop(self.state.remove(&id)),
            Step::Rename(from, to) => {
                let moved = self.state.remove(&from).unwrap();
                self.state.insert(to, moved);
            }
            Step::Note(id) => self.state.get_mut(&id).unwrap().2 = number,
            Step::Tag(tag) => drop(self.tags.insert(tag, self.state.clone())),
            Step::RollBack(tag) => self.state = self.tags[&tag].clone(),
            Step::Finish | Step::Reindex | Step::Nothing => {}
        }
    }
}

fn record(id: &str, (step, chunks, note): Document) -> DocumentRecord {
    let (record, _) = document(id, step, vec![vec![1.0, 0.0]; chunks]);
    DocumentRecord { failed_pages: vec![(note as u32, "noted".into())], ..record }
}

fn open(data_dir: &Path) -> LanceCorpus {
    // Few chunks have an index already, so that making one is among what is killed.
    LanceCorpus::open(data_dir, &identity(2)).unwrap().keeping(1).indexed_from(INDEXED_FROM)
}

/// Not a test by itself: what a killed process runs.
#[test]
fn does_one_step_after_the_other_until_it_is_killed() {
    let Ok(data_dir) = env::var(VICTIM) else { return };
    let (data_dir, first) = (Path::new(&data_dir), env::var(FIRST).unwrap().parse().unwrap());
    let mut model = Model::before(first);
    let mut corpus = open(data_dir);
    for number in first.. {
        match model.step(number) {
            Step::Put(id) => {
                let chunks = chunks_of(number);
                let (_, embedded) = document(&id, number, vec![vec![1.0, 0.0]; chunks]);
                corpus.put(&record(&id, (number, chunks, 0)), &embedded).unwrap();
            }
            Step::Remove(id) => corpus.remove(&DocumentId(id)).unwrap(),
            Step::Rename(from, to) => {
                corpus.rename(&DocumentId(from.clone()), &record(&to, model.state[&from])).unwrap();
            }
            Step::Note(id) => {
                let (step, chunks, _) = model.state[&id];
                corpus.update(&record(&id, (step, chunks, number))).unwrap();
            }
            Step::Finish => drop(corpus.finish().unwrap()),
            Step::Reindex => drop(corpus.reindex().unwrap()),
            Step::Tag(tag) => drop(corpus.tag(&tag).unwrap()),
            Step::RollBack(tag) => {
                corpus.roll_back(&tag).unwrap();
                corpus = open(data_dir);
            }
            Step::Nothing => {}
        }
        model.apply(number);
        println!("did {number}");
    }
}

/// Not a test by itself: replaces the store over and over.
#[test]
fn replaces_the_store_until_it_is_killed() {
    let Ok(data_dir) = env::var(SWAPPER) else { return };
    let first = env::var(FIRST).unwrap().parse().unwrap();
    for number in first.. {
        let replacement = Replacement::begin(Path::new(&data_dir)).unwrap();
        let mut corpus = open(replacement.building());
        for id in 0..3 {
            let (record, chunks) = document(&name(id), number, vec![vec![1.0, 0.0]; chunks_of(number)]);
            corpus.put(&record, &chunks).unwrap();
        }
        corpus.finish().unwrap();
        drop(corpus);
        replacement.swap().unwrap();
        println!("did {number}");
    }
}

fn spawn(test: &str, variable: &str, data_dir: &Path, first: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, data_dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a writer some steps and some moments after its start; the number of the first step that it did not acknowledge.
fn kill(mut child: Child, first: u64, random: &mut Random) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let steps = random.below(12) as usize;
    let number = |line: String| line.strip_prefix("did ")?.parse::<u64>().ok();
    let seen = lines.by_ref().filter_map(number).take(steps).last();
    // Not a wait for something: it makes the moment random.
    std::thread::park_timeout(Duration::from_micros(random.below(30_000)));
    child.kill().unwrap();
    let rest = lines.filter_map(number).last();
    assert!(!child.wait().unwrap().success(), "the writer ended by itself");
    rest.or(seen).map_or(first, |last| last + 1)
}

fn kills(usual: usize) -> usize {
    env::var("MENTOR_TEST_KILLS").map_or(usual, |text| text.parse().unwrap())
}

/// What the store holds, after every document was found to be whole.
async fn read(data_dir: &Path) -> State {
    let Some(survey) = StoreSurvey::open(data_dir).unwrap() else { return State::new() };
    let reader = LanceRetriever::open(data_dir, &identity(2), ReaderOptions::default()).unwrap();
    assert_eq!(reader.documents().await.unwrap(), survey.records());
    let hits = reader.search(query(vec![1.0, 0.0], 1_000)).await.unwrap().passages;
    let mut state = State::new();
    for record in survey.records() {
        let step = u64::from_be_bytes(record.hash.0[..8].try_into().unwrap());
        let of_document = hits.iter().filter(|hit| hit.passage.document_id == record.id);
        let of_step =
            of_document.clone().filter(|hit| hit.passage.chunk_id.0.starts_with(&record.hash.to_string()[..16]));
        let chunks = of_step.count();
        assert_eq!((chunks, of_document.count()), (record.chunks as usize, chunks), "{record:?} is not whole");
        state.insert(record.id.0.clone(), (step, chunks, u64::from(record.failed_pages[0].0)));
    }
    let total: usize = state.values().map(|(_, chunks, _)| chunks).sum();
    assert_eq!(hits.len(), total, "passages without a document");
    state
}

#[tokio::test]
async fn whatever_a_writer_was_at_when_it_was_killed_is_there_wholly_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path();
    let (mut random, mut next) = (Random::new(4), 0);
    for round in 0..kills(40) {
        let child = spawn("does_one_step_after_the_other_until_it_is_killed", VICTIM, data_dir, next);
        next = kill(child, next, &mut random);
        let mut model = Model::before(next);
        let held = read(data_dir).await;
        if held != model.state {
            let before = model.state.clone();
            let step = model.step(next);
            model.apply(next);
            assert_eq!(held, model.state, "round {round}: neither before nor after {step:?}; before: {before:?}");
            next += 1;
        }
        if round % 5 == 4 {
            // The next run completes, and nothing is left of those before it.
            open(data_dir).finish().unwrap();
            let findings = examine(data_dir, Some(&identity(2)), INDEX_FROM).unwrap();
            let files = findings.iter().find(|finding| ["files", "leftovers", "index"].contains(&finding.check));
            assert!(files.is_none(), "round {round}: {files:?}");
            assert_eq!(read(data_dir).await, held, "tidying changed something");
        }
    }
}

#[tokio::test]
async fn a_store_that_was_being_replaced_is_the_old_one_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path();
    let (mut random, mut next) = (Random::new(5), 1);
    for round in 0..kills(40) / 4 {
        let child = spawn("replaces_the_store_until_it_is_killed", SWAPPER, data_dir, next);
        next = kill(child, next, &mut random);
        let generation = |number: u64| -> State {
            (0..3).map(|id| (name(id), (number, chunks_of(number), chunks_of(number) as u64 + 1))).collect()
        };
        let held = read(data_dir).await;
        if held == generation(next) {
            next += 1;
        } else if next > 1 {
            assert_eq!(held, generation(next - 1), "round {round}");
        } else {
            assert!(held.is_empty());
        }
    }
    // Whoever writes next tidies up.
    LanceCorpus::open(data_dir, &identity(2)).unwrap().finish().unwrap();
    let entries = std::fs::read_dir(data_dir).unwrap().count();
    assert_eq!(entries, 2, "the store and its lock");
}
