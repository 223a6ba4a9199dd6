//! Small GGUF files for tests: metadata and a vocabulary, no tensors.

use std::io::Write;
use std::path::Path;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use tempfile::NamedTempFile;

use super::load::backend;

const UINT32: u32 = 4;
const INT32: u32 = 5;
const FLOAT32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Kinds of token (`llama_token_type` of llama.h).
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Byte = 6,
}

/// The metadata of a GGUF file of version 3.
#[derive(Default)]
pub(super) struct Gguf {
    entries: Vec<Vec<u8>>,
}

impl Gguf {
    /// Only says which architecture it is.
    pub(super) fn of_architecture(architecture: &str) -> Self {
        Self::default().text("general.architecture", architecture)
    }

    /// What llama.cpp insists on for a model of this architecture.
    pub(super) fn model(architecture: &str) -> Self {
        let key = |name: &str| format!("{architecture}.{name}");
        Self::of_architecture(architecture)
            .number(&key("context_length"), 128)
            .number(&key("embedding_length"), 32)
            .number(&key("block_count"), 1)
            .number(&key("feed_forward_length"), 32)
            .number(&key("attention.head_count"), 2)
            .fraction(&key("attention.layer_norm_rms_epsilon"), 1e-5)
            .fraction(&key("attention.layer_norm_epsilon"), 1e-5)
            .number(&key("ssm.conv_kernel"), 4)
            .number(&key("ssm.inner_size"), 64)
            .number(&key("ssm.state_size"), 16)
            .number(&key("ssm.time_step_rank"), 2)
    }

    /// A SentencePiece vocabulary: the usual first tokens, all bytes, and these.
    pub(super) fn sentence_pieces(self, tokens: &[(&str, Kind)]) -> Self {
        let first = [("<unk>", Kind::Unknown), ("<s>", Kind::Control), ("</s>", Kind::Control)];
        let bytes: Vec<(String, Kind)> = (0..=255).map(|byte| (format!("<0x{byte:02X}>"), Kind::Byte)).collect();
        let named = |&(text, kind): &(&str, Kind)| (text.to_owned(), kind);
        let all: Vec<_> = first.iter().map(named).chain(bytes).chain(tokens.iter().map(named)).collect();
        let texts: Vec<u8> = all.iter().flat_map(|(text, _)| string(text)).collect();
        let scores: Vec<u8> = (0..all.len()).flat_map(|rank| (rank as f32).to_le_bytes()).collect();
        let kinds: Vec<u8> = all.iter().flat_map(|(_, kind)| (*kind as i32).to_le_bytes()).collect();
        self.text("tokenizer.ggml.model", "llama")
            .array("tokenizer.ggml.tokens", STRING, all.len(), &texts)
            .array("tokenizer.ggml.scores", FLOAT32, all.len(), &scores)
            .array("tokenizer.ggml.token_type", INT32, all.len(), &kinds)
    }

    pub(super) fn text(self, key: &str, value: &str) -> Self {
        self.entry(key, STRING, &string(value))
    }

    pub(super) fn number(self, key: &str, value: u32) -> Self {
        self.entry(key, UINT32, &value.to_le_bytes())
    }

    pub(super) fn fraction(self, key: &str, value: f32) -> Self {
        self.entry(key, FLOAT32, &value.to_le_bytes())
    }

    /// A list, as models have one where their layers differ.
    pub(super) fn numbers(self, key: &str, values: &[u32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, UINT32, values.len(), &bytes)
    }

    fn array(self, key: &str, kind: u32, length: usize, values: &[u8]) -> Self {
        let header = [&kind.to_le_bytes()[..], &(length as u64).to_le_bytes()].concat();
        self.entry(key, ARRAY, &[&header, values].concat())
    }

    fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.entries.push([&string(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// The file, for as long as the value lives.
    pub(super) fn file(&self) -> NamedTempFile {
        let (version, tensors, entries) = (3u32.to_le_bytes(), 0u64.to_le_bytes(), self.entries.len() as u64);
        let header = [b"GGUF", &version[..], &tensors, &entries.to_le_bytes()].concat();
        let mut file =
            tempfile::Builder::new().suffix(".gguf").tempfile().expect("there is a folder for temporary files");
        file.write_all(&[header, self.entries.concat()].concat()).expect("the file can be written");
        file
    }

    /// The model without weights, kept until the tests end.
    pub(super) fn load_vocabulary(&self) -> &'static LlamaModel {
        load_vocabulary(self.file().path())
    }
}

/// The model of a file without its weights, kept until the tests end.
pub(super) fn load_vocabulary(file: &Path) -> &'static LlamaModel {
    let params = LlamaModelParams::default().with_vocab_only(true);
    let backend = backend().expect("llama.cpp can be initialised");
    let model = LlamaModel::load_from_file(backend, file, &params);
    Box::leak(Box::new(model.expect("the metadata suffices")))
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
