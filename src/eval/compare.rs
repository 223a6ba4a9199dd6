//! Whether two configurations differ by more than chance, asked the same questions.
//!
//! Paired randomisation (Fisher 1935; for retrieval Smucker, Allan and Carterette 2007): if the configurations were alike, each
//! question's difference could as well have the other sign. The p-value is the part of all such assignments of signs whose mean
//! differs from 0 at least as much as the one measured, two-sided: exact where there are at most 2^16 assignments, else
//! estimated from 100,000 random ones, always the same.

use serde::Serialize;

use super::judge::Outcome;
use super::questions::UNANSWERABLE;

/// Most differences other than 0 for which all assignments are counted.
const EXACT: usize = 16;

/// Random assignments of signs otherwise.
const SAMPLES: u32 = 100_000;

/// Sums within this of each other are the same: floating point adds in different orders.
const TOLERANCE: f64 = 1e-9;

/// A measure under both configurations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Mean under the first.
    pub first: f64,
    /// Mean under the second.
    pub second: f64,
    /// Second less first.
    pub difference: f64,
    /// How probable a difference as large would be if the configurations were alike.
    pub p_value: f64,
}

/// A question whose first hit moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// Its id.
    pub id: String,
    /// The question as the first configuration searched for it.
    pub question: String,
    /// Place of the first hit with the first configuration.
    pub first: Option<usize>,
    /// Place of the first hit with the second configuration.
    pub second: Option<usize>,
}

/// Two configurations side by side, over the answerable questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean reciprocal rank.
    pub reciprocal_rank: Difference,
    /// A hit in the first five.
    pub hit_at_5: Difference,
    /// Normalised discounted gain.
    pub ndcg: Difference,
    /// The questions that changed, the largest changes first.
    pub changed: Vec<Changed>,
}

/// Compares what two configurations found for the same questions, in the same order.
#[must_use]
pub fn compare(first: &[Outcome], second: &[Outcome]) -> Comparison {
    let pairs: Vec<(&Outcome, &Outcome)> =
        first.iter().zip(second).filter(|(outcome, _)| outcome.kind != UNANSWERABLE).collect();
    let difference = |of: fn(&Outcome) -> f64| {
        let values: Vec<(f64, f64)> = pairs.iter().map(|(first, second)| (of(first), of(second))).collect();
        difference(&values)
    };
    let moved = pairs.iter().filter(|(first, second)| first.rank != second.rank);
    let mut changed: Vec<(f64, Changed)> = moved
        .map(|(first, second)| {
            let change = Changed {
                id: first.id.clone(),
                question: first.question.clone(),
                first: first.rank,
                second: second.rank,
            };
            ((second.reciprocal_rank() - first.reciprocal_rank()).abs(), change)
        })
        .collect();
    changed.sort_by(|a, b| b.0.total_cmp(&a.0));
    Comparison {
        reciprocal_rank: difference(Outcome::reciprocal_rank),
        hit_at_5: difference(|outcome| f64::from(u8::from(outcome.is_hit(5)))),
        ndcg: difference(|outcome| outcome.ndcg),
        changed: changed.into_iter().map(|(_, changed)| changed).collect(),
    }
}

#[allow(clippy::cast_precision_loss)] // counts of questions are small
fn difference(values: &[(f64, f64)]) -> Difference {
    let count = values.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| values.iter().map(of).sum::<f64>() / count;
    let (first, second) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let differences: Vec<f64> = values.iter().map(|(first, second)| second - first).collect();
    Difference { first, second, difference: second - first, p_value: p_value(&differences) }
}

/// Two-sided p-value of the mean of paired differences.
fn p_value(differences: &[f64]) -> f64 {
    let different: Vec<f64> = differences.iter().copied().filter(|difference| difference.abs() > TOLERANCE).collect();
    let measured = different.iter().sum::<f64>().abs() - TOLERANCE;
    if different.is_empty() {
        return 1.0;
    }
    let sum = |signs: u64| {
        let signed = different.iter().enumerate().map(|(at, value)| if signs >> at & 1 == 1 { -value } else { *value });
        signed.sum::<f64>().abs()
    };
    if different.len() <= EXACT {
        let all = 1_u32 << different.len();
        let extreme = (0..all).filter(|signs| sum(u64::from(*signs)) >= measured).count();
        return super::figures::ratio(extreme, all as usize);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let extreme = (0..SAMPLES).filter(|_| random.signed_sum(&different).abs() >= measured).count();
    // The measured assignment is one of them, so that no estimate is 0.
    super::figures::ratio(extreme + 1, SAMPLES as usize + 1)
}

/// Marsaglia's xorshift64: no secret depends on it, and results must repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn signed_sum(&mut self, values: &[f64]) -> f64 {
        values
            .chunks(64)
            .map(|chunk| {
                let mut signs = self.next();
                chunk.iter().fold(0.0, |sum, value| {
                    let negative = signs & 1 == 1;
                    signs >>= 1;
                    if negative { sum - value } else { sum + value }
                })
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::outcome;
    use super::*;

    #[test]
    fn no_difference_has_p_1_and_a_clear_one_a_small_p() {
        assert!((p_value(&[0.0; 30]) - 1.0).abs() < 1e-9);
        assert!((p_value(&[0.5; 8]) - 2.0 / 256.0).abs() < 1e-9, "all of one sign: two of 2^8 assignments");
        assert!((p_value(&[0.5, -0.5]) - 1.0).abs() < 1e-9);
        assert!(p_value(&[0.1; 80]) < 1e-4);
        let mixed: Vec<f64> = (0..80).map(|at| if at % 2 == 0 { 0.3 } else { -0.3 }).collect();
        assert!(p_value(&mixed) > 0.9);
    }

    #[test]
    fn the_estimate_agrees_with_the_exact_value() {
        // Seventeen differences: estimated here, counted exactly by dynamic programming over the number of minus signs.
        let differences = [1.0; 17];
        let (mut exact, mut ways) = (0.0, 1.0_f64);
        for minus in 0..=17_u32 {
            let sum = 17.0 - 2.0 * f64::from(minus);
            if sum.abs() >= 7.0 {
                exact += ways / f64::from(1_u32 << 17);
            }
            ways = ways * f64::from(17 - minus) / f64::from(minus + 1);
        }
        let mut measured = differences;
        measured[..5].fill(-1.0);
        assert!((p_value(&measured) - exact).abs() < 0.01, "{} instead of {exact}", p_value(&measured));
    }

    #[test]
    fn changed_questions_are_named_with_the_largest_change_first() {
        let ranked = |id: &str, rank| Outcome { id: id.into(), ..outcome("factual", rank, 0.5) };
        let first = [ranked("a", Some(1)), ranked("b", Some(5)), ranked("c", None), outcome(UNANSWERABLE, None, 0.1)];
        let second =
            [ranked("a", Some(1)), ranked("b", Some(4)), ranked("c", Some(1)), outcome(UNANSWERABLE, Some(1), 0.1)];
        let found = compare(&first, &second);
        let ids: Vec<&str> = found.changed.iter().map(|changed| changed.id.as_str()).collect();
        assert_eq!(ids, ["c", "b"]);
        assert!((found.hit_at_5.difference - 1.0 / 3.0).abs() < 1e-9);
        assert!((found.reciprocal_rank.second - (1.0 + 0.25 + 1.0) / 3.0).abs() < 1e-9);
    }
}
