//! Stores with a search index: they answer as those without one, whatever happened since it was made.
#![cfg(feature = "lance")]

mod lance_support;

use std::fs;
use std::path::{Path, PathBuf};

use lance_support::{identity, query, query_in, random_document};
use mentor_actors::domain::{DocumentId, Found};
use mentor_actors::ports::{Corpus, Retriever, SearchQuery};
use mentor_engines::lance::{
    INDEX_FROM, LanceCorpus, LanceRetriever, ReaderOptions, Replacement, StoreSurvey, examine,
};

const DIMENSION: usize = 16;
/// Stores of so many chunks have an index here.
const FROM: usize = 40;

fn open(data_dir: &Path) -> LanceCorpus {
    LanceCorpus::open(data_dir, &identity(DIMENSION)).unwrap().indexed_from(FROM)
}

fn put(corpus: &mut LanceCorpus, id: &str, seed: u64, chunks: usize) {
    let (record, embedded) = random_document(id, seed, chunks, DIMENSION);
    corpus.put(&record, &embedded).unwrap();
}

/// Two stores that are told the same; only the first gets an index.
struct Twins {
    folder: tempfile::TempDir,
    corpora: [LanceCorpus; 2],
}

impl Twins {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let corpora = ["indexed", "flat"].map(|name| open(&folder.path().join(name)));
        let [indexed, flat] = corpora;
        let mut twins = Self { folder, corpora: [indexed, flat.indexed_from(usize::MAX)] };
        twins.both(|corpus| (0..12).for_each(|number| put(corpus, &format!("{number}.pdf"), number, 9)));
        twins.finish();
        assert_eq!(twins.state(), "lists");
        twins
    }

    fn both(&mut self, act: impl Fn(&mut LanceCorpus)) {
        self.corpora.iter_mut().for_each(act);
    }

    fn finish(&mut self) {
        self.both(|corpus| drop(corpus.finish().unwrap()));
    }

    fn state(&self) -> String {
        StoreSurvey::open(&self.folder.path().join("indexed")).unwrap().unwrap().stats().unwrap().index_state
    }

    async fn assert_alike(&self) {
        self.assert_alike_within(1e-3).await;
    }

    /// Scores may differ by so much: the words of documents that are gone count in an index until it is made anew. Ones that
    /// hardly differ must belong to the same passages.
    async fn assert_alike_within(&self, tolerance: f32) {
        let readers = ["indexed", "flat"].map(|name| reader(&self.folder.path().join(name)));
        for (number, asked) in questions().into_iter().enumerate() {
            let (found, expected) =
                (readers[0].search(asked.clone()).await.unwrap(), readers[1].search(asked).await.unwrap());
            assert_same(&found, &expected, tolerance, number);
        }
    }
}

fn reader(data_dir: &Path) -> LanceRetriever {
    LanceRetriever::open(data_dir, &identity(DIMENSION), ReaderOptions::default()).unwrap()
}

fn questions() -> Vec<SearchQuery> {
    let vector = |seed| random_document("q", seed, 1, DIMENSION).1[0].1.clone();
    let mut questions = Vec::new();
    for (number, words) in ["", "combines tables", "3pdfx3x4a", "rows of 7pdfx7x1b zebra", "gone"].iter().enumerate() {
        for context_chars in [0, 3_000] {
            let plain = query(vector(100 + number as u64), 5);
            questions.push(SearchQuery { text: (*words).into(), context_chars, ..plain.clone() });
            let filtered = query_in(plain.embedding, 5, &["3.pdf", "new.pdf", "7.pdf"]);
            questions.push(SearchQuery { text: (*words).into(), context_chars, ..filtered });
        }
    }
    questions
}

fn assert_same(found: &Found, expected: &Found, tolerance: f32, number: usize) {
    // It is a steeper curve over the same scores.
    let relevances = (found.relevance, expected.relevance);
    assert!((relevances.0 - relevances.1).abs() < 8.0 * tolerance, "question {number}: {relevances:?}");
    let passages = |found: &Found| found.passages.iter().map(|hit| hit.passage.clone()).collect::<Vec<_>>();
    if tolerance <= 1e-3 {
        assert_eq!(passages(found), passages(expected), "question {number}");
    }
    assert_eq!(found.passages.len(), expected.passages.len(), "question {number}");
    let mut scores = found.passages.iter().zip(&expected.passages);
    assert!(scores.all(|(a, b)| (a.score - b.score).abs() < tolerance), "question {number}");
}

#[tokio::test]
async fn a_store_with_an_index_answers_as_one_without() {
    Twins::new().assert_alike().await;
}

#[tokio::test]
async fn documents_that_came_changed_or_went_since_are_found_as_they_are() {
    let mut twins = Twins::new();
    twins.both(|corpus| {
        put(corpus, "new.pdf", 50, 2);
        put(corpus, "3.pdf", 51, 3);
        corpus.remove(&DocumentId("4.pdf".into())).unwrap();
        let (renamed, _) = random_document("7b.pdf", 7, 9, DIMENSION);
        corpus.rename(&DocumentId("7.pdf".into()), &renamed).unwrap();
    });
    assert_eq!(twins.state(), "lists, and 5 passages beside them", "a name is not content");
    twins.assert_alike_within(0.05).await;
    // More documents are gone than an index may have too much.
    twins.finish();
    assert_eq!(twins.state(), "lists, and 5 passages beside them");
    twins.both(|corpus| (20..26).for_each(|number| put(corpus, &format!("{number}.pdf"), number, 9)));
    twins.finish();
    assert_eq!(twins.state(), "lists", "an index is made anew when it is behind");
    twins.assert_alike().await;
}

#[tokio::test]
async fn merging_files_and_going_back_keep_the_index() {
    let mut twins = Twins::new();
    twins.both(|corpus| {
        corpus.tag("before").unwrap();
        put(corpus, "new.pdf", 50, 2);
        corpus.merge().unwrap();
    });
    assert_eq!(twins.state(), "lists, and 2 passages beside them");
    twins.assert_alike().await;
    let Twins { folder, corpora } = twins;
    for corpus in corpora {
        corpus.roll_back("before").unwrap();
    }
    let corpora = ["indexed", "flat"].map(|name| open(&folder.path().join(name)));
    let twins = Twins { folder, corpora };
    assert_eq!(twins.state(), "lists");
    twins.assert_alike().await;
}

#[tokio::test]
async fn copies_of_one_content_are_all_found() {
    let mut twins = Twins::new();
    let copy = |corpus: &mut LanceCorpus, id: &str| {
        let (mut record, chunks) = random_document("a.pdf", 70, 9, DIMENSION);
        record.id = DocumentId(id.into());
        corpus.put(&record, &chunks).unwrap();
    };
    twins.both(|corpus| ["a.pdf", "z.pdf"].iter().for_each(|id| copy(corpus, id)));
    twins.both(|corpus| corpus.reindex().map(drop).unwrap());
    twins.assert_alike().await;
    twins.both(|corpus| corpus.remove(&DocumentId("a.pdf".into())).unwrap());
    twins.assert_alike_within(0.05).await;
    twins.both(|corpus| copy(corpus, "0-first.pdf"));
    twins.assert_alike_within(0.05).await;
}

#[tokio::test]
async fn a_reader_follows_the_writer_from_index_to_index() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = open(folder.path());
    let reader = reader(folder.path());
    let newest = random_document("q", 5, 1, DIMENSION).1[0].1.clone();
    for round in 0..8 {
        for number in 0..4 {
            put(&mut corpus, &format!("{number}.pdf"), 100 * round + number, 12);
        }
        let stats = corpus.finish().unwrap();
        // `stats` looks for the newest version; the next search answers from it.
        assert_eq!(reader.stats().await.unwrap().index_state, stats.index_state);
        let found = reader.search(query(newest.clone(), 1_000)).await.unwrap();
        assert_eq!(found.passages.len(), 48, "round {round}");
    }
}

#[tokio::test]
async fn a_store_that_became_small_has_no_index_any_more() {
    let mut twins = Twins::new();
    let reader = reader(&twins.folder.path().join("indexed"));
    twins.both(|corpus| (0..10).for_each(|number| corpus.remove(&DocumentId(format!("{number}.pdf"))).unwrap()));
    twins.finish();
    assert_eq!(twins.state(), "flat");
    assert_eq!(reader.stats().await.unwrap().index_state, "flat");
    twins.assert_alike().await;
}

/// The folder of the only index.
fn index_folder(data_dir: &Path) -> PathBuf {
    let mut folders = fs::read_dir(data_dir.join("corpus.lance/_search")).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none(), "one index at a time");
    folder
}

#[tokio::test]
async fn a_damaged_index_is_named_by_the_doctor_and_nobody_needs_it() {
    let mut twins = Twins::new();
    let data_dir = twins.folder.path().join("indexed");
    let findings = || {
        let findings = examine(&data_dir, Some(&identity(DIMENSION)), INDEX_FROM).unwrap();
        findings.into_iter().filter(|finding| finding.check == "index").collect::<Vec<_>>()
    };
    assert_eq!(findings(), []);
    for (file, length) in [("place_of_row.u32", 8), ("manifest.json", 10), ("payloads.u8", 0)] {
        let path = index_folder(&data_dir).join(file);
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
        let findings = findings();
        assert_eq!((findings.len(), findings[0].remedy.as_str()), (1, "mentor reindex"), "{findings:?}");
        twins.assert_alike().await;
        twins.corpora[0].reindex().unwrap();
        assert_eq!(twins.state(), "lists");
    }
    assert_eq!(findings(), []);
}

#[tokio::test]
async fn a_store_that_takes_the_place_of_another_brings_its_index() {
    let mut twins = Twins::new();
    let data_dir = twins.folder.path().join("indexed");
    let reader = reader(&data_dir);
    reader.search(query(vec![0.25; DIMENSION], 5)).await.unwrap();
    twins.corpora[0] = open(&twins.folder.path().join("other"));
    let replacement = Replacement::begin(&data_dir).unwrap();
    let mut corpus = open(replacement.building());
    (0..7).for_each(|number| put(&mut corpus, &format!("{number}.pdf"), 900 + number, 9));
    corpus.finish().unwrap();
    drop(corpus);
    replacement.swap().unwrap();
    assert_eq!(reader.stats().await.unwrap().index_state, "lists");
    assert_eq!(reader.search(query(vec![0.25; DIMENSION], 1_000)).await.unwrap().passages.len(), 63);
}

/// An index is made while the ingest goes on, so that what readers hold in memory stays bounded.
#[test]
fn a_long_ingest_makes_an_index_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = open(folder.path());
    for number in 0..12 {
        put(&mut corpus, &format!("{number}.pdf"), number, 100);
    }
    let stats = StoreSurvey::open(folder.path()).unwrap().unwrap().stats().unwrap();
    assert_eq!(stats.index_state, "lists, and 200 passages beside them");
}
