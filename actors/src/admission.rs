//! Admission by permits, before any work: so many turns and so much to read is in the program at once, and one client never has
//! all of it; the rest is told when to come back. Nothing is waited for here, so a refusal costs microseconds.

mod places;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use places::{Bounds, Refused};

use crate::domain::{ClientId, ConversationId, ErrorCode, Owner, TurnError, TurnId, TurnRequest};
use crate::telemetry::{Measurement, Telemetry};
use crate::turn_queue::Outlook;
use places::Places;

/// Nobody is told to come back sooner: a place may be free at once, but not for everybody.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Nobody is told to come back later: much may have changed by then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is said before any turn has ended, so that nothing was measured.
const UNMEASURED_WAIT: Duration = Duration::from_secs(5);

/// When a server that stops is likely to be back.
const STOPPING_WAIT: Duration = Duration::from_secs(5);

/// Clones share the places.
#[derive(Clone)]
pub struct Admission {
    house: Arc<House>,
}

struct House {
    state: Mutex<State>,
    /// Turns that are in the program.
    inside: watch::Sender<usize>,
    outlook: Arc<Outlook>,
    telemetry: Arc<dyn Telemetry>,
}

#[derive(Debug)]
struct State {
    places: Places,
    /// Turns that are in the program, with or without a place.
    inside: usize,
    /// Turns of conversations that are. One that was asked for twice at once counts twice.
    turns: HashMap<TurnKey, usize>,
    /// Whether nobody is let in any more.
    closed: bool,
}

/// Which turn of all: clients choose their ids, so that two conversations may have turns of one id, and two owners conversations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TurnKey {
    /// Whose the conversation is.
    pub owner: Option<Owner>,
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Which turn of it.
    pub turn_id: TurnId,
}

/// A place in the program; free again when dropped, or before.
pub struct Admitted {
    house: Arc<House>,
    /// Whether the place is still its own. Changed under the house's lock alone.
    has_place: AtomicBool,
    key: Option<TurnKey>,
    client: Option<ClientId>,
    prompt_tokens: usize,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Admission {
    /// Nobody is in yet. `outlook` is how long one more turn would wait.
    #[must_use]
    pub fn new(bounds: Bounds, outlook: Arc<Outlook>, telemetry: Arc<dyn Telemetry>) -> Self {
        let state = State { places: Places::new(bounds), inside: 0, turns: HashMap::new(), closed: false };
        let house = House { state: Mutex::new(state), inside: watch::Sender::new(0), outlook, telemetry };
        Self { house: Arc::new(house) }
    }

    /// A place for a turn whose prompt is likely to have so many tokens, or an honest no at once. One with a key can be come back
    /// for, see [`Self::holds`].
    ///
    /// # Errors
    /// `overloaded` with a time to come back after, `unavailable` once it is closed.
    pub fn admit(
        &self,
        request: &TurnRequest,
        key: Option<TurnKey>,
        prompt_tokens: usize,
    ) -> Result<Admitted, TurnError> {
        let client = request.client.clone();
        let mut state = self.house.lock();
        if state.closed {
            let stopping = TurnError::new(ErrorCode::Unavailable, "the server is stopping, ask again in a moment");
            return Err(stopping.retry_after(STOPPING_WAIT));
        }
        state.places.take(client.as_ref(), prompt_tokens).map_err(|refused| self.refuse(refused))?;
        state.inside += 1;
        if let Some(key) = &key {
            *state.turns.entry(key.clone()).or_default() += 1;
        }
        self.house.tell(&state);
        Ok(Admitted { house: self.house.clone(), has_place: AtomicBool::new(true), key, client, prompt_tokens })
    }

    /// Whether that turn is in the program: asking for it again starts nothing, and so needs no place.
    #[must_use]
    pub fn holds(&self, key: &TurnKey) -> bool {
        self.house.lock().turns.contains_key(key)
    }

    /// Admits no turn any more: whoever is not in now will not come in behind [`Self::empty`].
    pub fn close(&self) {
        self.house.lock().closed = true;
    }

    /// Whether it admits no turn any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.house.lock().closed
    }

    /// How many turns are in the program.
    #[must_use]
    pub fn inside(&self) -> usize {
        *self.house.inside.borrow()
    }

    /// Ends when no turn is in the program.
    pub async fn empty(&self) {
        // The sender lives in `self`, so waiting can't fail.
        let mut inside = self.house.inside.subscribe();
        let _empty = inside.wait_for(|turns| *turns == 0).await;
    }

    fn refuse(&self, refused: Refused) -> TurnError {
        self.house.telemetry.record(Measurement::TurnRejected { reason: refused.as_str() });
        let wait = self.house.outlook.wait().unwrap_or(UNMEASURED_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        match refused {
            Refused::Turns | Refused::Tokens => TurnError::overloaded("the tutor", wait),
            Refused::Share => {
                let message =
                    "too many of your questions wait already, the other places are for others: try again later";
                TurnError::new(ErrorCode::Overloaded, message).retry_after(wait)
            }
        }
    }
}

impl House {
    /// No code runs under this lock that could panic half-way, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State) {
        let (turns, prompt_tokens) = (state.places.turns(), state.places.prompt_tokens());
        self.inside.send_replace(state.inside);
        self.telemetry.record(Measurement::TurnsInside { turns, prompt_tokens });
    }
}

impl Admitted {
    /// Makes room for another turn, before anybody can know that this one is over: who hears that and asks again at once must not find
    /// the place still taken. It stays in the program, for [`Admission::empty`], until it is dropped.
    pub fn free_place(&self) {
        let mut state = self.house.lock();
        self.leave(&mut state);
        self.house.tell(&state);
    }

    fn leave(&self, state: &mut State) {
        if self.has_place.swap(false, Ordering::Relaxed) {
            state.places.leave(self.client.as_ref(), self.prompt_tokens);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let house = self.house.clone();
        let mut state = house.lock();
        self.leave(&mut state);
        state.inside -= 1;
        if let Some(key) = &self.key {
            match state.turns.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(state.turns.remove(key)),
            }
        }
        house.tell(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AnswerOptions;
    use crate::telemetry::Silent;

    fn admission(turns: usize) -> (Admission, Arc<Outlook>) {
        let outlook = Arc::new(Outlook::default());
        let bounds = Bounds { turns, prompt_tokens: 1_000, client_percent: 75 };
        (Admission::new(bounds, outlook.clone(), Arc::new(Silent)), outlook)
    }

    fn turn(id: &str) -> TurnRequest {
        TurnRequest {
            turn_id: TurnId::parse(id).unwrap(),
            client: Some(ClientId::new("c")),
            message: "what is a heap?".into(),
            options: AnswerOptions::default(),
            abandon_after: Duration::ZERO,
        }
    }

    #[test]
    fn a_full_house_says_when_to_come_back_and_a_leaving_turn_makes_room() {
        let (admission, outlook) = admission(1);
        let first = admission.admit(&turn("a"), None, 10).unwrap();
        let refused = || {
            let error = admission.admit(&turn("b"), None, 10).unwrap_err();
            assert_eq!(error.code, ErrorCode::Overloaded);
            error.retry_after
        };
        assert_eq!(refused(), Some(UNMEASURED_WAIT));
        for (foreseen, told) in [(0, 1), (17, 17), (500, 60)] {
            outlook.set(Some(Duration::from_secs(foreseen)));
            assert_eq!(refused(), Some(Duration::from_secs(told)));
        }
        drop(first);
        assert!(admission.admit(&turn("b"), None, 10).is_ok());
    }

    #[test]
    fn a_turn_that_is_over_has_no_place_any_more_and_stays_in_the_program_until_it_is_gone() {
        let (admission, _) = admission(1);
        let first = admission.admit(&turn("a"), None, 10).unwrap();
        first.free_place();
        first.free_place();
        let second = admission.admit(&turn("b"), None, 10).unwrap();
        assert_eq!(admission.inside(), 2);
        drop(first);
        assert_eq!(admission.inside(), 1);
        assert!(admission.admit(&turn("c"), None, 10).is_err(), "a place is freed once");
        drop(second);
        assert_eq!(admission.inside(), 0);
    }

    #[test]
    fn a_client_with_its_share_is_told_so_and_another_is_let_in() {
        let (admission, _) = admission(2);
        let _first = admission.admit(&turn("a"), None, 10).unwrap();
        let error = admission.admit(&turn("b"), None, 10).unwrap_err();
        assert!(error.message.contains("your questions") && error.retry_after.is_some(), "{error}");
        let other = TurnRequest { client: Some(ClientId::new("d")), ..turn("b") };
        assert!(admission.admit(&other, None, 10).is_ok());
    }

    #[test]
    fn a_turn_is_known_by_its_conversation_and_owner_until_its_last_place_is_free() {
        let (admission, _) = admission(8);
        let key = |owner: &str, conversation: &str, turn: &str| TurnKey {
            owner: Some(Owner::new(owner)),
            conversation_id: ConversationId::parse(conversation).unwrap(),
            turn_id: TurnId::parse(turn).unwrap(),
        };
        let known = key("ann", "c", "a");
        let place = || admission.admit(&turn("a"), Some(known.clone()), 1).unwrap();
        let (first, second) = (place(), place());
        drop(first);
        assert!(admission.holds(&known));
        for other in [key("ann", "c", "b"), key("ann", "d", "a"), key("bob", "c", "a")] {
            assert!(!admission.holds(&other), "{other:?}");
        }
        drop(second);
        assert!(!admission.holds(&known));
    }

    #[test]
    fn whoever_closes_sees_every_turn_that_still_came_in() {
        for _ in 0..2_000 {
            let (admission, _) = admission(1);
            let start = std::sync::Barrier::new(2);
            let (admitted, seen) = std::thread::scope(|threads| {
                let comes = threads.spawn(|| {
                    start.wait();
                    admission.admit(&turn("a"), None, 1)
                });
                start.wait();
                admission.close();
                let seen = admission.inside();
                (comes.join().unwrap(), seen)
            });
            assert_eq!(seen, usize::from(admitted.is_ok()));
        }
    }

    #[tokio::test]
    async fn a_closed_house_lets_nobody_in_and_is_empty_when_the_last_turn_left() {
        let (admission, _) = admission(2);
        let last = admission.admit(&turn("a"), None, 1).unwrap();
        admission.close();
        assert_eq!(admission.admit(&turn("b"), None, 1).unwrap_err().code, ErrorCode::Unavailable);
        let leave = async { drop(last) };
        tokio::join!(biased; admission.empty(), leave);
    }
}
