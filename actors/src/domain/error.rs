//! What can go wrong with a turn, as stable codes, and with an engine, as a reason.

use std::time::Duration;

use thiserror::Error;

/// Stable error codes of the wire protocol. The HTTP status of each stands in one place, in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request itself is wrong.
    InvalidRequest,
    /// It needs a valid key.
    Unauthorized,
    /// Who asks may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Another turn is running in this conversation.
    TurnInProgress,
    /// The file of a document is not the one that was ingested.
    DocumentChanged,
    /// The request is larger than allowed.
    TooLarge,
    /// Every place in the queue is taken.
    Overloaded,
    /// A fault of ours.
    Internal,
    /// A part of the service is not there at the moment.
    Unavailable,
    /// It took longer than allowed.
    DeadlineExceeded,
}

impl ErrorCode {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 11] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::TurnInProgress,
        Self::DocumentChanged,
        Self::TooLarge,
        Self::Overloaded,
        Self::Internal,
        Self::Unavailable,
        Self::DeadlineExceeded,
    ];

    /// The code as it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::TurnInProgress => "turn_in_progress",
            Self::DocumentChanged => "document_changed",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }
}

/// Why a turn, or a request for one, failed. The message is for people: no path, prompt or stack trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct TurnError {
    /// Stable code.
    pub code: ErrorCode,
    /// What was wrong, with which value.
    pub message: String,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl TurnError {
    /// An error without a time to retry after.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// The same error, with a time after which trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Every place in a queue is taken.
    #[must_use]
    pub fn overloaded(what: &str, wait: Duration) -> Self {
        Self::new(ErrorCode::Overloaded, format!("{what} is full, try again later")).retry_after(wait)
    }

    /// The deadline passed while `what` was going on.
    #[must_use]
    pub fn deadline(what: &str) -> Self {
        Self::new(ErrorCode::DeadlineExceeded, format!("the time allowed for this question ended {what}"))
    }
}

/// Why an engine (embedder, generator, store, extractor) could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The engine could not be built: a file is missing, damaged, or of the wrong kind.
    #[error("{0}")]
    Load(String),
    /// One piece of work failed; the engine itself is usable.
    #[error("{0}")]
    Failed(String),
    /// The input is more than the engine can take.
    #[error("{0}")]
    TooLarge(String),
    /// Somebody else is at it; it may be free in a while.
    #[error("{0}")]
    Busy(String),
    /// What was asked for makes no sense to the engine, as a grammar that cannot be read.
    #[error("{0}")]
    Rejected(String),
    /// The worker died while it had the job; it is being rebuilt.
    #[error("the {0} worker stopped unexpectedly and is being restarted")]
    WorkerLost(&'static str),
}
