//! The hashes of files that have not changed since they were read, so that a second ingest need not read them again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mentor_actors::domain::DocumentHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Stamp;

const FILE: &str = "hashes.json";
/// A file that changed this shortly before it was read may change again without another time: file systems count in steps
/// of up to two seconds.
const UNSETTLED_NS: i64 = 3_000_000_000;

/// Hashes by path. Losing them costs time, never safety.
#[derive(Debug, Default)]
pub struct Hashes {
    /// Where they are kept; nowhere when `None`.
    file: Option<PathBuf>,
    known: BTreeMap<PathBuf, Known>,
    /// Those asked for since: the others are forgotten.
    used: BTreeMap<PathBuf, Known>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    stamp: Stamp,
    sha256: String,
}

impl Hashes {
    /// The hashes kept in the data folder; none when they cannot be read.
    #[must_use]
    pub fn read(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let known = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file: Some(file), known, used: BTreeMap::new() }
    }

    /// The hash of a file's content, and the stamp it had then.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn of(&mut self, path: &Path) -> io::Result<(DocumentHash, Stamp)> {
        let path = std::path::absolute(path)?;
        let stamp = Stamp::of(&path)?;
        if let Some(known) = self.used.get(&path).or_else(|| self.known.get(&path)).filter(|known| known.stamp == stamp)
            && let Some(hash) = DocumentHash::from_hex(&known.sha256)
        {
            self.used.insert(path, known.clone());
            return Ok((hash, stamp));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let hash = hash(&path)?;
        // A stamp that differs after reading is that of a file somebody writes to.
        let settled = i64::try_from(now).is_ok_and(|now| stamp.latest_ns() + UNSETTLED_NS < now);
        if settled && Stamp::of(&path)? == stamp {
            self.used.insert(path, Known { stamp, sha256: hash.to_string() });
        }
        Ok((hash, stamp))
    }

    /// Keeps the hashes that were asked for, where the data folder is there and can be written to.
    pub fn save(&self) {
        let Some(file) = self.file.as_ref().filter(|_| self.used != self.known) else { return };
        if let Err(error) = self.try_save(file) {
            tracing::debug!(%error, "the hashes of files are not kept");
        }
    }

    fn try_save(&self, file: &Path) -> io::Result<()> {
        // Always the same name: what a killed ingest leaves, the next one overwrites. Only who holds the writer's lock saves.
        let new = file.with_extension("json.new");
        fs::write(&new, serde_json::to_vec(&self.used)?)?;
        fs::rename(new, file)
    }
}

fn hash(path: &Path) -> io::Result<DocumentHash> {
    let mut file = File::open(path)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(DocumentHash(digest.finalize().into()));
        }
        digest.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write_long_ago(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    /// Pretends that the file has not been touched for a while: its `changed_ns` cannot be set.
    fn remember(hashes: &mut Hashes, path: &Path, sha256: &str) {
        let stamp = Stamp::of(path).unwrap();
        hashes.known.insert(path.to_owned(), Known { stamp, sha256: sha256.into() });
    }

    #[test]
    fn a_file_that_looks_as_before_is_not_read_again_and_any_change_of_its_looks_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        write_long_ago(&path, "one");
        let mut hashes = Hashes::default();
        remember(&mut hashes, &path, &"ab".repeat(32));
        assert_eq!(hashes.of(&path).unwrap().0, DocumentHash([0xab; 32]), "it was read again");
        // The same size and time, written in another way: only the inode and the time of the change tell.
        write_long_ago(&folder.path().join("b.md"), "two");
        fs::rename(folder.path().join("b.md"), &path).unwrap();
        assert!(hashes.of(&path).unwrap().0.to_string().starts_with("3fc4ccfe745870e2"));
    }

    #[test]
    fn a_file_that_was_written_just_now_is_not_trusted_to_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        fs::write(&path, "one").unwrap();
        let mut hashes = Hashes::read(folder.path());
        hashes.of(&path).unwrap();
        assert!(hashes.used.is_empty());
    }

    #[test]
    fn hashes_are_kept_and_those_of_files_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        write_long_ago(&path, "one");
        let mut hashes = Hashes::read(folder.path());
        remember(&mut hashes, &path, &"ab".repeat(32));
        remember(&mut hashes, folder.path(), &"cd".repeat(32));
        hashes.of(&path).unwrap();
        fs::write(folder.path().join("hashes.json.new"), "half of what a killed ing").unwrap();
        hashes.save();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the file and its hashes");
        assert_eq!(Hashes::read(folder.path()).known, hashes.used);
        assert_eq!(hashes.used.len(), 1);
        fs::write(folder.path().join(FILE), "not JSON").unwrap();
        assert!(Hashes::read(folder.path()).known.is_empty());
    }
}
