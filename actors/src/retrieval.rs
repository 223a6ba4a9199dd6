//! The retriever actor: bounds how many searches run at once, and how long each may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message, ResponseFuture, Supervised};
use tokio::sync::{Semaphore, oneshot};

use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::domain::{EngineError, ErrorCode, Found, TurnError};
use crate::health::Pulse;
use crate::ports::{Retriever, SearchQuery};
use crate::reranking::Reranking;
use crate::telemetry::{Measurement, Telemetry};

/// Stands in front of the store for questions.
pub struct RetrieverActor {
    store: Arc<dyn Retriever>,
    /// Searches that may run at once; more wait their turn.
    running: Arc<Semaphore>,
    /// Searches that may run or wait; more are refused.
    admitted: Arc<Semaphore>,
    /// Looks at what was found a second time.
    reranking: Option<Reranking>,
    telemetry: Arc<dyn Telemetry>,
    /// Where running searches are noted.
    pulse: Arc<Pulse>,
}

impl RetrieverActor {
    /// An actor in front of a store that runs `parallel` searches at once and lets `waiting` more wait.
    #[must_use]
    pub fn new(
        store: Arc<dyn Retriever>,
        parallel: usize,
        waiting: usize,
        telemetry: Arc<dyn Telemetry>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let (running, admitted) = (Semaphore::new(parallel), Semaphore::new(parallel + waiting));
        Self { store, running: Arc::new(running), admitted: Arc::new(admitted), reranking: None, telemetry, pulse }
    }

    /// The same, with a second look at what was found.
    #[must_use]
    pub fn reranked(self, reranking: Option<Reranking>) -> Self {
        Self { reranking, ..self }
    }
}

impl Actor for RetrieverActor {
    type Context = Context<Self>;
}

/// It holds nothing that a panic could leave half-way.
impl Supervised for RetrieverActor {}

/// Finds the passages nearest to a question.
#[derive(Message)]
#[rtype(result = "Result<Found, TurnError>")]
pub struct Search {
    /// What to find.
    pub query: SearchQuery,
    /// Until when the answer is wanted.
    pub deadline: Deadline,
    /// Whether it is still wanted.
    pub cancel: CancelToken,
}

impl Handler<Search> for RetrieverActor {
    type Result = ResponseFuture<Result<Found, TurnError>>;

    fn handle(&mut self, search: Search, _: &mut Self::Context) -> Self::Result {
        let Ok(admitted) = self.admitted.clone().try_acquire_owned() else {
            let full = TurnError::overloaded("the search queue", Duration::from_secs(1));
            return Box::pin(async move { Err(full) });
        };
        let (store, running, telemetry) = (self.store.clone(), self.running.clone(), self.telemetry.clone());
        let (reranking, pulse) = (self.reranking.clone(), self.pulse.clone());
        Box::pin(async move {
            let Search { query, deadline, cancel } = search;
            let work = async {
                let place = (running.acquire_owned().await, admitted);
                let (reply, answer) = oneshot::channel();
                let deeper = widened(reranking.as_ref(), &query);
                // A task of its own, for a search whose caller has left takes the store's time until it ends; and a panic is its own.
                actix::spawn(async move {
                    let (_place, _step) = (place, pulse.begin());
                    drop(reply.send(find(&*store, deeper, &*telemetry).await));
                });
                let found = answer.await.unwrap_or(Err(EngineError::WorkerLost("search"))).map_err(unavailable)?;
                // Others may search meanwhile.
                Ok(reranked(reranking.as_ref(), &query, found).await)
            };
            deadline.or_cancelled(&cancel, "during the search", work).await?
        })
    }
}

async fn find(store: &dyn Retriever, query: SearchQuery, telemetry: &dyn Telemetry) -> Result<Found, EngineError> {
    let start = Instant::now();
    let found = store.search(query).await?;
    let top_score = (!found.passages.is_empty()).then_some(found.relevance);
    telemetry.record(Measurement::Retrieved { took: start.elapsed(), top_score });
    Ok(found)
}

/// A search by itself: nothing else runs, and there is time enough.
///
/// # Errors
/// Those of the store.
pub async fn search(
    store: &Arc<dyn Retriever>,
    reranking: Option<&Reranking>,
    query: &SearchQuery,
) -> Result<Found, EngineError> {
    let found = store.search(widened(reranking, query)).await?;
    Ok(reranked(reranking, query, found).await)
}

fn widened(reranking: Option<&Reranking>, query: &SearchQuery) -> SearchQuery {
    reranking.map_or_else(|| query.clone(), |reranking| reranking.widen(query))
}

async fn reranked(reranking: Option<&Reranking>, query: &SearchQuery, found: Found) -> Found {
    match reranking {
        Some(reranking) => reranking.rerank(query, found).await,
        None => found,
    }
}

fn unavailable(error: EngineError) -> TurnError {
    tracing::error!(%error, "search failed");
    TurnError::new(ErrorCode::Unavailable, "the course materials could not be searched, try again")
        .retry_after(Duration::from_secs(1))
}
