//! What a file is by its first and last bytes, whatever its name says. Nothing is parsed here: that is for the reader's walls.

use mentor_actors::domain::DocumentKind;

/// What is kept of a file's beginning; a PDF's mark may stand that far behind it, and binary data shows itself by then.
pub(super) const HEAD_BYTES: usize = 8 << 10;
/// What is looked at of a file's end: where an archive lists its members.
pub(super) const TAIL_BYTES: usize = 1 << 20;

const PDF_MARK: &[u8] = b"%PDF-";
/// A PDF reader accepts the mark in the first kilobyte.
const PDF_MARK_WITHIN: usize = 1 << 10;
const LIST_ENTRY: &[u8] = b"PK\x01\x02";
/// The list's entry holds the length of the member's name here, and the name there.
const NAME_LENGTH_AT: usize = 28;
const NAME_AT: usize = 46;

/// What the bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Kind(DocumentKind),
    /// Anything that is read as text.
    Text,
    /// What can't be read, with what to do.
    Other(&'static str),
}

/// Whether a file that is called one of this kind is one.
///
/// # Errors
/// What it is instead, and what to do, for people.
pub(super) fn check(kind: DocumentKind, head: &[u8], tail: &[u8]) -> Result<(), String> {
    if head.is_empty() {
        return Err("the file is empty".into());
    }
    let is_text_kind =
        matches!(kind, DocumentKind::Markdown | DocumentKind::Html | DocumentKind::PlainText | DocumentKind::Notebook);
    // A text may well be about PDF files; one of them called a text begins as such.
    let mark_within = if is_text_kind { PDF_MARK.len() } else { PDF_MARK_WITHIN };
    match recognise(head, tail, mark_within) {
        Content::Kind(found) if found == kind => Ok(()),
        Content::Text if kind == DocumentKind::Notebook && first_character(head) != Some(b'{') => {
            Err("it is no notebook: notebooks are JSON".into())
        }
        Content::Text if is_text_kind => Ok(()),
        Content::Text => Err(format!("it is text, and not {}", name(kind))),
        Content::Kind(found) => Err(format!("it is {}: give it that extension", name(found))),
        Content::Other(what) => Err(what.into()),
    }
}

/// A PDF's mark counts within so many bytes.
fn recognise(head: &[u8], tail: &[u8], mark_within: usize) -> Content {
    let start = &head[..head.len().min(mark_within)];
    if contains(start, PDF_MARK) {
        return Content::Kind(DocumentKind::Pdf);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return archive(head, tail);
    }
    let marks: [(&[u8], &str); 9] = [
        (b"\xd0\xcf\x11\xe0", "it has the format of older office programs: save it as .docx, .pptx or PDF"),
        (b"{\\rtf", "rich text cannot be read: save it as .docx or PDF"),
        (b"%!PS", "PostScript cannot be read: convert it to PDF"),
        (b"\x89PNG", "it is a picture"),
        (b"\xff\xd8\xff", "it is a picture"),
        (b"GIF8", "it is a picture"),
        (b"\x7fELF", "it is a program"),
        (b"\x1f\x8b", "archives are not looked into: unpack it"),
        (b"BOOKMOBI", "this format of books cannot be read: convert it to EPUB or PDF"),
    ];
    if let Some((_, what)) = marks.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Content::Other(what);
    }
    let is_wide = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if head.contains(&0) && !is_wide { Content::Other("it is binary data, and no text") } else { Content::Text }
}

/// What an archive is for: EPUB and OpenDocument say it in their first member, Office Open XML by the folders it lists.
fn archive(head: &[u8], tail: &[u8]) -> Content {
    let start = &head[..head.len().min(200)];
    if contains(start, b"mimetypeapplication/epub+zip") {
        return Content::Kind(DocumentKind::Epub);
    }
    if contains(start, b"mimetypeapplication/vnd.oasis.opendocument") {
        return Content::Other("OpenDocument cannot be read: save it as .docx, .pptx or PDF");
    }
    let has = |folder: &[u8]| members(tail).any(|name| name.starts_with(folder));
    if has(b"word/") {
        Content::Kind(DocumentKind::Word)
    } else if has(b"ppt/") {
        Content::Kind(DocumentKind::Presentation)
    } else if has(b"xl/") {
        Content::Other("spreadsheets cannot be read: save it as PDF")
    } else if has(b"META-INF/container.xml") {
        Content::Kind(DocumentKind::Epub)
    } else {
        Content::Other("archives are not looked into: unpack it")
    }
}

/// The names of an archive's members, as far as its list is in `tail`.
fn members(tail: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = (0..tail.len()).filter(|at| tail[*at..].starts_with(LIST_ENTRY));
    starts.filter_map(|at| {
        let entry = &tail[at..];
        let length = entry.get(NAME_LENGTH_AT..NAME_LENGTH_AT + 2)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        entry.get(NAME_AT..NAME_AT + length)
    })
}

/// The first character behind a byte order mark and space.
fn first_character(head: &[u8]) -> Option<u8> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    text.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn name(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Pdf => "a PDF file",
        DocumentKind::Markdown => "Markdown",
        DocumentKind::Html => "a web page",
        DocumentKind::Word => "a Word document (.docx)",
        DocumentKind::Presentation => "a PowerPoint presentation (.pptx)",
        DocumentKind::Epub => "an EPUB book",
        DocumentKind::Notebook => "a notebook",
        DocumentKind::PlainText => "plain text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write as _};
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn zip(members: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in members {
            let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            zip.start_file(*name, options).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn checked(kind: DocumentKind, bytes: &[u8]) -> Result<(), String> {
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        check(kind, &bytes[..bytes.len().min(HEAD_BYTES)], tail)
    }

    #[test]
    fn a_file_that_is_what_it_is_called_is_taken() {
        let word = zip(&[("[Content_Types].xml", "<Types/>"), ("word/document.xml", "<w/>")]);
        let slides = zip(&[("[Content_Types].xml", "<Types/>"), ("ppt/presentation.xml", "<p/>")]);
        let book = zip(&[("mimetype", "application/epub+zip"), ("META-INF/container.xml", "<c/>")]);
        let cases: [(DocumentKind, &[u8]); 10] = [
            (DocumentKind::Pdf, b"%PDF-1.7\n"),
            (DocumentKind::Pdf, b"\n\njunk before\n%PDF-1.4\n\0\0"),
            (DocumentKind::Markdown, b"# Heaps\n"),
            (DocumentKind::Markdown, b"# PDF files\n\nThey begin with `%PDF-1.7`.\n"),
            (DocumentKind::PlainText, b"\xff\xfeH\0i\0"),
            (DocumentKind::Html, b"<p>a fragment</p>"),
            (DocumentKind::Notebook, b"\xef\xbb\xbf {\"cells\": []}"),
            (DocumentKind::Word, &word),
            (DocumentKind::Presentation, &slides),
            (DocumentKind::Epub, &book),
        ];
        for (kind, bytes) in cases {
            assert_eq!(checked(kind, bytes), Ok(()), "{kind:?}");
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_with_what_it_is() {
        let sheet = zip(&[("xl/workbook.xml", "<x/>")]);
        let word = zip(&[("word/document.xml", "<w/>")]);
        let odt = zip(&[("mimetype", "application/vnd.oasis.opendocument.text")]);
        let cases: [(DocumentKind, &[u8], &str); 11] = [
            (DocumentKind::Pdf, b"just some text", "it is text, and not a PDF file"),
            (DocumentKind::Markdown, b"%PDF-1.7", "it is a PDF file: give it that extension"),
            (DocumentKind::Pdf, &word, "it is a Word document (.docx): give it that extension"),
            (DocumentKind::Word, &sheet, "spreadsheets cannot be read: save it as PDF"),
            (DocumentKind::Word, &odt, "OpenDocument cannot be read: save it as .docx, .pptx or PDF"),
            (DocumentKind::Word, &zip(&[("a.txt", "x")]), "archives are not looked into: unpack it"),
            (
                DocumentKind::Word,
                b"\xd0\xcf\x11\xe0\xa1\xb1",
                "it has the format of older office programs: save it as .docx, .pptx or PDF",
            ),
            (DocumentKind::PlainText, b"\x7fELF\x02", "it is a program"),
            (DocumentKind::PlainText, b"abc\0def", "it is binary data, and no text"),
            (DocumentKind::Notebook, b"print(1)", "it is no notebook: notebooks are JSON"),
            (DocumentKind::PlainText, b"", "the file is empty"),
        ];
        for (kind, bytes, reason) in cases {
            assert_eq!(checked(kind, bytes), Err(reason.to_owned()));
        }
    }

    #[test]
    fn a_list_of_members_that_is_cut_or_lies_about_lengths_is_no_panic() {
        let word = zip(&[("word/document.xml", "<w/>")]);
        for end in 0..word.len() {
            drop(checked(DocumentKind::Word, &word[..end]));
        }
        let mut lying = word.clone();
        let at = (0..word.len()).find(|at| word[*at..].starts_with(LIST_ENTRY)).unwrap();
        lying[at + NAME_LENGTH_AT..at + NAME_LENGTH_AT + 2].copy_from_slice(&[0xff, 0xff]);
        assert!(checked(DocumentKind::Word, &lying).is_err());
    }
}
