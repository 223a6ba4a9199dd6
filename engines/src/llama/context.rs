//! llama.cpp's context and its batch, with everything bounded that would end the process.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::context::session::{LlamaStateSeqFlags, SeqState};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{DecodeError, LlamaContextLoadError};
use mentor_actors::domain::EngineError;
use mentor_actors::ports::{BatchToken, DecoderShape, Evaluation, Sequence};

use super::config::{FlashAttention, KvType, LlamaConfig};
use super::load::backend;
use super::log;
use super::memory::{check_context, gpu};
use super::sampler::Sampler;

/// Longest batch of a step where it is not configured. A CPU is hardly faster with more, and a step is as long as a cancel may
/// take; a GPU is, up to what llama.cpp itself computes at once.
const CPU_BATCH: usize = 320;
const GPU_BATCH: usize = 512;

/// The evaluated tokens of all sequences.
pub(super) struct Context {
    llama: LlamaContext<'static>,
    batch: LlamaBatch<'static>,
    shape: DecoderShape,
    /// Which tokens of the last evaluated batch have scores.
    scored: Vec<bool>,
}

impl Context {
    /// Room for sequences of `sequence_tokens`: all of them at once, or as many as `config.cells` hold.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the memory does not suffice or a number is too large.
    pub(super) fn new(
        model: &'static LlamaModel,
        config: &LlamaConfig,
        sequence_tokens: usize,
    ) -> Result<Self, EngineError> {
        let batch_tokens = config.batch_tokens.unwrap_or(if gpu(config).is_some() { GPU_BATCH } else { CPU_BATCH });
        let mut shape = shape(config, sequence_tokens, batch_tokens);
        check_context(config, model, shape).map_err(EngineError::Load)?;
        let params = context_params(config, shape).map_err(EngineError::Load)?;
        let llama = model.new_context(backend()?, params).map_err(|error| context_error(&error))?;
        // Never more tokens than llama.cpp accepts at once: one more would abort the process.
        shape.batch_tokens = shape.batch_tokens.min(llama.n_batch() as usize);
        let batch = LlamaBatch::new(shape.batch_tokens, 1);
        Ok(Self { llama, batch, shape, scored: Vec::new() })
    }

    pub(super) fn shape(&self) -> DecoderShape {
        self.shape
    }

    /// See `Decoder::keep`.
    pub(super) fn keep(&mut self, sequence: Sequence, tokens: usize) -> Result<usize, EngineError> {
        let id = self.id(sequence)?;
        if tokens > 0 && self.llama.kv_cache_seq_rm(id, Some(position(tokens)), None).is_ok() {
            return Ok(tokens);
        }
        let removed = self.llama.kv_cache_seq_rm(id, None, None);
        let failed = |error| EngineError::Failed(format!("sequence {sequence} could not be cleared: {error}"));
        removed.map(|()| 0).map_err(failed)
    }

    /// See `Decoder::save`.
    pub(super) fn save(&self, sequence: Sequence) -> Result<SeqState, EngineError> {
        let state = self.llama.state_seq_get(self.id(sequence)?, LlamaStateSeqFlags::empty());
        state.map_err(|error| EngineError::Failed(format!("sequence {sequence} could not be saved: {error}")))
    }

    /// See `Decoder::restore`.
    pub(super) fn restore(&mut self, sequence: Sequence, state: &SeqState) -> Result<(), EngineError> {
        let id = self.id(sequence)?;
        let restored = self.llama.state_seq_set(state, id);
        restored.map_err(|error| EngineError::Failed(format!("sequence {sequence} could not be restored: {error}")))
    }

    /// See `Decoder::evaluate`.
    pub(super) fn evaluate(&mut self, rows: &[BatchToken]) -> Result<Evaluation, EngineError> {
        self.batch.clear();
        self.scored.clear();
        for row in rows {
            let (id, position) = (self.id(row.sequence)?, i32::try_from(row.position).unwrap_or(i32::MAX));
            // The batch refuses more rows than it was made for.
            let added = self.batch.add(LlamaToken(row.token.0), position, &[id], row.scores);
            added.map_err(|error| EngineError::Failed(format!("the batch was planned too long: {error}")))?;
            self.scored.push(row.scores);
        }
        match self.llama.decode(&mut self.batch) {
            Ok(()) => {
                self.settle();
                Ok(Evaluation::Done)
            }
            Err(DecodeError::NoKvCacheSlot) => Ok(Evaluation::NoRoom),
            Err(error) => Err(evaluation_error(&error)),
        }
    }

    /// Waits for a batch whose scores nobody reads. A GPU is still computing it, and the next batch would seem to take as long
    /// as both; what steps take decides how much is guessed.
    fn settle(&self) {
        if !self.scored.contains(&true) {
            self.llama.synchronize();
        }
    }

    /// Lets a sampler choose by the scores of a row of the batch just evaluated.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when that row has no scores: llama.cpp would abort the process; what the sampler says.
    pub(super) fn choose(&self, sampler: &mut Sampler, row: usize) -> Result<LlamaToken, EngineError> {
        let number = i32::try_from(row).ok().filter(|_| self.scored.get(row) == Some(&true));
        let number = number.ok_or_else(|| EngineError::Failed(format!("row {row} of the batch has no scores")))?;
        sampler.choose(&self.llama, number)
    }

    /// llama.cpp's number of a sequence, which must be one of its own: another one aborts the process.
    fn id(&self, sequence: Sequence) -> Result<i32, EngineError> {
        let id = i32::try_from(sequence).ok().filter(|_| sequence < self.shape.sequences);
        id.ok_or_else(|| EngineError::Failed(format!("there is no sequence {sequence}")))
    }
}

fn shape(config: &LlamaConfig, sequence_tokens: usize, batch_tokens: usize) -> DecoderShape {
    let all = sequence_tokens.saturating_mul(config.slots);
    let cells = if config.cells == 0 { all } else { config.cells.min(all) };
    DecoderShape {
        sequences: config.slots,
        sequence_tokens,
        cells,
        // Every sequence must be able to feed a token in every step.
        batch_tokens: batch_tokens.min(cells).max(config.slots),
        // Sequences that share one pool of cells also share a batch; where each has its own, llama.cpp cuts batches into
        // parts with the same number of tokens of every sequence.
        mixes: cells < all || config.slots == 1,
    }
}

fn context_params(config: &LlamaConfig, shape: DecoderShape) -> Result<LlamaContextParams, String> {
    let too_many = |what: &str, number: usize| format!("{number} {what} are too many");
    // Places in a sequence are 32-bit integers with a sign.
    let cells = i32::try_from(shape.cells).map_err(|_| too_many("tokens of context", shape.cells))?;
    let batch = u32::try_from(shape.batch_tokens).map_err(|_| too_many("tokens of a batch", shape.batch_tokens))?;
    let slots = u32::try_from(config.slots).map_err(|_| too_many("slots", config.slots))?;
    let threads = i32::try_from(config.threads.max(1)).map_err(|_| too_many("threads", config.threads))?;
    // `llama_flash_attn_type` of llama.h; -1, the default, is "where it can".
    let params = match config.flash_attention {
        FlashAttention::Auto => LlamaContextParams::default(),
        FlashAttention::On => LlamaContextParams::default().with_flash_attention_policy(1),
        FlashAttention::Off => LlamaContextParams::default().with_flash_attention_policy(0),
    };
    Ok(params
        .with_n_ctx(NonZeroU32::new(cells.unsigned_abs()))
        .with_n_seq_max(slots)
        .with_n_batch(batch)
        .with_n_ubatch(batch)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_type_k(kv_type(config.kv_type_k))
        .with_type_v(kv_type(config.kv_type_v))
        // A pool of cells for all only where not everybody can have their own: attention looks at the whole pool.
        .with_kv_unified(shape.mixes)
        // Windowed attention keeps everything too, or a kept prefix would miss tokens.
        .with_swa_full(true))
}

fn kv_type(kind: KvType) -> KvCacheType {
    match kind {
        KvType::F32 => KvCacheType::F32,
        KvType::F16 => KvCacheType::F16,
        KvType::Q8_0 => KvCacheType::Q8_0,
    }
}

fn context_error(error: &LlamaContextLoadError) -> EngineError {
    let reason = log::take_error().unwrap_or_else(|| error.to_string());
    EngineError::Load(format!("llama.cpp cannot make a context: {reason}"))
}

fn evaluation_error(error: &DecodeError) -> EngineError {
    let reason = log::take_error().unwrap_or_else(|| error.to_string());
    EngineError::Failed(format!("llama.cpp cannot evaluate a batch: {reason}"))
}

/// A place in a sequence, which is less than 2^31: making the context allows no more.
fn position(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(slots: usize, cells: usize) -> LlamaConfig {
        LlamaConfig { slots, cells, ..LlamaConfig::new("model.gguf") }
    }

    #[test]
    fn every_sequence_has_its_own_cells_where_they_suffice() {
        let own = shape(&config(4, 0), 2048, 256);
        assert_eq!((own.cells, own.mixes, own.batch_tokens), (8192, false, 256));
        assert_eq!(shape(&config(4, 100_000), 2048, 256), own);
    }

    #[test]
    fn fewer_cells_are_a_pool_for_all() {
        let pool = shape(&config(4, 4096), 2048, 256);
        assert_eq!((pool.cells, pool.mixes), (4096, true));
    }

    #[test]
    fn a_batch_has_room_for_every_slot_and_never_exceeds_the_context() {
        assert_eq!(shape(&config(8, 0), 64, 1).batch_tokens, 8);
        assert_eq!(shape(&config(1, 0), 64, 256).batch_tokens, 64);
    }
}
