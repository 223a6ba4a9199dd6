//! All conversations in memory: finds one by its id, makes it where there is none, and forgets idle ones when room is needed.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use std::time::Duration;

use crate::admission::Admission;
use crate::conversation::{Close, ConversationActor, ConversationState};
use crate::domain::{ConversationId, TurnError};
use crate::telemetry::Measurement;
use crate::turn::TurnServices;

/// How often idle conversations are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The directory of conversations.
pub struct ConversationsActor {
    services: TurnServices,
    admission: Admission,
    limit: usize,
    idle_after: Duration,
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
}

impl ConversationsActor {
    /// A directory of at most `limit` conversations; one that was idle for `idle_after` is forgotten.
    #[must_use]
    pub fn new(services: TurnServices, admission: Admission, limit: usize, idle_after: Duration) -> Self {
        Self { services, admission, limit, idle_after, open: HashMap::new() }
    }

    fn find_or_make(&mut self, id: &ConversationId) -> Result<Conversation, TurnError> {
        // An actor that died of a panic is replaced; its history is lost, its id is not.
        if let Some(found) = self.open.get(id).filter(|found| found.actor.connected()) {
            return Ok(found.clone());
        }
        self.make_room()?;
        let state = Arc::new(ConversationState::default());
        let conversation =
            ConversationActor::new(id.clone(), self.services.clone(), self.admission.clone(), state.clone());
        let made = Conversation { actor: conversation.start(), state };
        self.open.insert(id.clone(), made.clone());
        self.count();
        Ok(made)
    }

    /// Forgets the conversation that has been idle for longest when every place is taken.
    fn make_room(&mut self) -> Result<(), TurnError> {
        if self.open.len() < self.limit {
            return Ok(());
        }
        let idle = self.open.iter().filter_map(|(id, open)| open.idle_for().map(|idle| (idle, id.clone())));
        let Some((_, longest)) = idle.max_by_key(|(idle, _)| *idle) else {
            return Err(TurnError::overloaded("the list of conversations", Duration::from_secs(30)));
        };
        self.forget(&longest);
        Ok(())
    }

    fn sweep(&mut self) {
        let tired = |open: &Conversation| {
            !open.actor.connected() || open.idle_for().is_some_and(|idle| idle >= self.idle_after)
        };
        let gone: Vec<ConversationId> =
            self.open.iter().filter(|(_, open)| tired(open)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.forget(id));
    }

    fn forget(&mut self, id: &ConversationId) {
        if let Some(gone) = self.open.remove(id) {
            // A mailbox that is full or closed belongs to an actor that ends by itself once its last address is dropped.
            drop(gone.actor.try_send(Close));
        }
        self.count();
    }

    fn count(&self) {
        self.services.telemetry.record(Measurement::ConversationsActive(self.open.len()));
    }
}

impl Actor for ConversationsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SWEEP_INTERVAL, |conversations, _| conversations.sweep());
    }
}

/// Finds a conversation or makes it.
#[derive(Message)]
#[rtype(result = "Result<Conversation, TurnError>")]
pub struct Open(pub ConversationId);

impl Handler<Open> for ConversationsActor {
    type Result = Result<Conversation, TurnError>;

    fn handle(&mut self, Open(id): Open, _: &mut Self::Context) -> Self::Result {
        self.find_or_make(&id)
    }
}
