//! Makes an index out of rows that come one at a time, in bounded memory but for about 150 bytes a row.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::clusters::{Clusters, SAMPLE_PER_LIST};
use crate::codes;
use crate::manifest::{DocumentEntry, FORMAT, FileEntry, IndexError, MANIFEST, Manifest};
use crate::mapped::Numbers;
use crate::words::{Words, WordsBuilder};
use crate::writing::{FileWriter, Unfinished, write_numbers};

/// Lists for each square root of the rows: the more there are, the fewer rows a search reads, and the more centres.
const LISTS_PER_ROOT: f64 = 2.0;
/// Upper halves in the order of rows, until they are put into their lists.
const UNSORTED: &str = "unsorted";

/// The files of an index.
pub(crate) mod files {
    pub(crate) const CENTRES: &str = "centres.u8";
    pub(crate) const CENTRE_STEPS: &str = "centre_steps.f32";
    pub(crate) const LIST_ENDS: &str = "list_ends.u32";
    /// By place in the lists.
    pub(crate) const UPPER: &str = "upper.u8";
    pub(crate) const STEPS: &str = "steps.f32";
    pub(crate) const ROW_OF_PLACE: &str = "row_of_place.u32";
    /// By row.
    pub(crate) const PLACE_OF_ROW: &str = "place_of_row.u32";
    pub(crate) const LOWER: &str = "lower.u8";
    pub(crate) const PAYLOADS: &str = "payloads.u8";
    pub(crate) const PAYLOAD_ENDS: &str = "payload_ends.u64";
    pub(crate) const LENGTHS: &str = "lengths.u16";
    pub(crate) const BEGINS: &str = "begins.u8";
    /// By term.
    pub(crate) const TERMS: &str = "terms.u8";
    pub(crate) const TERM_ENDS: &str = "term_ends.u64";
    pub(crate) const ROW_COUNTS: &str = "row_counts.u32";
    pub(crate) const ENTRIES: &str = "entries.u8";
    pub(crate) const ENTRY_ENDS: &str = "entry_ends.u64";
}

/// An index that is being made. Nothing is left of it when it is dropped before `finish`.
pub struct IndexBuilder {
    dimension: usize,
    documents: Vec<DocumentEntry>,
    unsorted: BufWriter<File>,
    lower: FileWriter,
    /// Of each row.
    steps: Vec<f32>,
    payloads: FileWriter,
    payload_ends: Vec<u64>,
    words: WordsBuilder,
    /// Codes of the row that is being taken.
    codes: (Vec<u8>, Vec<u8>),
    folder: Unfinished,
}

impl IndexBuilder {
    /// Begins in `folder`, which must not be there.
    ///
    /// # Errors
    /// [`IndexError::Io`] when the folder cannot be made.
    pub fn create(folder: &Path, dimension: usize) -> Result<Self, IndexError> {
        fs::create_dir(folder)?;
        let unfinished = Unfinished(folder.to_owned());
        Ok(Self {
            dimension,
            documents: Vec::new(),
            unsorted: BufWriter::with_capacity(1 << 20, File::create_new(folder.join(UNSORTED))?),
            lower: FileWriter::create(folder, files::LOWER)?,
            steps: Vec::new(),
            payloads: FileWriter::create(folder, files::PAYLOADS)?,
            payload_ends: Vec::new(),
            words: WordsBuilder::default(),
            codes: (vec![0; codes::width(dimension)], vec![0; dimension]),
            folder: unfinished,
        })
    }

    /// Begins a document; the rows until the next one are its. `content` says what they are: two documents of equal content
    /// have equal rows.
    pub fn document(&mut self, content: &str) {
        self.documents.push(DocumentEntry { content: content.to_owned(), rows: 0 });
    }

    /// Takes the next row of the document.
    ///
    /// # Errors
    /// [`IndexError::Io`] when the disk refuses; [`IndexError::Damaged`] for a vector of another length, or beyond 2^32 rows.
    pub fn row(&mut self, vector: &[f32], texts: &[&str], payload: &[u8]) -> Result<(), IndexError> {
        let document = self.documents.last_mut().filter(|_| self.steps.len() < u32::MAX as usize);
        let (Some(document), true) = (document, vector.len() == self.dimension) else {
            let message = format!("row {} has no document, no place or {} values", self.steps.len(), vector.len());
            return Err(IndexError::Damaged(message));
        };
        let (upper, lower) = &mut self.codes;
        self.steps.push(codes::encode(vector, upper, lower));
        self.unsorted.write_all(upper)?;
        self.lower.write(lower)?;
        self.payloads.write(payload)?;
        self.payload_ends.push(self.payloads.length());
        self.words.row(texts, document.rows == 0);
        document.rows += 1;
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.steps.len()
    }

    /// Finds the lists, on so many threads, writes the rest and gives the folder its name, at which there must be nothing.
    ///
    /// # Errors
    /// [`IndexError::Io`] when the disk refuses; nothing is left then.
    pub fn finish(self, name: &Path, threads: usize) -> Result<(), IndexError> {
        let folder = self.folder.0.as_path();
        let mut entries = vec![self.lower.finish()?, self.payloads.finish()?];
        entries.push(write_numbers(folder, files::PAYLOAD_ENDS, &self.payload_ends)?);
        drop(self.payload_ends);
        let words = self.words.into_words();
        entries.extend(write_words(folder, &words)?);
        let terms_of_rows = words.terms_of_rows;
        drop(words);
        self.unsorted.into_inner().map_err(io::IntoInnerError::into_error)?;
        let unsorted = Numbers::map(&folder.join(UNSORTED))?;
        entries.extend(write_lists(folder, &unsorted, &self.steps, self.dimension, threads)?);
        drop(unsorted);
        fs::remove_file(folder.join(UNSORTED))?;
        let manifest = Manifest {
            format: FORMAT,
            dimension: self.dimension,
            terms_of_rows,
            documents: self.documents,
            files: entries,
        };
        let text = serde_json::to_vec(&manifest).map_err(io::Error::other)?;
        let mut file = FileWriter::create(folder, MANIFEST)?;
        file.write(&text)?;
        file.finish()?;
        Ok(self.folder.name(name)?)
    }
}

fn write_words(folder: &Path, words: &Words) -> io::Result<[FileEntry; 7]> {
    Ok([
        write_numbers(folder, files::TERMS, &words.texts)?,
        write_numbers(folder, files::TERM_ENDS, &words.text_ends)?,
        write_numbers(folder, files::ROW_COUNTS, &words.row_counts)?,
        write_numbers(folder, files::ENTRY_ENDS, &words.entry_ends)?,
        write_numbers(folder, files::ENTRIES, &words.entries)?,
        write_numbers(folder, files::LENGTHS, &words.lengths)?,
        write_numbers(folder, files::BEGINS, &words.begins)?,
    ])
}

/// Puts the rows into lists of like ones.
fn write_lists(
    folder: &Path,
    unsorted: &[u8],
    steps: &[f32],
    dimension: usize,
    threads: usize,
) -> io::Result<[FileEntry; 7]> {
    let (width, rows) = (codes::width(dimension), steps.len());
    let clusters = Clusters::train(&sample(unsorted, width), dimension, lists_for(rows), threads);
    let lists = clusters.assign(unsorted, threads);
    let mut row_of_place: Vec<u32> = (0..rows as u32).collect();
    // Stable: within a list rows stay in order.
    row_of_place.sort_by_key(|&row| lists[row as usize]);
    let mut list_ends = vec![0_u32; clusters.count()];
    lists.iter().for_each(|&list| list_ends[list as usize] += 1);
    (1..list_ends.len()).for_each(|list| list_ends[list] += list_ends[list - 1]);
    let mut place_of_row = vec![0_u32; rows];
    let mut upper = FileWriter::create(folder, files::UPPER)?;
    for (place, &row) in (0..).zip(&row_of_place) {
        place_of_row[row as usize] = place;
        upper.write(&unsorted[row as usize * width..][..width])?;
    }
    let steps_of_places: Vec<f32> = row_of_place.iter().map(|&row| steps[row as usize]).collect();
    Ok([
        upper.finish()?,
        write_numbers(folder, files::STEPS, &steps_of_places)?,
        write_numbers(folder, files::ROW_OF_PLACE, &row_of_place)?,
        write_numbers(folder, files::PLACE_OF_ROW, &place_of_row)?,
        write_numbers(folder, files::LIST_ENDS, &list_ends)?,
        write_numbers(folder, files::CENTRES, &clusters.centres)?,
        write_numbers(folder, files::CENTRE_STEPS, &clusters.steps)?,
    ])
}

fn lists_for(rows: usize) -> usize {
    ((rows as f64).sqrt() * LISTS_PER_ROOT).ceil().min(rows as f64) as usize
}

/// Codes of rows spread over all of them.
fn sample(unsorted: &[u8], width: usize) -> Vec<u8> {
    let rows = unsorted.len() / width;
    let wanted = (lists_for(rows) * SAMPLE_PER_LIST).min(rows);
    let mut sample = Vec::with_capacity(wanted * width);
    (0..wanted).for_each(|number| sample.extend_from_slice(&unsorted[number * rows / wanted * width..][..width]));
    sample
}
