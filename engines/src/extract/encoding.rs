//! Bytes into text.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mentor_actors::domain::EngineError;

/// Beginnings of files that are not text, whatever their name says.
const BINARY_BEGINNINGS: &[(&[u8], &str)] = &[
    (b"%PDF-", "a PDF file under another name"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x89PNG", "an image"),
    (b"\xFF\xD8\xFF", "an image"),
    (b"\x7FELF", "a program"),
    (b"\x1F\x8B", "a compressed file"),
];
/// One control character in so many may be a slip; more are not text.
const CONTROL_SHARE: usize = 200;

/// The text of a file: by its byte order mark, else UTF-8 if it is that, else `declared`, else windows-1252, in which
/// every byte means something.
///
/// # Errors
/// [`EngineError::Failed`] when the bytes are not text.
pub(super) fn decode(bytes: &[u8], declared: Option<&'static Encoding>) -> Result<String, EngineError> {
    if let Some((_, what)) = BINARY_BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return Err(EngineError::Failed(format!("not a text file but {what}")));
    }
    let text = match (Encoding::for_bom(bytes), std::str::from_utf8(bytes)) {
        (Some((encoding, mark_bytes)), _) => encoding.decode_without_bom_handling(&bytes[mark_bytes..]).0.into_owned(),
        (None, Ok(text)) => text.to_owned(),
        (None, Err(_)) => {
            let encoding = declared.filter(|encoding| *encoding != UTF_8).unwrap_or(WINDOWS_1252);
            encoding.decode_without_bom_handling(bytes).0.into_owned()
        }
    };
    if is_binary(&text) {
        return Err(EngineError::Failed("not a text file: it holds binary data".to_owned()));
    }
    Ok(text)
}

fn is_binary(text: &str) -> bool {
    let odd = |c: &char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0C' | '\x1B');
    text.contains('\0') || text.chars().filter(odd).count() * CONTROL_SHARE > text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> String {
        decode(bytes, None).expect("these bytes are text")
    }

    fn refusal(bytes: &[u8]) -> String {
        decode(bytes, None).expect_err("these bytes are not text").to_string()
    }

    #[test]
    fn utf8_with_and_without_a_mark_is_read_without_the_mark() {
        assert_eq!(decoded("größe".as_bytes()), "größe");
        assert_eq!(decoded("\u{FEFF}größe".as_bytes()), "größe");
    }

    #[test]
    fn utf16_with_a_mark_is_read_in_both_orders() {
        let little: Vec<u8> = "\u{FEFF}größe".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{FEFF}größe".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!((decoded(&little), decoded(&big)), ("größe".into(), "größe".into()));
    }

    #[test]
    fn what_is_not_utf8_is_read_as_windows_1252() {
        assert_eq!(decoded(b"caf\xE9 \x93quoted\x94"), "café “quoted”");
    }

    #[test]
    fn a_declared_encoding_is_used_before_windows_1252() {
        let greek = Encoding::for_label(b"iso-8859-7");
        assert_eq!(decode(b"\xE1\xE2\xE3", greek).expect("text"), "αβγ");
    }

    #[test]
    fn binary_files_are_refused_by_what_they_are() {
        assert_eq!(refusal(b"%PDF-1.4\n"), "not a text file but a PDF file under another name");
        assert_eq!(refusal(b"abc\0def"), "not a text file: it holds binary data");
        assert_eq!(refusal(b"\x01\x02\x03\x04 text"), "not a text file: it holds binary data");
    }
}
