//! How files are read: in a process of their own, with text recognition where it is configured.

use std::time::Duration;

use anyhow::Context as _;
use mentor_actors::cancel::CancelToken;
use mentor_engines::extract::FileExtractor;
use mentor_engines::extract::reader::{DocumentReader, ReaderLimits};
use mentor_engines::extract::recognition::{RecognitionLimits, TextRecognition};

use crate::config::Config;

/// First argument that makes the program read one document, in a process of its own, instead of a command.
pub const READ_DOCUMENT: &str = "read-document";

/// Longest time that text recognition may take for a page; a dense one takes about ten seconds on a slow core.
const RECOGNITION_TIME: Duration = Duration::from_secs(60);
/// Longest time that it may take for a file: more than a thousand pages on a slow core.
const RECOGNITION_FILE_TIME: Duration = Duration::from_secs(4 * 3_600);

/// What reads files; `cancel` ends the reading of one.
///
/// # Errors
/// Text recognition that is configured and not installed.
pub(super) fn extractor(config: &Config, cancel: CancelToken) -> anyhow::Result<FileExtractor> {
    let program = std::env::current_exe().context("cannot find the program's own file")?;
    let memory_bytes = config.extract_memory_mb << 20;
    let page_time = Duration::from_secs(config.extract_page_s);
    let limits = ReaderLimits { memory_bytes, page_time, max_pages: config.max_pages, ..ReaderLimits::default() };
    let of_recognition =
        RecognitionLimits { page_time: RECOGNITION_TIME, file_time: RECOGNITION_FILE_TIME, memory_bytes };
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        TextRecognition::find(&path, &config.ocr_languages, of_recognition).map_err(anyhow::Error::msg)
    };
    let recognition = config.ocr.then(find).transpose()?;
    let reader = DocumentReader { program, arguments: vec![READ_DOCUMENT.into()], limits, recognition, cancel };
    Ok(FileExtractor::new(config.max_file_mb << 20).with_reader(reader))
}
