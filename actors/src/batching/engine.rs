//! The port: generations in slots, on a decoder that evaluates batches for all of them. What sequences keep, lose and get back
//! is in `prefixes`.

mod prefixes;

use std::sync::Arc;
use std::time::Instant;

use super::answer::Answer;
use super::cost::StepCost;
use super::draft::Drafter;
use super::plan::{Feed, Plan};
use super::scheduler::Scheduler;
use super::states::StateCache;
use crate::domain::{EngineError, Usage};
use crate::ports::{
    BatchToken, Begun, Decoder, EncodedPrompt, Evaluation, Generation, GenerationEngine, PromptMessage, Slot,
    SlotOutput,
};
use crate::telemetry::{Measurement, Telemetry};

/// Fewer tokens that all conversations share are read by each: a step for them alone costs as much as reading about as many.
const LEAST_SHARED: usize = 8;

/// What the engine may spend besides the decoder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Most main memory for evaluated tokens of conversations that lost their sequence; 0 keeps none.
    pub state_bytes: usize,
    /// Most tokens of an answer that are guessed at once; 0 never guesses.
    pub draft_tokens: usize,
}

/// Continuous batching on any decoder.
pub struct BatchEngine<D: Decoder> {
    decoder: D,
    scheduler: Scheduler,
    slots: Vec<Option<Writing>>,
    states: StateCache<D::State>,
    cost: StepCost,
    /// Whether the decoder can forget a part of a sequence, as far as is known. Where it cannot, a wrong guess costs everything
    /// that was evaluated.
    forgets_parts: bool,
    settings: BatchSettings,
    telemetry: Arc<dyn Telemetry>,
}

/// What a slot writes.
struct Writing {
    answer: Answer,
    drafter: Drafter,
    begun: Begun,
}

impl Writing {
    fn usage(&self) -> Usage {
        let Begun { prompt_tokens, cached_tokens } = self.begun;
        Usage { prompt_tokens, cached_tokens, completion_tokens: self.answer.produced() }
    }
}

impl<D: Decoder> BatchEngine<D> {
    /// An engine with a slot for every sequence of the decoder.
    #[must_use]
    pub fn new(decoder: D, settings: BatchSettings, telemetry: Arc<dyn Telemetry>) -> Self {
        let shape = decoder.shape();
        Self {
            scheduler: Scheduler::new(shape),
            slots: std::iter::repeat_with(|| None).take(shape.sequences).collect(),
            states: StateCache::new(settings.state_bytes),
            cost: StepCost::default(),
            forgets_parts: true,
            decoder,
            settings,
            telemetry,
        }
    }

    /// The decoder, to look at.
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// What is decided about the sequences, to look at.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn check_free(&self, slot: Slot) -> Result<(), EngineError> {
        if self.scheduler.is_free(slot) {
            return Ok(());
        }
        let slots = self.slots.len();
        Err(EngineError::Failed(format!("slot {slot} of {slots} is taken or not there")))
    }

    fn encode(&self, messages: &[PromptMessage]) -> Result<EncodedPrompt, EngineError> {
        let EncodedPrompt { tokens, shared } = self.decoder.encode(messages)?;
        Ok(EncodedPrompt { tokens, shared: if shared < LEAST_SHARED { 0 } else { shared } })
    }

    /// Guesses for all slots that write.
    fn propose(&mut self) {
        if !self.forgets_parts {
            return;
        }
        let break_even = self.cost.break_even(self.scheduler.writing());
        for (slot, writing) in self.slots.iter_mut().enumerate() {
            let Some(writing) = writing.as_mut().filter(|_| self.scheduler.is_writing(slot)) else { continue };
            // The token after the last guess is always said too.
            let limit = writing.answer.room().saturating_sub(1);
            let draft = writing.drafter.guess(self.scheduler.tokens(slot), limit, break_even);
            self.scheduler.propose(slot, draft);
        }
    }

    fn carry_out(&mut self, plan: Plan, outputs: &mut Vec<(Slot, SlotOutput)>) -> Result<(), EngineError> {
        for forgotten in plan.forget {
            self.forget(forgotten)?;
        }
        for slot in plan.failed {
            let reason = "there is no room left for this answer: the context of all conversations is full";
            outputs.push((slot, SlotOutput::Failed(EngineError::Failed(reason.into()))));
        }
        for batch in plan.batches {
            if !self.evaluate(&batch, outputs)? {
                let retreat = self.scheduler.refused();
                return self.carry_out(retreat, outputs);
            }
        }
        Ok(())
    }

    /// Evaluates a batch and says what came of it. False when the decoder had no room.
    fn evaluate(&mut self, batch: &[Feed], outputs: &mut Vec<(Slot, SlotOutput)>) -> Result<bool, EngineError> {
        let rows = self.rows(batch);
        let start = Instant::now();
        if self.decoder.evaluate(&rows)? == Evaluation::NoRoom {
            return Ok(false);
        }
        let mut row = 0;
        for feed in batch {
            self.scheduler.fed(feed);
            row += feed.tokens;
            if feed.completes {
                self.choose(feed, row - 1, outputs)?;
            } else {
                outputs.push((feed.slot, SlotOutput::Prefilled));
            }
            row += feed.drafted;
        }
        let took = start.elapsed();
        if !batch.iter().any(Feed::reads) {
            self.cost.observe(batch.len(), rows.len() - batch.len(), took);
        }
        self.telemetry.record(Measurement::BatchEvaluated { rows: rows.len(), took });
        // Not before it is known what every sequence of the batch holds: copies need room too.
        batch.iter().try_for_each(|feed| self.copy_shared(feed))?;
        Ok(true)
    }

    fn rows(&self, batch: &[Feed]) -> Vec<BatchToken> {
        let mut rows = Vec::with_capacity(batch.iter().map(Feed::rows).sum());
        for feed in batch {
            let known = &self.scheduler.tokens(feed.slot)[feed.start..feed.start + feed.tokens];
            let guessed = &self.scheduler.draft(feed.slot)[..feed.drafted];
            for (offset, &token) in known.iter().chain(guessed).enumerate() {
                let (sequence, position) = (feed.sequence, feed.start + offset);
                let scores = feed.completes && offset + 1 >= feed.tokens;
                rows.push(BatchToken { sequence, position, token, scores });
            }
        }
        rows
    }

    /// Chooses the next token of a slot, and the ones after it as long as they were guessed.
    fn choose(
        &mut self,
        feed: &Feed,
        first_row: usize,
        outputs: &mut Vec<(Slot, SlotOutput)>,
    ) -> Result<(), EngineError> {
        let slot = feed.slot;
        let Some(writing) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return Err(EngineError::Failed(format!("slot {slot} was evaluated and is free")));
        };
        if writing.answer.room() == 0 {
            self.scheduler.finish(slot);
            outputs.push((slot, writing.answer.full()));
            return Ok(());
        }
        let mut right = 0;
        loop {
            let token = match self.decoder.sample(slot, first_row + right) {
                Ok(token) => token,
                Err(error @ EngineError::Rejected(_)) => {
                    self.scheduler.finish(slot);
                    outputs.push((slot, SlotOutput::Failed(error)));
                    break;
                }
                Err(error) => return Err(error),
            };
            let guessed = self.scheduler.say(slot, token);
            let output = match self.decoder.ends_answer(token) {
                true => writing.answer.end(),
                false => writing.answer.take(token, &self.decoder.piece(token)),
            };
            let finished = matches!(output, SlotOutput::Finished(..));
            if finished {
                outputs.push((slot, SlotOutput::Counted(writing.usage())));
            }
            outputs.push((slot, output));
            if finished {
                self.scheduler.finish(slot);
            }
            right += usize::from(guessed);
            if finished || !guessed {
                break;
            }
        }
        if feed.drafted > 0 {
            let break_even = self.cost.break_even(self.scheduler.writing());
            writing.drafter.learn(feed.drafted, right, self.scheduler.tokens(slot).len(), break_even);
            self.telemetry.record(Measurement::Drafted { guessed: feed.drafted, right });
            let kept = self.keep(feed.sequence, self.scheduler.evaluated(slot))?;
            self.scheduler.holds(slot, kept);
        }
        Ok(())
    }
}

impl<D: Decoder> GenerationEngine for BatchEngine<D> {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_tokens(&self) -> usize {
        let shape = self.decoder.shape();
        shape.sequence_tokens.min(shape.cells)
    }

    fn count_prompt_tokens(&self, messages: &[PromptMessage]) -> Result<usize, EngineError> {
        Ok(self.decoder.encode(messages)?.tokens.len())
    }

    fn count_cached_tokens(&self, messages: &[PromptMessage], cache_scope: &str) -> Result<usize, EngineError> {
        let prompt = self.encode(messages)?;
        Ok(self.scheduler.reusable(&prompt, cache_scope).max(self.states.reusable(&prompt, cache_scope)))
    }

    /// With `max_tokens` 0 the prompt is only evaluated, so that later ones can reuse it.
    fn begin(&mut self, slot: Slot, generation: &Generation) -> Result<Begun, EngineError> {
        self.check_free(slot)?;
        let scope = generation.cache_scope.as_str();
        let prompt = self.encode(&generation.messages)?;
        let prompt_tokens = prompt.tokens.len();
        let room = answer_room(prompt_tokens, self.context_tokens())?;
        self.decoder.begin_sampling(slot, &generation.sampling)?;
        let placement = self.prepare(&prompt, scope).inspect_err(|_| self.decoder.end_sampling(slot))?;
        let copies = prompt.shared > placement.kept && self.wants_shared(&prompt.tokens[..prompt.shared]);
        self.scheduler.admit(slot, placement, prompt, scope, copies);
        let constrained = generation.sampling.grammar.is_some();
        let answer = Answer::new(generation.max_tokens.min(room), &generation.stop, constrained);
        let drafter = Drafter::new(self.settings.draft_tokens);
        let begun = Begun { prompt_tokens, cached_tokens: placement.kept };
        self.slots[slot] = Some(Writing { answer, drafter, begun });
        Ok(begun)
    }

    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        self.propose();
        let before = self.scheduler.times_set_back();
        let plan = self.scheduler.plan();
        let mut outputs = Vec::new();
        self.carry_out(plan, &mut outputs)?;
        let shape = self.decoder.shape();
        self.telemetry.record(Measurement::SetBack { times: self.scheduler.times_set_back() - before });
        self.telemetry.record(Measurement::CellsUsed { used: self.scheduler.cells_used(), total: shape.cells });
        Ok(outputs)
    }

    fn end(&mut self, slot: Slot) {
        self.scheduler.end(slot);
        if self.slots.get_mut(slot).and_then(Option::take).is_some() {
            self.decoder.end_sampling(slot);
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
