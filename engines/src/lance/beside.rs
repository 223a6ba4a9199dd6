//! A store that is made beside the one in use and takes its place all at once.
//!
//! It grows in the folder `.building` of the data folder, which is a data folder of its own. Killed before the exchange, the
//! store in use has not changed; what is left of the other is removed by the next writer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mentor_actors::domain::EngineError;

use super::error::StoreError;
use super::lock::WriterLock;
use super::store::DATASET;
use super::upkeep;

const BUILDING: &str = ".building";
/// Where the store in use waits for a moment, on file systems that cannot exchange two folders.
const FORMER: &str = "former";
/// Begins the name of a folder in which a backup holds on to the files of a version.
const SNAPSHOT: &str = ".backup-";

/// The right to replace the store, and a place to build the new one in. Holds the writer's lock.
#[derive(Debug)]
pub struct Replacement {
    data_dir: PathBuf,
    building: PathBuf,
    _lock: WriterLock,
}

impl Replacement {
    /// Takes the writer's lock and makes an empty place for the new store.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when another process writes to the store; [`EngineError::Failed`] when the folder cannot be used.
    pub fn begin(data_dir: &Path) -> Result<Self, EngineError> {
        let failed = |error: io::Error| StoreError::from(error).into_failed("make a place for a new one");
        fs::create_dir_all(data_dir).map_err(failed)?;
        let lock = WriterLock::acquire(data_dir)?;
        remove_leftovers(data_dir).map_err(failed)?;
        let building = data_dir.join(BUILDING);
        fs::create_dir(&building).map_err(failed)?;
        Ok(Self { data_dir: data_dir.to_owned(), building, _lock: lock })
    }

    /// The data folder in which the new store is to be made.
    #[must_use]
    pub fn building(&self) -> &Path {
        &self.building
    }

    /// Puts the new store in the place of the one in use, which is removed.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the disk refuses; the store in use is then still there.
    pub fn swap(self) -> Result<(), EngineError> {
        self.try_swap().map_err(|error| StoreError::from(error).into_failed("be replaced"))
    }

    fn try_swap(&self) -> io::Result<()> {
        upkeep::flush(&self.building)?;
        let (new, used) = (self.building.join(DATASET), self.data_dir.join(DATASET));
        match exchange(&new, &used) {
            Ok(()) => {}
            Err(_) if used.exists() => {
                fs::rename(&used, self.building.join(FORMER))?;
                fs::rename(&new, &used)?;
            }
            Err(_) => fs::rename(&new, &used)?,
        }
        upkeep::flush(&self.data_dir)
    }
}

impl Drop for Replacement {
    /// After a swap the former store is not wanted any more; before it, what was begun is not.
    fn drop(&mut self) {
        drop(remove_leftovers(&self.data_dir));
    }
}

/// Exchanges two folders in one step.
#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt as _;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (one, other) = (text(one)?, text(other)?);
    // SAFETY: both are texts that end with a zero and live as long as the call, which keeps no pointer.
    let result =
        unsafe { libc::renameat2(libc::AT_FDCWD, one.as_ptr(), libc::AT_FDCWD, other.as_ptr(), libc::RENAME_EXCHANGE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Takes back an exchange that was killed half way, and removes what killed processes left beside the store. Only for the
/// holder of the lock.
pub(super) fn remove_leftovers(data_dir: &Path) -> io::Result<()> {
    let (used, former) = (data_dir.join(DATASET), data_dir.join(BUILDING).join(FORMER));
    if !used.exists() && former.exists() {
        fs::rename(&former, &used)?;
    }
    for folder in leftovers(data_dir)? {
        // It costs disk alone.
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "what is left beside the store cannot be removed");
        }
    }
    Ok(())
}

/// Folders that killed processes left beside the store. While a writer is at work, its own is among them.
pub(super) fn leftovers(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let (path, name) = (entry.as_ref().map(fs::DirEntry::path), entry.as_ref().map(fs::DirEntry::file_name));
        let (Ok(path), Ok(name)) = (path, name) else { continue };
        let name = name.to_string_lossy();
        // A backup holds the lock of its folder for as long as it lives.
        let is_dead_backup = || name.starts_with(SNAPSHOT) && !WriterLock::is_held(&path);
        if path.is_dir() && (name == BUILDING || is_dead_backup()) {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// A folder on the store's own file system that is gone when this is dropped, however the process ends: the next writer
/// removes it.
#[derive(Debug)]
pub(super) struct HoldingFolder {
    path: PathBuf,
    _lock: WriterLock,
}

impl HoldingFolder {
    pub(super) fn make(data_dir: &Path) -> Result<Self, EngineError> {
        let path = data_dir.join(format!("{SNAPSHOT}{}", std::process::id()));
        let made = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&path),
        };
        made.map_err(|error| StoreError::from(error).into_failed("be held for a backup"))?;
        Ok(Self { _lock: WriterLock::acquire(&path)?, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HoldingFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(text: &str, at: &Path) {
        fs::create_dir_all(at.join(DATASET)).unwrap();
        fs::write(at.join(DATASET).join("content"), text).unwrap();
    }

    fn content(data_dir: &Path) -> String {
        fs::read_to_string(data_dir.join(DATASET).join("content")).unwrap()
    }

    #[test]
    fn the_new_store_takes_the_place_of_the_one_in_use_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            let replacement = Replacement::begin(folder.path()).unwrap();
            folder_with(text, replacement.building());
            replacement.swap().unwrap();
            assert_eq!(content(folder.path()), text);
            assert!(!folder.path().join(BUILDING).exists());
        }
    }

    #[test]
    fn a_replacement_that_is_given_up_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        folder_with("in use", folder.path());
        let replacement = Replacement::begin(folder.path()).unwrap();
        folder_with("unfinished", replacement.building());
        assert!(Replacement::begin(folder.path()).is_err(), "only one at a time");
        drop(replacement);
        assert_eq!(content(folder.path()), "in use");
        assert!(leftovers(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn an_exchange_that_was_killed_half_way_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        folder_with("in use", folder.path());
        fs::create_dir(folder.path().join(BUILDING)).unwrap();
        fs::rename(folder.path().join(DATASET), folder.path().join(BUILDING).join(FORMER)).unwrap();
        remove_leftovers(folder.path()).unwrap();
        assert_eq!(content(folder.path()), "in use");
        assert!(!folder.path().join(BUILDING).exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_former_store_that_cannot_be_removed_is_left_and_keeps_nobody_from_the_new_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        folder_with("in use", folder.path());
        let sealed = folder.path().join(DATASET).join("sealed");
        fs::create_dir(&sealed).unwrap();
        fs::write(sealed.join("file"), "").unwrap();
        allow(&sealed, 0o555);
        allow(&folder.path().join(DATASET), 0o777);
        allow(folder.path(), 0o777);
        let nobody = Nobody::begin();
        let replacement = Replacement::begin(folder.path()).unwrap();
        folder_with("new", replacement.building());
        replacement.swap().unwrap();
        assert_eq!(content(folder.path()), "new");
        remove_leftovers(folder.path()).unwrap();
        let left = leftovers(folder.path()).unwrap();
        assert_eq!(left, [folder.path().join(BUILDING)]);
        drop(nobody);
        allow(&left[0].join(DATASET).join("sealed"), 0o755);
    }

    /// The thread has no more rights to files than anybody, as long as this lives: root may remove everything.
    #[cfg(target_os = "linux")]
    struct Nobody(libc::c_int);

    #[cfg(target_os = "linux")]
    impl Nobody {
        fn begin() -> Self {
            // SAFETY: it takes a number, changes this thread alone, and fails without effect for who is not root.
            Self(unsafe { libc::setfsuid(65_534) })
        }
    }

    #[cfg(target_os = "linux")]
    impl Drop for Nobody {
        fn drop(&mut self) {
            // SAFETY: as above.
            unsafe { libc::setfsuid(self.0.cast_unsigned()) };
        }
    }

    #[test]
    fn the_folder_of_a_dead_backup_is_a_leftover_and_that_of_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = HoldingFolder::make(folder.path()).unwrap();
        let dead = folder.path().join(format!("{SNAPSHOT}1"));
        fs::create_dir(&dead).unwrap();
        assert_eq!(leftovers(folder.path()).unwrap(), [dead]);
        drop(living);
    }
}
