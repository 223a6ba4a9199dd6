//! A WebSocket connection. It PULLS: a cursor on the conversation's log is read whenever the connection has room, so a client
//! that does not read stops its own events and costs nothing but its cursor.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, SpawnHandle, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{self, CloseCode, CloseReason, ProtocolError, WebsocketContext};
use futures_util::stream::{self, Stream};
use mentor_actors::conversation::{Cancel, StartSibling};
use mentor_actors::conversations::Conversation;
use mentor_actors::domain::{ConversationId, ErrorCode, Owner, TurnError, TurnId};
use mentor_actors::turn_log::{Cursor, Lagged};
use std::time::{Duration, Instant};

use super::body::{self, MAX_JSON_BYTES};
use super::connection::Connection;
use super::entrance::{self, LetIn};
use super::websocket::{self, Fault, Incoming, Messages};
use super::wire::{self, AskBody, ClientFrame, SiblingBody};
use super::{ApiError, COME_BACK_AFTER, Doors, owner};
use crate::faults::Part;
use crate::guard::{Charge, Client};

/// How often the client is asked whether it is still there. One that never answers is gone within 30 s.
pub const HEARTBEAT: Duration = Duration::from_secs(7);

/// Heartbeats that a client may be silent for.
const SILENT_BEATS: u32 = 3;

/// How long a client may take to agree to the end of its connection. Were it closed at once, what the client has just sent would make
/// its system discard what it has not read yet: the last events, and why there are no more.
const FAREWELL: Duration = Duration::from_secs(1);

/// Frames that are refused one after the other, because the client sent too many: one that goes on is not listening.
const MAX_REFUSALS: usize = 100;

/// Control frames between two heartbeats. Clients send one in some seconds, and answer ours.
const MAX_CONTROL_FRAMES: usize = 100;

/// Events handed to the connection before it gets a chance to write them out.
const EVENTS_AT_ONCE: u32 = 32;

/// `GET /api/ws/chat`: the first question decides about the conversation.
pub async fn connect(
    request: HttpRequest,
    client: Client,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, actix_web::Error> {
    start(request, client, payload, doors, None)
}

/// `GET /api/ws/chat/{conversation_id}`.
pub async fn connect_to(
    request: HttpRequest,
    client: Client,
    payload: web::Payload,
    id: web::Path<String>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, actix_web::Error> {
    let id = body::conversation_id(Some(&id)).map_err(ApiError::from)?;
    start(request, client, payload, doors, Some(id))
}

fn start(
    request: HttpRequest,
    client: Client,
    payload: web::Payload,
    doors: web::Data<Doors>,
    id: Option<ConversationId>,
) -> Result<HttpResponse, actix_web::Error> {
    let wrong = |error| TurnError::new(ErrorCode::InvalidRequest, format!("a WebSocket handshake is wanted: {error}"));
    ws::handshake(&request).map_err(|error| ApiError::from(wrong(error)))?;
    let now = Instant::now();
    let (frames, messages) = websocket::incoming(payload, MAX_JSON_BYTES);
    let socket = Socket {
        doors,
        client,
        charge: None,
        ended: None,
        id,
        owner: owner(&request),
        connection: request.conn_data::<Connection>().copied(),
        bound: None,
        events: None,
        announced: None,
        heard: now,
        beaten: now,
        stood_still: false,
        sent_before: None,
        messages,
        starting: 0,
        refusals: 0,
        control_frames: 0,
        is_closing: false,
    };
    ws::WsResponseBuilder::new(socket, &request, frames).frame_size(MAX_JSON_BYTES).start()
}

/// One connection.
struct Socket {
    doors: web::Data<Doors>,
    /// Who asks.
    client: Client,
    /// What was counted for the last question, until its answer has ended.
    charge: Option<(TurnId, Charge)>,
    /// The turn that ended last, and the tokens of its answer: the end of a short one may come before the word that it began.
    ended: Option<(TurnId, usize)>,
    /// The conversation named in the path, if any.
    id: Option<ConversationId>,
    /// Whose conversations it may see.
    owner: Option<Owner>,
    connection: Option<Connection>,
    /// The conversation whose events this connection sees.
    bound: Option<(ConversationId, Conversation)>,
    /// The stream that reads its log.
    events: Option<SpawnHandle>,
    /// The last event before those that are sent without being asked for; until the client says something.
    announced: Option<u64>,
    heard: Instant,
    /// When the heart last beat: it stands still while the connection's buffers are full.
    beaten: Instant,
    /// Whether it stood still before that.
    stood_still: bool,
    /// Bytes that had been sent when the heart last beat.
    sent_before: Option<u64>,
    /// Makes messages of frames.
    messages: Messages,
    /// Turns that were asked for, and nothing was heard of yet.
    starting: usize,
    /// Frames that were refused since one was not.
    refusals: usize,
    /// Control frames since the last heartbeat.
    control_frames: usize,
    /// Whether it said that the connection ends: nothing may follow that.
    is_closing: bool,
}

type Ctx = WebsocketContext<Socket>;

impl Actor for Socket {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        let open = &self.doors.metrics.ws_connections;
        open.inc();
        if open.get() > i64::try_from(self.doors.max_connections).unwrap_or(i64::MAX) {
            self.close(reason(CloseCode::Again, "no room for another connection"), ctx);
            // There is nothing else that it could miss.
            return ctx.stop();
        }
        ctx.run_interval(self.doors.heartbeat, Self::beat);
        let shutdown = self.doors.shutdown.clone();
        let away = async move { shutdown.cancelled().await };
        // Who reads a conversation hears its last events first, see `frames`.
        ctx.spawn(away.into_actor(self).map(|(), socket, ctx| {
            if socket.events.is_none() {
                socket.go_away(ctx);
            }
        }));
        if let Some(id) = self.id.clone() {
            self.bind(id, None, ctx);
        }
    }

    fn stopped(&mut self, _: &mut Ctx) {
        self.doors.metrics.ws_connections.dec();
        // A connection that is cut off lets the heart beat once more, or not.
        if !self.is_closing && (self.stood_still || self.missed_a_beat()) {
            self.doors.metrics.ws_evictions.with_label_values(&["stuck"]).inc();
        }
    }
}

fn reason(code: CloseCode, why: &str) -> CloseReason {
    CloseReason { code, description: Some(why.into()) }
}

impl Socket {
    fn go_away(&mut self, ctx: &mut Ctx) {
        self.close(reason(CloseCode::Away, "the server is going away"), ctx);
    }

    /// Says that the connection ends, and waits a moment for the client to agree.
    fn close(&mut self, reason: CloseReason, ctx: &mut Ctx) {
        if self.is_closing {
            return;
        }
        self.is_closing = true;
        if let Some(events) = self.events.take() {
            ctx.cancel_future(events);
        }
        ctx.close(Some(reason));
        ctx.run_later(FAREWELL, |_, ctx| ctx.stop());
    }

    /// The client broke the protocol.
    fn fail(&mut self, fault: Fault, ctx: &mut Ctx) {
        if fault == Fault::TooLarge && !self.is_closing {
            refuse(ctx, body::too_large());
        }
        self.close(fault.close_reason(), ctx);
    }

    /// Whether the heart stands still: the connection's buffers are full, or were. The operating system cuts off who takes nothing
    /// for as long as it allows, which is some beats after the last one.
    fn missed_a_beat(&self) -> bool {
        self.beaten.elapsed() > self.doors.heartbeat * 3 / 2
    }

    /// Asks the client whether it is still there. One that answers nothing although everything has arrived is cut off.
    fn beat(&mut self, ctx: &mut Ctx) {
        self.stood_still = self.missed_a_beat();
        self.beaten = Instant::now();
        self.control_frames = 0;
        let delivery = self.connection.and_then(Connection::delivery);
        // While an answer is written there is always something under way: what counts is what was sent a beat ago.
        let is_delivering = self.sent_before.zip(delivery).is_some_and(|(sent, now)| now.arrived < sent);
        self.sent_before = delivery.map(|now| now.sent);
        let is_silent = self.heard.elapsed() > self.doors.heartbeat * SILENT_BEATS;
        if is_silent && !self.stood_still && !is_delivering {
            self.doors.metrics.ws_evictions.with_label_values(&["silent"]).inc();
            ctx.stop();
        } else if !self.is_closing {
            ctx.ping(b"");
        }
    }

    /// Opens a conversation, announces it, reads its log from now on, then asks the question that waits, if any.
    fn bind(&mut self, id: ConversationId, mut question: Option<LetIn>, ctx: &mut Ctx) {
        let doors = self.doors.clone();
        let opening = {
            let (id, owner) = (id.clone(), self.owner.clone());
            async move { doors.open(id, owner).await }
        };
        let then = move |opened: Result<Conversation, TurnError>, socket: &mut Self, ctx: &mut Ctx| match opened {
            Err(error) => {
                question.iter_mut().for_each(|question| question.charge.settle(0));
                send(ctx, &wire::error_event(&error));
            }
            Ok(conversation) => {
                socket.announce(&id, &conversation, ctx);
                if let Some(question) = question {
                    socket.start_turn(&conversation, question, ctx);
                }
                socket.bound = Some((id, conversation));
            }
        };
        // Waiting keeps the order of frames: nothing else is read before the conversation is there.
        ctx.wait(opening.into_actor(self).map(then));
    }

    fn announce(&mut self, id: &ConversationId, conversation: &Conversation, ctx: &mut Ctx) {
        let last_seq = conversation.state.log.last_seq();
        let model = &self.doors.models.generator;
        send(ctx, &wire::ready(id.as_str(), last_seq, model, conversation.state.is_busy()));
        self.follow(conversation, last_seq, ctx);
        self.announced = Some(last_seq);
    }

    /// Reads the conversation's log after that number, instead of where it read before.
    fn follow(&mut self, conversation: &Conversation, after: u64, ctx: &mut Ctx) {
        if let Some(former) = self.events.take() {
            ctx.cancel_future(former);
        }
        let shutdown = self.doors.shutdown.clone();
        let shutdown = move || {
            let shutdown = shutdown.clone();
            async move { shutdown.cancelled().await }
        };
        self.events = Some(ctx.add_stream(frames(conversation.state.log.watch(after), shutdown)));
    }

    fn take(&mut self, text: &str, ctx: &mut Ctx) {
        let counted = self.client.admit_frame();
        self.refusals = if counted.is_ok() { 0 } else { self.refusals + 1 };
        if self.refusals >= MAX_REFUSALS {
            return self.close(reason(CloseCode::Policy, "too many frames"), ctx);
        }
        let frame = ClientFrame::parse(text);
        // Who asked too much may still stop it.
        if !matches!(frame, Ok(ClientFrame::Cancel { .. }))
            && let Err(error) = counted
        {
            return refuse(ctx, error);
        }
        if !matches!(frame, Ok(ClientFrame::Resume { .. })) {
            // From here on it has seen what came, and means it when it asks for it.
            self.announced = None;
        }
        match frame {
            Err(message) => refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, message)),
            Ok(ClientFrame::Ping) => ctx.text(r#"{"type":"pong"}"#),
            Ok(ClientFrame::Ask(asked)) => self.ask(asked, ctx),
            Ok(ClientFrame::Regenerate(sibling)) => self.ask_sibling(sibling, None, ctx),
            Ok(ClientFrame::Edit(edit)) => self.ask_sibling(edit.sibling, Some(edit.message), ctx),
            Ok(ClientFrame::Cancel { turn_id }) => self.cancel(turn_id.as_deref(), ctx),
            Ok(ClientFrame::Resume { after }) => self.resume(after, ctx),
        }
    }

    fn ask(&mut self, asked: AskBody, ctx: &mut Ctx) {
        let wanted = asked.conversation_id.as_deref().map(|id| body::conversation_id(Some(id))).transpose();
        let wanted = match wanted {
            Err(error) => return refuse(ctx, error),
            Ok(wanted) => wanted.or_else(|| self.id.clone()),
        };
        let is_bound_to = |bound: &ConversationId| wanted.as_ref().is_none_or(|wanted| wanted == bound);
        let bound = self.bound.clone().filter(|(bound, _)| is_bound_to(bound));
        if bound.is_none() && self.bound.is_some() && self.id.is_some() {
            let message = "this connection belongs to the conversation in its address";
            return refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, message));
        }
        let id = match &bound {
            Some((bound, _)) => bound.clone(),
            None => wanted.unwrap_or_else(ConversationId::generate),
        };
        let question = match self.let_in(&id, asked, bound.is_some() && self.has_turn()) {
            Err(error) => return refuse(ctx, error),
            Ok(question) => question,
        };
        match bound {
            Some((_, conversation)) if conversation.actor.connected() => self.start_turn(&conversation, question, ctx),
            // One that was deleted begins anew.
            _ => self.bind(id, Some(question), ctx),
        }
    }

    fn let_in(&self, id: &ConversationId, asked: AskBody, needs_no_place: bool) -> Result<LetIn, TurnError> {
        let turn = body::turn_request(asked, self.doors.limits, self.doors.abandon_after)?;
        entrance::let_in(&self.doors, &self.client, id, turn, needs_no_place)
    }

    /// Whether the conversation it is bound to has a turn, or is about to. Another question takes no place to be told so: a client that
    /// sends many at once would have all of them for a moment.
    fn has_turn(&self) -> bool {
        self.starting > 0 || self.bound.as_ref().is_some_and(|(_, conversation)| conversation.state.is_busy())
    }

    fn ask_sibling(&mut self, sibling: SiblingBody, edited: Option<String>, ctx: &mut Ctx) {
        let Some((id, conversation)) = self.bound.clone() else {
            let message = "there is no conversation yet: connect to a conversation's own address";
            return refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, message));
        };
        match self.let_sibling_in(&id, sibling, edited) {
            Ok((turn_id, charge, asked)) => self.spawn_start((turn_id, charge), conversation.actor.send(asked), ctx),
            Err(error) => refuse(ctx, error),
        }
    }

    fn let_sibling_in(
        &self,
        id: &ConversationId,
        sibling: SiblingBody,
        edited: Option<String>,
    ) -> Result<(TurnId, Charge, StartSibling), TurnError> {
        let of = TurnId::parse(&sibling.turn_id)
            .map_err(|error| TurnError::new(ErrorCode::InvalidRequest, error.to_string()))?;
        let repeats = edited.is_none();
        // The message of a question that is repeated is the stored one; it was checked when it was first asked.
        let message = edited.unwrap_or_else(|| "again".to_owned());
        let asked = AskBody { message, conversation_id: None, turn_id: sibling.new_turn_id, options: sibling.options };
        let LetIn { turn: request, charge, admitted } = self.let_in(id, asked, self.has_turn())?;
        Ok((request.turn_id.clone(), charge, StartSibling { of, repeats, request, admitted }))
    }

    fn cancel(&mut self, turn_id: Option<&str>, ctx: &mut Ctx) {
        let turn_id = match turn_id.map(TurnId::parse).transpose() {
            Ok(turn_id) => turn_id,
            Err(error) => return refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, error.to_string())),
        };
        let Some((_, conversation)) = &self.bound else { return };
        // An actor that is gone has no turn to cancel.
        let sent = conversation.actor.send(Cancel { turn_id });
        let told = async move {
            if sent.await.is_err() {
                tracing::debug!("a cancel came after its conversation had ended");
            }
        };
        ctx.spawn(told.into_actor(self));
    }

    /// Starts a turn; its events come through the connection's own stream.
    fn start_turn(&mut self, conversation: &Conversation, question: LetIn, ctx: &mut Ctx) {
        let LetIn { turn, charge, admitted } = question;
        self.spawn_start((turn.turn_id.clone(), charge), entrance::start(&conversation.actor, turn, admitted), ctx);
    }

    /// Waits whether a turn starts; one that does not costs nothing.
    fn spawn_start<F>(&mut self, (turn_id, mut charge): (TurnId, Charge), sent: F, ctx: &mut Ctx)
    where
        F: Future<Output = Result<Result<Cursor, TurnError>, actix::MailboxError>> + 'static,
    {
        self.starting += 1;
        let then =
            |started: Result<Result<Cursor, TurnError>, actix::MailboxError>, socket: &mut Self, ctx: &mut Ctx| {
                socket.starting -= 1;
                let gone = || {
                    let lost = TurnError::new(ErrorCode::Unavailable, "the conversation did not answer, ask again");
                    lost.retry_after(COME_BACK_AFTER)
                };
                match started.unwrap_or_else(|_| Err(gone())) {
                    // Its answer was counted when it was asked for.
                    Ok(cursor) if cursor.is_again() => charge.settle(0),
                    Ok(_) => socket.remember(turn_id, charge),
                    Err(error) => {
                        charge.settle(0);
                        if !socket.is_closing {
                            refuse(ctx, error);
                        }
                    }
                }
            };
        ctx.spawn(actix::fut::wrap_future(sent).map(then));
    }

    /// A turn has ended: what was counted for its answer and not needed is given back.
    fn settle(&mut self, turn_id: &TurnId, answer_tokens: usize) {
        self.ended = Some((turn_id.clone(), answer_tokens));
        if let Some((_, charge)) = self.charge.as_mut().filter(|(charged, _)| charged == turn_id) {
            charge.settle(answer_tokens);
        }
    }

    /// A turn has begun: what was counted for it waits for its end, unless that has come already.
    fn remember(&mut self, turn_id: TurnId, mut charge: Charge) {
        match &self.ended {
            Some((ended, tokens)) if *ended == turn_id => charge.settle(*tokens),
            _ => self.charge = Some((turn_id, charge)),
        }
    }

    fn resume(&mut self, after: u64, ctx: &mut Ctx) {
        let Some((_, conversation)) = self.bound.clone() else {
            let message = "there is nothing to resume: connect to a conversation's own address";
            return refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, message));
        };
        let last = conversation.state.log.last_seq();
        if after > last {
            let message = format!("cannot resume after {after}: the last event is {last}");
            return refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, message));
        }
        // What a client asks for that had seen everything before `ready` comes already: twice would be too often.
        if self.announced.take() != Some(after) {
            self.follow(&conversation, after, ctx);
        }
    }

    /// They are not counted as requests: with thousands of idle sockets a key would have none left for questions.
    fn has_too_much_control(&mut self) -> bool {
        self.control_frames += 1;
        self.control_frames > MAX_CONTROL_FRAMES
    }

    fn hear(&mut self, incoming: Incoming, ctx: &mut Ctx) {
        match incoming {
            Incoming::Text(text) => self.take(&text, ctx),
            Incoming::Ping(_) | Incoming::Pong if self.has_too_much_control() => {
                self.close(reason(CloseCode::Policy, "too many control frames"), ctx);
            }
            Incoming::Ping(payload) => ctx.pong(&payload),
            Incoming::Pong => {}
            Incoming::Binary(_) => {
                let message = "binary frames are not supported: send JSON as text";
                refuse(ctx, TurnError::new(ErrorCode::InvalidRequest, message));
                self.close(reason(CloseCode::Unsupported, "binary frames are not supported"), ctx);
            }
            Incoming::Close(reason) => {
                self.is_closing = true;
                ctx.close(reason);
                ctx.stop();
            }
        }
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Socket {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Ctx) {
        self.heard = Instant::now();
        if let Some(faults) = &self.doors.faults {
            faults.strike(Part::Socket);
        }
        let heard = self.messages.take(message);
        if !self.is_closing {
            match heard {
                Ok(Some(incoming)) => self.hear(incoming, ctx),
                Ok(None) => {}
                Err(fault) => self.fail(fault, ctx),
            }
        } else if matches!(heard, Ok(Some(Incoming::Close(_))) | Err(_)) {
            ctx.stop();
        }
    }
}

fn send(ctx: &mut Ctx, value: &serde_json::Value) {
    ctx.text(value.to_string());
}

fn refuse(ctx: &mut Ctx, error: TurnError) {
    send(ctx, &wire::error_event(&error));
}

/// What the log's stream has for the connection.
enum Outgoing {
    /// A frame for the client, with the turn and the tokens of its answer when it ends one.
    Frame(String, Option<(TurnId, usize)>),
    /// Events were lost that it has not seen.
    Lost,
    /// The server stops, and the client has had every event.
    Away,
}

/// The log's events as frames, a few at once, so that the connection writes in between. They end with `shutdown`, which comes when
/// everything is in the log: it is read once more then.
fn frames<S: Future<Output = ()>>(cursor: Cursor, shutdown: impl Fn() -> S) -> impl Stream<Item = Outgoing> {
    stream::unfold((Some((cursor, 0)), shutdown), move |(state, shutdown)| async move {
        let (mut cursor, sent) = state?;
        if sent == EVENTS_AT_ONCE {
            tokio::task::yield_now().await;
        }
        let event = tokio::select! {
            biased;
            event = cursor.next() => event.map(Some),
            () = shutdown() => cursor.try_next(),
        };
        Some(match event {
            Ok(Some(event)) => {
                let text = wire::event(&event).to_string();
                let end = event.event.answer_tokens().map(|tokens| (event.turn_id, tokens));
                (Outgoing::Frame(text, end), (Some((cursor, sent % EVENTS_AT_ONCE + 1)), shutdown))
            }
            Ok(None) => (Outgoing::Away, (None, shutdown)),
            Err(Lagged) => (Outgoing::Lost, (None, shutdown)),
        })
    })
}

impl StreamHandler<Outgoing> for Socket {
    fn handle(&mut self, next: Outgoing, ctx: &mut Ctx) {
        match next {
            Outgoing::Frame(text, end) => {
                if let Some((turn_id, tokens)) = end {
                    self.settle(&turn_id, tokens);
                }
                ctx.text(text);
            }
            Outgoing::Away => self.go_away(ctx),
            Outgoing::Lost => {
                refuse(ctx, wire::events_gone());
                // What is left of the log may be from the middle of a turn: go on with what comes next.
                if let Some((_, conversation)) = self.bound.clone() {
                    let last = conversation.state.log.last_seq();
                    self.follow(&conversation, last, ctx);
                }
            }
        }
    }

    /// The log's stream ends only when events were lost, and is followed anew; the connection stays.
    fn finished(&mut self, _: &mut Ctx) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use mentor_actors::domain::TurnEvent;
    use mentor_actors::turn_log::TurnLog;
    use std::sync::Arc;

    #[tokio::test]
    async fn an_end_that_is_written_just_before_the_server_goes_is_still_sent() {
        let (log, turn) = (Arc::new(TurnLog::default()), TurnId::generate());
        let cursor = log.watch(0);
        // It comes after the log was found empty, and before the stop is seen.
        let stop = move || {
            let (log, turn) = (log.clone(), turn.clone());
            async move { log.append(&turn, TurnEvent::Token("the end".into())) }
        };
        let mut frames = std::pin::pin!(frames(cursor, stop));
        let next = frames.next().await;
        assert!(matches!(next, Some(Outgoing::Frame(text, _)) if text.contains("the end")));
    }
}
