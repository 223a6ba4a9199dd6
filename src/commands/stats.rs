//! `mentor stats`: what the store holds, without loading its embedder.

use mentor_actors::domain::CorpusStats;
use mentor_engines::lance::{StoreIdentity, StoreSurvey};
use serde_json::json;

use crate::config::Config;

/// # Errors
/// When the store cannot be read.
pub fn stats(config: &Config, json: bool) -> anyhow::Result<u8> {
    let survey = StoreSurvey::open(&config.data_dir)?;
    let stats = survey.as_ref().map_or_else(|| Ok(CorpusStats::default()), StoreSurvey::stats)?;
    let live_bytes = survey.as_ref().map_or(Ok(0), StoreSurvey::live_bytes)?;
    let identity = survey.as_ref().map(StoreSurvey::identity);
    let records = survey.as_ref().map_or(&[][..], StoreSurvey::records);
    let failed: Vec<_> = records
        .iter()
        .filter_map(|record| Some(json!({"document": record.id.0, "reason": record.failure.as_ref()?.reason})))
        .collect();
    let failed_pages: usize = records.iter().map(|record| record.failed_pages.len()).sum();
    let embedder = identity.map(|identity| identity.embedder.as_str());
    let index = if stats.index_state.is_empty() { "none" } else { &stats.index_state };
    if json {
        let value = json!({
            "documents": stats.documents, "pages": stats.pages, "chunks": stats.chunks, "bytes": stats.bytes,
            "live_bytes": live_bytes, "dataset_version": stats.dataset_version, "fragments": stats.fragments,
            "index_state": index, "embedder": embedder, "identity": identity,
            "failed_documents": failed, "failed_pages": failed_pages,
        });
        println!("{value}");
        return Ok(0);
    }
    let row = |name: &str, value: &dyn std::fmt::Display| println!("{name:<10}{value:>12}");
    row("documents", &stats.documents);
    row("pages", &stats.pages);
    row("chunks", &stats.chunks);
    row("bytes", &stats.bytes);
    row("live", &live_bytes);
    row("version", &stats.dataset_version);
    row("fragments", &stats.fragments);
    row("index", &index);
    row("failed", &format!("{} + {failed_pages} pages", failed.len()));
    println!("{:<10}{}", "embedder", identity.map_or_else(|| "none".into(), describe));
    Ok(0)
}

fn describe(identity: &StoreIdentity) -> String {
    let StoreIdentity { embedder, dimension, pooling, max_tokens, .. } = identity;
    format!("{embedder}, {dimension} dimensions, {pooling} pooling, {max_tokens} tokens")
}
