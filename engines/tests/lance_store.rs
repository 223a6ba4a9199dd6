//! The store as the rest of the program sees it: `LanceCorpus` writes, `LanceRetriever` reads.
#![cfg(feature = "lance")]

mod lance_support;

use std::fs;
use std::path::Path;

use lance_support::{document, identity, query, query_in, random_document, replace};
use mentor_actors::domain::{DocumentHash, DocumentId, DocumentRecord, EmbeddedChunk, EngineError, ScoredPassage};
use mentor_actors::ports::{Corpus, Retriever, SearchQuery};
use mentor_actors::ranking;
use mentor_engines::lance::{LanceCorpus, LanceRetriever, ReaderOptions, Replacement, StoreIdentity};

const RIGHT: [f32; 2] = [1.0, 0.0];
const UP: [f32; 2] = [0.0, 1.0];
const BETWEEN: [f32; 2] = [0.6, 0.8];

fn writer(folder: &Path) -> LanceCorpus {
    LanceCorpus::open(folder, &identity(2)).unwrap()
}

fn reader(folder: &Path) -> LanceRetriever {
    LanceRetriever::open(folder, &identity(2), ReaderOptions::default()).unwrap()
}

/// A reader that holds nothing in memory.
fn disk_reader(folder: &Path) -> LanceRetriever {
    let options = ReaderOptions { max_resident_rows: 0, ..ReaderOptions::default() };
    LanceRetriever::open(folder, &identity(2), options).unwrap()
}

fn put(corpus: &mut LanceCorpus, id: &str, seed: u64, vectors: &[[f32; 2]]) {
    let (record, chunks) = document(id, seed, vectors.iter().map(|vector| vector.to_vec()).collect());
    corpus.put(&record, &chunks).unwrap();
}

fn ids(passages: &[ScoredPassage]) -> Vec<&str> {
    passages.iter().map(|hit| hit.passage.document_id.0.as_str()).collect()
}

/// Answers after a look for a newer version, as `documents` does.
async fn search_newest(reader: &LanceRetriever, query: SearchQuery) -> Vec<ScoredPassage> {
    reader.documents().await.unwrap();
    reader.search(query).await.unwrap().passages
}

#[tokio::test]
async fn what_was_put_is_found_best_first_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "week 1/right.pdf", 1, &[RIGHT]);
    put(&mut corpus, "both.pdf", 2, &[UP, BETWEEN]);
    for reader in [reader(folder.path()), disk_reader(folder.path())] {
        let hits = reader.search(query(RIGHT.into(), 10)).await.unwrap().passages;
        assert_eq!(ids(&hits), ["week 1/right.pdf", "both.pdf", "both.pdf"]);
        let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
        let expected = [1.0, 0.6, 0.0].map(ranking::relevance);
        assert!(scores.iter().zip(expected).all(|(score, expected)| (score - expected).abs() < 1e-6), "{scores:?}");
        let passage = &hits[1].passage;
        assert_eq!(passage.chunk_id.0, "0000000000000002-1");
        assert_eq!((passage.file_name.as_str(), passage.page), ("both.pdf", Some(2)));
        assert_eq!((passage.span.start, passage.span.end), (10, 510));
        assert_eq!(passage.section.as_deref(), Some("Joins"));
        assert!(passage.text.starts_with("both.pdf, chunk 1: a join"));
        assert_eq!(hits[0].passage.file_name, "right.pdf");
        assert_eq!(reader.search(query(RIGHT.into(), 1)).await.unwrap().passages.len(), 1);
        assert!(reader.search(query(RIGHT.into(), 0)).await.unwrap().passages.is_empty());
        assert_eq!(reader.search(query(RIGHT.into(), usize::MAX)).await.unwrap().passages.len(), 3);
    }
}

#[tokio::test]
async fn replacing_leaves_only_the_new_chunks_and_removing_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT, UP, BETWEEN]);
    put(&mut corpus, "b.pdf", 2, &[RIGHT]);
    put(&mut corpus, "a.pdf", 3, &[UP]);
    for reader in [reader(folder.path()), disk_reader(folder.path())] {
        assert_eq!(ids(&reader.search(query(RIGHT.into(), 10)).await.unwrap().passages), ["b.pdf", "a.pdf"]);
    }
    corpus.remove(&DocumentId("a.pdf".into())).unwrap();
    corpus.remove(&DocumentId("never there.pdf".into())).unwrap();
    let reader = reader(folder.path());
    assert_eq!(ids(&reader.search(query(RIGHT.into(), 10)).await.unwrap().passages), ["b.pdf"]);
    let documents = reader.documents().await.unwrap();
    assert_eq!(documents, corpus.documents().unwrap());
    assert_eq!(documents.len(), 1);
}

#[tokio::test]
async fn records_are_ordered_by_id_and_kept_whole_across_writers() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let documents = [random_document("b.pdf", 1, 2, 2), random_document("a.pdf", 2, 0, 2)];
    for (record, chunks) in &documents {
        corpus.put(record, chunks).unwrap();
    }
    drop(corpus);
    let expected = vec![documents[1].0.clone(), documents[0].0.clone()];
    assert_eq!(writer(folder.path()).documents().unwrap(), expected);
    assert_eq!(reader(folder.path()).documents().await.unwrap(), expected);
    assert_eq!(disk_reader(folder.path()).documents().await.unwrap(), expected);
}

#[tokio::test]
async fn a_missing_store_is_served_as_empty_until_an_ingest_commits() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("not yet");
    let reader = reader(&data_dir);
    assert!(reader.search(query(RIGHT.into(), 5)).await.unwrap().passages.is_empty());
    let stats = reader.stats().await.unwrap();
    assert_eq!((stats.documents, stats.chunks, stats.dataset_version, stats.bytes), (0, 0, 0, 0));
    assert!(!data_dir.exists(), "a reader makes nothing");

    let mut corpus = writer(&data_dir);
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    assert_eq!(ids(&search_newest(&reader, query(RIGHT.into(), 5)).await), ["a.pdf"]);
    put(&mut corpus, "b.pdf", 2, &[UP]);
    corpus.finish().unwrap();
    assert_eq!(ids(&search_newest(&reader, query(UP.into(), 5)).await), ["b.pdf", "a.pdf"]);
}

#[tokio::test]
async fn a_search_survives_the_removal_of_the_version_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    put(&mut corpus, "b.pdf", 2, &[UP]);
    let readers = [reader(folder.path()), disk_reader(folder.path())];
    put(&mut corpus, "a.pdf", 3, &[RIGHT]);
    corpus.finish().unwrap();
    for reader in readers {
        assert_eq!(ids(&reader.search(query(RIGHT.into(), 1)).await.unwrap().passages), ["a.pdf"]);
    }
}

#[tokio::test]
async fn a_search_can_be_limited_to_documents_whatever_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["it's.pdf", "“ü\" -- ; \\'.pdf", "100%_.pdf", "a b/c.pdf", "' OR '1'='1"];
    let mut corpus = writer(folder.path());
    for (seed, name) in names.iter().enumerate() {
        put(&mut corpus, name, seed as u64, &[RIGHT, UP]);
    }
    for reader in [reader(folder.path()), disk_reader(folder.path())] {
        for name in names {
            let hits = reader.search(query_in(RIGHT.into(), 10, &[name])).await.unwrap().passages;
            assert_eq!(ids(&hits), [name, name]);
        }
        let two = reader.search(query_in(RIGHT.into(), 2, &[names[0], names[3]])).await.unwrap().passages;
        assert_eq!(ids(&two), [names[0], names[3]], "the limit was applied after the search, not before");
        assert!(reader.search(query_in(RIGHT.into(), 10, &["another.pdf"])).await.unwrap().passages.is_empty());
    }
    for name in names {
        corpus.remove(&DocumentId(name.into())).unwrap();
    }
    assert!(reader(folder.path()).documents().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_data_folder_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("week 1 100%20 #2 ü? 'x'");
    let mut corpus = writer(&data_dir);
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    corpus.finish().unwrap();
    assert!(data_dir.join("corpus.lance").is_dir(), "the dataset is somewhere else");
    assert_eq!(reader(&data_dir).documents().await.unwrap().len(), 1);
}

#[tokio::test]
async fn equal_scores_are_ordered_by_chunk_and_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "copy.pdf", 5, &[RIGHT]);
    put(&mut corpus, "z.pdf", 1, &[RIGHT]);
    put(&mut corpus, "a copy.pdf", 5, &[RIGHT]);
    for reader in [reader(folder.path()), disk_reader(folder.path())] {
        let hits = reader.search(query(RIGHT.into(), 3)).await.unwrap().passages;
        assert_eq!(ids(&hits), ["z.pdf", "a copy.pdf", "copy.pdf"]);
    }
    let hits = reader(folder.path()).search(query(RIGHT.into(), 2)).await.unwrap().passages;
    assert_eq!(ids(&hits), ["z.pdf", "a copy.pdf"]);
}

#[tokio::test]
async fn in_memory_and_on_disk_find_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = LanceCorpus::open(folder.path(), &identity(48)).unwrap();
    for seed in 0..40 {
        let (record, chunks) = random_document(&format!("{seed}.pdf"), seed, 7, 48);
        corpus.put(&record, &chunks).unwrap();
    }
    let open = |max_resident_rows| {
        let options = ReaderOptions { max_resident_rows, ..ReaderOptions::default() };
        LanceRetriever::open(folder.path(), &identity(48), options).unwrap()
    };
    let (memory, disk) = (open(usize::MAX), open(0));
    let mut random = lance_support::Random::new(99);
    for _ in 0..10 {
        let question = query(random.unit(48), 8);
        let (a, b) =
            (memory.search(question.clone()).await.unwrap().passages, disk.search(question).await.unwrap().passages);
        let chunks = |hits: &[ScoredPassage]| hits.iter().map(|hit| hit.passage.clone()).collect::<Vec<_>>();
        assert_eq!(chunks(&a), chunks(&b));
        assert!(a.iter().zip(&b).all(|(a, b)| (a.score - b.score).abs() < 1e-5));
    }
}

#[tokio::test]
async fn a_question_of_another_dimension_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    put(&mut writer(folder.path()), "a.pdf", 1, &[RIGHT]);
    let reader = reader(folder.path());
    for bad in [vec![1.0], vec![f32::NAN, 0.0]] {
        assert!(matches!(reader.search(query(bad, 3)).await, Err(EngineError::Failed(_))));
    }
}

#[test]
fn a_second_writer_is_refused_at_once_with_the_process_that_writes() {
    let folder = tempfile::tempdir().unwrap();
    let first = writer(folder.path());
    let second = [LanceCorpus::open(folder.path(), &identity(2)).err(), Replacement::begin(folder.path()).err()];
    let message =
        format!("another ingest is writing to the store (process {}); wait for it to end", std::process::id());
    assert_eq!(second, [Some(EngineError::Busy(message.clone())), Some(EngineError::Busy(message))]);
    drop(first);
    writer(folder.path());
}

#[test]
fn another_identity_is_refused_by_both_sides_and_overwriting_repairs_it() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path();
    let mut corpus = writer(data_dir);
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    drop(corpus);
    let others = [identity(3), StoreIdentity { chunker_version: 2, ..identity(2) }];
    for other in &others {
        let refused = [
            LanceCorpus::open(data_dir, other).err(),
            LanceRetriever::open(data_dir, other, ReaderOptions::default()).err(),
        ];
        for error in refused {
            let Some(EngineError::Load(message)) = error else { panic!("{error:?}") };
            assert!(message.contains("was made with") && message.contains("mentor ingest --overwrite"), "{message}");
        }
    }
    let document = random_document("b.pdf", 1, 2, 3);
    replace(data_dir, &others[0], std::slice::from_ref(&document));
    assert!(LanceCorpus::open(data_dir, &identity(2)).is_err());
    assert_eq!(LanceCorpus::open(data_dir, &others[0]).unwrap().documents().unwrap(), vec![document.0]);
}

#[tokio::test]
async fn a_reader_keeps_answering_when_the_store_is_rebuilt_for_another_embedder() {
    let folder = tempfile::tempdir().unwrap();
    put(&mut writer(folder.path()), "a.pdf", 1, &[RIGHT]);
    let reader = reader(folder.path());
    replace(folder.path(), &identity(3), &[]);
    assert_eq!(ids(&search_newest(&reader, query(RIGHT.into(), 1)).await), ["a.pdf"]);
}

#[tokio::test]
async fn a_reader_follows_a_store_that_was_deleted_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    put(&mut writer(folder.path()), "a.pdf", 1, &[RIGHT]);
    let reader = reader(folder.path());
    fs::remove_dir_all(folder.path().join("corpus.lance")).unwrap();
    put(&mut writer(folder.path()), "b.pdf", 2, &[RIGHT]);
    assert_eq!(ids(&search_newest(&reader, query(RIGHT.into(), 1)).await), ["b.pdf"]);
}

#[tokio::test]
async fn many_documents_become_few_fragments_and_old_files_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    for seed in 0..500 {
        put(&mut corpus, &format!("{seed}.pdf"), seed, &[RIGHT, UP]);
    }
    let stats = corpus.finish().unwrap();
    assert_eq!((stats.documents, stats.pages, stats.chunks), (500, 1500, 1000));
    assert!(stats.fragments <= 2, "{} fragments", stats.fragments);
    assert!(stats.bytes < 2_000_000, "{} bytes for 1,000 short chunks", stats.bytes);
    assert!(stats.dataset_version > 500);
    assert_eq!(stats.index_state, "flat");
    let versions = fs::read_dir(folder.path().join("corpus.lance/_versions")).unwrap();
    let manifests = versions.filter(|entry| entry.as_ref().unwrap().path().extension() == Some("manifest".as_ref()));
    assert_eq!(manifests.count(), 1);
    let reader = reader(folder.path());
    assert_eq!(reader.stats().await.unwrap(), stats);
    assert_eq!(reader.search(query(RIGHT.into(), 600)).await.unwrap().passages.len(), 600);
    assert_eq!(corpus.finish().unwrap(), stats, "finishing again changes nothing");
}

fn manifests(data_dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(data_dir.join("corpus.lance/_versions")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension() == Some("manifest".as_ref())).collect()
}

fn open_errors(data_dir: &Path) -> [Option<EngineError>; 2] {
    [
        LanceCorpus::open(data_dir, &identity(2)).err(),
        LanceRetriever::open(data_dir, &identity(2), ReaderOptions::default()).err(),
    ]
}

fn assert_clear(error: Option<EngineError>) {
    let Some(EngineError::Load(message)) = error else { panic!("{error:?}") };
    assert!(message.starts_with("the store in ") && message.contains("--overwrite"), "{message}");
    assert!(!message.contains('\n') && !message.contains(".rs:"), "{message}");
}

#[test]
fn a_damaged_manifest_is_one_clear_line_and_overwriting_repairs_it() {
    let folder = tempfile::tempdir().unwrap();
    let damages: [(&str, fn(&mut Vec<u8>)); 4] = [
        ("noise", |bytes| bytes.fill(0x5a)),
        ("cut short", |bytes| bytes.truncate(bytes.len() / 2)),
        ("zeros", |bytes| bytes.fill(0)),
        ("noise but for the end", |bytes| {
            let end = bytes.len() - 16;
            bytes[..end].fill(0xff);
        }),
    ];
    for (name, damage) in damages {
        let data_dir = folder.path().join(name);
        let mut corpus = writer(&data_dir);
        put(&mut corpus, "a.pdf", 1, &[RIGHT]);
        corpus.finish().unwrap();
        drop(corpus);
        for path in manifests(&data_dir) {
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        open_errors(&data_dir).into_iter().for_each(assert_clear);
        replace(&data_dir, &identity(2), &[random_document("a.pdf", 1, 1, 2)]);
        assert_eq!(writer(&data_dir).finish().unwrap().documents, 1);
    }
}

#[test]
fn damaged_data_or_missing_versions_are_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    corpus.finish().unwrap();
    drop(corpus);
    let data = folder.path().join("corpus.lance/data");
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::write(path, vec![0x5a; length]).unwrap();
    }
    open_errors(folder.path()).into_iter().for_each(assert_clear);
    fs::remove_dir_all(folder.path().join("corpus.lance/_versions")).unwrap();
    open_errors(folder.path()).into_iter().for_each(assert_clear);
}

#[tokio::test]
async fn a_reader_sees_a_new_version_without_being_told_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    let reader = reader(folder.path());
    put(&mut corpus, "b.pdf", 2, &[UP]);
    let seen = async {
        // Its own clock looks for versions; a search does not.
        while reader.search(query(UP.into(), 5)).await.unwrap().passages.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.expect("it never looks");
}

/// A document with one chunk of that text.
fn saying(id: &str, text: &str, vector: [f32; 2]) -> (DocumentRecord, Vec<EmbeddedChunk>) {
    let (record, mut chunks) = document(id, id.len() as u64, vec![vector.to_vec()]);
    chunks[0].0.text = text.into();
    (record, chunks)
}

#[tokio::test]
async fn passages_that_say_the_same_are_one_and_nearly_the_same_words_or_vectors_alone_are_not() {
    const HEAP: &str = "A binary heap is a complete binary tree in which no child is smaller than its parent";
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let documents = [
        saying("heap.md", HEAP, RIGHT),
        saying("heap-again.md", &format!("{HEAP}."), [0.9999, 0.0141]),
        saying(
            "other-words.md",
            "Something else entirely is said in this passage, though its vector is the same",
            RIGHT,
        ),
        saying("other-vector.md", HEAP, BETWEEN),
    ];
    for (record, chunks) in &documents {
        corpus.put(record, chunks).unwrap();
    }
    let hits = reader(folder.path()).search(query(RIGHT.into(), 10)).await.unwrap().passages;
    assert_eq!(ids(&hits), ["heap.md", "other-words.md", "other-vector.md"]);
}

#[tokio::test]
async fn a_search_for_more_than_there_is_ends_when_all_were_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    for seed in 0..40 {
        // All of them say the same, so that one is found where a thousand were asked for.
        let (record, chunks) = saying(&format!("{seed}.md"), "the same words again and again", RIGHT);
        corpus.put(&DocumentRecord { hash: DocumentHash([seed; 32]), ..record }, &chunks).unwrap();
    }
    let hits = reader(folder.path()).search(query(RIGHT.into(), usize::MAX)).await.unwrap().passages;
    assert_eq!(hits.len(), 1);
}
