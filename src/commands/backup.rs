//! `mentor backup` and `mentor restore`: the store in one file, and back.

use anyhow::{Context as _, bail};
use mentor_engines::lance::{LanceCorpus, Replacement, StoreSnapshot, StoreSurvey};
use serde_json::json;

use crate::archive::{self, Contents};
use crate::cli::BackupArgs;
use crate::config::Config;

/// # Errors
/// When there is no store, or the archive cannot be written.
pub fn backup(config: &Config, arguments: &BackupArgs) -> anyhow::Result<u8> {
    let snapshot = StoreSnapshot::take(&config.data_dir)?;
    let stats = &snapshot.stats;
    let contents = Contents::new(stats.dataset_version, stats.documents, stats.chunks, snapshot.identity.clone());
    let bytes = archive::pack(&arguments.file, contents, &snapshot.files)?;
    if arguments.json {
        let value = json!({
            "file": arguments.file, "bytes": bytes, "dataset_version": stats.dataset_version,
            "documents": stats.documents, "chunks": stats.chunks,
        });
        println!("{value}");
    } else {
        let file = arguments.file.display();
        println!("{file}: version {}, {} documents, {bytes} bytes", stats.dataset_version, stats.documents);
    }
    Ok(0)
}

/// # Errors
/// When the archive is damaged or not of this program, there is too little room, or another process writes to the store.
pub fn restore(config: &Config, arguments: &BackupArgs) -> anyhow::Result<u8> {
    let mut opened = archive::open(&arguments.file)?;
    let former = StoreSurvey::open(&config.data_dir).ok().flatten().map(|survey| survey.identity().clone());
    let replacement = Replacement::begin(&config.data_dir)?;
    opened.unpack(replacement.building()).with_context(|| arguments.file.display().to_string())?;
    let contents = &opened.contents;
    // Every file is what it was; this sees to it that all of them together are a store.
    let survey = StoreSurvey::open(replacement.building())?;
    match survey.map(|survey| survey.stats()).transpose()? {
        Some(stats) if (stats.documents, stats.chunks) == (contents.documents, contents.chunks) => {}
        _ => bail!("{}: its files are not the store that its list describes", arguments.file.display()),
    }
    // An archive has no search index: a large store gets its own before it is used.
    LanceCorpus::open_stored(replacement.building())?.index_if_due()?;
    replacement.swap()?;
    if arguments.json {
        let value = json!({
            "file": arguments.file, "dataset_version": contents.dataset_version, "documents": contents.documents,
            "chunks": contents.chunks, "embedder": contents.identity.embedder,
        });
        println!("{value}");
        return Ok(0);
    }
    println!("{} documents, {} passages, of {}", contents.documents, contents.chunks, contents.identity.embedder);
    if former.is_some_and(|former| former != contents.identity) {
        println!("the embedder is another one than before: set `embedder`, and restart the server");
    } else {
        println!("a running server answers from it within two seconds");
    }
    Ok(0)
}
