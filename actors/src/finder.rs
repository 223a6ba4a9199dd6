//! From a question and those before it to passages: read it, embed it, search, and take the reading that the course answers best.

use std::time::{Duration, Instant};

use actix::{Addr, MailboxError};

use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::domain::{DocumentId, ErrorCode, ScoredPassage, TurnError};
use crate::embedding::{EmbedQuery, EmbeddingPoolActor};
use crate::ports::SearchQuery;
use crate::query::{Readings, readings};
use crate::retrieval::{RetrieverActor, Search};

/// Passages for a question, as retrieved.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieved {
    /// The question as searched for.
    pub question: String,
    /// Whether the history was needed for it.
    pub was_rewritten: bool,
    /// Best first.
    pub passages: Vec<ScoredPassage>,
    /// How likely the corpus answers the question at all, 0 to 1.
    pub relevance: f32,
    /// Time spent embedding.
    pub embed: Duration,
    /// Time spent searching.
    pub retrieve: Duration,
}

impl Retrieved {
    fn best(&self) -> Option<f32> {
        self.passages.first().map(|scored| scored.score)
    }
}

/// What a search is limited to.
#[derive(Debug, Clone)]
pub struct SearchScope {
    /// How many passages.
    pub top_k: usize,
    /// How much text they may have together, in characters.
    pub context_chars: usize,
    /// Only these documents; all where there are none.
    pub documents: Vec<DocumentId>,
}

/// Asks the embedder and the store.
#[derive(Clone)]
pub struct Finder {
    /// Embeds questions.
    pub embedding: Addr<EmbeddingPoolActor>,
    /// Finds passages.
    pub retriever: Addr<RetrieverActor>,
}

impl Finder {
    /// The passages for a question that was asked after others.
    ///
    /// # Errors
    /// What the embedder or the store answer; `deadline_exceeded`; the error of a cancel.
    pub async fn find(
        &self,
        question: &str,
        previous_questions: &[&str],
        scope: &SearchScope,
        deadline: Deadline,
        cancel: &CancelToken,
    ) -> Result<Retrieved, TurnError> {
        let Readings { alone, together } = readings(question, previous_questions);
        let found = self.search(alone, scope, deadline, cancel).await?;
        let Some(together) = together else { return Ok(found) };
        let with = self.search(together.text.clone(), scope, deadline, cancel).await?;
        let (embed, retrieve) = (found.embed + with.embed, found.retrieve + with.retrieve);
        let was_rewritten = together.is_taken(with.best(), found.best());
        let taken = if was_rewritten { with } else { found };
        Ok(Retrieved { was_rewritten, embed, retrieve, ..taken })
    }

    async fn search(
        &self,
        text: String,
        scope: &SearchScope,
        deadline: Deadline,
        cancel: &CancelToken,
    ) -> Result<Retrieved, TurnError> {
        let start = Instant::now();
        let embed = EmbedQuery { text: text.clone(), deadline, cancel: cancel.clone() };
        let embedding = ask(deadline, cancel, "embedder", self.embedding.send(embed)).await?;
        let embedded = Instant::now();
        let SearchScope { top_k, context_chars, documents } = scope.clone();
        let query = SearchQuery { text: text.clone(), embedding, top_k, context_chars, documents };
        let search = Search { query, deadline, cancel: cancel.clone() };
        let found = ask(deadline, cancel, "retriever", self.retriever.send(search)).await?;
        Ok(Retrieved {
            question: text,
            was_rewritten: false,
            passages: found.passages,
            relevance: found.relevance,
            embed: embedded - start,
            retrieve: embedded.elapsed(),
        })
    }
}

/// An actor's answer, within the time allowed. Actors keep the deadline themselves; this one is for an actor that does not answer.
pub(crate) async fn ask<T>(
    deadline: Deadline,
    cancel: &CancelToken,
    who: &str,
    sent: impl Future<Output = Result<Result<T, TurnError>, MailboxError>>,
) -> Result<T, TurnError> {
    let answer = deadline.or_cancelled(cancel, &format!("while the {who} was asked"), sent).await?;
    answer.unwrap_or_else(|_| Err(gone(who)))
}

fn gone(what: &str) -> TurnError {
    TurnError::new(ErrorCode::Unavailable, format!("the {what} is not there, try again"))
        .retry_after(Duration::from_secs(1))
}
