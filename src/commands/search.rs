//! `mentor search`: passages without an answer.

use mentor_actors::domain::ScoredPassage;
use mentor_actors::ports::SearchQuery;
use mentor_actors::prompt::place_of;
use mentor_actors::turn::DocumentFilter as _;

use super::{block_on, silent};
use crate::cli::SearchArgs;
use crate::config::Config;
use crate::documents::StoredDocuments;
use crate::engines;
use crate::http::sources_json;

/// # Errors
/// When the models or the store cannot be opened, or no document matches.
pub fn search(config: &Config, arguments: &SearchArgs) -> anyhow::Result<u8> {
    let retrieval = engines::for_retrieval(config, &silent())?;
    let found: anyhow::Result<Vec<ScoredPassage>> = block_on(async {
        let documents = if arguments.documents.is_empty() {
            Vec::new()
        } else {
            StoredDocuments::new(retrieval.store.clone()).resolve(arguments.documents.clone()).await?
        };
        let embedding = engines::embed_one(&retrieval.embedding, &arguments.query).await?;
        let (text, context_chars) = (arguments.query.clone(), engines::context_chars(config));
        let query = SearchQuery { text, embedding, top_k: config.top_k, context_chars, documents };
        Ok(retrieval.search(query).await?.passages)
    })?;
    let found = found?;
    if arguments.json {
        println!("{}", serde_json::json!({"query": arguments.query, "sources": sources_json(&found)}));
    } else {
        for (number, scored) in found.iter().enumerate() {
            println!(
                "{}. {} ({:.2})\n{}\n",
                number + 1,
                place_of(&scored.passage),
                scored.score,
                scored.passage.text.trim()
            );
        }
    }
    retrieval.stop();
    Ok(0)
}
