//! The keys on disk: `keys.json` in the data folder, for its owner alone, changed one writer at a time and all at once.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::key::SecretHash;
use super::scope::Scope;

const FILE: &str = "keys.json";
const LOCK: &str = "keys.lock";

/// Version of the file's form.
const FORMAT: u32 = 1;

/// Most keys, revoked ones included: each is looked at whenever the file is read.
const MAX_KEYS: usize = 10_000;

/// Longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 64;

/// What is kept of a key. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public part, by which it is found, revoked, and named as the owner of conversations.
    pub id: String,
    /// Who or what it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Hash of its secret part.
    pub sha256: SecretHash,
    /// When it was made.
    pub created: u64,
    /// When it ends, if it does.
    pub expires: Option<u64>,
    /// When it was revoked, if it was. The record stays, so that the id and the fact that there are keys do.
    pub revoked: Option<u64>,
}

impl KeyRecord {
    /// Whether it may be used at that time.
    #[must_use]
    pub fn is_live(&self, unix_s: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| unix_s < end)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    keys: Vec<KeyRecord>,
}

/// What tells one version of the file from another without reading it. A new version is a new file.
pub type Stamp = Option<(u64, i64, i64)>;

/// Where the keys are.
#[derive(Debug, Clone)]
pub struct KeyFile {
    folder: PathBuf,
}

impl KeyFile {
    /// The keys of a data folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Which version is there now; `None` when there is none.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn stamp(&self) -> std::io::Result<Stamp> {
        match fs::metadata(self.path()) {
            Ok(file) => Ok(Some((file.ino(), file.mtime(), file.mtime_nsec()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All keys; none when there is no file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what this program writes. Never taken for no keys.
    pub fn read(&self) -> anyhow::Result<Vec<KeyRecord>> {
        let path = self.path();
        let shown = path.display();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
        };
        let content: Content = serde_json::from_slice(&text).with_context(|| format!("{shown} is damaged"))?;
        ensure!(content.format == FORMAT, "{shown} has format {}, this version reads {FORMAT}", content.format);
        Ok(content.keys)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// A name that is empty, too long or taken by a live key; no scope; a file that cannot be changed.
    pub fn add(&self, key: KeyRecord) -> anyhow::Result<()> {
        let chars = key.name.chars().count();
        ensure!(
            (1..=MAX_NAME_CHARS).contains(&chars) && !key.name.chars().any(char::is_control),
            "the name of a key has 1 to {MAX_NAME_CHARS} characters and no control characters, {:?} has {chars}",
            key.name
        );
        ensure!(!key.scopes.is_empty(), "a key needs at least one scope");
        self.change(|keys| {
            if let Some(taken) = keys.iter().find(|other| other.name == key.name && other.is_live(key.created)) {
                bail!("the name {:?} is taken by key {}: revoke it first, or choose another", key.name, taken.id);
            }
            ensure!(keys.len() < MAX_KEYS, "there are {MAX_KEYS} keys already");
            keys.push(key);
            Ok(())
        })
    }

    /// Revokes the key of that id, or the live one of that name; gives its record. A second time changes nothing.
    ///
    /// # Errors
    /// When there is no such key, or the file cannot be changed.
    pub fn revoke(&self, which: &str, unix_s: u64) -> anyhow::Result<KeyRecord> {
        self.change(|keys| {
            let by_id = keys.iter().position(|key| key.id == which);
            let found = by_id.or_else(|| keys.iter().position(|key| key.name == which && key.revoked.is_none()));
            let key = &mut keys[found.with_context(|| format!("there is no key {which:?}: see `mentor keys list`"))?];
            key.revoked.get_or_insert(unix_s);
            Ok(key.clone())
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<KeyRecord>) -> anyhow::Result<T>) -> anyhow::Result<T> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        // Held to the end of the change; the system takes it back from a process that dies.
        let _lock = self.lock()?;
        let mut keys = self.read()?;
        let result = change(&mut keys)?;
        self.write(&keys)?;
        Ok(result)
    }

    fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = file.and_then(|file| file.lock().map(|()| file));
        lock.with_context(|| format!("{} cannot be locked", path.display()))
    }

    /// Exchanges the file: a reader finds the old one or the new one, also after a power failure.
    fn write(&self, keys: &[KeyRecord]) -> anyhow::Result<()> {
        let write = || {
            // A temporary file is readable by its owner alone from its first moment.
            let mut file = tempfile::Builder::new().prefix(".keys").tempfile_in(&self.folder)?;
            serde_json::to_writer_pretty(&mut file, &Content { format: FORMAT, keys: keys.to_vec() })?;
            writeln!(file)?;
            file.as_file().sync_all()?;
            file.persist(self.path())?;
            File::open(&self.folder)?.sync_all()?;
            anyhow::Ok(())
        };
        write().with_context(|| format!("{} cannot be written", self.path().display()))
    }

    /// What is wrong with who may read the file, if anything is.
    #[must_use]
    pub fn exposure(&self) -> Option<String> {
        let mode = fs::metadata(self.path()).ok()?.mode() & 0o777;
        (mode & 0o077 != 0).then(|| format!("{} has mode {mode:03o}: chmod 600 it", self.path().display()))
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::NewKey;
    use super::*;

    fn record(name: &str) -> KeyRecord {
        let key = NewKey::generate().unwrap();
        KeyRecord {
            id: key.id,
            name: name.into(),
            scopes: vec![Scope::Ask],
            sha256: key.hash,
            created: 100,
            expires: None,
            revoked: None,
        }
    }

    fn folder() -> (tempfile::TempDir, KeyFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("data"));
        (folder, file)
    }

    #[test]
    fn keys_are_written_for_the_owner_alone_and_read_again() {
        let (_folder, file) = folder();
        assert_eq!((file.read().unwrap(), file.stamp().unwrap()), (Vec::new(), None));
        let (one, two) = (record("one"), record("two"));
        file.add(one.clone()).unwrap();
        let first = file.stamp().unwrap();
        file.add(two.clone()).unwrap();
        assert_eq!(file.read().unwrap(), [one, two]);
        assert_ne!(file.stamp().unwrap(), first);
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(file.exposure(), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_reported() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, file) = folder();
        file.add(record("one")).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(file.exposure().unwrap().contains("has mode 644"));
    }

    #[test]
    fn a_revoked_key_stays_in_the_file_and_its_name_is_free_again() {
        let (_folder, file) = folder();
        let one = record("one");
        file.add(one.clone()).unwrap();
        let error = file.add(record("one")).unwrap_err().to_string();
        assert!(error.contains("taken by key") && error.contains(&one.id), "{error}");
        assert_eq!(file.revoke("one", 200).unwrap().id, one.id);
        assert_eq!(file.revoke(&one.id, 300).unwrap().revoked, Some(200));
        file.add(record("one")).unwrap();
        assert_eq!(file.read().unwrap().iter().map(|key| key.is_live(250)).collect::<Vec<_>>(), [false, true]);
        assert!(file.revoke("nobody", 1).unwrap_err().to_string().contains("no key \"nobody\""));
    }

    #[test]
    fn a_key_lives_until_the_second_it_ends() {
        let key = KeyRecord { expires: Some(500), ..record("one") };
        assert!(key.is_live(499) && !key.is_live(500));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_taken_for_no_keys() {
        let (_folder, file) = folder();
        file.add(record("one")).unwrap();
        for damaged in ["", "{", "[]", r#"{"format":2,"keys":[]}"#, r#"{"format":1,"keys":[],"more":1}"#] {
            fs::write(file.path(), damaged).unwrap();
            assert!(file.read().is_err() && file.add(record("two")).is_err(), "{damaged}");
            assert_eq!(fs::read_to_string(file.path()).unwrap(), damaged);
        }
    }

    #[test]
    fn names_and_scopes_have_limits() {
        let (_folder, file) = folder();
        for name in ["", "a\nb", &"x".repeat(65)] {
            assert!(file.add(record(name)).unwrap_err().to_string().contains("1 to 64 characters"), "{name}");
        }
        assert!(file.add(KeyRecord { scopes: Vec::new(), ..record("one") }).is_err());
    }
}
