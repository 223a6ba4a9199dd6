//! Conversations that come back with a restore. It changes two things in one step: the folder of the dataset is exchanged for one that
//! brings the conversations with it, and whoever opens the store next takes them in.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use mentor_actors::domain::EngineError;
use rusqlite::{Connection, TransactionBehavior};

use super::{ConversationsCopy, SqliteError};

/// Where a restore leaves them, in the data folder.
pub const RESTORED: &str = "corpus.lance/_conversations.sqlite";

/// Takes them in where they are. Again, after it was interrupted, has the same effect: nobody writes before it is done.
pub(super) fn take(connection: &mut Connection, data_dir: &Path) -> Result<(), EngineError> {
    let file = data_dir.join(RESTORED);
    if !file.exists() {
        return Ok(());
    }
    ConversationsCopy::open(&file)?;
    replace_all(connection, &file)?;
    remove(&file).map_err(|error| EngineError::Failed(format!("{} cannot be removed: {error}", file.display())))
}

fn replace_all(connection: &mut Connection, file: &Path) -> Result<(), SqliteError> {
    let path = file.to_str().ok_or_else(|| SqliteError::Unreadable("a path that is not UTF-8".to_owned()))?;
    connection.execute("ATTACH DATABASE ?1 AS restored", [path])?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Both were brought to the same schema, so columns are in the same order.
    let replaced = transaction.execute_batch(
        "DELETE FROM turn;
        DELETE FROM conversation;
        INSERT INTO conversation SELECT * FROM restored.conversation;
        INSERT INTO turn SELECT * FROM restored.turn;",
    );
    let replaced = replaced.and_then(|()| transaction.commit());
    connection.execute("DETACH DATABASE restored", ())?;
    Ok(replaced?)
}

/// Removes it for good: were it there again after a power loss, it would replace what was said since.
fn remove(file: &Path) -> io::Result<()> {
    fs::remove_file(file)?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
