//! A disk that is full for a while.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// More than this is nobody's disk for tests.
const MOST_BYTES: usize = 1 << 30;

/// A file that takes all that is left of a file system; gone when it is dropped.
#[derive(Debug)]
pub struct Filler(PathBuf);

impl Filler {
    /// Fills the file system that a folder is on.
    ///
    /// # Errors
    /// Why it is not filled, for people: it is larger than a gibibyte, or cannot be written to.
    pub fn fill(folder: impl AsRef<Path>) -> Result<Self, String> {
        let path = folder.as_ref().join(".filler");
        let mut file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let filler = Self(path);
        // Smaller and smaller pieces, so that nothing at all is left.
        let mut written = 0;
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![b'x'; size];
            loop {
                match file.write(&piece) {
                    Ok(bytes) => written += bytes,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.to_string()),
                }
                if written > MOST_BYTES {
                    return Err("the file system is larger than a gibibyte".into());
                }
            }
        }
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("mentor-load: {} is left behind: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = Filler::fill("/no such folder").unwrap_err();
        assert!(error.contains("no such folder"), "{error}");
    }
}
