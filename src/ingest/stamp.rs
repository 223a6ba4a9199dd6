//! What a file looks like from outside: cheap to ask for, and different once its content is.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Size, times and place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its size.
    pub bytes: u64,
    /// When its content changed last, as it says itself, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When anything about it changed last; no program can set it back.
    pub changed_ns: i64,
    /// Its number on its file system: another file under the same name has another.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self::from(&std::fs::metadata(path)?))
    }

    /// The later of its two times.
    pub(super) fn latest_ns(&self) -> i64 {
        self.modified_ns.max(self.changed_ns)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            bytes: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}
