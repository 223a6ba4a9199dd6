//! A font's `ToUnicode` map, rewritten so that pdf-extract can read it.
//!
//! The parser behind pdf-extract panics on a range whose target has more than two UTF-16 units (the ligature "ffi" of
//! many a LaTeX font), on broken UTF-16, and expands ranges of any length. Here the map is read leniently and written
//! again in the few forms that parser knows.

use std::fmt::Write;

/// Codes have at most two bytes in every font that is not made to do harm.
const MAX_CODE: u32 = 0xFFFF;
/// Single entries that are kept; more than a font has characters.
const MAX_ENTRIES: usize = 70_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(Vec<u8>),
    Hex(Vec<u8>),
    Open,
    Close,
}

/// The map in a form that is safe to read; `None` when there is nothing in it.
pub(super) fn rewritten(map: &[u8]) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    let tokens = tokens(map);
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        rest = match token {
            Token::Word(word) if word == b"beginbfchar" => single_entries(after, &mut writer),
            Token::Word(word) if word == b"beginbfrange" => ranges(after, &mut writer),
            _ => after,
        };
    }
    writer.finish()
}

fn single_entries<'t>(mut tokens: &'t [Token], writer: &mut Writer) -> &'t [Token] {
    while let [Token::Hex(from), Token::Hex(to), rest @ ..] = tokens {
        writer.single(code(from), to);
        tokens = rest;
    }
    tokens
}

fn ranges<'t>(mut tokens: &'t [Token], writer: &mut Writer) -> &'t [Token] {
    while let [Token::Hex(first), Token::Hex(last), target, rest @ ..] = tokens {
        let (first, last) = (code(first), code(last).min(MAX_CODE));
        match target {
            Token::Hex(start) => {
                writer.range(first, last, start);
                tokens = rest;
            }
            Token::Open => {
                let length = rest.iter().take_while(|token| matches!(token, Token::Hex(_))).count();
                for (from, target) in (first..=last).zip(&rest[..length]) {
                    if let Token::Hex(to) = target {
                        writer.single(from, to);
                    }
                }
                tokens = rest[length..].strip_prefix(&[Token::Close]).unwrap_or(&rest[length..]);
            }
            _ => return tokens,
        }
    }
    tokens
}

/// A code of up to four bytes.
fn code(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |code, byte| code << 8 | u32::from(*byte))
}

fn units(bytes: &[u8]) -> Vec<u16> {
    if let [byte] = bytes {
        return vec![u16::from(*byte)];
    }
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// The map as it is written again.
#[derive(Debug, Default)]
struct Writer {
    singles: Vec<String>,
    ranges: Vec<String>,
}

impl Writer {
    fn single(&mut self, from: u32, to: &[u8]) {
        self.text(from, &String::from_utf16_lossy(&units(to)));
    }

    fn text(&mut self, from: u32, text: &str) {
        let text = text.replace(['\u{FFFD}', '\0'], "");
        if from <= MAX_CODE && !text.is_empty() && self.singles.len() < MAX_ENTRIES {
            let to: String = text.encode_utf16().map(|unit| format!("{unit:04X}")).collect();
            self.singles.push(format!("<{from:04X}> <{to}>"));
        }
    }

    /// Consecutive codes for consecutive characters: only the last unit counts up.
    fn range(&mut self, first: u32, last: u32, start: &[u8]) {
        let start = units(start);
        let Some((&unit, before)) = start.split_last().filter(|_| first <= last) else { return };
        let end = u32::from(unit) + (last - first);
        if before.is_empty() && !(0xD800..0xE000).contains(&end) && end <= MAX_CODE && !(0xD800..0xE000).contains(&unit)
        {
            self.ranges.push(format!("<{first:04X}> <{last:04X}> <{unit:04X}>"));
            return;
        }
        for (from, unit) in (first..=last).zip(unit..=u16::MAX).take(MAX_ENTRIES) {
            self.text(from, &String::from_utf16_lossy(&[before, &[unit]].concat()));
        }
    }

    fn finish(self) -> Option<Vec<u8>> {
        let mut map = String::new();
        for (entries, kind) in [(&self.ranges, "bfrange"), (&self.singles, "bfchar")] {
            if !entries.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(map, "{} begin{kind}\n{}\nend{kind}\n", entries.len(), entries.join("\n"));
            }
        }
        (!map.is_empty()).then(|| map.into_bytes())
    }
}

fn tokens(map: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = map;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'<' if after.first() != Some(&b'<') => {
                let length = after.iter().position(|byte| *byte == b'>').unwrap_or(after.len());
                tokens.push(Token::Hex(hex(&after[..length])));
                &after[length..]
            }
            b'<' => &after[1..],
            b'[' => push(&mut tokens, Token::Open, after),
            b']' => push(&mut tokens, Token::Close, after),
            b'%' => &after[after.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(after.len())..],
            _ if byte.is_ascii_alphabetic() => {
                let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                push(&mut tokens, Token::Word(rest[..length].to_vec()), &rest[length..])
            }
            _ => after,
        };
    }
    tokens
}

fn push<'m>(tokens: &mut Vec<Token>, token: Token, rest: &'m [u8]) -> &'m [u8] {
    tokens.push(token);
    rest
}

/// Bytes of a hexadecimal string; white space in it does not count, a missing last digit is 0.
fn hex(text: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> =
        text.iter().filter_map(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten_text(map: &str) -> String {
        String::from_utf8(rewritten(map.as_bytes()).unwrap_or_default()).expect("only ASCII is written")
    }

    #[test]
    fn single_entries_and_ranges_are_kept() {
        let map = "/CMapName /X def 1 beginbfchar <01> <0041> endbfchar 1 beginbfrange <02> <04> <0061> endbfrange";
        let expected = "1 beginbfrange\n<0002> <0004> <0061>\nendbfrange\n1 beginbfchar\n<0001> <0041>\nendbfchar\n";
        assert_eq!(rewritten_text(map), expected);
    }

    #[test]
    fn ranges_to_several_letters_and_lists_become_single_entries() {
        let map = "2 beginbfrange <1E> <1F> <0066 0066 0069> <20> <21> [<0041> <0042>] endbfrange";
        let text = rewritten_text(map);
        for entry in ["<001E> <006600660069>", "<001F> <00660066006A>", "<0020> <0041>", "<0021> <0042>"] {
            assert!(text.contains(entry), "{entry} in {text}");
        }
    }

    #[test]
    fn broken_targets_and_endless_ranges_do_no_harm() {
        let map =
            "beginbfchar <51> <D800> <52> <> <53> <004> endbfchar beginbfrange <0000> <FFFFFFFF> <FFF0> <5> <1> <0041>";
        let text = rewritten_text(map);
        assert!(text.contains("<0053> <0040>") && !text.contains("<0051>") && text.len() < 1000, "{text}");
        assert_eq!(rewritten(b"beginbfchar beginbfrange [ < ] >"), None);
    }
}
