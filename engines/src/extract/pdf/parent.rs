//! The parent: starts children, watches the clock, puts the pages together.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use mentor_actors::domain::{DocumentContent, DocumentKind, EngineError, PageText};
use mentor_actors::ports::Extractor;

use super::progress::{Bounds, End, Next, Progress};
use super::protocol::{Bookmark, Line, Orders};
use super::{hyphens, sections};

/// Readers accept the header anywhere in the first kilobyte.
const HEADER_BYTES: u64 = 1024;
/// Lines between the pipe and the parent; small, since pages are taken as they come.
const LINE_QUEUE: usize = 16;

/// How long a child may take from closing its output to its end.
const GRACE: Duration = Duration::from_secs(1);
const GARBLED: End = End::Died("the PDF reader wrote something that is no page");

/// What one PDF file may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PdfLimits {
    /// Longest time without a finished page. Also the longest time to open the file.
    pub page_time: Duration,
    /// Longest time for the whole file.
    pub total_time: Duration,
    /// Memory of the child, beyond the program itself. Opening takes about twice the size of the file.
    pub memory_bytes: u64,
    /// Processor time of one child; a second guard, for when the parent's clock is late.
    pub cpu_seconds: u64,
    /// Stack of the reading thread; nested objects need much.
    pub stack_bytes: usize,
    /// Most pages a file may have.
    pub max_pages: u32,
    /// Most text a file may hold.
    pub max_output_bytes: u64,
    /// Pages that may crash or stall the child before the rest is given up.
    pub max_crashes: u32,
}

impl Default for PdfLimits {
    fn default() -> Self {
        Self {
            page_time: Duration::from_secs(20),
            total_time: Duration::from_secs(600),
            memory_bytes: 2 << 30,
            cpu_seconds: 600,
            stack_bytes: 64 << 20,
            max_pages: 20_000,
            max_output_bytes: 256 << 20,
            max_crashes: 10,
        }
    }
}

/// Reads PDF files through child processes.
#[derive(Debug, Clone)]
pub struct PdfExtractor {
    /// The program that calls [`super::run_pdf_child`].
    pub program: PathBuf,
    /// Its arguments up to that call; the orders are added behind them.
    pub arguments: Vec<String>,
    /// What one file may cost.
    pub limits: PdfLimits,
}

impl Extractor for PdfExtractor {
    fn extract(&self, file: &Path) -> Result<DocumentContent, EngineError> {
        check_header(file)?;
        let (mut pages, outline) = self.read_pages(file)?;
        hyphens::resolve(pages.iter_mut().filter_map(|page| page.as_mut().ok()));
        let page = |(page, text): (u32, Result<String, String>)| {
            let sections = text.as_ref().map_or_else(|_| Vec::new(), |text| sections::of_page(&outline, page, text));
            PageText { page: Some(page), text, sections }
        };
        let pages = (1..).zip(pages).map(page).collect();
        Ok(DocumentContent { kind: DocumentKind::Pdf, pages })
    }
}

impl PdfExtractor {
    fn read_pages(&self, file: &Path) -> Result<(Vec<Result<String, String>>, Vec<Bookmark>), EngineError> {
        let PdfLimits { max_pages, max_crashes, .. } = self.limits;
        let mut progress = Progress::new(Bounds { max_pages, max_crashes });
        let deadline = Instant::now() + self.limits.total_time;
        let mut first_page = 1;
        loop {
            let end = self.run_child(file, first_page, &mut progress, deadline)?;
            if end != End::Left {
                tracing::warn!(page = progress.next_page(), ?end, "a PDF reader process ended early");
            }
            match progress.after(&end) {
                Next::Continue { first_page: page } => first_page = page,
                Next::Done => return Ok(progress.finish()),
                Next::Refuse(reason) => return Err(EngineError::Failed(reason)),
            }
        }
    }

    fn run_child(
        &self,
        file: &Path,
        first_page: u32,
        progress: &mut Progress,
        deadline: Instant,
    ) -> Result<End, EngineError> {
        let mut child = self.start(open(file)?, first_page)?;
        // Present: the command asks for a pipe.
        let output = child.0.stdout.take().ok_or_else(|| failed("the PDF reader has no output"))?;
        let lines = read_lines(output, self.limits.max_output_bytes)?;
        Ok(match self.watch(&lines, progress, deadline) {
            Some(end) => end,
            None => how_it_ended(child.status()),
        })
    }

    fn start(&self, file: File, first_page: u32) -> Result<Reaped, EngineError> {
        let orders = Orders {
            first_page,
            memory_bytes: self.limits.memory_bytes,
            cpu_seconds: self.limits.cpu_seconds,
            stack_bytes: self.limits.stack_bytes,
        };
        let orders = serde_json::to_string(&orders).map_err(|_| failed("the PDF reader's orders cannot be written"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(orders)
            .env_clear()
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("the PDF reader cannot be started: {}", error.kind())))?;
        Ok(Reaped(child))
    }

    /// Takes lines until the child is done (`None`) or must be stopped.
    fn watch(&self, lines: &Receiver<Received>, progress: &mut Progress, deadline: Instant) -> Option<End> {
        loop {
            if progress.is_complete() {
                return Some(End::Left);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left.min(self.limits.page_time)) {
                Ok(Received::Line(line)) => {
                    if !progress.take(line) {
                        return Some(GARBLED);
                    }
                }
                Ok(Received::Garbled) => return Some(GARBLED),
                Ok(Received::TooMuch) => return Some(End::TooMuchOutput),
                Err(RecvTimeoutError::Timeout) if left <= self.limits.page_time => return Some(End::OutOfTime),
                Err(RecvTimeoutError::Timeout) => return Some(End::Stalled),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// A child that is never left behind.
struct Reaped(Child);

impl Reaped {
    /// How a child ended that has closed its output, and so is about to end.
    fn status(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only when the child has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

enum Received {
    Line(Line),
    Garbled,
    TooMuch,
}

/// A thread that turns the child's output into lines; it ends with the output, or when nobody listens. It is not waited
/// for: the pipe stays open as long as any process holds its other end, and that need not be the child.
fn read_lines(output: ChildStdout, max_bytes: u64) -> Result<Receiver<Received>, EngineError> {
    let (sender, receiver) = sync_channel(LINE_QUEUE);
    let mut output = BufReader::new(output.take(max_bytes));
    let work = move || {
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match output.read_until(b'\n', &mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let cut = !buffer.ends_with(b"\n") && output.get_ref().limit() == 0;
            let received = match serde_json::from_slice(&buffer) {
                _ if cut => Received::TooMuch,
                Ok(line) => Received::Line(line),
                // A child that was killed leaves half a line.
                Err(_) if !buffer.ends_with(b"\n") => break,
                Err(_) => Received::Garbled,
            };
            if sender.send(received).is_err() {
                break;
            }
        }
    };
    let thread = thread::Builder::new().name("pdf-pipe".into()).spawn(work);
    thread.map_err(|_| failed("no thread for the PDF reader's output"))?;
    Ok(receiver)
}

fn how_it_ended(status: Option<ExitStatus>) -> End {
    match status.map(|status| (status.success(), status.signal())) {
        Some((true, _)) => End::Left,
        Some((_, Some(libc::SIGXCPU | libc::SIGKILL))) => End::Died("reading took too much processor time or memory"),
        Some((_, Some(_))) => End::Died("the PDF reader crashed (out of memory, or nested too deeply)"),
        _ => End::Died("the PDF reader failed"),
    }
}

fn open(file: &Path) -> Result<File, EngineError> {
    File::open(file).map_err(|error| failed(format!("cannot be opened: {}", error.kind())))
}

fn check_header(file: &Path) -> Result<(), EngineError> {
    let mut start = Vec::new();
    let read = open(file)?.take(HEADER_BYTES).read_to_end(&mut start);
    read.map_err(|error| failed(format!("cannot be read: {}", error.kind())))?;
    if start.windows(5).any(|window| window == b"%PDF-") { Ok(()) } else { Err(failed("not a PDF file")) }
}

fn failed(reason: impl Into<String>) -> EngineError {
    EngineError::Failed(reason.into())
}
