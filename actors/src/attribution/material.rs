//! The sources of an answer, cut into windows, and how much of a sentence stands in which of them.

use std::collections::HashMap;

use crate::domain::{CharSpan, ScoredPassage};

use super::agreement::conflict;
use super::lexicon::IDLE_BEGINNINGS;
use super::sentences;
use super::unit::{Place, Unit};
use super::vocabulary::{Vocabulary, is_form_of};
use super::words::{Word, WordKind, words};

/// Longest window, in sentences of the source.
const WINDOW_SENTENCES: usize = 3;
/// What each sentence more of a window costs, in coverage: the shortest that holds the words is the place meant.
const LENGTH_COST: f32 = 0.02;

/// What a light word counts beside another.
const LIGHT_WEIGHT: f32 = 0.4;
/// Content words from which a sentence claims something, however it begins.
const IDLE_WORDS: usize = 8;

/// A few sentences of a source.
#[derive(Debug)]
struct Window {
    /// Index of its source.
    source: usize,
    /// How many sentences.
    sentences: usize,
    text: String,
    vocabulary: Vocabulary,
}

/// The sources, ready to be compared with.
#[derive(Debug)]
pub(super) struct Material {
    /// Whole sources with their headings and file names.
    sources: Vec<Vocabulary>,
    windows: Vec<Window>,
    /// In how many sentences of all sources a stem stands.
    frequency: HashMap<String, usize>,
    sentences: usize,
}

/// A word of the answer, looked up among the stems of all sources once for all windows.
struct Sought<'a> {
    /// The stems that are forms of it.
    forms: Vec<&'a str>,
    weight: f32,
    is_light: bool,
}

impl Material {
    pub fn new(sources: &[ScoredPassage]) -> Self {
        let mut material = Self { sources: Vec::new(), windows: Vec::new(), frequency: HashMap::new(), sentences: 0 };
        for (index, scored) in sources.iter().enumerate() {
            let passage = &scored.passage;
            let around =
                format!("{} {} {}", passage.file_name, passage.section.as_deref().unwrap_or_default(), passage.text);
            material.sources.push(Vocabulary::new(words(&around)));
            material.add_windows(index, &sentences::of_passage(&passage.text));
        }
        material
    }

    fn add_windows(&mut self, source: usize, sentences: &[&str]) {
        self.sentences += sentences.len();
        for length in 1..=WINDOW_SENTENCES.min(sentences.len()) {
            for window in sentences.windows(length) {
                let text = window.join(" ");
                let vocabulary = Vocabulary::new(words(&text));
                if length == 1 {
                    let mut stems: Vec<&str> = vocabulary.words.iter().map(|word| word.stem.as_str()).collect();
                    stems.sort_unstable();
                    stems.dedup();
                    for stem in stems {
                        *self.frequency.entry(stem.to_owned()).or_default() += 1;
                    }
                }
                self.windows.push(Window { source, sentences: length, text, vocabulary });
            }
        }
    }

    /// A sentence of the answer; `None` when it claims nothing.
    pub fn unit(&self, text: &str, span: CharSpan, is_code: bool) -> Option<Unit> {
        let words = words(text);
        claims_something(text, &words).then(|| self.compare(text, span, words, is_code))
    }

    /// A clause of a sentence.
    pub fn clause(&self, text: &str, span: CharSpan) -> Unit {
        self.compare(text, span, words(text), false)
    }

    fn compare(&self, text: &str, span: CharSpan, words: Vec<Word>, is_code: bool) -> Unit {
        let sought: Vec<Sought> = words.iter().filter(|word| word.is_content()).map(|word| self.seek(word)).collect();
        let covered = self.windows.iter().map(|window| (window, coverage(&sought, &window.vocabulary)));
        let value = |(window, coverage): &(&Window, f32)| {
            // Windows have three sentences at most.
            #[allow(clippy::cast_precision_loss)]
            let cost = LENGTH_COST * (window.sentences - 1) as f32;
            coverage - cost
        };
        // Of equals the first: the sources are in order of relevance.
        let best = covered.rev().max_by(|a, b| value(a).total_cmp(&value(b)));
        let place = best.map(|(window, coverage)| Place {
            source: window.source + 1,
            text: window.text.clone(),
            coverage,
            conflict: if is_code { None } else { conflict(&words, &window.vocabulary, &self.sources[window.source]) },
        });
        let in_sources = self.sources.iter().map(|source| coverage(&sought, source)).collect();
        Unit::new(span, text.trim(), place, in_sources, is_code)
    }

    /// Rare words weigh more; those that stand nowhere weigh most.
    fn seek<'a>(&'a self, word: &'a Word) -> Sought<'a> {
        let stems = self.frequency.keys().map(String::as_str).filter(|stem| is_form_of(stem, &word.stem));
        // The heading of a source may hold it where no sentence does.
        let forms: Vec<&str> = stems.chain([word.stem.as_str()]).collect();
        let with = self.frequency.get(&word.stem).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss)] // counts of sentences are small
        let rarity = ((self.sentences + 1) as f32 / (with + 1) as f32).ln();
        let is_light = word.kind == WordKind::Light;
        Sought { forms, weight: (1.0 + rarity) * if is_light { LIGHT_WEIGHT } else { 1.0 }, is_light }
    }
}

/// Weighted part of the words that stand in a text.
fn coverage(sought: &[Sought], vocabulary: &Vocabulary) -> f32 {
    let (mut held, mut all) = (0.0, 0.0);
    for word in sought {
        let is_held = word.forms.iter().any(|form| vocabulary.has_stem(form));
        // A light word that is missing says nothing.
        if is_held || !word.is_light {
            all += word.weight;
            held += if is_held { word.weight } else { 0.0 };
        }
    }
    if all > 0.0 { held / all } else { 0.0 }
}

/// Whether a part of a sentence says enough to be judged by itself.
pub(super) fn is_clause(text: &str) -> bool {
    /// Fewer are part of what stands beside them.
    const CLAUSE_WORDS: usize = 3;
    words(text).iter().filter(|word| word.is_content()).count() >= CLAUSE_WORDS
}

fn claims_something(text: &str, words: &[Word]) -> bool {
    let trimmed = text.trim();
    let lower = trimmed.trim_start_matches(['*', '_', '"']).to_lowercase();
    let content = words.iter().filter(|word| word.is_content()).count();
    let is_idle = content < IDLE_WORDS && IDLE_BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning));
    let wanted = if trimmed.ends_with('!') { 4 } else { 2 };
    content >= wanted && !is_idle && !trimmed.ends_with('?')
}
