//! llama.cpp's context and its batch, with everything bounded that would end the process.
//!
//! Sequence `n` belongs to slot `n`, and its places are 0, 1, 2 ... without gaps.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{DecodeError, LlamaContextLoadError};
use mentor_actors::domain::EngineError;
use mentor_actors::ports::Slot;

use super::config::LlamaConfig;
use super::load::backend;
use super::log;

/// What came of evaluating a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evaluation {
    /// All its tokens are in the context.
    Done,
    /// The context has no room for it and is as it was before.
    NoRoom,
}

/// The evaluated tokens of all slots, and the batch that is evaluated next.
pub(super) struct Context {
    llama: LlamaContext<'static>,
    batch: LlamaBatch<'static>,
    batch_tokens: usize,
    /// Which tokens of the last evaluated batch have scores.
    scored: Vec<bool>,
}

impl Context {
    /// Room for `context_tokens` in each slot.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the memory does not suffice or a number is too large.
    pub(super) fn new(
        model: &'static LlamaModel,
        config: &LlamaConfig,
        context_tokens: usize,
    ) -> Result<Self, EngineError> {
        // Every slot must be able to feed a token in every step.
        let batch_tokens = config.batch_tokens.min(context_tokens).max(config.slots);
        let params = context_params(config, context_tokens, batch_tokens).map_err(EngineError::Load)?;
        let llama = model.new_context(backend()?, params).map_err(|error| context_error(&error))?;
        // Never more tokens than llama.cpp accepts at once: one more would abort the process.
        let batch_tokens = batch_tokens.min(llama.n_batch() as usize);
        Ok(Self { llama, batch: LlamaBatch::new(batch_tokens, 1), batch_tokens, scored: Vec::new() })
    }

    /// Longest batch.
    pub(super) fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    /// Removes what a slot has evaluated from token `tokens` on. Says how many it still has: `tokens`, or none where the
    /// model cannot forget only a part.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when llama.cpp refuses even to remove all.
    pub(super) fn keep(&mut self, slot: Slot, tokens: usize) -> Result<usize, EngineError> {
        let sequence = sequence(slot);
        if tokens > 0 && self.llama.kv_cache_seq_rm(sequence, Some(position(tokens)), None).is_ok() {
            return Ok(tokens);
        }
        let removed = self.llama.kv_cache_seq_rm(sequence, None, None);
        removed.map(|()| 0).map_err(|error| EngineError::Failed(format!("slot {slot} could not be cleared: {error}")))
    }

    /// Gives the first `tokens` that one slot has evaluated to another one, which must have none. Nothing is computed.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the number is too large for llama.cpp.
    pub(super) fn share(&mut self, from: Slot, to: Slot, tokens: usize) -> Result<(), EngineError> {
        let copied = self.llama.kv_cache_seq_cp(sequence(from), sequence(to), Some(0), Some(position(tokens)));
        copied.map_err(|error| EngineError::Failed(format!("slot {from} cannot share its tokens: {error}")))
    }

    /// Begins a new batch.
    pub(super) fn clear_batch(&mut self) {
        self.batch.clear();
        self.scored.clear();
    }

    /// Adds a token to the batch; with scores where the next token is to be chosen.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the batch is full.
    pub(super) fn push(
        &mut self,
        slot: Slot,
        place: usize,
        token: LlamaToken,
        scores: bool,
    ) -> Result<(), EngineError> {
        let place = i32::try_from(place).map_err(|_| EngineError::Failed(format!("there is no place {place}")))?;
        let added = self.batch.add(token, place, &[sequence(slot)], scores);
        added.map_err(|error| EngineError::Failed(format!("the batch was planned too long: {error}")))?;
        self.scored.push(scores);
        Ok(())
    }

    /// Evaluates the batch.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the context is lost.
    pub(super) fn evaluate(&mut self) -> Result<Evaluation, EngineError> {
        match self.llama.decode(&mut self.batch) {
            Ok(()) => Ok(Evaluation::Done),
            Err(DecodeError::NoKvCacheSlot) => Ok(Evaluation::NoRoom),
            Err(error) => Err(evaluation_error(&error)),
        }
    }

    /// Chooses a token by the scores of token `index` of the batch just evaluated, and tells the sampler which.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when that token has no scores: llama.cpp would abort the process.
    pub(super) fn choose(&self, sampler: &mut LlamaSampler, index: usize) -> Result<LlamaToken, EngineError> {
        let number = i32::try_from(index).ok().filter(|_| self.scored.get(index) == Some(&true));
        let number = number.ok_or_else(|| EngineError::Failed(format!("token {index} of the batch has no scores")))?;
        Ok(sampler.sample(&self.llama, number))
    }
}

fn context_params(
    config: &LlamaConfig,
    context_tokens: usize,
    batch_tokens: usize,
) -> Result<LlamaContextParams, String> {
    let too_many = |what: &str, number: usize| format!("{number} {what} are too many");
    let cells = context_tokens.saturating_mul(config.slots);
    // Places in a sequence are 32-bit integers with a sign.
    let cells = i32::try_from(cells).map_err(|_| too_many("tokens of context", cells))?;
    let batch = u32::try_from(batch_tokens).map_err(|_| too_many("tokens of a batch", batch_tokens))?;
    let slots = u32::try_from(config.slots).map_err(|_| too_many("slots", config.slots))?;
    let threads = i32::try_from(config.threads.max(1)).map_err(|_| too_many("threads", config.threads))?;
    Ok(LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells.unsigned_abs()))
        .with_n_seq_max(slots)
        .with_n_batch(batch)
        .with_n_ubatch(batch)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        // One pool of cells for all slots: only so can a part of one slot's tokens be given to another.
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

/// A place in a sequence, which is less than 2^31: making the context allows no more.
fn position(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
