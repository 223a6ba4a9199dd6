//! The seams behind which the engines stand. Small and object-safe; synchronous where the engine is.
//!
//! Nothing above a port may know which engine is behind it: a larger installation plugs in its own here.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;

pub use crate::domain::Token;
use crate::domain::{
    Chunk, ConversationId, ConversationSummary, CorpusStats, DocumentContent, DocumentId, DocumentRecord,
    EmbeddedChunk, Embedding, EngineError, Feedback, FinishReason, Found, ListPlace, Owner, ScoredPassage,
    StoredConversation, StoredTurn, TurnChange, TurnId, Usage,
};
use crate::prompt::Exchange;

/// Builds an engine on the thread that will own it, and again after a crash.
pub type Factory<E> = Arc<dyn Fn() -> Result<E, EngineError> + Send + Sync>;

/// Turns texts into vectors. Lives on one worker thread.
pub trait Embedder {
    /// Length of the vectors.
    fn dimension(&self) -> usize;
    /// Longest text it reads, in its own tokens, special tokens included; what is longer is cut.
    fn max_tokens(&self) -> usize;
    /// One unit-length vector for each text, in order.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the engine refuses the batch.
    fn embed(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EngineError>;
}

/// Reads a question and a passage and says how well the passage answers it. Lives on one worker thread.
pub trait Reranker {
    /// A score for each passage, in order, from 0 (has nothing to do with the question) to 1 (answers it). Those it comes with are
    /// the search's.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the engine refuses the batch.
    fn score(&mut self, question: &str, passages: &[ScoredPassage]) -> Result<Vec<f32>, EngineError>;
}

/// Counts tokens as the embedder does, for chunking. Shared between threads.
pub trait TokenCounter: Send + Sync {
    /// Tokens of `text` without special tokens.
    fn count(&self, text: &str) -> usize;
}

/// Which passages a search is for.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// The question, for its words.
    pub text: String,
    /// Its vector.
    pub embedding: Embedding,
    /// How many passages to return.
    pub top_k: usize,
    /// How much the best passages may be together, in characters, when what stands beside them is taken in; 0 for the chunks
    /// alone.
    pub context_chars: usize,
    /// Only these documents; all of them when empty.
    pub documents: Vec<DocumentId>,
}

/// The read side of the corpus.
pub trait Retriever: Send + Sync {
    /// The most relevant passages, best first: at most one of a page, and none that says the same as another.
    fn search(&self, query: SearchQuery) -> BoxFuture<'static, Result<Found, EngineError>>;
    /// What the corpus holds now.
    fn stats(&self) -> BoxFuture<'static, Result<CorpusStats, EngineError>>;
    /// The documents of the corpus, ordered by id.
    fn documents(&self) -> BoxFuture<'static, Result<Vec<DocumentRecord>, EngineError>>;
}

/// The write side of the corpus. One writer at a time, across processes.
pub trait Corpus: Send {
    /// The documents of the corpus, ordered by id.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be read.
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, EngineError>;
    /// Stores a document, replacing a former one of the same id: it is either wholly there or not at all.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be written.
    fn put(&mut self, record: &DocumentRecord, chunks: &[EmbeddedChunk]) -> Result<(), EngineError>;
    /// Replaces the record of a stored document; its chunks stay as they are.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when there is no such document, the record counts other chunks, or the store cannot be
    /// written.
    fn update(&mut self, record: &DocumentRecord) -> Result<(), EngineError>;
    /// Makes the document `from` the record's, without touching text or vectors; a former document of the record's id is
    /// replaced.
    ///
    /// # Errors
    /// As for `update`.
    fn rename(&mut self, from: &DocumentId, record: &DocumentRecord) -> Result<(), EngineError>;
    /// Removes a document; no error when it is not there.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be written.
    fn remove(&mut self, id: &DocumentId) -> Result<(), EngineError>;
    /// Makes everything so far survive power loss, and tidies up. Called once at the end of an ingest.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be written.
    fn finish(&mut self) -> Result<CorpusStats, EngineError>;
}

/// Keeps conversations. Lives on one worker thread and is the only one who writes to its data.
///
/// Every method fails with [`EngineError::Failed`] when the store cannot be read or written; nothing is changed then.
pub trait ConversationStore {
    /// Makes these changes in order, all of them or none. A turn whose end was written survives power loss when this returns;
    /// one that only began survives the end of the process. With no changes it tries whether it could write.
    ///
    /// # Errors
    /// See above.
    fn write(&mut self, changes: &[TurnChange]) -> Result<(), EngineError>;
    /// A conversation with its newest turns, at most that many.
    ///
    /// # Errors
    /// See above.
    fn conversation(&mut self, id: &ConversationId, turns: usize) -> Result<Option<StoredConversation>, EngineError>;
    /// One turn of a conversation.
    ///
    /// # Errors
    /// See above.
    fn turn(&mut self, id: &ConversationId, turn: &TurnId) -> Result<Option<StoredTurn>, EngineError>;
    /// The turns of a conversation whose first event has a number above `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// See above.
    fn turns(&mut self, id: &ConversationId, after: u64, limit: usize) -> Result<Vec<StoredTurn>, EngineError>;
    /// The questions and answers that lead to a turn, itself the last one, at most `limit`. Turns without an answer are passed
    /// over.
    ///
    /// # Errors
    /// See above.
    fn path(&mut self, id: &ConversationId, to: &TurnId, limit: usize) -> Result<Vec<Exchange>, EngineError>;
    /// The conversations of an owner after a place in the list, at most `limit`.
    ///
    /// # Errors
    /// See above.
    fn list(
        &mut self,
        owner: Option<&Owner>,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>, EngineError>;
    /// Notes what a student thought of a turn of theirs, instead of what they thought before; of turns with this id in several
    /// conversations the newest. Whether there is such a turn.
    ///
    /// # Errors
    /// See above.
    fn rate(&mut self, owner: Option<&Owner>, turn: &TurnId, feedback: &Feedback) -> Result<bool, EngineError>;
    /// Forgets a conversation with all its turns. Whether there was one.
    ///
    /// # Errors
    /// See above.
    fn remove(&mut self, id: &ConversationId) -> Result<bool, EngineError>;
    /// Conversations in which nothing has happened since then, at most `limit`.
    ///
    /// # Errors
    /// See above.
    fn unchanged_since(&mut self, time: SystemTime, limit: usize) -> Result<Vec<ConversationId>, EngineError>;
    /// Forgets those of the conversations in which nothing has happened since then. How many there were.
    ///
    /// # Errors
    /// See above.
    fn remove_unchanged(&mut self, ids: &[ConversationId], since: SystemTime) -> Result<usize, EngineError>;
}

/// Reads the text of a document.
pub trait Extractor: Send + Sync {
    /// All pages in order; a page that gives no text carries its reason.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the file as a whole cannot be read, with the reason for people.
    fn extract(&self, file: &Path) -> Result<DocumentContent, EngineError>;
}

/// Cuts documents into chunks that fit the embedder.
pub trait Chunker: Send + Sync {
    /// The chunks of a document, in order, none longer than the embedder reads.
    fn chunk(&self, document: &DocumentContent) -> Vec<Chunk>;
}

/// Place of a running turn in the engine, from 0.
pub type Slot = usize;

/// Who says something in a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The instructions.
    System,
    /// The student.
    User,
    /// The tutor.
    Assistant,
}

/// One message of a prompt. Its text is data: it can never become a control token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// What.
    pub text: String,
}

/// How to choose tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the most probable tokens that together have this probability.
    pub top_p: f32,
    /// Keep this many tokens; 0 keeps all.
    pub top_k: i32,
    /// Drop tokens less probable than this times the best.
    pub min_p: f32,
    /// Divides the score of tokens seen in the last `repeat_last_tokens`; 1 is off.
    pub repeat_penalty: f32,
    /// Taken once from the score of every token seen there; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the score of a token for every time it was seen there; 0 is off.
    pub frequency_penalty: f32,
    /// How far back these three look for what was said; 0 is not at all, less than that the whole context.
    pub repeat_last_tokens: i32,
    /// Strength of the DRY penalty on repeated sequences; 0 is off.
    pub dry_multiplier: f32,
    /// Seed of the random choice.
    pub seed: u32,
    /// Added to the scores of these tokens before anything else.
    pub logit_bias: Vec<(Token, f32)>,
    /// A grammar in GBNF that the answer must follow, with the rule `root`.
    pub grammar: Option<String>,
}

impl Sampling {
    /// Always the most probable token, with nothing in its way.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_last_tokens: 0,
            dry_multiplier: 0.0,
            seed: 1,
            logit_bias: Vec::new(),
            grammar: None,
        }
    }
}

/// What one slot did in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotOutput {
    /// Part of the prompt was evaluated; no token yet.
    Prefilled,
    /// One more token. Its text may be empty while a character is incomplete.
    Token(String),
    /// The answer ended: the rest of its text, and why. The slot is free after `end`.
    Finished(String, FinishReason),
    /// What the engine itself counted, where it knows better than what it said at the begin.
    Counted(Usage),
    /// This slot alone failed.
    Failed(EngineError),
}

/// What a generation begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The whole prompt.
    pub messages: Vec<PromptMessage>,
    /// Longest answer, in tokens.
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Evaluated tokens may be reused between generations of the same scope; across scopes only the system message.
    pub cache_scope: String,
}

/// What `begin` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them need no evaluation.
    pub cached_tokens: usize,
}

/// Writes answers, several at once. Lives on one worker thread.
pub trait GenerationEngine {
    /// How many generations it can run at once.
    fn slots(&self) -> usize;
    /// Tokens of one conversation, prompt and answer together.
    fn context_tokens(&self) -> usize;
    /// Tokens these messages become, template included.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the template or the tokenizer refuses them.
    fn count_prompt_tokens(&self, messages: &[PromptMessage]) -> Result<usize, EngineError>;
    /// How many of those tokens would need no evaluation now, in that scope.
    ///
    /// # Errors
    /// As `count_prompt_tokens`.
    fn count_cached_tokens(&self, messages: &[PromptMessage], cache_scope: &str) -> Result<usize, EngineError>;
    /// Takes a generation into a free slot.
    ///
    /// # Errors
    /// [`EngineError::TooLarge`] when it does not fit the context; other errors leave the slot free.
    fn begin(&mut self, slot: Slot, generation: &Generation) -> Result<Begun, EngineError>;
    /// One step for all slots that have begun and not finished; some may have nothing to say, some several tokens. Never
    /// waits longer than about 100 ms for something that does not compute.
    ///
    /// # Errors
    /// Any error means that the engine is lost and must be rebuilt; a slot's own failure is [`SlotOutput::Failed`].
    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError>;
    /// Frees a slot, finished or not.
    fn end(&mut self, slot: Slot);
}

/// Place of a conversation's tokens in the decoder, from 0.
pub type Sequence = usize;

/// How much a decoder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderShape {
    /// Sequences at once.
    pub sequences: usize,
    /// Most tokens of one sequence.
    pub sequence_tokens: usize,
    /// Most tokens of all sequences together.
    pub cells: usize,
    /// Most tokens of one batch.
    pub batch_tokens: usize,
    /// Whether answers that are written and prompts that are read are best evaluated in one batch. Where every sequence
    /// has memory of its own they are not: such a batch is cut into parts of equal length.
    pub mixes: bool,
}

/// A prompt as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedPrompt {
    /// Its tokens, ending where the answer begins.
    pub tokens: Vec<Token>,
    /// How many of them are the same for all conversations: up to the end of the system message.
    pub shared: usize,
}

/// One row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken {
    /// Whose.
    pub sequence: Sequence,
    /// Its place there: every sequence goes 0, 1, 2 ... without gaps.
    pub position: usize,
    /// What.
    pub token: Token,
    /// Whether the next token is to be sampled from it.
    pub scores: bool,
}

/// What came of evaluating a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// All its tokens are in their sequences.
    Done,
    /// There was no room for it, and nothing changed.
    NoRoom,
}

/// A language model that evaluates batches of tokens: what continuous batching needs of it. Lives on one worker thread.
pub trait Decoder {
    /// What a sequence holds, outside of the decoder.
    type State;
    /// How much it holds.
    fn shape(&self) -> DecoderShape;
    /// The tokens of a prompt.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the template or the tokenizer refuses the messages.
    fn encode(&self, messages: &[PromptMessage]) -> Result<EncodedPrompt, EngineError>;
    /// The bytes of a token's text, which may end inside a character; none for control tokens.
    fn piece(&self, token: Token) -> Vec<u8>;
    /// Whether the model says with this token that its answer is over.
    fn ends_answer(&self, token: Token) -> bool;
    /// Evaluates at most `batch_tokens` rows.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the decoder is lost.
    fn evaluate(&mut self, batch: &[BatchToken]) -> Result<Evaluation, EngineError>;
    /// Keeps the first `tokens` of a sequence; says how many it has then: fewer where a model cannot forget only a part.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the decoder is lost.
    fn keep(&mut self, sequence: Sequence, tokens: usize) -> Result<usize, EngineError>;
    /// Copies what a sequence holds.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when it cannot be copied; the sequence is unharmed.
    fn save(&self, sequence: Sequence) -> Result<Self::State, EngineError>;
    /// Memory of a copy.
    fn state_bytes(state: &Self::State) -> usize;
    /// Puts into an empty sequence what another one held when it was saved.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when there is no room for it; what the sequence holds then must be forgotten.
    fn restore(&mut self, sequence: Sequence, state: &Self::State) -> Result<(), EngineError>;
    /// Prepares the choice of tokens for a generation.
    ///
    /// # Errors
    /// [`EngineError::Rejected`] when the settings cannot be met, as with a grammar that cannot be read.
    fn begin_sampling(&mut self, slot: Slot, sampling: &Sampling) -> Result<(), EngineError>;
    /// Chooses a token for a slot by the scores of row `row` of the last batch, and remembers it as said.
    ///
    /// # Errors
    /// [`EngineError::Rejected`] when the slot's grammar allows no token at all; [`EngineError::Failed`] when that row has no
    /// scores.
    fn sample(&mut self, slot: Slot, row: usize) -> Result<Token, EngineError>;
    /// Forgets the choices of a slot.
    fn end_sampling(&mut self, slot: Slot);
}
