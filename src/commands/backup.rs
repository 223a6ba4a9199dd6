//! `mentor backup` and `mentor restore`: store and conversations in one file, and back.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use mentor_actors::ports::Corpus as _;
use mentor_engines::lance::{StoreSnapshot, StoreSurvey};
use mentor_engines::sqlite::{ConversationsCopy, RESTORED, SqliteConversations};
use serde_json::json;

use crate::archive::{self, CONVERSATIONS, Contents};
use crate::cli::BackupArgs;
use crate::config::Config;
use crate::engines;

/// # Errors
/// When there is no store, or the archive cannot be written.
pub fn backup(config: &Config, arguments: &BackupArgs) -> anyhow::Result<u8> {
    let snapshot = StoreSnapshot::take(&config.data_dir)?;
    let stats = &snapshot.stats;
    let mut files = snapshot.files.clone();
    let mut contents = Contents::new(stats.dataset_version, stats.documents, stats.chunks, snapshot.identity.clone());
    if !arguments.without_conversations {
        let place = snapshot.folder().join(CONVERSATIONS);
        if let Some(copy) = ConversationsCopy::make(&config.data_dir, &place)? {
            contents = contents.with_conversations(copy.conversations);
            files.push((CONVERSATIONS.to_owned(), place));
        }
    }
    let conversations = contents.conversations;
    let bytes = archive::pack(&arguments.file, contents, &files)?;
    if arguments.json {
        let value = json!({
            "file": arguments.file, "bytes": bytes, "dataset_version": stats.dataset_version,
            "documents": stats.documents, "chunks": stats.chunks, "conversations": conversations,
        });
        println!("{value}");
    } else {
        let (file, documents) = (arguments.file.display(), stats.documents);
        let conversations = spoken(conversations);
        println!("{file}: version {}, {documents} documents, {conversations}, {bytes} bytes", stats.dataset_version);
    }
    Ok(0)
}

fn spoken(conversations: Option<u64>) -> String {
    conversations.map_or_else(|| "no conversations".to_owned(), |count| format!("{count} conversations"))
}

/// # Errors
/// When the archive is damaged or not of this program, there is too little room, or another process writes to the store.
pub fn restore(config: &Config, arguments: &BackupArgs) -> anyhow::Result<u8> {
    let mut opened = archive::open(&arguments.file)?;
    if arguments.without_conversations {
        opened.contents.leave_conversations_out();
    }
    let former = StoreSurvey::open(&config.data_dir).ok().flatten().map(|survey| survey.identity().clone());
    let replacement = engines::begin_replacement(config)?;
    // Held until the end: no server may add to what is replaced.
    let conversations = opened.contents.conversations.map(|_| own_conversations(&config.data_dir)).transpose()?;
    opened.unpack(replacement.building()).with_context(|| arguments.file.display().to_string())?;
    let contents = &opened.contents;
    check(replacement.building(), contents).with_context(|| arguments.file.display().to_string())?;
    // An archive has neither search index nor tags: the store gets its own, as at the end of an ingest.
    let restored = engines::open_replacement(config, &replacement, &contents.identity)?.finish()?;
    for reason in &restored.undone {
        eprintln!("mentor: {reason}; everything is restored, `mentor compact` tries again");
    }
    if conversations.is_some() {
        fs::rename(replacement.building().join(CONVERSATIONS), replacement.building().join(RESTORED))?;
    }
    replacement.swap()?;
    if let Some(mut conversations) = conversations {
        conversations.take_restored(&config.data_dir).context("the server will try again when it starts")?;
    }
    if arguments.json {
        let value = json!({
            "file": arguments.file, "dataset_version": restored.dataset_version, "documents": contents.documents,
            "chunks": contents.chunks, "conversations": contents.conversations, "embedder": contents.identity.embedder,
        });
        println!("{value}");
        return Ok(0);
    }
    println!("{} documents, {} passages, of {}", contents.documents, contents.chunks, contents.identity.embedder);
    match contents.conversations {
        Some(count) => println!("{count} conversations, in the place of those there were"),
        None => println!("the conversations are as they were"),
    }
    if former.is_some() {
        println!("the history and the tags of the former store are gone with it");
    }
    if former.is_some_and(|former| !former.agrees_with(&contents.identity)) {
        println!("the embedder is another one than before: set `embedder`, and restart the server");
    } else {
        println!("a running server answers from it within two seconds");
    }
    Ok(0)
}

/// The conversations there are, which nobody else can open meanwhile.
fn own_conversations(data_dir: &Path) -> anyhow::Result<SqliteConversations> {
    SqliteConversations::open(data_dir)
        .context("the conversations cannot be replaced: stop the server, or restore with --without-conversations")
}

/// Every file is what it was; this sees to it that all of them together are a store, and the conversations that are listed.
fn check(folder: &Path, contents: &Contents) -> anyhow::Result<()> {
    let survey = StoreSurvey::open(folder)?;
    match survey.map(|survey| survey.stats()).transpose()? {
        Some(stats) if (stats.documents, stats.chunks) == (contents.documents, contents.chunks) => {}
        _ => bail!("its files are not the store that its list describes"),
    }
    if let Some(listed) = contents.conversations {
        let found = ConversationsCopy::open(&folder.join(CONVERSATIONS))?.conversations;
        if found != listed {
            bail!("it lists {listed} conversations and holds {found}");
        }
    }
    Ok(())
}
