//! A watchdog over actors: a panic in one costs the message at hand, and it begins anew behind the same address.
//!
//! actix drops an actor whose handler or future panics, and everybody who holds its address has lost it for good. Here the panic
//! ends where the actor is polled: its futures under way are dropped, [`Supervised::restarting`] puts it back to its beginning,
//! `started` runs again, and messages that wait in its mailbox are handled then. Whoever sent the message at hand is told that
//! nobody answers it. So there are never two of an actor, and callers keep the address they have.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::dev::ContextFut;
use actix::{Actor, Addr, Context, Supervised};

use crate::health::{Loss, LossCause, WorkerHealth};
use crate::telemetry::{Measurement, Telemetry};
use crate::workers::{RestartBudget, panic_message};

/// Starts actors that survive their panics, until the budget is spent; clones share what is known of them.
#[derive(Clone)]
pub struct Watchdog {
    health: Arc<WorkerHealth>,
    /// Of each actor. There is nothing to rebuild, so its waits are not kept.
    budget: RestartBudget,
    telemetry: Arc<dyn Telemetry>,
}

impl Watchdog {
    /// Over the one actor of that name: without it the program is not ready.
    #[must_use]
    pub fn of_one(name: &'static str, telemetry: &Arc<dyn Telemetry>) -> Self {
        Self::new(name, 1, telemetry)
    }

    /// Over actors of which any number may be there.
    #[must_use]
    pub fn of_many(name: &'static str, telemetry: &Arc<dyn Telemetry>) -> Self {
        Self::new(name, 0, telemetry)
    }

    fn new(name: &'static str, wanted: usize, telemetry: &Arc<dyn Telemetry>) -> Self {
        let health = Arc::new(WorkerHealth::new(name, wanted));
        Self { health, budget: RestartBudget::default(), telemetry: telemetry.clone() }
    }

    /// Starts an actor on the calling thread's arbiter.
    pub fn start<A: Supervised + Actor<Context = Context<A>>>(&self, actor: A) -> Addr<A> {
        let actor = Context::new().into_future(actor);
        let address = actor.address();
        self.health.came_up();
        actix::spawn(Watched { actor, former: VecDeque::new(), watchdog: self.clone() });
        address
    }

    /// The state of its actors.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// Decides whether an actor goes on after a panic.
    fn admits(&self, former: &mut VecDeque<Instant>, reason: String) -> bool {
        let (name, cause) = (self.health.name(), LossCause::Panic);
        tracing::error!(actor = name, reason, "an actor panicked");
        self.health.was_lost(Loss { cause, reason });
        if self.budget.admit(former, Instant::now()).is_none() {
            tracing::error!(actor = name, "restart budget spent, the actor stays down");
            return false;
        }
        self.health.restarts_once();
        self.telemetry.record(Measurement::WorkerRestarted { worker: name, cause: cause.as_str() });
        true
    }
}

/// One actor with its mailbox.
struct Watched<A: Actor<Context = Context<A>>> {
    actor: ContextFut<A, Context<A>>,
    former: VecDeque<Instant>,
    watchdog: Watchdog,
}

impl<A: Supervised + Actor<Context = Context<A>>> Future for Watched<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let Self { actor, former, watchdog } = self.get_mut();
        let mut polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *actor).poll(task)));
        // Each time around costs one restart of the budget.
        while let Err(panic) = polled {
            if !watchdog.admits(former, panic_message(&*panic)) {
                watchdog.health.gives_up();
                return Poll::Ready(());
            }
            // What the panic left half-way is dropped or put right by `restarting`, before anything looks at it.
            let go_on = || if actor.restart() { Pin::new(&mut *actor).poll(task) } else { Poll::Ready(()) };
            polled = catch_unwind(AssertUnwindSafe(go_on));
        }
        polled.unwrap_or(Poll::Ready(()))
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Watched<A> {
    fn drop(&mut self) {
        self.watchdog.health.went_down();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::{AsyncContext as _, Handler, Message, WrapFuture as _};

    use super::*;
    use crate::telemetry::Silent;

    /// Counts what it is told since its beginning.
    #[derive(Default)]
    struct Counter {
        begun: usize,
        told: usize,
    }

    impl Actor for Counter {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            self.begun += 1;
        }
    }

    impl Supervised for Counter {
        fn restarting(&mut self, _: &mut Self::Context) {
            self.told = 0;
        }
    }

    #[derive(Clone, Copy)]
    enum Tell {
        Count,
        Panic,
        PanicLater,
    }

    impl Message for Tell {
        type Result = (usize, usize);
    }

    impl Handler<Tell> for Counter {
        type Result = actix::MessageResult<Tell>;

        fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) -> Self::Result {
            self.told += 1;
            match tell {
                Tell::Count => {}
                Tell::Panic => panic!("told to"),
                Tell::PanicLater => {
                    ctx.spawn(async { panic!("told to") }.into_actor(self));
                }
            }
            actix::MessageResult((self.begun, self.told))
        }
    }

    fn watchdog() -> Watchdog {
        let telemetry: Arc<dyn Telemetry> = Arc::new(Silent);
        Watchdog::of_one("counter", &telemetry)
    }

    fn problem(watchdog: &Watchdog) -> Option<String> {
        watchdog.health().problem(Instant::now(), Duration::MAX)
    }

    #[actix::test]
    async fn after_a_panic_the_same_address_reaches_an_actor_that_began_anew() {
        let watchdog = watchdog();
        let counter = watchdog.start(Counter::default());
        assert_eq!(counter.send(Tell::Count).await.unwrap(), (1, 1));
        // All wait in its mailbox: the panic costs its own message alone.
        let (first, lost, next) =
            tokio::join!(counter.send(Tell::Count), counter.send(Tell::Panic), counter.send(Tell::Count));
        assert_eq!((first.unwrap(), lost.is_err(), next.unwrap()), ((1, 2), true, (2, 1)));
        assert_eq!((watchdog.health().restarts(), problem(&watchdog)), (1, None));
    }

    #[actix::test]
    async fn a_panic_in_a_future_of_the_actor_is_one_of_the_actor() {
        let watchdog = watchdog();
        let counter = watchdog.start(Counter::default());
        assert_eq!(counter.send(Tell::PanicLater).await.unwrap(), (1, 1));
        assert_eq!(counter.send(Tell::Count).await.unwrap(), (2, 1));
    }

    #[actix::test]
    async fn an_actor_that_panics_again_and_again_stays_down_and_says_so_at_once() {
        let watchdog = watchdog();
        let counter = watchdog.start(Counter::default());
        for _ in 0..100 {
            assert!(counter.send(Tell::Panic).await.is_err());
        }
        assert!(counter.send(Tell::Count).await.is_err());
        let told = problem(&watchdog).unwrap();
        assert_eq!(told, "counter: 0 of 1 up (restarts used up, lost by a panic)");
        assert_eq!(watchdog.health().restarts(), 10);
    }

    struct Hopeless;

    impl Actor for Hopeless {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            panic!("hopeless")
        }
    }

    impl Supervised for Hopeless {}

    impl Handler<Tell> for Hopeless {
        type Result = actix::MessageResult<Tell>;

        fn handle(&mut self, _: Tell, _: &mut Self::Context) -> Self::Result {
            actix::MessageResult((0, 0))
        }
    }

    #[actix::test]
    async fn an_actor_that_cannot_even_begin_ends() {
        let watchdog = watchdog();
        let hopeless = watchdog.start(Hopeless);
        assert!(hopeless.send(Tell::Count).await.is_err());
        assert!(watchdog.health().is_down());
    }
}
