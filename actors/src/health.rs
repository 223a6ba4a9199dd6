//! What can be known of workers and actors from outside: whether they are up, why one was lost, and whether one hangs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a worker or an actor was lost: the word in metrics and in readiness, and what is for operators alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The kind of reason; names nothing of the machine.
    pub cause: LossCause,
    /// The error or the panic's text; may name files.
    pub reason: String,
}

/// What kind of reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// A panic.
    Panic,
    /// The engine said that it cannot go on.
    Engine,
    /// The engine could not be built, to begin with or again.
    Load,
}

impl LossCause {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Engine => "engine",
            Self::Load => "load",
        }
    }
}

/// What the rest of the program may know of the threads of a pool, or of an actor.
#[derive(Debug)]
pub struct WorkerHealth {
    name: &'static str,
    /// How many there must be for the program to be ready.
    wanted: usize,
    alive: AtomicUsize,
    given_up: AtomicUsize,
    restarts: AtomicU64,
    last: Mutex<Option<Loss>>,
    pulse: Arc<Pulse>,
}

impl WorkerHealth {
    /// Of workers that are about to start.
    #[must_use]
    pub fn new(name: &'static str, wanted: usize) -> Self {
        Self {
            name,
            wanted,
            alive: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            restarts: AtomicU64::new(0),
            last: Mutex::new(None),
            pulse: Arc::default(),
        }
    }

    /// Their name in the log, in metrics and in readiness.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many there should be.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// `None` when all are up and none has been at one step for longer than `step_deadline`; else what is wrong, for anybody.
    /// The reason is in [`Self::last_failure`] and in the log.
    #[must_use]
    pub fn problem(&self, now: Instant, step_deadline: Duration) -> Option<String> {
        let (name, alive, wanted) = (self.name, self.alive.load(Ordering::Acquire), self.wanted);
        if alive < wanted {
            let state = if self.given_up.load(Ordering::Acquire) > 0 { "restarts used up" } else { "starting" };
            let last = self.last().as_ref().map_or("", |loss| match loss.cause {
                LossCause::Panic => ", lost by a panic",
                LossCause::Engine => ", its engine failed",
                LossCause::Load => ", its engine could not be loaded",
            });
            return Some(format!("{name}: {alive} of {wanted} up ({state}{last})"));
        }
        let stalled = self.pulse.longest(now).filter(|longest| *longest > step_deadline)?;
        Some(format!("{name}: at one step for {} s", stalled.as_secs()))
    }

    /// Why one was lost most recently, for operators.
    #[must_use]
    pub fn last_failure(&self) -> Option<String> {
        self.last().as_ref().map(|loss| loss.reason.clone())
    }

    /// Whether none is left that could ever do a job.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.given_up.load(Ordering::Acquire) >= self.wanted
    }

    /// Whether its engine could not be built to begin with. (Whoever lost one has a loss of another kind, or was restarted.)
    #[must_use]
    pub fn never_began(&self) -> bool {
        self.restarts() == 0 && self.last().as_ref().is_some_and(|loss| loss.cause == LossCause::Load)
    }

    /// How often one was rebuilt.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Where its steps are noted.
    #[must_use]
    pub fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    pub(crate) fn came_up(&self) {
        self.alive.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn went_down(&self) {
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn was_lost(&self, loss: Loss) {
        *self.last() = Some(loss);
    }

    pub(crate) fn restarts_once(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// One will not come back; whether it was the last.
    pub(crate) fn gives_up(&self) -> bool {
        self.given_up.fetch_add(1, Ordering::AcqRel) + 1 == self.wanted
    }

    fn last(&self) -> MutexGuard<'_, Option<Loss>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes when pieces of work began, so that one which never ends is seen: a thread that hangs in a foreign library cannot say so
/// itself, and nobody can end it.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Vec<Instant>>);

impl Pulse {
    /// A piece of work begins now and lasts until the step is dropped, by a panic too.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Step {
        self.begin_at(Instant::now())
    }

    fn begin_at(self: &Arc<Self>, began: Instant) -> Step {
        self.running().push(began);
        Step { pulse: self.clone(), began }
    }

    /// How long the piece of work has taken that began first.
    #[must_use]
    pub fn longest(&self, now: Instant) -> Option<Duration> {
        self.running().iter().min().map(|began| now.saturating_duration_since(*began))
    }

    /// As many as there are threads, or searches at once: a handful.
    fn running(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of work that is being done.
#[derive(Debug)]
pub struct Step {
    pulse: Arc<Pulse>,
    began: Instant,
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut running = self.pulse.running();
        // Of two that began at the same moment either may go.
        if let Some(place) = running.iter().position(|began| *began == self.began) {
            running.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_step_beyond_the_deadline_is_told_with_its_time_until_it_ends() {
        let (health, start) = (WorkerHealth::new("generate", 1), Instant::now());
        health.came_up();
        let step = health.pulse().begin_at(start);
        assert_eq!(health.problem(start + DEADLINE, DEADLINE), None);
        let told = health.problem(start + DEADLINE + second(12), DEADLINE);
        assert_eq!(told.as_deref(), Some("generate: at one step for 42 s"));
        drop(step);
        assert_eq!(health.problem(start + DEADLINE + second(12), DEADLINE), None);
    }

    #[test]
    fn the_step_that_began_first_counts_and_a_panic_ends_its_own_alone() {
        let (pulse, start) = (Arc::<Pulse>::default(), Instant::now());
        let hanging = pulse.begin_at(start);
        let lost = {
            let pulse = pulse.clone();
            std::thread::spawn(move || {
                let _step = pulse.begin_at(start + second(1));
                panic!("told to");
            })
        };
        assert!(lost.join().is_err());
        let _later = pulse.begin_at(start + second(5));
        assert_eq!(pulse.longest(start + second(9)), Some(second(9)));
        drop(hanging);
        assert_eq!(pulse.longest(start + second(9)), Some(second(4)));
    }

    #[test]
    fn what_is_wrong_names_the_worker_and_the_kind_of_reason_but_not_the_reason() {
        let health = WorkerHealth::new("embed", 2);
        assert_eq!(health.problem(Instant::now(), DEADLINE).as_deref(), Some("embed: 0 of 2 up (starting)"));
        health.came_up();
        health.was_lost(Loss { cause: LossCause::Panic, reason: "/home/anna/model.onnx".into() });
        let told = health.problem(Instant::now(), DEADLINE).unwrap();
        assert_eq!(told, "embed: 1 of 2 up (starting, lost by a panic)");
        assert!(!health.gives_up() && !health.is_down(), "one of two is left");
        let told = health.problem(Instant::now(), DEADLINE).unwrap();
        assert_eq!(told, "embed: 1 of 2 up (restarts used up, lost by a panic)");
        assert_eq!(health.last_failure().as_deref(), Some("/home/anna/model.onnx"));
    }
}
