//! A conversation: its history, its log of events, and at most one running turn. It wakes with what the store has of it.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture, SpawnHandle,
    Supervised, WrapFuture,
};
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::admission::{Admission, Admitted, TurnKey};
use crate::cancel::CancelToken;
use crate::domain::{
    ConversationId, ErrorCode, Owner, StoredConversation, StoredTurn, TurnBegin, TurnError, TurnId, TurnRequest,
};
use crate::prompt::Exchange;
use crate::queue::Lane;
use crate::storage::{REPLAYED_TURNS, Storage};
use crate::turn::{Scribe, Turn, TurnOutcome, TurnServices};
use crate::turn_log::{Cursor, TurnLog};
use crate::turn_queue::Flow;

/// Exchanges kept for follow-ups; the prompt takes fewer.
const HISTORY_LIMIT: usize = 32;

/// How often a running turn looks whether anybody still watches.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Another answer to the same question should be another one: at least this temperature, unless the client chose one.
const REGENERATE_TEMPERATURE: f32 = 0.6;

/// One conversation between a student and the course.
pub struct ConversationActor {
    id: ConversationId,
    owner: Option<Owner>,
    services: TurnServices,
    admission: Admission,
    storage: Storage,
    /// Why it could not be woken.
    asleep: Option<TurnError>,
    /// The exchanges that lead to `head`.
    history: Vec<Exchange>,
    /// The turn that a question goes on from.
    head: Option<TurnId>,
    shared: Arc<ConversationState>,
    /// The turn whose beginning is being stored.
    beginning: Option<TurnId>,
    running: Option<RunningTurn>,
    /// Turns begun lately, with the number of the last event before each: asking again with the same id starts nothing.
    begun: VecDeque<(TurnId, u64)>,
    /// Whether there are turns that only the store knows.
    has_older: bool,
}

struct RunningTurn {
    turn_id: TurnId,
    cancel: CancelToken,
    abandon_after: Duration,
    /// What it goes on from.
    history: Vec<Exchange>,
    /// Looks whether anybody still watches; an idle conversation has no timer.
    look_out: SpawnHandle,
    /// In the program until the conversation has taken note of its end.
    _admitted: Arc<Admitted>,
}

/// A turn's reader, once its beginning is stored.
type Starting = LocalBoxFuture<'static, Result<Cursor, TurnError>>;

/// Where a turn stands in the tree.
struct Place {
    parent: Option<TurnId>,
    /// The exchanges that lead to the parent.
    history: Vec<Exchange>,
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
    /// A conversation, with the state that others share with it. It belongs to `owner` unless the store knows better.
    #[must_use]
    pub fn new(
        id: ConversationId,
        owner: Option<Owner>,
        services: TurnServices,
        admission: Admission,
        storage: Storage,
        shared: Arc<ConversationState>,
    ) -> Self {
        Self {
            id,
            owner,
            services,
            admission,
            storage,
            asleep: None,
            history: Vec::new(),
            head: None,
            shared,
            beginning: None,
            running: None,
            begun: VecDeque::new(),
            has_older: false,
        }
    }

    fn wake(&mut self, stored: StoredConversation, history: Vec<Exchange>) {
        let forgotten = match stored.turns.first() {
            Some(oldest) if stored.has_older => oldest.first_seq - 1,
            _ => 0,
        };
        self.owner = stored.owner;
        self.has_older = stored.has_older;
        self.head = stored.head;
        self.history = history;
        self.begun = stored.turns.iter().map(|turn| (turn.turn_id.clone(), turn.first_seq - 1)).collect();
        let events: Vec<_> = stored.turns.into_iter().flat_map(|turn| turn.events).collect();
        // A log that outlived its actor has them already, and readers.
        if events.last().is_some_and(|last| last.seq > self.shared.log.last_seq()) {
            self.shared.log.restore(events, forgotten);
        }
    }

    /// A reader of a turn that was begun before and whose events are here.
    fn cursor_of(&self, turn_id: &TurnId) -> Option<Cursor> {
        let (_, before) = self.begun.iter().find(|(begun, _)| begun == turn_id)?;
        self.shared.log.holds_since(*before).then(|| self.shared.log.watch(*before).again())
    }

    /// Whether the store may know a turn of this id whose events are not here.
    fn may_be_stored(&self, turn_id: &TurnId) -> bool {
        self.has_older || self.begun.iter().any(|(begun, _)| begun == turn_id)
    }

    /// One that could not be woken ends: whoever comes next wakes another.
    fn check_awake(&self, ctx: &mut Context<Self>) -> Result<(), TurnError> {
        let Some(error) = &self.asleep else { return Ok(()) };
        ctx.stop();
        Err(error.clone())
    }

    /// Starts a turn that nobody began before; one without a place of its own asks for one now.
    fn start(
        &mut self,
        request: TurnRequest,
        admitted: Option<Admitted>,
        place: Place,
        ctx: &mut Context<Self>,
    ) -> Starting {
        // It may have been begun while the store was asked.
        if let Some(cursor) = self.cursor_of(&request.turn_id) {
            return Box::pin(ready(Ok(cursor)));
        }
        match self.admit(&request, admitted) {
            Ok(admitted) => self.begin(request, place, admitted, ctx),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn admit(&self, request: &TurnRequest, admitted: Option<Admitted>) -> Result<Admitted, TurnError> {
        let running = self.running.as_ref().map(|running| &running.turn_id);
        if let Some(turn_id) = running.or(self.beginning.as_ref()) {
            let message = format!("turn {turn_id} is still running in this conversation");
            return Err(TurnError::new(ErrorCode::TurnInProgress, message));
        }
        let key = || TurnKey {
            owner: self.owner.clone(),
            conversation_id: self.id.clone(),
            turn_id: request.turn_id.clone(),
        };
        let tokens = self.services.expected_prompt_tokens(request);
        admitted.map_or_else(|| self.admission.admit(request, Some(key()), tokens), Ok)
    }

    /// Stores the turn's beginning, then runs it. The conversation does nothing else meanwhile: whoever asks for the same turn finds
    /// it, and whoever cancels it does so after it began.
    fn begin(&mut self, request: TurnRequest, place: Place, admitted: Admitted, ctx: &mut Context<Self>) -> Starting {
        let begin = TurnBegin {
            conversation_id: self.id.clone(),
            owner: self.owner.clone(),
            turn_id: request.turn_id.clone(),
            parent: place.parent,
            question: request.message.clone(),
            asked_at: SystemTime::now(),
            first_seq: self.shared.log.last_seq() + 1,
        };
        // Nobody puts it to sleep from here on, and what the store was asked for before begins no other one.
        self.shared.busy.store(true, Ordering::Release);
        self.beginning = Some(request.turn_id.clone());
        let (reply, started) = oneshot::channel();
        let beginning = Scribe::kept(self.shared.log.clone(), self.storage.clone(), begin);
        ctx.wait(beginning.into_actor(self).map(move |stored, conversation, ctx| {
            conversation.beginning = None;
            let started = match stored {
                Ok(scribe) => Ok(conversation.run(request, place.history, admitted, scribe, ctx)),
                Err(error) => {
                    conversation.shared.busy.store(false, Ordering::Release);
                    Err(error)
                }
            };
            // Who asked may have left: nobody watches it then, and it is abandoned in time.
            drop(reply.send(started));
        }));
        Box::pin(async move { started.await.unwrap_or_else(|_| Err(lost())) })
    }

    /// Runs a turn that the store knows of; its reader.
    fn run(
        &mut self,
        request: TurnRequest,
        history: Vec<Exchange>,
        admitted: Admitted,
        scribe: Scribe,
        ctx: &mut Context<Self>,
    ) -> Cursor {
        let before = self.shared.log.last_seq();
        let cursor = self.shared.log.watch(before);
        if self.begun.len() == HISTORY_LIMIT {
            self.begun.pop_front();
            self.has_older = true;
        }
        self.begun.push_back((request.turn_id.clone(), before));
        let (cancel, admitted) = (CancelToken::default(), Arc::new(admitted));
        self.running = Some(RunningTurn {
            turn_id: request.turn_id.clone(),
            cancel: cancel.clone(),
            abandon_after: request.abandon_after,
            history: history.clone(),
            look_out: ctx.run_interval(WATCH_INTERVAL, |conversation, _| conversation.cancel_if_abandoned()),
            _admitted: admitted.clone(),
        });
        let turn = Turn {
            services: self.services.clone(),
            conversation_id: self.id.clone(),
            flow: Flow { client: request.client.clone(), conversation: Some(self.id.clone()) },
            history,
            cancel,
            scribe,
            admitted,
            read: None,
            request,
        };
        ctx.spawn(turn.run().into_actor(self).map(|outcome, conversation, ctx| conversation.end(outcome, ctx)));
        cursor
    }

    fn end(&mut self, outcome: TurnOutcome, ctx: &mut Context<Self>) {
        self.shared.busy.store(false, Ordering::Release);
        let Some(ended) = self.running.take() else { return };
        ctx.cancel_future(ended.look_out);
        if let Some((_, before)) = self.begun.iter().rev().nth(REPLAYED_TURNS - 1) {
            self.shared.log.forget(*before);
        }
        if let Some(exchange) = outcome {
            self.history = ended.history;
            self.head = Some(ended.turn_id);
            if self.history.len() >= HISTORY_LIMIT {
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

    /// Nothing is answered before the store was asked.
    fn started(&mut self, ctx: &mut Self::Context) {
        let (storage, id) = (self.storage.clone(), self.id.clone());
        let waking = async move {
            let Some(stored) = storage.wake(id.clone()).await? else { return Ok(None) };
            let Some(head) = stored.head.clone() else { return Ok(Some((stored, Vec::new()))) };
            let path = storage.run(Lane::Interactive, move |store| store.path(&id, &head, HISTORY_LIMIT)).await?;
            Ok(Some((stored, path)))
        };
        ctx.wait(waking.into_actor(self).map(|woken, conversation, _| match woken {
            Ok(Some((stored, history))) => conversation.wake(stored, history),
            Ok(None) => {}
            Err(error) => conversation.asleep = Some(error),
        }));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.shared.busy.store(false, Ordering::Release);
    }
}

/// After a panic it wakes anew, with the log it had: a turn that was running has ended there by now, and readers go on.
impl Supervised for ConversationActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.asleep = None;
        self.history.clear();
        self.head = None;
        self.beginning = None;
        self.running = None;
        self.begun.clear();
        self.has_older = false;
        self.shared.busy.store(false, Ordering::Release);
    }
}

/// Answered once the conversation knows what the store has of it.
#[derive(Message)]
#[rtype(result = "Result<(), TurnError>")]
pub(crate) struct WhenAwake {
    /// Who wants it.
    pub owner: Option<Owner>,
}

impl Handler<WhenAwake> for ConversationActor {
    type Result = Result<(), TurnError>;

    fn handle(&mut self, WhenAwake { owner }: WhenAwake, ctx: &mut Self::Context) -> Self::Result {
        self.check_awake(ctx)?;
        if self.owner == owner { Ok(()) } else { Err(no_conversation(&self.id)) }
    }
}

/// The error of a conversation that is not there, or not there for whoever asks.
#[must_use]
pub fn no_conversation(id: &ConversationId) -> TurnError {
    TurnError::new(ErrorCode::NotFound, format!("there is no conversation {id}"))
}

/// Asks a question. The reader it returns begins with the turn's first event. The same `turn_id` again starts nothing: its
/// reader sees the turn that was begun before.
#[derive(Message)]
#[rtype(result = "Result<Cursor, TurnError>")]
pub struct StartTurn(pub TurnRequest);

impl Handler<StartTurn> for ConversationActor {
    type Result = ResponseActFuture<Self, Result<Cursor, TurnError>>;

    fn handle(&mut self, StartTurn(request): StartTurn, ctx: &mut Self::Context) -> Self::Result {
        self.find_or_start(request, None, ctx)
    }
}

/// The same, with the place that the question was given when it came in.
#[derive(Message)]
#[rtype(result = "Result<Cursor, TurnError>")]
pub struct StartAdmitted {
    /// The question.
    pub request: TurnRequest,
    /// Its place; `None` for one that is likely to have been begun before.
    pub admitted: Option<Admitted>,
}

impl Handler<StartAdmitted> for ConversationActor {
    type Result = ResponseActFuture<Self, Result<Cursor, TurnError>>;

    fn handle(&mut self, start: StartAdmitted, ctx: &mut Self::Context) -> Self::Result {
        self.find_or_start(start.request, start.admitted, ctx)
    }
}

impl ConversationActor {
    /// A reader of the turn of that id if there is one, in memory or in the store, else of a new one.
    fn find_or_start(
        &mut self,
        request: TurnRequest,
        admitted: Option<Admitted>,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<Cursor, TurnError>> {
        // Who has its address from before a panic has not waited for it to wake.
        if let Err(error) = self.check_awake(ctx) {
            return Box::pin(ready(Err(error)).into_actor(self));
        }
        let known = self.cursor_of(&request.turn_id);
        if known.is_some() || !self.may_be_stored(&request.turn_id) {
            let place = Place { parent: self.head.clone(), history: self.history.clone() };
            let started: Starting = match known {
                Some(cursor) => Box::pin(ready(Ok(cursor))),
                None => self.start(request, admitted, place, ctx),
            };
            return Box::pin(started.into_actor(self));
        }
        let (storage, id, turn_id) = (self.storage.clone(), self.id.clone(), request.turn_id.clone());
        let looking = async move { storage.run(Lane::Interactive, move |store| store.turn(&id, &turn_id)).await };
        Box::pin(looking.into_actor(self).then(|former, conversation, ctx| {
            let started: Starting = match former {
                Err(error) => Box::pin(ready(Err(error))),
                Ok(Some(former)) => Box::pin(ready(replay(former))),
                Ok(None) => {
                    let place = Place { parent: conversation.head.clone(), history: conversation.history.clone() };
                    conversation.start(request, admitted, place, ctx)
                }
            };
            started.into_actor(conversation)
        }))
    }
}

/// A turn in the place of an earlier one: a sibling of it, that goes on from the same parent. The earlier one stays.
#[derive(Message)]
#[rtype(result = "Result<Cursor, TurnError>")]
pub struct StartSibling {
    /// The earlier turn.
    pub of: TurnId,
    /// Whether the earlier question is asked once more; the message of `request` is not looked at then.
    pub repeats: bool,
    /// The new turn.
    pub request: TurnRequest,
    /// Its place; `None` for one that is likely to have been begun before.
    pub admitted: Option<Admitted>,
}

impl Handler<StartSibling> for ConversationActor {
    type Result = ResponseActFuture<Self, Result<Cursor, TurnError>>;

    fn handle(&mut self, sibling: StartSibling, ctx: &mut Self::Context) -> Self::Result {
        if let Err(error) = self.check_awake(ctx) {
            return Box::pin(ready(Err(error)).into_actor(self));
        }
        if let Some(cursor) = self.cursor_of(&sibling.request.turn_id) {
            return Box::pin(ready(Ok(cursor)).into_actor(self));
        }
        let StartSibling { of, repeats, mut request, admitted } = sibling;
        let (storage, id, new) = (self.storage.clone(), self.id.clone(), request.turn_id.clone());
        let looking = async move {
            let missing = TurnError::new(ErrorCode::NotFound, format!("there is no turn {of} in this conversation"));
            let found = storage.run(Lane::Interactive, move |store| {
                let former = store.turn(&id, &new)?;
                let Some(earlier) = store.turn(&id, &of)? else { return Ok((former, None)) };
                let history = match &earlier.parent {
                    Some(parent) => store.path(&id, parent, HISTORY_LIMIT)?,
                    None => Vec::new(),
                };
                Ok((former, Some((earlier, history))))
            });
            let (former, earlier) = found.await?;
            Ok((former, earlier.ok_or(missing)?))
        };
        Box::pin(looking.into_actor(self).then(move |found, conversation, ctx| {
            let started: Starting = match found {
                Err(error) => Box::pin(ready(Err(error))),
                Ok((Some(former), _)) => Box::pin(ready(replay(former))),
                Ok((None, (earlier, history))) => {
                    if repeats {
                        request.message = earlier.question;
                        conversation.vary(&mut request);
                    }
                    conversation.start(request, admitted, Place { parent: earlier.parent, history }, ctx)
                }
            };
            started.into_actor(conversation)
        }))
    }
}

impl ConversationActor {
    /// Lets the same question get another answer, unless the client chose how.
    fn vary(&self, request: &mut TurnRequest) {
        let configured = self.services.settings.sampling.temperature;
        request.options.temperature.get_or_insert(configured.max(REGENERATE_TEMPERATURE));
        // The low bits of such an id are random.
        #[allow(clippy::cast_possible_truncation)]
        request.options.seed.get_or_insert_with(|| uuid::Uuid::now_v7().as_u128() as u32);
    }
}

/// The error of a turn whose conversation ended before the turn began.
fn lost() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the conversation stopped unexpectedly, ask again")
        .retry_after(Duration::from_secs(1))
}

/// A reader of a turn that is only in the store.
fn replay(turn: StoredTurn) -> Result<Cursor, TurnError> {
    if turn.events.is_empty() {
        let message = format!("turn {} has no end in the store: ask again under another id", turn.turn_id);
        return Err(TurnError::new(ErrorCode::Unavailable, message));
    }
    let log = Arc::new(TurnLog::default());
    log.restore(turn.events, turn.first_seq - 1);
    Ok(log.watch(turn.first_seq - 1).again())
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

/// Ends the conversation's actor; a running turn ends with an error.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

impl Handler<Close> for ConversationActor {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
