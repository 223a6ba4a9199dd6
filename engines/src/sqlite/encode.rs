//! The end of a turn as text, and back: all its events, number for number and byte for byte, without keeping anything twice.
//!
//! A turn's events are its trace: tokens stand in it as lengths, since their text is the answer's, and sources as a reference,
//! since they are the completion's. Fields may be added; a reader passes over those it does not know.

use std::time::Duration;

use mentor_actors::domain::{
    CharSpan, ChunkId, Citation, Completion, ConversationId, DocumentId, DocumentKind, ErrorCode, FinishReason,
    Grounding, NumberedEvent, Passage, ScoredPassage, Timings, TurnError, TurnEvent, TurnId, Usage, WorkflowNode,
};
use serde::{Deserialize, Serialize};

use super::SqliteError;

/// The columns of a turn's end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EndColumns {
    /// Number of the last event.
    pub last_seq: u64,
    /// How it ended, where it has an answer.
    pub finish_reason: Option<String>,
    /// How it failed, where it has none.
    pub error_code: Option<String>,
    /// The answer; what was said of it where the turn failed.
    pub answer: String,
    /// The rest of the completion, or the error, as JSON.
    pub details: String,
    /// The events, as JSON.
    pub trace: String,
}

#[derive(Serialize, Deserialize)]
struct Trace {
    /// The text of all tokens, where it is not the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    steps: Vec<Step>,
}

/// One event, or several tokens in a row. Short names: a turn has one for each token.
#[derive(Serialize, Deserialize)]
enum Step {
    /// Workflow.
    #[serde(rename = "w")]
    Workflow(String, String, Option<usize>),
    /// Waiting in the queue, at that place and for so many milliseconds.
    #[serde(rename = "q")]
    Queued(String, usize, u64),
    /// Sources; `None` for those of the completion.
    #[serde(rename = "s")]
    Sources(Option<Vec<StoredPassage>>),
    /// Lengths of tokens, in bytes.
    #[serde(rename = "t")]
    Tokens(Vec<usize>),
    /// A citation.
    #[serde(rename = "c")]
    Cited(StoredCitation),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Details {
    Completed(StoredCompletion),
    Failed { message: String, retry_after_ms: Option<u64> },
}

#[derive(Serialize, Deserialize)]
struct StoredCompletion {
    question: String,
    sources: Vec<StoredPassage>,
    grounding: String,
    citations: Vec<StoredCitation>,
    /// Places of sentences without a source.
    unsupported: Vec<[usize; 2]>,
    usage: [usize; 3],
    /// Nanoseconds: queue, embed, retrieve, first token, total.
    timings: [u64; 5],
    path: Vec<String>,
    was_rewritten: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredPassage {
    chunk: String,
    document: String,
    file_name: String,
    kind: String,
    page: Option<u32>,
    section: Option<String>,
    span: [usize; 2],
    text: String,
    score: f32,
}

#[derive(Serialize, Deserialize)]
struct StoredCitation {
    source: usize,
    span: [usize; 2],
    score: f32,
}

/// The events of a turn that has ended as columns; `None` where the last one is no end.
pub(super) fn columns(events: &[NumberedEvent]) -> Result<Option<EndColumns>, SqliteError> {
    let Some((last, before)) = events.split_last() else { return Ok(None) };
    let said: String = before.iter().filter_map(|event| text_of(&event.event)).collect();
    let (answer, sources, details) = match &last.event {
        TurnEvent::Completed(done) => {
            (done.answer.clone(), done.sources.as_slice(), Details::Completed(StoredCompletion::from(&**done)))
        }
        TurnEvent::Failed(error) => {
            let retry_after_ms = error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            (said.clone(), &[][..], Details::Failed { message: error.message.clone(), retry_after_ms })
        }
        _ => return Ok(None),
    };
    let text = (said != answer).then_some(said);
    let trace = Trace { text, steps: steps(before, sources) };
    let (finish_reason, error_code) = match &last.event {
        TurnEvent::Completed(done) => (Some(done.finish_reason.as_str().to_owned()), None),
        TurnEvent::Failed(error) => (None, Some(error.code.as_str().to_owned())),
        _ => (None, None),
    };
    Ok(Some(EndColumns {
        last_seq: last.seq,
        finish_reason,
        error_code,
        answer,
        details: serde_json::to_string(&details)?,
        trace: serde_json::to_string(&trace)?,
    }))
}

fn text_of(event: &TurnEvent) -> Option<&str> {
    match event {
        TurnEvent::Token(text) => Some(text),
        _ => None,
    }
}

fn steps(events: &[NumberedEvent], known: &[ScoredPassage]) -> Vec<Step> {
    let mut steps = Vec::new();
    for NumberedEvent { event, .. } in events {
        match event {
            TurnEvent::Workflow { node: WorkflowNode::Queued, message, position: Some(position), wait: Some(wait) } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                steps.push(Step::Queued(message.clone(), *position, wait_ms));
            }
            TurnEvent::Workflow { node, message, position, .. } => {
                steps.push(Step::Workflow(node.as_str().to_owned(), message.clone(), *position));
            }
            TurnEvent::Sources(sources) => {
                let others = (sources != known).then(|| sources.iter().map(StoredPassage::from).collect());
                steps.push(Step::Sources(others));
            }
            TurnEvent::Token(text) => match steps.last_mut() {
                Some(Step::Tokens(lengths)) => lengths.push(text.len()),
                _ => steps.push(Step::Tokens(vec![text.len()])),
            },
            TurnEvent::Cited(citation) => steps.push(Step::Cited(citation.into())),
            // Ends stand in the details; there is one a turn, and it is the last event.
            TurnEvent::Completed(_) | TurnEvent::Failed(_) => {}
        }
    }
    steps
}

/// The events of a turn from its columns. Their numbers end at the last one and have no gaps.
pub(super) fn events(
    conversation_id: &ConversationId,
    turn_id: &TurnId,
    columns: &EndColumns,
) -> Result<Vec<NumberedEvent>, SqliteError> {
    let trace: Trace = serde_json::from_str(&columns.trace)?;
    let end = end(conversation_id, columns)?;
    let known = if let TurnEvent::Completed(done) = &end { done.sources.clone() } else { Vec::new() };
    let mut unsaid = trace.text.as_deref().unwrap_or(&columns.answer);
    let mut all = Vec::new();
    for step in trace.steps {
        match step {
            Step::Workflow(node, message, position) => {
                all.push(TurnEvent::Workflow { node: node_of(&node)?, message, position, wait: None });
            }
            Step::Queued(message, position, wait_ms) => {
                let wait = Some(Duration::from_millis(wait_ms));
                let node = WorkflowNode::Queued;
                all.push(TurnEvent::Workflow { node, message, position: Some(position), wait });
            }
            Step::Sources(None) => all.push(TurnEvent::Sources(known.clone())),
            Step::Sources(Some(others)) => {
                let others = others.into_iter().map(ScoredPassage::try_from).collect::<Result<_, _>>()?;
                all.push(TurnEvent::Sources(others));
            }
            Step::Tokens(lengths) => {
                for length in lengths {
                    let (token, rest) =
                        unsaid.split_at_checked(length).ok_or_else(|| unknown("length of a token", "too long"))?;
                    all.push(TurnEvent::Token(token.to_owned()));
                    unsaid = rest;
                }
            }
            Step::Cited(citation) => all.push(TurnEvent::Cited(citation.into())),
        }
    }
    all.push(end);
    let first_seq = (columns.last_seq + 1).saturating_sub(all.len() as u64);
    let numbered = |(seq, event)| NumberedEvent { seq, turn_id: turn_id.clone(), event };
    Ok((first_seq..).zip(all).map(numbered).collect())
}

fn end(conversation_id: &ConversationId, columns: &EndColumns) -> Result<TurnEvent, SqliteError> {
    match serde_json::from_str(&columns.details)? {
        Details::Completed(stored) => {
            let reason = columns.finish_reason.as_deref().unwrap_or_default();
            let reasons = [FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled, FinishReason::Refused];
            let finish_reason = named(&reasons, FinishReason::as_str, "finish reason", reason)?;
            stored.completion(conversation_id, &columns.answer, finish_reason)
        }
        Details::Failed { message, retry_after_ms } => {
            let code = columns.error_code.as_deref().unwrap_or_default();
            let code = named(&ErrorCode::ALL, ErrorCode::as_str, "error code", code)?;
            let retry_after = retry_after_ms.map(Duration::from_millis);
            Ok(TurnEvent::Failed(TurnError { code, message, retry_after }))
        }
    }
}

impl From<&Completion> for StoredCompletion {
    fn from(done: &Completion) -> Self {
        let Timings { queue, embed, retrieve, first_token, total } = done.timings;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            question: done.question.clone(),
            sources: done.sources.iter().map(StoredPassage::from).collect(),
            grounding: done.grounding.as_str().to_owned(),
            citations: done.citations.iter().map(StoredCitation::from).collect(),
            unsupported: done.unsupported.iter().map(|span| [span.start, span.end]).collect(),
            usage: [done.usage.prompt_tokens, done.usage.cached_tokens, done.usage.completion_tokens],
            timings: [queue, embed, retrieve, first_token, total].map(nanoseconds),
            path: done.workflow_path.iter().map(|node| node.as_str().to_owned()).collect(),
            was_rewritten: done.was_rewritten,
        }
    }
}

impl StoredCompletion {
    fn completion(
        self,
        conversation_id: &ConversationId,
        answer: &str,
        finish_reason: FinishReason,
    ) -> Result<TurnEvent, SqliteError> {
        let groundings = [Grounding::Grounded, Grounding::Partial, Grounding::Refused];
        let [queue, embed, retrieve, first_token, total] = self.timings.map(Duration::from_nanos);
        let [prompt_tokens, cached_tokens, completion_tokens] = self.usage;
        Ok(TurnEvent::Completed(Box::new(Completion {
            conversation_id: conversation_id.clone(),
            answer: answer.to_owned(),
            sources: self.sources.into_iter().map(ScoredPassage::try_from).collect::<Result<_, _>>()?,
            question: self.question,
            grounding: named(&groundings, Grounding::as_str, "grounding", &self.grounding)?,
            citations: self.citations.into_iter().map(Citation::from).collect(),
            unsupported: self.unsupported.into_iter().map(|[start, end]| CharSpan { start, end }).collect(),
            finish_reason,
            usage: Usage { prompt_tokens, cached_tokens, completion_tokens },
            timings: Timings { queue, embed, retrieve, first_token, total },
            workflow_path: self.path.iter().map(|node| node_of(node)).collect::<Result<_, _>>()?,
            was_rewritten: self.was_rewritten,
        })))
    }
}

impl From<&ScoredPassage> for StoredPassage {
    fn from(ScoredPassage { passage, score, .. }: &ScoredPassage) -> Self {
        Self {
            chunk: passage.chunk_id.0.clone(),
            document: passage.document_id.0.clone(),
            file_name: passage.file_name.clone(),
            kind: passage.kind.media_type().to_owned(),
            page: passage.page,
            section: passage.section.clone(),
            span: [passage.span.start, passage.span.end],
            text: passage.text.clone(),
            score: *score,
        }
    }
}

impl TryFrom<StoredPassage> for ScoredPassage {
    type Error = SqliteError;

    fn try_from(stored: StoredPassage) -> Result<Self, SqliteError> {
        let kind = DocumentKind::from_media_type(&stored.kind).ok_or_else(|| unknown("kind of file", &stored.kind))?;
        let [start, end] = stored.span;
        let passage = Passage {
            chunk_id: ChunkId(stored.chunk),
            document_id: DocumentId(stored.document),
            file_name: stored.file_name,
            kind,
            page: stored.page,
            section: stored.section,
            span: CharSpan { start, end },
            text: stored.text,
        };
        Ok(Self::whole(passage, stored.score))
    }
}

impl From<&Citation> for StoredCitation {
    fn from(citation: &Citation) -> Self {
        Self { source: citation.source, span: [citation.span.start, citation.span.end], score: citation.score }
    }
}

impl From<StoredCitation> for Citation {
    fn from(stored: StoredCitation) -> Self {
        let [start, end] = stored.span;
        Self { source: stored.source, span: CharSpan { start, end }, score: stored.score }
    }
}

fn node_of(name: &str) -> Result<WorkflowNode, SqliteError> {
    let nodes = [WorkflowNode::Queued, WorkflowNode::RewriteQuery, WorkflowNode::Retrieve, WorkflowNode::Generate];
    named(&nodes, WorkflowNode::as_str, "step", name)
}

fn named<T: Copy>(all: &[T], name_of: fn(T) -> &'static str, what: &str, name: &str) -> Result<T, SqliteError> {
    all.iter().copied().find(|one| name_of(*one) == name).ok_or_else(|| unknown(what, name))
}

fn unknown(what: &str, name: &str) -> SqliteError {
    SqliteError::Unreadable(format!("unknown {what} {name:?}"))
}
