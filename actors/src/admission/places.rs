//! Who gets a place: pure bookkeeping of what is taken, in all and by each client.
//!
//! A client may take more while more is free, and never the last place: at most `client_percent` of what it has and what is free
//! together (dynamic thresholds, Choudhury and Hahne 1998). With 75 percent, one that is alone gets three quarters of all places, two
//! greedy ones get three sevenths each, and who has none is let in as long as there is one.

use std::collections::HashMap;

use crate::domain::ClientId;

/// What may be in the program at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Turns, running or waiting.
    pub turns: usize,
    /// Tokens of their prompts, as far as they are known before anything was searched for.
    pub prompt_tokens: usize,
    /// What one client may have of it and of what is free; 100 for all.
    pub client_percent: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Every place is taken.
    Turns,
    /// Too much is to be read already.
    Tokens,
    /// The client has its share.
    Share,
}

impl Refused {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Tokens => "tokens",
            Self::Share => "share",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Amount {
    turns: usize,
    tokens: usize,
}

impl Amount {
    fn add(&mut self, tokens: usize) {
        self.turns += 1;
        self.tokens += tokens;
    }

    fn remove(&mut self, tokens: usize) {
        self.turns = self.turns.saturating_sub(1);
        self.tokens = self.tokens.saturating_sub(tokens);
    }
}

#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    taken: Amount,
    /// As many as have places.
    clients: HashMap<ClientId, Amount>,
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, taken: Amount::default(), clients: HashMap::new() }
    }

    /// Takes a place for a turn of so many tokens. A turn that is larger than the bound comes in when it is alone.
    pub(super) fn take(&mut self, client: Option<&ClientId>, tokens: usize) -> Result<(), Refused> {
        let Bounds { turns, prompt_tokens, .. } = self.bounds;
        let free = Amount {
            turns: turns.saturating_sub(self.taken.turns),
            tokens: prompt_tokens.saturating_sub(self.taken.tokens),
        };
        if free.turns == 0 {
            return Err(Refused::Turns);
        }
        if tokens > free.tokens && self.taken.turns > 0 {
            return Err(Refused::Tokens);
        }
        if let Some(client) = client {
            let held = self.clients.get(client).copied().unwrap_or_default();
            let turns = self.is_within_share(held.turns + 1, free.turns - 1);
            let tokens = self.is_within_share(held.tokens + tokens, free.tokens.saturating_sub(tokens));
            // Who has nothing gets in: the last place is for somebody else than those who have one.
            if held.turns > 0 && !(turns && tokens) {
                return Err(Refused::Share);
            }
        }
        self.taken.add(tokens);
        if let Some(client) = client {
            self.clients.entry(client.clone()).or_default().add(tokens);
        }
        Ok(())
    }

    fn is_within_share(&self, held: usize, left: usize) -> bool {
        let percent = self.bounds.client_percent.min(100);
        held.saturating_mul(100 - percent) <= left.saturating_mul(percent)
    }

    /// Gives a place back that was taken so.
    pub(super) fn leave(&mut self, client: Option<&ClientId>, tokens: usize) {
        self.taken.remove(tokens);
        let Some(client) = client else { return };
        if let Some(held) = self.clients.get_mut(client) {
            held.remove(tokens);
            if held.turns == 0 {
                self.clients.remove(client);
            }
        }
    }

    /// Turns that have a place.
    pub(super) fn turns(&self) -> usize {
        self.taken.turns
    }

    /// Tokens of their prompts.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.taken.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> ClientId {
        ClientId::new(&number.to_string())
    }

    fn places(turns: usize, prompt_tokens: usize, client_percent: usize) -> Places {
        Places::new(Bounds { turns, prompt_tokens, client_percent })
    }

    /// How many turns a client gets in until it is refused, and why.
    fn fill(places: &mut Places, client: Option<&ClientId>, tokens: usize) -> (usize, Refused) {
        let mut turns = 0;
        loop {
            match places.take(client, tokens) {
                Ok(()) => turns += 1,
                Err(refused) => return (turns, refused),
            }
        }
    }

    #[test]
    fn one_client_alone_gets_its_share_and_the_next_one_finds_a_place() {
        let mut places = places(32, 10_000, 75);
        assert_eq!(fill(&mut places, Some(&client(1)), 10), (24, Refused::Share));
        assert_eq!(fill(&mut places, Some(&client(2)), 10), (6, Refused::Share));
        assert_eq!(places.take(Some(&client(3)), 10), Ok(()));
        places.leave(Some(&client(2)), 10);
        assert_eq!(places.take(Some(&client(1)), 10), Err(Refused::Share), "who has much waits until much is free");
    }

    #[test]
    fn with_all_of_it_there_is_no_share_and_without_clients_neither() {
        assert_eq!(fill(&mut places(5, 1_000, 100), Some(&client(1)), 1), (5, Refused::Turns));
        assert_eq!(fill(&mut places(5, 1_000, 50), None, 1), (5, Refused::Turns));
        assert_eq!(fill(&mut places(0, 1_000, 75), None, 1), (0, Refused::Turns));
    }

    #[test]
    fn a_single_place_is_for_whoever_comes() {
        assert_eq!(fill(&mut places(1, 1_000, 75), Some(&client(1)), 1), (1, Refused::Turns));
        let mut two = places(2, 1_000, 75);
        assert_eq!(fill(&mut two, Some(&client(1)), 1), (1, Refused::Share));
        assert_eq!(two.take(Some(&client(2)), 1), Ok(()));
    }

    #[test]
    fn prompts_are_bounded_together_and_one_that_is_too_long_comes_in_alone() {
        let mut places = places(10, 1_000, 100);
        assert_eq!(places.take(None, 5_000), Ok(()));
        assert_eq!(places.take(None, 1), Err(Refused::Tokens));
        places.leave(None, 5_000);
        assert_eq!(fill(&mut places, None, 400), (2, Refused::Tokens));
        assert_eq!(places.take(None, 200), Ok(()));
        assert_eq!((places.turns(), places.prompt_tokens()), (3, 1_000));
    }

    #[test]
    fn a_share_is_of_tokens_too() {
        let mut places = places(100, 1_000, 75);
        assert_eq!(fill(&mut places, Some(&client(1)), 250), (3, Refused::Share));
        assert_eq!(places.take(Some(&client(2)), 250), Ok(()));
    }

    #[test]
    fn whatever_comes_and_goes_the_bounds_hold_and_nothing_is_left_over() {
        let mut state: u64 = 1;
        let mut random = |limit: u64| {
            // Knuth's MMIX generator; its high bits are good enough.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % limit).unwrap()
        };
        let mut places = places(20, 5_000, 75);
        let mut inside: Vec<(Option<ClientId>, usize)> = Vec::new();
        for _ in 0..100_000 {
            let who = random(5);
            let who = (who > 0).then(|| client(who));
            let tokens = 1 + random(700);
            let free = 20 - inside.len();
            match places.take(who.as_ref(), tokens) {
                Ok(()) => inside.push((who, tokens)),
                Err(Refused::Turns) => assert_eq!(free, 0),
                Err(Refused::Tokens) => {
                    assert!(inside.iter().map(|(_, tokens)| tokens).sum::<usize>() + tokens > 5_000)
                }
                Err(Refused::Share) => assert!(inside.iter().any(|(other, _)| *other == who), "it has a place"),
            }
            if !inside.is_empty() && random(2) == 0 {
                let (who, tokens) = inside.swap_remove(random(inside.len() as u64));
                places.leave(who.as_ref(), tokens);
            }
            assert!(inside.len() <= 20 && places.turns() == inside.len());
            assert_eq!(places.prompt_tokens(), inside.iter().map(|(_, tokens)| tokens).sum::<usize>());
            assert!(places.prompt_tokens() <= 5_000);
        }
        for (who, tokens) in inside {
            places.leave(who.as_ref(), tokens);
        }
        assert_eq!((places.turns(), places.prompt_tokens(), places.clients.len()), (0, 0, 0));
    }
}
