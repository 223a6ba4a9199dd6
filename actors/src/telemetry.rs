//! What the actors measure. The program turns it into Prometheus metrics; tests keep it or drop it.

use std::time::Duration;

use crate::domain::{ErrorCode, FinishReason, Usage};

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub enum Measurement {
    /// A turn ended: with an answer or with an error.
    TurnEnded {
        /// Why it ended.
        outcome: Result<FinishReason, ErrorCode>,
        /// From arrival to end.
        total: Duration,
    },
    /// A turn's tokens.
    TokensUsed(Usage),
    /// A batch was embedded.
    Embedded {
        /// Texts in it.
        texts: usize,
        /// Time in the engine.
        took: Duration,
    },
    /// Jobs waiting for an embedding worker.
    EmbedQueueDepth(usize),
    /// A search ended.
    Retrieved {
        /// Time in the store.
        took: Duration,
        /// Score of the best passage.
        top_score: Option<f32>,
    },
    /// The passages of a search were looked at a second time.
    Reranked {
        /// What came of it.
        outcome: Reranked,
        /// From the end of the search.
        took: Duration,
    },
    /// A question was refused.
    Refused {
        /// Why.
        reason: &'static str,
    },
    /// A sentence was looked for in the sources.
    CitationChecked {
        /// Whether one supports it.
        supported: bool,
    },
    /// The sentences of an answer were compared with its sources.
    Attributed {
        /// What decided.
        method: AttributionMethod,
        /// From the last token to the decision.
        took: Duration,
    },
    /// A question got no place.
    TurnRejected {
        /// Why.
        reason: &'static str,
    },
    /// What is in the program, running or waiting.
    TurnsInside {
        /// Turns.
        turns: usize,
        /// Tokens of their prompts, as expected when they came.
        prompt_tokens: usize,
    },
    /// Turns waiting for the generator.
    TurnQueueDepth(usize),
    /// A turn waited that long for the generator.
    TurnQueueWaited(Duration),
    /// A turn that had to wait has got its slot.
    WaitForeseen {
        /// How long it was first told to wait.
        foreseen: Duration,
        /// How long it has waited since.
        waited: Duration,
    },
    /// Slots of the generator, and how many are in use.
    GenerationSlots {
        /// In use.
        busy: usize,
        /// In all.
        total: usize,
    },
    /// The first token of an answer, counted from the question's arrival.
    FirstToken(Duration),
    /// Time between two tokens of one answer.
    InterToken(Duration),
    /// The generator evaluated a batch.
    BatchEvaluated {
        /// Tokens in it.
        rows: usize,
        /// Time in the engine.
        took: Duration,
    },
    /// Cells of the generator's context that hold tokens.
    CellsUsed {
        /// In use.
        used: usize,
        /// In all.
        total: usize,
    },
    /// Turns lost their place in the generator's context to others in a step, and are read again when there is room.
    SetBack {
        /// How many; mostly none.
        times: u64,
    },
    /// Guesses at an answer were verified.
    Drafted {
        /// How many.
        guessed: usize,
        /// How many were right.
        right: usize,
    },
    /// Memory for evaluated tokens of conversations that are not in the generator's context.
    StateBytes(usize),
    /// From a cancel to the end of its turn in the generator.
    Cancelled(Duration),
    /// A worker was rebuilt.
    WorkerRestarted {
        /// Which pool.
        worker: &'static str,
        /// Why.
        cause: &'static str,
    },
    /// Beginnings and ends of turns were written together.
    TurnsStored {
        /// Time in the store.
        took: Duration,
    },
    /// Conversations in memory.
    ConversationsActive(usize),
}

/// What decided which sentence stands on which source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributionMethod {
    /// The words, which left no doubt.
    Words,
    /// Words and meaning.
    Meaning,
    /// The words alone where meaning was wanted: the embedder was late, full or down, or the turn was cancelled.
    Fallback,
}

impl AttributionMethod {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Meaning => "meaning",
            Self::Fallback => "fallback",
        }
    }
}

/// What came of a second look at passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reranked {
    /// Their order is the reranker's.
    Better,
    /// Their order is the search's: the reranker's queue was full, or it is down.
    Busy,
    /// Their order is the search's: the reranker took too long.
    Late,
    /// Their order is the search's: the reranker failed.
    Failed,
}

impl Reranked {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// Takes observations; must be cheap and never block.
pub trait Telemetry: Send + Sync {
    /// Takes one.
    fn record(&self, measurement: Measurement);
}

/// Drops everything.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Telemetry for Silent {
    fn record(&self, _: Measurement) {}
}
