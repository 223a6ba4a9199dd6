//! Which type of weights is best on this machine: the arithmetic and the decision, without a model.
//!
//! What is compared is the same model with its weights rounded in different ways. Quality is perplexity on a fixed text and
//! how often both models hold the same token for the most probable; speed is the time of a typical turn.

use std::fmt;

/// A candidate may have this much of the shipped file's perplexity. Two percent is less than what separates neighbouring
/// types, and more than the noise of rounding.
const WORST_PERPLEXITY_RATIO: f64 = 1.02;

/// Q8_0 is taken when its turn lasts at most this much of the fastest one's: its kernels compute a row alone and among others
/// to the same bit, so answers do not depend on what else is in a batch.
const STEADY_TURN_RATIO: f64 = 1.20;

/// Below this share of the processor time that its threads could have had, a measurement says what else the machine did. The
/// threads of one evaluation wait for each other without sleeping, so alone on a machine they use all of it; beside another busy
/// program they wait for one that is not running, and writing can become fifty times slower.
const LEAST_PROCESSOR_SHARE: f64 = 0.85;

/// What a typical turn reads and writes: instructions, five passages and a question; a few sentences.
const TURN_PROMPT_TOKENS: f64 = 600.0;
const TURN_ANSWER_TOKENS: f64 = 130.0;

/// A type of weights that a file can be rewritten to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// 8 bits and a scale for 32 weights.
    Q8_0,
    /// 4 bits and a scale for 32 weights; embeddings keep 6 or 8.
    Q4_0,
    /// 16-bit floating point.
    F16,
}

impl WeightType {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Q8_0, Self::Q4_0, Self::F16];

    /// As llama.cpp writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::F16 => "F16",
        }
    }

    /// At most how long a file of this many weights becomes, `rest_bytes` being what is not weights.
    #[must_use]
    pub fn file_bytes(self, weights: u64, rest_bytes: u64) -> u64 {
        // Tenths of a bit for each weight. Of Q4_0 the embeddings, up to half of a small model, have 8.5.
        let tenths = match self {
            Self::Q8_0 => 85,
            Self::Q4_0 => 65,
            Self::F16 => 160,
        };
        (weights / 80).saturating_mul(tenths).saturating_add(rest_bytes)
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this build has fast matrix kernels for a type of weights on a CPU: those of llamafile's sgemm, and of the types that
/// ggml rearranges when it loads them (`ggml-cpu/repack.cpp`).
#[must_use]
pub fn is_fast_on_cpu(type_name: &str) -> bool {
    let anywhere = ["Q8_0", "Q4_0", "Q4_K", "IQ4_NL"].contains(&type_name);
    anywhere || (cfg!(target_arch = "x86_64") && ["Q5_0", "F16"].contains(&type_name))
}

/// What a model made of the fixed text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Natural logarithm of the probability of each token of the text, given those before it.
    pub log_probabilities: Vec<f64>,
    /// The token that the model held for the most probable in its stead.
    pub choices: Vec<i32>,
}

/// How fast a model reads and writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Prompt tokens evaluated in a second.
    pub prefill_tokens_per_s: f64,
    /// Tokens written in a second, one answer at a time.
    pub decode_tokens_per_s: f64,
    /// Share of the processor time that its threads could have had meanwhile.
    pub processor_share: f64,
}

impl Speed {
    /// How long a typical turn takes.
    #[must_use]
    pub fn turn_s(&self) -> f64 {
        TURN_PROMPT_TOKENS / self.prefill_tokens_per_s + TURN_ANSWER_TOKENS / self.decode_tokens_per_s
    }

    /// Whether it was measured on a machine that did little else.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.processor_share >= LEAST_PROCESSOR_SHARE
    }
}

/// A file, and what was measured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What it was rewritten to; none for the file as shipped.
    pub rewritten: Option<WeightType>,
    /// Type of most of its weights.
    pub type_name: String,
    /// Length of the file.
    pub bytes: u64,
    /// On the fixed text; lower is better.
    pub perplexity: f64,
    /// Share of the text's tokens at which it and the shipped file hold the same token for the most probable.
    pub agreement: f64,
    /// How fast it is here.
    pub speed: Speed,
}

impl Candidate {
    fn is_q8(&self) -> bool {
        self.type_name == WeightType::Q8_0.name()
    }
}

/// The logarithm of the probability of token `token`, and the most probable token. None when `token` has no score.
#[must_use]
pub fn judge(scores: &[f32], token: usize) -> Option<(f64, usize)> {
    let score = f64::from(*scores.get(token)?);
    let (choice, &best) = scores.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    // The largest score is taken out first, or the exponential would overflow.
    let sum: f64 = scores.iter().map(|score| f64::from((score - best).exp())).sum();
    Some((score - f64::from(best) - sum.ln(), choice))
}

/// The perplexity of a text: the inverse of the geometric mean of its tokens' probabilities.
#[must_use]
pub fn perplexity(log_probabilities: &[f64]) -> f64 {
    (-log_probabilities.iter().sum::<f64>() / log_probabilities.len() as f64).exp()
}

/// The share of places at which both choose the same.
#[must_use]
pub fn agreement(ours: &[i32], theirs: &[i32]) -> f64 {
    let same = ours.iter().zip(theirs).filter(|(our, their)| our == their).count();
    same as f64 / ours.len().max(theirs.len()) as f64
}

/// The middle one of some measurements; of an even number, the lower of the two in the middle.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Whether a candidate loses nothing that matters against the file as shipped.
#[must_use]
pub fn is_good(candidate: &Candidate, shipped: &Candidate) -> bool {
    // A perplexity that is no number is not good.
    candidate.rewritten.is_none() || candidate.perplexity <= shipped.perplexity * WORST_PERPLEXITY_RATIO
}

/// The candidate to use: of the good ones the fastest, but Q8_0 where it is nearly as fast, or where speed could not be compared.
/// The file as shipped is among the candidates; none is returned when it is not.
#[must_use]
pub fn best(candidates: &[Candidate]) -> Option<&Candidate> {
    let shipped = candidates.iter().find(|candidate| candidate.rewritten.is_none())?;
    let good = || candidates.iter().filter(|candidate| is_good(candidate, shipped));
    if !candidates.iter().all(|candidate| candidate.speed.is_trusted()) {
        return Some(good().find(|candidate| candidate.is_q8()).unwrap_or(shipped));
    }
    let fastest = good().min_by(|a, b| a.speed.turn_s().total_cmp(&b.speed.turn_s()))?;
    let longest_s = fastest.speed.turn_s() * STEADY_TURN_RATIO;
    let nearly = good().find(|candidate| candidate.is_q8() && candidate.speed.turn_s() <= longest_s);
    Some(nearly.unwrap_or(fastest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(rewritten: Option<WeightType>, perplexity: f64, prefill: f64, decode: f64) -> Candidate {
        Candidate {
            rewritten,
            type_name: rewritten.map_or("Q4_1", WeightType::name).to_owned(),
            bytes: 1,
            perplexity,
            agreement: 1.0,
            speed: Speed { prefill_tokens_per_s: prefill, decode_tokens_per_s: decode, processor_share: 0.98 },
        }
    }

    fn chosen(candidates: &[Candidate]) -> Option<WeightType> {
        best(candidates).expect("the shipped file is among them").rewritten
    }

    #[test]
    fn a_certain_text_has_perplexity_1_and_a_coin_2() {
        assert_eq!(perplexity(&[0.0, 0.0]), 1.0);
        assert!((perplexity(&[0.5_f64.ln(); 8]) - 2.0).abs() < 1e-12);
        assert!(perplexity(&[]).is_nan());
    }

    #[test]
    fn scores_become_a_probability_and_a_choice() {
        let (log_probability, choice) = judge(&[0.0, 3.0_f32.ln(), 0.0], 0).expect("there are scores");
        assert!((log_probability - 0.2_f64.ln()).abs() < 1e-6, "{log_probability}");
        assert_eq!(choice, 1);
        let (log_probability, _) = judge(&[900.0, 900.0], 1).expect("there are scores");
        assert!((log_probability - 0.5_f64.ln()).abs() < 1e-6, "large scores do not overflow");
        assert_eq!(judge(&[], 0), None);
        assert_eq!(judge(&[1.0], 1), None);
    }

    #[test]
    fn agreement_is_the_share_of_equal_choices() {
        assert_eq!(agreement(&[1, 2, 3, 4], &[1, 2, 0, 4]), 0.75);
        assert_eq!(agreement(&[1, 2], &[1]), 0.5, "what is missing does not agree");
    }

    #[test]
    fn the_median_is_not_moved_by_one_bad_measurement() {
        assert_eq!(median(vec![100.0, 3.0, 2.0]), Some(3.0));
        assert_eq!(median(vec![2.0, 1.0]), Some(1.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_typical_turn_reads_600_tokens_and_writes_130() {
        let speed = Speed { prefill_tokens_per_s: 300.0, decode_tokens_per_s: 65.0, processor_share: 1.0 };
        assert_eq!(speed.turn_s(), 4.0);
    }

    #[test]
    fn the_fastest_that_loses_nothing_is_used() {
        let shipped = candidate(None, 14.0, 184.0, 98.0);
        let q8 = candidate(Some(WeightType::Q8_0), 14.01, 350.0, 96.0);
        let q4 = candidate(Some(WeightType::Q4_0), 14.7, 434.0, 120.0);
        let f16 = candidate(Some(WeightType::F16), 14.0, 510.0, 65.0);
        assert_eq!(chosen(&[shipped.clone(), q8.clone(), q4, f16]), Some(WeightType::Q8_0), "Q4_0 loses five percent");
        let q4 = candidate(Some(WeightType::Q4_0), 14.2, 434.0, 120.0);
        assert_eq!(chosen(&[shipped, q8, q4]), Some(WeightType::Q4_0), "here it does not");
    }

    #[test]
    fn q8_is_used_where_it_is_nearly_the_fastest() {
        let shipped = candidate(None, 14.0, 100.0, 50.0);
        let f16 = candidate(Some(WeightType::F16), 14.0, 400.0, 100.0);
        let near = candidate(Some(WeightType::Q8_0), 14.0, 370.0, 95.0);
        assert_eq!(chosen(&[shipped.clone(), f16.clone(), near]), Some(WeightType::Q8_0));
        let far = candidate(Some(WeightType::Q8_0), 14.0, 300.0, 80.0);
        assert_eq!(chosen(&[shipped, f16, far]), Some(WeightType::F16));
    }

    #[test]
    fn the_shipped_file_stays_when_nothing_better_is_good() {
        let shipped = candidate(None, 14.0, 184.0, 98.0);
        let broken = candidate(Some(WeightType::Q4_0), f64::NAN, 434.0, 120.0);
        let slow = candidate(Some(WeightType::Q8_0), 14.0, 90.0, 40.0);
        assert_eq!(chosen(&[shipped, broken, slow]), None);
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn q8_is_used_where_a_busy_machine_hides_the_speed() {
        let mut shipped = candidate(None, 14.0, 54.0, 4.0);
        let q8 = candidate(Some(WeightType::Q8_0), 14.1, 79.0, 2.0);
        let worse = candidate(Some(WeightType::Q8_0), 14.9, 790.0, 200.0);
        assert_eq!(chosen(&[shipped.clone(), q8.clone()]), None, "these figures are believed");
        shipped.speed.processor_share = 0.5;
        assert_eq!(chosen(&[shipped.clone(), q8]), Some(WeightType::Q8_0));
        assert_eq!(chosen(&[shipped, worse]), None, "quality is judged all the same");
    }

    #[test]
    fn the_default_model_rewritten_is_not_longer_than_foreseen() {
        // SmolLM2-135M: 134,515,008 weights, measured lengths of the files.
        let foreseen = |weights: WeightType| weights.file_bytes(134_515_008, 4 << 20);
        assert!((144_000_000..160_000_000).contains(&foreseen(WeightType::Q8_0)));
        assert!((91_000_000..120_000_000).contains(&foreseen(WeightType::Q4_0)));
        assert!((270_000_000..280_000_000).contains(&foreseen(WeightType::F16)));
    }

    #[test]
    fn types_with_fast_kernels_are_known() {
        assert!(is_fast_on_cpu("Q8_0") && is_fast_on_cpu("Q4_K"));
        assert!(!is_fast_on_cpu("Q4_1") && !is_fast_on_cpu("Q6_K") && !is_fast_on_cpu("F32"));
    }
}
