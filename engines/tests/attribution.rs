//! How good attribution is: labelled sentences over passages, judged by words alone and with the shipped embedder.
//!
//! `data/attribution.txt` says how it is written and how its halves were split. Word lists, rules and thresholds were chosen on
//! the half `development`; `held out` tells what they are worth. Half of the sentences that nothing supports are made of a
//! passage's own words with one thing wrong, so these figures are far below what an honest answer meets.
//! `cargo test --release --test attribution -- --nocapture` prints all figures and every sentence that was judged wrongly.
#![cfg(feature = "onnx")]

mod passage_support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mentor_actors::attribution::{Attribution, Examination};
use mentor_actors::domain::{Embedding, ScoredPassage};
use mentor_actors::ports::Embedder;
use mentor_engines::onnx::{OnnxConfig, OnnxEmbedder};

const LABELLED: &str = include_str!("data/attribution.txt");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Supported,
    Unsupported,
    ClaimsNothing,
}

struct Labelled {
    label: Label,
    kind: &'static str,
    /// Passages that support it, from 1.
    sources: Vec<usize>,
    text: String,
}

struct Topic {
    is_held_out: bool,
    passages: Vec<ScoredPassage>,
    sentences: Vec<Labelled>,
}

fn topics() -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for line in LABELLED.lines().filter(|line| !line.is_empty() && *line != "#" && !line.starts_with("# ")) {
        if let Some(heading) = line.strip_prefix("## ") {
            topics.push(Topic {
                is_held_out: heading.ends_with(", held out"),
                passages: Vec::new(),
                sentences: Vec::new(),
            });
            continue;
        }
        let topic = topics.last_mut().expect("a heading stands before passages and sentences");
        let (head, text) = line.split_once(": ").unwrap_or_else(|| panic!("no label in {line}"));
        match head.split(' ').collect::<Vec<_>>()[..] {
            ["P"] => topic.passages.push(passage(text)),
            [label, kind, ref sources @ ..] => topic.sentences.push(Labelled {
                label: match label {
                    "+" => Label::Supported,
                    "-" => Label::Unsupported,
                    "0" => Label::ClaimsNothing,
                    _ => panic!("unknown label in {line}"),
                },
                kind,
                sources: sources.iter().flat_map(|all| all.split(',')).map(|one| one.parse().unwrap()).collect(),
                text: text.replace("\\n", "\n"),
            }),
            _ => panic!("no label in {line}"),
        }
    }
    topics
}

fn passage(text: &str) -> ScoredPassage {
    passage_support::passage(text, 0.8)
}

fn judged(found: &Attribution) -> Label {
    match (found.citations.is_empty(), found.unsupported.is_empty()) {
        (false, true) => Label::Supported,
        (true, true) => Label::ClaimsNothing,
        (_, false) => Label::Unsupported,
    }
}

/// Sentences of one half by what they are and what was said of them.
#[derive(Debug, Default)]
struct Counts {
    supported: usize,
    supported_found: usize,
    /// Of those, the ones whose every citation names a passage that supports them.
    right_source: usize,
    wrongly_supported: usize,
    idle: usize,
    idle_found: usize,
}

#[allow(clippy::cast_precision_loss)] // counts of sentences
impl Counts {
    fn count(&mut self, labelled: &Labelled, found: &Attribution) {
        let is_supported = judged(found) == Label::Supported;
        match labelled.label {
            Label::Supported => {
                let is_right = found.citations.iter().all(|citation| labelled.sources.contains(&citation.source));
                self.supported += 1;
                self.supported_found += usize::from(is_supported);
                self.right_source += usize::from(is_supported && is_right);
            }
            Label::Unsupported => self.wrongly_supported += usize::from(is_supported),
            Label::ClaimsNothing => {
                self.idle += 1;
                self.idle_found += usize::from(judged(found) == Label::ClaimsNothing);
                self.wrongly_supported += usize::from(is_supported);
            }
        }
    }

    /// Part of the sentences called supported that are.
    fn precision(&self) -> f64 {
        self.supported_found as f64 / (self.supported_found + self.wrongly_supported) as f64
    }

    /// Part of the supported sentences that were called so.
    fn recall(&self) -> f64 {
        self.supported_found as f64 / self.supported as f64
    }
}

/// Judges every sentence; prints what went wrong and the figures: of development, and of the held-out half.
fn judge(name: &str, mut embed: impl FnMut(&[String]) -> Vec<Embedding>) -> [Counts; 2] {
    let mut halves = [Counts::default(), Counts::default()];
    let mut wrong: BTreeMap<(bool, &str), (usize, usize)> = BTreeMap::new();
    for topic in topics() {
        for labelled in &topic.sentences {
            let examined = Examination::of(&labelled.text, &topic.passages);
            let found = examined.conclude(&embed(examined.doubtful_texts()));
            halves[usize::from(topic.is_held_out)].count(labelled, &found);
            let (bad, all) = wrong.entry((topic.is_held_out, labelled.kind)).or_default();
            *all += 1;
            if judged(&found) != labelled.label {
                *bad += 1;
                println!("{name}: {:?}, not {:?}: {}", judged(&found), labelled.label, labelled.text);
            }
        }
    }
    for ((is_held_out, kind), (bad, all)) in wrong {
        println!("{name}, {}, {kind}: {bad} of {all} wrong", if is_held_out { "held out" } else { "development" });
    }
    for (half, counts) in ["development", "held out"].iter().zip(&halves) {
        println!("{name}, {half}: precision {:.3}, recall {:.3}, {counts:?}", counts.precision(), counts.recall());
    }
    halves
}

fn embedder() -> Option<OnnxEmbedder> {
    let folder = std::env::var_os("MENTOR_MODELS_DIR").map(std::path::PathBuf::from);
    let folder = folder.filter(|folder| folder.join("all-minilm-l6-v2/model.onnx").is_file());
    let Some(folder) = folder else {
        eprintln!("skipped: MENTOR_MODELS_DIR does not name a folder with the embedding model and ONNX Runtime");
        return None;
    };
    let config = OnnxConfig::new(folder.join("all-minilm-l6-v2"), folder.join("onnxruntime/libonnxruntime.so"));
    Some(OnnxEmbedder::load(&config).unwrap())
}

#[test]
fn the_labelled_set_is_large_and_balanced() {
    for is_held_out in [false, true] {
        let half = || topics().into_iter().filter(move |topic| topic.is_held_out == is_held_out);
        let labels: Vec<Label> = half().flat_map(|topic| topic.sentences).map(|one| one.label).collect();
        let count = |wanted| labels.iter().filter(|label| **label == wanted).count();
        assert!(half().count() >= 10 && labels.len() >= 250, "{} sentences", labels.len());
        assert!(
            count(Label::Supported) >= 100 && count(Label::Unsupported) >= 100 && count(Label::ClaimsNothing) >= 15
        );
    }
}

#[test]
fn words_alone_keep_their_precision_and_recall() {
    let [development, held_out] = judge("words", |_| Vec::new());
    assert!(development.precision() >= 0.80 && development.recall() >= 0.80, "{development:?}");
    assert!(held_out.precision() >= 0.66 && held_out.recall() >= 0.62, "{held_out:?}");
}

#[test]
fn meaning_finds_more_and_names_the_right_source() {
    let Some(mut embedder) = embedder() else { return };
    let [development, held_out] = judge("with meaning", |texts| embedder.embed(texts).unwrap());
    assert!(development.precision() >= 0.81 && development.recall() >= 0.88, "{development:?}");
    assert!(held_out.precision() >= 0.70 && held_out.recall() >= 0.76, "{held_out:?}");
    assert!(held_out.right_source * 100 >= held_out.supported_found * 95, "{held_out:?}");
    assert!(held_out.idle_found * 10 >= held_out.idle * 7, "{held_out:?}");
}

/// Prints what attribution adds to a turn; asserts only what bounds it: the number of texts to embed.
#[test]
fn an_answer_asks_for_a_bounded_number_of_texts() {
    let Some(mut embedder) = embedder() else { return };
    for (name, length) in [("six sentences", 6), ("all of a topic", usize::MAX)] {
        let (mut longest, mut words, mut texts) = (Duration::ZERO, Duration::ZERO, 0);
        for topic in topics() {
            let answer: Vec<&str> = topic.sentences.iter().take(length).map(|one| one.text.as_str()).collect();
            let start = Instant::now();
            let examined = Examination::of(&answer.join("\n"), &topic.passages);
            words = words.max(start.elapsed());
            let vectors = embedder.embed(examined.doubtful_texts()).unwrap();
            let found = examined.conclude(&vectors);
            longest = longest.max(start.elapsed());
            texts = texts.max(vectors.len());
            assert!(vectors.len() <= 32 && found.supported + found.unsupported.len() <= answer.len() * 2);
        }
        println!("{name}: at most {words:.1?} for words, {texts} texts, {longest:.1?} with meaning");
    }
}
