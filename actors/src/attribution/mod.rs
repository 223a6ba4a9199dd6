//! Which sentence of an answer stands on which source: decided here from words and, where they leave a doubt, from meaning.
//!
//! A sentence is compared with windows of one to three sentences of each source. It is supported where enough of its content
//! words stand, weighted by how rare they are among the sources, and nothing contradicts it (`agreement`). Where words alone
//! do not decide, [`Examination::doubtful_texts`] asks for embeddings of the sentence and of its best window; without them
//! the words decide. A sentence of several clauses may stand on several sources. What claims nothing ("Good question!") is
//! passed over. All of this is pure: who embeds, and for how long, is the caller's business.

mod agreement;
mod lexicon;
mod material;
mod replacement;
mod roles;
mod sentences;
mod unit;
mod vocabulary;
mod words;

use std::collections::HashMap;

use crate::domain::{CharSpan, Citation, Embedding, Grounding, ScoredPassage};

use material::{Material, is_clause};
use unit::Unit;

/// What was found about an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attribution {
    /// Supported sentences, in order; a sentence of several clauses may have one for each.
    pub citations: Vec<Citation>,
    /// How many sentences they belong to.
    pub supported: usize,
    /// Sentences that claim something and stand on no source, in order.
    pub unsupported: Vec<CharSpan>,
}

impl Attribution {
    /// How far the answer stands on its sources.
    #[must_use]
    pub fn grounding(&self) -> Grounding {
        if self.unsupported.is_empty() && !self.citations.is_empty() { Grounding::Grounded } else { Grounding::Partial }
    }
}

/// Most texts to embed for one answer: what two cores embed in about a tenth of a second.
const MAX_TEXTS: usize = 32;

/// An answer compared with its sources by words.
#[derive(Debug)]
pub struct Examination {
    sentences: Vec<Claim>,
    /// What needs a vector; units have indexes into it.
    texts: Vec<String>,
}

/// A sentence that claims something.
#[derive(Debug)]
struct Claim {
    whole: Unit,
    /// Empty where the sentence has only one.
    clauses: Vec<Unit>,
}

impl Examination {
    /// Compares every sentence of `answer` with `sources`.
    #[must_use]
    pub fn of(answer: &str, sources: &[ScoredPassage]) -> Self {
        let material = Material::new(sources);
        let mut examined = Self { sentences: Vec::new(), texts: Vec::new() };
        for sentence in sentences::of_answer(answer) {
            let Some(whole) = material.unit(sentence.text, sentence.span, sentence.is_code) else { continue };
            let clauses =
                if sentence.is_code { Vec::new() } else { clauses_of(&material, sentence.text, sentence.span) };
            examined.sentences.push(Claim { whole, clauses });
        }
        examined.collect_texts();
        examined
    }

    /// Gives texts to embed to the units in doubt, whole sentences first.
    fn collect_texts(&mut self) {
        let mut indexes = HashMap::new();
        for claim in &mut self.sentences {
            claim.whole.ask(&mut self.texts, &mut indexes, MAX_TEXTS);
        }
        for claim in &mut self.sentences {
            if claim.whole.is_open() {
                claim.clauses.iter_mut().for_each(|unit| unit.ask(&mut self.texts, &mut indexes, MAX_TEXTS));
            }
        }
    }

    /// What the words leave in doubt: embed these, and hand the vectors to [`Self::conclude`]. Empty where nothing is.
    #[must_use]
    pub fn doubtful_texts(&self) -> &[String] {
        &self.texts
    }

    /// Decides. `vectors` belong to [`Self::doubtful_texts`], one each; none of them where there was no time.
    #[must_use]
    pub fn conclude(&self, vectors: &[Embedding]) -> Attribution {
        let vectors = if vectors.len() == self.texts.len() { vectors } else { &[] };
        let mut found = Attribution::default();
        for claim in &self.sentences {
            match claim.citations(vectors) {
                Some(citations) => {
                    found.citations.extend(citations);
                    found.supported += 1;
                }
                None => found.unsupported.push(claim.whole.span),
            }
        }
        found
    }
}

impl Claim {
    /// Where the sentence stands; `None` when it is not supported.
    fn citations(&self, vectors: &[Embedding]) -> Option<Vec<Citation>> {
        match self.whole.citation(vectors) {
            Some(citation) if !self.clauses.iter().any(|clause| clause.is_unheard_of(citation.source, vectors)) => {
                return Some(vec![citation]);
            }
            _ if self.clauses.is_empty() || self.whole.is_rearranged() => return None,
            _ => {}
        }
        let mut citations: Vec<Citation> = Vec::new();
        for clause in &self.clauses {
            let citation = clause.citation(vectors)?;
            match citations.last_mut() {
                Some(last) if last.source == citation.source => {
                    last.span.end = citation.span.end;
                    last.score = last.score.min(citation.score);
                }
                _ => citations.push(citation),
            }
        }
        Some(citations)
    }
}

/// The places of an answer's sentences, in order.
#[must_use]
pub fn sentence_spans(answer: &str) -> Vec<CharSpan> {
    sentences::of_answer(answer).into_iter().map(|sentence| sentence.span).collect()
}

/// The clauses of a sentence where it has several that claim something; a part that claims nothing belongs to its neighbour.
fn clauses_of(material: &Material, sentence: &str, span: CharSpan) -> Vec<Unit> {
    let mut bounds: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for (_, end) in sentences::clauses(sentence) {
        if is_clause(&sentence[start..end]) {
            bounds.push((start, end));
            start = end;
        }
    }
    if bounds.len() < 2 {
        return Vec::new();
    }
    if let Some((_, end)) = bounds.last_mut() {
        *end = sentence.len();
    }
    let unit = |(start, end): (usize, usize)| material.clause(&sentence[start..end], place(sentence, span, start, end));
    bounds.into_iter().map(unit).collect()
}

/// Where a part of a sentence, given in bytes, stands in the answer, without the white space around it.
fn place(sentence: &str, span: CharSpan, start: usize, end: usize) -> CharSpan {
    let raw = &sentence[start..end];
    let leading = raw.len() - raw.trim_start().len();
    let first = span.start + sentence[..start + leading].chars().count();
    CharSpan { start: first, end: first + raw.trim().chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChunkId, DocumentId, DocumentKind, Passage};

    fn source(text: &str) -> ScoredPassage {
        let passage = Passage {
            chunk_id: ChunkId("c".into()),
            document_id: DocumentId("d".into()),
            file_name: "d.md".into(),
            kind: DocumentKind::Markdown,
            page: None,
            section: None,
            span: CharSpan::default(),
            text: text.into(),
        };
        ScoredPassage::whole(passage, 0.8)
    }

    /// By words alone.
    fn attribute(answer: &str, sources: &[ScoredPassage]) -> Attribution {
        Examination::of(answer, sources).conclude(&[])
    }

    fn cited(answer: &str, citation: Citation) -> String {
        answer.chars().skip(citation.span.start).take(citation.span.end - citation.span.start).collect()
    }

    #[test]
    fn a_sentence_is_cited_to_the_source_that_holds_its_words() {
        let sources = [
            source("Linked lists keep their elements in nodes."),
            source("A binary heap is a complete tree stored in an array."),
        ];
        let answer = "Good question! The heap is stored as an array and forms a complete binary tree.";
        let found = attribute(answer, &sources);
        assert_eq!((found.citations.len(), found.unsupported.len()), (1, 0));
        let citation = found.citations[0];
        assert_eq!(citation.source, 2);
        let text = cited(answer, citation);
        assert!(text.starts_with("The heap") && text.ends_with("tree."), "{text}");
        assert_eq!(found.grounding(), Grounding::Grounded);
    }

    #[test]
    fn a_made_up_sentence_stands_on_nothing_whatever_number_it_claims() {
        let found = attribute("Napoleon invented quantum chromodynamics in Paris [1].", &[source("A heap is a tree.")]);
        assert_eq!((found.citations.len(), &found.unsupported[..]), (0, &[CharSpan { start: 0, end: 54 }][..]));
        assert_eq!(found.grounding(), Grounding::Partial);
    }

    #[test]
    fn clauses_of_one_sentence_may_stand_on_two_sources() {
        let sources = [
            source("The light reactions happen in the thylakoid membranes."),
            source("The Calvin cycle runs in the stroma of the chloroplast."),
        ];
        let answer = "The light reactions happen in the thylakoid membranes, and the Calvin cycle runs in the stroma.";
        let found = attribute(answer, &sources);
        let places: Vec<(usize, String)> =
            found.citations.iter().map(|citation| (citation.source, cited(answer, *citation))).collect();
        assert_eq!(places.iter().map(|(source, _)| *source).collect::<Vec<_>>(), [1, 2]);
        assert!(places[1].1.starts_with("and the Calvin"), "{places:?}");
    }

    #[test]
    fn a_clause_that_nobody_heard_of_takes_the_sentence_with_it() {
        let sources = [source("A trie node carries a table of its children, one for every character.")];
        let answer = "A trie node carries a table of its children, and nightly backups encrypt everything.";
        assert_eq!(attribute(answer, &sources).citations, []);
    }

    #[test]
    fn what_claims_nothing_is_neither() {
        let answer =
            "Sure! Great question. Yes. Would you like to know more about heaps and trees? I hope this helps you.";
        let found = attribute(answer, &[source("A heap is a tree.")]);
        assert_eq!((found.citations, found.unsupported), (vec![], vec![]));
    }

    #[test]
    fn meaning_decides_what_words_leave_open_and_only_with_all_vectors() {
        let sources = [source("Patients who take the medicine daily recover sooner from the illness than others do.")];
        let answer = "Patients taking the medicine recover from illness quickly with everyday doses.";
        let examined = Examination::of(answer, &sources);
        assert_eq!(examined.doubtful_texts().len(), 2, "{:?}", examined.doubtful_texts());
        let near = vec![vec![1.0, 0.0], vec![0.9, 0.1]];
        let far = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(examined.conclude(&near).citations.len(), 1);
        assert_eq!(examined.conclude(&far).citations.len(), 0);
        assert_eq!(examined.conclude(&near[..1]), examined.conclude(&[]));
    }
}
