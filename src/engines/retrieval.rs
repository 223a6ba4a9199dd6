//! What finds passages: embedder, store and reranker together.

use std::sync::Arc;
use std::time::Duration;

use mentor_actors::domain::{EngineError, Found};
use mentor_actors::health::Pulse;
use mentor_actors::ports::{Retriever, SearchQuery};
use mentor_actors::reranking::Reranking;
use mentor_actors::retrieval::{RetrieverActor, search};
use mentor_actors::telemetry::Telemetry;

use super::embedding::{self, Embedding, embed_one};
use super::reranking::{self, LoadedReranker, StartingReranker};
use super::store::open_store;
use super::turn_settings::context_chars;
use crate::config::Config;

/// What is searched for before anybody asks. Words of every course, so that lists of its terms are read.
const WARMING_QUESTION: &str = "What is an example of this, and how does it work?";
/// A start is not held up longer for it.
const WARMING_LIMIT: Duration = Duration::from_secs(10);

/// The retrieval half of the program: embedding and store, without a generator.
pub struct Retrieval {
    /// Embeds questions.
    pub embedding: Embedding,
    /// Holds passages.
    pub store: Arc<dyn Retriever>,
    /// Looks at what was found a second time, where one is configured.
    pub reranker: Option<LoadedReranker>,
}

impl Retrieval {
    /// An actor in front of the store, and of the reranker where there is one.
    #[must_use]
    pub fn retriever(&self, config: &Config, telemetry: &Arc<dyn Telemetry>, pulse: Arc<Pulse>) -> RetrieverActor {
        let (running, waiting) = (config.search_parallel, config.search_queue);
        RetrieverActor::new(self.store.clone(), running, waiting, telemetry.clone(), pulse).reranked(self.reranking())
    }

    /// What that actor does for a search, without it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn search(&self, query: SearchQuery) -> Result<Found, EngineError> {
        search(&self.store, self.reranking().as_ref(), &query).await
    }

    fn reranking(&self) -> Option<Reranking> {
        self.reranker.as_ref().map(|loaded| loaded.reranking.clone())
    }

    /// Embeds a question and searches for it, so that the first one that is asked finds everything in memory. Nothing depends
    /// on it: a store or an embedder with a fault of its own says so elsewhere.
    pub async fn warm_up(&self, config: &Config) {
        let warming = async {
            let embedding = embed_one(&self.embedding, WARMING_QUESTION).await?;
            let text = WARMING_QUESTION.to_owned();
            let (top_k, context_chars) = (config.top_k, context_chars(config));
            self.store.search(SearchQuery { text, embedding, top_k, context_chars, documents: Vec::new() }).await
        };
        match tokio::time::timeout(WARMING_LIMIT, warming).await {
            Ok(Ok(_)) => tracing::info!("embedder and store are warm"),
            Ok(Err(error)) => tracing::warn!(%error, "the first search will be slow"),
            Err(_) => tracing::warn!("the first search will be slow: a trial took more than {WARMING_LIMIT:?}"),
        }
    }

    /// Lets its threads end, and waits for them.
    pub fn stop(self) {
        self.embedding.stop();
        if let Some(reranker) = self.reranker {
            reranker.stop();
        }
    }
}

/// Builds embedder and store.
///
/// # Errors
/// A model file that is missing or damaged; a store of another embedder.
pub fn for_retrieval(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Retrieval> {
    let embedding = embedding::start(config, 1, config.embed_queue, telemetry)?;
    let reranker = reranking::start(config, telemetry)?;
    let embedding = embedding.ready()?;
    let reranker = reranker.map(StartingReranker::ready).transpose()?;
    let store = open_store(config, &embedding.info)?;
    Ok(Retrieval { embedding, store, reranker })
}
