//! Reranking: a model that reads question and passage looks a second time at what the search found.
//!
//! It only improves an order, so nothing waits for it long, and whatever happens to it, the search's own order is still there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::domain::{EngineError, Found, ScoredPassage};
use crate::health::Pulse;
use crate::ports::{Factory, Reranker, SearchQuery};
use crate::queue::{JobQueue, Lane};
use crate::telemetry::{Measurement, Reranked, Telemetry};
use crate::workers::{RestartBudget, Starting, WorkerHealth, WorkerPool, WorkerSpec};

/// How much a reranker is given to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RerankSettings {
    /// Passages of a question that it reads, unless more are wanted.
    pub passages: usize,
    /// Questions that may wait for it; more keep the order of the search.
    pub queue: usize,
    /// Longest that a question waits for a better order.
    pub patience: Duration,
}

/// A reranker on its thread.
pub type BoxedReranker = Box<dyn Reranker>;

/// Passages of one question.
struct RerankJob {
    question: String,
    passages: Vec<ScoredPassage>,
    /// Its receiver being gone means that nobody wants the answer.
    reply: oneshot::Sender<Result<Vec<f32>, EngineError>>,
}

/// A handle on the worker's queue; clones share it.
#[derive(Clone)]
pub struct Reranking {
    queue: Arc<JobQueue<RerankJob>>,
    health: Arc<WorkerHealth>,
    telemetry: Arc<dyn Telemetry>,
    settings: RerankSettings,
}

/// A worker whose reranker is being built.
pub struct StartingReranking {
    starting: Starting<()>,
    queue: Arc<JobQueue<RerankJob>>,
    telemetry: Arc<dyn Telemetry>,
    settings: RerankSettings,
}

impl StartingReranking {
    /// Waits until the worker has its reranker.
    ///
    /// # Errors
    /// The reranker's load failure.
    pub fn ready(self) -> Result<(Reranking, WorkerPool), EngineError> {
        let Self { starting, queue, telemetry, settings } = self;
        let (pool, ()) = starting.ready().inspect_err(|_| queue.close())?;
        Ok((Reranking { queue, health: pool.health(), telemetry, settings }, pool))
    }
}

impl Reranking {
    /// Starts the worker behind its queue.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the system refuses a thread.
    pub fn start(
        factory: &Factory<BoxedReranker>,
        settings: RerankSettings,
        budget: RestartBudget,
        telemetry: &Arc<dyn Telemetry>,
    ) -> Result<StartingReranking, EngineError> {
        let queue = Arc::new(JobQueue::new(settings.queue));
        let work = {
            let queue = queue.clone();
            move |reranker: &mut BoxedReranker, pulse: &Arc<Pulse>| {
                rerank_until_closed(&mut **reranker, &queue, pulse);
                Ok(())
            }
        };
        let closed = queue.clone();
        let spec = WorkerSpec {
            name: "rerank",
            count: 1,
            budget,
            on_down: Arc::new(move || closed.close()),
            telemetry: telemetry.clone(),
        };
        let starting = WorkerPool::start(spec, factory, |_: &BoxedReranker| (), work)?;
        Ok(StartingReranking { starting, queue, telemetry: telemetry.clone(), settings })
    }

    /// The state of the thread.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// Takes no more work; the thread ends after what it is doing.
    pub fn close(&self) {
        self.queue.close();
    }

    /// The search that finds the passages to look at, each with as much context as it would have had.
    pub(crate) fn widen(&self, query: &SearchQuery) -> SearchQuery {
        let top_k = query.top_k.max(self.settings.passages);
        let context_chars = query.context_chars * top_k / query.top_k.max(1);
        SearchQuery { top_k, context_chars, ..query.clone() }
    }

    /// The best `top_k` of what the widened search found, in a better order and with the reranker's scores where there is one.
    /// How likely there is an answer at all stays what the search said.
    pub(crate) async fn rerank(&self, query: &SearchQuery, mut found: Found) -> Found {
        if found.passages.is_empty() {
            return found;
        }
        let start = Instant::now();
        let outcome = match self.score(&query.text, &found.passages).await {
            Ok(scores) => {
                for (passage, score) in found.passages.iter_mut().zip(scores) {
                    passage.score = score;
                }
                // Stable: of equal ones the search's better one stays first.
                found.passages.sort_by(|a, b| b.score.total_cmp(&a.score));
                Reranked::Better
            }
            Err(outcome) => outcome,
        };
        found.passages.truncate(query.top_k);
        self.telemetry.record(Measurement::Reranked { outcome, took: start.elapsed() });
        found
    }

    async fn score(&self, question: &str, found: &[ScoredPassage]) -> Result<Vec<f32>, Reranked> {
        let (reply, answer) = oneshot::channel();
        let job = RerankJob { question: question.to_owned(), passages: found.to_vec(), reply };
        self.queue.try_push(Lane::Interactive, job).map_err(|_| Reranked::Busy)?;
        let answer = tokio::time::timeout(self.settings.patience, answer).await.map_err(|_| Reranked::Late)?;
        match answer.unwrap_or(Err(EngineError::WorkerLost("rerank"))) {
            Ok(scores) if scores.len() == found.len() && scores.iter().all(|score| score.is_finite()) => Ok(scores),
            Ok(scores) => {
                tracing::warn!(passages = found.len(), scores = scores.len(), "the reranker's scores make no sense");
                Err(Reranked::Failed)
            }
            Err(error) => {
                tracing::warn!(%error, "reranking failed");
                Err(Reranked::Failed)
            }
        }
    }
}

fn rerank_until_closed(reranker: &mut dyn Reranker, queue: &JobQueue<RerankJob>, pulse: &Arc<Pulse>) {
    while let Some(job) = queue.pop() {
        if job.reply.is_closed() {
            continue;
        }
        let step = pulse.begin();
        let scores = reranker.score(&job.question, &job.passages);
        drop(step);
        // The caller may have lost its patience meanwhile; then nobody wants the answer.
        drop(job.reply.send(scores));
    }
}
