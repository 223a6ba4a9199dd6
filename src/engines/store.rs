//! The store as the configuration wants it: opened for writing, for upkeep, for searching, or to be replaced.

use std::sync::Arc;

use anyhow::Context as _;
use mentor_actors::domain::EngineError;
use mentor_actors::ports::Retriever;
use mentor_engines::chunk::CHUNKER_VERSION;
use mentor_engines::lance::{LanceCorpus, LanceRetriever, ReaderOptions, Replacement, StoreIdentity};
use mentor_engines::onnx::EmbedderInfo;
use mentor_engines::sqlite::{RESTORED, SqliteConversations};

use crate::config::Config;

/// What a store made with this embedder knows of it.
#[must_use]
pub fn identity(info: &EmbedderInfo) -> StoreIdentity {
    StoreIdentity {
        embedder: info.model_id.clone(),
        dimension: info.dimension,
        pooling: info.pooling.to_string(),
        max_tokens: info.max_tokens,
        chunker_version: CHUNKER_VERSION,
        tokenizer: Some(info.tokenizer.clone()),
    }
}

/// Opens the store for writing.
///
/// # Errors
/// When another process writes to it, or it was made with another embedder.
pub fn open_corpus(config: &Config, info: &EmbedderInfo) -> Result<LanceCorpus, EngineError> {
    Ok(configured(LanceCorpus::open(&config.data_dir, &identity(info))?, config))
}

/// Opens the store that a replacement builds.
///
/// # Errors
/// When the folder cannot be used.
pub fn open_replacement(
    config: &Config,
    replacement: &Replacement,
    identity: &StoreIdentity,
) -> Result<LanceCorpus, EngineError> {
    Ok(configured(LanceCorpus::open(replacement.building(), identity)?, config))
}

/// Opens the store for upkeep, whatever its embedder.
///
/// # Errors
/// When another process writes to it, or there is none.
pub fn open_stored_corpus(config: &Config) -> Result<LanceCorpus, EngineError> {
    Ok(configured(LanceCorpus::open_stored(&config.data_dir)?, config))
}

/// A store that is kept up as the configuration wants it.
fn configured(corpus: LanceCorpus, config: &Config) -> LanceCorpus {
    corpus.keeping(config.keep_versions).indexed_from(config.index_from)
}

/// The right to replace the store. Conversations that a killed restore left in it are taken in first: they would go with it.
///
/// # Errors
/// When another process writes to the store, or those conversations are damaged or in use.
pub fn begin_replacement(config: &Config) -> anyhow::Result<Replacement> {
    let replacement = Replacement::begin(&config.data_dir)?;
    if config.data_dir.join(RESTORED).exists() {
        drop(SqliteConversations::open(&config.data_dir).context("a restore that was killed must be ended first")?);
    }
    Ok(replacement)
}

/// Opens the store for searching.
///
/// # Errors
/// When it was made with another embedder, or is damaged.
pub(super) fn open_store(config: &Config, info: &EmbedderInfo) -> Result<Arc<dyn Retriever>, EngineError> {
    Ok(Arc::new(LanceRetriever::open(&config.data_dir, &identity(info), reader_options(config))?))
}

/// What a reader of the store may hold in memory.
fn reader_options(config: &Config) -> ReaderOptions {
    ReaderOptions {
        index_cache_bytes: config.index_cache_mb << 20,
        metadata_cache_bytes: config.metadata_cache_mb << 20,
        max_resident_rows: config.resident_passages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_says_of_the_store_is_what_was_measured_for_it() {
        assert_eq!(Config::default().index_from, mentor_engines::lance::INDEX_FROM);
        assert_eq!(reader_options(&Config::default()), ReaderOptions::default());
        let config = Config { index_cache_mb: 1, metadata_cache_mb: 2, resident_passages: 3, ..Config::default() };
        let expected =
            ReaderOptions { index_cache_bytes: 1 << 20, metadata_cache_bytes: 2 << 20, max_resident_rows: 3 };
        assert_eq!(reader_options(&config), expected);
    }
}
