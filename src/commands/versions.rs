//! `mentor compact`, `reindex`, `history`, `tag` and `rollback`: the store's files and versions.

use mentor_engines::lance::{StoreSurvey, StoreVersion};
use serde_json::json;

use crate::cli::{HistoryArgs, RollbackArgs, TagArgs};
use crate::config::Config;
use crate::engines;

/// `mentor compact`.
///
/// # Errors
/// When there is no store, or another process writes to it.
pub fn compact(config: &Config, json: bool) -> anyhow::Result<u8> {
    let mut corpus = engines::open_stored_corpus(config)?;
    let before = StoreSurvey::open(&config.data_dir)?.map(|survey| survey.stats()).transpose()?.unwrap_or_default();
    let after = corpus.merge()?;
    if json {
        let value = json!({
            "fragments_before": before.fragments, "fragments": after.fragments,
            "bytes_before": before.bytes, "bytes": after.bytes,
        });
        println!("{value}");
    } else {
        println!("fragments {:>12} -> {}", before.fragments, after.fragments);
        println!("bytes     {:>12} -> {}", before.bytes, after.bytes);
    }
    Ok(0)
}

/// `mentor reindex`.
///
/// # Errors
/// When there is no store, another process writes to it, or the disk is full.
pub fn reindex(config: &Config, json: bool) -> anyhow::Result<u8> {
    let stats = engines::open_stored_corpus(config)?.reindex()?;
    if json {
        println!("{}", json!({"chunks": stats.chunks, "index_state": stats.index_state, "bytes": stats.bytes}));
    } else {
        println!("index {:>16}, of {} passages", stats.index_state, stats.chunks);
    }
    Ok(0)
}

/// `mentor history`.
///
/// # Errors
/// When the store cannot be read.
pub fn history(config: &Config, arguments: &HistoryArgs) -> anyhow::Result<u8> {
    let survey = StoreSurvey::open(&config.data_dir)?;
    let versions = survey.map_or_else(|| Ok(Vec::new()), |survey| survey.history(arguments.limit))?;
    if arguments.json {
        println!("{}", json!({"versions": versions}));
        return Ok(0);
    }
    for StoreVersion { version, time, change, tags } in versions {
        println!(
            "{version:>8}  {time}  {change}{}",
            if tags.is_empty() { String::new() } else { format!("  [{}]", tags.join(", ")) }
        );
    }
    Ok(0)
}

/// `mentor tag`.
///
/// # Errors
/// When there is no store, another process writes to it, or the name is not allowed.
pub fn tag(config: &Config, arguments: &TagArgs) -> anyhow::Result<u8> {
    let mut corpus = engines::open_stored_corpus(config)?;
    if arguments.remove {
        corpus.untag(&arguments.name)?;
        println!("{} names no version any more", arguments.name);
    } else {
        let version = corpus.tag(&arguments.name)?;
        println!("version {version} is {}, and is kept", arguments.name);
    }
    Ok(0)
}

/// `mentor rollback`.
///
/// # Errors
/// When there is no such version, or another process writes to the store.
pub fn rollback(config: &Config, arguments: &RollbackArgs) -> anyhow::Result<u8> {
    let identity = || anyhow::Ok(StoreSurvey::open(&config.data_dir)?.map(|survey| survey.identity().clone()));
    let before = identity()?;
    let (version, now) = engines::open_stored_corpus(config)?.roll_back(&arguments.version)?;
    if version == now {
        println!("version {version} is the newest already");
        return Ok(0);
    }
    println!("the store is what it was at version {version}; that is version {now} now");
    let after = identity()?;
    if before != after {
        let embedder = after.map_or_else(String::new, |identity| identity.embedder);
        println!("it was made with another embedder then: set `embedder` to {embedder}, and restart the server");
    }
    println!("the next ingest makes it what the folder is again: undo the change there first");
    Ok(0)
}
