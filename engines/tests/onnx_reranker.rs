//! Rerankers run for real, a cross-encoder and the embedder's tokens, by the ONNX Runtime below `MENTOR_MODELS_DIR`; without it
//! these tests skip.
//!
//! `data/shared_words.onnx` is small, but all of one: it reads token ids, mask and types of question and passage in one row, and its
//! logit is how many of the passage's tokens the question has, special tokens included.
#![cfg(feature = "onnx")]

mod passage_support;

use std::fs;
use std::path::{Path, PathBuf};

use mentor_actors::domain::{EngineError, ScoredPassage};
use mentor_actors::ports::Reranker;
use mentor_engines::onnx::{ExecutionProvider, LateInteraction, OnnxConfig, OnnxReranker};

/// Words, with BERT's templates.
const TOKENIZER: &str = r#"{
  "version": "1.0", "added_tokens": [], "normalizer": {"type": "Lowercase"}, "decoder": null,
  "pre_tokenizer": {"type": "Whitespace"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
  "model": {"type": "WordLevel", "unk_token": "[UNK]",
            "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "what": 4, "is": 5, "a": 6, "heap": 7,
                      "tree": 8, "in": 9, "an": 10, "array": 11, "kept": 12, "sorting": 13}}
}"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy("tests/data/shared_words.onnx", folder.path().join("model.onnx")).unwrap();
    fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    folder
}

fn runtime() -> Option<PathBuf> {
    let models = std::env::var_os("MENTOR_MODELS_DIR").map(PathBuf::from);
    let library = models.map(|models| models.join("onnxruntime/libonnxruntime.so")).filter(|library| library.is_file());
    if library.is_none() {
        eprintln!("skipped: MENTOR_MODELS_DIR does not name a folder with ONNX Runtime");
    }
    library
}

fn load(folder: &Path) -> Option<Result<OnnxReranker, EngineError>> {
    Some(OnnxReranker::load(&OnnxConfig::new(folder, runtime()?)))
}

fn passage(text: &str) -> ScoredPassage {
    passage_support::passage(text, 0.5)
}

fn score(reranker: &mut impl Reranker, question: &str, passages: &[&str]) -> Vec<f32> {
    reranker.score(question, &passages.iter().map(|text| passage(text)).collect::<Vec<_>>()).unwrap()
}

/// The score of that many shared tokens, with the `[SEP]` that both texts end with.
fn shared(words: u8) -> f32 {
    1.0 / (1.0 + (-f32::from(words) - 1.0).exp())
}

#[test]
fn each_passage_is_read_with_the_question_and_gets_its_score_in_order() {
    let folder = folder();
    let Some(reranker) = load(folder.path()) else { return };
    let mut reranker = reranker.unwrap();
    let passages = ["sorting", "A heap is a tree", "kept in an array", "heap"];
    let scores = score(&mut reranker, "what is a heap", &passages);
    assert_eq!(scores, [shared(0), shared(4), shared(0), shared(1)]);
    // Rows of very different lengths go into different runs, and padding counts for nothing.
    let long = "tree ".repeat(100);
    let scores = score(&mut reranker, "what is a heap", &[&long, "heap", &format!("{long} heap")]);
    assert_eq!(scores, [shared(0), shared(1), shared(1)]);
    assert!(score(&mut reranker, "what", &[]).is_empty());
}

#[test]
fn it_says_what_it_is_and_cuts_what_is_too_long() {
    let folder = folder();
    fs::write(folder.path().join("config.json"), r#"{"max_position_embeddings": 16}"#).unwrap();
    let Some(reranker) = load(folder.path()) else { return };
    let mut reranker = reranker.unwrap();
    assert_eq!((reranker.info().max_tokens, reranker.info().execution_provider), (16, ExecutionProvider::Cpu));
    let scores = score(&mut reranker, "heap", &[&format!("{} heap", "tree ".repeat(30)), "heap"]);
    assert_eq!(scores, [shared(0), shared(1)]);
}

#[test]
fn a_model_that_scores_no_pairs_is_refused_in_one_line() {
    let folder = folder();
    let bare = TOKENIZER.replace(r#"{"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}"#, "null");
    fs::write(folder.path().join("tokenizer.json"), bare).unwrap();
    let Some(reranker) = load(folder.path()) else { return };
    let line = reranker.err().unwrap().to_string();
    assert!(line.contains("tokenizer.json") && !line.contains('\n'), "{line}");
    let models = PathBuf::from(std::env::var_os("MENTOR_MODELS_DIR").unwrap());
    let line = load(&models.join("all-minilm-l6-v2")).unwrap().err().unwrap().to_string();
    assert!(line.contains("no output with a score") || line.contains("not a score for each"), "{line}");
}

const INODE: &str = "what is an inode?";
const ANSWER: &str = "An inode holds the metadata of a file: its owner, its size and its blocks.";
const ASIDE: &str = "Merge sort splits the list in halves, sorts each of them and merges both in linear time.";

fn late_interaction() -> Option<LateInteraction> {
    let library = runtime()?;
    let folder = library.parent()?.parent()?.join("all-minilm-l6-v2");
    Some(LateInteraction::load(&OnnxConfig::new(folder, library)).unwrap())
}

#[test]
fn tokens_find_the_sentence_that_answers_among_others() {
    let Some(mut reranker) = late_interaction() else { return };
    assert!(reranker.info().model_id.contains("all-minilm-l6-v2"));
    let among = format!("{ASIDE} {ASIDE} {ANSWER} {ASIDE}");
    let scores = score(&mut reranker, INODE, &[ASIDE, &among, ANSWER]);
    assert!(scores[0] < scores[1] && scores[0] < scores[2], "{scores:?}");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    assert!(score(&mut reranker, INODE, &[]).is_empty());
}

#[test]
fn of_a_passage_only_what_was_found_is_compared_and_what_the_search_said_counts() {
    let Some(mut reranker) = late_interaction() else { return };
    let joined = passage(&format!("{ASIDE} {ANSWER}"));
    let aside = ScoredPassage { found: 0..ASIDE.len(), ..joined.clone() };
    let answer = ScoredPassage { found: ASIDE.len() + 1..joined.passage.text.len(), ..joined };
    let likelier = ScoredPassage { score: 0.9, ..answer.clone() };
    let scores = reranker.score(INODE, &[aside, answer, likelier, passage(ANSWER)]).unwrap();
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
    assert!((scores[1] - scores[3]).abs() < 1e-3, "the same text and score: {scores:?}");
}
