//! The port: slots, and one batch a step for all of them.

use llama_cpp_2::vocab::LlamaVocab;
use mentor_actors::domain::{EngineError, FinishReason};
use mentor_actors::ports::{Begun, Generation, GenerationEngine, PromptMessage, Slot, SlotOutput};

use super::answer::Answer;
use super::config::LlamaConfig;
use super::context::{Context, Evaluation};
use super::load::LoadedModel;
use super::plan::{Demand, Feed, plan_batch};
use super::prompt::{Prompt, PromptBuilder};
use super::reuse::reusable_tokens;
use super::sampler::SamplerBuilder;
use super::slot::SlotState;

/// Writes answers with llama.cpp.
pub struct LlamaEngine {
    context: Context,
    vocab: LlamaVocab<'static>,
    prompts: PromptBuilder,
    samplers: SamplerBuilder,
    slots: Vec<SlotState>,
    context_tokens: usize,
    /// Generations begun so far.
    begun: u64,
}

impl LlamaEngine {
    pub(super) fn new(loaded: &'static LoadedModel, config: &LlamaConfig) -> Result<Self, EngineError> {
        let trained = if loaded.info.context_tokens == 0 { usize::MAX } else { loaded.info.context_tokens };
        let context_tokens = config.context_tokens.clamp(1, trained);
        Ok(Self {
            context: Context::new(&loaded.model, config, context_tokens)?,
            vocab: loaded.model.vocab(),
            prompts: PromptBuilder::new(&loaded.model)?,
            samplers: SamplerBuilder::new(&loaded.model, context_tokens),
            slots: std::iter::repeat_with(SlotState::default).take(config.slots).collect(),
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
            self.keep(slot, 0)?;
            self.context.share(best, slot, shared)?;
            return Ok(shared);
        }
        self.keep(slot, own)
    }

    fn keep(&mut self, slot: Slot, tokens: usize) -> Result<usize, EngineError> {
        let kept = self.context.keep(slot, tokens)?;
        self.slots[slot].cut(kept);
        Ok(kept)
    }

    /// Evaluates one batch: what was in it, and which slots had to give way for it.
    fn evaluate(&mut self) -> Result<(Vec<Feed>, Vec<(Slot, SlotOutput)>), EngineError> {
        let mut failed = Vec::new();
        loop {
            let plan = plan_batch(&self.demands(), self.context.batch_tokens());
            if plan.is_empty() {
                return Ok((plan, failed));
            }
            self.fill_batch(&plan)?;
            match self.context.evaluate()? {
                Evaluation::Done => return Ok((plan, failed)),
                Evaluation::NoRoom => failed.extend(self.make_room(&plan)?),
            }
        }
    }

    fn demands(&self) -> Vec<Demand> {
        let demand =
            |(slot, state): (Slot, &SlotState)| Demand { slot, pending: state.pending(), arrival: state.arrival };
        self.slots.iter().enumerate().map(demand).collect()
    }

    fn fill_batch(&mut self, plan: &[Feed]) -> Result<(), EngineError> {
        self.context.clear_batch();
        for feed in plan {
            let state = &self.slots[feed.slot];
            let places = state.evaluated..state.evaluated + feed.tokens;
            for place in places.clone() {
                let chooses = feed.completes && place + 1 == places.end;
                self.context.push(feed.slot, place, state.tokens[place], chooses)?;
            }
        }
        Ok(())
    }

    /// Makes room in the context: what an idle slot keeps goes first, then the youngest generation of the plan, which is
    /// returned as failed. Every call frees a slot's tokens, so calling it again and again ends.
    fn make_room(&mut self, plan: &[Feed]) -> Result<Option<(Slot, SlotOutput)>, EngineError> {
        let idle = self.slots.iter().position(|state| state.answer.is_none() && state.evaluated > 0);
        if let Some(slot) = idle {
            self.keep(slot, 0)?;
            return Ok(None);
        }
        let youngest = plan.iter().map(|feed| feed.slot).max_by_key(|&slot| self.slots[slot].arrival);
        let Some(slot) = youngest else {
            return Err(EngineError::Failed("the context has no room for an empty batch".into()));
        };
        self.keep(slot, 0)?;
        if let Some(answer) = &mut self.slots[slot].answer {
            answer.finished = true;
        }
        let reason = "the context has no room left for this answer";
        Ok(Some((slot, SlotOutput::Failed(EngineError::Failed(reason.into())))))
    }

    /// What the batch of `plan`, just evaluated, means for its slots.
    fn collect(&mut self, plan: &[Feed]) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        let mut fed = 0;
        let mut outputs = Vec::with_capacity(plan.len());
        for feed in plan {
            fed += feed.tokens;
            self.slots[feed.slot].evaluated += feed.tokens;
            let output = if feed.completes { self.choose(feed.slot, fed - 1)? } else { SlotOutput::Prefilled };
            outputs.push((feed.slot, output));
        }
        Ok(outputs)
    }

    /// Chooses the next token of a slot by the scores of token `index` of the last batch.
    fn choose(&mut self, slot: Slot, index: usize) -> Result<SlotOutput, EngineError> {
        let state = &mut self.slots[slot];
        let Some(answer) = &mut state.answer else {
            return Err(EngineError::Failed(format!("slot {slot} was evaluated and is free")));
        };
        if answer.is_full() {
            return Ok(answer.finish(String::new(), FinishReason::Length));
        }
        let token = self.context.choose(&mut answer.sampler, index)?;
        state.tokens.push(token);
        Ok(answer.take(token, &self.vocab))
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

    fn count_cached_tokens(&self, messages: &[PromptMessage], cache_scope: &str) -> Result<usize, EngineError> {
        let prompt = self.prompts.build(messages)?;
        let reusable = |state: &SlotState| reusable_tokens(state.evaluated(), &prompt, cache_scope);
        Ok(self.slots.iter().map(reusable).max().unwrap_or(0))
    }

    /// With `max_tokens` 0 the prompt is only evaluated, so that later ones can reuse it.
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
        outputs.extend(self.collect(&plan)?);
        Ok(outputs)
    }

    fn end(&mut self, slot: Slot) {
        if let Some(state) = self.slots.get_mut(slot) {
            state.end();
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
