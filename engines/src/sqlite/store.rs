//! The port, statement by statement.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mentor_actors::domain::{
    ConversationId, ConversationSummary, EngineError, Feedback, ListPlace, Owner, StoredConversation, StoredTurn,
    TurnBegin, TurnChange, TurnEnd, TurnId,
};
use mentor_actors::ports::ConversationStore;
use mentor_actors::prompt::Exchange;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, named_params};

use super::encode::{self, EndColumns};
use super::{SqliteError, open, restored};

/// Conversations in the file of a data folder. Nobody else can open it meanwhile.
pub struct SqliteConversations {
    connection: Connection,
}

/// How far a commit goes before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Handed to the operating system: it survives the end of the process.
    Process,
    /// On the disk: it survives the end of the power.
    Power,
}

impl SqliteConversations {
    /// Opens the file of a data folder, or makes it. A restore that was killed before its last step gets it now.
    ///
    /// # Errors
    /// [`EngineError::Load`] when it is damaged, in use, of a newer version or not ours: in one line, with what to do.
    pub fn open(data_dir: &Path) -> Result<Self, EngineError> {
        let mut opened = Self { connection: open::open(data_dir)? };
        opened.take_restored(data_dir)?;
        Ok(opened)
    }

    /// Takes in what a restore left at [`super::RESTORED`], in the place of everything that is there.
    ///
    /// # Errors
    /// [`EngineError::Load`] when that is damaged; [`EngineError::Failed`] when it cannot be written. Nothing has changed then.
    pub fn take_restored(&mut self, data_dir: &Path) -> Result<(), EngineError> {
        restored::take(&mut self.connection, data_dir)
    }

    fn transaction(&mut self, durability: Durability) -> Result<Transaction<'_>, SqliteError> {
        let mode = match durability {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        self.connection.pragma_update(None, "synchronous", mode)?;
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    fn write_all(&mut self, changes: &[TurnChange]) -> Result<(), SqliteError> {
        let ends = changes.iter().any(|change| matches!(change, TurnChange::End(_)));
        let transaction = self.transaction(if ends { Durability::Power } else { Durability::Process })?;
        if changes.is_empty() {
            // Writes the page that it stands on, though nothing changes.
            transaction.pragma_update(None, "application_id", open::APPLICATION_ID)?;
        }
        for change in changes {
            match change {
                TurnChange::Begin(turn) => begin(&transaction, turn)?,
                TurnChange::End(turn) => end(&transaction, turn)?,
            }
        }
        Ok(transaction.commit()?)
    }

    fn find(&self, id: &ConversationId) -> Result<Option<(i64, Option<Owner>)>, SqliteError> {
        let sql = "SELECT number, owner FROM conversation WHERE id = ?1";
        let found = self.connection.query_row(sql, [id.as_str()], |row| {
            let owner: Option<String> = row.get("owner")?;
            Ok((row.get("number")?, owner.as_deref().map(Owner::new)))
        });
        Ok(found.optional()?)
    }

    fn read_conversation(&self, id: &ConversationId, turns: usize) -> Result<Option<StoredConversation>, SqliteError> {
        let Some((number, owner)) = self.find(id)? else { return Ok(None) };
        let sql = "SELECT * FROM turn WHERE conversation = ?1 ORDER BY first_seq DESC LIMIT ?2";
        let mut newest = self.read_turns(id, sql, (number, integer(turns + 1)))?;
        let has_older = newest.len() > turns;
        newest.truncate(turns);
        newest.reverse();
        let sql = "SELECT id FROM turn WHERE conversation = ?1 AND finish_reason IS NOT NULL
            ORDER BY first_seq DESC LIMIT 1";
        let head: Option<String> = self.connection.query_row(sql, [number], |row| row.get(0)).optional()?;
        let head = head.as_deref().map(turn_id).transpose()?;
        Ok(Some(StoredConversation { owner, turns: newest, has_older, head }))
    }

    fn read_turns(
        &self,
        id: &ConversationId,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<StoredTurn>, SqliteError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut turns = Vec::new();
        while let Some(row) = rows.next()? {
            turns.push(stored_turn(id, row)?);
        }
        Ok(turns)
    }

    fn read_path(&self, id: &ConversationId, to: &TurnId, limit: usize) -> Result<Vec<Exchange>, SqliteError> {
        let sql = "WITH RECURSIVE path (conversation, id, parent, question, answer, finish_reason, steps) AS (
                SELECT t.conversation, t.id, t.parent, t.question, t.answer, t.finish_reason, 1
                FROM turn t JOIN conversation c ON c.number = t.conversation WHERE c.id = :conversation AND t.id = :to
                UNION ALL
                SELECT t.conversation, t.id, t.parent, t.question, t.answer, t.finish_reason, steps + 1
                FROM path JOIN turn t ON t.conversation = path.conversation AND t.id = path.parent
                LIMIT :limit
            )
            SELECT question, answer FROM path WHERE finish_reason IS NOT NULL ORDER BY steps DESC";
        let mut statement = self.connection.prepare(sql)?;
        let parameters = named_params! {":conversation": id.as_str(), ":to": to.as_str(), ":limit": integer(limit)};
        let exchange =
            |row: &Row<'_>| Ok(Exchange { question: row.get("question")?, read: None, answer: row.get("answer")? });
        Ok(statement.query_map(parameters, exchange)?.collect::<Result<_, _>>()?)
    }

    fn read_list(
        &self,
        owner: Option<&Owner>,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>, SqliteError> {
        let sql = "SELECT number, id, created_ms, changed_ms,
                (SELECT count(*) FROM turn WHERE conversation = c.number) AS turns,
                (SELECT question FROM turn WHERE conversation = c.number ORDER BY first_seq LIMIT 1) AS title
            FROM conversation c
            WHERE owner IS :owner AND (changed_ms, number) < (:changed_ms, :number)
            ORDER BY changed_ms DESC, number DESC LIMIT :limit";
        let after = after.unwrap_or(ListPlace { changed_ms: u64::MAX, number: u64::MAX });
        let parameters = named_params! {
            ":owner": owner.map(Owner::as_str),
            ":changed_ms": number(after.changed_ms),
            ":number": number(after.number),
            ":limit": integer(limit),
        };
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(summary(row)?);
        }
        Ok(found)
    }

    fn write_feedback(
        &mut self,
        owner: Option<&Owner>,
        turn: &TurnId,
        feedback: &Feedback,
    ) -> Result<bool, SqliteError> {
        let transaction = self.transaction(Durability::Power)?;
        let sql = "UPDATE turn SET rating = :rating, feedback = :text, rated_ms = :now WHERE number = (
            SELECT t.number FROM turn t JOIN conversation c ON c.number = t.conversation
            WHERE t.id = :turn AND c.owner IS :owner ORDER BY t.number DESC LIMIT 1)";
        let parameters = named_params! {
            ":rating": feedback.rating,
            ":text": feedback.text,
            ":now": milliseconds(SystemTime::now()),
            ":turn": turn.as_str(),
            ":owner": owner.map(Owner::as_str),
        };
        let changed = transaction.execute(sql, parameters)?;
        transaction.commit()?;
        Ok(changed > 0)
    }

    fn remove_numbers(&mut self, numbers: &[i64]) -> Result<(), SqliteError> {
        let transaction = self.transaction(Durability::Power)?;
        for number in numbers {
            transaction.execute("DELETE FROM turn WHERE conversation = ?1", [number])?;
            transaction.execute("DELETE FROM conversation WHERE number = ?1", [number])?;
        }
        transaction.commit()?;
        // The log would hold the text for a while. Whatever stands in the way, a later checkpoint does it.
        let _emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        Ok(())
    }

    fn ids_unchanged_since(&self, time: SystemTime, limit: usize) -> Result<Vec<ConversationId>, SqliteError> {
        let mut statement = self.connection.prepare("SELECT id FROM conversation WHERE changed_ms < ?1 LIMIT ?2")?;
        let ids = statement.query_map((milliseconds(time), integer(limit)), |row| row.get::<_, String>(0))?;
        ids.map(|id| conversation_id(&id?)).collect()
    }

    fn numbers_unchanged(&self, ids: &[ConversationId], since: SystemTime) -> Result<Vec<i64>, SqliteError> {
        let sql = "SELECT number FROM conversation WHERE id = ?1 AND changed_ms < ?2";
        let mut statement = self.connection.prepare(sql)?;
        let mut number =
            |id: &ConversationId| statement.query_row((id.as_str(), milliseconds(since)), |row| row.get(0)).optional();
        Ok(ids.iter().filter_map(|id| number(id).transpose()).collect::<Result<_, _>>()?)
    }
}

fn begin(transaction: &Transaction<'_>, turn: &TurnBegin) -> Result<(), SqliteError> {
    let asked_ms = milliseconds(turn.asked_at);
    transaction.execute(
        "INSERT INTO conversation (id, owner, created_ms, changed_ms) VALUES (:id, :owner, :now, :now)
            ON CONFLICT (id) DO UPDATE SET changed_ms = max(changed_ms, excluded.changed_ms)",
        named_params! {
            ":id": turn.conversation_id.as_str(),
            ":owner": turn.owner.as_ref().map(Owner::as_str),
            ":now": asked_ms,
        },
    )?;
    transaction.execute(
        "INSERT INTO turn (conversation, id, parent, question, asked_ms, first_seq)
            SELECT number, :turn, :parent, :question, :asked_ms, :first_seq FROM conversation WHERE id = :id
            ON CONFLICT (conversation, id) DO NOTHING",
        named_params! {
            ":id": turn.conversation_id.as_str(),
            ":turn": turn.turn_id.as_str(),
            ":parent": turn.parent.as_ref().map(TurnId::as_str),
            ":question": turn.question,
            ":asked_ms": asked_ms,
            ":first_seq": number(turn.first_seq),
        },
    )?;
    Ok(())
}

fn end(transaction: &Transaction<'_>, turn: &TurnEnd) -> Result<(), SqliteError> {
    let Some(columns) = encode::columns(&turn.events)? else {
        return Err(SqliteError::Unreadable("a turn that ends without an end".to_owned()));
    };
    let ended_ms = milliseconds(turn.ended_at);
    transaction.execute(
        "UPDATE turn SET last_seq = :last_seq, ended_ms = :ended_ms, finish_reason = :finish_reason,
                error_code = :error_code, answer = :answer, details = :details, trace = :trace
            WHERE conversation = (SELECT number FROM conversation WHERE id = :id) AND id = :turn AND last_seq IS NULL",
        named_params! {
            ":last_seq": number(columns.last_seq),
            ":ended_ms": ended_ms,
            ":finish_reason": columns.finish_reason,
            ":error_code": columns.error_code,
            ":answer": columns.answer,
            ":details": columns.details,
            ":trace": columns.trace,
            ":id": turn.conversation_id.as_str(),
            ":turn": turn.turn_id.as_str(),
        },
    )?;
    transaction.execute(
        "UPDATE conversation SET changed_ms = max(changed_ms, ?1) WHERE id = ?2",
        (ended_ms, turn.conversation_id.as_str()),
    )?;
    Ok(())
}

fn stored_turn(conversation_id: &ConversationId, row: &Row<'_>) -> Result<StoredTurn, SqliteError> {
    let (id, parent): (String, Option<String>) = (row.get("id")?, row.get("parent")?);
    let turn_id_read = turn_id(&id)?;
    let last_seq: Option<i64> = row.get("last_seq")?;
    let events = match last_seq {
        None => Vec::new(),
        Some(last_seq) => {
            let columns = EndColumns {
                last_seq: count(last_seq),
                finish_reason: row.get("finish_reason")?,
                error_code: row.get("error_code")?,
                answer: row.get("answer")?,
                details: row.get("details")?,
                trace: row.get("trace")?,
            };
            encode::events(conversation_id, &turn_id_read, &columns)?
        }
    };
    let rating: Option<u8> = row.get("rating")?;
    let text: Option<String> = row.get("feedback")?;
    Ok(StoredTurn {
        turn_id: turn_id_read,
        parent: parent.as_deref().map(turn_id).transpose()?,
        question: row.get("question")?,
        asked_at: time(row.get("asked_ms")?),
        first_seq: count(row.get("first_seq")?),
        events,
        feedback: rating.map(|rating| Feedback { rating, text }),
    })
}

fn summary(row: &Row<'_>) -> Result<ConversationSummary, SqliteError> {
    let id: String = row.get("id")?;
    let title: Option<String> = row.get("title")?;
    let changed_ms: i64 = row.get("changed_ms")?;
    Ok(ConversationSummary {
        id: conversation_id(&id)?,
        title: title.unwrap_or_default(),
        turns: count(row.get("turns")?),
        created_at: time(row.get("created_ms")?),
        changed_at: time(changed_ms),
        place: ListPlace { changed_ms: count(changed_ms), number: count(row.get("number")?) },
    })
}

fn conversation_id(text: &str) -> Result<ConversationId, SqliteError> {
    ConversationId::parse(text).map_err(|error| SqliteError::Unreadable(error.to_string()))
}

fn turn_id(text: &str) -> Result<TurnId, SqliteError> {
    TurnId::parse(text).map_err(|error| SqliteError::Unreadable(error.to_string()))
}

/// Numbers in SQLite have a sign; none of ours comes near the end of them.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(count(milliseconds))
}

impl ConversationStore for SqliteConversations {
    fn write(&mut self, changes: &[TurnChange]) -> Result<(), EngineError> {
        Ok(self.write_all(changes)?)
    }

    fn conversation(&mut self, id: &ConversationId, turns: usize) -> Result<Option<StoredConversation>, EngineError> {
        Ok(self.read_conversation(id, turns)?)
    }

    fn turn(&mut self, id: &ConversationId, turn: &TurnId) -> Result<Option<StoredTurn>, EngineError> {
        let Some((number, _)) = self.find(id)? else { return Ok(None) };
        let sql = "SELECT * FROM turn WHERE conversation = ?1 AND id = ?2";
        Ok(self.read_turns(id, sql, (number, turn.as_str()))?.pop())
    }

    fn turns(&mut self, id: &ConversationId, after: u64, limit: usize) -> Result<Vec<StoredTurn>, EngineError> {
        let Some((conversation, _)) = self.find(id)? else { return Ok(Vec::new()) };
        let sql = "SELECT * FROM turn WHERE conversation = ?1 AND first_seq > ?2 ORDER BY first_seq LIMIT ?3";
        Ok(self.read_turns(id, sql, (conversation, number(after), integer(limit)))?)
    }

    fn path(&mut self, id: &ConversationId, to: &TurnId, limit: usize) -> Result<Vec<Exchange>, EngineError> {
        Ok(self.read_path(id, to, limit)?)
    }

    fn list(
        &mut self,
        owner: Option<&Owner>,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>, EngineError> {
        Ok(self.read_list(owner, after, limit)?)
    }

    fn rate(&mut self, owner: Option<&Owner>, turn: &TurnId, feedback: &Feedback) -> Result<bool, EngineError> {
        Ok(self.write_feedback(owner, turn, feedback)?)
    }

    fn remove(&mut self, id: &ConversationId) -> Result<bool, EngineError> {
        let Some((number, _)) = self.find(id)? else { return Ok(false) };
        self.remove_numbers(&[number])?;
        Ok(true)
    }

    fn unchanged_since(&mut self, time: SystemTime, limit: usize) -> Result<Vec<ConversationId>, EngineError> {
        Ok(self.ids_unchanged_since(time, limit)?)
    }

    fn remove_unchanged(&mut self, ids: &[ConversationId], since: SystemTime) -> Result<usize, EngineError> {
        let numbers = self.numbers_unchanged(ids, since)?;
        if !numbers.is_empty() {
            self.remove_numbers(&numbers)?;
        }
        Ok(numbers.len())
    }
}
