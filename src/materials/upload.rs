//! The files of one upload: received under hidden names, and all of them given their own at the end, or none.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mentor_actors::domain::{DocumentId, DocumentKind, ErrorCode, TurnError};
use tempfile::{NamedTempFile, PersistError};

use super::check_name;
use super::content::{self, HEAD_BYTES, TAIL_BYTES};
use crate::disk::free_bytes;
use crate::ingest::Hashes;

/// How files are called while they are received. Hidden, so that no ingest takes half of one.
const PREFIX: &str = ".mentor-upload-";
/// Somebody has to make room first.
const DISK_WAIT: Duration = Duration::from_secs(60);

/// What uploads may be.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// Largest file.
    pub file_bytes: u64,
    /// Most files at once.
    pub files: usize,
    /// Disk that must stay free.
    pub free_bytes: u64,
}

/// The folder of course materials, for who adds to it or reads a file of it.
#[derive(Debug, Clone)]
pub struct Materials {
    directory: PathBuf,
    limits: UploadLimits,
    /// Of files that were read from it, so that each is hashed once.
    pub(super) hashes: Arc<Mutex<Hashes>>,
}

impl Materials {
    /// That folder; made with the first upload where it is missing.
    #[must_use]
    pub fn new(directory: PathBuf, limits: UploadLimits) -> Self {
        Self { directory, limits, hashes: Arc::default() }
    }

    /// The folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What uploads may be.
    #[must_use]
    pub fn limits(&self) -> UploadLimits {
        self.limits
    }

    /// An upload without a file; with `replace` its files may take the place of those of the same name.
    #[must_use]
    pub fn upload(&self, replace: bool) -> Upload {
        Upload { materials: self.clone(), replace, files: Vec::new() }
    }

    /// Removes what the uploads of a killed server left. Those of one that runs are locked.
    pub fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for path in entries.flatten().filter(is_incoming).map(|entry| entry.path()) {
            let is_left = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if is_left && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, "what a former upload left cannot be removed");
            }
        }
    }
}

fn is_incoming(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(PREFIX)
}

/// An upload of which not all files have their names.
#[derive(Debug)]
pub struct Misplaced {
    /// Those that have: a job must see to them.
    pub placed: BTreeSet<DocumentId>,
    /// What happened to the others.
    pub error: TurnError,
}

/// Files on their way in. Dropped before they are placed, they leave nothing behind. Everything here blocks.
pub struct Upload {
    materials: Materials,
    replace: bool,
    files: Vec<Incoming>,
}

struct Incoming {
    name: String,
    kind: DocumentKind,
    file: NamedTempFile,
    bytes: u64,
    head: Vec<u8>,
}

impl Upload {
    /// Begins the next file.
    ///
    /// # Errors
    /// `invalid_request` for a name that is not allowed or taken; `too_large` for one file too many; `unavailable` when the disk
    /// is full.
    pub fn begin(&mut self, given_name: &str) -> Result<(), TurnError> {
        let Materials { directory, limits, .. } = &self.materials;
        if self.files.len() >= limits.files {
            let reason = format!("at most {} files are allowed in an upload", limits.files);
            return Err(TurnError::new(ErrorCode::TooLarge, reason));
        }
        let (name, kind) = check_name(given_name)?;
        if self.files.iter().any(|file| file.name == name) {
            return Err(invalid(format!("{name} comes twice")));
        }
        if !self.replace && directory.join(&name).symlink_metadata().is_ok() {
            return Err(taken(&name));
        }
        fs::create_dir_all(directory).map_err(unusable)?;
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o666)) // less what the umask takes, as for any file
            .tempfile_in(directory)
            .map_err(unusable)?;
        // Where files cannot be locked, nothing is taken for a leftover either.
        let _locked = file.as_file().try_lock();
        self.files.push(Incoming { name, kind, file, bytes: 0, head: Vec::new() });
        Ok(())
    }

    /// Adds to the file that was begun last.
    ///
    /// # Errors
    /// `too_large` beyond the limit; `unavailable` when too little disk would be left.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), TurnError> {
        let Materials { directory, limits, .. } = &self.materials;
        let Some(incoming) = self.files.last_mut() else { return Err(invalid("content comes before a file")) };
        incoming.bytes += bytes.len() as u64;
        if incoming.bytes > limits.file_bytes {
            let reason = format!("{} has more than the {} bytes that are allowed", incoming.name, limits.file_bytes);
            return Err(TurnError::new(ErrorCode::TooLarge, reason));
        }
        let free = free_bytes(directory).map_err(unusable)?;
        if free < limits.free_bytes.saturating_add(bytes.len() as u64) {
            return Err(disk_full());
        }
        let of_head = bytes.len().min(HEAD_BYTES.saturating_sub(incoming.head.len()));
        incoming.head.extend_from_slice(&bytes[..of_head]);
        incoming.file.write_all(bytes).map_err(unusable)
    }

    /// Looks at the content of the file that was begun last, and brings it to the disk.
    ///
    /// # Errors
    /// `invalid_request` when it is not what its name says.
    pub fn end(&mut self) -> Result<(), TurnError> {
        let Some(incoming) = self.files.last_mut() else { return Err(invalid("there is no file to end")) };
        let tail = read_tail(incoming.file.as_file_mut(), incoming.bytes).map_err(unusable)?;
        content::check(incoming.kind, &incoming.head, &tail)
            .map_err(|reason| invalid(format!("{}: {reason}", incoming.name)))?;
        incoming.file.as_file().sync_all().map_err(unusable)
    }

    /// Gives all files their names, each in one step.
    ///
    /// # Errors
    /// `invalid_request` when there is none, or a name was taken meanwhile: those that are new are taken back then. What has taken
    /// the place of a former file stays.
    pub fn place(self) -> Result<BTreeSet<DocumentId>, Misplaced> {
        let mut placed = BTreeSet::new();
        if self.files.is_empty() {
            return Err(Misplaced { placed, error: invalid("the upload has no file") });
        }
        let directory = &self.materials.directory;
        for Incoming { name, file, .. } in self.files {
            let path = directory.join(&name);
            let named = if self.replace { file.persist(&path) } else { file.persist_noclobber(&path) };
            if let Err(PersistError { error, .. }) = named {
                if !self.replace {
                    take_back(directory, &mut placed);
                }
                let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
                return Err(Misplaced { placed, error: if is_taken { taken(&name) } else { unusable(error) } });
            }
            placed.insert(DocumentId(name));
        }
        // The names, too, are to survive a power loss.
        match File::open(directory).and_then(|folder| folder.sync_all()) {
            Ok(()) => Ok(placed),
            Err(error) => Err(Misplaced { placed, error: unusable(error) }),
        }
    }
}

/// Leaves in `placed` what cannot be taken back.
fn take_back(directory: &Path, placed: &mut BTreeSet<DocumentId>) {
    placed.retain(|DocumentId(name)| {
        let removed = fs::remove_file(directory.join(name));
        removed
            .inspect_err(|error| tracing::warn!(%error, "a file of an upload that failed stays in the folder"))
            .is_err()
    });
}

fn read_tail(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES as u64)))?;
    file.take(TAIL_BYTES as u64).read_to_end(&mut tail)?;
    Ok(tail)
}

fn invalid(message: impl Into<String>) -> TurnError {
    TurnError::new(ErrorCode::InvalidRequest, message)
}

fn taken(name: &str) -> TurnError {
    invalid(format!("{name} is there already, and was not to be replaced"))
}

fn disk_full() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "there is too little room on the disk").retry_after(DISK_WAIT)
}

/// The reason is for the log: it may name folders.
fn unusable(error: io::Error) -> TurnError {
    if error.kind() == io::ErrorKind::StorageFull {
        return disk_full();
    }
    tracing::error!(%error, "the folder of course materials cannot be written to");
    TurnError::new(ErrorCode::Unavailable, "the folder of course materials cannot be written to")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn materials(limits: UploadLimits) -> (tempfile::TempDir, Materials) {
        let folder = tempfile::tempdir().unwrap();
        let materials = Materials::new(folder.path().join("course"), limits);
        (folder, materials)
    }

    fn limits() -> UploadLimits {
        UploadLimits { file_bytes: 100, files: 2, free_bytes: 0 }
    }

    fn names(materials: &Materials) -> Vec<String> {
        let entries = fs::read_dir(materials.directory()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn put(upload: &mut Upload, name: &str, text: &str) -> Result<(), TurnError> {
        upload.begin(name)?;
        upload.write(text.as_bytes())?;
        upload.end()
    }

    #[test]
    fn files_appear_together_and_only_when_they_are_placed() {
        let (_folder, materials) = materials(limits());
        let mut upload = materials.upload(false);
        put(&mut upload, "a.md", "# A").unwrap();
        put(&mut upload, "b.txt", "b").unwrap();
        assert!(names(&materials).iter().all(|name| name.starts_with(PREFIX)));
        let placed: Vec<String> = upload.place().unwrap().into_iter().map(|id| id.0).collect();
        assert_eq!(
            (placed, names(&materials)),
            (vec!["a.md".into(), "b.txt".into()], vec!["a.md".into(), "b.txt".into()])
        );
        let mode = fs::metadata(materials.directory().join("a.md")).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
    }

    #[test]
    fn an_upload_that_is_dropped_or_refused_leaves_nothing() {
        let (_folder, materials) = materials(limits());
        let mut dropped = materials.upload(false);
        put(&mut dropped, "a.md", "# A").unwrap();
        dropped.begin("b.md").unwrap();
        drop(dropped);
        let mut large = materials.upload(false);
        let error = put(&mut large, "a.md", &"x".repeat(101)).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::TooLarge, "a.md has more than the 100 bytes that are allowed")
        );
        drop(large);
        let mut wrong = materials.upload(false);
        assert!(put(&mut wrong, "a.pdf", "text").unwrap_err().message.starts_with("a.pdf: it is text"));
        drop(wrong);
        assert_eq!(names(&materials), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_taken_is_refused_until_it_is_to_be_replaced() {
        let (_folder, materials) = materials(limits());
        let mut first = materials.upload(false);
        put(&mut first, "a.md", "one").unwrap();
        // Both were begun before either was placed.
        let mut second = materials.upload(false);
        put(&mut second, "b.md", "two").unwrap();
        put(&mut second, "a.md", "two").unwrap();
        first.place().unwrap();
        assert!(second.place().unwrap_err().error.message.contains("a.md is there already"));
        assert_eq!(names(&materials), ["a.md"]);
        assert!(materials.upload(false).begin("a.md").unwrap_err().message.contains("not to be replaced"));
        let mut third = materials.upload(true);
        put(&mut third, "a.md", "three").unwrap();
        third.place().unwrap();
        assert_eq!(fs::read_to_string(materials.directory().join("a.md")).unwrap(), "three");
    }

    #[test]
    fn too_many_files_the_same_twice_and_none_are_refused() {
        let (_folder, materials) = materials(limits());
        let mut upload = materials.upload(false);
        put(&mut upload, "a.md", "a").unwrap();
        assert!(upload.begin("a.md").unwrap_err().message.contains("twice"));
        put(&mut upload, "b.md", "b").unwrap();
        assert_eq!(upload.begin("c.md").unwrap_err().code, ErrorCode::TooLarge);
        assert!(materials.upload(false).place().unwrap_err().error.message.contains("no file"));
    }

    #[test]
    fn a_disk_with_too_little_room_is_not_filled() {
        let (_folder, materials) = materials(UploadLimits { free_bytes: u64::MAX, ..limits() });
        let error = put(&mut materials.upload(false), "a.md", "a").unwrap_err();
        assert_eq!((error.code, error.retry_after), (ErrorCode::Unavailable, Some(DISK_WAIT)));
        assert_eq!(names(&materials), Vec::<String>::new());
    }

    #[test]
    fn what_a_killed_server_left_is_removed_and_what_another_one_receives_is_not() {
        let (_folder, materials) = materials(limits());
        let mut running = materials.upload(false);
        running.begin("a.md").unwrap();
        fs::write(materials.directory().join(format!("{PREFIX}dead")), "half a file").unwrap();
        materials.remove_leftovers();
        assert_eq!(names(&materials).len(), 1);
        put(&mut running, "b.md", "b").unwrap();
        running.end().unwrap();
    }

    #[test]
    fn what_took_the_place_of_a_file_before_another_one_failed_is_told() {
        let (_folder, materials) = materials(limits());
        let mut upload = materials.upload(true);
        put(&mut upload, "a.md", "# A").unwrap();
        put(&mut upload, "b.md", "# B").unwrap();
        // No file can take the place of a folder.
        fs::create_dir(materials.directory().join("b.md")).unwrap();
        let Misplaced { placed, error } = upload.place().unwrap_err();
        assert_eq!((placed, error.code), (BTreeSet::from([DocumentId("a.md".into())]), ErrorCode::Unavailable));
        assert_eq!(names(&materials), ["a.md", "b.md"]);
    }
}
