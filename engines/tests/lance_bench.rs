//! Measurements, not checks: `cargo test --release --workspace --test lance_bench -- --ignored --nocapture`.
#![cfg(feature = "lance")]

mod lance_support;

use std::path::Path;
use std::time::{Duration, Instant};

use lance_support::{Random, identity, query, query_in, random_document};
use mentor_actors::ports::{Corpus, Retriever};
use mentor_engines::lance::{LanceCorpus, LanceRetriever, ReaderOptions};

const DIMENSION: usize = 384;

fn fill(folder: &Path, documents: u64, chunks: usize) -> LanceCorpus {
    let mut corpus = LanceCorpus::open(folder, &identity(DIMENSION)).unwrap();
    let mut spent = Duration::ZERO;
    for seed in 0..documents {
        let (record, chunks) = random_document(&format!("week/{seed}.pdf"), seed, chunks, DIMENSION);
        let start = Instant::now();
        corpus.put(&record, &chunks).unwrap();
        spent += start.elapsed();
    }
    let start = Instant::now();
    let stats = corpus.finish().unwrap();
    println!("put {documents} documents x {chunks} chunks: {spent:.2?}, finish {:.2?}, {stats:?}", start.elapsed());
    corpus
}

/// Kilobytes of this process's memory that are resident, and of those the ones that are no file's.
fn resident_kb() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (field("VmRSS:"), field("RssAnon:"))
}

async fn measure(folder: &Path, name: &str, max_resident_rows: usize, rounds: usize) {
    let before = resident_kb();
    let start = Instant::now();
    let options = ReaderOptions { max_resident_rows, ..ReaderOptions::default() };
    let reader = LanceRetriever::open(folder, &identity(DIMENSION), options).unwrap();
    let opened = start.elapsed();
    let mut random = Random::new(7);
    let mut times = Vec::new();
    let mut filtered = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        assert_eq!(reader.search(query(random.unit(DIMENSION), 8)).await.unwrap().len(), 8);
        times.push(start.elapsed());
        let start = Instant::now();
        reader.search(query_in(random.unit(DIMENSION), 8, &["week/3.pdf", "week/5.pdf"])).await.unwrap();
        filtered.push(start.elapsed());
    }
    times.sort();
    filtered.sort();
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{name}: open {opened:.2?}, search p50 {:.2?} p95 {:.2?}, two documents p50 {:.2?} p95 {:.2?}, memory before \
         {before:?} kB, now {:?} kB",
        at(&times, 50),
        at(&times, 95),
        at(&filtered, 50),
        at(&filtered, 95),
        resident_kb()
    );
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_a_course_of_6_000_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = fill(folder.path(), 1000, 6);
    measure(folder.path(), "6,000 in memory", usize::MAX, 300).await;
    measure(folder.path(), "6,000 on disk", 0, 100).await;
    let start = Instant::now();
    for seed in 0..1000 {
        let (record, chunks) = random_document(&format!("week/{seed}.pdf"), seed + 5000, 6, DIMENSION);
        corpus.put(&record, &chunks).unwrap();
    }
    println!("replaced 1,000 documents: {:.2?}", start.elapsed());
    println!("finish: {:?}", corpus.finish().unwrap());
    drop(corpus);
    let start = Instant::now();
    drop(LanceCorpus::open(folder.path(), &identity(DIMENSION)).unwrap());
    println!("writer's open: {:.2?}", start.elapsed());
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_10_000_and_100_000_chunks() {
    for documents in [20, 200] {
        let folder = tempfile::tempdir().unwrap();
        drop(fill(folder.path(), documents, 500));
        measure(folder.path(), &format!("{} in memory", documents * 500), usize::MAX, 300).await;
        measure(folder.path(), &format!("{} on disk", documents * 500), 0, 60).await;
    }
}
