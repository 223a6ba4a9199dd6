//! What the configuration and the model decide about turns.

use std::time::Duration;

use mentor_actors::ports::Sampling;
use mentor_actors::turn::TurnSettings;
use mentor_engines::llama::SamplingPreferences;

use crate::config::{Config, OrAuto};

/// How much text of passages fits a prompt, in characters.
#[must_use]
pub fn context_chars(config: &Config) -> usize {
    /// Characters of a token of the generator's: a little fewer than on average, for what does not fit is left out whole.
    const TOKEN_CHARS: usize = 3;
    /// Tokens of the prompt that are no passage: instructions, question, names of files.
    const OTHER_TOKENS: usize = 120;
    config.prompt_tokens.saturating_sub(OTHER_TOKENS) * TOKEN_CHARS
}

/// What the configuration and the model decide about turns.
pub(super) fn turn_settings(config: &Config, preferences: &SamplingPreferences) -> TurnSettings {
    TurnSettings {
        top_k: config.top_k,
        context_chars: context_chars(config),
        min_score: config.min_score,
        system_prompt: config.system_prompt.clone(),
        prompt_tokens: config.prompt_tokens,
        max_tokens: config.max_tokens,
        sampling: sampling(config, preferences),
        history_turns: config.history_turns,
        time_limit: Duration::from_secs(config.turn_time_limit_s),
    }
}

/// How tokens are chosen where a question does not say: as configured, else as the model's file recommends, else as is best for
/// small models that answer from passages.
#[must_use]
pub fn sampling(config: &Config, preferences: &SamplingPreferences) -> Sampling {
    let choose = |given: OrAuto<f32>, own: Option<f32>, ours| given.given().or(own).unwrap_or(ours);
    let count = |given: OrAuto<usize>, own: Option<i32>, ours| {
        given.given().map_or(own.unwrap_or(ours), |given| i32::try_from(given).unwrap_or(i32::MAX))
    };
    Sampling {
        temperature: choose(config.temperature, preferences.temperature, 0.0),
        top_p: choose(config.top_p, preferences.top_p, 0.9),
        top_k: count(config.sampling_top_k, preferences.top_k, 40),
        min_p: choose(config.min_p, preferences.min_p, 0.05),
        repeat_penalty: choose(config.repeat_penalty, preferences.repeat_penalty, 1.1),
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repeat_last_tokens: count(config.repeat_last_tokens, preferences.repeat_last_tokens, 128),
        dry_multiplier: config.dry_multiplier,
        seed: config.seed,
        logit_bias: Vec::new(),
        grammar: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_is_what_was_configured_then_what_the_model_says_then_ours() {
        let config = Config { top_p: OrAuto::Is(0.5), ..Config::default() };
        let preferences = SamplingPreferences {
            temperature: Some(0.6),
            top_p: Some(0.95),
            top_k: Some(20),
            ..SamplingPreferences::default()
        };
        let chosen = sampling(&config, &preferences);
        assert_eq!((chosen.top_p, chosen.temperature, chosen.top_k), (0.5, 0.6, 20));
        assert_eq!((chosen.min_p, chosen.repeat_penalty, chosen.repeat_last_tokens), (0.05, 1.1, 128));
        let greedy = sampling(&Config { temperature: OrAuto::Is(0.0), ..config }, &preferences);
        assert_eq!(greedy.temperature, 0.0, "an explicit 0 beats the model");
        let (sampling_top_k, repeat_last_tokens) = (OrAuto::Is(0), OrAuto::Is(64));
        let given = sampling(&Config { sampling_top_k, repeat_last_tokens, ..Config::default() }, &preferences);
        assert_eq!((given.top_k, given.repeat_last_tokens), (0, 64));
    }
}
