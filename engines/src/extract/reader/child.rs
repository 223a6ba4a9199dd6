//! The child: encloses itself, reads the file from standard input, writes a line for each page.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use mentor_actors::domain::DocumentKind;

use super::pages::{NoText, Pages, Whole};
use super::protocol::{Line, Orders};
use super::sandbox;
use crate::extract::office::{presentation, word};
use crate::extract::pdf::Book;
use crate::extract::{epub, html, notebook};

/// All pages were reported, or the file was refused with a reason.
const DONE: i32 = 0;
/// The parent is gone, or the child could not be enclosed.
const FAILED: i32 = 1;
/// Started by hand.
const MISUSED: i32 = 2;
/// Longest reason taken over from another crate, in characters.
const MAX_REASON_CHARS: usize = 120;

/// The whole life of a reading process: to be called first thing in the program's hidden subcommand, with the orders as the last
/// argument and the file as standard input. Returns the exit code.
///
/// Call it before anything else is started: it closes every file but the standard three and limits the whole process.
/// Nothing it does reaches beyond its standard output.
#[must_use]
pub fn run_document_reader() -> i32 {
    let orders = std::env::args().next_back().and_then(|orders| serde_json::from_str::<Orders>(&orders).ok());
    let Some(orders) = orders else { return MISUSED };
    let Some(kind) = DocumentKind::from_media_type(&orders.media_type) else { return MISUSED };
    if sandbox::enclose(&orders).is_err() {
        return FAILED;
    }
    // A panic is a page's reason, not a message on a terminal.
    std::panic::set_hook(Box::new(|_| {}));
    let reader = thread::Builder::new().name("reader".into()).stack_size(orders.stack_bytes);
    let reader = reader.spawn(move || report(kind, orders.first_page, &mut io::stdout().lock()));
    match reader.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => DONE,
        _ => FAILED,
    }
}

fn report(kind: DocumentKind, first_page: u32, output: &mut dyn Write) -> io::Result<()> {
    sandbox::stay_alone()?;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let opened =
        quiet(|| open(kind, bytes)).unwrap_or_else(|panic| Err(format!("the file cannot be decoded ({panic})")));
    let mut document = match opened {
        Ok(document) => document,
        Err(error) => return write_line(output, &Line::FileError { error }),
    };
    let pages = document.count();
    write_line(output, &Line::Pages { pages, outline: document.take_outline() })?;
    for page in first_page..=pages {
        let read = quiet(|| document.page(page)).unwrap_or_else(|panic| Err(undecodable(&panic)));
        let line = match read {
            Ok(text) => Line::Text { page, text },
            Err(NoText { reason, recognisable }) => Line::PageError { page, error: reason, recognisable },
        };
        write_line(output, &line)?;
    }
    Ok(())
}

fn open(kind: DocumentKind, bytes: Vec<u8>) -> Result<Box<dyn Pages>, String> {
    Ok(match kind {
        DocumentKind::Pdf => Box::new(Book::open(bytes)?),
        DocumentKind::Html => Box::new(Whole(html::read(&bytes)?)),
        DocumentKind::Word => Box::new(Whole(word::read(bytes)?)),
        DocumentKind::Presentation => Box::new(presentation::Slides::open(bytes)?),
        DocumentKind::Epub => Box::new(epub::Chapters::open(bytes)?),
        DocumentKind::Notebook => Box::new(Whole(notebook::read(&bytes)?)),
        DocumentKind::Markdown | DocumentKind::PlainText => return Err("text needs no reader".to_owned()),
    })
}

/// Reads a document in this process, where a panic is seen: the fuzzer's way in. Gives the length of its text in bytes.
///
/// # Errors
/// Why it cannot be read, for people.
#[cfg(fuzzing)]
pub fn read_unwalled(kind: DocumentKind, bytes: Vec<u8>) -> Result<usize, String> {
    let mut document = open(kind, bytes)?;
    let pages = 1..=document.count();
    Ok(pages.filter_map(|page| document.page(page).ok()).map(|text| text.len()).sum())
}

fn undecodable(panic: &str) -> NoText {
    format!("the page cannot be decoded ({panic})").into()
}

/// Turns a panic into its message, for people.
pub(in crate::extract) fn quiet<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        let line = message.lines().next().unwrap_or_default();
        line.chars().filter(|c| !c.is_control()).take(MAX_REASON_CHARS).collect()
    })
}

/// One line, flushed: the parent measures progress by it.
fn write_line(output: &mut dyn Write, line: &Line) -> io::Result<()> {
    let mut json = serde_json::to_vec(line)?;
    json.push(b'\n');
    output.write_all(&json)?;
    output.flush()
}
