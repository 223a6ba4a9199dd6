//! What the folder of an index holds: written last, read first.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The manifest's own file.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Meaning of the files; another one is not read.
pub(crate) const FORMAT: u32 = 1;

/// Why an index cannot be opened or made.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The folder does not hold what an index holds.
    #[error("{0}")]
    Damaged(String),
}

/// Length and checksum of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) dimension: usize,
    /// Terms of all rows and their neighbours, repeated ones counted.
    pub(crate) terms_of_rows: u64,
    /// In the order of their rows.
    pub(crate) documents: Vec<DocumentEntry>,
    pub(crate) files: Vec<FileEntry>,
}

/// A document's content, as the caller names it, and how many rows it has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DocumentEntry {
    pub(crate) content: String,
    pub(crate) rows: u32,
}

impl Manifest {
    /// Reads the manifest in `folder`, and looks whether all files are there in their length.
    pub(crate) fn read(folder: &Path) -> Result<Self, IndexError> {
        let text = fs::read(folder.join(MANIFEST))?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| IndexError::Damaged(format!("{MANIFEST} is unreadable: {error}")))?;
        if manifest.format != FORMAT {
            return Err(IndexError::Damaged(format!("it has format {}, not {FORMAT}", manifest.format)));
        }
        for FileEntry { name, bytes, .. } in &manifest.files {
            let found = fs::metadata(folder.join(name))?.len();
            if found != *bytes {
                return Err(IndexError::Damaged(format!("{name} has {found} bytes, not {bytes}")));
            }
        }
        Ok(manifest)
    }

    /// Reads the files for which `is_read` says so, and compares their checksums.
    pub(crate) fn verify(&self, folder: &Path, is_read: impl Fn(&str) -> bool) -> Result<(), IndexError> {
        for FileEntry { name, sha256, .. } in self.files.iter().filter(|file| is_read(&file.name)) {
            let (mut file, mut hash, mut buffer) = (File::open(folder.join(name))?, Sha256::new(), vec![0; 1 << 20]);
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    read => hash.update(&buffer[..read]),
                }
            }
            if hex(&hash.finalize()) != *sha256 {
                return Err(IndexError::Damaged(format!("{name} is not what was written")));
            }
        }
        Ok(())
    }

    /// The rows of each document.
    pub(crate) fn rows(&self) -> Vec<Range<u32>> {
        let mut start = 0_u32;
        let mut next = |rows: u32| {
            let rows = start..start.saturating_add(rows);
            start = rows.end;
            rows
        };
        self.documents.iter().map(|document| next(document.rows)).collect()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
