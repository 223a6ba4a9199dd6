//! All conversations in memory: finds one by its id, wakes or makes it where there is none, and puts idle ones to sleep.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::Arc;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture, ResponseFuture,
    Supervised, WrapFuture,
};
use futures_util::future::LocalBoxFuture;
use std::time::{Duration, Instant, SystemTime};

use crate::admission::Admission;
use crate::conversation::{Close, ConversationActor, ConversationState, WhenAwake, no_conversation};
use crate::domain::{ConversationId, ErrorCode, Owner, TurnError};
use crate::queue::Lane;
use crate::storage::Storage;
use crate::supervision::Watchdog;
use crate::telemetry::Measurement;
use crate::turn::TurnServices;

/// How often idle conversations are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// How often old conversations are looked for, and how many go at once, so that turns can be stored in between.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3_600);
const RETENTION_BATCH: usize = 100;

/// A calendar that ran so much faster or slower than the time that passed is not believed when it says what is old.
const CLOCK_JUMP: Duration = Duration::from_secs(24 * 3_600);

/// What the configuration decides about conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationSettings {
    /// Most conversations in memory.
    pub limit: usize,
    /// One that was idle for so long is put to sleep.
    pub idle_after: Duration,
    /// How long they are kept after something last happened in them; `None` for ever.
    pub keep: Option<Duration>,
}

/// The directory of conversations.
pub struct ConversationsActor {
    services: TurnServices,
    admission: Admission,
    storage: Storage,
    settings: ConversationSettings,
    /// Over the conversations' actors.
    watchdog: Watchdog,
    open: HashMap<ConversationId, Conversation>,
    /// Being removed from the store: until that is done nobody may wake them with what is still there.
    going: HashSet<ConversationId>,
    /// When old ones were last looked for.
    looked: Option<Moment>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the calendar, which people and time servers set.
    pub date: SystemTime,
    /// By the clock that only ever goes forward.
    pub instant: Instant,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self { date: SystemTime::now(), instant: Instant::now() }
    }

    /// Whether the calendar was set since an earlier moment.
    fn jumped_since(self, earlier: Self) -> bool {
        let passed = self.instant.saturating_duration_since(earlier.instant);
        let expected = earlier.date + passed;
        let apart = self.date.duration_since(expected).unwrap_or_else(|behind| behind.duration());
        apart > CLOCK_JUMP
    }
}

/// A way to talk to one conversation; clones share it.
#[derive(Clone)]
pub struct Conversation {
    /// Its actor.
    pub actor: Addr<ConversationActor>,
    /// What can be seen of it without asking.
    pub state: Arc<ConversationState>,
}

impl Conversation {
    fn idle_for(&self) -> Option<Duration> {
        if self.state.is_busy() { None } else { self.state.log.unwatched_since().map(|since| since.elapsed()) }
    }

    /// Waits until it knows what the store has of it.
    async fn awake(self, owner: Option<Owner>) -> Result<Self, TurnError> {
        self.actor.send(WhenAwake { owner }).await.unwrap_or_else(|_| Err(gone()))?;
        Ok(self)
    }
}

fn gone() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the conversation is not there, try again")
        .retry_after(Duration::from_secs(1))
}

fn being_deleted() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the conversation is being deleted, try again")
        .retry_after(Duration::from_secs(1))
}

impl ConversationsActor {
    /// An empty directory.
    #[must_use]
    pub fn new(services: TurnServices, admission: Admission, storage: Storage, settings: ConversationSettings) -> Self {
        let watchdog = Watchdog::of_many("conversation", &services.telemetry);
        Self {
            services,
            admission,
            storage,
            settings,
            watchdog,
            open: HashMap::new(),
            going: HashSet::new(),
            looked: None,
        }
    }

    fn find_or_wake(&mut self, id: &ConversationId, owner: &Option<Owner>) -> Result<Conversation, TurnError> {
        if self.going.contains(id) {
            return Err(being_deleted());
        }
        // An actor that could not wake, or spent its restarts, is replaced; who reads its log goes on with that.
        let state = match self.open.get(id) {
            Some(found) if found.actor.connected() => {
                found.state.log.touch();
                return Ok(found.clone());
            }
            Some(ended) => ended.state.clone(),
            None => {
                self.make_room()?;
                Arc::new(ConversationState::default())
            }
        };
        let conversation = ConversationActor::new(
            id.clone(),
            owner.clone(),
            self.services.clone(),
            self.admission.clone(),
            self.storage.clone(),
            state.clone(),
        );
        let made = Conversation { actor: self.watchdog.start(conversation), state };
        self.open.insert(id.clone(), made.clone());
        self.count();
        Ok(made)
    }

    /// Puts the conversation to sleep that has been idle for longest when every place is taken.
    fn make_room(&mut self) -> Result<(), TurnError> {
        if self.open.len() < self.settings.limit {
            return Ok(());
        }
        let idle = self.open.iter().filter_map(|(id, open)| open.idle_for().map(|idle| (idle, id.clone())));
        let Some((_, longest)) = idle.max_by_key(|(idle, _)| *idle) else {
            return Err(TurnError::overloaded("the list of conversations", Duration::from_secs(30)));
        };
        self.put_to_sleep(&longest);
        Ok(())
    }

    fn sweep(&mut self) {
        let tired = |open: &Conversation| open.idle_for().is_some_and(|idle| idle >= self.settings.idle_after);
        let gone: Vec<ConversationId> =
            self.open.iter().filter(|(_, open)| tired(open)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.put_to_sleep(id));
    }

    fn put_to_sleep(&mut self, id: &ConversationId) {
        if let Some(gone) = self.open.remove(id) {
            // A mailbox that is full or closed belongs to an actor that ends by itself once its last address is dropped.
            drop(gone.actor.try_send(Close));
        }
        self.count();
    }

    fn count(&self) {
        self.services.telemetry.record(Measurement::ConversationsActive(self.open.len()));
    }

    /// Takes a conversation out, to be removed from the store. Its state is used no more: who reads its log reads of what is gone.
    fn take_out(&mut self, id: &ConversationId) -> Option<Conversation> {
        self.going.insert(id.clone());
        let taken = self.open.remove(id);
        self.count();
        taken
    }

    fn look_for_old(&mut self, ctx: &mut Context<Self>) {
        let looking = self.forget_before(Moment::now(), ctx);
        ctx.spawn(looking.into_actor(self).map(|_, _, _| ()));
    }

    /// Forgets what is older than the configuration allows; nothing when the calendar was set meanwhile: a wrong date, once put
    /// right, must not have cost every conversation.
    fn forget_before(&mut self, now: Moment, ctx: &Context<Self>) -> LocalBoxFuture<'static, usize> {
        let looked = self.looked.replace(now);
        if looked.is_some_and(|looked| now.jumped_since(looked)) {
            tracing::warn!("the date has jumped by more than a day: old conversations are not looked for this time");
            return Box::pin(ready(0));
        }
        // Longer than there are dates: for ever.
        match self.settings.keep.and_then(|keep| now.date.checked_sub(keep)) {
            Some(before) => self.forget_old(before, ctx),
            None => Box::pin(ready(0)),
        }
    }

    /// Forgets conversations that are kept long enough, some at a time; how many it were.
    fn forget_old(&self, before: SystemTime, ctx: &Context<Self>) -> LocalBoxFuture<'static, usize> {
        let (storage, directory) = (self.storage.clone(), ctx.address());
        Box::pin(async move {
            let mut all = 0;
            // What fails is logged where it does; the next time is soon enough.
            while let Ok(old) =
                storage.run(Lane::Bulk, move |store| store.unchanged_since(before, RETENTION_BATCH)).await
                && let Ok(Ok(removed)) = directory.send(Remove { old, before }).await
                && removed > 0
            {
                all += removed;
            }
            if all > 0 {
                tracing::info!(conversations = all, "old conversations were forgotten");
            }
            all
        })
    }
}

impl Actor for ConversationsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SWEEP_INTERVAL, |conversations, ctx| {
            conversations.sweep();
            let storage = conversations.storage.clone();
            // Logged where it fails; the next time is soon enough.
            let probing = async move { storage.probe().await.unwrap_or_default() };
            ctx.spawn(probing.into_actor(conversations));
        });
        ctx.run_interval(RETENTION_INTERVAL, |conversations, ctx| conversations.look_for_old(ctx));
        self.look_for_old(ctx);
    }
}

/// What it knows of open conversations outlives a panic, so that none gets a second actor: they are added and removed as wholes.
impl Supervised for ConversationsActor {
    /// Nobody waits any more for removals that were under way.
    fn restarting(&mut self, _: &mut Self::Context) {
        self.going.clear();
    }
}

/// Finds a conversation, wakes it or makes it.
#[derive(Message)]
#[rtype(result = "Result<Conversation, TurnError>")]
pub struct Open {
    /// Which.
    pub id: ConversationId,
    /// Who wants it: a conversation of somebody else is `not_found`.
    pub owner: Option<Owner>,
}

impl Handler<Open> for ConversationsActor {
    type Result = ResponseFuture<Result<Conversation, TurnError>>;

    fn handle(&mut self, Open { id, owner }: Open, _: &mut Self::Context) -> Self::Result {
        let found = self.find_or_wake(&id, &owner);
        Box::pin(async move { found?.awake(owner).await })
    }
}

/// Forgets a conversation for good. A running turn of it ends with an error.
#[derive(Message)]
#[rtype(result = "Result<(), TurnError>")]
pub struct Delete {
    /// Which.
    pub id: ConversationId,
    /// Who wants it: a conversation of somebody else is `not_found`.
    pub owner: Option<Owner>,
}

impl Handler<Delete> for ConversationsActor {
    type Result = ResponseActFuture<Self, Result<(), TurnError>>;

    fn handle(&mut self, Delete { id, owner }: Delete, _: &mut Self::Context) -> Self::Result {
        let found = self.find_or_wake(&id, &owner);
        let finding = async move { found?.awake(owner).await };
        Box::pin(finding.into_actor(self).then(move |found, conversations, _| {
            // Somebody else may have begun to delete it meanwhile.
            let is_going = conversations.going.contains(&id);
            let found =
                found.and_then(|_| if is_going { Err(being_deleted()) } else { Ok(conversations.take_out(&id)) });
            let (storage, removed) = (conversations.storage.clone(), id.clone());
            let removing = async move {
                close(found?).await;
                let result = storage.run(Lane::Interactive, move |store| store.remove(&removed)).await;
                Ok(result)
            };
            removing.into_actor(conversations).map(move |removed: Result<_, TurnError>, conversations, _| {
                let removed = removed?;
                conversations.going.remove(&id);
                if removed? { Ok(()) } else { Err(no_conversation(&id)) }
            })
        }))
    }
}

/// Ends a conversation's actor, so that nothing of it is stored afterwards. One that is gone already is as good.
async fn close(conversation: Option<Conversation>) {
    if let Some(conversation) = conversation {
        let _closed = conversation.actor.send(Close).await;
    }
}

/// Forgets old conversations now, as is done every hour; how many it were.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct ForgetOld(pub Moment);

impl Handler<ForgetOld> for ConversationsActor {
    type Result = ResponseFuture<usize>;

    fn handle(&mut self, ForgetOld(now): ForgetOld, ctx: &mut Self::Context) -> Self::Result {
        self.forget_before(now, ctx)
    }
}

/// Removes those of some old conversations in which nothing happens.
#[derive(Message)]
#[rtype(result = "Result<usize, TurnError>")]
struct Remove {
    old: Vec<ConversationId>,
    before: SystemTime,
}

impl Handler<Remove> for ConversationsActor {
    type Result = ResponseActFuture<Self, Result<usize, TurnError>>;

    fn handle(&mut self, Remove { mut old, before }: Remove, _: &mut Self::Context) -> Self::Result {
        let is_busy = |open: &Conversation| open.state.is_busy();
        old.retain(|id| !self.going.contains(id) && !self.open.get(id).is_some_and(is_busy));
        let taken: Vec<_> = old.iter().filter_map(|id| self.take_out(id)).collect();
        let (storage, ids) = (self.storage.clone(), old.clone());
        let removing = async move {
            for conversation in taken {
                close(Some(conversation)).await;
            }
            storage.run(Lane::Bulk, move |store| store.remove_unchanged(&ids, before)).await
        };
        Box::pin(removing.into_actor(self).map(move |removed, conversations, _| {
            conversations.going.retain(|id| !old.contains(id));
            removed
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_that_was_set_is_noticed_and_one_that_goes_with_the_time_is_not() {
        let start = Moment::now();
        let hour = Duration::from_secs(3_600);
        let later = |by_date: Duration, by_instant: Duration| Moment {
            date: start.date + by_date,
            instant: start.instant + by_instant,
        };
        assert!(!later(hour, hour).jumped_since(start));
        assert!(!later(hour * 24 * 30, hour * 24 * 30).jumped_since(start), "a machine that was busy for long");
        assert!(later(hour * 26, hour).jumped_since(start));
        assert!(later(Duration::ZERO, hour * 25).jumped_since(start), "set back");
    }
}
