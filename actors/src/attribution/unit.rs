//! A sentence or clause with what speaks for it, and whether that is enough.

use std::collections::HashMap;

use crate::domain::{CharSpan, Citation, Embedding};

use super::agreement::Conflict;
use super::material::Material;

/// The thresholds were chosen on the development half of `engines/tests/data/attribution.jsonl`; the held-out half says what
/// they are worth. Coverage is the weighted part of a unit's content words that a window holds, 0 to 1.
///
/// Coverage from which words alone are enough.
const ENOUGH_WORDS: f32 = 0.54;
/// Coverage below which no meaning can help.
const FEW_WORDS: f32 = 0.25;
/// Coverage from which nobody asks for the meaning.
const PLENTY_OF_WORDS: f32 = 0.9;
/// What coverage and cosine similarity together must reach, each weighted by half.
const ENOUGH_MEANING: f32 = 0.53;
/// Coverage of a clause by a whole source below which the source does not speak of it...
const UNHEARD_OF_WORDS: f32 = 0.5;
/// ... unless coverage and similarity together reach this.
const UNHEARD_OF: f32 = 0.6;

/// A window that speaks for a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Its place in the material.
    pub window: usize,
    /// Number of its source, from 1.
    pub source: usize,
    /// Part of the unit's words that it holds.
    pub coverage: f32,
    pub conflict: Option<Conflict>,
    /// Place of its text among those to embed.
    pub text: Option<usize>,
}

/// A sentence or clause with what speaks for it.
#[derive(Debug)]
pub(super) struct Unit {
    pub span: CharSpan,
    text: String,
    /// Best first; none with a sentence of another.
    candidates: Vec<Candidate>,
    /// Coverage by each whole source.
    in_sources: Vec<f32>,
    /// Place of its text among those to embed.
    embedded: Option<usize>,
    is_code: bool,
}

impl Unit {
    pub fn new(span: CharSpan, text: &str, candidates: Vec<Candidate>, in_sources: Vec<f32>, is_code: bool) -> Self {
        Self { span, text: text.to_owned(), candidates, in_sources, embedded: None, is_code }
    }

    /// Whether the words leave a doubt that the meaning could resolve.
    pub fn is_open(&self) -> bool {
        let best = self.candidates.first().map_or(0.0, |best| best.coverage);
        !self.is_code && (FEW_WORDS..PLENTY_OF_WORDS).contains(&best)
    }

    /// Asks for the vectors it needs, where it is open and all of them find room among `most` texts.
    pub fn ask(
        &mut self,
        material: &Material,
        texts: &mut Vec<String>,
        places: &mut HashMap<String, usize>,
        most: usize,
    ) {
        if !self.is_open() {
            return;
        }
        let windows: Vec<&str> = self.candidates.iter().map(|candidate| material.text_of(candidate)).collect();
        let new = 1 + windows.iter().filter(|text| !places.contains_key(**text)).count();
        if texts.len() + new > most {
            return;
        }
        let mut place = |text: &str| {
            *places.entry(text.to_owned()).or_insert_with(|| {
                texts.push(text.to_owned());
                texts.len() - 1
            })
        };
        self.embedded = Some(place(&self.text));
        for (candidate, text) in self.candidates.iter_mut().zip(windows) {
            candidate.text = Some(place(text));
        }
    }

    /// How well it stands, and where: `None` where it does not.
    pub fn citation(&self, vectors: &[Embedding]) -> Option<Citation> {
        let (candidate, score, enough) = self.best(vectors)?;
        // What the best window contradicts is contradicted, whatever a worse one leaves open.
        (score >= enough && candidate.conflict.is_none()).then_some(Citation {
            source: candidate.source,
            span: self.span,
            score,
        })
    }

    /// Whether a source does not speak of it at all, `source` counting from 1.
    pub fn is_unheard_of(&self, source: usize, vectors: &[Embedding]) -> bool {
        let words = self.in_sources.get(source - 1).copied().unwrap_or(0.0);
        let meaning =
            self.best(vectors).filter(|(candidate, ..)| candidate.source == source).map_or(0.0, |(_, score, _)| score);
        words < UNHEARD_OF_WORDS && meaning < UNHEARD_OF
    }

    /// Whether it is made of a source's own words in an order that says something else.
    pub fn is_rearranged(&self, vectors: &[Embedding]) -> bool {
        self.best(vectors).is_some_and(|(candidate, ..)| candidate.conflict == Some(Conflict::Exchanged))
    }

    /// The best window, its score, and what would be enough.
    fn best(&self, vectors: &[Embedding]) -> Option<(Candidate, f32, f32)> {
        let own = self.embedded.and_then(|place| vectors.get(place));
        let score = |candidate: &Candidate| match (own, candidate.text.and_then(|place| vectors.get(place))) {
            (Some(own), Some(other)) => (candidate.coverage + cosine(own, other)) / 2.0,
            _ => candidate.coverage,
        };
        let best = self
            .candidates
            .iter()
            .copied()
            .max_by(|a, b| score(a).total_cmp(&score(b)).then(b.window.cmp(&a.window)))?;
        let enough = if own.is_some() { ENOUGH_MEANING } else { ENOUGH_WORDS };
        Some((best, score(&best), enough))
    }
}

/// Similarity of two vectors of length one.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>().clamp(0.0, 1.0)
}
