//! The child: encloses itself, reads the file from standard input, writes a line for each page.

use std::io::{self, Read, Write};
use std::thread;

use super::book::Book;
use super::protocol::{Line, Orders};
use super::sandbox;

/// All pages were reported, or the file was refused with a reason.
const DONE: i32 = 0;
/// The parent is gone, or the child could not be enclosed.
const FAILED: i32 = 1;
/// Started by hand.
const MISUSED: i32 = 2;

/// The whole life of an extractor process: to be called first thing in the program's hidden subcommand, with the
/// orders as the last argument and the PDF file as standard input. Returns the exit code.
///
/// Call it before anything else is started: it closes every file but the standard three and limits the whole process.
/// Nothing it does reaches beyond its standard output.
#[must_use]
pub fn run_pdf_child() -> i32 {
    let orders = std::env::args().next_back().and_then(|orders| serde_json::from_str::<Orders>(&orders).ok());
    let Some(orders) = orders else { return MISUSED };
    if sandbox::enclose(&orders).is_err() {
        return FAILED;
    }
    // A panic is a page's reason, not a message on a terminal.
    std::panic::set_hook(Box::new(|_| {}));
    let reader = thread::Builder::new().name("pdf-reader".into()).stack_size(orders.stack_bytes);
    let reader = reader.spawn(move || report(&orders, &mut io::stdout().lock()));
    match reader.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => DONE,
        _ => FAILED,
    }
}

fn report(orders: &Orders, output: &mut dyn Write) -> io::Result<()> {
    sandbox::stay_alone()?;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let mut book = match Book::open(&bytes) {
        Ok(book) => book,
        Err(error) => return write_line(output, &Line::FileError { error }),
    };
    drop(bytes);
    write_line(output, &Line::Pages { pages: book.pages(), outline: book.take_outline() })?;
    for page in orders.first_page..=book.pages() {
        let line = match book.page(page) {
            Ok(text) => Line::Text { page, text },
            Err(error) => Line::PageError { page, error },
        };
        write_line(output, &line)?;
    }
    Ok(())
}

/// One line, flushed: the parent measures progress by it.
fn write_line(output: &mut dyn Write, line: &Line) -> io::Result<()> {
    let mut json = serde_json::to_vec(line)?;
    json.push(b'\n');
    output.write_all(&json)?;
    output.flush()
}
