//! The shipped embedding model, run for real. The models folder comes from `MENTOR_MODELS_DIR` and holds
//! `all-minilm-l6-v2/{model.onnx,tokenizer.json}` and `onnxruntime/libonnxruntime.so`; without it these tests skip.
#![cfg(feature = "onnx")]

use std::fs;
use std::path::PathBuf;

use mentor_actors::domain::{Embedding, EngineError};
use mentor_actors::ports::{Embedder, TokenCounter};
use mentor_engines::onnx::{Arithmetic, Device, ExecutionProvider, OnnxConfig, OnnxEmbedder, Pooling};

const PLANTS: &str = "Photosynthesis turns light into chemical energy.";
const SEARCH: &str = "A binary search halves the interval at every step.";
const QUESTION: &str = "How do plants make food from sunlight?";

/// The configuration of the shipped model, or a line that says why the test does nothing.
fn config() -> Option<OnnxConfig> {
    let folder = std::env::var_os("MENTOR_MODELS_DIR").map(PathBuf::from);
    let config = folder
        .map(|folder| OnnxConfig::new(folder.join("all-minilm-l6-v2"), folder.join("onnxruntime/libonnxruntime.so")));
    let config = config.filter(|config| config.folder.is_dir() && config.runtime_library.is_file());
    if config.is_none() {
        eprintln!("skipped: MENTOR_MODELS_DIR does not name a folder with the embedding model and ONNX Runtime");
    }
    config
}

fn embedder() -> Option<OnnxEmbedder> {
    config().map(|config| OnnxEmbedder::load(&config).unwrap())
}

fn embed(embedder: &mut OnnxEmbedder, texts: &[&str]) -> Vec<Embedding> {
    embedder.embed(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn assert_unit(vector: &[f32]) {
    assert_eq!(vector.len(), 384);
    assert!((cosine(vector, vector) - 1.0).abs() < 1e-5, "length {}", cosine(vector, vector).sqrt());
}

#[test]
fn the_shipped_model_says_what_it_is() {
    let Some(embedder) = embedder() else { return };
    let info = embedder.info();
    assert_eq!(info.model_id, "all-minilm-l6-v2-8199be6f699a");
    assert_eq!((info.dimension, info.max_tokens), (384, 256));
    assert_eq!((info.pooling, info.execution_provider), (Pooling::Mean, ExecutionProvider::Cpu));
    assert_eq!((embedder.dimension(), embedder.max_tokens()), (384, 256));
}

/// The expected numbers were computed with onnxruntime 1.32 and tokenizers for Python: mean over the tokens of one
/// unpadded text, cut at 256, scaled to length 1.
#[test]
fn vectors_are_those_of_the_reference_implementation() {
    let Some(mut embedder) = embedder() else { return };
    let long = "entropy ".repeat(400);
    let expected = [
        (PLANTS, [-0.009_667, 0.046_275, -0.048_133, 0.101_437]),
        (SEARCH, [-0.011_676, 0.075_461, 0.014_581, -0.021_099]),
        (long.as_str(), [0.011_635, -0.061_164, 0.019_093, -0.027_501]),
    ];
    let vectors = embed(&mut embedder, &expected.map(|(text, _)| text));
    for ((text, numbers), vector) in expected.iter().zip(&vectors) {
        assert_unit(vector);
        for (number, component) in numbers.iter().zip(vector) {
            assert!((number - component).abs() < 1e-4, "{text:.20}: {component} instead of {number}");
        }
    }
}

#[test]
fn similar_sentences_are_nearer_than_others() {
    let Some(mut embedder) = embedder() else { return };
    let vectors = embed(&mut embedder, &[QUESTION, PLANTS, SEARCH]);
    let (near, far) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(near > 0.5 && far < 0.1, "near {near}, far {far}");
}

#[test]
fn a_text_has_the_same_vector_alone_and_among_others() {
    let Some(mut embedder) = embedder() else { return };
    let texts: Vec<String> = (0..60).map(|i| format!("{PLANTS} {}", SEARCH.repeat((i * 7) % 13))).collect();
    let together = embedder.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        let alone = embedder.embed(std::slice::from_ref(text)).unwrap();
        assert!(cosine(&alone[0], vector) >= 0.9999, "cosine {}", cosine(&alone[0], vector));
    }
}

/// Texts of many lengths, so that some are padded.
fn texts() -> Vec<String> {
    (0..40).map(|i| format!("{QUESTION} {}{PLANTS}", SEARCH.repeat((i * 7) % 23))).collect()
}

#[test]
fn the_rewritten_graph_gives_the_vectors_of_the_exported_one() {
    let Some(config) = config() else { return };
    let mut exported = config.clone();
    exported.tuning.as_exported = true;
    let [rewritten, exported] =
        [config, exported].map(|config| OnnxEmbedder::load(&config).unwrap().embed(&texts()).unwrap());
    for (text, (a, b)) in rewritten.iter().zip(&exported).enumerate() {
        let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "text {text} differs by {difference}");
    }
}

/// Only the instructions of AVX-512 VNNI and later add products of eight bits without rounding.
#[cfg(target_arch = "x86_64")]
#[test]
fn vectors_made_in_eight_bits_are_nearly_those_made_in_floats() {
    let Some(mut config) = config() else { return };
    if !is_x86_feature_detected!("avx512vnni") {
        eprintln!("skipped: the processor has no AVX-512 VNNI");
        return;
    }
    let floats = OnnxEmbedder::load(&config).unwrap().embed(&texts()).unwrap();
    config.arithmetic = Arithmetic::Int8;
    let int8 = OnnxEmbedder::load(&config).unwrap().embed(&texts()).unwrap();
    assert_ne!(floats, int8, "eight bits change nothing: was the graph rewritten?");
    for (text, (a, b)) in floats.iter().zip(&int8).enumerate() {
        let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-2 && cosine(a, b) > 0.9995, "text {text} differs by {difference}");
    }
}

#[test]
fn a_long_text_is_cut_and_not_refused() {
    let Some(mut embedder) = embedder() else { return };
    let long = SEARCH.repeat(100);
    let longer = format!("{long}{}", PLANTS.repeat(20_000));
    let spaces = " ".repeat(1_000_000);
    let vectors = embed(&mut embedder, &[&long, &longer, &spaces]);
    vectors.iter().for_each(|vector| assert_unit(vector));
    assert!(cosine(&vectors[0], &vectors[1]) > 0.9999, "what is beyond the limit was read");
}

#[test]
fn a_lower_limit_reads_less() {
    let Some(mut config) = config() else { return };
    config.max_tokens = Some(16);
    let mut embedder = OnnxEmbedder::load(&config).unwrap();
    let cut = embed(&mut embedder, &[&format!("{} {PLANTS}", "course ".repeat(14)), &"course ".repeat(14)]);
    assert!(cosine(&cut[0], &cut[1]) > 0.9999);
    assert_eq!(embedder.info().max_tokens, 16);
}

#[test]
fn an_empty_text_and_an_empty_batch_are_fine() {
    let Some(mut embedder) = embedder() else { return };
    embed(&mut embedder, &["", " \n", "\u{0}"]).iter().for_each(|vector| assert_unit(vector));
    assert!(embed(&mut embedder, &[]).is_empty());
}

#[test]
fn tokens_are_counted_without_special_tokens_and_without_a_limit() {
    let Some(embedder) = embedder() else { return };
    let counter = embedder.token_counter();
    assert_eq!(counter.count(""), 0);
    assert_eq!(counter.count(PLANTS), 9);
    assert_eq!(counter.count(&"entropy ".repeat(1000)), 1000);
}

#[test]
fn a_file_that_is_no_model_is_refused_with_its_name() {
    let Some(shipped) = config() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::copy(shipped.folder.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    for garbage in [&b""[..], b"this is no graph", &[0xff; 4096]] {
        fs::write(folder.path().join("model.onnx"), garbage).unwrap();
        let Err(error) = OnnxEmbedder::load(&OnnxConfig::new(folder.path(), &shipped.runtime_library)) else {
            panic!("garbage was loaded");
        };
        let line = error.to_string();
        assert!(matches!(error, EngineError::Load(_)) && line.starts_with("model.onnx cannot be used"), "{line}");
        assert!(!line.contains('\n') && !line.contains(&*folder.path().to_string_lossy()), "{line}");
    }
}

#[test]
fn a_second_runtime_library_is_refused() {
    let Some(config) = config() else { return };
    let _first = OnnxEmbedder::load(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("libonnxruntime.so");
    fs::copy(&config.runtime_library, &other).unwrap();
    let Err(error) = OnnxEmbedder::load(&OnnxConfig { runtime_library: other, ..config }) else {
        panic!("a second library was loaded");
    };
    assert!(error.to_string().contains("another place"), "{error}");
}

#[test]
fn a_limit_beyond_the_models_positions_is_refused_at_load() {
    let Some(config) = config() else { return };
    let Err(error) = OnnxEmbedder::load(&OnnxConfig { max_tokens: Some(4096), ..config }) else {
        panic!("4096 tokens were accepted");
    };
    assert!(error.to_string().starts_with("model.onnx cannot be used"), "{error}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_is_refused_by_a_build_without_it() {
    let Some(config) = config() else { return };
    let Err(error) = OnnxEmbedder::load(&OnnxConfig { device: Device::Cuda, ..config }) else {
        panic!("CUDA was reported by a build without it");
    };
    assert!(error.to_string().contains("without CUDA"), "{error}");
}
