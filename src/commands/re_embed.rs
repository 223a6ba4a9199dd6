//! `mentor re-embed`: the stored text with the vectors of another embedder, without reading a file again.

use anyhow::bail;
use mentor_engines::lance::StoreSurvey;
use serde_json::json;

use super::silent;
use crate::config::Config;
use crate::engines;
use crate::ingest::{Bars, EmbedAgain, embed_again};

/// # Errors
/// When there is no store, its text was cut by other rules or is too long for the embedder, or another process writes to it.
pub fn re_embed(config: &Config, json: bool) -> anyhow::Result<u8> {
    let data_dir = &config.data_dir;
    if StoreSurvey::open(data_dir)?.is_none() {
        bail!("there is no store in {}: run `mentor ingest`", data_dir.display());
    }
    let embedding = engines::for_embedding(config, &silent())?;
    let identity = engines::identity(&embedding.info);
    // From here on nobody else writes; killed before the exchange, the store is what it was.
    let replacement = engines::begin_replacement(config)?;
    let Some(survey) = StoreSurvey::open(data_dir)? else { bail!("the store was removed meanwhile") };
    let former = survey.identity().clone();
    if former.chunker_version != identity.chunker_version {
        bail!("the store's text was cut by other rules: run `mentor ingest --overwrite`");
    }
    let progress = Bars::new(survey.records().len(), 0, json);
    let with =
        EmbedAgain { embedding: &embedding.workers, counter: &embedding.counter, max_tokens: identity.max_tokens };
    let mut corpus = engines::open_replacement(config, &replacement, &identity)?;
    let report = embed_again(survey.documents_with_text(), &with, &mut corpus, &progress);
    embedding.stop();
    let report = report?;
    drop(corpus);
    replacement.swap()?;
    if json {
        let value = json!({
            "documents": report.documents_in_store, "chunks": report.chunks_in_store, "tokens": report.tokens,
            "embedder": identity.embedder, "former_embedder": former.embedder,
        });
        println!("{value}");
        return Ok(0);
    }
    println!("{} passages of {} documents", report.chunks_in_store, report.documents_in_store);
    println!("{} -> {}", former.embedder, identity.embedder);
    if !former.agrees_with(&identity) {
        println!("a running server answers from what it has in memory until it is restarted with this embedder");
    }
    Ok(0)
}
