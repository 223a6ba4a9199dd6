//! The port `Decoder`: llama.cpp evaluates batches and chooses tokens.

use llama_cpp_2::context::session::SeqState;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;
use mentor_actors::domain::EngineError;
use mentor_actors::ports::{
    BatchToken, Decoder, DecoderShape, EncodedPrompt, Evaluation, PromptMessage, Sampling, Sequence, Slot, Token,
};

use super::config::LlamaConfig;
use super::context::Context;
use super::load::LoadedModel;
use super::prompt::PromptBuilder;
use super::sampler::{Sampler, SamplerBuilder};

/// A model with its context, on the thread that owns it.
pub struct LlamaDecoder {
    context: Context,
    vocab: LlamaVocab<'static>,
    prompts: PromptBuilder,
    samplers: SamplerBuilder,
    /// By slot.
    sampling: Vec<Option<Sampler>>,
}

impl LlamaDecoder {
    pub(super) fn new(loaded: &'static LoadedModel, config: &LlamaConfig) -> Result<Self, EngineError> {
        let trained = if loaded.info.context_tokens == 0 { usize::MAX } else { loaded.info.context_tokens };
        let sequence_tokens = config.context_tokens.clamp(1, trained);
        Ok(Self {
            context: Context::new(&loaded.model, config, sequence_tokens)?,
            vocab: loaded.model.vocab(),
            prompts: PromptBuilder::new(&loaded.model)?,
            samplers: SamplerBuilder::new(&loaded.model, sequence_tokens),
            sampling: std::iter::repeat_with(|| None).take(config.slots).collect(),
        })
    }
}

impl LlamaDecoder {
    /// The tokens of a plain text.
    #[must_use]
    pub fn tokens_of(&self, text: &str) -> Vec<Token> {
        self.vocab.tokenize(text.as_bytes(), false, false).into_iter().map(|token| Token(token.0)).collect()
    }
}

impl Decoder for LlamaDecoder {
    type State = SeqState;

    fn shape(&self) -> DecoderShape {
        self.context.shape()
    }

    fn encode(&self, messages: &[PromptMessage]) -> Result<EncodedPrompt, EngineError> {
        self.prompts.build(messages)
    }

    /// Control tokens have no text: special tokens are not rendered.
    fn piece(&self, token: Token) -> Vec<u8> {
        self.vocab.token_to_piece(LlamaToken(token.0), false, None)
    }

    fn ends_answer(&self, token: Token) -> bool {
        self.vocab.is_eog(LlamaToken(token.0))
    }

    fn evaluate(&mut self, batch: &[BatchToken]) -> Result<Evaluation, EngineError> {
        self.context.evaluate(batch)
    }

    fn keep(&mut self, sequence: Sequence, tokens: usize) -> Result<usize, EngineError> {
        self.context.keep(sequence, tokens)
    }

    fn save(&self, sequence: Sequence) -> Result<SeqState, EngineError> {
        self.context.save(sequence)
    }

    fn state_bytes(state: &SeqState) -> usize {
        state.byte_len()
    }

    fn restore(&mut self, sequence: Sequence, state: &SeqState) -> Result<(), EngineError> {
        self.context.restore(sequence, state)
    }

    fn begin_sampling(&mut self, slot: Slot, sampling: &Sampling) -> Result<(), EngineError> {
        let sampler = self.samplers.build(sampling)?;
        let place = self.sampling.get_mut(slot);
        *place.ok_or_else(|| EngineError::Failed(format!("there is no slot {slot}")))? = Some(sampler);
        Ok(())
    }

    fn sample(&mut self, slot: Slot, row: usize) -> Result<Token, EngineError> {
        let sampler = self.sampling.get_mut(slot).and_then(Option::as_mut);
        let sampler = sampler.ok_or_else(|| EngineError::Failed(format!("slot {slot} chooses without a sampler")))?;
        self.context.choose(sampler, row).map(|token| Token(token.0))
    }

    fn end_sampling(&mut self, slot: Slot) {
        if let Some(sampler) = self.sampling.get_mut(slot) {
            *sampler = None;
        }
    }
}
