//! Under a parent that starts the server again: ends a process that cannot help itself any more. Nothing inside it can end a thread
//! that hangs in a foreign library, or bring back an actor whose restarts are used up.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use mentor_actors::workers::WorkerHealth;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// A step that takes so many times what readiness allows never ends.
const HANGS: u32 = 4;

/// A thread that looks; it ends when this is dropped.
pub struct Rescue {
    _end: SyncSender<()>,
}

impl Rescue {
    /// Looks after these workers and actors from now on.
    ///
    /// # Errors
    /// When the operating system refuses the thread.
    pub fn start(workers: Vec<Arc<WorkerHealth>>, step_deadline: Duration) -> std::io::Result<Self> {
        let (end, ended) = sync_channel(0);
        let look = move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if let Some(reason) = hopeless(&workers, Instant::now(), step_deadline) {
                    tracing::error!(reason, "this process cannot go on and ends, to be started again");
                    end_process();
                }
            }
        };
        std::thread::Builder::new().name("rescue".into()).spawn(look)?;
        Ok(Self { _end: end })
    }
}

/// Without unwinding or waiting: what hangs would hold both up. Never called but under a parent that starts the server again.
#[allow(clippy::disallowed_methods)] // the one place where the process is lost on purpose
fn end_process() -> ! {
    std::process::abort()
}

/// What only a new process mends, if anything is so.
fn hopeless(workers: &[Arc<WorkerHealth>], now: Instant, step_deadline: Duration) -> Option<String> {
    let hangs = step_deadline.saturating_mul(HANGS);
    workers.iter().find_map(|health| {
        let is_stuck = health.pulse().longest(now).is_some_and(|longest| longest > hangs);
        // One that could never begin is no loss: searches go on as without a parent, and readiness tells.
        let is_lost = health.wanted() == 1 && health.is_down() && !health.never_began();
        if is_stuck || is_lost { health.problem(now, hangs) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use mentor_actors::domain::EngineError;
    use mentor_actors::ports::Factory;
    use mentor_actors::telemetry::Silent;
    use mentor_actors::workers::{RestartBudget, WorkerPool, WorkerSpec};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn a_step_that_never_ends_is_hopeless_and_a_long_one_is_not() {
        let health = Arc::new(WorkerHealth::new("generate", 0));
        let _step = health.pulse().begin();
        let after =
            |seconds| hopeless(std::slice::from_ref(&health), Instant::now() + Duration::from_secs(seconds), DEADLINE);
        assert_eq!(after(119), None);
        assert_eq!(after(121).as_deref(), Some("generate: at one step for 121 s"));
    }

    /// The health of a worker of which there is one, once it is down for good.
    fn down(factory: &Factory<()>) -> Arc<WorkerHealth> {
        let (down, is_down) = sync_channel(1);
        let spec = WorkerSpec {
            name: "test",
            count: 1,
            budget: RestartBudget { restarts: 0, ..RestartBudget::default() },
            on_down: Arc::new(move || down.send(()).unwrap()),
            telemetry: Arc::new(Silent),
        };
        let started = WorkerPool::start(spec, factory, |()| (), |(), _| panic!("told to")).unwrap();
        is_down.recv_timeout(DEADLINE).unwrap();
        started.health()
    }

    #[test]
    fn the_only_one_of_its_kind_whose_restarts_are_used_up_is_hopeless() {
        let health = down(&(Arc::new(|| Ok(())) as Factory<()>));
        let told = hopeless(&[health], Instant::now(), DEADLINE);
        assert_eq!(told.as_deref(), Some("test: 0 of 1 up (restarts used up, lost by a panic)"));
        let many = Arc::new(WorkerHealth::new("conversation", 0));
        assert_eq!(hopeless(&[many], Instant::now(), DEADLINE), None, "of these there may be none");
    }

    #[test]
    fn one_that_never_began_is_not_hopeless() {
        let health = down(&(Arc::new(|| Err(EngineError::Load("the file is damaged".into()))) as Factory<()>));
        assert!(health.is_down());
        assert_eq!(hopeless(&[health], Instant::now(), DEADLINE), None);
    }
}
