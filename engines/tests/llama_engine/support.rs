//! The model, engines on it, and what they write.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::domain::FinishReason;
use mentor_actors::ports::{Begun, Generation, GenerationEngine, PromptMessage, Role, Sampling, SlotOutput};
use mentor_actors::telemetry::Silent;
use mentor_engines::llama::{Device, LlamaConfig, LlamaDecoder, LlamaSource};

const MODEL: &str = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";
pub const SYSTEM: &str = "You are a helpful tutor. Answer in one short sentence.";

/// The model's file, or `None` after a line that says why there is none.
pub fn model() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("MENTOR_MODELS_DIR") else {
        eprintln!("skipped: MENTOR_MODELS_DIR names no folder of models");
        return None;
    };
    let file = PathBuf::from(folder).join(MODEL);
    if !file.is_file() {
        eprintln!("skipped: {} is not there", file.display());
        return None;
    }
    Some(file)
}

/// One thread: tests run side by side, and threads of one computation that wait for each other must not share a core.
pub fn config(file: PathBuf) -> LlamaConfig {
    LlamaConfig { threads: 1, device: Device::Cpu, batch_tokens: Some(64), ..LlamaConfig::new(file) }
}

pub type LlamaEngine = BatchEngine<LlamaDecoder>;

pub const SETTINGS: BatchSettings = BatchSettings { state_bytes: 256 << 20, draft_tokens: 0 };

pub fn build(source: &LlamaSource, settings: BatchSettings) -> LlamaEngine {
    BatchEngine::new(source.build().expect("the model loads"), settings, Arc::new(Silent))
}

/// An engine with one slot; all of them share one loaded model.
pub fn engine() -> Option<LlamaEngine> {
    static SOURCE: OnceLock<LlamaSource> = OnceLock::new();
    let file = model()?;
    Some(build(SOURCE.get_or_init(|| LlamaSource::new(config(file))), SETTINGS))
}

pub fn message(role: Role, text: &str) -> PromptMessage {
    PromptMessage { role, text: text.into() }
}

pub fn ask(question: &str, scope: &str, max_tokens: usize) -> Generation {
    Generation {
        messages: vec![message(Role::System, SYSTEM), message(Role::User, question)],
        max_tokens,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        cache_scope: scope.into(),
    }
}

#[derive(Debug, PartialEq)]
pub struct Written {
    pub begun: Begun,
    pub text: String,
    pub reason: FinishReason,
    pub tokens: usize,
}

/// Runs one generation to its end.
pub fn write(engine: &mut LlamaEngine, generation: &Generation) -> Written {
    let begun = engine.begin(0, generation).expect("the slot is free and the prompt fits");
    let mut written = Written { begun, text: String::new(), reason: FinishReason::Cancelled, tokens: 0 };
    while written.reason == FinishReason::Cancelled {
        for (slot, output) in engine.step().expect("the engine lives") {
            assert_eq!(slot, 0);
            take(&mut written, output);
        }
    }
    engine.end(0);
    written
}

fn take(written: &mut Written, output: SlotOutput) {
    match output {
        SlotOutput::Prefilled => assert_eq!(written.tokens, 0, "a prompt is read before its answer is written"),
        SlotOutput::Token(text) => {
            written.tokens += 1;
            written.text.push_str(&text);
        }
        SlotOutput::Finished(text, reason) => {
            written.text.push_str(&text);
            written.reason = reason;
        }
        SlotOutput::Counted(_) => {}
        SlotOutput::Failed(error) => panic!("the slot failed: {error}"),
    }
}
