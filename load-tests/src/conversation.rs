//! One conversation: it connects, asks its questions one after the other, and notes what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::check::{Heard, ProtocolCheck, Rule, Violation};
use crate::clock::{Measured, TurnClock};
use crate::failure::{CLIENT_DEADLINE, Failure, within};
use crate::frame::{AskOptions, ClientFrame};
use crate::questions::Questions;
use crate::socket::{Dial, Received, Socket};

/// What all conversations of a run share.
#[derive(Debug)]
pub struct Plan {
    /// The server.
    pub address: Address,
    /// Beginning of the conversations' ids, different in each run.
    pub run_id: String,
    /// What to ask.
    pub questions: Questions,
    /// How many conversations there are.
    pub conversations: usize,
    /// Questions of each.
    pub turns: usize,
    /// How to answer.
    pub options: AskOptions,
    /// Longest wait for `ready`, and for `pong`.
    pub connect_deadline: Duration,
    /// Longest wait for the end of a turn.
    pub turn_deadline: Duration,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With an answer.
    Completed(Measured),
    /// With an error of the server.
    Failed(Failure),
    /// Its end was not seen: the connection was lost, or the deadline passed. The conversation stops there.
    Lost(Failure),
}

/// What happened in a conversation.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The generator's name, as `ready` had it.
    pub model: Option<String>,
    /// Time until the conversation was ready; `None` when it never was.
    pub connect: Option<Duration>,
    /// The turns that were asked.
    pub endings: Vec<Ending>,
    /// What failed outside of turns.
    pub failures: Vec<Failure>,
    /// Rules that were broken.
    pub violations: Vec<Violation>,
}

/// A conversation on a connection of its own.
pub struct Conversation {
    plan: Arc<Plan>,
    number: usize,
    id: String,
    /// `None` when connecting failed.
    socket: Option<Socket>,
    check: ProtocolCheck,
    outcome: Outcome,
}

impl Conversation {
    /// Connects and waits until the conversation is ready. A failure stands in the outcome of [`Conversation::talk`].
    pub async fn open(plan: Arc<Plan>, number: usize) -> Self {
        let id = format!("{}-{number}", plan.run_id);
        let mut check = ProtocolCheck::new(&id);
        let mut outcome = Outcome::default();
        let path = path_of(&id);
        let start = Instant::now();
        let connecting = connect(&plan.address, &path, Dial::default(), &mut check);
        let socket = match within(plan.connect_deadline, "connecting", connecting).await {
            Ok(socket) => {
                outcome.connect = Some(start.elapsed());
                Some(socket)
            }
            Err(failure) => {
                outcome.failures.push(failure);
                None
            }
        };
        Self { plan, number, id, socket, check, outcome }
    }

    /// Asks all questions.
    pub async fn talk(mut self) -> Outcome {
        if let Some(mut socket) = self.socket.take()
            && self.ask_all(&mut socket).await
        {
            let patience = self.plan.connect_deadline;
            if let Err(failure) = settle(socket, &mut self.check, patience).await {
                self.outcome.failures.push(failure);
            }
        }
        (self.outcome.model, self.outcome.violations) = self.check.into_parts();
        self.outcome
    }

    /// Whether the connection is still usable afterwards.
    async fn ask_all(&mut self, socket: &mut Socket) -> bool {
        for turn in 0..self.plan.turns {
            let ending = self.ask(socket, turn).await;
            let is_last = turn + 1 == self.plan.turns;
            match &ending {
                Ending::Failed(failure) if !is_last => failure.back_off().await,
                Ending::Completed(_) | Ending::Failed(_) | Ending::Lost(_) => {}
            }
            let is_lost = matches!(ending, Ending::Lost(_));
            self.outcome.endings.push(ending);
            if is_lost {
                return false;
            }
        }
        true
    }

    async fn ask(&mut self, socket: &mut Socket, turn: usize) -> Ending {
        let plan = self.plan.clone();
        let turn_id = format!("{}-turn-{}", self.id, turn + 1);
        let message = plan.questions.get(self.number * plan.turns + turn);
        let question = ClientFrame::Ask { message, turn_id: &turn_id, options: plan.options };
        self.check.begin(&turn_id);
        let ended = within(plan.turn_deadline, "the turn", take_turn(socket, &mut self.check, &question)).await;
        ended.unwrap_or_else(Ending::Lost)
    }
}

/// Where a conversation's WebSocket is.
pub fn path_of(id: &str) -> String {
    format!("/api/ws/chat/{id}")
}

/// Connects and waits for `ready`.
///
/// # Errors
/// When that fails.
pub async fn connect(address: &Address, path: &str, dial: Dial, check: &mut ProtocolCheck) -> Result<Socket, Failure> {
    let mut socket = Socket::connect(address, path, dial).await?;
    loop {
        match hear(&mut socket, check).await? {
            (Heard::Ready, _) => return Ok(socket),
            (Heard::Failed(failure), _) => return Err(failure),
            (Heard::Progress | Heard::Token(_) | Heard::Completed(_) | Heard::Pong, _) => {}
        }
    }
}

/// Asks a question and follows its turn to the end.
async fn take_turn(
    socket: &mut Socket,
    check: &mut ProtocolCheck,
    question: &ClientFrame<'_>,
) -> Result<Ending, Failure> {
    let mut clock = TurnClock::start(Instant::now());
    socket.say(question).await?;
    loop {
        match hear(socket, check).await? {
            (Heard::Token(_), at) => clock.token(at),
            (Heard::Completed(done), at) => return Ok(Ending::Completed(clock.complete(at, done))),
            (Heard::Failed(failure), _) => return Ok(Ending::Failed(failure)),
            (Heard::Progress | Heard::Ready | Heard::Pong, _) => {}
        }
    }
}

/// Sees what still comes behind the last turn, then says goodbye: a `pong` is later than what was written before it.
async fn settle(mut socket: Socket, check: &mut ProtocolCheck, patience: Duration) -> Result<(), Failure> {
    within(patience, "a ping", socket.say(&ClientFrame::Ping)).await?;
    let answered = within(patience, "a pong", wait_for_pong(&mut socket, check)).await;
    match answered {
        Err(failure) if failure.code == CLIENT_DEADLINE => check.broke(Rule::PingIsAnswered, failure.detail),
        answered => answered?,
    }
    within(patience, "closing", socket.close()).await
}

async fn wait_for_pong(socket: &mut Socket, check: &mut ProtocolCheck) -> Result<(), Failure> {
    while hear(socket, check).await?.0 != Heard::Pong {}
    Ok(())
}

/// The next frame's meaning, and when it came.
///
/// # Errors
/// When the connection is lost or closed.
pub async fn hear(socket: &mut Socket, check: &mut ProtocolCheck) -> Result<(Heard, Instant), Failure> {
    match socket.hear().await? {
        Received::Text(text, at) => Ok((check.take(&text), at)),
        Received::Binary => {
            check.broke(Rule::Shape, "a binary frame came");
            Ok((Heard::Progress, Instant::now()))
        }
        Received::Closed(code) => {
            check.take_close(code);
            Err(Failure::new(format!("closed_{code}"), format!("the server closed the connection with {code}")))
        }
    }
}
