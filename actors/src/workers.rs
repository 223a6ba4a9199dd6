//! Worker threads: each owns an engine that its factory builds on the thread itself, and again after a panic.
//!
//! A pool is started, then asked whether it came up: a load failure is an error of the start, not of the first job.
//! A panic costs the job that was running (its reply is dropped, which the caller sees) and one restart of the budget;
//! when the budget is spent the worker stays down and readiness says so.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::EngineError;
pub use crate::health::WorkerHealth;
use crate::health::{Loss, LossCause, Pulse};
use crate::ports::Factory;
use crate::telemetry::{Measurement, Telemetry};

/// How often a worker may be rebuilt before it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBudget {
    /// Restarts allowed within the window.
    pub restarts: usize,
    /// Length of the window.
    pub window: Duration,
    /// Wait before the first rebuild; doubled with each restart in the window.
    pub backoff: Duration,
}

impl Default for RestartBudget {
    fn default() -> Self {
        Self { restarts: 10, window: Duration::from_secs(60), backoff: Duration::from_millis(20) }
    }
}

impl RestartBudget {
    /// Decides about a restart at `now`, given the former ones: the wait before it, or `None` when the budget is spent.
    #[must_use]
    pub fn admit(&self, former: &mut VecDeque<Instant>, now: Instant) -> Option<Duration> {
        while former.front().is_some_and(|at| now.duration_since(*at) > self.window) {
            former.pop_front();
        }
        if former.len() >= self.restarts {
            return None;
        }
        let doublings = u32::try_from(former.len()).unwrap_or(u32::MAX).min(6);
        former.push_back(now);
        Some(self.backoff * 2_u32.pow(doublings))
    }
}

/// Running threads with engines of type `E`.
pub struct WorkerPool {
    health: Arc<WorkerHealth>,
    threads: Vec<JoinHandle<()>>,
}

/// A pool whose engines are being built; `I` is what the first of them says of itself.
pub struct Starting<I> {
    pool: WorkerPool,
    reports: mpsc::Receiver<Result<I, EngineError>>,
}

impl<I> Starting<I> {
    /// The state of its threads, also when they never get ready.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.pool.health()
    }

    /// Waits until every engine is built.
    ///
    /// # Errors
    /// The first load failure; the other threads end by themselves when the queue closes.
    pub fn ready(self) -> Result<(WorkerPool, I), EngineError> {
        let mut first = None;
        for _ in 0..self.pool.health.wanted() {
            let lost = EngineError::WorkerLost(self.pool.health.name());
            let info = self.reports.recv().unwrap_or(Err(lost))?;
            first.get_or_insert(info);
        }
        let name = self.pool.health.name();
        let info = first.ok_or_else(|| EngineError::Load(format!("{name}: no workers configured")))?;
        Ok((self.pool, info))
    }
}

/// What kind of workers to start.
pub struct WorkerSpec {
    /// Their threads are named after it.
    pub name: &'static str,
    /// How many.
    pub count: usize,
    /// How often each may be rebuilt.
    pub budget: RestartBudget,
    /// Called when the last thread has given up: it closes the queue, so that nobody waits for an answer that can't come.
    pub on_down: Arc<dyn Fn() + Send + Sync>,
    /// Hears of restarts.
    pub telemetry: Arc<dyn Telemetry>,
}

impl WorkerPool {
    /// Starts `count` threads named `name-0`, `name-1`, ... Each builds its engine, reports `describe(&engine)`, then
    /// calls `work`, which returns when its queue is closed, or with an error when the engine is lost, and notes its steps.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the system refuses a thread.
    pub fn start<E, I>(
        spec: WorkerSpec,
        factory: &Factory<E>,
        describe: impl Fn(&E) -> I + Clone + Send + 'static,
        work: impl Fn(&mut E, &Arc<Pulse>) -> Result<(), EngineError> + Clone + Send + 'static,
    ) -> Result<Starting<I>, EngineError>
    where
        E: 'static,
        I: Send + 'static,
    {
        let WorkerSpec { name, count, budget, on_down, telemetry } = spec;
        let health = Arc::new(WorkerHealth::new(name, count));
        // One place for each worker's first report: sending never blocks.
        let (report, reports) = mpsc::sync_channel(count.max(1));
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (factory, health, telemetry) = (factory.clone(), health.clone(), telemetry.clone());
            let (describe, work, on_down, report) = (describe.clone(), work.clone(), on_down.clone(), report.clone());
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || {
                    // The first report is taken by `ready`; nobody listens to later ones.
                    let announce = move |result: Result<I, EngineError>| drop(report.try_send(result));
                    let life = || supervise(&health, &factory, &describe, &work, budget, telemetry.as_ref(), announce);
                    // A panic outside of all that a worker survives: better down and known to be than silently gone.
                    let gave_up = catch_unwind(AssertUnwindSafe(life)).unwrap_or(true);
                    if gave_up && health.gives_up() {
                        on_down();
                    }
                })
                .map_err(|error| EngineError::Load(format!("no thread for the {name} worker: {error}")))?;
            threads.push(thread);
        }
        Ok(Starting { pool: Self { health, threads }, reports })
    }

    /// The state of its threads.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// Waits for its threads to end. Close their queue first.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!(worker = self.health.name(), "a worker thread ended by a panic outside its job");
            }
        }
    }
}

/// Builds the engine and lets it work, again and again, until `work` returns by itself (false) or the budget is spent (true).
fn supervise<E, I>(
    health: &WorkerHealth,
    factory: &Factory<E>,
    describe: &impl Fn(&E) -> I,
    work: &impl Fn(&mut E, &Arc<Pulse>) -> Result<(), EngineError>,
    budget: RestartBudget,
    telemetry: &dyn Telemetry,
    announce: impl Fn(Result<I, EngineError>),
) -> bool {
    let (mut former, pulse) = (VecDeque::new(), health.pulse());
    let mut built_before = false;
    loop {
        // The engine is dropped after a panic and never used again, so a broken invariant inside it can't be seen.
        let build = || factory().map(|engine| (describe(&engine), engine));
        let built = catch_unwind(AssertUnwindSafe(build));
        let loss = match built.unwrap_or_else(|panic| Err(EngineError::Load(panic_message(&*panic)))) {
            Ok((info, mut engine)) => {
                announce(Ok(info));
                built_before = true;
                health.came_up();
                let worked = catch_unwind(AssertUnwindSafe(|| work(&mut engine, &pulse)));
                health.went_down();
                // What a panic left half-way may panic once more, and during the first one that would end the process.
                if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
                    tracing::error!(worker = health.name(), "an engine panicked when it was dropped");
                }
                match worked {
                    Ok(Ok(())) => return false,
                    Ok(Err(error)) => Loss { cause: LossCause::Engine, reason: error.to_string() },
                    Err(panic) => Loss { cause: LossCause::Panic, reason: panic_message(&*panic) },
                }
            }
            Err(error) if !built_before => {
                health.was_lost(Loss { cause: LossCause::Load, reason: error.to_string() });
                announce(Err(error));
                return true;
            }
            Err(error) => Loss { cause: LossCause::Load, reason: error.to_string() },
        };
        let cause = loss.cause.as_str();
        tracing::error!(worker = health.name(), cause, reason = loss.reason, "worker lost, rebuilding its engine");
        health.was_lost(loss);
        let Some(wait) = budget.admit(&mut former, Instant::now()) else {
            tracing::error!(worker = health.name(), "restart budget spent, worker stays down");
            return true;
        };
        health.restarts_once();
        telemetry.record(Measurement::WorkerRestarted { worker: health.name(), cause });
        std::thread::sleep(wait);
    }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::queue::{JobQueue, Lane};
    use crate::telemetry::Silent;

    fn spec(count: usize, budget: RestartBudget) -> WorkerSpec {
        WorkerSpec { name: "test", count, budget, on_down: Arc::new(|| ()), telemetry: Arc::new(Silent) }
    }

    #[test]
    fn the_budget_is_spent_by_restarts_close_together_and_refilled_by_time() {
        let budget = RestartBudget { restarts: 2, window: Duration::from_secs(10), backoff: Duration::from_millis(5) };
        let (mut former, start) = (VecDeque::new(), Instant::now());
        assert_eq!(budget.admit(&mut former, start), Some(Duration::from_millis(5)));
        assert_eq!(budget.admit(&mut former, start), Some(Duration::from_millis(10)));
        assert_eq!(budget.admit(&mut former, start), None);
        assert!(budget.admit(&mut former, start + Duration::from_secs(11)).is_some());
    }

    #[test]
    fn a_load_failure_is_an_error_of_the_start() {
        let factory: Factory<()> = Arc::new(|| Err(EngineError::Load("no model".into())));
        let started = WorkerPool::start(spec(2, RestartBudget::default()), &factory, |()| (), |(), _| Ok(()));
        assert_eq!(started.unwrap().ready().err(), Some(EngineError::Load("no model".into())));
    }

    #[test]
    fn a_panic_costs_one_job_and_the_next_is_done_by_a_rebuilt_engine() {
        let queue: Arc<JobQueue<(u32, mpsc::SyncSender<u32>)>> = Arc::new(JobQueue::new(4));
        let built = Arc::new(AtomicUsize::new(0));
        let factory: Factory<()> = {
            let built = built.clone();
            Arc::new(move || {
                built.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        };
        let work = {
            let queue = queue.clone();
            move |(): &mut (), _: &Arc<Pulse>| {
                while let Some((number, reply)) = queue.pop() {
                    assert_ne!(number, 13, "unlucky");
                    reply.send(number).unwrap();
                }
                Ok(())
            }
        };
        let budget = RestartBudget { backoff: Duration::ZERO, ..RestartBudget::default() };
        let (pool, ()) = WorkerPool::start(spec(1, budget), &factory, |()| (), work).unwrap().ready().unwrap();
        let ask = |number| {
            let (reply, answer) = mpsc::sync_channel(1);
            queue.try_push(Lane::Interactive, (number, reply)).unwrap();
            answer.recv().ok()
        };
        assert_eq!((ask(1), ask(13), ask(2)), (Some(1), None, Some(2)));
        assert_eq!((built.load(Ordering::SeqCst), pool.health().restarts()), (2, 1));
        assert_eq!(pool.health().problem(Instant::now(), Duration::MAX), None);
        queue.close();
        pool.join();
    }

    #[test]
    fn a_worker_that_keeps_dying_stays_down_and_says_why() {
        let factory: Factory<()> = Arc::new(|| Ok(()));
        let budget = RestartBudget { restarts: 3, backoff: Duration::ZERO, ..RestartBudget::default() };
        let queue: Arc<JobQueue<u32>> = Arc::new(JobQueue::new(1));
        queue.try_push(Lane::Bulk, 1).unwrap();
        let closed = queue.clone();
        let spec = WorkerSpec { on_down: Arc::new(move || closed.close()), ..spec(1, budget) };
        let started = WorkerPool::start(spec, &factory, |()| (), |(), _| panic!("hopeless"));
        let (pool, ()) = started.unwrap().ready().unwrap();
        let health = pool.health();
        assert_eq!(queue.push(Lane::Bulk, 2), Err(2), "a producer that waits for room is told");
        pool.join();
        assert_eq!(health.restarts(), 3);
        let told = health.problem(Instant::now(), Duration::MAX);
        assert_eq!(told.as_deref(), Some("test: 0 of 1 up (restarts used up, lost by a panic)"));
        assert_eq!(health.last_failure().as_deref(), Some("hopeless"));
    }
}
