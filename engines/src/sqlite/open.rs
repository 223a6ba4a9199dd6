//! The file: opened by one process at a time, looked at, and brought to the newest schema. A damaged one is left as it is.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use mentor_actors::domain::EngineError;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "conversations.sqlite";

/// Marks the file as ours, in its header.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"Mntr");

/// Longest wait for a server that is just ending.
const BUSY: Duration = Duration::from_secs(3);

/// The write-ahead log is cut back to this after it had to grow.
const LOG_BYTES: i64 = 16 << 20;

/// What turns an empty file into the newest schema, a step a version. Never changed, only added to.
const MIGRATIONS: &[&str] = &["CREATE TABLE conversation (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT,
        created_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX conversation_in_list ON conversation (owner, changed_ms, number);
    CREATE INDEX conversation_by_age ON conversation (changed_ms);
    CREATE TABLE turn (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation INTEGER NOT NULL,
        id TEXT NOT NULL,
        parent TEXT,
        question TEXT NOT NULL,
        asked_ms INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER,
        ended_ms INTEGER,
        finish_reason TEXT,
        error_code TEXT,
        answer TEXT,
        details TEXT,
        trace TEXT,
        rating INTEGER,
        feedback TEXT,
        rated_ms INTEGER,
        UNIQUE (conversation, id)
    ) STRICT;
    CREATE INDEX turn_in_order ON turn (conversation, first_seq);
    CREATE INDEX turn_by_id ON turn (id);"];

/// Opens the file of a data folder, or makes it.
///
/// # Errors
/// [`EngineError::Load`] when it is damaged, in use, of a newer version or not ours: in one line, with what to do.
pub(super) fn open(data_dir: &Path) -> Result<Connection, EngineError> {
    let path = data_dir.join(FILE_NAME);
    let load = |reason: String| EngineError::Load(format!("{}: {reason}", path.display()));
    // Made by hand, so that nobody else on the machine can read what students ask.
    std::fs::create_dir_all(data_dir)
        .and_then(|()| OpenOptions::new().append(true).create(true).mode(0o600).open(&path))
        .map_err(|error| load(error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&path, flags).map_err(|error| load(reason(&error)))?;
    prepare(opened).map_err(|problem| load(problem.to_string()))
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{}", reason(.0))]
    Sqlite(#[from] rusqlite::Error),
    #[error("it is no store of conversations: give mentor a data folder of its own")]
    Foreign,
    #[error("it has version {found}, this program knows {}: use a newer mentor", MIGRATIONS.len())]
    Newer { found: i64 },
    #[error("it is damaged ({0}): {REMEDY}")]
    Damaged(String),
}

const REMEDY: &str = "it is left as it is; move it away to begin anew, or put a copy of it back, then start again";

fn reason(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => format!("it is damaged ({error}): {REMEDY}"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "it is in use by another server: each needs a data folder of its own".to_owned()
        }
        _ => error.to_string(),
    }
}

fn prepare(mut connection: Connection) -> Result<Connection, Problem> {
    connection.busy_timeout(BUSY)?;
    // One process owns the file; without shared memory it may also lie on a network volume.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(Problem::Foreign);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    // What was deleted is overwritten.
    connection.pragma_update(None, "secure_delete", "ON")?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if found != "ok" {
        return Err(Problem::Damaged(found.replace('\n', " ")));
    }
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens a file that another program may have made: only one with exactly our tables is taken.
pub(super) fn open_copy(file: &Path) -> Result<Connection, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(file, flags).map_err(|error| reason(&error))?;
    opened.pragma_update(None, "trusted_schema", "OFF").map_err(|error| reason(&error))?;
    let copy = prepare(opened).map_err(|problem| problem.to_string())?;
    let ours = || -> Result<bool, Problem> {
        let mut empty = Connection::open_in_memory()?;
        migrate(&mut empty)?;
        Ok(schema(&empty)? == schema(&copy)?)
    };
    if ours().map_err(|problem| problem.to_string())? { Ok(copy) } else { Err(Problem::Foreign.to_string()) }
}

/// Everything that is defined in a file, in the words that define it.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn migrate(connection: &mut Connection) -> Result<(), Problem> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else { return Err(Problem::Newer { found }) };
    for (version, step) in (1_u32..).zip(MIGRATIONS).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
