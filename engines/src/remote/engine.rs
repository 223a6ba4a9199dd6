//! The port: slots, a task each, and the channel they report on.

use std::time::{Duration, Instant};

use mentor_actors::domain::{EngineError, FinishReason, Usage};
use mentor_actors::ports::{Begun, Generation, GenerationEngine, PromptMessage, Slot, SlotOutput};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::address::ServerAddress;
use super::answer::Answer;
use super::breaker::{Breaker, BreakerWatch, Pass};
use super::client::Client;
use super::config::{RemoteConfig, RemoteInfo};
use super::failure::RemoteFailure;
use super::models::{ChosenModel, ModelList};
use super::request::{chat_request, estimate_tokens};
use super::retry::Retries;
use super::runtime::RemoteRuntime;
use super::task::{Event, GenerationTask, Patience, Report, Reporter, Ticket};

/// Longest a step waits for something to pass on: so long may a cancel take to be noticed.
const STEP_WAIT: Duration = Duration::from_millis(50);

/// Reports under way: a second of 32 fast answers. When they are full, the tasks wait, and their sockets with them.
const REPORTS: usize = 1024;

/// A generation that has a slot.
struct Running {
    ticket: Ticket,
    task: JoinHandle<()>,
    pass: Pass,
    answer: Answer,
}

/// Writes answers on another machine.
pub struct RemoteEngine {
    address: ServerAddress,
    model: ChosenModel,
    context_tokens: usize,
    patience: Patience,
    client: Client,
    breaker: Breaker,
    slots: Vec<Option<Running>>,
    tickets: u64,
    sender: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    runtime: RemoteRuntime,
}

impl RemoteEngine {
    /// Asks the server for its models, and takes one. Not inside another runtime: it waits.
    ///
    /// # Errors
    /// [`EngineError::Load`], in one line, when the server does not answer, or not as expected, or has not that model.
    pub fn connect(config: &RemoteConfig) -> Result<Self, EngineError> {
        Self::connect_watched(config, BreakerWatch::default())
    }

    pub(super) fn connect_watched(config: &RemoteConfig, watch: BreakerWatch) -> Result<Self, EngineError> {
        let runtime = RemoteRuntime::start()?;
        let client = Client::new(config)?;
        let list = runtime.block_on(list_models(&client, config)).map_err(|failure| load_error(config, &failure))?;
        let load = |reason: String| EngineError::Load(format!("the remote server {} {reason}", config.address));
        let model = list.choose(config.model.as_deref()).map_err(|error| load(error.to_string()))?;
        let (sender, reports) = mpsc::channel(REPORTS);
        Ok(Self {
            address: config.address.clone(),
            context_tokens: model.context_tokens.map_or(config.context_tokens, |most| most.min(config.context_tokens)),
            model,
            patience: Patience::of(config),
            client,
            breaker: Breaker::new(config.breaker, watch),
            slots: (0..config.parallel.max(1)).map(|_| None).collect(),
            tickets: 0,
            sender,
            reports,
            runtime,
        })
    }

    /// What was found at the server.
    #[must_use]
    pub fn info(&self) -> RemoteInfo {
        let (address, model) = (self.address.clone(), self.model.shown_name().to_owned());
        RemoteInfo { address, model, context_tokens: self.context_tokens }
    }

    fn start(&mut self, slot: Slot, generation: &Generation, body: Vec<u8>, pass: Pass) -> Running {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let reporter = Reporter { slot, ticket, reports: self.sender.clone() };
        let (client, patience) = (self.client.clone(), self.patience);
        let task = self.runtime.spawn(GenerationTask { client, body, patience, reporter }.run());
        let answer = Answer::new(generation.max_tokens, generation.sampling.grammar.is_some());
        Running { ticket, task, pass, answer }
    }

    /// The first report, if one comes in time.
    fn wait(&mut self) -> Option<Report> {
        let reports = &mut self.reports;
        self.runtime.block_on(async { timeout(STEP_WAIT, reports.recv()).await.ok().flatten() })
    }

    /// Generations whose task has ended: all their reports are in the channel by now.
    fn ended_tasks(&self) -> Vec<(Slot, Ticket)> {
        let ended = |(slot, running): (Slot, &Option<Running>)| {
            running.as_ref().filter(|running| running.task.is_finished()).map(|running| (slot, running.ticket))
        };
        self.slots.iter().enumerate().filter_map(ended).collect()
    }

    fn running(&mut self, slot: Slot, ticket: Ticket) -> Option<&mut Running> {
        self.slots.get_mut(slot)?.as_mut().filter(|running| running.ticket == ticket)
    }

    fn take(&mut self, Report { slot, ticket, event }: Report, outputs: &mut Vec<(Slot, SlotOutput)>) {
        if self.running(slot, ticket).is_none() {
            return;
        }
        match event {
            Event::Text(text) => self.pass_on(slot, text, outputs),
            Event::Finished(reason, usage) => {
                self.breaker.succeeded();
                self.finish(slot, reason, usage, outputs);
            }
            Event::Failed(failure) => self.fail(slot, &failure, outputs),
        }
    }

    fn pass_on(&mut self, slot: Slot, text: String, outputs: &mut Vec<(Slot, SlotOutput)>) {
        self.breaker.began();
        let Some(running) = self.slots[slot].as_mut() else { return };
        outputs.extend(running.answer.take(text).map(|output| (slot, output)));
        if running.answer.repeats_itself() {
            tracing::debug!("an answer repeats itself and is ended");
            running.task.abort();
            self.breaker.succeeded();
            self.finish(slot, FinishReason::Stop, None, outputs);
        } else if running.answer.is_overlong() {
            tracing::warn!(server = %self.address, "an answer is longer than was asked for, and is ended");
            running.task.abort();
            self.finish(slot, FinishReason::Length, None, outputs);
        }
    }

    /// The task is left to end by itself: it only waits for the connection to be free for the next request.
    fn finish(
        &mut self,
        slot: Slot,
        reason: FinishReason,
        usage: Option<Usage>,
        outputs: &mut Vec<(Slot, SlotOutput)>,
    ) {
        let Some(running) = self.slots[slot].take() else { return };
        outputs.extend(running.answer.finish(reason, usage).map(|output| (slot, output)));
    }

    fn fail(&mut self, slot: Slot, failure: &RemoteFailure, outputs: &mut Vec<(Slot, SlotOutput)>) {
        let Some(running) = self.slots[slot].take() else { return };
        let now = Instant::now();
        if failure.is_outage() {
            self.breaker.failed(running.pass, now);
        } else {
            self.breaker.left(running.pass, now);
        }
        let error = failure.refusal().inspect(|_| {
            tracing::warn!(server = %self.address, %failure, "the remote server refused a request");
        });
        let error = error.unwrap_or_else(|| self.failed(&failure.to_string()));
        outputs.push((slot, SlotOutput::Failed(error)));
    }

    fn failed(&self, reason: &str) -> EngineError {
        EngineError::Failed(format!("the remote server {} {reason}", self.address))
    }
}

impl GenerationEngine for RemoteEngine {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// An estimate; the server's own count comes with the end of the answer.
    fn count_prompt_tokens(&self, messages: &[PromptMessage]) -> Result<usize, EngineError> {
        Ok(estimate_tokens(messages))
    }

    /// What the server still has of earlier prompts is its own business.
    fn count_cached_tokens(&self, _: &[PromptMessage], _: &str) -> Result<usize, EngineError> {
        Ok(0)
    }

    fn begin(&mut self, slot: Slot, generation: &Generation) -> Result<Begun, EngineError> {
        if self.slots.get(slot).is_none_or(Option::is_some) {
            return Err(EngineError::Failed(format!("slot {slot} is taken, or is none of {}", self.slots.len())));
        }
        if generation.max_tokens == 0 {
            return Err(EngineError::Failed("a remote server writes no answers of 0 tokens".into()));
        }
        let prompt_tokens = estimate_tokens(&generation.messages);
        if prompt_tokens + generation.max_tokens > self.context_tokens {
            return Err(EngineError::TooLarge(format!(
                "a prompt of about {prompt_tokens} tokens and an answer of {} do not fit {} tokens",
                generation.max_tokens, self.context_tokens
            )));
        }
        let body = chat_request(&self.model.name, generation, self.model.dialect)?;
        let pass = self.breaker.admit(Instant::now()).map_err(|open| self.failed(&open.to_string()))?;
        self.slots[slot] = Some(self.start(slot, generation, body, pass));
        Ok(Begun { prompt_tokens, cached_tokens: 0 })
    }

    /// Never an error: whatever happens to a request is its slot's failure.
    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        let mut outputs = Vec::new();
        if self.slots.iter().all(Option::is_none) {
            return Ok(outputs);
        }
        let ended = self.ended_tasks();
        if let Some(first) = self.wait() {
            self.take(first, &mut outputs);
        }
        // At most what was under way: more may come faster than it can be passed on.
        for _ in 1..REPORTS {
            let Ok(report) = self.reports.try_recv() else { break };
            self.take(report, &mut outputs);
        }
        for (slot, ticket) in ended {
            if self.running(slot, ticket).is_some() {
                self.fail(slot, &RemoteFailure::Lost("the request's task panicked".into()), &mut outputs);
            }
        }
        Ok(outputs)
    }

    fn end(&mut self, slot: Slot) {
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::take) {
            running.task.abort();
            self.breaker.left(running.pass, Instant::now());
        }
    }
}

async fn list_models(client: &Client, config: &RemoteConfig) -> Result<ModelList, RemoteFailure> {
    let limit = config.first_token_timeout;
    let mut retries = Retries::new(config.retries);
    let tries = async {
        loop {
            match client.models().await {
                Ok(list) => return Ok(list),
                Err(failure) => retries.pause(failure).await?,
            }
        }
    };
    timeout(limit, tries).await.unwrap_or(Err(RemoteFailure::NoReply(limit)))
}

fn load_error(config: &RemoteConfig, failure: &RemoteFailure) -> EngineError {
    let hint = match failure {
        RemoteFailure::Status { status: 401 | 403, .. } => "; check llm_api_key",
        RemoteFailure::Status { status: 503, .. } => "; it may still be loading its model",
        RemoteFailure::Connect(_) | RemoteFailure::NoReply(_) => "; check llm, and that the server runs",
        _ => "",
    };
    EngineError::Load(format!("the remote server {} {failure}{hint}", config.address))
}
