//! Names that uploaded files may have.

use std::path::Path;

use mentor_actors::domain::{DocumentKind, ErrorCode, TurnError};
use unicode_normalization::UnicodeNormalization as _;

/// Most file systems allow 255 bytes; some room is left for what programs put behind a name.
const MAX_NAME_BYTES: usize = 200;

/// A name for a file of the folder of course materials, in composed form (NFC), without the space around it; and what it says
/// the file is.
///
/// # Errors
/// `invalid_request` for a path, a hidden file, characters that cannot be seen, and what is no course material.
pub fn check_name(given: &str) -> Result<(String, DocumentKind), TurnError> {
    let name: String = given.trim().nfc().collect();
    let refuse = |reason: &str| Err(invalid(format!("the file name {} {reason}", shown(given))));
    if name.is_empty() {
        return Err(invalid("a file has no name"));
    }
    if name.len() > MAX_NAME_BYTES {
        return refuse(&format!("has {} bytes, {MAX_NAME_BYTES} are allowed", name.len()));
    }
    if name.contains(['/', '\\']) {
        return refuse("is a path: send the name alone");
    }
    if name.chars().any(is_unseen) {
        return refuse("has characters that cannot be seen");
    }
    if name.starts_with('.') {
        return refuse("begins with a dot: hidden files are not ingested");
    }
    let extension = Path::new(&name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match DocumentKind::from_extension(extension) {
        Some(kind) => Ok((name, kind)),
        None => {
            let reason = DocumentKind::refusal(extension).map(ToOwned::to_owned);
            let reason = reason.unwrap_or_else(|| format!("files of type '{extension}' cannot be read"));
            Err(invalid(format!("{}: {reason}", shown(given))))
        }
    }
}

/// Control characters, and those that change how their neighbours look (zero width, direction): a name with them is not what
/// it looks like.
fn is_unseen(c: char) -> bool {
    let formats = ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}'];
    c.is_control()
        || formats.contains(&c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

/// The name as it may stand in a message.
fn shown(name: &str) -> String {
    name.chars().map(|c| if is_unseen(c) { '\u{fffd}' } else { c }).take(MAX_NAME_BYTES).collect()
}

fn invalid(message: impl Into<String>) -> TurnError {
    TurnError::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> String {
        check_name(name).unwrap_err().message
    }

    #[test]
    fn an_ordinary_name_stays_and_a_decomposed_one_is_composed() {
        assert_eq!(check_name("Week 1 – heaps.pdf").unwrap(), ("Week 1 – heaps.pdf".into(), DocumentKind::Pdf));
        assert_eq!(
            check_name(" Bau\u{308}me.MD ").unwrap(),
            ("B\u{61}\u{75}\u{308}me.MD".nfc().collect(), DocumentKind::Markdown)
        );
        assert_eq!(check_name("Bau\u{308}me.md").unwrap().0, "Baüme.md");
    }

    #[test]
    fn a_name_that_leads_elsewhere_or_hides_is_refused() {
        for name in ["../x.md", "/etc/x.md", "a/b.md", "..\\x.md", "C:\\x.md", "..", "a\0/b.md"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert_eq!(refused("../x.md"), "the file name ../x.md is a path: send the name alone");
        assert!(refused(".hidden.md").contains("begins with a dot"));
        assert!(refused("  ").contains("no name"));
    }

    #[test]
    fn characters_that_cannot_be_seen_are_refused_and_not_repeated() {
        for name in ["a\n.md", "a\u{7f}.md", "a\u{202e}fdp.md", "a\u{200b}.md", "a\u{feff}.md", "a\u{85}.md"] {
            let message = refused(name);
            assert!(message.contains("cannot be seen"), "{message}");
            assert!(!message.chars().any(is_unseen), "{message:?}");
        }
    }

    #[test]
    fn what_is_no_course_material_is_refused_with_what_to_do() {
        assert_eq!(refused("a.doc"), "a.doc: this word processor's format cannot be read: save it as .docx or PDF");
        assert_eq!(refused("a.exe"), "a.exe: files of type 'exe' cannot be read");
        assert_eq!(refused("README"), "README: files of type '' cannot be read");
        assert!(refused(&format!("{}.md", "x".repeat(250))).contains("253 bytes, 200 are allowed"));
    }
}
