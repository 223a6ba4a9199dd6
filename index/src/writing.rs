//! Files of an index while they are written, with their checksums.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::manifest::{FileEntry, hex};
use crate::mapped::{Number, bytes_of};

const BUFFER_BYTES: usize = 1 << 20;

/// A file that grows at its end.
pub(crate) struct FileWriter {
    name: &'static str,
    file: BufWriter<Hashed>,
}

struct Hashed {
    file: File,
    bytes: u64,
    hash: Sha256,
}

impl FileWriter {
    pub(crate) fn create(folder: &Path, name: &'static str) -> io::Result<Self> {
        let file = File::create_new(folder.join(name))?;
        let file = Hashed { file, bytes: 0, hash: Sha256::new() };
        Ok(Self { name, file: BufWriter::with_capacity(BUFFER_BYTES, file) })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Bytes that were written so far.
    pub(crate) fn length(&self) -> u64 {
        self.file.get_ref().bytes + self.file.buffer().len() as u64
    }

    /// Flushes the file to the disk.
    pub(crate) fn finish(self) -> io::Result<FileEntry> {
        let Hashed { file, bytes, hash } = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(FileEntry { name: self.name.into(), bytes, sha256: hex(&hash.finalize()) })
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes numbers that are all there already.
pub(crate) fn write_numbers<T: Number>(folder: &Path, name: &'static str, numbers: &[T]) -> io::Result<FileEntry> {
    let mut file = FileWriter::create(folder, name)?;
    file.write(bytes_of(numbers))?;
    file.finish()
}

/// A folder that is removed when this is dropped, unless it was given its name before.
pub(crate) struct Unfinished(pub(crate) PathBuf);

impl Unfinished {
    /// Names the folder: all of it is there from one moment to the next, whatever happens.
    pub(crate) fn name(self, path: &Path) -> io::Result<()> {
        File::open(&self.0)?.sync_all()?;
        std::fs::rename(&self.0, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing left.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
