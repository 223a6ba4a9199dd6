//! Texts that nobody can guess.

use anyhow::anyhow;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Letters and digits that together have 256 bits: 62^43 is a little more than 2^256.
pub const SECRET_CHARS: usize = 43;

/// So many letters and digits, each equally probable, from the operating system's source of random numbers.
///
/// # Errors
/// When the system has none to give.
pub fn random_text(chars: usize) -> anyhow::Result<String> {
    // Bytes from 248 on would make the first eight digits more probable than the others.
    const LIMIT: usize = 256 / DIGITS.len() * DIGITS.len();
    let mut text = String::with_capacity(chars);
    let mut bytes = [0; 64];
    while text.len() < chars {
        getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
        let digits = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < LIMIT);
        text.extend(digits.take(chars - text.len()).map(|byte| char::from(DIGITS[byte % DIGITS.len()])));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_have_their_length_and_differ() {
        let (one, other) = (random_text(SECRET_CHARS).unwrap(), random_text(SECRET_CHARS).unwrap());
        assert!(one.len() == SECRET_CHARS && one.bytes().all(|byte| DIGITS.contains(&byte)), "{one}");
        assert_ne!(one, other);
        assert_eq!(random_text(200).unwrap().len(), 200);
    }
}
