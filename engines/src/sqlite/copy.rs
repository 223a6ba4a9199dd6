//! A copy of the conversations for a backup, also while a server writes to them, and back.
//!
//! The file belongs to one process, so it is read as bytes. That gives one state of it under a condition: SQLite changes the file itself
//! only by moving pages into it that stand in the log beside it, and these stay there until the log begins anew, which its head
//! shows. So the log is copied after the file, and when its head is what it was before, the two together are what was committed when
//! the log was copied.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mentor_actors::domain::EngineError;

use super::{FILE_NAME, RESTORED, open};

/// Attempts to find the log unchanged. It begins anew after some thousand turns.
const ATTEMPTS: u32 = 5;

/// Size of the log's head; its two last words but two change whenever the log begins anew.
const LOG_HEAD_BYTES: u64 = 32;

/// Conversations outside of a data folder: in a backup that is made, or in one that was unpacked.
#[derive(Debug)]
pub struct ConversationsCopy {
    /// How many there are.
    pub conversations: u64,
}

impl ConversationsCopy {
    /// Copies the conversations of a data folder as they are now into a new file; `None` when there are none. After a restore that
    /// was killed, they are those that it left to be taken in.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when they cannot be read or written; [`EngineError::Load`] when they are damaged.
    pub fn make(data_dir: &Path, to: &Path) -> Result<Option<Self>, EngineError> {
        let Some(from) = [RESTORED, FILE_NAME].map(|name| data_dir.join(name)).into_iter().find(|file| file.exists())
        else {
            return Ok(None);
        };
        let failed = |error: io::Error| EngineError::Failed(format!("{} cannot be copied: {error}", from.display()));
        for _ in 0..ATTEMPTS {
            if copy_once(&from, to).map_err(failed)? {
                return Self::open(to).map(Some);
            }
        }
        Err(EngineError::Failed(format!("{} changes faster than it can be copied: try again", from.display())))
    }

    /// Looks at a copy, brings it to the newest schema and leaves it in one file.
    ///
    /// # Errors
    /// [`EngineError::Load`] when it is damaged, or no copy of conversations.
    pub fn open(file: &Path) -> Result<Self, EngineError> {
        let load = |reason: String| EngineError::Load(format!("{}: {reason}", file.display()));
        let connection = open::open_copy(file).map_err(load)?;
        let count = || -> rusqlite::Result<i64> {
            // Ends the log and removes it.
            connection.pragma_update(None, "journal_mode", "DELETE")?;
            connection.query_row("SELECT count(*) FROM conversation", (), |row| row.get(0))
        };
        let count = count().map_err(|error| load(error.to_string()))?;
        Ok(Self { conversations: u64::try_from(count).unwrap_or_default() })
    }
}

/// Copies file and log; whether they belong together.
fn copy_once(from: &Path, to: &Path) -> io::Result<bool> {
    let (log, log_copy) = (log_of(from), log_of(to));
    let before = state(from, &log)?;
    copy(from, to)?;
    match copy(&log, &log_copy) {
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::remove_file(&log_copy) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        },
        other => other?,
    }
    Ok(state(from, &log)? == before)
}

/// A new file, or an old one anew, that nobody else can read.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut copy).map(drop)
}

pub(super) fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// What changes when the log begins anew. Without a log the file itself changes.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Log(Vec<u8>),
    File { bytes: u64, seconds: i64, nanoseconds: i64 },
}

fn state(file: &Path, log: &Path) -> io::Result<State> {
    let mut head = Vec::new();
    match File::open(log) {
        Ok(log) => drop(log.take(LOG_HEAD_BYTES).read_to_end(&mut head)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if !head.is_empty() {
        return Ok(State::Log(head));
    }
    let found = fs::metadata(file)?;
    Ok(State::File { bytes: found.len(), seconds: found.mtime(), nanoseconds: found.mtime_nsec() })
}
