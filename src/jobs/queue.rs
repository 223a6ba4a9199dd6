//! Which job is next, and the thread that runs them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mentor_actors::domain::{EngineError, ErrorCode, TurnError};
use mentor_actors::health::WorkerHealth;
use mentor_actors::ports::Factory;
use mentor_actors::queue::{JobQueue, Lane};
use mentor_actors::telemetry::Telemetry;
use mentor_actors::workers::{RestartBudget, WorkerPool, WorkerSpec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::job::{Job, Order};

/// Name of the thread, in the log, in metrics and in readiness.
const NAME: &str = "ingest";
/// Jobs that are remembered after their end, the newest of them.
const MAX_REMEMBERED: usize = 100;
/// A small document takes a second or so, a book a minute.
const COME_BACK_AFTER: Duration = Duration::from_secs(10);

/// Does what jobs are for, one after the other.
pub trait Runner: Send {
    /// Runs a job to its end, or until its token is cancelled.
    ///
    /// # Errors
    /// Why it could not go on, for people.
    fn run(&mut self, job: &Job) -> Result<(), TurnError>;
}

/// A place in the queue; free again when dropped, or when its job leaves the queue.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The jobs of a server; clones share them.
#[derive(Clone)]
pub struct Jobs {
    places: Arc<Semaphore>,
    queue: Arc<JobQueue<Arc<Job>>>,
    /// Oldest first.
    remembered: Arc<Mutex<VecDeque<Arc<Job>>>>,
}

/// The thread that runs them.
pub struct Worker {
    jobs: Jobs,
    health: Arc<WorkerHealth>,
    ended: Receiver<()>,
}

impl Jobs {
    /// Starts the thread. So many jobs may wait, uploads that are to become jobs included. A panic costs the job at hand; after too
    /// many of them no job is taken any more.
    ///
    /// # Errors
    /// When the operating system refuses the thread.
    pub fn start(
        runner: impl Runner + 'static,
        places: usize,
        telemetry: &Arc<dyn Telemetry>,
    ) -> Result<(Self, Worker), EngineError> {
        Self::start_within(RestartBudget::default(), runner, places, telemetry)
    }

    fn start_within(
        budget: RestartBudget,
        runner: impl Runner + 'static,
        places: usize,
        telemetry: &Arc<dyn Telemetry>,
    ) -> Result<(Self, Worker), EngineError> {
        let queue = Arc::new(JobQueue::new(places));
        let jobs = Self { places: Arc::new(Semaphore::new(places)), queue, remembered: Arc::default() };
        let (end, ended) = sync_channel(1);
        let (left, given_up) = (jobs.clone(), end.clone());
        let on_down = move || {
            left.close();
            // Nobody listens when the server did not wait for it, here and below.
            let _heard = given_up.try_send(());
        };
        let spec =
            WorkerSpec { name: NAME, count: 1, budget, on_down: Arc::new(on_down), telemetry: telemetry.clone() };
        // A runner keeps nothing between jobs that a panic could leave half done: the next thread's turn has the same one.
        let runner = Arc::new(Mutex::new(runner));
        let runners: Factory<Arc<Mutex<_>>> = Arc::new(move || Ok(runner.clone()));
        let queue = jobs.queue.clone();
        let work = move |runner: &mut Arc<Mutex<_>>, _: &Arc<_>| {
            while let Some(job) = queue.pop() {
                if job.begin() {
                    run(&mut *runner.lock().unwrap_or_else(PoisonError::into_inner), &job);
                }
            }
            let _heard = end.try_send(());
            Ok(())
        };
        let (pool, ()) = WorkerPool::start(spec, &runners, |_: &Arc<Mutex<_>>| (), work)?.ready()?;
        let worker = Worker { jobs: jobs.clone(), health: pool.health(), ended };
        Ok((jobs, worker))
    }

    /// Takes no job any more, and cancels those that there are.
    fn close(&self) {
        self.queue.close();
        for job in self.latest() {
            job.cancel();
        }
    }

    /// A place for a job, before anything is done for it.
    ///
    /// # Errors
    /// `overloaded` when too many wait already.
    pub fn reserve(&self) -> Result<Place, TurnError> {
        let permit = self.places.clone().try_acquire_owned();
        let permit = permit.map_err(|_| TurnError::overloaded("the queue of ingest jobs", COME_BACK_AFTER))?;
        Ok(Place { _permit: permit })
    }

    /// Puts a job into its place.
    ///
    /// # Errors
    /// `unavailable` when the server is stopping.
    pub fn submit(&self, order: Order, place: Place) -> Result<Arc<Job>, TurnError> {
        let job = Arc::new(Job::new(order, place));
        // Held meanwhile, so that whoever stops all jobs finds each that is in the queue.
        let mut remembered = self.lock();
        // There are as many places as the queue holds.
        self.queue.try_push(Lane::Bulk, job.clone()).map_err(|_| stopping())?;
        remembered.push_back(job.clone());
        while remembered.len() > MAX_REMEMBERED && remembered.front().is_some_and(|job| job.state().is_ended()) {
            remembered.pop_front();
        }
        Ok(job)
    }

    /// A job, as long as it is remembered.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().iter().find(|job| job.id() == id).cloned()
    }

    /// All that are remembered, the newest first.
    #[must_use]
    pub fn latest(&self) -> Vec<Arc<Job>> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// The state of the thread.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// Takes no more jobs, stops the running one and waits so long for it; whether it has ended by then. If not, its thread is
    /// left behind: the store is whole at every moment.
    #[must_use]
    pub fn stop(self, patience: Duration) -> bool {
        self.jobs.close();
        self.ended.recv_timeout(patience).is_ok()
    }
}

/// A panic ends the job, and is then the thread's own, which is counted and goes on.
fn run(runner: &mut impl Runner, job: &Job) {
    match catch_unwind(AssertUnwindSafe(|| runner.run(job))) {
        Ok(done) => job.end(done),
        Err(panic) => {
            tracing::error!(job = job.id(), "an ingest job panicked");
            job.end(Err(TurnError::new(ErrorCode::Internal, "the job failed for a fault of the server's")));
            resume_unwind(panic);
        }
    }
}

fn stopping() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the server is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{DocumentResult, Event, Stage, State};
    use mentor_actors::domain::DocumentId;
    use mentor_actors::telemetry::Silent;
    use std::sync::mpsc::{self, SyncSender};

    /// Longest that anything here waits.
    const PATIENCE: Duration = Duration::from_secs(20);

    const BUDGET: RestartBudget =
        RestartBudget { restarts: 3, window: Duration::from_secs(600), backoff: Duration::ZERO };

    /// Says that it began, and does what it is told next.
    struct Told {
        began: SyncSender<String>,
        orders: mpsc::Receiver<What>,
    }

    enum What {
        Succeed,
        Fail,
        Panic,
        WaitForCancel,
    }

    impl Runner for Told {
        fn run(&mut self, job: &Job) -> Result<(), TurnError> {
            self.began.send(job.id().to_owned()).unwrap();
            match self.orders.recv().unwrap() {
                What::Succeed => Ok(()),
                What::Fail => Err(TurnError::new(ErrorCode::Unavailable, "no")),
                What::Panic => panic!("told to"),
                What::WaitForCancel => {
                    while !job.cancel_token().is_cancelled() {
                        std::thread::yield_now();
                    }
                    Ok(())
                }
            }
        }
    }

    struct Scene {
        jobs: Jobs,
        worker: Worker,
        began: mpsc::Receiver<String>,
        tell: SyncSender<What>,
    }

    fn scene(places: usize) -> Scene {
        let ((began_in, began), (tell, orders)) = (sync_channel(16), sync_channel(16));
        let telemetry: Arc<dyn Telemetry> = Arc::new(Silent);
        let (jobs, worker) = Jobs::start_within(BUDGET, Told { began: began_in, orders }, places, &telemetry).unwrap();
        Scene { jobs, worker, began, tell }
    }

    impl Scene {
        fn submit(&self) -> Arc<Job> {
            self.jobs.submit(Order::Sync { retry: false }, self.jobs.reserve().unwrap()).unwrap()
        }

        fn began(&self) -> String {
            self.began.recv_timeout(PATIENCE).unwrap()
        }
    }

    async fn ended(job: &Job) -> State {
        let mut seq = 0;
        while let Some((next, _)) = tokio::time::timeout(PATIENCE, job.next(seq)).await.unwrap() {
            seq = next;
        }
        job.state()
    }

    #[tokio::test]
    async fn jobs_run_one_after_the_other_and_a_failure_or_a_panic_costs_its_own_alone() {
        let scene = scene(4);
        let jobs = [scene.submit(), scene.submit(), scene.submit()];
        for (job, (what, state)) in
            jobs.iter().zip([(What::Fail, State::Failed), (What::Panic, State::Failed), (What::Succeed, State::Done)])
        {
            assert_eq!(scene.began(), job.id());
            scene.tell.send(what).unwrap();
            assert_eq!(ended(job).await, state);
        }
        let codes: Vec<_> = jobs.iter().map(|job| job.snapshot().error.map(|error| error.code)).collect();
        assert_eq!(codes, [Some(ErrorCode::Unavailable), Some(ErrorCode::Internal), None]);
        assert_eq!(scene.jobs.latest()[0].id(), jobs[2].id());
        assert_eq!(scene.worker.health().restarts(), 1);
        assert!(scene.worker.stop(PATIENCE));
    }

    #[tokio::test]
    async fn after_too_many_panics_no_job_is_taken_and_that_can_be_seen() {
        let scene = scene(2);
        for _ in 0..=BUDGET.restarts {
            let job = scene.submit();
            scene.began();
            scene.tell.send(What::Panic).unwrap();
            assert_eq!(ended(&job).await, State::Failed);
        }
        let health = scene.worker.health();
        assert!(scene.worker.stop(PATIENCE));
        let told = health.problem(std::time::Instant::now(), Duration::MAX);
        assert_eq!(told.as_deref(), Some("ingest: 0 of 1 up (restarts used up, lost by a panic)"));
        let refused = scene.jobs.submit(Order::Sync { retry: false }, scene.jobs.reserve().unwrap()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable);
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_back_and_a_job_that_begins_or_a_place_given_up_makes_room() {
        let scene = scene(1);
        let first = scene.submit();
        assert_eq!(scene.began(), first.id());
        let place = scene.jobs.reserve().unwrap();
        let error = scene.jobs.reserve().unwrap_err();
        assert_eq!((error.code, error.retry_after), (ErrorCode::Overloaded, Some(COME_BACK_AFTER)));
        drop(place);
        let second = scene.submit();
        assert!(scene.jobs.reserve().is_err());
        scene.tell.send(What::Succeed).unwrap();
        assert_eq!(scene.began(), second.id());
        assert!(scene.jobs.reserve().is_ok());
        scene.tell.send(What::Succeed).unwrap();
        assert!(scene.worker.stop(PATIENCE));
    }

    #[tokio::test]
    async fn a_job_that_waits_is_cancelled_at_once_and_one_that_runs_as_soon_as_it_can() {
        let scene = scene(2);
        let (running, waiting) = (scene.submit(), scene.submit());
        scene.began();
        waiting.cancel();
        assert_eq!(waiting.state(), State::Cancelled);
        running.cancel();
        scene.tell.send(What::WaitForCancel).unwrap();
        assert_eq!(ended(&running).await, State::Cancelled);
        let third = scene.submit();
        assert_eq!(scene.began(), third.id(), "the cancelled one was passed over");
        scene.tell.send(What::Succeed).unwrap();
        assert_eq!(ended(&third).await, State::Done);
        third.cancel();
        assert_eq!(third.state(), State::Done);
        assert!(scene.worker.stop(PATIENCE));
    }

    #[tokio::test]
    async fn stopping_cancels_what_runs_and_what_waits_and_takes_nothing_new() {
        let scene = scene(2);
        let (running, waiting) = (scene.submit(), scene.submit());
        scene.began();
        scene.tell.send(What::WaitForCancel).unwrap();
        let place = scene.jobs.reserve().unwrap();
        assert!(scene.worker.stop(PATIENCE));
        assert_eq!((running.state(), waiting.state()), (State::Cancelled, State::Cancelled));
        let error = scene.jobs.submit(Order::Sync { retry: true }, place).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
    }

    #[tokio::test]
    async fn events_are_numbered_and_can_be_read_again_from_any_place() {
        let scene = scene(1);
        let job = scene.submit();
        scene.began();
        job.advance(|stages| stages.write = Stage { done: 0, total: 2 });
        job.document(DocumentId("a.md".into()), DocumentResult::Unchanged);
        scene.tell.send(What::Succeed).unwrap();
        assert_eq!(ended(&job).await, State::Done);
        let (third, fourth) = (job.next(2).await.unwrap(), job.next(3).await.unwrap());
        assert_eq!((third.0, fourth.0, job.snapshot().last_seq), (3, 4, 5));
        assert!(matches!(third.1, Event::Progress(stages) if stages.write.total == 2));
        assert!(matches!(fourth.1, Event::Document(outcome) if outcome.id.0 == "a.md"));
        assert_eq!(job.next(4).await, Some((5, Event::Ended)));
        assert_eq!(job.next(5).await, None);
        assert!(scene.worker.stop(PATIENCE));
    }

    #[tokio::test]
    async fn outcomes_beyond_what_is_remembered_are_counted() {
        let scene = scene(1);
        let job = scene.submit();
        for number in 0..1_001 {
            job.document(DocumentId(number.to_string()), DocumentResult::Removed);
        }
        let snapshot = job.snapshot();
        assert_eq!((snapshot.documents.len(), snapshot.counts.removed), (1_000, 1_001));
        scene.tell.send(What::Succeed).unwrap();
        assert!(scene.worker.stop(PATIENCE));
    }
}
