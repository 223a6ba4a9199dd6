//! Where a store's search index is: in a folder of the dataset's own, so that it goes wherever the dataset goes.
//!
//! Each index has a number, and the highest counts. One is made under another name, and numbered when all of it is on the disk; a
//! killed writer leaves nothing that is read, and the next one removes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mentor_index::{IndexBuilder, IndexError, SearchIndex};

use super::upkeep;

/// The folder within the dataset's; Lance looks into none that it has not made.
const FOLDER: &str = "_search";
const BUILDING: &str = "building";

#[derive(Debug, Clone)]
pub(super) struct IndexFolder(PathBuf);

impl IndexFolder {
    /// That of the dataset in `folder`, whether there is one or not.
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.join(FOLDER))
    }

    /// The number of the index to search, where there is one.
    pub(super) fn newest(&self) -> io::Result<Option<u64>> {
        Ok(self.entries()?.iter().filter_map(|path| number(path)).max())
    }

    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.path())).collect(),
        }
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// A number for the next index: the time in microseconds, so that not even another store in this place had it.
    pub(super) fn next(&self) -> io::Result<u64> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
        Ok(time.max(self.newest()?.unwrap_or(0) + 1))
    }

    pub(super) fn open(&self, number: u64) -> Result<SearchIndex, IndexError> {
        SearchIndex::open(&self.path(number))
    }

    /// Begins a new index. Only for the writer, which holds the lock.
    pub(super) fn begin(&self, dimension: usize) -> Result<IndexBuilder, IndexError> {
        self.remove_all_but(self.newest()?)?;
        fs::create_dir_all(&self.0)?;
        IndexBuilder::create(&self.0.join(BUILDING), dimension)
    }

    /// Removes the others, and what a killed writer left. Only for the writer; readers hold on to what they have open.
    pub(super) fn remove_all_but(&self, kept: Option<u64>) -> io::Result<()> {
        let mut others = self.entries()?.into_iter().filter(|path| kept.is_none() || number(path) != kept);
        others.try_for_each(fs::remove_dir_all)
    }

    /// What is there beside the index to search. While a writer is at work, its own may be among it.
    pub(super) fn leftovers(&self) -> io::Result<Vec<PathBuf>> {
        let newest = self.newest()?;
        Ok(self.entries()?.into_iter().filter(|path| number(path) != newest || newest.is_none()).collect())
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        upkeep::bytes_below(&self.0)
    }
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}
