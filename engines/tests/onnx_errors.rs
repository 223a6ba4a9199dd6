//! What goes wrong at load is one clear line: which file, what is wrong with it, what to do. No model is needed.
#![cfg(feature = "onnx")]

use std::fs;
use std::path::Path;

use mentor_actors::domain::EngineError;
use mentor_engines::onnx::{OnnxConfig, OnnxEmbedder, OnnxTokenCounter};

/// A tokenizer of three words.
const TOKENIZER: &str = r#"{
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "course": 1, "mentor": 2}, "unk_token": "[UNK]"}
}"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The line of a load that must fail.
fn load_error(folder: &Path, library: &Path) -> String {
    match OnnxEmbedder::load(&OnnxConfig::new(folder, library)) {
        Err(EngineError::Load(line)) => line,
        Err(other) => panic!("not a load error: {other:?}"),
        Ok(_) => panic!("it loaded"),
    }
}

fn assert_clear(line: &str, file: &str, folder: &Path) {
    assert!(line.contains(file), "{file} is not named: {line}");
    assert!(line.contains("mentor models pull"), "it does not say what to do: {line}");
    assert!(!line.contains('\n') && !line.contains(&*folder.to_string_lossy()), "{line}");
}

#[test]
fn a_missing_runtime_library_is_named() {
    let folder = folder(&[("model.onnx", ""), ("tokenizer.json", TOKENIZER)]);
    let line = load_error(folder.path(), &folder.path().join("libonnxruntime.so"));
    assert_clear(&line, "libonnxruntime.so is missing", folder.path());
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let folder = folder(&[("model.onnx", ""), ("tokenizer.json", TOKENIZER), ("libonnxruntime.so", "text")]);
    let line = load_error(folder.path(), &folder.path().join("libonnxruntime.so"));
    assert_clear(&line, "libonnxruntime.so cannot be used", folder.path());
}

#[test]
fn a_missing_model_is_named() {
    let folder = folder(&[("tokenizer.json", TOKENIZER)]);
    assert_clear(&load_error(folder.path(), Path::new("unused.so")), "model.onnx is missing", folder.path());
}

#[test]
fn a_missing_tokenizer_is_named() {
    let folder = folder(&[("model.onnx", "")]);
    assert_clear(&load_error(folder.path(), Path::new("unused.so")), "tokenizer.json is missing", folder.path());
}

#[test]
fn a_tokenizer_that_is_none_is_refused() {
    for text in ["", "{}", "not json", r#"{"version": "1.0", "model": {"type": "Unknown"}}"#] {
        let folder = folder(&[("model.onnx", ""), ("tokenizer.json", text)]);
        let line = load_error(folder.path(), Path::new("unused.so"));
        assert_clear(&line, "tokenizer.json is not a tokenizer", folder.path());
    }
}

#[test]
fn the_token_counter_needs_only_the_tokenizer() {
    use mentor_actors::ports::TokenCounter as _;
    let folder = folder(&[("tokenizer.json", TOKENIZER)]);
    let counter = OnnxTokenCounter::load(folder.path()).unwrap();
    assert_eq!(counter.count("mentor course of nothing"), 4);
    assert_eq!(counter.count(""), 0);
}
