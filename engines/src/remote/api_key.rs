//! A key that no log and no listing shows.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What stands for a key wherever it would be shown.
const MASK: &str = "***";

/// The key that a server asks for; empty for none. It is shown as `***`, in `Debug` and as configuration alike.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct ApiKey(String);

impl ApiKey {
    /// The key itself, if there is one: for a request's header, and nothing else.
    pub(super) fn reveal(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }

    fn shown(&self) -> &'static str {
        self.reveal().map_or("", |_| MASK)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl From<String> for ApiKey {
    /// Without the white space around it: a key read from a file often ends with a line break.
    fn from(text: String) -> Self {
        Self(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = ApiKey::from("hunter2\n".to_owned());
        assert_eq!(key.reveal(), Some("hunter2"));
        assert_eq!((format!("{key:?}"), serde_json::to_string(&key).unwrap()), ("***".into(), "\"***\"".into()));
    }

    #[test]
    fn no_key_is_shown_as_nothing() {
        let key = ApiKey::default();
        assert_eq!((key.reveal(), serde_json::to_string(&key).unwrap()), (None, "\"\"".into()));
    }
}
