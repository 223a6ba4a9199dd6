//! A key as its holder has it, `mk_ID_SECRET`, and as it is kept: the id, and a hash of the secret.
//!
//! The secret has 256 random bits, so one SHA-256 keeps it: who has the hash would have to try 2^255 secrets, and a slow hash
//! for passwords would only slow down every request.

use std::fmt;
use std::str::FromStr;

use mentor_engines::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::random::{SECRET_CHARS, random_text};

const PREFIX: &str = "mk";

/// Letters and digits of an id: it is public, and short enough to type into `mentor keys revoke`.
const ID_CHARS: usize = 8;

/// A new key. Its text exists only here.
pub struct NewKey {
    /// Its public part.
    pub id: String,
    /// The whole, for its holder.
    pub text: Secret,
    /// What is kept of the secret part.
    pub hash: SecretHash,
}

impl NewKey {
    /// Makes a key that there has never been.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> anyhow::Result<Self> {
        let (id, secret) = (random_text(ID_CHARS)?, random_text(SECRET_CHARS)?);
        let hash = SecretHash::of(&secret);
        let text = format!("{PREFIX}_{id}_{secret}").parse().map_err(anyhow::Error::msg)?;
        Ok(Self { id, text, hash })
    }
}

/// The id and the secret in a key's text; `None` when it is not a key's form.
#[must_use]
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
    let plain = |part: &str, chars| part.len() == chars && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain(id, ID_CHARS) && plain(secret, SECRET_CHARS)).then_some((id, secret))
}

/// SHA-256 of a random secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// No secret has it: finding one would be a preimage of zero.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether both are the same, in a time that does not depend on how far they are.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl FromStr for SecretHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a SHA-256 has 64 hexadecimal digits";
        if text.len() != 64 || !text.is_ascii() {
            return Err(WRONG);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_an_id_and_a_secret_of_which_only_the_hash_is_kept() {
        let key = NewKey::generate().unwrap();
        let (id, secret) = split(key.text.reveal().unwrap()).unwrap();
        assert_eq!(id, key.id);
        assert!(key.hash.is(&SecretHash::of(secret)) && !key.hash.is(&SecretHash::NONE));
        let kept = serde_json::to_string(&key.hash).unwrap();
        assert!(!kept.contains(secret));
        assert_eq!(serde_json::from_str::<SecretHash>(&kept).unwrap(), key.hash);
    }

    #[test]
    fn what_has_not_the_form_of_a_key_is_none() {
        let key = NewKey::generate().unwrap();
        let text = key.text.reveal().unwrap();
        for wrong in
            ["", "mk", "mk__", &text[1..], &text[..text.len() - 1], &format!("{text}x"), &text.replace('_', "-")]
        {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_hash_of_the_wrong_form_is_refused() {
        for wrong in ["\"\"", "\"00\"", &format!("\"{}\"", "g".repeat(64)), &format!("\"{}\"", "ü".repeat(32))] {
            assert!(serde_json::from_str::<SecretHash>(wrong).is_err(), "{wrong}");
        }
    }
}
