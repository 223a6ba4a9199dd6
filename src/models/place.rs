//! Files put where they belong, whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::error::ModelsError;

/// How unfinished files are called, so that those of a killed pull are known.
const PREFIX: &str = ".pull-";

/// A file in `dir` without a final name yet; gone when dropped.
pub(super) fn unfinished(dir: &Path) -> Result<NamedTempFile, ModelsError> {
    // As a newly created file has it, not private as temporary files are.
    let permissions = Permissions::from_mode(0o644);
    let file = Builder::new().prefix(PREFIX).permissions(permissions).tempfile_in(dir);
    file.map_err(ModelsError::io("write in", dir))
}

/// Gives an unfinished file its name, after all of it is on disk.
pub(super) fn finish(file: NamedTempFile, to: &Path) -> Result<(), ModelsError> {
    let write = |cause| ModelsError::io("write", to)(cause);
    file.as_file().sync_all().map_err(write)?;
    file.persist(to).map_err(|error| write(error.error))?;
    sync_folder_of(to)
}

/// Gives a file that is on disk another name on the same file system.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), ModelsError> {
    fs::rename(from, to).map_err(ModelsError::io("write", to))?;
    sync_folder_of(to)
}

/// Writes a small file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), ModelsError> {
    let dir = folder_of(path);
    create_folder(dir)?;
    let mut file = unfinished(dir)?;
    file.write_all(text.as_bytes()).map_err(ModelsError::io("write", path))?;
    finish(file, path)
}

/// Makes `to` the same file as `from`: a hard link, or a copy where that is not possible.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<(), ModelsError> {
    let dir = folder_of(to);
    create_folder(dir)?;
    sweep(dir);
    if let Ok(link) = Builder::new().prefix(PREFIX).make_in(dir, |path| fs::hard_link(from, path)) {
        link.persist(to).map_err(|error| ModelsError::io("write", to)(error.error))?;
        return sync_folder_of(to);
    }
    let mut copy = unfinished(dir)?;
    let copied = File::open(from).and_then(|mut from| io::copy(&mut from, copy.as_file_mut()));
    copied.map_err(ModelsError::io("write", to))?;
    finish(copy, to)
}

pub(super) fn create_folder(dir: &Path) -> Result<(), ModelsError> {
    fs::create_dir_all(dir).map_err(ModelsError::io("create", dir))
}

/// Removes what a killed pull left unfinished in `dir`. For the holder of the cache's lock.
pub(super) fn sweep(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        fs::remove_file(entry.path()).ok();
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder_of(path: &Path) -> Result<(), ModelsError> {
    let dir = folder_of(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ModelsError::io("write", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_replaces_what_was_there_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("sub/to"));
        fs::write(&from, "new").expect("written");
        fs::create_dir(dir.path().join("sub")).expect("created");
        fs::write(&to, "old and longer").expect("written");
        fs::write(dir.path().join("sub/.pull-killed"), "half").expect("written");
        link_or_copy(&from, &to).expect("linked");
        assert_eq!(fs::read_to_string(&to).expect("there"), "new");
        assert_eq!(fs::read_dir(dir.path().join("sub")).expect("there").count(), 1);
    }
}
