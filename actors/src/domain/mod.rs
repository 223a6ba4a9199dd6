//! The words the rest of the program speaks: ids, passages, turns and their events, errors.
//!
//! Nothing here knows a socket, a model or a serialisation format.

mod conversation;
mod device;
mod document;
mod error;
mod ids;
mod passage;
mod turn;

pub use conversation::{
    ConversationSummary, Feedback, ListPlace, Owner, StoredConversation, StoredTurn, TurnBegin, TurnChange, TurnEnd,
    interrupted,
};
pub use device::Device;
pub use document::{
    Chunk, CorpusStats, DocumentContent, DocumentFailure, DocumentKind, DocumentRecord, EmbeddedChunk, PageText,
    SectionStart,
};
pub use error::{EngineError, ErrorCode, TurnError};
pub use ids::{ChunkId, ClientId, ConversationId, DocumentHash, DocumentId, InvalidId, MAX_ID_CHARS, TurnId};
pub use passage::{CharSpan, Embedding, Found, Passage, ScoredPassage};
pub use turn::{
    AnswerOptions, Citation, Completion, FinishReason, Grounding, NumberedEvent, Timings, Token, TurnEvent,
    TurnRequest, Usage, WorkflowNode,
};
