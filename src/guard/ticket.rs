//! Tickets: what a browser's WebSocket and EventSource carry, which cannot send a header. Good for one request within half a
//! minute, so one that ends up in a log or a history is worth nothing.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mentor_engines::Secret;

use super::key::SecretHash;
use super::principal::Principal;
use super::random::{SECRET_CHARS, random_text};

/// How long a ticket is good.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Tickets kept at once; then the oldest goes. At 30 s each, more than 300 connections a second would have to be made.
const MAX_TICKETS: usize = 10_000;

/// The tickets that were given out and not yet used.
#[derive(Debug, Default)]
pub struct Tickets {
    waiting: HashMap<SecretHash, (Principal, Instant)>,
    /// In the order in which they end, with those that were used.
    order: VecDeque<(SecretHash, Instant)>,
}

impl Tickets {
    /// A new ticket for that principal.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn issue(&mut self, principal: Principal, now: Instant) -> anyhow::Result<Secret> {
        let text = random_text(SECRET_CHARS)?;
        let (hash, end) = (SecretHash::of(&text), now + TICKET_LIFE);
        while self.order.front().is_some_and(|(_, end)| *end <= now || self.order.len() >= MAX_TICKETS) {
            if let Some((gone, _)) = self.order.pop_front() {
                self.waiting.remove(&gone);
            }
        }
        self.waiting.insert(hash, (principal, end));
        self.order.push_back((hash, end));
        text.parse().map_err(anyhow::Error::msg)
    }

    /// Whose ticket it is; it is used up by that.
    pub fn redeem(&mut self, text: &str, now: Instant) -> Option<Principal> {
        // Found by its hash: the time that takes says nothing about a ticket.
        let (principal, end) = self.waiting.remove(&SecretHash::of(text))?;
        (now < end).then_some(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once() {
        let (mut tickets, now) = (Tickets::default(), Instant::now());
        let text = tickets.issue(Principal::Anybody, now).unwrap();
        assert!(tickets.redeem("x", now).is_none());
        assert!(tickets.redeem(text.reveal().unwrap(), now).is_some());
        assert!(tickets.redeem(text.reveal().unwrap(), now).is_none());
    }

    #[test]
    fn a_ticket_ends_after_half_a_minute() {
        let (mut tickets, now) = (Tickets::default(), Instant::now());
        let (one, two) =
            (tickets.issue(Principal::Anybody, now).unwrap(), tickets.issue(Principal::Anybody, now).unwrap());
        assert!(tickets.redeem(one.reveal().unwrap(), now + Duration::from_secs(29)).is_some());
        assert!(tickets.redeem(two.reveal().unwrap(), now + TICKET_LIFE).is_none());
    }

    #[test]
    fn tickets_that_nobody_uses_are_bounded() {
        let (mut tickets, now) = (Tickets::default(), Instant::now());
        let first = tickets.issue(Principal::Anybody, now).unwrap();
        for _ in 0..MAX_TICKETS {
            tickets.issue(Principal::Anybody, now).unwrap();
        }
        assert_eq!((tickets.waiting.len(), tickets.order.len()), (MAX_TICKETS, MAX_TICKETS));
        assert!(tickets.redeem(first.reveal().unwrap(), now).is_none());
        tickets.issue(Principal::Anybody, now + TICKET_LIFE).unwrap();
        assert_eq!((tickets.waiting.len(), tickets.order.len()), (1, 1));
    }
}
