//! What a model says of how to choose its tokens: `general.sampling.*` of a GGUF file.

use std::str::FromStr;

/// A model's own sampling settings; `None` where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SamplingPreferences {
    /// `temp`.
    pub temperature: Option<f32>,
    /// `top_p`.
    pub top_p: Option<f32>,
    /// `top_k`; 0 and less keeps all tokens.
    pub top_k: Option<i32>,
    /// `min_p`.
    pub min_p: Option<f32>,
    /// `penalty_repeat`.
    pub repeat_penalty: Option<f32>,
    /// `penalty_last_n`; -1 for the whole context.
    pub repeat_last_tokens: Option<i32>,
}

impl SamplingPreferences {
    /// From the metadata, by key. A value that is no number or out of range is left out with a warning: it must not keep the
    /// model from being used.
    pub(super) fn read(metadata: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| metadata(&format!("general.sampling.{name}")).map(|text| (name.to_owned(), text));
        Self {
            temperature: within(value("temp"), 0.0, 10.0),
            top_p: within(value("top_p"), 0.0, 1.0),
            top_k: within(value("top_k"), -1, i32::MAX),
            min_p: within(value("min_p"), 0.0, 1.0),
            repeat_penalty: within(value("penalty_repeat"), 0.1, 10.0),
            repeat_last_tokens: within(value("penalty_last_n"), -1, i32::MAX),
        }
    }
}

fn within<T: FromStr + PartialOrd>(value: Option<(String, String)>, least: T, most: T) -> Option<T> {
    let (name, text) = value?;
    let number = text.parse().ok().filter(|number| least <= *number && *number <= most);
    if number.is_none() {
        tracing::warn!(key = %format!("general.sampling.{name}"), value = %text, "the model's own value is not used");
    }
    number
}

#[cfg(test)]
mod tests {
    use super::super::test_gguf::{Gguf, Kind};
    use super::*;

    fn preferences(gguf: Gguf) -> SamplingPreferences {
        let model = gguf.sentence_pieces(&[("a", Kind::Normal)]).load_vocabulary();
        SamplingPreferences::read(|key| model.meta_val_str(key).ok())
    }

    #[test]
    fn a_model_s_own_values_are_read_from_its_file() {
        let gguf = Gguf::model("llama")
            .fraction("general.sampling.temp", 0.6)
            .fraction("general.sampling.top_p", 0.95)
            .number("general.sampling.top_k", 20)
            .fraction("general.sampling.min_p", 0.0)
            .fraction("general.sampling.penalty_repeat", 1.05)
            .number("general.sampling.penalty_last_n", 256);
        let expected = SamplingPreferences {
            temperature: Some(0.6),
            top_p: Some(0.95),
            top_k: Some(20),
            min_p: Some(0.0),
            repeat_penalty: Some(1.05),
            repeat_last_tokens: Some(256),
        };
        assert_eq!(preferences(gguf), expected);
    }

    #[test]
    fn a_model_without_them_says_nothing() {
        assert_eq!(preferences(Gguf::model("llama")), SamplingPreferences::default());
    }

    #[test]
    fn senseless_values_are_left_out() {
        let gguf = Gguf::model("llama")
            .fraction("general.sampling.temp", f32::NAN)
            .fraction("general.sampling.top_p", 7.0)
            .text("general.sampling.top_k", "many")
            .fraction("general.sampling.min_p", 0.1);
        let expected = SamplingPreferences { min_p: Some(0.1), ..SamplingPreferences::default() };
        assert_eq!(preferences(gguf), expected);
    }
}
