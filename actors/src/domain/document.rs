//! Documents on their way into the corpus, and what the corpus says of itself.

use super::{CharSpan, DocumentHash, DocumentId, Embedding};

/// The kinds of file that can be ingested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DocumentKind {
    /// Portable Document Format: has pages.
    Pdf,
    /// CommonMark and its relatives: has headings.
    Markdown,
    /// Hypertext: has headings.
    Html,
    /// Word processor's documents in Office Open XML: has headings.
    Word,
    /// Slides in Office Open XML: a slide is a page.
    Presentation,
    /// Electronic books: has headings.
    Epub,
    /// Jupyter notebooks: has headings.
    Notebook,
    /// Anything else that is text.
    PlainText,
}

/// Extensions of refused formats, see [`DocumentKind::is_made_to_be_read`].
const MADE_TO_BE_READ: &[&str] =
    &["doc", "rtf", "odt", "wpd", "wps", "pages", "ppt", "pps", "odp", "mobi", "azw", "azw3", "fb2", "djvu", "djv"];

impl DocumentKind {
    /// Every kind.
    const ALL: [Self; 8] = [
        Self::Pdf,
        Self::Markdown,
        Self::Html,
        Self::Word,
        Self::Presentation,
        Self::Epub,
        Self::Notebook,
        Self::PlainText,
    ];

    /// The kind a file's extension promises; `None` for files that are not course materials, or cannot be read
    /// ([`Self::refusal`] tells which).
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "pdf" => Some(Self::Pdf),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "docx" | "docm" => Some(Self::Word),
            "pptx" | "pptm" | "ppsx" => Some(Self::Presentation),
            "epub" => Some(Self::Epub),
            "ipynb" => Some(Self::Notebook),
            "txt" | "text" => Some(Self::PlainText),
            _ => None,
        }
    }

    /// What to do with a file that is likely to be course material in a format that cannot be read, by its extension; `None` for
    /// files that can be read, and for those that are something else.
    #[must_use]
    pub fn refusal(extension: &str) -> Option<&'static str> {
        match extension.to_ascii_lowercase().as_str() {
            "doc" | "dot" | "rtf" | "odt" | "wpd" | "wps" | "pages" => {
                Some("this word processor's format cannot be read: save it as .docx or PDF")
            }
            "ppt" | "pps" | "pot" | "odp" | "key" => {
                Some("this format of slides cannot be read: save it as .pptx or PDF")
            }
            "xls" | "xlsx" | "xlsm" | "ods" | "numbers" => Some("spreadsheets cannot be read: save it as PDF"),
            "mobi" | "azw" | "azw3" | "fb2" => Some("this format of books cannot be read: convert it to EPUB or PDF"),
            "djvu" | "djv" | "ps" | "dvi" | "xps" | "tex" => Some("this format cannot be read: convert it to PDF"),
            "rst" | "adoc" | "asciidoc" | "org" => Some("this markup cannot be read: convert it to Markdown or HTML"),
            "zip" | "rar" | "7z" | "tar" | "gz" | "tgz" => Some("archives are not looked into: unpack it"),
            _ => None,
        }
    }

    /// Whether files with the extension of a refused format are made to be read, and little else: what of a folder that is no
    /// document is also data, sources and archives.
    #[must_use]
    pub fn is_made_to_be_read(extension: &str) -> bool {
        MADE_TO_BE_READ.contains(&extension.to_ascii_lowercase().as_str())
    }

    /// Media type, as reported in `file_type`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Word => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Presentation => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Self::Epub => "application/epub+zip",
            Self::Notebook => "application/x-ipynb+json",
            Self::PlainText => "text/plain",
        }
    }

    /// The inverse of [`Self::media_type`].
    #[must_use]
    pub fn from_media_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == text)
    }

    /// What its numbered parts are called.
    #[must_use]
    pub fn page_name(self) -> &'static str {
        match self {
            Self::Presentation => "slide",
            _ => "page",
        }
    }
}

/// One page of a document, or the whole of one that has no pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageText {
    /// 1-based page number; `None` where the document has no pages.
    pub page: Option<u32>,
    /// The page's text, or why there is none.
    pub text: Result<String, String>,
    /// Sections of the text that the document names beside it, as the outline of a PDF does, in order. Empty where the document
    /// has none, or where its headings stand in the text.
    pub sections: Vec<SectionStart>,
}

/// Where a section begins on a page, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionStart {
    /// Byte of the page's text; 0 for a section that runs on from an earlier page.
    pub byte: usize,
    /// Its title, titles of the sections around it before it: `Heaps > Binary heaps`.
    pub title: String,
}

/// What extraction found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentContent {
    /// What kind of file it was.
    pub kind: DocumentKind,
    /// Its pages in order; one where it has none.
    pub pages: Vec<PageText>,
}

/// A piece of text small enough for the embedder, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// 1-based page, where the document has pages.
    pub page: Option<u32>,
    /// Nearest heading above, or the title of its section in the document's outline, where the document has either.
    pub section: Option<String>,
    /// Where it stands in its page's text, in characters.
    pub span: CharSpan,
    /// The text.
    pub text: String,
    /// Its length as the embedder counts, special tokens included.
    pub tokens: usize,
}

/// A whole document ready to be committed, or as the store remembers it.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentRecord {
    /// Its place in the materials folder.
    pub id: DocumentId,
    /// Its content's hash.
    pub hash: DocumentHash,
    /// Its kind.
    pub kind: DocumentKind,
    /// Pages in the file, readable or not; 1 where it has none.
    pub pages: u32,
    /// Pages that gave no text, with the reason.
    pub failed_pages: Vec<(u32, String)>,
    /// How many chunks it has.
    pub chunks: u32,
    /// Other files of the folder with the same content, ordered: they are stored once.
    pub copies: Vec<DocumentId>,
    /// The file's newest content, where it could not be read as a whole. What is stored is then the content before it.
    pub failure: Option<DocumentFailure>,
    /// Size of the file; unknown for what was stored before this was noted.
    pub bytes: Option<u64>,
    /// When its content was stored, in seconds since 1970; unknown as above.
    pub stored_at_s: Option<u64>,
}

/// Content that could not be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentFailure {
    /// Which content: it is not tried again until the file has another.
    pub hash: DocumentHash,
    /// Why, for people.
    pub reason: String,
}

impl DocumentRecord {
    /// A document of which nothing could ever be read.
    #[must_use]
    pub fn failed(id: DocumentId, hash: DocumentHash, kind: DocumentKind, reason: String) -> Self {
        let failure = Some(DocumentFailure { hash, reason });
        Self {
            id,
            hash,
            kind,
            pages: 0,
            failed_pages: Vec::new(),
            chunks: 0,
            copies: Vec::new(),
            failure,
            bytes: None,
            stored_at_s: None,
        }
    }

    /// Whether it was ever read; otherwise the record only remembers that and why it could not be.
    #[must_use]
    pub fn was_read(&self) -> bool {
        self.failure.as_ref().is_none_or(|failure| failure.hash != self.hash)
    }
}

/// What the corpus says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorpusStats {
    /// Documents in the store.
    pub documents: u64,
    /// Their pages.
    pub pages: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Version of the dataset; grows with every commit.
    pub dataset_version: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Data fragments.
    pub fragments: u64,
    /// State of the vector index, for people: `flat` when every search scans.
    pub index_state: String,
    /// What upkeep could not do at the end of an ingest, with the reason: the corpus is whole without it, and slower or larger.
    pub undone: Vec<String>,
}

/// A chunk with its vector, ready to be written.
pub type EmbeddedChunk = (Chunk, Embedding);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_failed_later_keeps_what_was_read_before() {
        let hash = |byte| DocumentHash([byte; 32]);
        let mut record =
            DocumentRecord::failed(DocumentId("a.pdf".into()), hash(1), DocumentKind::Pdf, "broken".into());
        assert!(!record.was_read());
        record.hash = hash(2);
        assert!(record.was_read());
    }

    #[test]
    fn every_kind_is_known_by_its_media_type() {
        for kind in DocumentKind::ALL {
            assert_eq!(DocumentKind::from_media_type(kind.media_type()), Some(kind));
        }
    }

    #[test]
    fn what_is_made_to_be_read_and_cannot_be_has_a_refusal() {
        assert!(MADE_TO_BE_READ.iter().all(|extension| DocumentKind::refusal(extension).is_some()));
        assert!(DocumentKind::is_made_to_be_read("DOC") && !DocumentKind::is_made_to_be_read("zip"));
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do_and_what_can_does_not() {
        assert_eq!(
            DocumentKind::refusal("DOC"),
            Some("this word processor's format cannot be read: save it as .docx or PDF")
        );
        assert_eq!((DocumentKind::refusal("docx"), DocumentKind::refusal("png")), (None, None));
        assert_eq!(DocumentKind::from_extension("PPTX"), Some(DocumentKind::Presentation));
    }
}
