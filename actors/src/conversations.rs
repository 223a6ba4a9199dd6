//! All conversations in memory: finds one by its id, wakes or makes it where there is none, and puts idle ones to sleep.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture, ResponseFuture,
    Supervised, WrapFuture,
};
use futures_util::future::join_all;
use std::time::{Duration, SystemTime};

use crate::admission::Admission;
use crate::conversation::{Cancel, Close, ConversationActor, ConversationState, WhenAwake, no_conversation};
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

impl ConversationsActor {
    /// An empty directory.
    #[must_use]
    pub fn new(services: TurnServices, admission: Admission, storage: Storage, settings: ConversationSettings) -> Self {
        let watchdog = Watchdog::of_many("conversation", &services.telemetry);
        Self { services, admission, storage, settings, watchdog, open: HashMap::new() }
    }

    fn find_or_wake(&mut self, id: &ConversationId, owner: &Option<Owner>) -> Result<Conversation, TurnError> {
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

    /// Forgets conversations that are kept long enough.
    fn expire(&self, ctx: &mut Context<Self>) {
        let Some(keep) = self.settings.keep else { return };
        // Longer than there are dates: for ever.
        let Some(before) = SystemTime::now().checked_sub(keep) else { return };
        let storage = self.storage.clone();
        let expiring = async move {
            let mut all = 0;
            loop {
                let remove =
                    storage.run(Lane::Bulk, move |store| store.remove_unchanged_since(before, RETENTION_BATCH));
                match remove.await {
                    Ok(removed) => all += removed,
                    // Logged where it failed; the next time is soon enough.
                    Err(_) => return,
                }
                if all % RETENTION_BATCH != 0 || all == 0 {
                    break;
                }
            }
            if all > 0 {
                tracing::info!(conversations = all, "old conversations were forgotten");
            }
        };
        ctx.spawn(expiring.into_actor(self));
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
        ctx.run_interval(RETENTION_INTERVAL, |conversations, ctx| conversations.expire(ctx));
        self.expire(ctx);
    }
}

/// What it knows of open conversations outlives a panic, so that none gets a second actor: they are added and removed as wholes.
impl Supervised for ConversationsActor {}

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
        let storage = self.storage.clone();
        let removing = async move {
            let conversation = found?.awake(owner).await?;
            // Its actor goes first, so that nothing of it is stored afterwards. One that is gone already is as good.
            let _closed = conversation.actor.send(Close).await;
            let stored = id.clone();
            let removed = storage.run(Lane::Interactive, move |store| store.remove(&stored)).await?;
            Ok((removed, id, conversation.actor))
        };
        Box::pin(removing.into_actor(self).map(|removed, conversations, _| {
            let (removed, id, closed) = removed?;
            if conversations.open.get(&id).is_some_and(|open| open.actor == closed) {
                conversations.put_to_sleep(&id);
            }
            if removed { Ok(()) } else { Err(no_conversation(&id)) }
        }))
    }
}

/// Ends all running turns with what was said so far.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CancelAll;

impl Handler<CancelAll> for ConversationsActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CancelAll, _: &mut Self::Context) -> Self::Result {
        let cancels: Vec<_> = self.open.values().map(|open| open.actor.send(Cancel { turn_id: None })).collect();
        Box::pin(async move {
            // An actor that is gone has no turn to cancel.
            let _told = join_all(cancels).await;
        })
    }
}
