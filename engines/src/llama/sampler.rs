//! The port's sampling settings as a llama.cpp sampler chain.

use std::collections::HashMap;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;
use mentor_actors::domain::EngineError;
use mentor_actors::ports::Sampling;

use crate::grammar::check_grammar;

/// Growth of the DRY penalty with every further token of a repeated sequence, as its author proposes.
const DRY_BASE: f32 = 1.75;
/// Longest repeated sequence that costs nothing, in tokens.
const DRY_ALLOWED_TOKENS: i32 = 3;
/// Where a repeated sequence is cut, as its author proposes.
const DRY_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// Lower temperatures are 0: the scores divided by them would be too large for a number.
const LOWEST_TEMPERATURE: f32 = 1e-4;

/// Chooses the tokens of one generation, and remembers them.
pub(super) struct Sampler {
    chain: LlamaSampler,
    /// Whether a grammar may forbid every token there is, which llama.cpp does not survive.
    constrained: bool,
}

impl Sampler {
    /// Chooses a token by the scores of row `row` of the last batch, which must have some.
    ///
    /// # Errors
    /// [`EngineError::Rejected`] when the grammar allows no token.
    pub(super) fn choose(&mut self, llama: &LlamaContext<'_>, row: i32) -> Result<LlamaToken, EngineError> {
        if !self.constrained {
            return Ok(self.chain.sample(llama, row));
        }
        let mut candidates = llama.token_data_array_ith(row);
        self.chain.apply(&mut candidates);
        let chosen = candidates.selected.and_then(|index| candidates.data.get(index));
        let allowed = chosen.filter(|candidate| candidate.logit() > f32::NEG_INFINITY).map(|candidate| candidate.id());
        let token = allowed.ok_or_else(|| EngineError::Rejected("the grammar allows no token here".into()))?;
        self.chain.accept(token);
        Ok(token)
    }
}

/// Builds the sampler chains of one model.
pub(super) struct SamplerBuilder {
    model: &'static LlamaModel,
    context_tokens: i32,
    /// Keeps tokens out that a grammar reads by their names and that are written as nothing, as control tokens are.
    named_only: Vec<LlamaLogitBias>,
    /// DRY samplers by their strength in tenths, of which there are a hundred: making one searches the whole vocabulary, copying
    /// one does not, and clients choose the strength.
    dry: HashMap<u8, LlamaSampler>,
}

impl SamplerBuilder {
    pub(super) fn new(model: &'static LlamaModel, context_tokens: usize) -> Self {
        let vocab = model.vocab();
        let is_nothing = |token: &LlamaToken| vocab.token_to_piece(*token, false, None).is_empty();
        let named_only = vocab.tokens().filter(is_nothing).filter(|token| !vocab.is_eog(*token));
        Self {
            model,
            context_tokens: i32::try_from(context_tokens).unwrap_or(i32::MAX),
            named_only: named_only.map(|token| LlamaLogitBias::new(token, f32::NEG_INFINITY)).collect(),
            dry: HashMap::new(),
        }
    }

    /// A chain in llama.cpp's own order: bias, grammar, penalties, cuts, temperature, choice. It sees the answer, not the
    /// prompt: words of a passage may and should be used.
    ///
    /// # Errors
    /// [`EngineError::Rejected`] when the grammar cannot be read or a token does not exist.
    pub(super) fn build(&mut self, sampling: &Sampling) -> Result<Sampler, EngineError> {
        let sampling = within_bounds(sampling, self.context_tokens);
        let mut chain = Vec::with_capacity(10);
        if !sampling.logit_bias.is_empty() {
            chain.push(self.logit_bias(&sampling)?);
        }
        if let Some(grammar) = &sampling.grammar {
            chain.push(LlamaSampler::logit_bias(self.model.n_vocab(), &self.named_only));
            chain.push(self.grammar(grammar)?);
        }
        if penalises(&sampling) {
            chain.push(self.penalties(&sampling));
        }
        let dry = tenths(sampling.dry_multiplier);
        if dry > 0 {
            chain.push(self.dry(dry));
        }
        if sampling.temperature > 0.0 {
            chain.extend(random_choice(&sampling));
        } else {
            chain.push(LlamaSampler::greedy());
        }
        Ok(Sampler { chain: LlamaSampler::chain(chain, true), constrained: sampling.grammar.is_some() })
    }

    fn logit_bias(&self, sampling: &Sampling) -> Result<LlamaSampler, EngineError> {
        let vocabulary = self.model.n_vocab();
        if let Some((token, _)) = sampling.logit_bias.iter().find(|(token, _)| !(0..vocabulary).contains(&token.0)) {
            return Err(EngineError::Rejected(format!("logit_bias: the model has no token {}", token.0)));
        }
        let bias = sampling.logit_bias.iter().map(|(token, bias)| LlamaLogitBias::new(LlamaToken(token.0), *bias));
        Ok(LlamaSampler::logit_bias(vocabulary, &bias.collect::<Vec<_>>()))
    }

    fn grammar(&self, grammar: &str) -> Result<LlamaSampler, EngineError> {
        let rejected = |reason: String| EngineError::Rejected(format!("the grammar cannot be used: {reason}"));
        check_grammar(grammar).map_err(rejected)?;
        LlamaSampler::grammar(self.model, grammar, "root").map_err(|error| rejected(error.to_string()))
    }

    fn penalties(&self, sampling: &Sampling) -> LlamaSampler {
        LlamaSampler::penalties(
            self.model.n_vocab(),
            sampling.repeat_last_tokens,
            sampling.repeat_penalty,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        )
    }

    fn dry(&mut self, tenths: u8) -> LlamaSampler {
        let (model, context) = (self.model, self.context_tokens);
        let make = || {
            let multiplier = f32::from(tenths) / 10.0;
            LlamaSampler::dry(model, multiplier, DRY_BASE, DRY_ALLOWED_TOKENS, context, DRY_BREAKERS)
        };
        self.dry.entry(tenths).or_insert_with(make).clone()
    }
}

/// Whether what was said before makes any difference.
fn penalises(sampling: &Sampling) -> bool {
    let is_on = sampling.repeat_penalty != 1.0 || sampling.frequency_penalty != 0.0 || sampling.presence_penalty != 0.0;
    is_on && sampling.repeat_last_tokens != 0
}

/// A strength of DRY in tenths, at most ten.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 100")]
fn tenths(multiplier: f32) -> u8 {
    (multiplier.clamp(0.0, 10.0) * 10.0).round() as u8
}

fn random_choice(sampling: &Sampling) -> Vec<LlamaSampler> {
    // Every cut leaves at least one token.
    let mut cuts = Vec::with_capacity(5);
    if sampling.top_k > 0 {
        cuts.push(LlamaSampler::top_k(sampling.top_k));
    }
    cuts.push(LlamaSampler::top_p(sampling.top_p, 1));
    cuts.push(LlamaSampler::min_p(sampling.min_p, 1));
    cuts.push(LlamaSampler::temp(sampling.temperature));
    cuts.push(LlamaSampler::dist(sampling.seed));
    cuts
}

/// What llama.cpp can be given: settings come from clients, and some of its samplers check nothing.
fn within_bounds(sampling: &Sampling, context_tokens: i32) -> Sampling {
    let finite = |value: f32, fallback: f32| if value.is_finite() { value } else { fallback };
    let last_tokens = sampling.repeat_last_tokens;
    let temperature = finite(sampling.temperature, 0.0).clamp(0.0, 10.0);
    Sampling {
        temperature: if temperature < LOWEST_TEMPERATURE { 0.0 } else { temperature },
        top_p: finite(sampling.top_p, 1.0).clamp(0.0, 1.0),
        top_k: sampling.top_k.max(0),
        min_p: finite(sampling.min_p, 0.0).clamp(0.0, 1.0),
        repeat_penalty: finite(sampling.repeat_penalty, 1.0).clamp(0.1, 10.0),
        presence_penalty: finite(sampling.presence_penalty, 0.0).clamp(-10.0, 10.0),
        frequency_penalty: finite(sampling.frequency_penalty, 0.0).clamp(-10.0, 10.0),
        repeat_last_tokens: if last_tokens < 0 { context_tokens } else { last_tokens.min(context_tokens) },
        dry_multiplier: finite(sampling.dry_multiplier, 0.0).clamp(0.0, 10.0),
        // llama.cpp takes the largest seed for "choose one yourself".
        seed: sampling.seed.min(u32::MAX - 1),
        logit_bias: sampling.logit_bias.clone(),
        grammar: sampling.grammar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use llama_cpp_2::token::data::LlamaTokenData;
    use llama_cpp_2::token::data_array::LlamaTokenDataArray;

    use super::super::test_gguf::{Gguf, Kind};
    use super::*;

    fn plain() -> Sampling {
        Sampling {
            temperature: 0.3,
            top_p: 0.9,
            top_k: 40,
            min_p: 0.05,
            repeat_penalty: 1.1,
            presence_penalty: 0.5,
            frequency_penalty: -0.5,
            repeat_last_tokens: 64,
            dry_multiplier: 0.8,
            seed: 7,
            logit_bias: Vec::new(),
            grammar: None,
        }
    }

    #[test]
    fn sensible_settings_stay_as_they_are() {
        assert_eq!(within_bounds(&plain(), 2048), plain());
    }

    #[test]
    fn senseless_settings_become_harmless() {
        let wild = Sampling {
            temperature: f32::NAN,
            top_p: -1.0,
            top_k: -5,
            min_p: f32::INFINITY,
            repeat_penalty: 0.0,
            presence_penalty: f32::NEG_INFINITY,
            frequency_penalty: 99.0,
            repeat_last_tokens: i32::MAX,
            dry_multiplier: -2.0,
            seed: u32::MAX,
            ..plain()
        };
        let tame = within_bounds(&wild, 2048);
        assert_eq!((tame.temperature, tame.top_p, tame.top_k, tame.min_p), (0.0, 0.0, 0, 0.0));
        assert_eq!((tame.repeat_penalty, tame.repeat_last_tokens, tame.dry_multiplier), (0.1, 2048, 0.0));
        assert_eq!((tame.presence_penalty, tame.frequency_penalty), (0.0, 10.0));
        assert_eq!(tame.seed, u32::MAX - 1);
    }

    #[test]
    fn a_temperature_that_would_make_scores_infinite_is_none() {
        let tame = |temperature| within_bounds(&Sampling { temperature, ..plain() }, 2048).temperature;
        assert_eq!([1.2e-38, 9e-5, -1.0, 1e-4, 0.3, 99.0].map(tame), [0.0, 0.0, 0.0, 1e-4, 0.3, 10.0]);
    }

    #[test]
    fn a_control_token_is_not_the_text_of_its_name() {
        let tokens =
            [("a", Kind::Normal), ("<", Kind::Normal), ("<|user|>", Kind::Control), ("<|x|>", Kind::UserDefined)];
        let model = Gguf::model("llama").sentence_pieces(&tokens).load_vocabulary();
        let (vocab, mut builder) = (model.vocab(), SamplerBuilder::new(model, 2048));
        let mut allowed = |grammar: &str| {
            let sampling = Sampling { grammar: Some(grammar.into()), ..Sampling::greedy() };
            let all = vocab.tokens().map(|token| LlamaTokenData::new(token, 0.0, 0.0));
            let mut candidates = LlamaTokenDataArray::from_iter(all, false);
            builder.build(&sampling).unwrap().chain.apply(&mut candidates);
            let allowed = candidates.data.iter().filter(|candidate| candidate.logit() > f32::NEG_INFINITY);
            let pieces = allowed.map(|candidate| vocab.token_to_piece(candidate.id(), true, None));
            pieces.map(|piece| String::from_utf8_lossy(&piece).into_owned()).collect::<Vec<_>>()
        };
        // One of them is the byte.
        assert_eq!(allowed(r#"root ::= "<|user|>" | "<s>" | "<unk>" | "<|x|>""#), ["<", "<", "<|x|>"]);
        assert_eq!(allowed(r#"root ::= "a"?"#), ["</s>", "a", "a"], "the end stays");
    }

    #[test]
    fn there_is_a_penalty_where_one_is_on_and_looks_back() {
        let off = Sampling { repeat_penalty: 1.0, presence_penalty: 0.0, frequency_penalty: 0.0, ..plain() };
        assert!(!penalises(&off) && penalises(&Sampling { repeat_penalty: 1.1, ..off.clone() }));
        assert!(penalises(&Sampling { presence_penalty: 0.1, ..off.clone() }));
        assert!(penalises(&Sampling { frequency_penalty: -0.1, ..off }));
        assert!(!penalises(&Sampling { repeat_last_tokens: 0, ..plain() }));
    }

    #[test]
    fn clients_can_ask_for_no_more_than_a_hundred_strengths_of_dry() {
        assert_eq!([0.0, 0.04, 0.8, 0.849, 10.0, 99.0, f32::MAX].map(tenths), [0, 0, 8, 8, 100, 100, 100]);
    }

    #[test]
    fn a_negative_window_means_the_whole_context() {
        let sampling = Sampling { repeat_last_tokens: -1, ..plain() };
        assert_eq!(within_bounds(&sampling, 2048).repeat_last_tokens, 2048);
    }
}
