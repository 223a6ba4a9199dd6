//! Identifiers as newtypes, so that a conversation can never be passed where a turn is meant.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest id a client may choose, in characters.
pub const MAX_ID_CHARS: usize = 128;

/// Why a client's id was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} must be 1 to {MAX_ID_CHARS} characters of letters, digits, '-', '_', '.' or ':'")]
pub struct InvalidId {
    what: &'static str,
}

fn check(what: &'static str, text: &str) -> Result<(), InvalidId> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if text.is_empty() || text.len() > MAX_ID_CHARS || !text.chars().all(allowed) {
        return Err(InvalidId { what });
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// An id chosen by a client.
            ///
            /// # Errors
            /// [`InvalidId`] when it is empty, too long or holds other characters than letters, digits and `-_.:`.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check($what, text)?;
                Ok(Self(text.into()))
            }

            /// A new id, ordered by time (UUID v7).
            #[must_use]
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7().to_string().into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One conversation between a student and the course.
    ConversationId, "conversation_id"
);
text_id!(
    /// One question and its answer; chosen by the client or made here.
    TurnId, "turn_id"
);

/// Who asks, as far as it matters for taking turns: the holders of a key, or everybody at an address. Made by the program, never
/// by a client.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientId(Arc<str>);

/// Never the name: it may be an address.
impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientId")
    }
}

impl ClientId {
    /// The client of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

/// SHA-256 of a document's bytes: what a document *is*, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentHash(pub [u8; 32]);

impl DocumentHash {
    /// Reads 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A document of the corpus: the file's path relative to the materials folder, with `/` between its parts.
/// Stable while its content changes, so that a changed file replaces its former self.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(pub String);

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A chunk of the corpus: first 16 digits of the document's hash, a dash, and the chunk's number within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub String);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_checked() {
        assert_eq!(ConversationId::parse("student-7:a.b_c").unwrap().as_str(), "student-7:a.b_c");
        for bad in ["", "a b", "../etc", "ä", &"x".repeat(MAX_ID_CHARS + 1)] {
            assert!(ConversationId::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn generated_ids_are_valid_and_distinct() {
        let (a, b) = (TurnId::generate(), TurnId::generate());
        assert_ne!(a, b);
        assert!(TurnId::parse(a.as_str()).is_ok());
    }

    #[test]
    fn a_hash_survives_the_way_through_hex() {
        let hash = DocumentHash([0xa5; 32]);
        assert_eq!(DocumentHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(DocumentHash::from_hex("zz"), None);
    }
}
