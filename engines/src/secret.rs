//! A text that no log, no listing and no message shows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// What stands for a secret wherever it would be shown.
const REDACTED: &str = "[redacted]";

/// A key or another secret; empty for none. It is shown as `[redacted]`, in `Debug`, `Display` and as configuration alike, and
/// its memory is overwritten when it is dropped.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, if there is one: for what needs it, and nothing else.
    #[must_use]
    pub fn reveal(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { REDACTED })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Secret {
    type Err = &'static str;

    /// Without the white space around it: a key read from a file often ends with a line break.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What `mentor config` printed, read again: better refused here than by the server that wants the key.
        if text == REDACTED {
            return Err("this is what is printed in place of a secret: give the secret itself");
        }
        Ok(Self(Zeroizing::new(text.trim().to_owned())))
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Zeroizing::new(text).parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = "hunter2\n".parse().unwrap();
        assert_eq!(secret.reveal(), Some("hunter2"));
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
    }

    #[test]
    fn no_secret_is_shown_as_nothing() {
        let none = Secret::default();
        assert_eq!((none.reveal(), serde_json::to_string(&none).unwrap()), (None, "\"\"".into()));
    }

    #[test]
    fn what_stands_for_a_secret_is_not_taken_for_one() {
        assert!("[redacted]".parse::<Secret>().is_err());
        let error = serde_json::from_str::<Secret>("\"[redacted]\"").unwrap_err().to_string();
        assert!(error.contains("the secret itself"), "{error}");
    }
}
