//! The download cache, shared by all models folders of a user.
//!
//! | in it | what |
//! |---|---|
//! | `files/SHA256` | whole files, by their sum |
//! | `addresses/HASH` | which sum a source had when it was fetched, for sources that do not state one |
//! | `downloads/HASH.part`, `HASH.whl` | what is on its way, by a hash of its source |
//! | `lock` | held by the pull that is at work |

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::digest::Sha256Sum;
use super::error::ModelsError;
use super::place;
use super::progress::{Listener, PullEvent};

/// The cache, locked: nobody else writes to it until this is dropped.
pub(super) struct Cache {
    root: PathBuf,
    /// Unlocked by closing it.
    _lock: File,
}

impl Cache {
    /// Opens the cache at `root`, creating it where needed, and waits until no other pull is at work.
    pub(super) fn open(root: &Path, tell: Listener<'_>) -> Result<Self, ModelsError> {
        for dir in ["files", "addresses", "downloads"] {
            place::create_folder(&root.join(dir))?;
        }
        let path = root.join("lock");
        let lock = lock(&path, || tell(PullEvent::Waiting { lock: &path }))?;
        let cache = Self { root: root.to_owned(), _lock: lock };
        place::sweep(&root.join("files"));
        place::sweep(&root.join("addresses"));
        Ok(cache)
    }

    /// Where a whole file is kept.
    pub(super) fn file(&self, sum: Sha256Sum) -> PathBuf {
        self.root.join("files").join(sum.to_string())
    }

    /// The length of the file of this sum, if it is there and whole; a damaged one is removed.
    pub(super) fn find(&self, sum: Sha256Sum) -> Option<u64> {
        let path = self.file(sum);
        match Sha256Sum::of_file(&path) {
            Ok((found, bytes)) if found == sum => Some(bytes),
            Ok(_) => {
                fs::remove_file(&path).ok();
                None
            }
            Err(_) => None,
        }
    }

    /// The sum a source had when it was last fetched.
    pub(super) fn recall(&self, source: &str) -> Option<Sha256Sum> {
        let text = fs::read_to_string(self.address(source)).ok()?;
        let (sum, of) = text.trim_end().split_once(' ')?;
        if of == source { sum.parse().ok() } else { None }
    }

    /// Keeps the sum of a source for [`Cache::recall`].
    pub(super) fn remember(&self, source: &str, sum: Sha256Sum) -> Result<(), ModelsError> {
        place::write(&self.address(source), &format!("{sum} {source}\n"))
    }

    fn address(&self, source: &str) -> PathBuf {
        self.root.join("addresses").join(Sha256Sum::of_bytes(source.as_bytes()).to_string())
    }

    /// Where a download of this source is kept, with an extension of `part` or `whl`.
    pub(super) fn download(&self, source: &str, extension: &str) -> PathBuf {
        let name = Sha256Sum::of_bytes(source.as_bytes()).to_string();
        self.root.join("downloads").join(name).with_extension(extension)
    }

    /// The folder of whole files, for what becomes one.
    pub(super) fn files(&self) -> PathBuf {
        self.root.join("files")
    }
}

/// Takes a lock, telling once when it must be waited for. Closing the file gives it back.
pub(super) fn lock(path: &Path, tell_waiting: impl FnOnce()) -> Result<File, ModelsError> {
    let file = File::options().create(true).append(true).open(path).map_err(ModelsError::io("write", path))?;
    let result = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            tell_waiting();
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    match result {
        // A network file system without locks: then two at once may do the same work twice, no more.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(ModelsError::io("lock", path)(error)),
        _ => Ok(file),
    }
}
