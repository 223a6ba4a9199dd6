//! Indexes that are made, opened and searched.

use std::fs;
use std::path::{Path, PathBuf};

use mentor_index::{Analyser, Bm25, IndexBuilder, IndexError, Near, SearchIndex, product};

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// A vector of length 1, around one of 40 others.
    fn vector(&mut self, row: usize) -> Vec<f32> {
        let mut centre = Random((row % 40) as u64 + 1);
        let vector: Vec<f32> = (0..DIMENSION).map(|_| centre.next() + 0.4 * self.next()).collect();
        let length = product(&vector, &vector).sqrt();
        vector.into_iter().map(|value| value / length).collect()
    }
}

const DIMENSION: usize = 24;
const ROWS_PER_DOCUMENT: usize = 100;

fn vectors(rows: usize) -> Vec<Vec<f32>> {
    let mut random = Random(9);
    (0..rows).map(|row| random.vector(row)).collect()
}

fn make(folder: &Path, vectors: &[Vec<f32>]) -> PathBuf {
    let mut builder = IndexBuilder::create(&folder.join("building"), DIMENSION).unwrap();
    for (row, vector) in vectors.iter().enumerate() {
        if row % ROWS_PER_DOCUMENT == 0 {
            builder.document(&format!("content {}", row / ROWS_PER_DOCUMENT));
        }
        let text = format!("word{} tree", row % 7);
        builder.row(vector, &[&text], format!("payload {row}").as_bytes()).unwrap();
    }
    assert_eq!(builder.rows(), vectors.len());
    builder.finish(&folder.join("1"), 2).unwrap();
    folder.join("1")
}

fn exact(vectors: &[Vec<f32>], query: &[f32], count: usize, is_wanted: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut rows: Vec<usize> = (0..vectors.len()).filter(|row| is_wanted(*row)).collect();
    rows.sort_by(|a, b| product(&vectors[*b], query).total_cmp(&product(&vectors[*a], query)));
    rows.into_iter().take(count).map(|row| row as u32).collect()
}

fn rows(found: &[Near]) -> Vec<u32> {
    found.iter().map(|near| near.row).collect()
}

#[test]
fn a_small_index_finds_exactly_the_nearest_of_the_wanted_documents() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors(1_950);
    let index = SearchIndex::open(&make(folder.path(), &vectors)).unwrap();
    assert_eq!((index.rows(), index.dimension(), index.documents().count()), (1_950, DIMENSION, 20));
    for (number, query) in vectors.iter().enumerate().step_by(97) {
        let found = index.nearest(query, 10, &index.wanted(|_| true)).unwrap();
        assert_eq!(rows(&found), exact(&vectors, query, 10, |_| true));
        assert!(found[0].row == number as u32 && (found[0].likeness - 1.0).abs() < 1e-5);
        let wanted = index.wanted(|document| document % 3 == 1);
        let found = rows(&index.nearest(query, 10, &wanted).unwrap());
        assert_eq!(found, exact(&vectors, query, 10, |row| row / ROWS_PER_DOCUMENT % 3 == 1));
    }
    assert!(index.nearest(&vectors[0], 10, &index.wanted(|_| false)).unwrap().is_empty());
}

#[test]
fn a_large_index_finds_nearly_all_of_the_nearest_in_its_lists() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors(30_000);
    let index = SearchIndex::open(&make(folder.path(), &vectors)).unwrap();
    let (mut found, mut asked) = (0, 0);
    for query in vectors.iter().step_by(499) {
        for every in [1, 3] {
            let is_wanted = |document: usize| document.is_multiple_of(every);
            let nearest = rows(&index.nearest(query, 10, &index.wanted(is_wanted)).unwrap());
            assert!(nearest.iter().all(|row| is_wanted(*row as usize / ROWS_PER_DOCUMENT)));
            let exact = exact(&vectors, query, 10, |row| is_wanted(row / ROWS_PER_DOCUMENT));
            found += nearest.iter().filter(|row| exact.contains(row)).count();
            asked += exact.len();
        }
    }
    assert!(found * 100 >= asked * 95, "{found} of {asked}");
}

#[test]
fn what_belongs_to_a_row_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors(250);
    let index = SearchIndex::open(&make(folder.path(), &vectors)).unwrap();
    for row in [0, 99, 100, 249] {
        assert_eq!(index.payload(row).unwrap(), format!("payload {row}").as_bytes());
        let vector = index.vector(row).unwrap();
        assert!((product(&vector, &vectors[row as usize]) - 1.0).abs() < 1e-5);
    }
    assert_eq!(index.document_of(199), (1, 100..200));
    let documents: Vec<_> = index.documents().collect();
    assert_eq!((documents[2].content, documents[2].rows.clone()), ("content 2", 200..250));

    let bm25 = Bm25::new(Analyser::english().question_terms("word3"), std::iter::once(index.words()));
    let scores = index.words().scores(&bm25);
    let best = index.best_by_words(&scores, 3, &index.wanted(|document| document == 1));
    assert_eq!(best.len(), 3);
    assert!(best.iter().all(|row| (100..200).contains(row) && scores[*row as usize] > 0.0), "{best:?}");
}

#[test]
fn an_index_without_rows_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(&make(folder.path(), &[])).unwrap();
    assert!(index.nearest(&[0.0; DIMENSION], 10, &index.wanted(|_| true)).unwrap().is_empty());
}

#[test]
fn one_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = IndexBuilder::create(&folder.path().join("building"), DIMENSION).unwrap();
    assert!(builder.row(&[0.0; DIMENSION], &[], &[]).is_err(), "a row without a document");
    builder.document("content");
    assert!(builder.row(&[0.0; 3], &[], &[]).is_err(), "a vector of another length");
    drop(builder);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_not_what_was_written_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let index = make(folder.path(), &vectors(300));
    let change = |name: &str, change: fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(index.join(name)).unwrap();
        let before = bytes.clone();
        change(&mut bytes);
        fs::write(index.join(name), &bytes).unwrap();
        let found = (SearchIndex::open(&index).err(), SearchIndex::verify(&index).err());
        fs::write(index.join(name), before).unwrap();
        found
    };
    let is_damaged = |error: &Option<IndexError>| matches!(error, Some(IndexError::Damaged(_)));
    let (open, verify) = change("place_of_row.u32", |bytes| bytes[5] ^= 1);
    assert!(is_damaged(&open) && is_damaged(&verify));
    let (open, verify) = change("payloads.u8", |bytes| bytes[5] ^= 1);
    assert!(open.is_none() && is_damaged(&verify), "large files are read by the doctor alone");
    let (open, _) = change("payloads.u8", |bytes| bytes.truncate(7));
    assert!(is_damaged(&open));
    let (open, _) = change("manifest.json", |bytes| bytes.truncate(50));
    assert!(is_damaged(&open));
    assert!(SearchIndex::open(&index).is_ok());
    assert!(matches!(SearchIndex::open(&folder.path().join("2")), Err(IndexError::Io(_))));
}
