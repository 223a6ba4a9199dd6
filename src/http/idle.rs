//! Ends connections that are kept open for a next request which never comes whole. actix times the first head of a connection and
//! the silence before the next one, but not the next one itself: a single byte of it would hold the connection for ever.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use tokio::time::Instant;

/// A connection's requests: how many are being answered, and since when none is. Stays on the connection's thread.
#[derive(Debug)]
struct Use {
    in_flight: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// A connection that is watched until it is dropped.
#[derive(Debug)]
pub struct Watched {
    connection: Rc<Use>,
    watch: JoinHandle<()>,
}

/// A request that is being answered, until its response has ended.
#[derive(Debug)]
pub struct InFlight(Rc<Use>);

impl Watched {
    /// Watches a new connection; `end` ends it once it was without a request for so long.
    pub fn new(longest_idle: Duration, end: impl FnOnce() + 'static) -> Self {
        let connection = Rc::new(Use { in_flight: Cell::new(0), idle_since: Cell::new(Instant::now()) });
        let watch = actix_web::rt::spawn(watch(connection.clone(), longest_idle, end));
        Self { connection, watch }
    }

    /// A request has come.
    pub fn begin(&self) -> InFlight {
        let connection = self.connection.clone();
        connection.in_flight.set(connection.in_flight.get() + 1);
        InFlight(connection)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl Use {
    /// When it is to be ended, as far as is known now.
    fn ends(&self, longest_idle: Duration, now: Instant) -> Instant {
        let idle_since = if self.in_flight.get() > 0 { now } else { self.idle_since.get() };
        idle_since + longest_idle
    }
}

async fn watch(connection: Rc<Use>, longest_idle: Duration, end: impl FnOnce()) {
    loop {
        let now = Instant::now();
        let ends = connection.ends(longest_idle, now);
        if ends <= now {
            return end();
        }
        tokio::time::sleep_until(ends).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(20);

    #[actix_web::test]
    async fn a_connection_ends_when_it_was_without_a_request_for_too_long() {
        let connection = Watched::new(LONGEST, || panic!("it is still young"));
        let ends = |now| connection.connection.ends(LONGEST, now);
        let opened = connection.connection.idle_since.get();
        assert_eq!(ends(opened + LONGEST), opened + LONGEST, "nothing was ever asked");
        let (one, two) = (connection.begin(), connection.begin());
        let later = opened + LONGEST * 10;
        assert_eq!(ends(later), later + LONGEST, "two requests are being answered");
        drop(one);
        assert_eq!(ends(later), later + LONGEST, "one is");
        drop(two);
        let since = connection.connection.idle_since.get();
        assert!(since > opened && ends(later) == since + LONGEST, "none is, since it was dropped");
    }

    #[actix_web::test]
    async fn a_connection_that_is_gone_is_watched_no_more() {
        let connection = Watched::new(LONGEST, || panic!("it is gone"));
        let watched = Rc::downgrade(&connection.connection);
        drop(connection);
        while watched.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
