//! The parent: starts children, watches the clock, puts the pages together.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::iter;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::{DocumentContent, DocumentKind, EngineError, PageText};

use super::pages::NoText;
use super::progress::{Bounds, End, Next, Progress};
use super::protocol::{Bookmark, Line, Orders};
use crate::extract::pdf::{hyphens, sections};
use crate::extract::recognition::TextRecognition;

/// A page's text, or why there is none.
type PageResult = Result<String, NoText>;
/// Lines between the pipe and the parent; small, since pages are taken as they come.
const LINE_QUEUE: usize = 16;

/// How long a child may take from closing its output to its end.
const GRACE: Duration = Duration::from_secs(1);
/// How often it is looked whether the reading is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const GARBLED: End = End::Died("the document reader wrote something that is no page");
/// After so many pages that took too long the rest is given up: a file made of such pages must not cost much more than one.
const MAX_STALLS: u32 = 3;

/// What one file may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderLimits {
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

impl Default for ReaderLimits {
    fn default() -> Self {
        Self {
            page_time: Duration::from_secs(20),
            total_time: Duration::from_secs(600),
            memory_bytes: 2 << 30,
            cpu_seconds: 600,
            stack_bytes: 64 << 20,
            max_pages: 20_000,
            max_output_bytes: 64 << 20,
            max_crashes: 10,
        }
    }
}

/// A file that is being read, by one child after the other.
struct Reading {
    progress: Progress,
    deadline: Instant,
    /// What the children may still write, all together.
    output_left: u64,
    /// When the last page of use came, or the child was started.
    since: Instant,
}

impl Reading {
    /// Takes in a line of so many bytes; `false` when it is none that can come here.
    fn take(&mut self, line: Line, bytes: u64) -> bool {
        self.output_left = self.output_left.saturating_sub(bytes);
        // A page that is a picture is cheap to recognise as such, and there may be thousands.
        let is_of_use = matches!(line, Line::Text { .. } | Line::PageError { recognisable: true, .. });
        let is_failure = matches!(line, Line::PageError { recognisable: false, .. });
        let is_taken = self.progress.take(line);
        if is_taken && is_of_use {
            self.since = Instant::now();
        } else if is_failure {
            self.charge();
        }
        is_taken
    }

    /// The time since then was spent for nothing.
    fn charge(&mut self) {
        let now = Instant::now();
        self.progress.charge(now - self.since);
        self.since = now;
    }
}

/// Reads documents through child processes.
#[derive(Debug, Clone)]
pub struct DocumentReader {
    /// The program that calls [`super::run_document_reader`].
    pub program: PathBuf,
    /// Its arguments up to that call; the orders are added behind them.
    pub arguments: Vec<String>,
    /// What one file may cost.
    pub limits: ReaderLimits,
    /// Reads pages that are pictures, where it is wanted.
    pub recognition: Option<TextRecognition>,
    /// Ends the reading early, as a failure.
    pub cancel: CancelToken,
}

impl DocumentReader {
    /// Reads a file of that kind.
    ///
    /// # Errors
    /// [`EngineError::Failed`] with the reason why the file as a whole cannot be read.
    pub fn read(&self, kind: DocumentKind, file: &Path) -> Result<DocumentContent, EngineError> {
        let (mut pages, outline) = self.read_pages(kind, file)?;
        if kind == DocumentKind::Pdf {
            if let Some(recognition) = &self.recognition {
                recognition.read_pictures(file, &mut pages, &self.cancel);
                if self.cancel.is_cancelled() {
                    return Err(stopped());
                }
            }
            hyphens::resolve(pages.iter_mut().filter_map(|page| page.as_mut().ok()));
        }
        let pages = (1..).zip(pages).map(|(page, text)| (page, text.map_err(|no_text| no_text.reason)));
        let pages = match kind {
            DocumentKind::Pdf | DocumentKind::Presentation => pages.map(|page| numbered(page, &outline)).collect(),
            _ => joined(pages.collect())?,
        };
        Ok(DocumentContent { kind, pages })
    }

    fn read_pages(&self, kind: DocumentKind, file: &Path) -> Result<(Vec<PageResult>, Vec<Bookmark>), EngineError> {
        let ReaderLimits { page_time, total_time, max_pages, max_crashes, max_output_bytes, .. } = self.limits;
        let mut reading = Reading {
            progress: Progress::new(Bounds { max_pages, max_crashes, max_stalls: MAX_STALLS, page_time }),
            deadline: Instant::now() + total_time,
            output_left: max_output_bytes,
            since: Instant::now(),
        };
        let mut first_page = 1;
        loop {
            reading.since = Instant::now();
            let end = self.run_child(kind, file, first_page, &mut reading)?;
            // By now the child is gone, too.
            reading.charge();
            let progress = &mut reading.progress;
            if end != End::Left {
                tracing::warn!(page = progress.next_page(), ?end, "a document reader process ended early");
            }
            match progress.after(&end) {
                Next::Continue { first_page: page } => first_page = page,
                Next::Done => return Ok(reading.progress.finish()),
                Next::Refuse(reason) => return Err(EngineError::Failed(reason)),
            }
        }
    }

    fn run_child(
        &self,
        kind: DocumentKind,
        file: &Path,
        first_page: u32,
        reading: &mut Reading,
    ) -> Result<End, EngineError> {
        let mut child = self.start(kind, open(file)?, first_page)?;
        // Present: the command asks for a pipe.
        let output = child.0.stdout.take().ok_or_else(|| failed("the document reader has no output"))?;
        let lines = read_lines(output, reading.output_left)?;
        Ok(match self.watch(&lines, reading)? {
            Some(end) => end,
            None => how_it_ended(child.status()),
        })
    }

    fn start(&self, kind: DocumentKind, file: File, first_page: u32) -> Result<Reaped, EngineError> {
        let orders = Orders {
            media_type: kind.media_type().to_owned(),
            first_page,
            memory_bytes: self.limits.memory_bytes,
            cpu_seconds: self.limits.cpu_seconds,
            stack_bytes: self.limits.stack_bytes,
        };
        let orders =
            serde_json::to_string(&orders).map_err(|_| failed("the document reader's orders cannot be written"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(orders)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| of_system("the document reader cannot be started", &error))?;
        Ok(Reaped(child))
    }

    /// Takes lines until the child is done (`None`) or must be stopped; an error when it is not wanted any more.
    fn watch(&self, lines: &Receiver<Received>, reading: &mut Reading) -> Result<Option<End>, EngineError> {
        let mut is_first = true;
        loop {
            if reading.progress.is_complete() {
                return Ok(Some(End::Left));
            }
            let left = reading.deadline.saturating_duration_since(Instant::now());
            let Some(line_time) = reading.progress.line_time(is_first) else { return Ok(Some(End::OutOfPatience)) };
            match self.receive(lines, left.min(line_time))? {
                Ok(Received::Line { line, bytes }) => {
                    if !reading.take(line, bytes) {
                        return Ok(Some(GARBLED));
                    }
                }
                Ok(Received::Garbled) => return Ok(Some(GARBLED)),
                Ok(Received::TooMuch) => return Ok(Some(End::TooMuchOutput)),
                Err(RecvTimeoutError::Timeout) if left <= line_time => return Ok(Some(End::OutOfTime)),
                Err(RecvTimeoutError::Timeout) => return Ok(Some(End::Stalled)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
            if std::mem::take(&mut is_first) {
                reading.charge();
            }
        }
    }

    /// Waits that long for a line, and no longer once the reading is cancelled.
    fn receive(
        &self,
        lines: &Receiver<Received>,
        time: Duration,
    ) -> Result<Result<Received, RecvTimeoutError>, EngineError> {
        let until = Instant::now() + time;
        loop {
            if self.cancel.is_cancelled() {
                return Err(stopped());
            }
            let left = until.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left.min(LOOK_EVERY)) {
                Err(RecvTimeoutError::Timeout) if left > LOOK_EVERY => {}
                received => return Ok(received),
            }
        }
    }
}

/// A page of a document that has such.
fn numbered((page, text): (u32, Result<String, String>), outline: &[Bookmark]) -> PageText {
    let sections = text.as_ref().map_or_else(|_| Vec::new(), |text| sections::of_page(outline, page, text));
    PageText { page: Some(page), text, sections }
}

/// The parts of a document without pages as one text, and what failed of them.
fn joined(parts: Vec<(u32, Result<String, String>)>) -> Result<Vec<PageText>, EngineError> {
    let without_page = |text| PageText { page: None, text, sections: Vec::new() };
    let (texts, failures): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, text)| text.is_ok());
    let texts: Vec<String> =
        texts.into_iter().filter_map(|(_, text)| text.ok()).filter(|text| !text.is_empty()).collect();
    let failures: Vec<String> =
        failures.into_iter().filter_map(|(part, text)| Some(format!("part {part}: {}", text.err()?))).collect();
    match (texts.is_empty(), failures.first()) {
        (true, Some(reason)) => Err(failed(reason.strip_prefix("part 1: ").unwrap_or(reason))),
        _ => Ok(iter::once(without_page(Ok(texts.join("\n\n"))))
            .chain(failures.into_iter().map(|reason| without_page(Err(reason))))
            .collect()),
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
    Line { line: Line, bytes: u64 },
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
                Ok(line) => Received::Line { line, bytes: buffer.len() as u64 },
                // A child that was killed leaves half a line.
                Err(_) if !buffer.ends_with(b"\n") => break,
                Err(_) => Received::Garbled,
            };
            if sender.send(received).is_err() {
                break;
            }
        }
    };
    let thread = thread::Builder::new().name("reader-pipe".into()).spawn(work);
    thread.map_err(|error| of_system("no thread for the document reader's output", &error))?;
    Ok(receiver)
}

fn how_it_ended(status: Option<ExitStatus>) -> End {
    match status.map(|status| (status.success(), status.signal())) {
        Some((true, _)) => End::Left,
        Some((_, Some(libc::SIGXCPU | libc::SIGKILL))) => End::Died("reading took too much processor time or memory"),
        Some((_, Some(_))) => End::Died("the document reader crashed (out of memory, or nested too deeply)"),
        _ => End::Died("the document reader failed"),
    }
}

fn open(file: &Path) -> Result<File, EngineError> {
    File::open(file).map_err(|error| of_system("cannot be opened", &error))
}

fn stopped() -> EngineError {
    EngineError::Busy("reading was stopped".into())
}

/// What the operating system refused. That it has too little of something says nothing about the file, and passes.
pub(in crate::extract) fn of_system(what: &str, error: &io::Error) -> EngineError {
    let reason = format!("{what}: {}", error.kind());
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => EngineError::Busy(reason),
        _ => EngineError::Failed(reason),
    }
}

fn failed(reason: impl Into<String>) -> EngineError {
    EngineError::Failed(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_room_for_a_process_says_nothing_about_the_file() {
        for passing in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE] {
            let error = of_system("it cannot be started", &io::Error::from_raw_os_error(passing));
            assert!(matches!(error, EngineError::Busy(_)), "{error}");
        }
        let error = of_system("it cannot be started", &io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error, EngineError::Failed("it cannot be started: entity not found".into()));
    }
}
