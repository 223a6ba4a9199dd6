//! Engines, generations, and what comes of them.

use std::sync::Arc;

use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::ports::{
    Begun, DecoderShape, Generation, GenerationEngine, PromptMessage, Role, Sampling, SlotOutput,
};
use mentor_actors::telemetry::Silent;

use crate::decoder::StrictDecoder;

pub fn message(role: Role, text: &str) -> PromptMessage {
    PromptMessage { role, text: text.into() }
}

pub fn generation(messages: Vec<PromptMessage>, scope: &str, max_tokens: usize) -> Generation {
    Generation { messages, max_tokens, sampling: Sampling::greedy(), stop: Vec::new(), cache_scope: scope.into() }
}

/// What the model alone would say: token after token, nothing guessed, nothing reused.
pub fn expected(messages: &[PromptMessage], max_tokens: usize, shape: DecoderShape) -> String {
    let lone = DecoderShape { sequences: 1, cells: shape.sequence_tokens, mixes: true, ..shape };
    let settings = BatchSettings { state_bytes: 0, draft_tokens: 0 };
    let mut engine = BatchEngine::new(StrictDecoder::new(lone), settings, Arc::new(Silent));
    engine.begin(0, &generation(messages.to_vec(), "alone", max_tokens)).unwrap();
    let mut text = String::new();
    loop {
        for (_, output) in engine.step().unwrap() {
            match output {
                SlotOutput::Token(more) => text.push_str(&more),
                SlotOutput::Finished(rest, _) => return text + &rest,
                _ => {}
            }
        }
    }
}

pub type StrictEngine = BatchEngine<StrictDecoder>;

pub fn engine(sequences: usize, settings: BatchSettings) -> StrictEngine {
    let shape =
        DecoderShape { sequences, sequence_tokens: 2_000, cells: 2_000 * sequences, batch_tokens: 64, mixes: false };
    BatchEngine::new(StrictDecoder::new(shape), settings, Arc::new(Silent))
}

pub const ROOMY: BatchSettings = BatchSettings { state_bytes: 10 << 20, draft_tokens: 0 };

/// Runs one turn to its end, alone; what it said.
pub fn run(engine: &mut StrictEngine, generation: &Generation) -> (Begun, String) {
    let begun = engine.begin(0, generation).unwrap();
    let mut text = String::new();
    loop {
        for (_, output) in engine.step().unwrap() {
            match output {
                SlotOutput::Token(more) => text.push_str(&more),
                SlotOutput::Finished(rest, _) => {
                    engine.end(0);
                    return (begun, text + &rest);
                }
                _ => {}
            }
        }
    }
}

/// A user's prompt of this length and the role before it.
pub fn long_prompt(letters: &str, tokens: usize) -> Vec<PromptMessage> {
    vec![message(Role::User, &letters.repeat(tokens)[..tokens])]
}

/// A pool of cells that not everybody can have their whole context in.
pub fn pool(sequences: usize, sequence_tokens: usize, cells: usize) -> DecoderShape {
    DecoderShape { sequences, sequence_tokens, cells, batch_tokens: 32, mixes: true }
}

/// Steps until the slots have finished; what each said.
pub fn run_all(engine: &mut StrictEngine, slots: usize) -> Vec<String> {
    let mut texts = vec![String::new(); slots];
    let mut running = slots;
    for _ in 0..10_000 {
        for (slot, output) in engine.step().unwrap() {
            match output {
                SlotOutput::Token(more) => texts[slot].push_str(&more),
                SlotOutput::Finished(rest, _) => {
                    texts[slot].push_str(&rest);
                    engine.end(slot);
                    running -= 1;
                }
                SlotOutput::Failed(error) => panic!("slot {slot} failed: {error}"),
                SlotOutput::Prefilled | SlotOutput::Counted(_) => {}
            }
        }
        if running == 0 {
            return texts;
        }
    }
    panic!("{running} turns never end");
}
