//! What all clients of a scenario share: the server, the questions, the figures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::address::Address;
use crate::cli::seconds;
use crate::failure::{Failure, within};
use crate::figures::Figures;
use crate::frame::AskOptions;
use crate::http::{Connection, Response};
use crate::limits::Limit;
use crate::process::{Process, Usage};
use crate::questions::Questions;
use crate::random::Random;

/// Arguments of every scenario.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:8000", value_parser = Address::web_socket)]
    pub url: Address,
    /// Questions: a JSON object with `question` on each line, or plain lines. Used in order, and again from the start.
    #[arg(long, value_name = "FILE")]
    pub questions: PathBuf,
    /// The server's process, on this machine: its memory, processor time and open files are measured.
    #[arg(long, value_name = "PID")]
    pub pid: Option<i32>,
    /// Seed of everything random here.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Longest answer, in tokens; the server's own limit when not given.
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Longest that a connection may take to be `ready`, and a short request to be answered, in seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub connect_deadline: Duration,
    /// Longest that a turn may take, in seconds.
    #[arg(long, default_value = "300", value_parser = seconds)]
    pub turn_deadline: Duration,
    /// A figure that may be at most so large: `token_delay_ms.p99=50`. Exit code 1 when it is not. May be given several times.
    #[arg(long, value_name = "FIGURE=VALUE")]
    pub at_most: Vec<Limit>,
    /// A figure that must be at least so large.
    #[arg(long, value_name = "FIGURE=VALUE")]
    pub at_least: Vec<Limit>,
    /// Print the report as one line of JSON, and the table to standard error.
    #[arg(long)]
    pub json: bool,
    /// Write the report as a page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A running scenario.
#[derive(Debug, Clone)]
pub struct Bench {
    /// What was asked for.
    pub common: Common,
    /// What was measured.
    pub figures: Arc<Figures>,
    /// When it began.
    pub start: Instant,
    /// Beginning of the conversations' ids, different in each run.
    run_id: String,
    questions: Questions,
}

impl Bench {
    /// Begins a scenario.
    ///
    /// # Errors
    /// When the questions cannot be read.
    pub fn begin(common: Common) -> anyhow::Result<Arc<Self>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Arc::new(Self {
            questions: Questions::read(&common.questions)?,
            run_id: format!("load-{}-{}", now.as_millis(), std::process::id()),
            figures: Arc::default(),
            start: Instant::now(),
            common,
        }))
    }

    /// An id that no other run has.
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.run_id)
    }

    /// The same run with other ids, for a scenario that is played once more.
    pub fn round(self: &Arc<Self>, number: usize) -> Arc<Self> {
        Arc::new(Self { run_id: format!("{}-{number}", self.run_id), ..Self::clone(self) })
    }

    /// The question at an index.
    pub fn question(&self, index: usize) -> &str {
        self.questions.get(index)
    }

    /// How to answer.
    pub fn options(&self) -> AskOptions {
        AskOptions { max_tokens: self.common.max_tokens, seed: None }
    }

    /// Random numbers for a client.
    pub fn random(&self, client: usize) -> Random {
        Random::new(self.common.seed, client as u64)
    }

    /// What the server's process uses now; `None` where its number was not given or it is gone.
    pub fn usage(&self) -> Option<Usage> {
        Process(self.common.pid?).usage()
    }

    /// The server's memory, in MiB.
    pub fn resident_mib(&self) -> Option<f64> {
        self.usage().map(|usage| usage.resident_kib as f64 / 1_024.0)
    }

    /// Gets something over HTTP, on a connection of its own.
    ///
    /// # Errors
    /// When that fails, or the status is not 200.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let response = self.exchange(path, None).await?;
        match response.status {
            200 => Ok(response.body),
            status => Err(Failure::new(format!("http_{status}"), format!("GET {path} was answered {status}"))),
        }
    }

    /// Posts an empty object, on a connection of its own; the status.
    ///
    /// # Errors
    /// When that fails.
    pub async fn post(&self, path: &str) -> Result<u16, Failure> {
        Ok(self.exchange(path, Some("{}")).await?.status)
    }

    async fn exchange(&self, path: &str, json: Option<&str>) -> Result<Response, Failure> {
        let address = &self.common.url;
        let asking = async {
            let opened = Connection::open(address.authority()).await;
            let mut connection = opened.map_err(|error| Failure::connecting(&error))?;
            let target = address.target(path);
            let answered = match json {
                None => connection.get(&target).await,
                Some(json) => connection.post(&target, json).await,
            };
            answered.map_err(|error| Failure::lost(&error))
        };
        within(self.common.connect_deadline, "a request", asking).await
    }

    /// The answers of a conversation that are stored, by their turns.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn stored_answers(&self, conversation: &str) -> Result<Vec<(String, String)>, Failure> {
        let body = self.get(&format!("/api/conversations/{conversation}?limit=200")).await?;
        let value: Value =
            serde_json::from_slice(&body).map_err(|error| Failure::new("not_json", error.to_string()))?;
        let turns = value["turns"].as_array().map(Vec::as_slice).unwrap_or_default();
        let answer = |turn: &Value| {
            let id = turn["turn_id"].as_str()?.to_owned();
            Some((id, turn["complete"]["answer"].as_str()?.to_owned()))
        };
        Ok(turns.iter().filter_map(answer).collect())
    }

    /// A gauge or counter of the server's metrics; series of one name are added up.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let body = self.get("/metrics").await?;
        let text = String::from_utf8_lossy(&body);
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with([' ', '{']);
            rest.rsplit_once(' ').filter(|_| is_whole)?.1.parse::<f64>().ok()
        };
        Ok(text.lines().filter_map(value).sum())
    }
}

/// Waits until a moment.
pub async fn until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
}

/// Waits for all clients; each has deadlines of its own.
///
/// # Errors
/// When one panicked.
pub async fn all(mut clients: JoinSet<()>) -> anyhow::Result<()> {
    while let Some(result) = clients.join_next().await {
        result?;
    }
    Ok(())
}

/// The most memory that the server's process has had, looked at ten times a second.
pub struct HighWater {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<f64>>,
}

impl HighWater {
    /// Begins to look.
    pub fn start(bench: Arc<Bench>) -> Self {
        const INTERVAL: Duration = Duration::from_millis(100);
        let (stop, mut stopped) = oneshot::channel();
        let looking = async move {
            let mut most: Option<f64> = None;
            while tokio::time::timeout(INTERVAL, &mut stopped).await.is_err() {
                let now = bench.resident_mib();
                most = most.into_iter().chain(now).reduce(f64::max);
            }
            most
        };
        Self { stop, task: tokio::spawn(looking) }
    }

    /// How much it was, in MiB.
    pub async fn stop(self) -> Option<f64> {
        // It ends only when it is told to, or panicked: then nothing is known.
        let _ended = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}
