//! What operators do to a store: names and versions, a look from outside, a new store beside the old one, upkeep.
#![cfg(feature = "lance")]

mod lance_support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lance_support::{document, identity, query, random_document};
use mentor_actors::domain::{DocumentFailure, DocumentHash, DocumentId, DocumentRecord};
use mentor_actors::ports::{Corpus, Retriever};
use mentor_engines::lance::{
    LanceCorpus, LanceRetriever, ReaderOptions, Replacement, StoreIdentity, StoreSnapshot, StoreSurvey,
};

const RIGHT: [f32; 2] = [1.0, 0.0];
const UP: [f32; 2] = [0.0, 1.0];

fn writer(folder: &Path) -> LanceCorpus {
    LanceCorpus::open(folder, &identity(2)).unwrap()
}

fn reader(folder: &Path) -> LanceRetriever {
    LanceRetriever::open(folder, &identity(2), ReaderOptions::default()).unwrap()
}

fn put(corpus: &mut LanceCorpus, id: &str, seed: u64, vectors: &[[f32; 2]]) -> DocumentRecord {
    let (record, chunks) = document(id, seed, vectors.iter().map(|vector| vector.to_vec()).collect());
    corpus.put(&record, &chunks).unwrap();
    record
}

fn ids(survey: &StoreSurvey) -> Vec<&str> {
    survey.records().iter().map(|record| record.id.0.as_str()).collect()
}

fn survey(folder: &Path) -> StoreSurvey {
    StoreSurvey::open(folder).unwrap().unwrap()
}

fn id(name: &str) -> DocumentId {
    DocumentId(name.into())
}

#[tokio::test]
async fn a_renamed_document_keeps_its_passages_and_replaces_what_had_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let old = put(&mut corpus, "old.pdf", 1, &[RIGHT, UP]);
    put(&mut corpus, "week 2/new.pdf", 2, &[UP]);
    let new = DocumentRecord { id: id("week 2/new.pdf"), copies: vec![id("again.pdf")], ..old };
    corpus.rename(&id("old.pdf"), &new).unwrap();
    assert_eq!(corpus.documents().unwrap(), std::slice::from_ref(&new));
    drop(corpus);
    let reader = reader(folder.path());
    assert_eq!(reader.documents().await.unwrap(), [new]);
    let hits = reader.search(query(RIGHT.into(), 10)).await.unwrap().passages;
    assert_eq!(hits.len(), 2);
    let passage = &hits[0].passage;
    assert_eq!((passage.document_id.0.as_str(), passage.file_name.as_str()), ("week 2/new.pdf", "new.pdf"));
    assert!(passage.text.starts_with("old.pdf, chunk 0"), "the text is what it was: {}", passage.text);
    assert!((hits[0].score - mentor_actors::ranking::relevance(1.0)).abs() < 1e-6);
}

#[tokio::test]
async fn a_record_can_be_changed_alone_and_a_failure_is_remembered_without_counting_as_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let record = put(&mut corpus, "a.pdf", 1, &[RIGHT, UP]);
    let failure = Some(DocumentFailure { hash: DocumentHash([9; 32]), reason: "it is encrypted".into() });
    let noted = DocumentRecord { failure, ..record };
    corpus.update(&noted).unwrap();
    let broken = DocumentRecord::failed(id("b.pdf"), DocumentHash([7; 32]), noted.kind, "no PDF at all".into());
    corpus.put(&broken, &[]).unwrap();
    let stats = corpus.finish().unwrap();
    assert_eq!((stats.documents, stats.chunks), (1, 2));
    drop(corpus);
    assert_eq!(survey(folder.path()).records(), [noted, broken]);
    assert_eq!(reader(folder.path()).search(query(RIGHT.into(), 10)).await.unwrap().passages.len(), 2);
}

#[test]
fn a_record_that_counts_other_chunks_or_belongs_to_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let record = put(&mut corpus, "a.pdf", 1, &[RIGHT, UP]);
    let miscounted = DocumentRecord { chunks: 3, ..record.clone() };
    let unknown = DocumentRecord { id: id("b.pdf"), ..record.clone() };
    assert!(corpus.update(&miscounted).unwrap_err().to_string().contains("counts 3 chunks, but 2 are stored"));
    assert!(corpus.rename(&id("a.pdf"), &miscounted).is_err());
    assert!(corpus.update(&unknown).unwrap_err().to_string().contains("b.pdf is not in the store"));
    assert!(corpus.rename(&id("c.pdf"), &unknown).is_err());
    assert_eq!(corpus.documents().unwrap(), [record]);
}

#[test]
fn a_tagged_version_is_kept_and_can_be_gone_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    corpus.finish().unwrap();
    let tagged = corpus.tag("spring").unwrap();
    for seed in 2..6 {
        put(&mut corpus, "b.pdf", seed, &[UP]);
    }
    corpus.remove(&id("a.pdf")).unwrap();
    corpus.finish().unwrap();
    drop(corpus);
    let history = survey(folder.path()).history(10).unwrap();
    assert_eq!(history.len(), 2, "{history:?}");
    assert_eq!((history[1].version, history[1].tags.as_slice()), (tagged, &["spring".to_owned()][..]));
    assert!(history[1].change.starts_with("added a.pdf"), "{history:?}");
    assert!(history[0].time.ends_with('Z') && history[0].time.contains('T'), "{history:?}");

    let (version, now) = LanceCorpus::open_stored(folder.path()).unwrap().roll_back("spring").unwrap();
    assert_eq!((version, now), (tagged, history[0].version + 1));
    let back = survey(folder.path());
    assert_eq!(ids(&back), ["a.pdf"]);
    assert_eq!(back.history(1).unwrap()[0].change, format!("rolled back to version {tagged}"));

    let mut corpus = LanceCorpus::open_stored(folder.path()).unwrap();
    corpus.untag("spring").unwrap();
    corpus.finish().unwrap();
    assert_eq!(survey(folder.path()).history(10).unwrap().len(), 1);
}

#[test]
fn names_and_versions_that_make_no_sense_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    assert!(LanceCorpus::open_stored(folder.path()).is_err(), "there is no store");
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    for name in ["", "a b", "../x", ".x", "12", "sync-3", "a..b"] {
        let error = corpus.tag(name).unwrap_err().to_string();
        assert!(error.contains("cannot be a tag") && !error.contains('\n'), "{error}");
    }
    assert!(corpus.untag("never").unwrap_err().to_string().contains("no version has the tag"));
    let error = corpus.roll_back("99").unwrap_err().to_string();
    assert!(error.contains("`mentor history`"), "{error}");
}

#[test]
fn the_ends_of_former_ingests_are_kept_as_far_as_the_disk_allows() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path()).keeping(2);
    let (record, chunks) = random_document("large.pdf", 1, 400, 2);
    corpus.put(&record, &chunks).unwrap();
    let mut ends = Vec::new();
    for seed in 2..8 {
        put(&mut corpus, "small.pdf", seed, &[RIGHT]);
        put(&mut corpus, "small.pdf", seed + 10, &[RIGHT]);
        ends.push(corpus.finish().unwrap().dataset_version);
        assert_eq!(corpus.finish().unwrap().dataset_version, *ends.last().unwrap(), "finishing again changes nothing");
    }
    let versions = |folder: &Path| -> Vec<u64> {
        survey(folder).history(100).unwrap().iter().map(|version| version.version).collect()
    };
    let kept = versions(folder.path());
    assert!(kept.iter().all(|version| ends.contains(version)), "{kept:?} of {ends:?}");
    let looked_at = survey(folder.path());
    assert!(looked_at.stats().unwrap().bytes <= 2 * looked_at.live_bytes().unwrap());

    // Everything anew: the former version would double the disk and more.
    for seed in 20..30 {
        let (record, chunks) = random_document("large.pdf", seed, 400, 2);
        corpus.put(&record, &chunks).unwrap();
        corpus.finish().unwrap();
        let looked_at = survey(folder.path());
        assert!(looked_at.stats().unwrap().bytes <= 2 * looked_at.live_bytes().unwrap());
    }
}

#[test]
fn a_thousand_small_additions_become_few_fragments_on_little_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path()).keeping(1);
    for seed in 0..1_000 {
        put(&mut corpus, &format!("{seed}.pdf"), seed, &[RIGHT]);
    }
    let stats = corpus.finish().unwrap();
    assert_eq!((stats.documents, stats.chunks), (1_000, 1_000));
    assert!(stats.fragments <= 10, "{} fragments", stats.fragments);
    let live = survey(folder.path()).live_bytes().unwrap();
    assert!(stats.bytes <= 2 * live, "{} bytes for {live}", stats.bytes);
}

#[test]
fn the_text_of_all_documents_can_be_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let expected: Vec<_> = [("b.pdf", 3), ("a.pdf", 5), ("empty.pdf", 0)]
        .iter()
        .map(|(name, chunks)| {
            let (record, chunks) = random_document(name, 1, *chunks, 2);
            corpus.put(&record, &chunks).unwrap();
            (record, chunks.len())
        })
        .collect();
    corpus.update(&expected[0].0).unwrap();
    corpus.finish().unwrap();
    let survey = survey(folder.path());
    let mut documents = survey.documents_with_text();
    let mut read = Vec::new();
    while let Some(document) = documents.blocking_recv() {
        let (record, chunks) = document.unwrap();
        assert!(chunks.iter().enumerate().all(|(number, chunk)| chunk.page == Some(number as u32 + 1)), "out of order");
        read.push((record, chunks.len()));
    }
    read.sort_by_key(|version| std::cmp::Reverse(version.1));
    assert_eq!(read, [expected[1].clone(), expected[0].clone(), expected[2].clone()]);
}

#[tokio::test]
async fn a_store_made_beside_takes_over_and_a_reader_follows() {
    let folder = tempfile::tempdir().unwrap();
    put(&mut writer(folder.path()), "a.pdf", 1, &[RIGHT]);
    let reader = reader(folder.path());
    let replacement = Replacement::begin(folder.path()).unwrap();
    assert!(LanceCorpus::open(folder.path(), &identity(2)).is_err(), "nobody else writes meanwhile");
    put(&mut writer(replacement.building()), "b.pdf", 2, &[RIGHT]);
    assert_eq!(reader.documents().await.unwrap()[0].id, id("a.pdf"));
    replacement.swap().unwrap();
    assert_eq!(reader.documents().await.unwrap()[0].id, id("b.pdf"));
    let hits = reader.search(query(RIGHT.into(), 5)).await.unwrap().passages;
    assert_eq!((hits.len(), &hits[0].passage.document_id), (1, &id("b.pdf")));
    put(&mut writer(folder.path()), "c.pdf", 3, &[RIGHT]);
    assert_eq!(reader.documents().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_reader_sees_a_new_version_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    let reader = reader(folder.path());
    put(&mut corpus, "a.pdf", 2, &[RIGHT, RIGHT]);
    // Nothing but searching: the reader looks for new versions each second.
    let mut tries = 0;
    while reader.search(query(RIGHT.into(), 5)).await.unwrap().passages.len() < 2 {
        tries += 1;
        assert!(tries < 200, "the new version never showed");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

/// All chunks of a generation carry its number in the chunk id; a mixture would show two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_never_mixes_two_versions() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT; 40]);
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> =
        [ReaderOptions::default(), ReaderOptions { max_resident_rows: 0, ..ReaderOptions::default() }]
            .into_iter()
            .map(|options| {
                let reader = LanceRetriever::open(folder.path(), &identity(2), options).unwrap();
                let done = done.clone();
                tokio::spawn(async move {
                    let mut seen = std::collections::BTreeSet::new();
                    while !done.load(Ordering::Relaxed) {
                        reader.documents().await.unwrap();
                        let hits = reader.search(query(RIGHT.into(), 100)).await.unwrap().passages;
                        let generation =
                            |hit: &mentor_actors::domain::ScoredPassage| hit.passage.chunk_id.0[..16].to_owned();
                        let generations: std::collections::BTreeSet<String> = hits.iter().map(generation).collect();
                        assert_eq!((hits.len(), generations.len()), (40, 1), "{generations:?}");
                        seen.extend(generations);
                    }
                    seen.len()
                })
            })
            .collect();
    let writing = tokio::task::spawn_blocking(move || {
        for seed in 2..60 {
            put(&mut corpus, "a.pdf", seed, &[RIGHT; 40]);
            if seed % 5 == 0 {
                corpus.finish().unwrap();
            }
        }
    });
    writing.await.unwrap();
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 1, "the reader saw one version only");
    }
}

#[test]
fn a_snapshot_is_whole_though_the_store_goes_on_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    let first = put(&mut corpus, "a.pdf", 1, &[RIGHT, UP]);
    put(&mut corpus, "b.pdf", 2, &[UP]);
    corpus.remove(&id("b.pdf")).unwrap();
    let snapshot = StoreSnapshot::take(folder.path()).unwrap();
    put(&mut corpus, "a.pdf", 3, &[UP]);
    corpus.finish().unwrap();
    let copied = tempfile::tempdir().unwrap();
    for (path, place) in &snapshot.files {
        let to = copied.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(place, to).unwrap();
    }
    assert_eq!(survey(copied.path()).records(), [first]);
    assert_eq!(survey(copied.path()).stats().unwrap().dataset_version, snapshot.stats.dataset_version);
    let mut restored = LanceCorpus::open(copied.path(), &identity(2)).unwrap();
    put(&mut restored, "c.pdf", 4, &[UP]);
    assert_eq!(restored.finish().unwrap().documents, 2, "it can be written to");
    drop(snapshot);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the store and its lock, but {left:?}");
}

#[test]
fn a_torn_newest_version_does_not_keep_anybody_from_reading_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = writer(folder.path());
    put(&mut corpus, "a.pdf", 1, &[RIGHT]);
    let before = survey(folder.path()).stats().unwrap().dataset_version;
    put(&mut corpus, "b.pdf", 2, &[RIGHT]);
    drop(corpus);
    let newest = folder.path().join(format!("corpus.lance/_versions/{:020}.manifest", u64::MAX - (before + 1)));
    assert!(newest.exists(), "manifests have other names now");
    fs::write(&newest, "").unwrap();
    assert_eq!(ids(&survey(folder.path())), ["a.pdf"]);
    reader(folder.path());
    assert!(fs::metadata(&newest).unwrap().len() == 0, "readers change nothing");
}

#[test]
fn a_look_from_outside_needs_no_embedder_and_finds_nothing_where_there_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(StoreSurvey::open(folder.path()).unwrap().is_none());
    let other = StoreIdentity { embedder: "another".into(), ..identity(7) };
    LanceCorpus::open(folder.path(), &other).unwrap();
    assert_eq!(survey(folder.path()).identity(), &other);
}
