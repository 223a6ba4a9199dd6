//! How a question gets in, the same through every door: counted for its client, and with a place in the program, before anything is
//! opened, read or searched for it. A refusal so waits for nobody.

use actix::Addr;
use actix::dev::Request;
use mentor_actors::admission::{Admitted, TurnKey};
use mentor_actors::conversation::{ConversationActor, StartAdmitted};
use mentor_actors::domain::{ConversationId, Owner, TurnError, TurnRequest};

use super::Doors;
use crate::guard::{Charge, Client};

/// A question that was let in.
pub struct LetIn {
    /// What is asked, with who asks.
    pub turn: TurnRequest,
    /// What was counted for it.
    pub charge: Charge,
    /// Its place. A question that was begun before needs none, nor one of a conversation that has a turn; if that turns out to be wrong,
    /// it is asked for then.
    pub admitted: Option<Admitted>,
}

/// Counts a question for its client.
///
/// # Errors
/// `overloaded` when the client asked too much.
pub fn count(doors: &Doors, client: &Client, mut turn: TurnRequest) -> Result<(TurnRequest, Charge), TurnError> {
    turn.client = client.id();
    let longest = turn.options.max_tokens.unwrap_or(doors.limits.max_tokens);
    let charge = client.charge(&turn.message, longest)?;
    Ok((turn, charge))
}

/// A place for a question of no conversation.
///
/// # Errors
/// `overloaded` when there is none, `unavailable` when the server is stopping.
pub fn place(doors: &Doors, turn: &TurnRequest) -> Result<Admitted, TurnError> {
    doors.admission.admit(turn, None, doors.services.expected_prompt_tokens(turn))
}

/// Counts a question of a conversation and gives it a place, unless it is in the program already, or `needs_no_place`: it resumes what was
/// begun, or its conversation has a turn.
///
/// # Errors
/// As [`count`] and [`place`]; nothing is counted then.
pub fn let_in(
    doors: &Doors,
    client: &Client,
    conversation_id: &ConversationId,
    turn: TurnRequest,
    needs_no_place: bool,
) -> Result<LetIn, TurnError> {
    let (turn, mut charge) = count(doors, client, turn)?;
    let key = TurnKey {
        owner: client.owner().as_deref().map(Owner::new),
        conversation_id: conversation_id.clone(),
        turn_id: turn.turn_id.clone(),
    };
    let tokens = doors.services.expected_prompt_tokens(&turn);
    let is_known = needs_no_place || doors.admission.holds(&key);
    let admitted = if is_known { Ok(None) } else { doors.admission.admit(&turn, Some(key), tokens).map(Some) };
    match admitted {
        Ok(admitted) => Ok(LetIn { turn, charge, admitted }),
        Err(error) => {
            charge.settle(0);
            Err(error)
        }
    }
}

/// Starts a turn, or finds the one that was begun under its id. It is sent at once, before the answer is waited for.
pub fn start(
    conversation: &Addr<ConversationActor>,
    request: TurnRequest,
    admitted: Option<Admitted>,
) -> Request<ConversationActor, StartAdmitted> {
    conversation.send(StartAdmitted { request, admitted })
}
