//! A turn: one question, the events on the way to its answer, and the answer.

use std::time::Duration;

use super::{CharSpan, ClientId, ConversationId, ScoredPassage, TurnError, TurnId};

/// What a student asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRequest {
    /// The client's id for this turn, or one made here.
    pub turn_id: TurnId,
    /// Who asks; `None` where everybody is one and the same: the server's own machine.
    pub client: Option<ClientId>,
    /// The question.
    pub message: String,
    /// How to answer it.
    pub options: AnswerOptions,
    /// How long the turn may go on with nobody watching it.
    pub abandon_after: Duration,
}

/// What a client may choose for one turn; `None` means the configured default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnswerOptions {
    /// How many passages to retrieve.
    pub top_k: Option<usize>,
    /// Only documents whose path matches one of these names or globs.
    pub documents: Vec<String>,
    /// Longest answer, in tokens of the generator.
    pub max_tokens: Option<usize>,
    /// Sampling temperature; 0 is greedy.
    pub temperature: Option<f32>,
    /// Keep the most probable tokens that together have this probability.
    pub top_p: Option<f32>,
    /// Drop tokens less probable than this times the best.
    pub min_p: Option<f32>,
    /// Divides the score of tokens seen lately; 1 is off.
    pub repeat_penalty: Option<f32>,
    /// Taken once from the score of every token seen lately.
    pub presence_penalty: Option<f32>,
    /// Taken from the score of a token for every time it was seen lately.
    pub frequency_penalty: Option<f32>,
    /// How far back these three look, in tokens of the answer; 0 is not at all.
    pub repeat_last_tokens: Option<usize>,
    /// Strength of the DRY penalty on repeated sequences; 0 is off.
    pub dry_multiplier: Option<f32>,
    /// Keep this many of the most probable tokens; 0 keeps all.
    pub sampling_top_k: Option<usize>,
    /// Added to the scores of these tokens of the generator's vocabulary before anything else.
    pub logit_bias: Vec<(Token, f32)>,
    /// Seed of the sampler.
    pub seed: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// A grammar in GBNF that the answer must follow, with the rule `root`.
    pub grammar: Option<String>,
    /// What a client's own system message says. The model reads it before the question; it is not searched for.
    pub instructions: Option<String>,
}

/// A token of the generator's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i32);

/// Where a turn is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkflowNode {
    /// Waiting for its turn on the generator.
    Queued,
    /// Turning a follow-up into a question that stands alone.
    RewriteQuery,
    /// Searching the corpus.
    Retrieve,
    /// Writing the answer.
    Generate,
}

impl WorkflowNode {
    /// The node as it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::RewriteQuery => "rewrite_query",
            Self::Retrieve => "retrieve",
            Self::Generate => "generate",
        }
    }
}

/// How far an answer stands on the course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grounding {
    /// Every sentence that claims something was found in a passage.
    Grounded,
    /// Some sentences were not.
    Partial,
    /// Nothing relevant was found and no answer was generated.
    Refused,
}

impl Grounding {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grounded => "grounded",
            Self::Partial => "partial",
            Self::Refused => "refused",
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// The answer reached its longest allowed length.
    Length,
    /// The client stopped it, or left.
    Cancelled,
    /// Nothing relevant was found.
    Refused,
}

impl FinishReason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }
}

/// Tokens a turn used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them the engine still had from before.
    pub cached_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
}

/// Where a turn's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Waiting for the generator.
    pub queue: Duration,
    /// Embedding the question.
    pub embed: Duration,
    /// Searching.
    pub retrieve: Duration,
    /// From the question's arrival to the first token of the answer.
    pub first_token: Duration,
    /// From the question's arrival to the end.
    pub total: Duration,
}

/// A part of the answer that stands on a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Citation {
    /// Number of the source in the turn's list, from 1.
    pub source: usize,
    /// Which characters of the answer.
    pub span: CharSpan,
    /// How well the source supports them, 0 to 1.
    pub score: f32,
}

/// A finished turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Which conversation it belongs to.
    pub conversation_id: ConversationId,
    /// The whole answer; the concatenation of the turn's tokens.
    pub answer: String,
    /// The passages it was given.
    pub sources: Vec<ScoredPassage>,
    /// The question as retrieved for.
    pub question: String,
    /// How far the answer stands on the course.
    pub grounding: Grounding,
    /// Which part stands on which source.
    pub citations: Vec<Citation>,
    /// Sentences that claim something and stand on no source, in order.
    pub unsupported: Vec<CharSpan>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens used.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// The nodes it passed.
    pub workflow_path: Vec<WorkflowNode>,
    /// Whether the question was rewritten with the history before retrieval.
    pub was_rewritten: bool,
}

/// What happens in a turn, in the order clients see it. Exactly one `Completed` or `Failed` ends it.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// It reached a node.
    Workflow {
        /// Which.
        node: WorkflowNode,
        /// What that means, for people.
        message: String,
        /// Its place in the queue, from 1.
        position: Option<usize>,
        /// How long it is likely to wait there, in whole milliseconds.
        wait: Option<Duration>,
    },
    /// The passages it will be answered from, best first.
    Sources(Vec<ScoredPassage>),
    /// More of the answer.
    Token(String),
    /// A sentence was found in a source.
    Cited(Citation),
    /// It ended with an answer.
    Completed(Box<Completion>),
    /// It ended with an error.
    Failed(TurnError),
}

impl TurnEvent {
    /// Whether this ends its turn.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(_))
    }

    /// Tokens of the answer, when this ends its turn.
    #[must_use]
    pub fn answer_tokens(&self) -> Option<usize> {
        match self {
            Self::Completed(done) => Some(done.usage.completion_tokens),
            Self::Failed(_) => Some(0),
            Self::Workflow { .. } | Self::Sources(_) | Self::Token(_) | Self::Cited(_) => None,
        }
    }
}

/// An event with its place in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedEvent {
    /// From 1, without gaps.
    pub seq: u64,
    /// Which turn it belongs to.
    pub turn_id: TurnId,
    /// What happened.
    pub event: TurnEvent,
}
