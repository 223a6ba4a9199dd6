//! One generation on the engine's runtime: tries until the first token, then passes on what comes. Aborting it closes its
//! connection.

use std::time::Duration;

use mentor_actors::domain::{FinishReason, Usage};
use mentor_actors::ports::Slot;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::Client;
use super::completion::Piece;
use super::config::RemoteConfig;
use super::failure::RemoteFailure;
use super::retry::{Retries, RetryPolicy};
use super::stream::AnswerStream;

/// How long to wait for what follows the end of an answer: its usage, and the end of the reply.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Which generation of a slot: reports of an earlier one may still be on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(pub(super) u64);

/// What happened in a generation.
#[derive(Debug)]
pub(super) enum Event {
    /// More text; never empty.
    Text(String),
    /// The answer is over.
    Finished(FinishReason, Option<Usage>),
    /// There will be no more of it.
    Failed(RemoteFailure),
}

/// An event and whose it is.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) slot: Slot,
    pub(super) ticket: Ticket,
    pub(super) event: Event,
}

/// The way to the engine's thread.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) slot: Slot,
    pub(super) ticket: Ticket,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Reporter {
    /// Waits while the engine's thread is behind; the server then waits too. Nobody listens any more when the engine is gone.
    pub(super) async fn tell(&self, event: Event) {
        let report = Report { slot: self.slot, ticket: self.ticket, event };
        drop(self.reports.send(report).await);
    }
}

/// How long a generation waits, and how often it tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    first_token: Duration,
    silence: Duration,
    retries: RetryPolicy,
}

impl Patience {
    pub(super) fn of(config: &RemoteConfig) -> Self {
        Self { first_token: config.first_token_timeout, silence: config.idle_timeout, retries: config.retries }
    }
}

/// A generation on its way.
#[derive(Debug)]
pub(super) struct GenerationTask {
    pub(super) client: Client,
    pub(super) body: Vec<u8>,
    pub(super) patience: Patience,
    pub(super) reporter: Reporter,
}

impl GenerationTask {
    /// Ends with exactly one `Finished` or `Failed`.
    pub(super) async fn run(self) {
        if let Err(failure) = self.generate().await {
            self.reporter.tell(Event::Failed(failure)).await;
        }
    }

    async fn generate(&self) -> Result<(), RemoteFailure> {
        let limit = self.patience.first_token;
        let begun = timeout(limit, self.begin()).await.unwrap_or(Err(RemoteFailure::NoFirstToken(limit)));
        let (stream, first) = begun?;
        self.pass_on(stream, first).await
    }

    async fn begin(&self) -> Result<(AnswerStream, Option<Piece>), RemoteFailure> {
        let mut retries = Retries::new(self.patience.retries);
        loop {
            match self.attempt().await {
                Ok(begun) => return Ok(begun),
                Err(failure) => retries.pause(failure).await?,
            }
        }
    }

    /// One try: a stream, and the first of its pieces that says something.
    async fn attempt(&self) -> Result<(AnswerStream, Option<Piece>), RemoteFailure> {
        let mut stream = self.client.ask(self.body.clone()).await?;
        loop {
            match stream.next().await? {
                Some(piece) if piece.text.is_empty() && !piece.thinks && piece.reason.is_none() => {}
                first => return Ok((stream, first)),
            }
        }
    }

    /// Passes on an answer to its end. From here on a failure is final: another try would write another answer.
    async fn pass_on(&self, mut stream: AnswerStream, first: Option<Piece>) -> Result<(), RemoteFailure> {
        let (mut next, mut reason, mut usage) = (first, None, None);
        while let Some(piece) = next {
            if !piece.text.is_empty() {
                self.reporter.tell(Event::Text(piece.text)).await;
            }
            reason = piece.reason.or(reason);
            usage = piece.usage.or(usage);
            let silence = if reason.is_some() { LAST_WORDS } else { self.patience.silence };
            next = match timeout(silence, stream.next()).await.unwrap_or(Err(RemoteFailure::Silent(silence))) {
                Ok(next) => next,
                // The answer is whole; only its usage may be missing.
                Err(_) if reason.is_some() => None,
                Err(failure) => return Err(failure),
            };
        }
        self.reporter.tell(Event::Finished(reason.unwrap_or(FinishReason::Stop), usage)).await;
        // Out of time, the connection is closed instead of kept.
        drop(timeout(LAST_WORDS, stream.drain()).await);
        Ok(())
    }
}
