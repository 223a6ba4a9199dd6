//! Each damage is found, named with what mends it, and left as it is.
#![cfg(feature = "lance")]

mod lance_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lance_support::{document, identity, random_document};
use mentor_actors::domain::{DocumentHash, DocumentId, DocumentRecord};
use mentor_actors::ports::Corpus;
use mentor_engines::lance::{Finding, INDEX_FROM, LanceCorpus, Severity, StoreIdentity, examine};

/// A store of three documents, tidied.
fn store(folder: &Path) -> LanceCorpus {
    let mut corpus = LanceCorpus::open(folder, &identity(8)).unwrap();
    for (seed, name) in ["a.pdf", "b.pdf", "c.pdf"].iter().enumerate() {
        let (record, chunks) = random_document(name, seed as u64, 3, 8);
        corpus.put(&record, &chunks).unwrap();
    }
    corpus.finish().unwrap();
    corpus
}

/// Examines, and sees to it that nothing was changed by that.
fn examined(folder: &Path, expected: &StoreIdentity) -> Vec<Finding> {
    let before = files(folder);
    let findings = examine(folder, Some(expected), INDEX_FROM).unwrap();
    assert_eq!(files(folder), before, "examining changed something");
    findings
}

/// Every file below `folder` with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn problems(folder: &Path) -> Vec<Finding> {
    let all = examined(folder, &identity(8));
    all.into_iter().filter(|finding| finding.severity == Severity::Problem).collect()
}

/// The store has this problem and no other, with this remedy.
fn only_problem(folder: &Path, check: &str, message: &str, remedy: &str) {
    let found = problems(folder);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.check, check, "{finding:?}");
    assert!(finding.message.contains(message) && finding.remedy.contains(remedy), "{finding:?}");
}

/// Deletes rows behind the program's back.
fn delete_rows(folder: &Path, rows: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let uri = folder.join("corpus.lance");
        let mut dataset = lance::Dataset::open(uri.to_str().unwrap()).await.unwrap();
        dataset.delete(rows).await.unwrap();
    });
}

#[test]
fn a_sound_store_has_no_problems_and_a_missing_one_is_one() {
    let folder = tempfile::tempdir().unwrap();
    only_problem(folder.path(), "store", "no store", "mentor ingest");
    drop(store(folder.path()));
    assert_eq!(problems(folder.path()), []);
}

#[test]
fn another_embedder_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    drop(store(folder.path()));
    let other = StoreIdentity { embedder: "another".into(), ..identity(8) };
    let found = examined(folder.path(), &other);
    assert!(found[0].check == "embedder" && found[0].remedy.contains("mentor re-embed"), "{found:?}");
}

#[test]
fn vectors_that_nothing_can_find_are_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = store(folder.path());
    let mut long = vec![0.0; 8];
    long[0] = 2.0;
    let (record, chunks) = document("d.pdf", 9, vec![vec![0.0; 8], vec![0.0; 8], long]);
    corpus.put(&record, &chunks).unwrap();
    drop(corpus);
    let found = problems(folder.path());
    let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("2 passages have a vector of zeros"), "{messages:?}");
    assert!(messages[1].starts_with("1 passages have a vector whose length is not 1"), "{messages:?}");
}

#[test]
fn passages_without_a_record_and_records_with_other_passages_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    drop(store(folder.path()));
    delete_rows(folder.path(), "document_id = 'a.pdf' AND record IS NOT NULL");
    only_problem(folder.path(), "documents", "passages without a record: a.pdf", "mentor restore");
    let folder = tempfile::tempdir().unwrap();
    drop(store(folder.path()));
    delete_rows(folder.path(), "document_id = 'b.pdf' AND page = 2");
    only_problem(folder.path(), "documents", "other passages than the record counts: b.pdf", "mentor restore");
}

#[test]
fn files_that_nothing_refers_to_and_files_that_are_missing_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = store(folder.path());
    let data = folder.path().join("corpus.lance/data");
    let lived = fs::read_dir(&data).unwrap().next().unwrap().unwrap().path();
    fs::copy(&lived, data.join("00000000000000000000000000deadbeef.lance")).unwrap();
    let busy = examined(folder.path(), &identity(8));
    assert!(busy.iter().any(|finding| finding.check == "writer"), "a writer's own files look the same: {busy:?}");
    assert!(!busy.iter().any(|finding| finding.check == "files"), "{busy:?}");
    corpus.finish().unwrap();
    fs::copy(&lived, data.join("00000000000000000000000000deadbeef.lance")).unwrap();
    drop(corpus);
    only_problem(folder.path(), "files", "1 files", "mentor compact");
    LanceCorpus::open_stored(folder.path()).unwrap().finish().unwrap();
    assert_eq!(problems(folder.path()), [], "the remedy does not mend it");
    fs::remove_file(lived).unwrap();
    let found = problems(folder.path());
    assert!(found.iter().all(|finding| finding.remedy.contains("mentor restore")) && !found.is_empty(), "{found:?}");
}

#[test]
fn many_fragments_a_torn_version_and_leftovers_are_mended_by_compacting() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = store(folder.path());
    for seed in 0..20 {
        let (record, chunks) = random_document(&format!("{seed}.pdf"), seed, 1, 8);
        corpus.put(&record, &chunks).unwrap();
    }
    drop(corpus);
    only_problem(folder.path(), "fragments", "23 small fragments", "mentor compact");
    fs::write(folder.path().join("corpus.lance/_versions/00000000000000000001.manifest"), "").unwrap();
    fs::create_dir(folder.path().join(".building")).unwrap();
    let found = problems(folder.path());
    let checks: Vec<&str> = found.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["versions", "leftovers"], "{found:?}");
    assert!(found.iter().all(|finding| finding.remedy == "mentor compact"), "{found:?}");
    LanceCorpus::open_stored(folder.path()).unwrap().finish().unwrap();
    assert_eq!(problems(folder.path()), []);
}

#[test]
fn a_store_that_cannot_be_read_is_a_problem_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    drop(store(folder.path()));
    for entry in fs::read_dir(folder.path().join("corpus.lance/data")).unwrap() {
        let path = entry.unwrap().path();
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::write(path, vec![0x5a; length]).unwrap();
    }
    only_problem(folder.path(), "store", "cannot be read", "mentor restore");
}

#[test]
fn a_large_search_index_is_no_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = store(folder.path()).indexed_from(1);
    corpus.finish().unwrap();
    drop(corpus);
    let indexes = folder.path().join("corpus.lance/_search");
    let index = fs::read_dir(indexes).unwrap().next().unwrap().unwrap().path();
    fs::write(index.join("padding"), vec![0; 1 << 20]).unwrap();
    assert!(!examined(folder.path(), &identity(8)).iter().any(|finding| finding.check == "disk"));
    fs::write(folder.path().join("corpus.lance/padding"), vec![0; 1 << 20]).unwrap();
    assert!(examined(folder.path(), &identity(8)).iter().any(|finding| finding.check == "disk"));
}

#[test]
fn failures_are_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = store(folder.path());
    let (record, _) = random_document("d.pdf", 1, 0, 8);
    let broken = DocumentRecord::failed(DocumentId("d.pdf".into()), DocumentHash([1; 32]), record.kind, "no".into());
    corpus.put(&broken, &[]).unwrap();
    drop(corpus);
    let found = examined(folder.path(), &identity(8));
    let note = found.iter().find(|finding| finding.check == "failures").unwrap();
    assert_eq!(note.severity, Severity::Note);
    assert!(note.message.starts_with("1 documents and 3 pages"), "{note:?}");
}
