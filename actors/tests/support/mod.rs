//! Fakes behind the ports: a whole tutor without a model, in milliseconds. Also used by the program's socket tests.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use actix::Addr;
use futures_util::future::BoxFuture;
use mentor_actors::admission::{Admission, Bounds};
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversations::{Conversation, ConversationSettings, ConversationsActor, Open};
use mentor_actors::domain::*;
use mentor_actors::embedding::{BoxedEmbedder, EmbeddingPoolActor, EmbeddingWorkers};
use mentor_actors::generation::{BoxedEngine, GenerationWorker, GeneratorActor};
use mentor_actors::memory_store::MemoryStore;
use mentor_actors::ports::*;
use mentor_actors::prompt::Exchange;
use mentor_actors::retrieval::RetrieverActor;
use mentor_actors::storage::{BoxedStore, Storage};
use mentor_actors::supervision::Watchdog;
use mentor_actors::telemetry::{AttributionMethod, Measurement, Silent, Telemetry};
use mentor_actors::turn::{DocumentFilter, TurnServices, TurnSettings};
use mentor_actors::turn_log::Cursor;
use mentor_actors::workers::{RestartBudget, WorkerHealth};

/// Keeps what was measured.
#[derive(Default)]
pub struct Measured(Mutex<Vec<Measurement>>);

impl Telemetry for Measured {
    fn record(&self, measurement: Measurement) {
        self.0.lock().unwrap().push(measurement);
    }
}

impl Measured {
    /// What decided the attribution of each answer.
    pub fn attributions(&self) -> Vec<AttributionMethod> {
        let method = |one: &Measurement| match one {
            Measurement::Attributed { method, .. } => Some(*method),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(method).collect()
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Measurement> {
        self.0.lock().unwrap().clone()
    }

    /// How many sentences were found with and without a source.
    pub fn sentences(&self) -> (usize, usize) {
        let all = self.0.lock().unwrap();
        let count =
            |wanted| all.iter().filter(|one| **one == Measurement::CitationChecked { supported: wanted }).count();
        (count(true), count(false))
    }
}

/// A gate that the fake engine passes one step at a time, or freely.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    /// One that stands open.
    pub fn opened() -> Arc<Self> {
        let gate = Arc::new(Self::default());
        gate.open();
        gate
    }

    pub fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    /// Stops whoever comes from here on.
    pub fn shut(&self) {
        *self.state.lock().unwrap() = (0, false);
    }

    pub fn permit(&self, steps: usize) {
        self.state.lock().unwrap().0 += steps;
        self.changed.notify_all();
    }

    /// Waits at most ten seconds, so that a broken test ends.
    fn pass(&self) {
        let closed = |state: &mut (usize, bool)| state.0 == 0 && !state.1;
        let (mut state, _) =
            self.changed.wait_timeout_while(self.state.lock().unwrap(), Duration::from_secs(10), closed).unwrap();
        state.0 = state.0.saturating_sub(1);
    }
}

/// What the fakes should do.
pub struct Script {
    pub pieces: Vec<&'static str>,
    pub score: f32,
    /// Texts that make the embedder panic.
    pub poison: &'static str,
    pub gate: Arc<Gate>,
    pub embed_workers: usize,
    /// What the embedder passes before each batch.
    pub embedder_gate: Arc<Gate>,
    pub telemetry: Arc<dyn Telemetry>,
    pub engine_fails_at_step: Option<usize>,
    pub settings: TurnSettings,
    pub admission: usize,
    /// What one client may have of the places.
    pub client_percent: usize,
    pub queue: usize,
    /// What conversations are kept in: given to two tutors, the second one is the first after a restart.
    pub kept: FakeConversations,
    /// For how long.
    pub keep: Option<Duration>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            pieces: vec!["A binary heap ", "is a complete ", "tree in an array."],
            score: 0.9,
            poison: "poison",
            gate: Gate::opened(),
            embed_workers: 2,
            embedder_gate: Gate::opened(),
            telemetry: Arc::new(Silent),
            engine_fails_at_step: None,
            settings: settings(),
            admission: 8,
            client_percent: 100,
            queue: 8,
            kept: FakeConversations::default(),
            keep: None,
        }
    }
}

pub fn settings() -> TurnSettings {
    TurnSettings {
        top_k: 3,
        context_chars: 2_000,
        min_score: 0.4,
        system_prompt: "answer from the passages".into(),
        prompt_tokens: 500,
        max_tokens: 64,
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_last_tokens: 0,
            dry_multiplier: 0.0,
            seed: 0,
            logit_bias: Vec::new(),
            grammar: None,
        },
        history_turns: 2,
        time_limit: Duration::from_secs(20),
    }
}

/// A text from which every passage is far.
pub const FAR_FROM_ALL: &str = "heap? and what is that";

/// Words in a question that make a part panic when it sees them.
pub const BREAK_SEARCH: &str = "break-search";
pub const BREAK_BEGIN: &str = "break-begin";
pub const BREAK_STEP: &str = "break-step";
pub const BREAK_STORE: &str = "break-store";
/// A name of a document that makes the turn itself panic.
pub const BREAK_TURN: &str = "break-turn";

struct FakeEmbedder {
    poison: &'static str,
    gate: Arc<Gate>,
    embedded: Arc<Mutex<Vec<String>>>,
}

impl Embedder for FakeEmbedder {
    fn dimension(&self) -> usize {
        2
    }

    fn max_tokens(&self) -> usize {
        256
    }

    fn embed(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EngineError> {
        self.gate.pass();
        self.embedded.lock().unwrap().extend_from_slice(texts);
        assert!(!texts.iter().any(|text| text.contains(self.poison)), "poisoned text");
        Ok(texts.iter().map(|_| vec![1.0, 0.0]).collect())
    }
}

/// Counts words for tokens.
pub struct Words;

impl TokenCounter for Words {
    fn count(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }
}

pub struct FakeStore {
    score: f32,
    pub searches: AtomicUsize,
}

impl Retriever for FakeStore {
    fn search(&self, query: SearchQuery) -> BoxFuture<'static, Result<Found, EngineError>> {
        self.searches.fetch_add(1, Ordering::SeqCst);
        let passage = |number: usize| Passage {
            chunk_id: ChunkId(format!("chunk-{number}")),
            document_id: DocumentId("heaps.pdf".into()),
            file_name: "heaps.pdf".into(),
            kind: DocumentKind::Pdf,
            page: Some(u32::try_from(number).unwrap()),
            section: None,
            span: CharSpan { start: 0, end: 10 },
            text: "A binary heap is a complete tree kept in an array.".into(),
        };
        let score = if query.text.contains(FAR_FROM_ALL) { self.score / 4.0 } else { self.score };
        let breaks = query.text.contains(BREAK_SEARCH);
        let passages = (1..=query.top_k).map(|number| ScoredPassage::whole(passage(number), score)).collect();
        Box::pin(async move {
            assert!(!breaks, "the search broke");
            Ok(Found { passages, relevance: score })
        })
    }

    fn stats(&self) -> BoxFuture<'static, Result<CorpusStats, EngineError>> {
        Box::pin(async { Ok(CorpusStats::default()) })
    }

    fn documents(&self) -> BoxFuture<'static, Result<Vec<DocumentRecord>, EngineError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Generations that the fake engine began.
type Generations = Arc<Mutex<Vec<Generation>>>;

/// A grammar that the fake engine cannot read.
pub const BAD_GRAMMAR: &str = "root ::= (";

struct FakeEngine {
    begun: Generations,
    pieces: Vec<&'static str>,
    gate: Arc<Gate>,
    at: HashMap<Slot, usize>,
    steps: usize,
    fails_at: Option<usize>,
    /// Whether the next step panics.
    breaks: bool,
}

impl GenerationEngine for FakeEngine {
    fn slots(&self) -> usize {
        1
    }

    fn context_tokens(&self) -> usize {
        1024
    }

    fn count_prompt_tokens(&self, messages: &[PromptMessage]) -> Result<usize, EngineError> {
        Ok(messages.iter().map(|message| message.text.split_whitespace().count()).sum())
    }

    fn count_cached_tokens(&self, _: &[PromptMessage], _: &str) -> Result<usize, EngineError> {
        Ok(0)
    }

    fn begin(&mut self, slot: Slot, generation: &Generation) -> Result<Begun, EngineError> {
        if generation.sampling.grammar.as_deref() == Some(BAD_GRAMMAR) {
            return Err(EngineError::Rejected("the grammar cannot be used: it ends too early (line 1)".into()));
        }
        let asked = |word| generation.messages.last().is_some_and(|message| message.text.contains(word));
        assert!(!asked(BREAK_BEGIN), "the beginning broke");
        self.breaks = asked(BREAK_STEP);
        self.begun.lock().unwrap().push(generation.clone());
        self.at.insert(slot, 0);
        Ok(Begun { prompt_tokens: self.count_prompt_tokens(&generation.messages)?, cached_tokens: 1 })
    }

    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        self.gate.pass();
        self.steps += 1;
        // The first token is out by then.
        assert!(!(self.breaks && self.at.values().all(|at| *at > 0)), "the step broke");
        if self.fails_at == Some(self.steps) {
            return Err(EngineError::Failed("the device is gone".into()));
        }
        let outputs = self.at.iter_mut().map(|(slot, at)| {
            *at += 1;
            let output = match self.pieces.get(*at - 1) {
                Some(piece) => SlotOutput::Token((*piece).into()),
                None => SlotOutput::Finished(String::new(), FinishReason::Stop),
            };
            (*slot, output)
        });
        Ok(outputs.collect())
    }

    fn end(&mut self, slot: Slot) {
        self.at.remove(&slot);
    }
}

/// Conversations in memory, on a disk that can be taken away.
#[derive(Clone)]
pub struct FakeConversations {
    inner: MemoryStore,
    /// What it passes before it removes anything.
    pub removals: Arc<Gate>,
    pub is_full: Arc<AtomicBool>,
    /// Whether ends of turns alone cannot be written.
    pub loses_ends: Arc<AtomicBool>,
    /// Changes that were written.
    pub changes: Arc<Mutex<Vec<TurnChange>>>,
}

impl Default for FakeConversations {
    fn default() -> Self {
        Self {
            inner: MemoryStore::default(),
            removals: Gate::opened(),
            is_full: Arc::default(),
            loses_ends: Arc::default(),
            changes: Arc::default(),
        }
    }
}

impl ConversationStore for FakeConversations {
    fn write(&mut self, changes: &[TurnChange]) -> Result<(), EngineError> {
        let breaks =
            |change: &TurnChange| matches!(change, TurnChange::Begin(begin) if begin.question.contains(BREAK_STORE));
        assert!(!changes.iter().any(breaks), "the store broke");
        let ends = changes.iter().any(|change| matches!(change, TurnChange::End(_)));
        if self.is_full.load(Ordering::SeqCst) || (ends && self.loses_ends.load(Ordering::SeqCst)) {
            return Err(EngineError::Failed("the disk is full".into()));
        }
        self.changes.lock().unwrap().extend_from_slice(changes);
        self.inner.write(changes)
    }

    fn conversation(&mut self, id: &ConversationId, turns: usize) -> Result<Option<StoredConversation>, EngineError> {
        self.inner.conversation(id, turns)
    }

    fn turn(&mut self, id: &ConversationId, turn: &TurnId) -> Result<Option<StoredTurn>, EngineError> {
        self.inner.turn(id, turn)
    }

    fn turns(&mut self, id: &ConversationId, after: u64, limit: usize) -> Result<Vec<StoredTurn>, EngineError> {
        self.inner.turns(id, after, limit)
    }

    fn path(&mut self, id: &ConversationId, to: &TurnId, limit: usize) -> Result<Vec<Exchange>, EngineError> {
        self.inner.path(id, to, limit)
    }

    fn list(
        &mut self,
        owner: Option<&Owner>,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>, EngineError> {
        self.inner.list(owner, after, limit)
    }

    fn rate(&mut self, owner: Option<&Owner>, turn: &TurnId, feedback: &Feedback) -> Result<bool, EngineError> {
        self.inner.rate(owner, turn, feedback)
    }

    fn remove(&mut self, id: &ConversationId) -> Result<bool, EngineError> {
        self.removals.pass();
        self.inner.remove(id)
    }

    fn unchanged_since(&mut self, time: SystemTime, limit: usize) -> Result<Vec<ConversationId>, EngineError> {
        self.inner.unchanged_since(time, limit)
    }

    fn remove_unchanged(&mut self, ids: &[ConversationId], since: SystemTime) -> Result<usize, EngineError> {
        self.removals.pass();
        self.inner.remove_unchanged(ids, since)
    }
}

struct NoFilter;

impl DocumentFilter for NoFilter {
    fn resolve(&self, patterns: Vec<String>) -> BoxFuture<'static, Result<Vec<DocumentId>, TurnError>> {
        Box::pin(async move {
            assert!(!patterns.iter().any(|pattern| pattern == BREAK_TURN), "the turn broke");
            Ok(patterns.into_iter().map(DocumentId).collect())
        })
    }
}

/// A whole tutor with fakes behind it.
pub struct Tutor {
    pub conversations: Addr<ConversationsActor>,
    pub services: TurnServices,
    pub store: Arc<FakeStore>,
    pub generator: GenerationWorker,
    pub embedding: EmbeddingWorkers,
    pub storage: Storage,
    pub admission: Admission,
    pub kept: FakeConversations,
    /// What reached the engine, in order.
    pub begun: Generations,
    /// Of every worker and every actor that there is one of.
    pub health: Vec<Arc<WorkerHealth>>,
    /// Texts that reached an embedder, in order.
    pub embedded: Arc<Mutex<Vec<String>>>,
}

impl Tutor {
    pub fn start(script: Script) -> Self {
        let telemetry = script.telemetry;
        let budget = RestartBudget { backoff: Duration::ZERO, ..RestartBudget::default() };
        let (poison, gate) = (script.poison, script.embedder_gate);
        let embedded = Arc::<Mutex<Vec<String>>>::default();
        let embedders: Factory<BoxedEmbedder> = {
            let embedded = embedded.clone();
            Arc::new(move || Ok(Box::new(FakeEmbedder { poison, gate: gate.clone(), embedded: embedded.clone() })))
        };
        let (embedding, _, _) =
            EmbeddingWorkers::start(&embedders, script.embed_workers, script.queue, budget, &telemetry)
                .unwrap()
                .ready()
                .unwrap();
        let (pieces, gate, first) = (script.pieces, script.gate, Mutex::new(script.engine_fails_at_step));
        let begun = Generations::default();
        let engine_begun = begun.clone();
        let engines: Factory<BoxedEngine> = Arc::new(move || {
            let fails_at = first.lock().unwrap().take();
            let (begun, pieces, gate) = (engine_begun.clone(), pieces.clone(), gate.clone());
            Ok(Box::new(FakeEngine { begun, pieces, gate, at: HashMap::new(), steps: 0, fails_at, breaks: false }))
        });
        let (generator, _, _) =
            GenerationWorker::start(&engines, script.queue, budget, &telemetry).unwrap().ready().unwrap();
        let store = Arc::new(FakeStore { score: script.score, searches: AtomicUsize::new(0) });
        let watchdogs @ [embedding_pool, retriever, generator_dog, directory] =
            &["embedding-pool", "retriever", "generator", "directory"].map(|name| Watchdog::of_one(name, &telemetry));
        let search = RetrieverActor::new(store.clone(), 4, 16, telemetry.clone(), retriever.health().pulse());
        let services = TurnServices {
            embedding: embedding_pool.start(EmbeddingPoolActor::new(embedding.clone())),
            retriever: retriever.start(search),
            generator: generator_dog.start(GeneratorActor::new(generator.clone())),
            telemetry,
            settings: Arc::new(script.settings),
            documents: Arc::new(NoFilter),
            cut_off: CancelToken::default(),
        };
        let bounds =
            Bounds { turns: script.admission, prompt_tokens: usize::MAX, client_percent: script.client_percent };
        let admission = Admission::new(bounds, generator.outlook(), services.telemetry.clone());
        let kept = script.kept.clone();
        let stores: Factory<BoxedStore> = Arc::new(move || Ok(Box::new(script.kept.clone())));
        let (storage, _) = Storage::start(&stores, budget, &services.telemetry).unwrap();
        let settings = ConversationSettings { limit: 4, idle_after: Duration::from_secs(3600), keep: script.keep };
        let conversations = ConversationsActor::new(services.clone(), admission.clone(), storage.clone(), settings);
        let conversations = directory.start(conversations);
        let mut health = vec![embedding.health(), generator.health(), storage.health()];
        health.extend(watchdogs.iter().map(Watchdog::health));
        Self { conversations, services, store, generator, embedding, storage, admission, kept, begun, health, embedded }
    }

    pub async fn open(&self, name: &str) -> Conversation {
        self.open_for(name, None).await.unwrap()
    }

    pub async fn open_for(&self, name: &str, owner: Option<Owner>) -> Result<Conversation, TurnError> {
        self.conversations.send(Open { id: ConversationId::parse(name).unwrap(), owner }).await.unwrap()
    }
}

impl Drop for Tutor {
    fn drop(&mut self) {
        self.generator.close();
        self.embedding.close();
        self.storage.close();
    }
}

pub fn question(turn: &str, message: &str) -> TurnRequest {
    TurnRequest {
        turn_id: TurnId::parse(turn).unwrap(),
        client: None,
        message: message.into(),
        options: AnswerOptions::default(),
        abandon_after: Duration::from_secs(30),
    }
}

/// All events of a turn up to its end.
pub async fn until_end(cursor: &mut Cursor) -> Vec<NumberedEvent> {
    let mut events = Vec::new();
    loop {
        let event = cursor.next().await.unwrap();
        let ended = event.event.is_terminal();
        events.push(event);
        if ended {
            return events;
        }
    }
}

pub fn completion(events: &[NumberedEvent]) -> &Completion {
    match &events.last().unwrap().event {
        TurnEvent::Completed(done) => done,
        other => panic!("the turn ended with {other:?}"),
    }
}

pub fn failure(events: &[NumberedEvent]) -> &TurnError {
    match &events.last().unwrap().event {
        TurnEvent::Failed(error) => error,
        other => panic!("the turn ended with {other:?}"),
    }
}
