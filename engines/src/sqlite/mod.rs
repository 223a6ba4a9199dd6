//! Conversations in one SQLite file.
//!
//! | module | what lives there |
//! |---|---|
//! | [`SqliteConversations`] | the port, statement by statement |
//! | `open` | the file: opened, looked at, brought to the newest schema |
//! | `copy` | a copy for a backup, also while a server writes |
//! | `restored` | a copy that comes back, all at once |
//! | `encode` | the end of a turn as JSON, and back, event for event |

mod copy;
mod encode;
mod open;
mod restored;
mod store;

pub use copy::ConversationsCopy;
pub use open::FILE_NAME;
pub use restored::RESTORED;
pub use store::SqliteConversations;

use mentor_actors::domain::EngineError;
use thiserror::Error;

/// Why the store could not do something.
#[derive(Debug, Error)]
enum SqliteError {
    /// SQLite refused or failed.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What was read is not what this program writes.
    #[error("a stored turn cannot be understood: {0}")]
    Unreadable(String),
}

impl From<SqliteError> for EngineError {
    fn from(error: SqliteError) -> Self {
        Self::Failed(format!("{FILE_NAME}: {error}"))
    }
}

impl From<serde_json::Error> for SqliteError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}
