//! One job: what it is to do, how far it is, what became of each document.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::{DocumentId, TurnError};
use tokio::sync::watch;

use super::log::{Event, Log};
use super::queue::Place;

/// Outcomes that a job remembers; of the others only the counts. A page cannot show more, and a folder may hold any number.
const MAX_OUTCOMES: usize = 1_000;

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Take in these documents, which were put into the folder; others are left alone.
    Take(BTreeSet<DocumentId>),
    /// Remove this document from folder and store.
    Remove(DocumentId),
    /// Make the store what the folder is.
    Sync {
        /// Try again what failed before.
        retry: bool,
    },
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for those before it.
    Queued,
    /// At work.
    Running,
    /// Has done what there was to do; documents may have failed.
    Done,
    /// Could not go on; the error says why.
    Failed,
    /// Was told to stop, or the server was.
    Cancelled,
}

impl State {
    /// Whether nothing changes any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stage {
    /// So much is done.
    pub done: u64,
    /// Of so much that is known of.
    pub total: u64,
}

/// How far the stages are, each in what it takes its time for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Bytes of files that are read.
    pub extract: Stage,
    /// Chunks that have their vectors.
    pub embed: Stage,
    /// Documents that are done with.
    pub write: Stage,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentResult {
    /// It is in the store.
    Ingested {
        /// Its pages.
        pages: u32,
        /// Its chunks.
        chunks: u32,
        /// Pages that gave no text, with the reason.
        failed_pages: Vec<(u32, String)>,
    },
    /// It could not be read as a whole.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is no longer in the store.
    Removed,
    /// The store had it under another name.
    Renamed {
        /// Which.
        from: DocumentId,
    },
    /// Another document with the same content stands for it.
    Copy {
        /// Which.
        of: DocumentId,
    },
    /// The store had it already.
    Unchanged,
}

/// A document, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which document.
    pub id: DocumentId,
    /// What became of it.
    pub result: DocumentResult,
}

/// How many documents had which outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the store now.
    pub ingested: u64,
    /// Could not be read.
    pub failed: u64,
    /// No longer in the store.
    pub removed: u64,
    /// Given another name.
    pub renamed: u64,
    /// Stored under another one's name.
    pub copies: u64,
    /// As before.
    pub unchanged: u64,
}

/// A job as it is at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// What it is to do.
    pub order: Order,
    /// Where it stands.
    pub state: State,
    /// Whether it was told to stop.
    pub is_cancelled: bool,
    /// When it came, in seconds since 1970; also the next two.
    pub created_s: u64,
    /// When it began.
    pub started_s: Option<u64>,
    /// When it ended.
    pub ended_s: Option<u64>,
    /// How far it is.
    pub stages: Stages,
    /// Documents by outcome.
    pub counts: Counts,
    /// The first thousand outcomes.
    pub documents: Vec<Outcome>,
    /// Why it failed.
    pub error: Option<TurnError>,
    /// Number of its newest event.
    pub last_seq: u64,
}

/// One job. Shared by the thread that runs it and everybody who asks.
#[derive(Debug)]
pub struct Job {
    id: String,
    order: Order,
    created_s: u64,
    cancel: CancelToken,
    inner: Mutex<Inner>,
    /// The number of the newest event.
    news: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    started_s: Option<u64>,
    ended_s: Option<u64>,
    stages: Stages,
    counts: Counts,
    documents: Vec<Outcome>,
    error: Option<TurnError>,
    log: Log,
    /// Its place in the queue, until it leaves it.
    place: Option<Place>,
}

impl Job {
    pub(super) fn new(order: Order, place: Place) -> Self {
        let mut log = Log::default();
        let seq = log.push(Event::State(State::Queued));
        let inner = Inner {
            state: State::Queued,
            started_s: None,
            ended_s: None,
            stages: Stages::default(),
            counts: Counts::default(),
            documents: Vec::new(),
            error: None,
            log,
            place: Some(place),
        };
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            order,
            created_s: now_s(),
            cancel: CancelToken::default(),
            inner: Mutex::new(inner),
            news: watch::Sender::new(seq),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is to do.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Tells its runner to stop.
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// The job as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            id: self.id.clone(),
            order: self.order.clone(),
            state: inner.state,
            is_cancelled: self.cancel.is_cancelled(),
            created_s: self.created_s,
            started_s: inner.started_s,
            ended_s: inner.ended_s,
            stages: inner.stages,
            counts: inner.counts,
            documents: inner.documents.clone(),
            error: inner.error.clone(),
            last_seq: inner.log.last(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// The first event after that number, when there is one; `None` when none can come.
    pub async fn next(&self, after: u64) -> Option<(u64, Event)> {
        let mut news = self.news.subscribe();
        loop {
            {
                let inner = self.lock();
                if let Some(event) = inner.log.after(after) {
                    return Some(event.clone());
                }
                if inner.state.is_ended() {
                    return None;
                }
            }
            // The sender lives in `self`, so waiting can't fail.
            let _changed = news.changed().await;
        }
    }

    /// Notes how far it is.
    pub fn advance(&self, change: impl FnOnce(&mut Stages)) {
        self.note(|inner| {
            change(&mut inner.stages);
            Some(Event::Progress(inner.stages))
        });
    }

    /// Notes what became of a document.
    pub fn document(&self, id: DocumentId, result: DocumentResult) {
        self.note(|inner| {
            *inner.counts.of(&result) += 1;
            if inner.documents.len() >= MAX_OUTCOMES {
                return None;
            }
            let outcome = Outcome { id, result };
            inner.documents.push(outcome.clone());
            Some(Event::Document(outcome))
        });
    }

    /// Notes that so many documents were in the store already, without naming them.
    pub fn count_unchanged(&self, documents: usize) {
        self.lock().counts.unchanged += documents as u64;
    }

    /// Leaves the queue; `false` when it was cancelled while it waited.
    pub(super) fn begin(&self) -> bool {
        let mut began = false;
        self.note(|inner| {
            inner.place = None;
            began = inner.state == State::Queued;
            began.then(|| {
                inner.started_s = Some(now_s());
                inner.state = State::Running;
                Event::State(State::Running)
            })
        });
        began
    }

    /// Notes its end.
    pub(super) fn end(&self, result: Result<(), TurnError>) {
        self.note(|inner| {
            inner.state = match &result {
                _ if self.cancel.is_cancelled() => State::Cancelled,
                Ok(()) => State::Done,
                Err(_) => State::Failed,
            };
            inner.error = result.err().filter(|_| inner.state == State::Failed);
            inner.ended_s = Some(now_s());
            Some(Event::Ended)
        });
    }

    /// Stops it: while it waits at once, while it runs as soon as it can. One that has ended stays as it is.
    pub fn cancel(&self) {
        if self.state().is_ended() {
            return;
        }
        self.cancel.cancel();
        self.note(|inner| {
            (inner.state == State::Queued).then(|| {
                inner.state = State::Cancelled;
                inner.ended_s = Some(now_s());
                Event::Ended
            })
        });
    }

    fn note(&self, change: impl FnOnce(&mut Inner) -> Option<Event>) {
        let mut inner = self.lock();
        if let Some(event) = change(&mut inner) {
            let seq = inner.log.push(event);
            drop(inner);
            self.news.send_replace(seq);
        }
    }

    /// No code runs under this lock that could panic half-way, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, result: &DocumentResult) -> &mut u64 {
        match result {
            DocumentResult::Ingested { .. } => &mut self.ingested,
            DocumentResult::Failed { .. } => &mut self.failed,
            DocumentResult::Removed => &mut self.removed,
            DocumentResult::Renamed { .. } => &mut self.renamed,
            DocumentResult::Copy { .. } => &mut self.copies,
            DocumentResult::Unchanged => &mut self.unchanged,
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
