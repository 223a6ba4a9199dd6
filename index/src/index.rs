//! An index that is open: searches, and what belongs to a row.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::best::Best;
use crate::builder::files;
use crate::clusters::Clusters;
use crate::codes::{self, Probe};
use crate::dot::Kernel;
use crate::manifest::{IndexError, Manifest};
use crate::mapped::Numbers;
use crate::words::{Words, best_rows};

/// Lists that a search looks into, where all documents are wanted.
const LISTS_READ: usize = 16;
/// Rows that are read for each that is asked for, at least.
const READ_PER_ROW: usize = 8;
/// So many more rows than are asked for are compared exactly: upper halves alone hardly ever miss by more places.
const EXACT_MORE: usize = 24;
/// Up to so many wanted rows are compared one by one, whatever list they are in.
const FEW_ROWS: usize = 8_192;
/// Files that are not read at open: large ones, in which nothing is a place in another.
const NOT_CHECKED_AT_OPEN: [&str; 4] = [files::UPPER, files::LOWER, files::PAYLOADS, files::ENTRIES];

/// An open index. Its files may be removed meanwhile.
#[derive(Debug)]
pub struct SearchIndex {
    manifest: Manifest,
    documents: Vec<Range<u32>>,
    clusters: Clusters,
    list_ends: Numbers<u32>,
    upper: File,
    /// The same, for rows that are looked at one by one wherever they stand.
    upper_mapped: Numbers<u8>,
    steps: Numbers<f32>,
    row_of_place: Numbers<u32>,
    place_of_row: Numbers<u32>,
    lower: File,
    payloads: File,
    payload_ends: Numbers<u64>,
    words: Words,
}

/// A document of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedDocument<'a> {
    /// As the builder was told.
    pub content: &'a str,
    /// Its rows.
    pub rows: Range<u32>,
}

/// A row and the cosine of its vector and the question's.
#[derive(Debug, Clone, PartialEq)]
pub struct Near {
    /// The row.
    pub row: u32,
    /// -1 to 1.
    pub likeness: f32,
    /// The row's own vector.
    pub vector: Vec<f32>,
}

/// Which documents of an index a search is for.
#[derive(Debug)]
pub struct Wanted {
    /// Of each document.
    documents: Vec<bool>,
    rows: usize,
}

impl SearchIndex {
    /// Opens the index in `folder`.
    ///
    /// # Errors
    /// [`IndexError::Io`] when there is none, [`IndexError::Damaged`] when its files are not what was written.
    pub fn open(folder: &Path) -> Result<Self, IndexError> {
        let manifest = Manifest::read(folder)?;
        manifest.verify(folder, |file| !NOT_CHECKED_AT_OPEN.contains(&file))?;
        let path = |name: &str| folder.join(name);
        let index = Self {
            documents: manifest.rows(),
            clusters: Clusters {
                dimension: manifest.dimension,
                centres: Numbers::map(&path(files::CENTRES))?,
                steps: Numbers::map(&path(files::CENTRE_STEPS))?,
            },
            list_ends: Numbers::map(&path(files::LIST_ENDS))?,
            upper: File::open(path(files::UPPER))?,
            upper_mapped: Numbers::map(&path(files::UPPER))?,
            steps: Numbers::map(&path(files::STEPS))?,
            row_of_place: Numbers::map(&path(files::ROW_OF_PLACE))?,
            place_of_row: Numbers::map(&path(files::PLACE_OF_ROW))?,
            lower: File::open(path(files::LOWER))?,
            payloads: File::open(path(files::PAYLOADS))?,
            payload_ends: Numbers::map(&path(files::PAYLOAD_ENDS))?,
            words: Words {
                texts: Numbers::map(&path(files::TERMS))?,
                text_ends: Numbers::map(&path(files::TERM_ENDS))?,
                row_counts: Numbers::map(&path(files::ROW_COUNTS))?,
                entry_ends: Numbers::map(&path(files::ENTRY_ENDS))?,
                entries: Numbers::map(&path(files::ENTRIES))?,
                lengths: Numbers::map(&path(files::LENGTHS))?,
                begins: Numbers::map(&path(files::BEGINS))?,
                terms_of_rows: manifest.terms_of_rows,
            },
            manifest,
        };
        let rows = index.rows();
        let of_rows = [index.steps.len(), index.row_of_place.len(), index.place_of_row.len(), index.payload_ends.len()];
        let all_there = of_rows.iter().all(|length| *length == rows)
            && index.words.lengths.len() == rows
            && index.upper_mapped.len() == rows * codes::width(index.manifest.dimension);
        match all_there {
            true => Ok(index),
            false => Err(IndexError::Damaged(format!("its files do not have {rows} rows each"))),
        }
    }

    /// Reads every file and compares it with what was written.
    ///
    /// # Errors
    /// [`IndexError::Io`] when it cannot be read, [`IndexError::Damaged`] when it is not what was written.
    pub fn verify(folder: &Path) -> Result<(), IndexError> {
        Manifest::read(folder)?.verify(folder, |_| true)
    }

    /// Length of its vectors.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.manifest.dimension
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.documents.last().map_or(0, |rows| rows.end as usize)
    }

    /// Its documents, in the order of their rows.
    pub fn documents(&self) -> impl Iterator<Item = IndexedDocument<'_>> {
        let documents = self.manifest.documents.iter().zip(&self.documents);
        documents.map(|(entry, rows)| IndexedDocument { content: &entry.content, rows: rows.clone() })
    }

    /// The number and the rows of the document that `row` belongs to.
    #[must_use]
    pub fn document_of(&self, row: u32) -> (usize, Range<u32>) {
        let number = self.documents.partition_point(|rows| rows.end <= row);
        (number, self.documents[number].clone())
    }

    /// Those documents for which `is_wanted` says so, by their number.
    pub fn wanted(&self, is_wanted: impl Fn(usize) -> bool) -> Wanted {
        let documents: Vec<bool> = (0..self.documents.len()).map(is_wanted).collect();
        let rows = documents.iter().zip(&self.documents).filter(|(wanted, _)| **wanted).map(|(_, rows)| rows.len());
        Wanted { rows: rows.sum(), documents }
    }

    fn is_wanted(&self, row: u32, wanted: &Wanted) -> bool {
        wanted.rows == self.rows() || wanted.documents[self.document_of(row).0]
    }

    /// The rows of the wanted documents whose vectors are nearest to `query`, which has length 1; nearest first, at most
    /// `count`. Rows that stand in no list near the question may be missed.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn nearest(&self, query: &[f32], count: usize, wanted: &Wanted) -> io::Result<Vec<Near>> {
        let probe = Probe::new(query);
        let mut best = Best::new(count + EXACT_MORE);
        if wanted.rows <= FEW_ROWS {
            self.look_at_documents(&probe, wanted, &mut best);
        } else {
            self.look_into_lists(&probe, count, wanted, &mut best)?;
        }
        let mut nearest = Vec::with_capacity(count + EXACT_MORE);
        for (_, row) in best.into_sorted() {
            nearest.push(self.compared(row, query)?);
        }
        nearest.sort_by(|a, b| b.likeness.total_cmp(&a.likeness).then(a.row.cmp(&b.row)));
        nearest.truncate(count);
        Ok(nearest)
    }

    fn look_into_lists(&self, probe: &Probe, count: usize, wanted: &Wanted, best: &mut Best) -> io::Result<()> {
        let (kernel, width) = (Kernel::of_processor(), probe.values.len());
        // The fewer rows are wanted, and the more of them, the farther away they may be.
        let for_count = (READ_PER_ROW * count * self.clusters.count()).div_ceil(wanted.rows);
        let lists = (LISTS_READ * self.rows()).div_ceil(wanted.rows).max(for_count);
        let (mut codes, mut products) = (Vec::new(), Vec::new());
        for list in self.clusters.nearest(probe, lists) {
            let start = if list == 0 { 0 } else { self.list_ends[list - 1] as usize };
            let places = start..self.list_ends[list] as usize;
            products.resize(places.len(), 0);
            codes.resize(places.len() * width, 0);
            self.upper.read_exact_at(&mut codes, (places.start * width) as u64)?;
            kernel.products(&codes, &probe.values, &mut products);
            for ((&product, &step), &row) in
                products.iter().zip(&self.steps[places.clone()]).zip(&self.row_of_place[places])
            {
                let likeness = probe.likeness(product, step);
                if best.wants(likeness) && self.is_wanted(row, wanted) {
                    best.take(likeness, row);
                }
            }
        }
        Ok(())
    }

    fn look_at_documents(&self, probe: &Probe, wanted: &Wanted, best: &mut Best) {
        let (kernel, width) = (Kernel::of_processor(), probe.values.len());
        let documents = self.documents.iter().zip(&wanted.documents).filter(|(_, wanted)| **wanted);
        for row in documents.flat_map(|(rows, _)| rows.clone()) {
            let place = self.place_of_row[row as usize] as usize;
            let mut product = [0];
            kernel.products(&self.upper_mapped[place * width..][..width], &probe.values, &mut product);
            let likeness = probe.likeness(product[0], self.steps[place]);
            if best.wants(likeness) {
                best.take(likeness, row);
            }
        }
    }

    /// Compares a row with `query`, wherever it stands.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn compared(&self, row: u32, query: &[f32]) -> io::Result<Near> {
        let vector = self.vector(row)?;
        Ok(Near { row, likeness: codes::product(&vector, query), vector })
    }

    /// The vector of a row.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn vector(&self, row: u32) -> io::Result<Vec<f32>> {
        let (dimension, width) = (self.manifest.dimension, codes::width(self.manifest.dimension));
        let place = self.place_of_row[row as usize] as usize;
        let (mut upper, mut lower) = (vec![0; width], vec![0; dimension]);
        self.upper.read_exact_at(&mut upper, (place * width) as u64)?;
        self.lower.read_exact_at(&mut lower, u64::from(row) * dimension as u64)?;
        Ok(codes::decode(&upper, &lower, self.steps[place]))
    }

    /// What the builder was given with a row.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn payload(&self, row: u32) -> io::Result<Vec<u8>> {
        let start = if row == 0 { 0 } else { self.payload_ends[row as usize - 1] };
        let length = self.payload_ends[row as usize].saturating_sub(start);
        let mut payload = vec![0; length as usize];
        self.payloads.read_exact_at(&mut payload, start)?;
        Ok(payload)
    }

    /// Which terms stand in which rows.
    #[must_use]
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The rows of the wanted documents with the highest of `scores` above 0, which are those of its [`Words`]; at most `count`.
    #[must_use]
    pub fn best_by_words(&self, scores: &[f32], count: usize, wanted: &Wanted) -> Vec<u32> {
        best_rows(scores, count, |row| self.is_wanted(row, wanted))
    }
}
