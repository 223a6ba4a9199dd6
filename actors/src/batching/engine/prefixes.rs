//! What sequences keep for their next owner, lose to others and get back from copies in main memory.

use super::BatchEngine;
use crate::batching::plan::{Feed, Forgotten, Placement};
use crate::batching::states::Saved;
use crate::domain::EngineError;
use crate::ports::{Decoder, EncodedPrompt, Sequence, Token};
use crate::telemetry::Measurement;

impl<D: Decoder> BatchEngine<D> {
    /// Finds a sequence for the prompt and leaves in it what it can reuse.
    pub(super) fn prepare(&mut self, prompt: &EncodedPrompt, scope: &str) -> Result<Placement, EngineError> {
        let none = || EngineError::Failed("all sequences are taken".into());
        let placement = self.scheduler.place(prompt, scope).ok_or_else(none)?;
        let filled = self.fill(placement, prompt, scope).inspect_err(|_| {
            // Nobody knows what it holds now: it must not be taken for what it held before.
            self.scheduler.forget(placement.sequence);
            drop(self.decoder.keep(placement.sequence, 0));
        });
        filled.map(|kept| Placement { kept, ..placement })
    }

    /// How much of the prompt the sequence holds then.
    fn fill(&mut self, placement: Placement, prompt: &EncodedPrompt, scope: &str) -> Result<usize, EngineError> {
        // Out of the cache first, or what is displaced could push it out.
        let saved = self.states.take(prompt, scope, placement.kept);
        self.save_displaced(placement.sequence, scope);
        match saved {
            Some(saved) if self.scheduler.can_free(saved.tokens()) => {
                self.restore(placement.sequence, saved, prompt, scope)
            }
            unfit => {
                unfit.into_iter().for_each(|saved| self.states.put_back(saved));
                self.keep(placement.sequence, placement.kept)
            }
        }
    }

    /// Puts a saved state into a sequence; says how much of the prompt it brought. A conversation's own state moves there, what
    /// others can use too is kept, and what cannot be restored is dropped.
    fn restore(
        &mut self,
        sequence: Sequence,
        saved: Saved<D::State>,
        prompt: &EncodedPrompt,
        scope: &str,
    ) -> Result<usize, EngineError> {
        self.decoder.keep(sequence, 0)?;
        self.scheduler.forget(sequence);
        for forgotten in self.scheduler.free_cells(saved.tokens()) {
            self.forget(forgotten)?;
        }
        if let Err(error) = self.decoder.restore(sequence, saved.state()) {
            tracing::warn!(%error, "a saved conversation could not be restored and is read again");
            return self.decoder.keep(sequence, 0);
        }
        let reusable = saved.reusable(prompt, scope);
        if !saved.is_of(scope) {
            self.states.put_back(saved);
        }
        self.keep(sequence, reusable)
    }

    /// Keeps the first tokens of a sequence; says how many it has then, and remembers when that are fewer.
    pub(super) fn keep(&mut self, sequence: Sequence, tokens: usize) -> Result<usize, EngineError> {
        let kept = self.decoder.keep(sequence, tokens)?;
        if kept < tokens && std::mem::replace(&mut self.forgets_parts, false) {
            tracing::info!("the model cannot forget a part of what it evaluated: nothing is guessed any more");
        }
        Ok(kept)
    }

    /// Empties a sequence, after a copy of what a next turn could reuse.
    pub(super) fn forget(&mut self, forgotten: Forgotten) -> Result<(), EngineError> {
        let Forgotten { sequence, held, scope } = forgotten;
        self.save(sequence, Some(scope), held);
        self.decoder.keep(sequence, 0).map(drop)
    }

    /// Copies what another conversation left in a sequence, before it is lost.
    fn save_displaced(&mut self, sequence: Sequence, scope: &str) {
        let displaced = self.scheduler.held(sequence).filter(|(_, owner)| *owner != scope);
        let displaced = displaced.map(|(tokens, owner)| (tokens.to_vec(), owner.to_owned()));
        if let Some((tokens, owner)) = displaced {
            self.save(sequence, Some(owner), tokens);
        }
    }

    /// Copies what a sequence holds into the cache. Without a copy it is read again one day.
    fn save(&mut self, sequence: Sequence, owner: Option<String>, tokens: Vec<Token>) {
        if !self.states.wants(tokens.len()) {
            return;
        }
        match self.decoder.save(sequence) {
            Ok(state) => self.states.insert(owner, tokens, D::state_bytes(&state), state),
            Err(error) => tracing::warn!(%error, "evaluated tokens are not kept in memory"),
        }
        self.telemetry.record(Measurement::StateBytes(self.states.bytes()));
    }

    /// Whether a part that all share is to be copied.
    pub(super) fn wants_shared(&self, shared: &[Token]) -> bool {
        self.states.wants(shared.len()) && self.states.shared(shared).is_none()
    }

    /// Copies the part of the prompt that all conversations share, when exactly that is evaluated, and gives it to those who
    /// were about to read it too. Without a copy everybody reads it.
    pub(super) fn copy_shared(&mut self, feed: &Feed) -> Result<(), EngineError> {
        let Some(shared) = self.scheduler.take_shared(feed.slot) else { return Ok(()) };
        if self.wants_shared(&shared) {
            self.save(feed.sequence, None, shared.clone());
        }
        let Some(saved) = self.states.shared(&shared) else { return Ok(()) };
        for (slot, sequence) in self.scheduler.take_waiting_for(&shared) {
            // What little the sequence holds makes room too.
            self.decoder.keep(sequence, 0)?;
            self.scheduler.holds(slot, 0);
            if !self.scheduler.has_room(shared.len()) {
                continue;
            }
            match self.decoder.restore(sequence, saved.state()) {
                Ok(()) => self.scheduler.holds(slot, shared.len()),
                Err(error) => {
                    tracing::warn!(%error, "what all conversations share could not be restored and is read again");
                    self.decoder.keep(sequence, 0)?;
                }
            }
        }
        Ok(())
    }
}
