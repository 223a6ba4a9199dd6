//! The embedding pool: worker threads with one embedder each, and the actor in front of them.
//!
//! The actor decides who gets in (a bounded queue, questions before bulk work) and waits with a deadline; the threads only
//! embed. Ingest uses the pool without the actor, waiting for room instead of being refused.

use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Context, Handler, Message, ResponseFuture, Supervised};
use tokio::sync::oneshot;

use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::domain::{Embedding, EngineError, ErrorCode, TurnError};
use crate::health::Pulse;
use crate::ports::{Embedder, Factory};
use crate::queue::{JobQueue, Lane, Rejected};
use crate::telemetry::{Measurement, Telemetry};
use crate::workers::{RestartBudget, Starting, WorkerHealth, WorkerPool, WorkerSpec};

/// An embedder on its thread.
pub type BoxedEmbedder = Box<dyn Embedder>;

/// What an embedder says of itself once it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedderShape {
    /// Length of its vectors.
    pub dimension: usize,
    /// Longest text it reads, in its tokens.
    pub max_tokens: usize,
}

/// One batch for one worker.
struct EmbedJob {
    texts: Vec<String>,
    /// Its receiver being gone means that nobody wants the answer.
    reply: oneshot::Sender<Result<Vec<Embedding>, EngineError>>,
}

/// A handle on the workers' queue; clones share it.
#[derive(Clone)]
pub struct EmbeddingWorkers {
    queue: Arc<JobQueue<EmbedJob>>,
    health: Arc<WorkerHealth>,
    telemetry: Arc<dyn Telemetry>,
}

/// Workers whose embedders are being built.
pub struct StartingEmbeddingWorkers {
    starting: Starting<EmbedderShape>,
    queue: Arc<JobQueue<EmbedJob>>,
    telemetry: Arc<dyn Telemetry>,
}

impl StartingEmbeddingWorkers {
    /// Waits until every worker has its embedder.
    ///
    /// # Errors
    /// The first embedder's load failure.
    pub fn ready(self) -> Result<(EmbeddingWorkers, EmbedderShape, WorkerPool), EngineError> {
        let queue = self.queue.clone();
        let (pool, shape) = self.starting.ready().inspect_err(|_| queue.close())?;
        let workers = EmbeddingWorkers { queue: self.queue, health: pool.health(), telemetry: self.telemetry };
        Ok((workers, shape, pool))
    }
}

impl EmbeddingWorkers {
    /// Starts `count` workers behind a queue of `capacity` places a lane.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the system refuses a thread.
    pub fn start(
        factory: &Factory<BoxedEmbedder>,
        count: usize,
        capacity: usize,
        budget: RestartBudget,
        telemetry: &Arc<dyn Telemetry>,
    ) -> Result<StartingEmbeddingWorkers, EngineError> {
        let queue = Arc::new(JobQueue::new(capacity));
        let describe = |embedder: &BoxedEmbedder| EmbedderShape {
            dimension: embedder.dimension(),
            max_tokens: embedder.max_tokens(),
        };
        let work = {
            let (queue, telemetry) = (queue.clone(), telemetry.clone());
            move |embedder: &mut BoxedEmbedder, pulse: &Arc<Pulse>| {
                embed_until_closed(&mut **embedder, &queue, telemetry.as_ref(), pulse);
                Ok(())
            }
        };
        let closed = queue.clone();
        let spec = WorkerSpec {
            name: "embed",
            count,
            budget,
            on_down: Arc::new(move || closed.close()),
            telemetry: telemetry.clone(),
        };
        let starting = WorkerPool::start(spec, factory, describe, work)?;
        Ok(StartingEmbeddingWorkers { starting, queue, telemetry: telemetry.clone() })
    }

    /// Hands a bulk batch to the workers, waiting for room; the answer comes on the receiver. For threads only.
    ///
    /// # Errors
    /// [`EngineError::WorkerLost`] when the pool is closed or down.
    pub fn submit_bulk(
        &self,
        texts: Vec<String>,
    ) -> Result<oneshot::Receiver<Result<Vec<Embedding>, EngineError>>, EngineError> {
        let lost = EngineError::WorkerLost("embed");
        if self.health.is_down() {
            return Err(lost);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.push(Lane::Bulk, EmbedJob { texts, reply }).map_err(|_| lost)?;
        Ok(answer)
    }

    /// The state of the threads.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// Takes no more work; the threads end after what they are doing.
    pub fn close(&self) {
        self.queue.close();
    }
}

fn embed_until_closed(
    embedder: &mut dyn Embedder,
    queue: &JobQueue<EmbedJob>,
    telemetry: &dyn Telemetry,
    pulse: &Arc<Pulse>,
) {
    while let Some(job) = queue.pop() {
        if job.reply.is_closed() {
            continue;
        }
        let (start, step) = (Instant::now(), pulse.begin());
        let result = embedder.embed(&job.texts);
        drop(step);
        telemetry.record(Measurement::Embedded { texts: job.texts.len(), took: start.elapsed() });
        // The caller may have left meanwhile; then nobody wants the answer.
        drop(job.reply.send(result));
    }
}

/// Stands in front of the workers for questions.
pub struct EmbeddingPoolActor {
    workers: EmbeddingWorkers,
}

impl EmbeddingPoolActor {
    /// An actor in front of running workers.
    #[must_use]
    pub fn new(workers: EmbeddingWorkers) -> Self {
        Self { workers }
    }
}

impl Actor for EmbeddingPoolActor {
    type Context = Context<Self>;
}

/// It holds nothing that a panic could leave half-way.
impl Supervised for EmbeddingPoolActor {}

/// Embeds one question.
#[derive(Message)]
#[rtype(result = "Result<Embedding, TurnError>")]
pub struct EmbedQuery {
    /// The question.
    pub text: String,
    /// Until when the answer is wanted.
    pub deadline: Deadline,
    /// Whether it is still wanted.
    pub cancel: CancelToken,
}

impl Handler<EmbedQuery> for EmbeddingPoolActor {
    type Result = ResponseFuture<Result<Embedding, TurnError>>;

    fn handle(&mut self, query: EmbedQuery, _: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        let admitted = self.admit(Lane::Interactive, EmbedJob { texts: vec![query.text], reply });
        Box::pin(async move {
            admitted?;
            let answer = query.deadline.or_cancelled(&query.cancel, "while the question was embedded", answer).await?;
            let vectors = answer.unwrap_or(Err(EngineError::WorkerLost("embed"))).map_err(unavailable)?;
            vectors.into_iter().next().ok_or_else(missing_vector)
        })
    }
}

/// Embeds a batch of texts that nobody waits for as for a question: questions go first.
#[derive(Message)]
#[rtype(result = "Result<Vec<Embedding>, TurnError>")]
pub struct EmbedTexts {
    /// So many as one job of a worker should have: a question waits for it to end.
    pub texts: Vec<String>,
    /// Until when the answer is wanted.
    pub deadline: Deadline,
    /// Whether it is still wanted.
    pub cancel: CancelToken,
}

impl Handler<EmbedTexts> for EmbeddingPoolActor {
    type Result = ResponseFuture<Result<Vec<Embedding>, TurnError>>;

    fn handle(&mut self, batch: EmbedTexts, _: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        let (wanted, admitted) = (batch.texts.len(), self.admit(Lane::Bulk, EmbedJob { texts: batch.texts, reply }));
        Box::pin(async move {
            admitted?;
            let answer = batch.deadline.or_cancelled(&batch.cancel, "while texts were embedded", answer).await?;
            let vectors = answer.unwrap_or(Err(EngineError::WorkerLost("embed"))).map_err(unavailable)?;
            if vectors.len() == wanted { Ok(vectors) } else { Err(missing_vector()) }
        })
    }
}

impl EmbeddingPoolActor {
    fn admit(&self, lane: Lane, job: EmbedJob) -> Result<(), TurnError> {
        if self.workers.health.is_down() {
            return Err(TurnError::new(ErrorCode::Unavailable, "the embedder is down"));
        }
        let queue = &self.workers.queue;
        let pushed = queue.try_push(lane, job);
        self.workers.telemetry.record(Measurement::EmbedQueueDepth(queue.len()));
        match pushed {
            Ok(_) => Ok(()),
            Err(Rejected::Full(_)) => {
                Err(TurnError::overloaded("the embedding queue", std::time::Duration::from_secs(1)))
            }
            Err(Rejected::Closed(_)) => Err(TurnError::new(ErrorCode::Unavailable, "the server is shutting down")),
        }
    }
}

fn missing_vector() -> TurnError {
    TurnError::new(ErrorCode::Internal, "the embedder gave no vector")
}

fn unavailable(error: EngineError) -> TurnError {
    tracing::warn!(%error, "embedding failed");
    TurnError::new(ErrorCode::Unavailable, "the text could not be embedded, try again")
        .retry_after(std::time::Duration::from_secs(1))
}
