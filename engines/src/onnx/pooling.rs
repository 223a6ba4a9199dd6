//! From token vectors to one unit vector, over the model's output as it lies in memory.

use std::fmt;

use mentor_actors::domain::Embedding;

/// How the vectors of a text's tokens become the vector of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The largest value of each component.
    Max,
    /// The model's graph does it.
    InGraph,
}

impl Pooling {
    /// The word in the store's identity and in statistics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Max => "max",
            Self::InGraph => "in_graph",
        }
    }

    /// The unit vector of one text. `tokens` holds its real tokens only, one vector of `dimension` after another; with
    /// [`Pooling::InGraph`] it is the text's vector itself.
    ///
    /// `None` when there is no direction to normalise: every component is zero, or one is not finite.
    pub(super) fn pool(self, tokens: &[f32], dimension: usize) -> Option<Embedding> {
        let mut vectors = tokens.chunks_exact(dimension);
        let mut pooled = vectors.next()?.to_vec();
        match self {
            Self::Cls | Self::InGraph => {}
            // The sum has the direction of the mean, and only that is left after normalising.
            Self::Mean => vectors.for_each(|vector| mentor_index::add(&mut pooled, vector)),
            Self::Max => vectors.for_each(|vector| keep_larger(&mut pooled, vector)),
        }
        normalise(&mut pooled).then_some(pooled)
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn keep_larger(pooled: &mut [f32], vector: &[f32]) {
    for (a, &b) in pooled.iter_mut().zip(vector) {
        *a = a.max(b);
    }
}

/// Scales to length 1; says whether that was possible.
fn normalise(vector: &mut [f32]) -> bool {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if !length.is_normal() {
        return false;
    }
    vector.iter_mut().for_each(|x| *x /= length);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [f32; 6] = [3.0, 0.0, 0.0, 4.0, 3.0, 4.0];

    #[test]
    fn the_mean_is_taken_over_all_tokens_and_has_length_one() {
        let vector = Pooling::Mean.pool(&TOKENS, 2).unwrap();
        assert_eq!(vector, [0.6, 0.8]);
    }

    #[test]
    fn cls_takes_the_first_token_alone() {
        assert_eq!(Pooling::Cls.pool(&TOKENS, 2).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn max_takes_each_component_from_where_it_is_largest() {
        assert_eq!(Pooling::Max.pool(&TOKENS, 2).unwrap(), [0.6, 0.8]);
        assert_eq!(Pooling::Max.pool(&[-1.0, 0.0, -2.0, -5.0], 2).unwrap(), [-1.0, 0.0]);
    }

    #[test]
    fn what_the_graph_pooled_is_only_normalised() {
        assert_eq!(Pooling::InGraph.pool(&[0.0, -2.0], 2).unwrap(), [0.0, -1.0]);
    }

    #[test]
    fn a_vector_without_direction_is_refused() {
        assert_eq!(Pooling::Mean.pool(&[0.0, 0.0], 2), None);
        assert_eq!(Pooling::Mean.pool(&[f32::NAN, 1.0], 2), None);
        assert_eq!(Pooling::Mean.pool(&[f32::INFINITY, 1.0], 2), None);
        assert_eq!(Pooling::Mean.pool(&[], 2), None);
    }
}
