//! Many searches at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::address::Address;
use crate::ask::finish;
use crate::check::{Rule, Violation};
use crate::cli::SearchArgs;
use crate::failure::{Failure, within};
use crate::http::{Connection, Response};
use crate::questions::Questions;
use crate::report::{SearchReport, SearchSetup, SearchTally};

/// What all connections of a run share.
#[derive(Debug)]
struct Plan {
    address: Address,
    questions: Questions,
    connections: usize,
    requests: usize,
    top_k: Option<usize>,
    connect_deadline: Duration,
    request_deadline: Duration,
    /// Requests that were taken by a connection.
    taken: AtomicUsize,
}

/// Body of a search.
#[derive(Serialize)]
struct Query<'a> {
    query: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<usize>,
}

/// Runs `search`. What the server does wrong stands in the report.
///
/// # Errors
/// When the questions cannot be read.
pub async fn run(arguments: &SearchArgs) -> anyhow::Result<SearchReport> {
    let plan = Plan {
        address: arguments.url.clone(),
        questions: Questions::read(&arguments.questions)?,
        connections: arguments.connections.get(),
        requests: arguments.requests.get(),
        top_k: arguments.top_k.map(|wanted| wanted.get()),
        connect_deadline: arguments.connect_deadline,
        request_deadline: arguments.request_deadline,
        taken: AtomicUsize::new(0),
    };
    search_at_once(Arc::new(plan)).await
}

/// All connect first and then all begin to search, so that connecting is not mixed with answering.
async fn search_at_once(plan: Arc<Plan>) -> anyhow::Result<SearchReport> {
    let opening: JoinSet<Searcher> = (0..plan.connections).map(|_| Searcher::open(plan.clone())).collect();
    let searchers = finish(opening).await?;
    let start = Instant::now();
    let searching: JoinSet<_> = searchers.into_iter().map(Searcher::search_all).collect();
    let tallies = finish(searching).await?;
    let setup = SearchSetup {
        url: plan.address.to_string(),
        connections: plan.connections,
        requests: plan.requests,
        top_k: plan.top_k,
        questions: plan.questions.count(),
    };
    Ok(SearchReport::new(setup, start.elapsed(), &tallies))
}

impl Plan {
    /// A question that no other connection has; `None` when all requests are taken.
    fn take_question(&self) -> Option<&str> {
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        (index < self.requests).then(|| self.questions.get(index))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let opening =
            async { Connection::open(self.address.authority()).await.map_err(|error| Failure::connecting(&error)) };
        within(self.connect_deadline, "connecting", opening).await
    }

    fn body(&self, question: &str) -> String {
        let query = Query { query: question, top_k: self.top_k };
        serde_json::to_string(&query).expect("texts and numbers can always be written")
    }
}

/// One connection, and what happened on it.
struct Searcher {
    plan: Arc<Plan>,
    connection: Option<Connection>,
    tally: SearchTally,
}

impl Searcher {
    async fn open(plan: Arc<Plan>) -> Self {
        let mut tally = SearchTally::default();
        let connection = plan.connect().await.map_err(|failure| tally.failures.push(failure)).ok();
        Self { plan, connection, tally }
    }

    /// Searches until all requests are taken, or there is no connection any more.
    async fn search_all(mut self) -> SearchTally {
        let plan = self.plan.clone();
        if self.connection.is_none() {
            return self.tally;
        }
        while let Some(question) = plan.take_question() {
            let Some(connection) = self.connection().await else { break };
            self.connection = self.search(connection, question).await;
        }
        self.tally
    }

    /// The connection, made again where the last request has cost it.
    async fn connection(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        self.tally.reconnected += 1;
        self.plan.connect().await.map_err(|failure| self.tally.failures.push(failure)).ok()
    }

    /// Searches once; the connection where it can be used again.
    async fn search(&mut self, mut connection: Connection, question: &str) -> Option<Connection> {
        let (target, body) = (self.plan.address.target("/api/search"), self.plan.body(question));
        let start = Instant::now();
        let posting = async { connection.post(&target, &body).await.map_err(|error| Failure::lost(&error)) };
        let response = within(self.plan.request_deadline, "a search", posting).await;
        let took = start.elapsed();
        match response {
            Ok(response) => {
                let stays_open = response.stays_open;
                self.note(&response, took).await;
                stays_open.then_some(connection)
            }
            Err(failure) => {
                self.tally.failures.push(failure);
                None
            }
        }
    }

    async fn note(&mut self, response: &Response, took: Duration) {
        match read_answer(response) {
            Answer::Passages(count) => {
                self.tally.times.push(took);
                self.tally.sources += count;
            }
            Answer::Failed(failure) => {
                failure.back_off().await;
                self.tally.failures.push(failure);
            }
            Answer::Broken(violation) => self.tally.violations.push(violation),
        }
    }
}

/// What a response means.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// So many passages were found.
    Passages(usize),
    /// An error, as the protocol has it.
    Failed(Failure),
    /// Neither.
    Broken(Violation),
}

fn read_answer(response: &Response) -> Answer {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if response.status == 200 {
        return match (&body["query"], &body["sources"]) {
            (Value::String(_), Value::Array(sources)) => Answer::Passages(sources.len()),
            _ => broken(response.status, "without query or sources"),
        };
    }
    let error = &body["error"];
    match (&error["code"], &error["message"]) {
        (Value::String(code), Value::String(message)) => {
            Answer::Failed(Failure::new(code, message).retry_after_ms(error["retry_after_ms"].as_u64()))
        }
        _ => broken(response.status, "without the code or message of an error"),
    }
}

fn broken(status: u16, how: &str) -> Answer {
    Answer::Broken(Violation { rule: Rule::Shape, detail: format!("a search was answered {status} {how}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server;

    const FOUND: &str = r#"{"query": "what is a heap?", "sources": [{"id": 1}, {"id": 2}]}"#;

    fn plan(address: Address) -> Plan {
        Plan {
            address,
            questions: Questions::parse("what is a heap?").unwrap(),
            connections: 2,
            requests: 7,
            top_k: Some(2),
            connect_deadline: Duration::from_secs(20),
            request_deadline: Duration::from_secs(20),
            taken: AtomicUsize::new(0),
        }
    }

    async fn search(status: &'static str, body: &'static str) -> SearchReport {
        let address = fake_server::serve_searches(status, body).await;
        search_at_once(Arc::new(plan(address))).await.unwrap()
    }

    #[tokio::test]
    async fn all_connections_together_send_the_requests() {
        let report = search("200 OK", FOUND).await;
        assert_eq!(report.trouble.examples, Vec::<String>::new());
        assert_eq!((report.requests_completed, report.trouble.exit_code(report.requests_completed)), (7, 0));
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closes_is_made_again() {
        let report = search("200 OK\r\nConnection: close", FOUND).await;
        assert_eq!((report.requests_completed, report.trouble.errors.len()), (7, 0));
    }

    #[tokio::test]
    async fn an_error_of_the_server_is_counted_by_its_code() {
        let body = r#"{"error": {"code": "overloaded", "message": "full", "retry_after_ms": 1}, "detail": "full"}"#;
        let report = search("429 Too Many Requests", body).await;
        assert_eq!(report.trouble.errors["overloaded"], 7);
        assert_eq!(report.trouble.exit_code(report.requests_completed), 2);
    }

    #[tokio::test]
    async fn what_is_neither_passages_nor_an_error_breaks_the_shape() {
        for (status, body) in [("200 OK", "{}"), ("200 OK", "<html>"), ("502 Bad Gateway", "")] {
            let report = search(status, body).await;
            assert_eq!(report.trouble.rules_broken["shape"], 7, "{status} {body}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_of_each_connection() {
        let report = search_at_once(Arc::new(plan(fake_server::unused_address()))).await.unwrap();
        assert_eq!(report.trouble.errors["connect_failed"], 2);
    }
}
