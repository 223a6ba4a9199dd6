//! A value, or `auto` for what fits.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of the configuration that need not be given: as `"auto"` it follows from the model or the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrAuto<T> {
    /// What fits.
    #[default]
    Auto,
    /// This.
    Is(T),
}

/// The word for it.
const AUTO: &str = "auto";

impl<T> OrAuto<T> {
    /// The value, if it was given.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Is(value) => Some(value),
        }
    }
}

impl<T: FromStr> FromStr for OrAuto<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Is).map_err(|_| format!("must be a number or {AUTO}"))
    }
}

impl<T: Serialize> Serialize for OrAuto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Is(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrAuto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrAuto(std::marker::PhantomData))
    }
}

struct NumberOrAuto<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NumberOrAuto<T> {
    type Value = OrAuto<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number or \"{AUTO}\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OrAuto<T>, E> {
        if text == AUTO { Ok(OrAuto::Auto) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<OrAuto<T>, E> {
        T::deserialize(number.into_deserializer()).map(OrAuto::Is)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<OrAuto<T>, E> {
        T::deserialize(number.into_deserializer()).map(OrAuto::Is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Keys {
        share: OrAuto<f32>,
        tokens: OrAuto<usize>,
    }

    #[test]
    fn a_number_or_auto_is_read_and_written_as_it_was() {
        let text = "share = \"auto\"\ntokens = 64\n";
        let keys: Keys = toml::from_str(text).unwrap();
        assert_eq!(keys, Keys { share: OrAuto::Auto, tokens: OrAuto::Is(64) });
        assert_eq!(toml::to_string(&keys).unwrap(), text);
        let whole: Keys = toml::from_str("share = 1\ntokens = \"auto\"").unwrap();
        assert_eq!(whole, Keys { share: OrAuto::Is(1.0), tokens: OrAuto::Auto });
        assert_eq!(("0.5".parse(), "auto".parse()), (Ok(OrAuto::Is(0.5)), Ok(OrAuto::<f32>::Auto)));
    }

    #[test]
    fn anything_else_is_told_what_is_allowed() {
        let error = toml::from_str::<Keys>("share = \"warm\"\ntokens = 1").unwrap_err().to_string();
        assert!(error.contains("a number or \"auto\""), "{error}");
        assert!(toml::from_str::<Keys>("share = 1\ntokens = -1").is_err());
        assert_eq!("warm".parse::<OrAuto<f32>>(), Err("must be a number or auto".to_owned()));
    }
}
