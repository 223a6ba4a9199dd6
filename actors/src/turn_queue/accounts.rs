//! Virtual time: who has had how much of something that several share, and from when on the next share is theirs.
//!
//! An account that wants something is served as if it got its part of a server that is shared equally, at every moment, by all
//! that are active (generalised processor sharing, Demers et al. 1989, Parekh and Gallager 1993). The clock runs as fast as one
//! active account is served. One that was idle begins at the clock: what it did not use is not saved up, and what it had before
//! the others came counts against it only until they have caught up. What is taken is counted at once, by guess, and what it
//! really was once that is known.

use std::collections::HashMap;
use std::hash::Hash;

/// The accounts of those who share.
#[derive(Debug)]
pub(super) struct Accounts<K> {
    clock: u64,
    accounts: HashMap<K, Account>,
    /// Most that were active at once since anybody has been waiting.
    crowd: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// Virtual time up to which it has been served.
    served: u64,
    waiting: usize,
    running: usize,
    /// What is expected of those that run, which `served` has already.
    underway: u64,
}

impl Account {
    fn is_active(&self) -> bool {
        self.waiting + self.running > 0
    }

    fn ended(&self) -> u64 {
        self.served.saturating_sub(self.underway)
    }
}

impl<K> Default for Accounts<K> {
    fn default() -> Self {
        Self { clock: 0, accounts: HashMap::new(), crowd: 0 }
    }
}

impl<K: Eq + Hash> Accounts<K> {
    /// A piece of work of this account begins to wait.
    pub(super) fn join(&mut self, key: K) {
        let waiting = self.accounts.values().filter(|account| account.waiting > 0);
        let first = waiting.map(Account::ended).min().unwrap_or(self.clock);
        // Not before all that wait already: who has just come is not served again and again to catch up.
        let clock = self.clock.max(first);
        let account = self.accounts.entry(key).or_default();
        // One that is active has not saved up anything, but for what others got while it had less to do.
        let start = if account.is_active() { first } else { clock };
        account.served = account.served.max(start);
        account.waiting += 1;
        self.crowd = self.crowd.max(self.active());
    }

    fn active(&self) -> usize {
        self.accounts.values().filter(|account| account.is_active()).count()
    }

    /// A waiting piece is gone without having been taken.
    pub(super) fn leave(&mut self, key: &K) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.waiting = account.waiting.saturating_sub(1);
        }
        self.calm();
        self.forget();
    }

    /// A waiting piece is taken; so many units are expected of it.
    pub(super) fn take(&mut self, key: &K, expected: u64) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.waiting = account.waiting.saturating_sub(1);
            account.running += 1;
            account.underway += expected;
            account.served += expected;
        }
        self.calm();
    }

    /// A piece that was taken has ended, and had `actual` units where `expected` were counted.
    pub(super) fn end(&mut self, key: &K, expected: u64, actual: u64) {
        self.clock += actual.div_ceil(self.active().max(1) as u64);
        if let Some(account) = self.accounts.get_mut(key) {
            account.running = account.running.saturating_sub(1);
            account.underway = account.underway.saturating_sub(expected);
            account.served = account.served.saturating_sub(expected).saturating_add(actual);
        }
        self.forget();
    }

    /// Virtual time from which on the next piece of this account is served.
    pub(super) fn start(&self, key: &K) -> u64 {
        self.accounts.get(key).map_or(self.clock, |account| account.served)
    }

    /// The clock.
    pub(super) fn clock(&self) -> u64 {
        self.clock
    }

    /// How far the clock goes on while so many units are served, with as many active as there have been. It stays the same while
    /// those who wait are served and nobody comes.
    pub(super) fn length(&self, units: u64) -> u64 {
        units.div_ceil(self.crowd.max(1) as u64)
    }

    /// Whether anything is remembered of it.
    pub(super) fn knows(&self, key: &K) -> bool {
        self.accounts.contains_key(key)
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    fn calm(&mut self) {
        if self.accounts.values().all(|account| account.waiting == 0) {
            self.crowd = 0;
        }
    }

    /// Forgets who would begin at the clock anyway; all of them when nobody is active, since then nobody was kept waiting.
    fn forget(&mut self) {
        let clock = self.clock;
        self.accounts.retain(|_, account| account.is_active() || account.served > clock);
        if !self.accounts.values().any(Account::is_active) {
            self.accounts.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(accounts: &mut Accounts<&'static str>, key: &'static str, units: u64) {
        accounts.join(key);
        accounts.take(&key, units);
        accounts.end(&key, units, units);
    }

    #[test]
    fn who_was_idle_begins_with_the_others_and_not_with_what_it_saved_up() {
        let mut accounts = Accounts::default();
        accounts.join("busy");
        (0..3).for_each(|_| serve(&mut accounts, "busy", 10));
        accounts.join("new");
        assert_eq!((accounts.start(&"busy"), accounts.start(&"new")), (30, 30));
    }

    #[test]
    fn the_clock_runs_as_fast_as_each_of_those_who_share_is_served() {
        let mut accounts = Accounts::default();
        accounts.join("a");
        accounts.join("b");
        serve(&mut accounts, "a", 10);
        assert_eq!((accounts.clock(), accounts.start(&"a"), accounts.start(&"b")), (5, 10, 0));
        serve(&mut accounts, "b", 10);
        accounts.join("new");
        assert_eq!(accounts.start(&"new"), 10);
    }

    #[test]
    fn what_was_counted_too_much_is_given_back() {
        let mut accounts = Accounts::default();
        accounts.join("a");
        accounts.join("b");
        accounts.join("a");
        accounts.take(&"a", 100);
        assert_eq!(accounts.start(&"a"), 100);
        accounts.end(&"a", 100, 30);
        assert_eq!((accounts.start(&"a"), accounts.start(&"b")), (30, 0));
    }

    #[test]
    fn one_who_comes_later_begins_later_also_when_nobody_has_been_served_yet() {
        let mut accounts = Accounts::default();
        ["a", "b", "c", "d"].into_iter().for_each(|key| accounts.join(key));
        accounts.take(&"a", 40);
        accounts.end(&"a", 40, 40);
        accounts.join("e");
        assert_eq!((accounts.start(&"d"), accounts.start(&"e")), (0, 10));
    }

    #[test]
    fn nothing_is_remembered_when_nobody_is_there() {
        let mut accounts = Accounts::default();
        accounts.join("a");
        accounts.take(&"a", 10);
        accounts.join("b");
        accounts.leave(&"b");
        assert_eq!(accounts.len(), 1);
        accounts.end(&"a", 10, 500);
        assert_eq!(accounts.len(), 0);
    }
}
