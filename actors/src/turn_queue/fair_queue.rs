//! Which of the waiting turns comes next: a pure state machine.
//!
//! The generator is shared equally by all *clients* that want it, whatever they ask and how often; what a client gets is shared
//! equally by its *conversations*; and within one of them a short turn overtakes a long one, by no more than its own length. So a
//! client that asks a hundred times at once waits for itself, and a class behind one key or address still goes in turn.
//! Shares are counted in work, not in turns. Nothing is kept free for anybody: who is alone gets everything.
//!
//! The order is by the virtual time at which a turn would begin if all were served at once, the turns of a flow one after the other
//! (start-time fair queueing, Goyal et al. 1996), plus its own length at the speed at which virtual time goes on. So who comes first
//! is served first, but for who has had much and who needs little. The order changes only when a turn comes, leaves, or ends sooner
//! or later than expected.

use std::collections::HashMap;
use std::hash::Hash;

use super::accounts::Accounts;
use crate::domain::{ClientId, ConversationId};

/// For whom a turn is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who asks; `None` where everybody is one and the same: the server's own machine.
    pub client: Option<ClientId>,
    /// In which conversation; `None` for turns that belong to none, which together count as one.
    pub conversation: Option<ConversationId>,
}

/// A turn's ticket, in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A turn with a slot, until it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    flow: Flow,
    expected: u64,
}

impl Taken {
    /// Units that it was expected to have.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }
}

#[derive(Debug)]
struct Waiting<J> {
    ticket: Ticket,
    flow: Flow,
    units: u64,
    /// When it came, in the virtual time of its client's conversations.
    came: u64,
    job: J,
}

/// The waiting turns, and what those who wait have had.
#[derive(Debug)]
pub(super) struct FairQueue<J> {
    waiting: Vec<Waiting<J>>,
    clients: Accounts<Option<ClientId>>,
    /// Of each client.
    conversations: HashMap<Option<ClientId>, Accounts<Option<ConversationId>>>,
    tickets: u64,
}

impl<J> Default for FairQueue<J> {
    fn default() -> Self {
        Self { waiting: Vec::new(), clients: Accounts::default(), conversations: HashMap::new(), tickets: 0 }
    }
}

impl<J> FairQueue<J> {
    /// A turn of so many units comes in.
    pub(super) fn push(&mut self, flow: Flow, units: u64, job: J) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.clients.join(flow.client.clone());
        let conversations = self.conversations.entry(flow.client.clone()).or_default();
        conversations.join(flow.conversation.clone());
        let came = conversations.clock();
        self.waiting.push(Waiting { ticket, flow, units, came, job });
        ticket
    }

    /// The next turn, which is served from now on, if one waits.
    pub(super) fn pop(&mut self) -> Option<(Ticket, Taken, J)> {
        let next = self.order().first().copied()?;
        let Waiting { ticket, flow, units, job, .. } = self.waiting.swap_remove(next);
        self.clients.take(&flow.client, units);
        if let Some(conversations) = self.conversations.get_mut(&flow.client) {
            conversations.take(&flow.conversation, units);
        }
        Some((ticket, Taken { flow, expected: units }, job))
    }

    /// A turn that was served has ended after so many units.
    pub(super) fn end(&mut self, taken: &Taken, actual: u64) {
        let Taken { flow, expected } = taken;
        self.clients.end(&flow.client, *expected, actual);
        if let Some(conversations) = self.conversations.get_mut(&flow.client) {
            conversations.end(&flow.conversation, *expected, actual);
        }
        self.forget();
    }

    /// A waiting turn leaves.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<J> {
        let place = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        let Waiting { flow, job, .. } = self.waiting.swap_remove(place);
        self.clients.leave(&flow.client);
        if let Some(conversations) = self.conversations.get_mut(&flow.client) {
            conversations.leave(&flow.conversation);
        }
        self.forget();
        Some(job)
    }

    /// Every waiting turn with its units, the next one first: the order in which they are taken if nobody else comes.
    pub(super) fn in_order(&mut self) -> impl Iterator<Item = (u64, &mut J)> {
        let mut places = vec![0; self.waiting.len()];
        for (place, index) in self.order().into_iter().enumerate() {
            places[index] = place;
        }
        let mut waiting: Vec<_> = places.into_iter().zip(&mut self.waiting).collect();
        waiting.sort_unstable_by_key(|(place, _)| *place);
        waiting.into_iter().map(|(_, waiting)| (waiting.units, &mut waiting.job))
    }

    /// Units of the waiting turns, in no order.
    pub(super) fn units(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().map(|waiting| waiting.units)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Places in `waiting`, the next one first.
    fn order(&self) -> Vec<usize> {
        let among = |client| self.conversations.get(client);
        let length_among = |client, units| among(client).map_or(units, |accounts: &Accounts<_>| accounts.length(units));
        let mut order: Vec<usize> = (0..self.waiting.len()).collect();
        order.sort_by_cached_key(|&index| {
            let Waiting { flow, units, came, ticket, .. } = &self.waiting[index];
            (came + length_among(&flow.client, *units), *ticket)
        });
        let order = self.line_up(
            order,
            |flow| (&flow.client, &flow.conversation),
            |(client, conversation)| among(client).map_or(0, |accounts| accounts.start(conversation)),
            |(client, _), units| length_among(client, units),
        );
        self.line_up(
            order,
            |flow| &flow.client,
            |client| self.clients.start(client),
            |_, units| self.clients.length(units),
        )
    }

    /// Merges lines, each of which keeps its order, by the virtual time at which each turn begins, plus its length.
    fn line_up<'a, K: Eq + Hash>(
        &'a self,
        order: Vec<usize>,
        line_of: impl Fn(&'a Flow) -> K,
        start: impl Fn(&K) -> u64,
        length: impl Fn(&K, u64) -> u64,
    ) -> Vec<usize> {
        let mut begins: HashMap<K, u64> = HashMap::new();
        let dues = order.into_iter().map(|index| {
            let Waiting { flow, units, ticket, .. } = &self.waiting[index];
            let line = line_of(flow);
            let (first, length) = (start(&line), length(&line, *units));
            let begin = begins.entry(line).or_insert(first);
            let due = *begin + length;
            *begin += units;
            (due, *ticket, index)
        });
        let mut dues: Vec<_> = dues.collect();
        dues.sort_unstable();
        dues.into_iter().map(|(_, _, index)| index).collect()
    }

    fn forget(&mut self) {
        self.conversations.retain(|client, _| self.clients.knows(client));
    }

    /// Accounts that are remembered, of clients and conversations.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.clients.len() + self.conversations.values().map(Accounts::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
