//! One writer at a time, across processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mentor_actors::domain::EngineError;

const LOCK: &str = "writer.lock";
/// Who only looks whether there is a writer has the file locked for some microseconds: so often that is waited for.
const LOOKS: usize = 100;
const LOOK: Duration = Duration::from_millis(1);

/// The right to write to the store. The operating system takes it back when its process ends, however it ends.
#[derive(Debug)]
pub(super) struct WriterLock {
    /// Holds the lock while it is open; the file itself stays, with the last writer's process id.
    _file: File,
}

impl WriterLock {
    /// Takes the lock, or says at once who has it.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when another writer has it; [`EngineError::Failed`] when the file cannot be opened.
    pub(super) fn acquire(data_dir: &Path) -> Result<Self, EngineError> {
        let path = data_dir.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| EngineError::Failed(format!("{} cannot be opened: {error}", path.display())))?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by(&mut file)),
            Err(TryLockError::Error(error)) => {
                return Err(EngineError::Failed(format!("{} cannot be locked: {error}", path.display())));
            }
        }
        // The id is for the message above alone: a failure to write it must not stop an ingest.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// Whether somebody has it, without changing anything.
    pub(super) fn is_held(data_dir: &Path) -> bool {
        // Where there is no file, nobody has it; one that cannot be read is left alone.
        match File::open(data_dir.join(LOCK)) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }
}

/// Tells a writer from somebody who only looks: the one refuses a shared lock as well, the other does not.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            settled => return settled,
        }
        file.try_lock_shared()?;
        file.unlock().map_err(TryLockError::Error)?;
        thread::sleep(LOOK);
    }
    file.try_lock()
}

fn held_by(file: &mut File) -> EngineError {
    let mut text = String::new();
    let holder = match file.read_to_string(&mut text).map(|_| text.trim().parse::<u32>()) {
        Ok(Ok(id)) => format!("process {id}"),
        _ => "an unknown process".into(),
    };
    EngineError::Busy(format!("another ingest is writing to the store ({holder}); wait for it to end"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_only_looks_for_a_writer_keeps_none_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        drop(WriterLock::acquire(folder.path()).unwrap());
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    WriterLock::is_held(folder.path());
                }
            });
            let refused = (0..5_000).find_map(|_| WriterLock::acquire(folder.path()).err());
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(refused, None);
        });
    }

    #[test]
    fn a_writer_is_seen_by_who_looks_and_refused_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let writer = WriterLock::acquire(folder.path()).unwrap();
        assert!(WriterLock::is_held(folder.path()));
        assert!(matches!(WriterLock::acquire(folder.path()), Err(EngineError::Busy(_))));
        drop(writer);
        assert!(!WriterLock::is_held(folder.path()));
    }
}
