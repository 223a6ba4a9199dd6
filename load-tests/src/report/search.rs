//! The report of `search`.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::Serialize;

use super::{CLOSED_LOOP, Trouble, header, per_second, row};
use crate::check::Violation;
use crate::failure::Failure;
use crate::spread::{Spread, Summary};

/// The report of `search`.
#[derive(Debug, Serialize)]
pub struct SearchReport {
    command: &'static str,
    load: &'static str,
    url: String,
    connections: usize,
    requests: usize,
    top_k: Option<usize>,
    /// Different questions that the requests had to share.
    questions: usize,
    /// From the first request to the last answer; the first connecting is not in it.
    seconds: f64,
    /// Requests that were answered with passages.
    pub requests_completed: usize,
    requests_per_second: f64,
    /// Connections made again because the ones before were closed or lost.
    reconnected: usize,
    /// Passages of all answers.
    sources: usize,
    request_ms: Option<Summary>,
    /// What did not work.
    #[serde(flatten)]
    pub trouble: Trouble,
}

/// What `search` was told to do.
#[derive(Debug)]
pub struct SearchSetup {
    /// The server.
    pub url: String,
    /// Connections at once.
    pub connections: usize,
    /// Requests of all connections.
    pub requests: usize,
    /// Passages asked for.
    pub top_k: Option<usize>,
    /// Questions in the file.
    pub questions: usize,
}

/// What happened on one connection of `search`.
#[derive(Debug, Default)]
pub struct SearchTally {
    /// Times of the requests that were answered with passages.
    pub times: Vec<Duration>,
    /// Passages of all answers.
    pub sources: usize,
    /// How often the connection was made again.
    pub reconnected: usize,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Rules that were broken.
    pub violations: Vec<Violation>,
}

impl SearchReport {
    /// Sums up a run that took that long.
    pub fn new(setup: SearchSetup, took: Duration, tallies: &[SearchTally]) -> Self {
        let (mut times, mut trouble) = (Spread::default(), Trouble::default());
        for tally in tallies {
            tally.times.iter().for_each(|time| times.record_ms(*time));
            tally.failures.iter().for_each(|failure| trouble.add_failure(failure));
            tally.violations.iter().for_each(|violation| trouble.add_violation(violation));
        }
        let completed = tallies.iter().map(|tally| tally.times.len()).sum();
        let seconds = took.as_secs_f64();
        Self {
            command: "search",
            load: CLOSED_LOOP,
            url: setup.url,
            connections: setup.connections,
            requests: setup.requests,
            top_k: setup.top_k,
            questions: setup.requests.min(setup.questions),
            seconds,
            requests_completed: completed,
            requests_per_second: per_second(completed as f64, seconds),
            reconnected: tallies.iter().map(|tally| tally.reconnected).sum(),
            sources: tallies.iter().map(|tally| tally.sources).sum(),
            request_ms: times.summary(),
            trouble,
        }
    }
}

impl Display for SearchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, requests) = (self.connections, self.requests);
        writeln!(f, "{requests} searches over {connections} connections, {} different questions", self.questions)?;
        writeln!(f, "server {}", self.url)?;
        writeln!(f, "{CLOSED_LOOP}")?;
        let (completed, speed) = (self.requests_completed, self.requests_per_second);
        writeln!(f, "searches: {completed} completed in {:.1} s, {speed:.1} a second", self.seconds)?;
        writeln!(f, "passages: {}, connections made again: {}", self.sources, self.reconnected)?;
        header(f)?;
        row(f, "request, ms", self.request_ms.as_ref())?;
        write!(f, "{}", self.trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_summed_over_connections() {
        let tally = || SearchTally { times: vec![Duration::from_millis(9); 3], sources: 15, ..SearchTally::default() };
        let setup =
            SearchSetup { url: "http://tutor:80".into(), connections: 2, requests: 6, top_k: None, questions: 4 };
        let report = SearchReport::new(setup, Duration::from_secs(3), &[tally(), tally()]);
        assert_eq!((report.requests_completed, report.sources, report.questions), (6, 30, 4));
        assert_eq!((report.requests_per_second, report.request_ms.unwrap().count), (2.0, 6));
    }
}
