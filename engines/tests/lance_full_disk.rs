//! A disk that is full: the writer says so, what it acknowledged stays whole, and it goes on once there is room.
#![cfg(feature = "lance")]

mod lance_support;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lance_support::{Random, identity, random_document};
use mentor_actors::domain::{DocumentId, DocumentRecord, EngineError};
use mentor_actors::ports::Corpus;
use mentor_engines::lance::{INDEX_FROM, LanceCorpus, StoreSurvey, examine};

const DISK_BYTES: u64 = 8 << 20;
/// Few chunks have an index already, so that making one is among what fails.
const INDEXED_FROM: usize = 10;

/// A small disk of its own in memory; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with a line on the terminal (the harness keeps what a passing test prints) that says why, where it is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        // Past the harness, which shows what a test prints only when it fails.
        drop(writeln!(std::io::stderr(), "skipped: a_full_disk...: a small disk can only be mounted by root"));
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Leaves no more than `room` bytes.
    fn fill(&self, room: u64) {
        let mut file = File::create(self.filler()).unwrap();
        let block = vec![0_u8; 4_096];
        while file.write_all(&block).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(room)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

/// One document after the other until the disk is full; those that were acknowledged.
fn write_until_full(corpus: &mut LanceCorpus, round: u64) -> Vec<DocumentRecord> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let (record, chunks) = random_document(&format!("{round}-{number}.pdf"), round * 1_000 + number, 6, 64);
        let stored = match number % 7 {
            6 => corpus.finish().map(drop),
            _ => corpus.put(&record, &chunks),
        };
        match stored {
            Ok(()) if number % 7 != 6 => acknowledged.push(record),
            Ok(()) => {}
            Err(EngineError::Failed(reason)) => {
                assert!(!reason.contains('\n'), "{reason}");
                return acknowledged;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    unreachable!("the disk has {DISK_BYTES} bytes")
}

fn stored(data_dir: &Path) -> Vec<DocumentRecord> {
    StoreSurvey::open(data_dir).unwrap().unwrap().records().to_vec()
}

#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data_dir = disk.0.path().join("data");
    let mut random = Random::new(6);
    let mut corpus = LanceCorpus::open(&data_dir, &identity(64)).unwrap().indexed_from(INDEXED_FROM);
    for round in 0..12 {
        disk.fill(random.below(200_000));
        let acknowledged = write_until_full(&mut corpus, round);
        // Seen from outside, with the disk still full.
        let held = stored(&data_dir);
        for record in &acknowledged {
            assert!(held.contains(record), "{record:?} was acknowledged and is gone");
        }
        assert!(held.len() <= acknowledged.len() + 1, "more is there than was ever asked for");
        let rows = examine(&data_dir, Some(&identity(64)), INDEX_FROM).unwrap();
        assert!(rows.iter().all(|finding| finding.check != "documents"), "a document is there in part: {rows:?}");

        fs::remove_file(disk.filler()).unwrap();
        if round % 2 == 0 {
            drop(corpus);
            corpus = LanceCorpus::open(&data_dir, &identity(64)).unwrap().indexed_from(INDEXED_FROM);
        }
        for record in corpus.documents().unwrap() {
            corpus.remove(&DocumentId(record.id.0)).unwrap();
        }
        let (record, chunks) = random_document("after.pdf", round, 2, 64);
        corpus.put(&record, &chunks).unwrap();
        corpus.finish().unwrap();
        assert_eq!(stored(&data_dir), std::slice::from_ref(&record));
        corpus.remove(&record.id).unwrap();
        let stats = corpus.finish().unwrap();
        assert!(stats.bytes < 100_000, "files of the failed writes are left: {} bytes", stats.bytes);
    }
}
