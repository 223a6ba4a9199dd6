//! The port: slots, and one batch a step for all of them.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;
use llama_cpp_2::{DecodeError, LlamaContextLoadError};
use mentor_actors::domain::{EngineError, FinishReason};
use mentor_actors::ports::{Begun, Generation, GenerationEngine, PromptMessage, Slot, SlotOutput};

use super::answer::Answer;
use super::config::LlamaConfig;
use super::load::{LoadedModel, backend};
use super::log;
use super::plan::{Demand, Feed, plan_batch};
use super::prompt::{Prompt, PromptBuilder};
use super::reuse::{Evaluated, reusable_tokens};
use super::sampler::SamplerBuilder;

/// Writes answers with llama.cpp. Sequence `n` of its context belongs to slot `n`.
pub struct LlamaEngine {
    context: LlamaContext<'static>,
    batch: LlamaBatch<'static>,
    vocab: LlamaVocab<'static>,
    prompts: PromptBuilder,
    samplers: SamplerBuilder,
    slots: Vec<SlotState>,
    context_tokens: usize,
    batch_tokens: usize,
    begun: u64,
}

/// A slot, taken or free. Either way its evaluated tokens stay in the context, for a next prompt that begins the same.
#[derive(Default)]
struct SlotState {
    /// Prompt and answer so far.
    tokens: Vec<LlamaToken>,
    /// How many of them are evaluated: exactly those are in the context.
    evaluated: usize,
    /// Whose they are.
    scope: String,
    /// Number of the generation, in the order they began.
    arrival: u64,
    /// The running generation; `None` while the slot is free.
    answer: Option<Answer>,
}

impl SlotState {
    fn evaluated(&self) -> Evaluated<'_, LlamaToken> {
        Evaluated { tokens: &self.tokens[..self.evaluated], scope: &self.scope }
    }

    /// Tokens to evaluate; none while the slot is free or its answer finished.
    fn pending(&self) -> usize {
        let runs = self.answer.as_ref().is_some_and(|answer| !answer.finished);
        if runs { self.tokens.len() - self.evaluated } else { 0 }
    }

    /// Keeps the first `kept` tokens, all of them evaluated.
    fn cut(&mut self, kept: usize) {
        self.tokens.truncate(kept);
        self.evaluated = kept;
    }
}

impl LlamaEngine {
    pub(super) fn new(loaded: &'static LoadedModel, config: &LlamaConfig) -> Result<Self, EngineError> {
        let trained = if loaded.info.context_tokens == 0 { usize::MAX } else { loaded.info.context_tokens };
        let context_tokens = config.context_tokens.clamp(1, trained);
        // Every slot must be able to feed a token in every step.
        let batch_tokens = config.batch_tokens.max(config.slots).min(context_tokens.max(config.slots));
        let params = context_params(config, context_tokens, batch_tokens)?;
        let context = loaded.model.new_context(backend()?, params).map_err(|error| context_error(&error))?;
        Ok(Self {
            // Never more tokens than llama.cpp accepts at once: one more would abort the process.
            batch_tokens: batch_tokens.min(context.n_batch() as usize),
            batch: LlamaBatch::new(batch_tokens, 1),
            vocab: loaded.model.vocab(),
            prompts: PromptBuilder::new(&loaded.model)?,
            samplers: SamplerBuilder::new(&loaded.model, context_tokens),
            slots: std::iter::repeat_with(SlotState::default).take(config.slots).collect(),
            context,
            context_tokens,
            begun: 0,
        })
    }

    fn check_free(&self, slot: Slot) -> Result<(), EngineError> {
        match self.slots.get(slot) {
            None => Err(EngineError::Failed(format!("there is no slot {slot}, only {}", self.slots.len()))),
            Some(state) if state.answer.is_some() => Err(EngineError::Failed(format!("slot {slot} is taken"))),
            Some(_) => Ok(()),
        }
    }

    /// Leaves in `slot` the evaluated tokens that `prompt` begins with, its own or those of another slot; says how many.
    fn keep_prefix(&mut self, slot: Slot, prompt: &Prompt, scope: &str) -> Result<usize, EngineError> {
        let reusable = |state: &SlotState| reusable_tokens(state.evaluated(), prompt, scope);
        let own = reusable(&self.slots[slot]);
        let best = (0..self.slots.len()).max_by_key(|&other| reusable(&self.slots[other])).unwrap_or(slot);
        let shared = reusable(&self.slots[best]);
        if shared > own {
            self.remove_from(slot, 0)?;
            let (from, to) = (sequence(best), sequence(slot));
            let copied = self.context.kv_cache_seq_cp(from, to, Some(0), Some(position(shared)));
            copied.map_err(|error| EngineError::Failed(error.to_string()))?;
            return Ok(shared);
        }
        self.remove_from(slot, own)
    }

    /// Removes what `slot` has evaluated from token `keep` on; says how many tokens it still has: `keep`, or none where
    /// the model cannot forget a part.
    fn remove_from(&mut self, slot: Slot, keep: usize) -> Result<usize, EngineError> {
        let sequence = sequence(slot);
        let kept = keep > 0 && self.context.kv_cache_seq_rm(sequence, Some(position(keep)), None).is_ok();
        if !kept {
            let removed = self.context.kv_cache_seq_rm(sequence, None, None);
            removed.map_err(|error| EngineError::Failed(format!("slot {slot} could not be cleared: {error}")))?;
        }
        let kept_tokens = if kept { keep } else { 0 };
        self.slots[slot].cut(kept_tokens);
        Ok(kept_tokens)
    }

    /// Evaluates one batch. When the context has no room, what idle slots keep goes first, then the youngest generation.
    fn evaluate(&mut self) -> Result<(Vec<Feed>, Vec<(Slot, SlotOutput)>), EngineError> {
        let mut failed = Vec::new();
        loop {
            let plan = plan_batch(&self.demands(), self.batch_tokens);
            if plan.is_empty() {
                return Ok((plan, failed));
            }
            self.fill_batch(&plan)?;
            match self.context.decode(&mut self.batch) {
                Ok(()) => return Ok((plan, failed)),
                // The context is as it was before the call.
                Err(DecodeError::NoKvCacheSlot) => failed.extend(self.make_room(&plan)?),
                Err(error) => return Err(evaluation_error(&error)),
            }
        }
    }

    fn demands(&self) -> Vec<Demand> {
        let demand =
            |(slot, state): (Slot, &SlotState)| Demand { slot, pending: state.pending(), arrival: state.arrival };
        self.slots.iter().enumerate().map(demand).collect()
    }

    fn fill_batch(&mut self, plan: &[Feed]) -> Result<(), EngineError> {
        self.batch.clear();
        for feed in plan {
            let state = &self.slots[feed.slot];
            for offset in 0..feed.tokens {
                let index = state.evaluated + offset;
                let wants_scores = feed.completes && offset + 1 == feed.tokens;
                let place = i32::try_from(index).unwrap_or(i32::MAX);
                let added = self.batch.add(state.tokens[index], place, &[sequence(feed.slot)], wants_scores);
                added.map_err(|error| EngineError::Failed(format!("the batch was planned too long: {error}")))?;
            }
        }
        Ok(())
    }

    fn make_room(&mut self, plan: &[Feed]) -> Result<Option<(Slot, SlotOutput)>, EngineError> {
        let idle = self.slots.iter().position(|state| state.answer.is_none() && state.evaluated > 0);
        if let Some(slot) = idle {
            self.remove_from(slot, 0)?;
            return Ok(None);
        }
        let youngest = plan.iter().map(|feed| feed.slot).max_by_key(|&slot| self.slots[slot].arrival);
        // A plan that was evaluated has at least one feed.
        let Some(slot) = youngest else {
            return Ok(None);
        };
        self.remove_from(slot, 0)?;
        self.slots[slot].answer.iter_mut().for_each(|answer| answer.finished = true);
        let reason = "the context has no room left for this answer";
        Ok(Some((slot, SlotOutput::Failed(EngineError::Failed(reason.into())))))
    }

    /// What the batch of `plan`, just evaluated, means for its slots.
    fn collect(&mut self, plan: &[Feed]) -> Vec<(Slot, SlotOutput)> {
        let mut fed = 0;
        let mut outputs = Vec::with_capacity(plan.len());
        for feed in plan {
            fed += feed.tokens;
            self.slots[feed.slot].evaluated += feed.tokens;
            // Scores exist only for the last token of a feed that completes: any other index aborts the process.
            let output = if feed.completes { self.choose(feed.slot, fed - 1) } else { SlotOutput::Prefilled };
            outputs.push((feed.slot, output));
        }
        outputs
    }

    /// Chooses the next token of a slot by the scores at `index` of the last batch.
    fn choose(&mut self, slot: Slot, index: usize) -> SlotOutput {
        let state = &mut self.slots[slot];
        // Only slots with a running answer have pending tokens, and so a feed.
        let Some(answer) = state.answer.as_mut() else {
            return SlotOutput::Prefilled;
        };
        if answer.is_full() {
            return answer.finish(String::new(), FinishReason::Length);
        }
        // `sample` tells the sampler what was chosen; doing so again would count it twice.
        let token = answer.sampler.sample(&self.context, i32::try_from(index).unwrap_or(i32::MAX));
        state.tokens.push(token);
        answer.take(token, &self.vocab)
    }
}

impl GenerationEngine for LlamaEngine {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    fn count_prompt_tokens(&self, messages: &[PromptMessage]) -> Result<usize, EngineError> {
        Ok(self.prompts.build(messages)?.tokens.len())
    }

    fn begin(&mut self, slot: Slot, generation: &Generation) -> Result<Begun, EngineError> {
        self.check_free(slot)?;
        let prompt = self.prompts.build(&generation.messages)?;
        let room = answer_room(prompt.tokens.len(), self.context_tokens)?;
        let cached_tokens = self.keep_prefix(slot, &prompt, &generation.cache_scope)?;
        let sampler = self.samplers.chain(&generation.sampling);
        self.begun += 1;
        let begun = Begun { prompt_tokens: prompt.tokens.len(), cached_tokens };
        self.slots[slot] = SlotState {
            tokens: prompt.tokens,
            evaluated: cached_tokens,
            scope: generation.cache_scope.clone(),
            arrival: self.begun,
            answer: Some(Answer::new(sampler, generation.max_tokens.min(room))),
        };
        Ok(begun)
    }

    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        let (plan, mut outputs) = self.evaluate()?;
        outputs.extend(self.collect(&plan));
        Ok(outputs)
    }

    fn end(&mut self, slot: Slot) {
        if let Some(state) = self.slots.get_mut(slot) {
            state.cut(state.evaluated);
            state.answer = None;
        }
    }
}

/// Tokens left for the answer to a prompt.
fn answer_room(prompt_tokens: usize, context_tokens: usize) -> Result<usize, EngineError> {
    if prompt_tokens == 0 {
        return Err(EngineError::Failed("the prompt is empty".into()));
    }
    match context_tokens.checked_sub(prompt_tokens) {
        Some(room) if room > 0 => Ok(room),
        _ => Err(EngineError::TooLarge(format!(
            "the prompt has {prompt_tokens} tokens, the context {context_tokens}: no room for an answer"
        ))),
    }
}

fn context_params(
    config: &LlamaConfig,
    context_tokens: usize,
    batch_tokens: usize,
) -> Result<LlamaContextParams, EngineError> {
    let too_many = |what: &str, number: usize| EngineError::Load(format!("{number} {what} are too many"));
    let cells = context_tokens.saturating_mul(config.slots);
    let cells = u32::try_from(cells).map_err(|_| too_many("tokens of context", cells))?;
    let batch = u32::try_from(batch_tokens).map_err(|_| too_many("tokens of a batch", batch_tokens))?;
    let slots = u32::try_from(config.slots).map_err(|_| too_many("slots", config.slots))?;
    let threads = i32::try_from(config.threads.max(1)).map_err(|_| too_many("threads", config.threads))?;
    Ok(LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells))
        .with_n_seq_max(slots)
        .with_n_batch(batch)
        .with_n_ubatch(batch)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        // One pool of cells for all slots: only so can a part of one slot's prefix be given to another.
        .with_kv_unified(true)
        // Windowed attention keeps everything too, or a kept prefix would miss tokens.
        .with_swa_full(true))
}

fn context_error(error: &LlamaContextLoadError) -> EngineError {
    let reason = log::take_error().unwrap_or_else(|| error.to_string());
    EngineError::Load(format!("llama.cpp cannot make a context: {reason}"))
}

fn evaluation_error(error: &DecodeError) -> EngineError {
    let reason = log::take_error().unwrap_or_else(|| error.to_string());
    EngineError::Failed(format!("llama.cpp cannot evaluate a batch: {reason}"))
}

/// llama.cpp's number of a slot's sequence. A slot is at most 255: loading allows no more.
fn sequence(slot: Slot) -> i32 {
    i32::try_from(slot).unwrap_or(i32::MAX)
}

/// A place in a sequence. A context has fewer than 2^32 tokens: making it allows no more.
fn position(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_what_the_prompt_leaves() {
        assert_eq!(answer_room(100, 2048), Ok(1948));
        assert_eq!(answer_room(2047, 2048), Ok(1));
        assert!(matches!(answer_room(2048, 2048), Err(EngineError::TooLarge(_))));
        assert!(matches!(answer_room(9999, 2048), Err(EngineError::TooLarge(_))));
        assert!(matches!(answer_room(0, 2048), Err(EngineError::Failed(_))));
    }
}
