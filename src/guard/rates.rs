//! How much each client may do: token buckets in a table of bounded size, and open connections counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mentor_actors::domain::ClientId;

use super::address::AddressGroup;

/// Clients that are remembered, the least recently seen forgotten first: about 2 MB.
const MAX_CLIENTS: usize = 10_000;

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Payer {
    /// Everybody without a key at an address.
    Address(AddressGroup),
    /// The holders of a key, by its id.
    Key(String),
}

impl Payer {
    /// The client that it is.
    #[must_use]
    pub fn id(&self) -> ClientId {
        ClientId::new(&match self {
            Self::Address(group) => format!("address {group}"),
            Self::Key(id) => format!("key {id}"),
        })
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests, and frames of a WebSocket.
    Requests,
    /// Tokens of questions and answers.
    Tokens,
}

/// What a client may do; 0 is without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Requests and frames a minute, and at once after a minute of silence.
    pub requests_per_min: u32,
    /// Tokens of questions and answers, likewise.
    pub tokens_per_min: u32,
    /// Connections and requests open at once.
    pub connections: usize,
}

impl Allowance {
    fn per_min(&self, unit: Unit) -> f64 {
        f64::from(match unit {
            Unit::Requests => self.requests_per_min,
            Unit::Tokens => self.tokens_per_min,
        })
    }
}

/// A bucket that a minute fills. Starts full.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(size: f64, now: Instant) -> Self {
        Self { level: size, at: now }
    }

    fn fill(&mut self, size: f64, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * size / 60.0;
        (self.level, self.at) = (size.min(self.level + gained), self.at.max(now));
    }

    /// Takes so much out, or says how long to wait until it is there.
    fn take(&mut self, amount: f64, size: f64, now: Instant) -> Result<(), Duration> {
        self.fill(size, now);
        // What is more than a full bucket would have to wait for ever.
        let amount = amount.min(size);
        if self.level >= amount {
            self.level -= amount;
            return Ok(());
        }
        Err(Duration::from_secs_f64((amount - self.level) * 60.0 / size))
    }
}

#[derive(Debug)]
struct Seen {
    requests: Bucket,
    tokens: Bucket,
    /// Position in the order in which clients were last seen.
    tick: u64,
}

/// The buckets of all clients, and who was seen when.
#[derive(Debug, Default)]
struct Table {
    clients: HashMap<Payer, Seen>,
    order: BTreeMap<u64, Payer>,
    tick: u64,
}

impl Table {
    fn seen(&mut self, payer: &Payer, allowance: &Allowance, now: Instant) -> &mut Seen {
        self.tick += 1;
        let tick = self.tick;
        if let Some(seen) = self.clients.get(payer) {
            self.order.remove(&seen.tick);
        } else if self.clients.len() >= MAX_CLIENTS
            && let Some((_, longest)) = self.order.pop_first()
        {
            self.clients.remove(&longest);
        }
        self.order.insert(tick, payer.clone());
        let full = |unit| Bucket::full(allowance.per_min(unit), now);
        let fresh = || Seen { requests: full(Unit::Requests), tokens: full(Unit::Tokens), tick };
        let seen = self.clients.entry(payer.clone()).or_insert_with(fresh);
        seen.tick = tick;
        seen
    }
}

impl Seen {
    fn bucket(&mut self, unit: Unit) -> &mut Bucket {
        match unit {
            Unit::Requests => &mut self.requests,
            Unit::Tokens => &mut self.tokens,
        }
    }
}

/// The limits on clients.
#[derive(Debug, Clone)]
pub struct Rates {
    /// For an address.
    pub address: Allowance,
    /// For a key.
    pub key: Allowance,
    table: Arc<Mutex<Table>>,
    open: Arc<Mutex<HashMap<Payer, usize>>>,
}

impl Rates {
    /// Nobody has been seen yet.
    #[must_use]
    pub fn new(address: Allowance, key: Allowance) -> Self {
        Self { address, key, table: Arc::default(), open: Arc::default() }
    }

    fn allowance(&self, payer: &Payer) -> &Allowance {
        match payer {
            Payer::Address(_) => &self.address,
            Payer::Key(_) => &self.key,
        }
    }

    /// Counts an amount, or says how long to wait until there is room for it; then nothing is counted.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&self, payer: &Payer, unit: Unit, amount: u32, now: Instant) -> Result<(), Duration> {
        let allowance = self.allowance(payer);
        let size = allowance.per_min(unit);
        if size <= 0.0 {
            return Ok(());
        }
        lock(&self.table).seen(payer, allowance, now).bucket(unit).take(f64::from(amount), size, now)
    }

    /// Gives back what was counted too much.
    pub fn give_back(&self, payer: &Payer, unit: Unit, amount: u32, now: Instant) {
        let allowance = self.allowance(payer);
        let size = allowance.per_min(unit);
        if size > 0.0 {
            let mut table = lock(&self.table);
            let bucket = table.seen(payer, allowance, now).bucket(unit);
            bucket.level = size.min(bucket.level + f64::from(amount));
        }
    }

    /// Counts something that stays open until the place is dropped; `None` when there is no room for it.
    #[must_use]
    pub fn open(&self, payer: &Payer) -> Option<Place> {
        let most = self.allowance(payer).connections;
        let mut open = lock(&self.open);
        let count = open.get(payer).copied().unwrap_or_default();
        if most > 0 && count >= most {
            return None;
        }
        open.insert(payer.clone(), count + 1);
        Some(Place { payer: payer.clone(), open: self.open.clone() })
    }
}

/// A place among the open connections; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    payer: Payer,
    open: Arc<Mutex<HashMap<Payer, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        match open.get_mut(&self.payer) {
            Some(count) if *count > 1 => *count -= 1,
            // As many entries as connections, so this table needs no other bound.
            _ => drop(open.remove(&self.payer)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What was written before a panic is whole: each change is one assignment.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { requests_per_min: 60, tokens_per_min: 600, connections: 2 };

    fn address(number: u32) -> Payer {
        Payer::Address(std::net::IpAddr::V4(number.into()).into())
    }

    fn rates() -> Rates {
        Rates::new(ALLOWANCE, Allowance { requests_per_min: 120, ..ALLOWANCE })
    }

    #[test]
    fn a_minutes_worth_goes_at_once_and_then_as_fast_as_it_fills() {
        let (rates, now) = (rates(), Instant::now());
        let one = |at| rates.take(&address(1), Unit::Requests, 1, at);
        assert!((0..60).all(|_| one(now).is_ok()));
        assert_eq!(one(now), Err(Duration::from_secs(1)));
        assert_eq!(one(now + Duration::from_secs(1)), Ok(()));
        assert!(one(now + Duration::from_secs(1)).is_err());
        assert!(one(now).is_err(), "a clock that goes back gives nothing");
        let later = now + Duration::from_secs(3_600);
        assert_eq!((0..100).filter(|_| one(later).is_ok()).count(), 60);
    }

    #[test]
    fn clients_and_units_are_counted_apart() {
        let (rates, now) = (rates(), Instant::now());
        assert!(rates.take(&address(1), Unit::Requests, 60, now).is_ok());
        assert!(rates.take(&address(1), Unit::Tokens, 600, now).is_ok());
        assert!(rates.take(&address(2), Unit::Requests, 60, now).is_ok());
        assert!(rates.take(&Payer::Key("k".into()), Unit::Requests, 120, now).is_ok());
        assert!(rates.take(&address(1), Unit::Requests, 1, now).is_err());
    }

    #[test]
    fn what_is_more_than_a_minutes_worth_needs_a_full_bucket() {
        let (rates, now) = (rates(), Instant::now());
        assert!(rates.take(&address(1), Unit::Tokens, 10_000, now).is_ok());
        let wait = rates.take(&address(1), Unit::Tokens, 10_000, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(60));
        assert!(rates.take(&address(1), Unit::Tokens, 10_000, now + wait).is_ok());
    }

    #[test]
    fn what_was_counted_too_much_comes_back() {
        let (rates, now) = (rates(), Instant::now());
        rates.take(&address(1), Unit::Tokens, 600, now).unwrap();
        rates.give_back(&address(1), Unit::Tokens, 100, now);
        assert!(rates.take(&address(1), Unit::Tokens, 101, now).is_err());
        assert!(rates.take(&address(1), Unit::Tokens, 100, now).is_ok());
        rates.give_back(&address(1), Unit::Tokens, 10_000, now);
        assert!(rates.take(&address(1), Unit::Tokens, 600, now).is_ok());
        assert!(rates.take(&address(1), Unit::Tokens, 1, now).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_was_seen_longest_ago() {
        let (rates, now) = (rates(), Instant::now());
        rates.take(&address(0), Unit::Requests, 60, now).unwrap();
        rates.take(&address(1), Unit::Requests, 60, now).unwrap();
        for number in 2..MAX_CLIENTS as u32 {
            rates.take(&address(number), Unit::Requests, 1, now).unwrap();
        }
        assert!(rates.take(&address(0), Unit::Requests, 1, now).is_err(), "seen again");
        rates.take(&address(MAX_CLIENTS as u32), Unit::Requests, 1, now).unwrap();
        assert!(rates.take(&address(0), Unit::Requests, 1, now).is_err(), "still known");
        assert!(rates.take(&address(1), Unit::Requests, 1, now).is_ok(), "forgotten");
        let table = rates.table.lock().unwrap();
        assert_eq!((table.clients.len(), table.order.len()), (MAX_CLIENTS, MAX_CLIENTS));
    }

    #[test]
    fn open_connections_are_counted_until_they_end() {
        let rates = rates();
        let (one, _two) = (rates.open(&address(1)).unwrap(), rates.open(&address(1)).unwrap());
        assert!(rates.open(&address(1)).is_none() && rates.open(&address(2)).is_some());
        drop(one);
        assert!(rates.open(&address(1)).is_some());
        assert_eq!(rates.open.lock().unwrap().len(), 1);
    }

    #[test]
    fn zero_is_no_limit() {
        let (rates, now) = (Rates::new(Allowance::default(), Allowance::default()), Instant::now());
        assert!((0..10_000).all(|_| rates.take(&address(1), Unit::Requests, 1, now).is_ok()));
        let places: Vec<_> = (0..1_000).map(|_| rates.open(&address(1))).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
