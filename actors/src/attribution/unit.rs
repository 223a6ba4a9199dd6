//! A sentence or clause with what speaks for it, and whether that is enough.

use std::collections::HashMap;

use crate::domain::{CharSpan, Citation, Embedding};

use super::agreement::Conflict;

/// The thresholds were chosen on the development half of `engines/tests/data/attribution.txt`; the held-out half says what
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

/// The window that speaks for a unit.
#[derive(Debug)]
pub(super) struct Place {
    /// Number of its source, from 1.
    pub source: usize,
    pub text: String,
    /// Part of the unit's words that it holds.
    pub coverage: f32,
    pub conflict: Option<Conflict>,
}

/// A sentence or clause with what speaks for it.
#[derive(Debug)]
pub(super) struct Unit {
    pub span: CharSpan,
    text: String,
    /// Where most of its words stand; `None` without sources.
    place: Option<Place>,
    /// Coverage by each whole source.
    in_sources: Vec<f32>,
    /// Indexes of its text and of its place's text among those to embed.
    embedded: Option<(usize, usize)>,
    is_code: bool,
}

impl Unit {
    pub fn new(span: CharSpan, text: &str, place: Option<Place>, in_sources: Vec<f32>, is_code: bool) -> Self {
        Self { span, text: text.to_owned(), place, in_sources, embedded: None, is_code }
    }

    /// Whether the words leave a doubt that the meaning could resolve.
    pub fn is_open(&self) -> bool {
        let is_open = |place: &Place| (FEW_WORDS..PLENTY_OF_WORDS).contains(&place.coverage);
        !self.is_code && self.place.as_ref().is_some_and(is_open)
    }

    /// Asks for the vectors it needs, where it is open, nothing contradicts it, and they find room among `most` texts.
    pub fn ask(&mut self, texts: &mut Vec<String>, indexes: &mut HashMap<String, usize>, most: usize) {
        let is_undecided = |place: &&Place| self.is_open() && place.conflict.is_none();
        let Some(place) = self.place.as_ref().filter(is_undecided) else { return };
        let new = [&self.text, &place.text].iter().filter(|text| !indexes.contains_key(**text)).count();
        if texts.len() + new > most {
            return;
        }
        let mut index = |text: &str| {
            *indexes.entry(text.to_owned()).or_insert_with(|| {
                texts.push(text.to_owned());
                texts.len() - 1
            })
        };
        self.embedded = Some((index(&self.text), index(&place.text)));
    }

    /// How well it stands, and where: `None` where it does not.
    pub fn citation(&self, vectors: &[Embedding]) -> Option<Citation> {
        let place = self.place.as_ref().filter(|place| place.conflict.is_none())?;
        let (score, enough) = self.score(place, vectors);
        (score >= enough).then_some(Citation { source: place.source, span: self.span, score })
    }

    /// Whether a source does not speak of it at all, `source` counting from 1.
    pub fn is_unheard_of(&self, source: usize, vectors: &[Embedding]) -> bool {
        let words = self.in_sources.get(source - 1).copied().unwrap_or(0.0);
        let place = self.place.as_ref().filter(|place| place.source == source);
        let meaning = place.map_or(0.0, |place| self.score(place, vectors).0);
        words < UNHEARD_OF_WORDS && meaning < UNHEARD_OF
    }

    /// Whether it is made of a source's own words in an order that says something else.
    pub fn is_rearranged(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.conflict == Some(Conflict::Exchanged))
    }

    /// How well it stands on its place, and what would be enough.
    fn score(&self, place: &Place, vectors: &[Embedding]) -> (f32, f32) {
        let pair = self.embedded.and_then(|(own, other)| Some((vectors.get(own)?, vectors.get(other)?)));
        match pair {
            Some((own, other)) => ((place.coverage + cosine(own, other)) / 2.0, ENOUGH_MEANING),
            None => (place.coverage, ENOUGH_WORDS),
        }
    }
}

/// Similarity of two vectors of length one.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>().clamp(0.0, 1.0)
}
