//! The way of one turn: find passages, refuse or generate, attribute, complete.
//!
//! It runs as a future beside its conversation actor, so that a cancel gets through at any moment. Whatever happens to the
//! future (an error, a panic, the actor's end), the scribe sees to it that the log holds exactly one end of the turn.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use crate::admission::Admitted;
use crate::attribution::{Attribution, Examination};
use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::domain::{
    AnswerOptions, Completion, ConversationId, DocumentId, ErrorCode, FinishReason, Grounding, NumberedEvent,
    ScoredPassage, Timings, TurnBegin, TurnError, TurnEvent, TurnId, TurnRequest, Usage, WorkflowNode,
};
use crate::embedding::{EmbedTexts, EmbeddingPoolActor};
use crate::finder::{Finder, Retrieved, SearchScope, ask};
use crate::generation::{Generate, Generating, GenerationEvent, GeneratorActor};
use crate::health::LossCause;
use crate::keeper::Keeper;
use crate::ports::{PromptMessage, Sampling};
use crate::prompt::{Exchange, PromptParts, place_of};
use crate::query::readings;
use crate::retrieval::RetrieverActor;
use crate::storage::Storage;
use crate::telemetry::{AttributionMethod, Measurement, Telemetry};
use crate::turn_log::TurnLog;
use crate::turn_queue::{Flow, Place};
use crate::workers::panic_message;
use crate::workload::Workload;

/// What the configuration decides about turns.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnSettings {
    /// Passages to retrieve.
    pub top_k: usize,
    /// How much text the passages may have that the model reads, in characters.
    pub context_chars: usize,
    /// How likely the corpus must answer a question, 0 to 1; below, it is refused.
    pub min_score: f32,
    /// Instructions to the model.
    pub system_prompt: String,
    /// Most tokens of a prompt.
    pub prompt_tokens: usize,
    /// Longest answer, in tokens.
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Earlier exchanges the model sees.
    pub history_turns: usize,
    /// Longest a turn may take.
    pub time_limit: Duration,
}

/// The parts of the program that a turn asks. Clones share them.
#[derive(Clone)]
pub struct TurnServices {
    /// Embeds questions.
    pub embedding: Addr<EmbeddingPoolActor>,
    /// Finds passages.
    pub retriever: Addr<RetrieverActor>,
    /// Writes answers.
    pub generator: Addr<GeneratorActor>,
    /// Takes measurements.
    pub telemetry: Arc<dyn Telemetry>,
    /// What the configuration decides.
    pub settings: Arc<TurnSettings>,
    /// Resolves the names and globs of a request's `documents` to documents of the corpus.
    pub documents: Arc<dyn DocumentFilter>,
    /// Cancels every turn, those that begin later too: the server stops, and there is no more time.
    pub cut_off: CancelToken,
}

/// Resolves names and globs to documents.
pub trait DocumentFilter: Send + Sync {
    /// The documents that match one of the patterns; never called with none.
    ///
    /// # Errors
    /// `invalid_request` when a pattern is malformed or matches nothing.
    fn resolve(
        &self,
        patterns: Vec<String>,
    ) -> futures_util::future::BoxFuture<'static, Result<Vec<DocumentId>, TurnError>>;
}

/// What a search is limited to.
#[derive(Debug, Clone, Default)]
pub struct SearchLimits {
    /// How many passages.
    pub top_k: Option<usize>,
    /// Only documents that match one of these.
    pub documents: Vec<String>,
}

impl TurnServices {
    /// How long the prompt of a question is likely to be, in tokens, before anything is done for it.
    #[must_use]
    pub fn expected_prompt_tokens(&self, request: &TurnRequest) -> usize {
        Workload::of_question(request, &self.settings).prompt_tokens
    }

    /// Reads, embeds and searches: the retrieval half of a turn, also used by itself.
    ///
    /// # Errors
    /// What the embedder, the store or the document filter answer; `deadline_exceeded`; the error of a cancel.
    pub async fn retrieve(
        &self,
        question: &str,
        previous_questions: &[&str],
        limits: &SearchLimits,
        deadline: Deadline,
        cancel: &CancelToken,
    ) -> Result<Retrieved, TurnError> {
        let resolving = self.resolve(&limits.documents);
        let documents = deadline.or_cancelled(cancel, "while its documents were looked for", resolving).await??;
        let top_k = limits.top_k.unwrap_or(self.settings.top_k);
        let scope = SearchScope { top_k, context_chars: self.settings.context_chars, documents };
        let finder = Finder { embedding: self.embedding.clone(), retriever: self.retriever.clone() };
        finder.find(question, previous_questions, &scope, deadline, cancel).await
    }

    async fn resolve(&self, patterns: &[String]) -> Result<Vec<DocumentId>, TurnError> {
        if patterns.is_empty() { Ok(Vec::new()) } else { self.documents.resolve(patterns.to_vec()).await }
    }
}

/// One turn on its way.
pub(crate) struct Turn {
    pub services: TurnServices,
    pub conversation_id: ConversationId,
    /// Whose it is, to take turns by.
    pub flow: Flow,
    pub request: TurnRequest,
    pub history: Vec<Exchange>,
    pub cancel: CancelToken,
    pub scribe: Scribe,
    /// Its place, until everybody may know that it is over.
    pub admitted: Arc<Admitted>,
    /// The prompt, once the generator has read it.
    pub read: Option<Vec<PromptMessage>>,
}

/// What a finished turn leaves to its conversation.
pub(crate) type TurnOutcome = Option<Exchange>;

/// An answer while it is written.
#[derive(Default)]
struct Draft {
    answer: String,
    usage: Usage,
    timings: Timings,
}

impl Turn {
    /// Runs the turn to its end; what the conversation should remember of it. A panic is the turn's own: it is dropped, which
    /// ends its log with an error.
    pub async fn run(self) -> TurnOutcome {
        let (start, turn_id, telemetry) =
            (Instant::now(), self.request.turn_id.clone(), self.services.telemetry.clone());
        let (cut_off, cancel) = (self.services.cut_off.clone(), self.cancel.clone());
        let mut running = std::pin::pin!(AssertUnwindSafe(self.run_unguarded()).catch_unwind());
        let ended = tokio::select! {
            biased;
            () = cut_off.cancelled() => {
                cancel.cancel();
                running.await
            }
            ended = &mut running => ended,
        };
        ended.unwrap_or_else(|panic| {
            tracing::error!(%turn_id, reason = panic_message(&*panic), "a turn panicked");
            telemetry.record(Measurement::WorkerRestarted { worker: "turn", cause: LossCause::Panic.as_str() });
            telemetry.record(Measurement::TurnEnded { outcome: Err(ErrorCode::Internal), total: start.elapsed() });
            None
        })
    }

    async fn run_unguarded(mut self) -> TurnOutcome {
        let start = Instant::now();
        let deadline = Deadline::after(self.services.settings.time_limit);
        let result = match self.answer(start, deadline).await {
            Err(_) if self.cancel.is_cancelled() => Ok(self.cancelled_early(start)),
            other => other,
        };
        let end = result.map_or_else(TurnEvent::Failed, |completion| TurnEvent::Completed(Box::new(completion)));
        let end = self.scribe.keep(end).await;
        let (outcome, exchange) = match &end {
            TurnEvent::Completed(done) => (Ok(done.finish_reason), Some(self.exchange(&done.answer))),
            TurnEvent::Failed(error) => (Err(error.code), None),
            _ => (Err(ErrorCode::Internal), None),
        };
        self.services.telemetry.record(Measurement::TurnEnded { outcome, total: start.elapsed() });
        self.admitted.free_place();
        self.scribe.end(end);
        exchange
    }

    fn exchange(&mut self, answer: &str) -> Exchange {
        Exchange { question: self.request.message.clone(), read: self.read.take(), answer: answer.to_owned() }
    }

    async fn answer(&mut self, start: Instant, deadline: Deadline) -> Result<Completion, TurnError> {
        let retrieved = self.retrieve(deadline).await?;
        let mut draft = Draft::default();
        draft.timings.embed = retrieved.embed;
        draft.timings.retrieve = retrieved.retrieve;
        if retrieved.passages.is_empty() || retrieved.relevance < self.services.settings.min_score {
            return Ok(self.refuse(retrieved, draft, start));
        }
        self.scribe.note(TurnEvent::Sources(retrieved.passages.clone()));
        let reason = self.generate(&retrieved, &mut draft, start, deadline).await?;
        Ok(self.complete(retrieved, draft, reason, start).await)
    }

    async fn retrieve(&mut self, deadline: Deadline) -> Result<Retrieved, TurnError> {
        let previous: Vec<&str> = self.history.iter().map(|exchange| exchange.question.as_str()).collect();
        if readings(&self.request.message, &previous).together.is_some() {
            let message = "Reading the question by itself, and together with the one before it";
            self.scribe.reach(WorkflowNode::RewriteQuery, message);
        }
        self.scribe.reach(WorkflowNode::Retrieve, "Searching the course materials");
        let options = &self.request.options;
        let limits = SearchLimits { top_k: options.top_k, documents: options.documents.clone() };
        self.services.retrieve(&self.request.message, &previous, &limits, deadline, &self.cancel).await
    }

    async fn generate(
        &mut self,
        retrieved: &Retrieved,
        draft: &mut Draft,
        start: Instant,
        deadline: Deadline,
    ) -> Result<FinishReason, TurnError> {
        let request = self.generate_request(retrieved, deadline);
        let mut answer = ask(deadline, &self.cancel, "generator", self.services.generator.send(request)).await?;
        // A turn that waits leaves at once; one that has begun hears from the engine what was used.
        let (mut patience, mut doing) = (Duration::ZERO, "while it waited in the queue");
        while let Some(event) = next_event(&mut answer, &self.cancel, deadline, patience).await {
            match event {
                GenerationEvent::Queued(place) => self.wait(place),
                GenerationEvent::Begun { waited, read, .. } => {
                    (patience, doing) = (STEP_PATIENCE, "while the answer was written");
                    self.read = Some(read);
                    draft.timings.queue = waited;
                    self.scribe.reach(WorkflowNode::Generate, "Writing the answer");
                }
                GenerationEvent::Piece(text) => self.take_piece(draft, text, start),
                GenerationEvent::Finished { reason, usage } => {
                    draft.usage = usage;
                    return Ok(reason);
                }
                // Whoever stopped it keeps what was said, whatever happens to the engine in its last step.
                GenerationEvent::Failed(_) if self.cancel.is_cancelled() => return Ok(FinishReason::Cancelled),
                GenerationEvent::Failed(error) => return Err(error),
            }
        }
        if self.cancel.is_cancelled() {
            return Ok(FinishReason::Cancelled);
        }
        if deadline.has_passed() {
            return Err(TurnError::deadline(doing));
        }
        let lost = TurnError::new(ErrorCode::Unavailable, "the generator stopped unexpectedly, ask again");
        Err(lost.retry_after(Duration::from_secs(1)))
    }

    fn wait(&mut self, Place { position, wait }: Place) {
        let mut message = format!("Waiting: number {position} in the queue");
        if let Some(wait) = wait {
            message.push_str(&format!(", about {} s", wait.as_millis().div_ceil(1_000)));
        }
        self.scribe.queued(message, position, wait);
    }

    fn generate_request(&self, retrieved: &Retrieved, deadline: Deadline) -> Generate {
        let settings = &self.services.settings;
        let options = &self.request.options;
        Generate {
            turn_id: self.request.turn_id.clone(),
            flow: self.flow.clone(),
            parts: PromptParts {
                system: settings.system_prompt.clone(),
                history: self.history.clone(),
                brief_exchanges: settings.history_turns,
                passages: retrieved.passages.clone(),
                question: self.instructed_question(),
                budget_tokens: settings.prompt_tokens,
            },
            max_tokens: options.max_tokens.unwrap_or(settings.max_tokens),
            sampling: sampling(&settings.sampling, options),
            stop: options.stop.clone(),
            cache_scope: self.conversation_id.to_string(),
            deadline,
            cancel: self.cancel.clone(),
        }
    }

    /// A client's instructions stand with its question, not in the system message: what is evaluated of that is shared by all
    /// conversations, and would tell one client by time and count of tokens what another one's instructions are.
    fn instructed_question(&self) -> String {
        let question = &self.request.message;
        match &self.request.options.instructions {
            Some(instructions) => format!("{instructions}\n\n{question}"),
            None => question.clone(),
        }
    }

    fn take_piece(&mut self, draft: &mut Draft, text: String, start: Instant) {
        // Models of this size like to begin with a line break; nobody wants to see it.
        let text = if draft.answer.is_empty() { text.trim_start().to_owned() } else { text };
        if text.is_empty() {
            return;
        }
        if draft.answer.is_empty() {
            draft.timings.first_token = start.elapsed();
            self.services.telemetry.record(Measurement::FirstToken(draft.timings.first_token));
        }
        draft.answer.push_str(&text);
        self.scribe.note(TurnEvent::Token(text));
    }

    async fn complete(
        &mut self,
        retrieved: Retrieved,
        draft: Draft,
        reason: FinishReason,
        start: Instant,
    ) -> Completion {
        let attribution = self.attribute(&draft.answer, &retrieved.passages).await;
        for citation in &attribution.citations {
            self.scribe.note(TurnEvent::Cited(*citation));
        }
        let supported = std::iter::repeat_n(true, attribution.supported);
        for supported in supported.chain(attribution.unsupported.iter().map(|_| false)) {
            self.services.telemetry.record(Measurement::CitationChecked { supported });
        }
        let grounding = attribution.grounding();
        let mut done = self.completion(retrieved, draft, reason, start);
        done.grounding = grounding;
        done.citations = attribution.citations;
        done.unsupported = attribution.unsupported;
        done
    }

    /// Finds the sources of the answer's sentences; what words leave in doubt by its meaning, if the embedder has the time.
    async fn attribute(&self, answer: &str, sources: &[ScoredPassage]) -> Attribution {
        /// The whole answer stands on the screen meanwhile, but the conversation is not free before the turn has ended.
        const PATIENCE: Duration = Duration::from_millis(250);
        /// The longest answers take some milliseconds, and so does each that ended before; only a machine that is stuck takes longer.
        const EXAMINED_WITHIN: Duration = Duration::from_secs(10);
        let start = Instant::now();
        let (text, passages) = (answer.to_owned(), sources.to_vec());
        let examining = async {
            // Never closed; as many wait as turns end at once, each for milliseconds.
            let _core = EXAMINING.acquire().await;
            // Milliseconds of work, which the other conversations should not wait for.
            tokio::task::spawn_blocking(move || Examination::of(&text, &passages)).await
        };
        let examined = tokio::time::timeout(EXAMINED_WITHIN, examining).await;
        let examined = examined.map_err(|late| late.to_string()).and_then(|done| done.map_err(|lost| lost.to_string()));
        let Ok(examined) = examined.inspect_err(|error| tracing::error!(error, "an answer was not attributed")) else {
            return Attribution::default();
        };
        let (found, method) = if examined.doubtful_texts().is_empty() {
            (examined.conclude(&[]), AttributionMethod::Words)
        } else {
            let texts = examined.doubtful_texts().to_vec();
            let (deadline, cancel) = (Deadline::after(PATIENCE), self.cancel.clone());
            let embed = EmbedTexts { texts, deadline, cancel };
            match ask(deadline, &self.cancel, "embedder", self.services.embedding.send(embed)).await {
                Ok(vectors) => (examined.conclude(&vectors), AttributionMethod::Meaning),
                Err(error) => {
                    tracing::debug!(%error, "sentences are attributed by their words alone");
                    (examined.conclude(&[]), AttributionMethod::Fallback)
                }
            }
        };
        self.services.telemetry.record(Measurement::Attributed { method, took: start.elapsed() });
        found
    }

    /// Says that nothing relevant was found, and what came closest, without asking the model.
    fn refuse(&mut self, retrieved: Retrieved, mut draft: Draft, start: Instant) -> Completion {
        self.services.telemetry.record(Measurement::Refused { reason: "no_relevant_passage" });
        draft.answer = refusal_text(&retrieved.passages);
        self.scribe.note(TurnEvent::Sources(Vec::new()));
        self.scribe.note(TurnEvent::Token(draft.answer.clone()));
        draft.timings.first_token = start.elapsed();
        let mut done = self.completion(retrieved, draft, FinishReason::Refused, start);
        done.grounding = Grounding::Refused;
        done.sources.clear();
        done
    }

    fn cancelled_early(&mut self, start: Instant) -> Completion {
        let retrieved = Retrieved {
            question: self.request.message.clone(),
            was_rewritten: false,
            passages: Vec::new(),
            relevance: 0.0,
            embed: Duration::ZERO,
            retrieve: Duration::ZERO,
        };
        self.completion(retrieved, Draft::default(), FinishReason::Cancelled, start)
    }

    fn completion(&self, retrieved: Retrieved, draft: Draft, reason: FinishReason, start: Instant) -> Completion {
        Completion {
            conversation_id: self.conversation_id.clone(),
            answer: draft.answer,
            sources: retrieved.passages,
            question: retrieved.question,
            grounding: Grounding::Partial,
            citations: Vec::new(),
            unsupported: Vec::new(),
            finish_reason: reason,
            usage: draft.usage,
            timings: Timings { total: start.elapsed(), ..draft.timings },
            workflow_path: self.scribe.path.clone(),
            was_rewritten: retrieved.was_rewritten,
        }
    }
}

/// Places of examinations: all cores but one, which is left to those whose words are still coming. A hundred answers that end at
/// once would otherwise hold them up for seconds.
static EXAMINING: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new(cores.saturating_sub(1).max(1))
});

/// How long a turn that is over waits for the engine's last word: a step takes tens of milliseconds.
const STEP_PATIENCE: Duration = Duration::from_millis(250);

/// The next event of the generator. After a cancel or the deadline it goes on waiting a little for the end that the generator
/// sends, which carries what was used.
async fn next_event(
    answer: &mut Generating,
    cancel: &CancelToken,
    deadline: Deadline,
    patience: Duration,
) -> Option<GenerationEvent> {
    let over = async {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = deadline.reached() => {}
        }
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        biased;
        event = answer.recv() => event,
        () = over => None,
    }
}

/// Closest places to name in a refusal.
const NAMED_PLACES: usize = 3;

fn refusal_text(nearest: &[ScoredPassage]) -> String {
    let mut text = String::from("I could not find anything about this in the course materials, so I will not guess.");
    let mut places: Vec<String> = Vec::new();
    for place in nearest.iter().map(|scored| place_of(&scored.passage)) {
        if !places.contains(&place) && places.len() < NAMED_PLACES {
            places.push(place);
        }
    }
    if !places.is_empty() {
        text.push_str(" The closest places are: ");
        text.push_str(&places.join("; "));
        text.push_str(". Try other words, or name the topic of the course that this belongs to.");
    }
    text
}

/// Writes a turn into its conversation's log: any events, then exactly one end.
pub(crate) struct Scribe {
    log: Arc<TurnLog>,
    turn_id: TurnId,
    path: Vec<WorkflowNode>,
    ended: bool,
    /// `None` for a turn that is not kept.
    keeper: Option<Keeper>,
}

impl Scribe {
    pub fn new(log: Arc<TurnLog>, turn_id: TurnId) -> Self {
        Self { log, turn_id, path: Vec::new(), ended: false, keeper: None }
    }

    /// The same, of a turn that goes into the store as well: its beginning now, before anybody can see an event of it. Of one that
    /// cannot be stored there is none, so its numbers stay free.
    pub async fn kept(log: Arc<TurnLog>, storage: Storage, begin: TurnBegin) -> Result<Self, TurnError> {
        let turn_id = begin.turn_id.clone();
        let keeper = Keeper::begin(storage, begin).await?;
        Ok(Self { log, turn_id, path: Vec::new(), ended: false, keeper: Some(keeper) })
    }

    /// Stores the turn as it will be once it ends with this event. What to end it with then: an answer that could not be stored
    /// becomes an error, since nothing is called complete that a restart would lose.
    async fn keep(&mut self, end: TurnEvent) -> TurnEvent {
        let events = self.events_with(&end);
        let Some(keeper) = &mut self.keeper else { return end };
        match (keeper.end(events).await, end) {
            (Err(error), TurnEvent::Completed(_)) => TurnEvent::Failed(not_stored(&error)),
            (_, end) => end,
        }
    }

    /// All events of the turn, with the one that will end it: nobody else writes into the log meanwhile.
    fn events_with(&self, end: &TurnEvent) -> Vec<NumberedEvent> {
        let Some(keeper) = &self.keeper else { return Vec::new() };
        let mut events = self.log.since(keeper.first_seq() - 1);
        let seq = self.log.last_seq() + 1;
        events.push(NumberedEvent { seq, turn_id: self.turn_id.clone(), event: end.clone() });
        events
    }

    fn note(&self, event: TurnEvent) {
        self.log.append(&self.turn_id, event);
    }

    fn reach(&mut self, node: WorkflowNode, message: &str) {
        self.pass(node);
        self.note(TurnEvent::Workflow { node, message: message.to_owned(), position: None, wait: None });
    }

    fn queued(&mut self, message: String, position: usize, wait: Option<Duration>) {
        let node = WorkflowNode::Queued;
        self.pass(node);
        self.note(TurnEvent::Workflow { node, message, position: Some(position), wait });
    }

    fn pass(&mut self, node: WorkflowNode) {
        if self.path.last() != Some(&node) {
            self.path.push(node);
        }
    }

    fn end(&mut self, event: TurnEvent) {
        debug_assert!(event.is_terminal(), "only a terminal event ends a turn");
        if !std::mem::replace(&mut self.ended, true) {
            self.note(event);
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let error = TurnError::new(ErrorCode::Internal, "the answer stopped unexpectedly, ask again");
        let end = TurnEvent::Failed(error.retry_after(Duration::from_secs(1)));
        let events = self.events_with(&end);
        if let Some(keeper) = &mut self.keeper {
            keeper.end_later(events);
        }
        self.end(end);
    }
}

fn not_stored(error: &TurnError) -> TurnError {
    let message = "the answer was written but could not be stored, so it does not count: ask again";
    TurnError { retry_after: error.retry_after, ..TurnError::new(ErrorCode::Unavailable, message) }
}

/// What is configured, with what the client chose for this turn.
fn sampling(configured: &Sampling, options: &AnswerOptions) -> Sampling {
    let whole = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    Sampling {
        temperature: options.temperature.unwrap_or(configured.temperature),
        top_p: options.top_p.unwrap_or(configured.top_p),
        min_p: options.min_p.unwrap_or(configured.min_p),
        repeat_penalty: options.repeat_penalty.unwrap_or(configured.repeat_penalty),
        presence_penalty: options.presence_penalty.unwrap_or(configured.presence_penalty),
        frequency_penalty: options.frequency_penalty.unwrap_or(configured.frequency_penalty),
        repeat_last_tokens: options.repeat_last_tokens.map_or(configured.repeat_last_tokens, whole),
        dry_multiplier: options.dry_multiplier.unwrap_or(configured.dry_multiplier),
        top_k: options.sampling_top_k.map_or(configured.top_k, whole),
        seed: options.seed.unwrap_or(configured.seed),
        logit_bias: if options.logit_bias.is_empty() { &configured.logit_bias } else { &options.logit_bias }.clone(),
        grammar: options.grammar.clone().or_else(|| configured.grammar.clone()),
    }
}
