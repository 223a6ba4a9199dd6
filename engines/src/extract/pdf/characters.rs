//! What a font says a glyph means, as text a reader would type.

use std::borrow::Cow;

/// The text of one glyph: ligatures as letters, odd spaces as spaces, without control characters and private codes.
/// A soft hyphen becomes a hyphen: in a PDF it is drawn, at the end of a line.
pub(super) fn legible(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match replacement(c) {
            Some(replacement) => clean.push_str(replacement),
            None => clean.extend(plain(c)),
        }
    }
    Cow::Owned(clean)
}

fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' | 'ﬆ' => "st",
        '\u{AD}' | '\u{2010}' | '\u{2011}' => "-",
        // Bullets of the fonts Symbol and Wingdings, as word processors write them.
        '\u{F0B7}' | '\u{F0A7}' | '\u{F076}' | '\u{F0D8}' | '\u{F06E}' => "•",
        _ => return None,
    })
}

fn plain(c: char) -> Option<char> {
    match c {
        '\t' | '\n' | '\r' => Some(' '),
        '\u{FFFD}' | '\u{FEFF}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => None,
        _ if c.is_control() => None,
        _ if c.is_whitespace() => Some(' '),
        // Adobe's old private codes: small capitals and old-style figures.
        '\u{F730}'..='\u{F739}' | '\u{F761}'..='\u{F77A}' => char::from_u32(u32::from(c) - 0xF700),
        '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' => None,
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_become_letters() {
        assert_eq!(legible("eﬃcient ﬁle"), "efficient file");
    }

    #[test]
    fn private_codes_and_controls_vanish_but_bullets_and_small_capitals_stay() {
        assert_eq!(legible("\u{0}\u{F0B7}\u{E123}\u{F761}\u{F731}\u{A0}x"), "•a1 x");
    }
}
