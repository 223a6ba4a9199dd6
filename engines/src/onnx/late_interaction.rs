//! The embedding model as a reranker: question and passage are compared token by token.
//!
//! A passage's vector is the mean of its tokens', in which a sentence that answers hardly weighs. So for each token of the question
//! the nearest token of the passage is taken, wherever it stands (late interaction: Khattab and Zaharia 2020, "`ColBERT`"). Models that
//! were trained for the mean alone do well enough. Tokens of words that a search by words passes over count for nothing.
//! `docs/adr/0024-tokens-are-compared.md` has the figures.
//!
//! Of a passage only the chunk that was found is read, as it was embedded.

use mentor_actors::domain::{Embedding, EngineError, ScoredPassage};
use mentor_actors::ports::Reranker;
use mentor_actors::ranking;
use mentor_index::{Analyser, product};

use super::config::OnnxConfig;
use super::embedder::OnnxEmbedder;
use super::pooling::Pooling;
use super::reranker::RerankerInfo;

/// The configured embedder once more, with its tokens. One run at a time; it lives on one worker thread.
pub struct LateInteraction {
    embedder: OnnxEmbedder,
    analyser: Analyser,
}

impl LateInteraction {
    /// Loads the embedder.
    ///
    /// # Errors
    /// Those of [`OnnxEmbedder::load`]; [`EngineError::Load`] for a model that only says the vectors of whole texts.
    pub fn load(config: &OnnxConfig) -> Result<Self, EngineError> {
        let embedder = OnnxEmbedder::load(config)?;
        match embedder.info().pooling {
            Pooling::InGraph => Err(EngineError::Load("the embedding model does not say the vectors of tokens".into())),
            Pooling::Mean | Pooling::Cls | Pooling::Max => Ok(Self { embedder, analyser: Analyser::english() }),
        }
    }

    fn is_term(&self, word: &str) -> bool {
        let mut is_term = false;
        self.analyser.terms_of(word, |_| is_term = true);
        is_term
    }

    /// What was loaded, and where it runs.
    #[must_use]
    pub fn info(&self) -> RerankerInfo {
        let info = self.embedder.info();
        RerankerInfo {
            model_id: format!("the tokens of {}", info.model_id),
            max_tokens: info.max_tokens,
            execution_provider: info.execution_provider,
        }
    }
}

impl Reranker for LateInteraction {
    fn score(&mut self, question: &str, passages: &[ScoredPassage]) -> Result<Vec<f32>, EngineError> {
        let are_terms: Vec<bool> = self.embedder.words(question)?.iter().map(|word| self.is_term(word)).collect();
        let texts = std::iter::once(question).chain(passages.iter().map(ScoredPassage::found_text));
        let mut tokens = self.embedder.token_vectors(texts)?.into_iter();
        let Some(question) = tokens.next() else { return Ok(Vec::new()) };
        let question = terms_of(question, &are_terms);
        let score = |(tokens, scored): (Vec<Embedding>, &ScoredPassage)| {
            ranking::relevance_by_tokens(scored.score, nearness(&question, &tokens))
        };
        Ok(tokens.zip(passages).map(score).collect())
    }
}

/// The tokens that are of terms; all of them where none is.
fn terms_of(tokens: Vec<Embedding>, are_terms: &[bool]) -> Vec<Embedding> {
    if !are_terms.contains(&true) {
        return tokens;
    }
    tokens.into_iter().zip(are_terms).filter_map(|(token, is_term)| is_term.then_some(token)).collect()
}

/// The mean over the question's tokens of the cosine with the nearest token of the passage; 0 where either has none.
#[allow(clippy::cast_precision_loss)] // tokens of a text
fn nearness(question: &[Embedding], passage: &[Embedding]) -> f32 {
    let nearest = |token: &Embedding| passage.iter().map(|other| product(token, other)).reduce(f32::max);
    question.iter().filter_map(nearest).sum::<f32>() / question.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terms_count_where_there_are_any() {
        let both = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(terms_of(both.clone(), &[false, true])[..], both[1..]);
        assert_eq!(terms_of(both.clone(), &[false, false]), both);
    }

    #[test]
    fn each_token_of_the_question_counts_by_the_nearest_one_of_the_passage() {
        let [east, north, west] = [vec![1.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0]];
        let passage = [north.clone(), west];
        assert_eq!(nearness(&[north.clone(), east.clone()], &passage), 0.5);
        assert_eq!(nearness(&[north], &passage), 1.0);
        let east = [east];
        assert_eq!((nearness(&east, &[]), nearness(&[], &east)), (0.0, 0.0));
    }
}
