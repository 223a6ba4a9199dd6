//! Which extractor a file gets, and which files get none.

use std::fs;
use std::path::Path;

use mentor_actors::domain::{DocumentContent, DocumentKind, EngineError, PageText};
use mentor_actors::ports::Extractor;

#[cfg(feature = "documents")]
use super::reader::DocumentReader;
use super::{markdown, plain};

/// Most text of one document. The longest books have 5 MB; what is larger is data, and takes hours to embed.
const MAX_TEXT_BYTES: u64 = 32 << 20;

/// Extracts files of every kind there is an extractor for, by their extension.
pub struct FileExtractor {
    max_bytes: u64,
    #[cfg(feature = "documents")]
    reader: Option<DocumentReader>,
}

impl FileExtractor {
    /// Reads text and Markdown files of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            #[cfg(feature = "documents")]
            reader: None,
        }
    }

    /// Also reads all other kinds, through `reader`.
    #[cfg(feature = "documents")]
    #[must_use]
    pub fn with_reader(mut self, reader: DocumentReader) -> Self {
        self.reader = Some(reader);
        self
    }

    fn read_apart(&self, kind: DocumentKind, file: &Path) -> Result<DocumentContent, EngineError> {
        #[cfg(feature = "documents")]
        if let Some(reader) = &self.reader {
            return reader.read(kind, file);
        }
        Err(failed(format!("this program was built without a reader of {}", kind.media_type())))
    }

    fn check(&self, file: &Path) -> Result<DocumentKind, EngineError> {
        let metadata = fs::metadata(file).map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            return Err(failed(if metadata.is_dir() { "a folder, not a file" } else { "not a regular file" }));
        }
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let kind = DocumentKind::from_extension(extension).ok_or_else(|| {
            let refusal = DocumentKind::refusal(extension).map(ToOwned::to_owned);
            failed(refusal.unwrap_or_else(|| format!("files of type '{extension}' cannot be read")))
        })?;
        match metadata.len() {
            0 => Err(failed("the file is empty")),
            bytes if bytes > self.max_bytes => Err(too_large(bytes, "", self.max_bytes)),
            bytes if is_text(kind) && bytes > MAX_TEXT_BYTES => Err(too_large(bytes, " of text", MAX_TEXT_BYTES)),
            _ => Ok(kind),
        }
    }
}

/// Kinds that are read as they are.
fn is_text(kind: DocumentKind) -> bool {
    matches!(kind, DocumentKind::Markdown | DocumentKind::PlainText)
}

impl Extractor for FileExtractor {
    fn extract(&self, file: &Path) -> Result<DocumentContent, EngineError> {
        let text_extractor = match self.check(file)? {
            DocumentKind::Markdown => markdown::extract,
            DocumentKind::PlainText => plain::extract,
            kind => return self.read_apart(kind, file),
        };
        text_extractor(&fs::read(file).map_err(|error| unreadable(&error))?)
    }
}

/// A document that is one text.
pub(super) fn without_pages(kind: DocumentKind, text: String) -> DocumentContent {
    DocumentContent { kind, pages: vec![PageText { page: None, text: Ok(text), sections: Vec::new() }] }
}

fn too_large(bytes: u64, of: &str, max_bytes: u64) -> EngineError {
    const MEBIBYTE: u64 = 1 << 20;
    let (has, may_have) = (bytes.div_ceil(MEBIBYTE), max_bytes / MEBIBYTE);
    EngineError::TooLarge(format!("the file has {has} MiB{of}, more than the {may_have} MiB that are allowed"))
}

fn unreadable(error: &std::io::Error) -> EngineError {
    failed(format!("cannot be read: {}", error.kind()))
}

fn failed(reason: impl Into<String>) -> EngineError {
    EngineError::Failed(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("the folder is ours");
        FileExtractor::new(3 << 20).extract(&file).expect_err("the file must be refused").to_string()
    }

    #[test]
    fn each_kind_of_unusable_file_is_refused_with_its_reason() {
        assert_eq!(refusal("a.txt", b""), "the file is empty");
        assert_eq!(refusal("a.exe", b"x"), "files of type 'exe' cannot be read");
        assert_eq!(refusal("a.Doc", b"x"), "this word processor's format cannot be read: save it as .docx or PDF");
        assert_eq!(
            refusal("a.txt", &vec![b'x'; (3 << 20) + 1]),
            "the file has 4 MiB, more than the 3 MiB that are allowed"
        );
        assert_eq!(refusal("a.pdf", b"x"), "this program was built without a reader of application/pdf");
    }

    #[test]
    fn folders_and_missing_files_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let refusal = |path: &Path| FileExtractor::new(1).extract(path).expect_err("refused").to_string();
        assert_eq!(refusal(folder.path()), "a folder, not a file");
        assert_eq!(refusal(&folder.path().join("none.txt")), "cannot be read: entity not found");
    }

    #[test]
    fn a_markdown_file_keeps_its_text() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("a.MD");
        fs::write(&file, "# Title\r\n\r\n* item\r\n").expect("the folder is ours");
        let content = FileExtractor::new(1 << 20).extract(&file).expect("a good file");
        assert_eq!(content.kind, DocumentKind::Markdown);
        let text = Ok("# Title\r\n\r\n* item\r\n".into());
        assert_eq!(content.pages, [PageText { page: None, text, sections: Vec::new() }]);
    }
}
