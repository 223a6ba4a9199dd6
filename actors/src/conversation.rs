//! A conversation: its history, its log of events, and at most one running turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture};

use crate::admission::{Admission, Admitted};
use crate::cancel::CancelToken;
use crate::domain::{ConversationId, ErrorCode, TurnError, TurnId, TurnRequest};
use crate::prompt::Exchange;
use crate::turn::{Scribe, Turn, TurnOutcome, TurnServices};
use crate::turn_log::{Cursor, TurnLog};

/// Exchanges kept for follow-ups; the prompt takes fewer.
const HISTORY_LIMIT: usize = 32;

/// How often a running turn looks whether anybody still watches.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// One conversation between a student and the course.
pub struct ConversationActor {
    id: ConversationId,
    services: TurnServices,
    admission: Admission,
    history: Vec<Exchange>,
    shared: Arc<ConversationState>,
    running: Option<RunningTurn>,
    /// Turns begun lately, with the number of the last event before each: asking again with the same id starts nothing.
    begun: VecDeque<(TurnId, u64)>,
}

struct RunningTurn {
    turn_id: TurnId,
    cancel: CancelToken,
    abandon_after: Duration,
    /// Looks whether anybody still watches; an idle conversation has no timer.
    look_out: SpawnHandle,
    /// Freed when the turn ends.
    _admitted: Admitted,
}

/// What others may see of a conversation without asking its actor.
#[derive(Debug, Default)]
pub struct ConversationState {
    /// Its events.
    pub log: Arc<TurnLog>,
    busy: AtomicBool,
}

impl ConversationState {
    /// Whether a turn is running.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }
}

impl ConversationActor {
    /// A new conversation, with the state that others share with it.
    #[must_use]
    pub fn new(
        id: ConversationId,
        services: TurnServices,
        admission: Admission,
        shared: Arc<ConversationState>,
    ) -> Self {
        Self { id, services, admission, history: Vec::new(), shared, running: None, begun: VecDeque::new() }
    }

    fn begin(&mut self, request: TurnRequest, admitted: Admitted, ctx: &mut Context<Self>) {
        let cancel = CancelToken::default();
        self.running = Some(RunningTurn {
            turn_id: request.turn_id.clone(),
            cancel: cancel.clone(),
            abandon_after: request.abandon_after,
            look_out: ctx.run_interval(WATCH_INTERVAL, |conversation, _| conversation.cancel_if_abandoned()),
            _admitted: admitted,
        });
        self.shared.busy.store(true, Ordering::Release);
        let turn = Turn {
            services: self.services.clone(),
            conversation_id: self.id.clone(),
            history: self.history.clone(),
            cancel,
            scribe: Scribe::new(self.shared.log.clone(), request.turn_id.clone()),
            read: None,
            request,
        };
        ctx.spawn(turn.run().into_actor(self).map(|outcome, conversation, ctx| conversation.end(outcome, ctx)));
    }

    fn end(&mut self, outcome: TurnOutcome, ctx: &mut Context<Self>) {
        if let Some(ended) = self.running.take() {
            ctx.cancel_future(ended.look_out);
        }
        self.shared.busy.store(false, Ordering::Release);
        if let Some(exchange) = outcome {
            if self.history.len() == HISTORY_LIMIT {
                self.history.remove(0);
            }
            // Only the last prompt can be gone on with: older ones need not be kept.
            if exchange.read.is_some() {
                self.history.iter_mut().for_each(|earlier| earlier.read = None);
            }
            self.history.push(exchange);
        }
    }

    /// Cancels a running turn that nobody has watched for the time it was given.
    fn cancel_if_abandoned(&self) {
        let Some(running) = &self.running else { return };
        let alone = self.shared.log.unwatched_since().map(|since| since.elapsed());
        if alone.is_some_and(|alone| alone >= running.abandon_after) {
            running.cancel.cancel();
        }
    }
}

impl Actor for ConversationActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.shared.busy.store(false, Ordering::Release);
    }
}

/// Asks a question. The reader it returns begins with the turn's first event. The same `turn_id` again starts nothing: its
/// reader sees the turn that was begun before.
#[derive(Message)]
#[rtype(result = "Result<Cursor, TurnError>")]
pub struct StartTurn(pub TurnRequest);

impl Handler<StartTurn> for ConversationActor {
    type Result = Result<Cursor, TurnError>;

    fn handle(&mut self, StartTurn(request): StartTurn, ctx: &mut Self::Context) -> Self::Result {
        if let Some((_, before)) = self.begun.iter().find(|(begun, _)| *begun == request.turn_id) {
            return Ok(self.shared.log.watch(*before));
        }
        if let Some(running) = &self.running {
            let message = format!("turn {} is still running in this conversation", running.turn_id);
            return Err(TurnError::new(ErrorCode::TurnInProgress, message));
        }
        let admitted = self.admission.admit()?;
        let before = self.shared.log.last_seq();
        let cursor = self.shared.log.watch(before);
        if self.begun.len() == HISTORY_LIMIT {
            self.begun.pop_front();
        }
        self.begun.push_back((request.turn_id.clone(), before));
        self.begin(request, admitted, ctx);
        Ok(cursor)
    }
}

/// Stops the running turn; what was said so far is kept. No effect when that turn is not running.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Cancel {
    /// Which turn; the running one when `None`.
    pub turn_id: Option<TurnId>,
}

impl Handler<Cancel> for ConversationActor {
    type Result = ();

    fn handle(&mut self, cancel: Cancel, _: &mut Self::Context) {
        let meant = |running: &&RunningTurn| cancel.turn_id.as_ref().is_none_or(|id| *id == running.turn_id);
        if let Some(running) = self.running.as_ref().filter(meant) {
            running.cancel.cancel();
        }
    }
}

/// Ends the conversation; a running turn ends with an error.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

impl Handler<Close> for ConversationActor {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
