//! The keys as the server holds them: looked up by id, read again when the file changes, ended when they are revoked.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use mentor_actors::cancel::CancelToken;
use mentor_engines::Secret;

use super::key::{SecretHash, split};
use super::key_file::{KeyFile, KeyRecord, Stamp};
use super::scope::Scope;

/// A key that may be used. Requests under way hold it, and end with it.
#[derive(Debug)]
pub struct Credential {
    /// What is kept of the key.
    pub record: KeyRecord,
    /// Cancelled when the key is revoked or has expired.
    pub ended: CancelToken,
}

impl Credential {
    /// Whether it may do that.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.record.scopes.contains(&scope)
    }
}

#[derive(Debug, Default)]
struct Keys {
    /// Whether there has ever been a key, live or not. Then keys are asked for: the last one's end opens no door.
    required: bool,
    live: HashMap<String, Arc<Credential>>,
    stamp: Stamp,
}

/// All keys of a data folder.
#[derive(Debug)]
pub struct Keyring {
    file: KeyFile,
    keys: RwLock<Keys>,
}

impl Keyring {
    /// Reads the file, which need not be there.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(file: KeyFile, unix_s: u64) -> anyhow::Result<Self> {
        if let Some(exposure) = file.exposure() {
            tracing::warn!("the keys can be read by others: {exposure}");
        }
        let keyring = Self { file, keys: RwLock::default() };
        keyring.refresh(unix_s)?;
        Ok(keyring)
    }

    /// Reads the file if it has changed, and ends what was revoked or has expired. What cannot be read changes nothing.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn refresh(&self, unix_s: u64) -> anyhow::Result<()> {
        let stamp = self.file.stamp()?;
        let changed = stamp != self.read().stamp;
        // A file that is gone is none that was emptied: what is live stays so until it expires.
        let records = if changed && stamp.is_some() { Some(self.file.read()?) } else { None };
        let mut keys = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.stamp = stamp;
        if let Some(records) = records {
            keys.required |= !records.is_empty();
            keys.take(records);
        }
        keys.live.retain(|_, key| {
            let lives = key.record.is_live(unix_s);
            if !lives {
                key.ended.cancel();
            }
            lives
        });
        Ok(())
    }

    /// Whether requests need a key.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.read().required
    }

    /// How many keys may be used now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.read().live.len()
    }

    /// The key of that text, if there is one. An unknown id and a wrong secret take the same way.
    #[must_use]
    pub fn find(&self, text: &Secret, unix_s: u64) -> Option<Arc<Credential>> {
        let (id, secret) = split(text.reveal()?)?;
        let hash = SecretHash::of(secret);
        let known = self.read().live.get(id).cloned();
        let expected = known.as_ref().map_or(SecretHash::NONE, |key| key.record.sha256);
        let is_right = hash.is(&expected);
        known.filter(|key| is_right && key.record.is_live(unix_s))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        // Nothing panics while it writes, and what it wrote is whole at every step.
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Keys {
    /// Keys that have not changed keep their credential, and with it what is under way.
    fn take(&mut self, records: Vec<KeyRecord>) {
        let former = std::mem::take(&mut self.live);
        for record in records {
            let known = former.get(&record.id).filter(|key| key.record == record).cloned();
            let fresh = || Arc::new(Credential { record: record.clone(), ended: CancelToken::default() });
            self.live.insert(record.id.clone(), known.unwrap_or_else(fresh));
        }
        let is_kept = |key: &Arc<Credential>| self.live.get(&key.record.id).is_some_and(|now| Arc::ptr_eq(now, key));
        for gone in former.values().filter(|key| !is_kept(key)) {
            gone.ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::NewKey;
    use super::*;

    const NOW: u64 = 1_000;

    struct Scene {
        _folder: tempfile::TempDir,
        file: KeyFile,
        keyring: Keyring,
    }

    fn scene() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path());
        let keyring = Keyring::open(file.clone(), NOW).unwrap();
        Scene { _folder: folder, file, keyring }
    }

    impl Scene {
        fn add(&self, name: &str, expires: Option<u64>) -> (String, Secret) {
            let key = NewKey::generate().unwrap();
            let (id, name) = (key.id.clone(), name.to_owned());
            let record = KeyRecord {
                id,
                name,
                scopes: vec![Scope::Ask],
                sha256: key.hash,
                created: NOW,
                expires,
                revoked: None,
            };
            self.file.add(record).unwrap();
            self.keyring.refresh(NOW).unwrap();
            (key.id, key.text)
        }
    }

    #[test]
    fn a_key_is_found_by_its_text_alone() {
        let scene = scene();
        assert!(!scene.keyring.is_required());
        let (id, text) = scene.add("one", None);
        let (_, other) = scene.add("two", None);
        let found = scene.keyring.find(&text, NOW).unwrap();
        assert!(found.record.id == id && found.may(Scope::Ask) && !found.may(Scope::Admin));
        let other_secret = other.reveal().unwrap().rsplit('_').next().unwrap().to_owned();
        let mixed: Secret = format!("mk_{id}_{other_secret}").parse().unwrap();
        assert!(scene.keyring.find(&mixed, NOW).is_none());
        let unknown = NewKey::generate().unwrap().text;
        assert!(scene.keyring.find(&unknown, NOW).is_none());
        assert!(scene.keyring.find(&Secret::default(), NOW).is_none());
    }

    #[test]
    fn a_revoked_key_ends_what_is_under_way_and_others_go_on() {
        let scene = scene();
        let ((_, one), (_, two)) = (scene.add("one", None), scene.add("two", None));
        let (held, other) = (scene.keyring.find(&one, NOW).unwrap(), scene.keyring.find(&two, NOW).unwrap());
        scene.file.revoke("one", NOW).unwrap();
        scene.keyring.refresh(NOW).unwrap();
        assert!(held.ended.is_cancelled() && scene.keyring.find(&one, NOW).is_none());
        assert!(!other.ended.is_cancelled() && scene.keyring.find(&two, NOW).is_some());
    }

    #[test]
    fn an_expired_key_ends_without_a_change_of_the_file() {
        let scene = scene();
        let (_, text) = scene.add("one", Some(NOW + 10));
        let held = scene.keyring.find(&text, NOW + 9).unwrap();
        assert!(scene.keyring.find(&text, NOW + 10).is_none());
        scene.keyring.refresh(NOW + 10).unwrap();
        assert!(held.ended.is_cancelled());
    }

    #[test]
    fn the_end_of_the_last_key_and_of_the_file_open_no_door() {
        let scene = scene();
        let (_, text) = scene.add("one", None);
        std::fs::remove_file(scene.file.folder().join("keys.json")).unwrap();
        scene.keyring.refresh(NOW).unwrap();
        assert!(scene.keyring.is_required() && scene.keyring.find(&text, NOW).is_some());
        let (id, _) = scene.add("two", None);
        scene.file.revoke(&id, NOW).unwrap();
        scene.keyring.refresh(NOW).unwrap();
        assert!(scene.keyring.is_required() && scene.keyring.live() == 0);
        assert!(Keyring::open(scene.file.clone(), NOW).unwrap().is_required());
    }

    #[test]
    fn a_file_that_becomes_damaged_changes_nothing() {
        let scene = scene();
        let (_, text) = scene.add("one", None);
        std::fs::write(scene.file.folder().join("keys.json"), "{").unwrap();
        assert!(scene.keyring.refresh(NOW).is_err());
        assert!(scene.keyring.find(&text, NOW).is_some());
    }
}
