//! What is loaded, and what is refused.

use std::fs::File;
use std::io::{Read, Write};

use mentor_actors::domain::EngineError;
use mentor_actors::ports::GenerationEngine;
use mentor_engines::llama::{LlamaConfig, LlamaSource};

use crate::support::{SETTINGS, build, config, model};

#[test]
fn the_model_tells_what_it_is_and_is_loaded_once() {
    let Some(file) = model() else { return };
    let source = LlamaSource::new(config(file));
    assert_eq!(source.info(), None);
    let (first, second) = (build(&source, SETTINGS), build(&source, SETTINGS));
    assert_eq!((first.slots(), second.slots()), (1, 1));
    let info = source.info().expect("it is loaded");
    assert_eq!((info.context_tokens, info.quantisation.as_str(), info.backend.as_str()), (8192, "Q4_1", "cpu"));
    assert!(info.parameters > 130_000_000 && info.bytes > 80_000_000, "{info}");
    assert!(info.name.to_lowercase().contains("smol"), "{info}");
}

#[test]
fn a_context_larger_than_the_model_was_trained_on_is_cut() {
    let Some(file) = model() else { return };
    let engine = build(&LlamaSource::new(LlamaConfig { context_tokens: 100_000, ..config(file) }), SETTINGS);
    assert_eq!(engine.context_tokens(), 8192);
}

#[test]
fn a_truncated_model_is_refused_with_its_name() {
    let Some(file) = model() else { return };
    let mut bytes = Vec::new();
    File::open(file).unwrap().take(4 << 20).read_to_end(&mut bytes).unwrap();
    let mut truncated = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    truncated.write_all(&bytes).unwrap();
    let error = LlamaSource::new(config(truncated.path().into())).build().err().expect("it is not loaded");
    let EngineError::Load(line) = error else { panic!("{error:?}") };
    assert!(line.contains(truncated.path().file_name().unwrap().to_str().unwrap()), "{line}");
    assert!(line.contains("incomplete") && !line.contains('\n'), "{line}");
}
