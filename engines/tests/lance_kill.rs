//! A writer killed at any moment: the store opens at once and holds every document wholly, old or new.
#![cfg(feature = "lance")]

mod lance_support;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lance_support::{document, identity, query};
use mentor_actors::ports::{Corpus, Retriever};
use mentor_engines::lance::{LanceCorpus, LanceRetriever, ReaderOptions};

/// Set in the process that is to be killed: the data folder it writes to.
const VICTIM: &str = "MENTOR_TEST_KILLED_WRITER";
const DOCUMENTS: u64 = 5;

/// In generation `g`, document `d` has `1 + (g + d) % 4` chunks, all with the hash seed `g`.
fn chunks_of(document: u64, generation: u64) -> u64 {
    1 + (generation + document) % 4
}

/// Not a test by itself: what the killed process runs.
#[test]
fn replaces_documents_until_it_is_killed() {
    let Ok(data_dir) = env::var(VICTIM) else { return };
    let mut corpus = LanceCorpus::open(Path::new(&data_dir), &identity(2)).unwrap();
    for generation in 1.. {
        for id in 0..DOCUMENTS {
            let vectors = vec![vec![1.0, 0.0]; chunks_of(id, generation) as usize];
            let (record, chunks) = document(&format!("{id}.pdf"), generation, vectors);
            corpus.put(&record, &chunks).unwrap();
            println!("put {generation}");
        }
        if generation % 3 == 0 {
            corpus.finish().unwrap();
        }
    }
}

fn spawn_writer(data_dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "replaces_documents_until_it_is_killed", "--nocapture"])
        .env(VICTIM, data_dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the writer put `puts` documents and kills it, wherever it is by then.
fn write_and_kill(data_dir: &Path, puts: usize) {
    let mut child = spawn_writer(data_dir);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).filter(|line| line.starts_with("put ")).take(puts).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, puts, "the writer ended by itself");
}

#[tokio::test]
async fn a_killed_writer_leaves_every_document_whole() {
    let folder = tempfile::tempdir().unwrap();
    for puts in [1, 7, 15, 16, 31, 44] {
        write_and_kill(folder.path(), puts);
        let reader = LanceRetriever::open(folder.path(), &identity(2), ReaderOptions::default()).unwrap();
        let hits = reader.search(query(vec![1.0, 0.0], 1000)).await.unwrap().passages;
        let records = reader.documents().await.unwrap();
        assert!(!records.is_empty());
        for record in &records {
            let of_record = |id: &str| id.starts_with(&record.hash.to_string()[..16]);
            let (new, old): (Vec<_>, Vec<_>) = hits
                .iter()
                .filter(|hit| hit.passage.document_id == record.id)
                .partition(|hit| of_record(&hit.passage.chunk_id.0));
            assert_eq!((new.len(), old.len()), (record.chunks as usize, 0), "{record:?} after {puts} puts");
        }
        let total: usize = records.iter().map(|record| record.chunks as usize).sum();
        assert_eq!(hits.len(), total);

        let mut corpus = LanceCorpus::open(folder.path(), &identity(2)).unwrap();
        assert_eq!(corpus.documents().unwrap(), records);
        corpus.finish().unwrap();
        let leftovers = std::fs::read_dir(folder.path().join("corpus.lance/_versions")).unwrap().count();
        assert!(leftovers <= 2, "a manifest and the hint to it, but {leftovers} files are left");
    }
}
