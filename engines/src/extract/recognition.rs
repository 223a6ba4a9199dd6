//! Text recognition for pages that are pictures, by two programs of the operating system: `pdftoppm` (poppler) draws the page,
//! `tesseract` reads it.
//!
//! Both parse hostile files in C++, so they run behind limits as the document reader does, one page at a time, with a deadline for
//! each. They are not walled in as tightly: they need libraries and files of their own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use mentor_actors::cancel::CancelToken;

use super::pdf::paragraphs::DIVIDED;
use super::reader::{NoText, sandbox};

/// Dots per inch at which pages are drawn; tesseract was trained on 300 and needs less time for fewer.
const RESOLUTION: &str = "250";
/// Most text of a page, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Files that the programs may have open at once: themselves, their libraries and data.
const MAX_OPEN_FILES: u64 = 64;
/// Largest file they may write; they should write none.
const MAX_FILE_BYTES: u64 = 0;
/// Part of the longest line from which on a line was broken only because it was full.
const FULL_LINE: f64 = 0.75;
/// How often it is looked whether the text is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pages that may fail before the rest of a file is given up.
const MAX_FAILURES: u32 = 3;

/// The two programs, and what a page may cost.
#[derive(Debug, Clone)]
pub struct TextRecognition {
    pdftoppm: PathBuf,
    tesseract: PathBuf,
    languages: String,
    limits: RecognitionLimits,
}

/// What text recognition may cost.
#[derive(Debug, Clone, Copy)]
pub struct RecognitionLimits {
    /// Longest time for a page.
    pub page_time: Duration,
    /// Longest time for a file.
    pub file_time: Duration,
    /// Memory of each program.
    pub memory_bytes: u64,
}

impl TextRecognition {
    /// Finds the programs in the folders of `path` (as in `PATH`) and asks whether they know the languages, as tesseract writes
    /// them: `eng+deu`.
    ///
    /// # Errors
    /// Which program or language is missing, and how to get it.
    pub fn find(path: &std::ffi::OsStr, languages: &str, limits: RecognitionLimits) -> Result<Self, String> {
        let program = |name: &str, package: &str| {
            let found = std::env::split_paths(path).map(|folder| folder.join(name)).find(|program| program.is_file());
            found.ok_or_else(|| {
                format!("text recognition needs the program {name}: install it (Debian: {package}) or set ocr = false")
            })
        };
        let pdftoppm = program("pdftoppm", "poppler-utils")?;
        let tesseract = program("tesseract", "tesseract-ocr")?;
        let found = Self { pdftoppm, tesseract, languages: languages.to_owned(), limits };
        found.check_languages()?;
        Ok(found)
    }

    fn check_languages(&self) -> Result<(), String> {
        let output = Command::new(&self.tesseract).arg("--list-langs").stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("tesseract cannot be started: {}", error.kind()))?;
        let listed = String::from_utf8_lossy(&output.stdout);
        let is_known = |language: &&str| listed.lines().any(|line| line.trim() == *language);
        match self.languages.split('+').find(|language| !is_known(language)) {
            Some(language) => Err(format!(
                "tesseract does not know the language {language:?}: install it (Debian: tesseract-ocr-{language}) or change \
                 ocr_languages"
            )),
            None => Ok(()),
        }
    }

    /// Reads the pages of a PDF file that gave no text, but might have some, until that is not wanted any more.
    pub(super) fn read_pictures(&self, file: &Path, pages: &mut [Result<String, NoText>], cancel: &CancelToken) {
        let mut failures = 0;
        let end = Instant::now() + self.limits.file_time;
        for (number, page) in (1_u32..).zip(pages) {
            let Err(no_text) = page else { continue };
            if !no_text.recognisable {
                continue;
            }
            if cancel.is_cancelled() {
                return;
            }
            if Instant::now() >= end {
                no_text.reason.push_str("; the time for text recognition of the whole file was over before this page");
                continue;
            }
            if failures >= MAX_FAILURES {
                no_text.reason.push_str("; text recognition failed on too many pages before it");
                continue;
            }
            match self.read_page(file, number, end, cancel) {
                Ok(text) if text.chars().any(char::is_alphanumeric) => *page = Ok(text),
                Ok(_) => no_text.reason.push_str("; text recognition found none either"),
                Err(reason) => {
                    failures += 1;
                    no_text.reason.push_str(&format!("; text recognition failed: {reason}"));
                }
            }
        }
    }

    fn read_page(&self, file: &Path, number: u32, end: Instant, cancel: &CancelToken) -> Result<String, String> {
        let number = number.to_string();
        let input = File::open(file).map_err(|error| format!("the file cannot be opened: {}", error.kind()))?;
        let draw = ["-f", &number, "-l", &number, "-r", RESOLUTION, "-gray", "-singlefile", "-"];
        let mut drawing = self.start(&self.pdftoppm, &draw, input.into())?;
        let picture = drawing.0.stdout.take().ok_or("no picture")?;
        let mut reading = self.start(&self.tesseract, &["stdin", "stdout", "-l", &self.languages], picture.into())?;
        let output = reading.0.stdout.take().ok_or("no output")?;
        let (sender, receiver) = sync_channel(1);
        // Not waited for: it ends with its pipe, which the end of the children closes.
        let work = move || {
            let mut bytes = Vec::new();
            let read = output.take(MAX_TEXT_BYTES).read_to_end(&mut bytes);
            let _gone = sender.send(read.map(|_| bytes));
        };
        thread::Builder::new().name("ocr-pipe".into()).spawn(work).map_err(|_| "no thread for its output")?;
        let until = end.min(Instant::now() + self.limits.page_time);
        let bytes = loop {
            let left = until.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(Ok(bytes)) => break bytes,
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err("its output broke off".to_owned()),
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return Err("it was stopped".to_owned()),
                Err(RecvTimeoutError::Timeout) if left <= LOOK_EVERY => return Err("it took too long".to_owned()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        match reading.0.wait() {
            Ok(status) if status.success() => Ok(tidy(&String::from_utf8_lossy(&bytes))),
            _ => Err("the programs could not read the page".to_owned()),
        }
    }

    fn start(&self, program: &Path, arguments: &[&str], input: Stdio) -> Result<Ended, String> {
        let RecognitionLimits { page_time, memory_bytes, .. } = self.limits;
        let cpu_seconds = page_time.as_secs() + 1;
        let enclose = move || enclose(memory_bytes, cpu_seconds);
        let mut command = Command::new(program);
        command.args(arguments).env_clear().current_dir("/").stdin(input).stdout(Stdio::piped()).stderr(Stdio::null());
        // One page at a time: its own threads would take the embedder's cores.
        command.env("OMP_THREAD_LIMIT", "1");
        if let Some(data) = std::env::var_os("TESSDATA_PREFIX") {
            command.env("TESSDATA_PREFIX", data);
        }
        // SAFETY: only makes system calls that are allowed between fork and exec, and allocates nothing.
        unsafe { command.pre_exec(enclose) };
        command.spawn().map(Ended).map_err(|error| format!("{} cannot be started: {}", program.display(), error.kind()))
    }
}

fn enclose(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    sandbox::limit(libc::RLIMIT_AS, memory_bytes)?;
    sandbox::limit(libc::RLIMIT_CPU, cpu_seconds)?;
    sandbox::limit(libc::RLIMIT_CORE, 0)?;
    sandbox::limit(libc::RLIMIT_FSIZE, MAX_FILE_BYTES)?;
    sandbox::limit(libc::RLIMIT_NOFILE, MAX_OPEN_FILES)?;
    sandbox::leave_with_parent()
}

/// Paragraphs with their lines put together: a long line runs on in the next one, a short one stands alone. Words divided at line
/// ends are marked for the rules that know all pages.
fn tidy(text: &str) -> String {
    // Pages end with a form feed.
    let lines: Vec<&str> =
        text.lines().map(|line| line.trim_matches(|c: char| c.is_whitespace() || c == '\u{C}')).collect();
    let longest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let mut tidy = String::with_capacity(text.len());
    for paragraph in lines.split(|line| line.is_empty()).filter(|paragraph| !paragraph.is_empty()) {
        if !tidy.is_empty() {
            tidy.push_str("\n\n");
        }
        for (index, line) in paragraph.iter().enumerate() {
            if let Some(before) = index.checked_sub(1).map(|before| paragraph[before]) {
                run_on(&mut tidy, before.len() as f64 > FULL_LINE * longest as f64, line);
            }
            tidy.push_str(line);
        }
    }
    tidy
}

/// Ends a line as its text and its length have it.
fn run_on(text: &mut String, is_full: bool, next: &str) {
    let mut last = text.chars().rev();
    let is_divided = last.next() == Some('-') && last.next().is_some_and(char::is_alphabetic);
    if is_divided && next.starts_with(char::is_lowercase) {
        text.pop();
        text.push(DIVIDED);
    } else {
        text.push(if is_full { ' ' } else { '\n' });
    }
}

/// A child that is never left behind.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only when the child has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(file_seconds: u64) -> RecognitionLimits {
        let file_time = Duration::from_secs(file_seconds);
        RecognitionLimits { page_time: Duration::from_secs(60), file_time, memory_bytes: 2 << 30 }
    }

    struct Silent {
        recognition: TextRecognition,
        _folder: tempfile::TempDir,
    }

    /// Programs that never say anything.
    fn silent(limits: RecognitionLimits) -> Silent {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let program = folder.path().join("silent");
        // Another process writes it: a program that this one has open for writing could not be started by another test's thread.
        let write = "printf '#!/bin/sh\\nexec sleep 600\\n' > \"$0\" && chmod 755 \"$0\"";
        let written = Command::new("/bin/sh").arg("-c").arg(write).arg(&program).status().expect("there is a shell");
        assert!(written.success());
        let languages = "eng".to_owned();
        let recognition = TextRecognition { pdftoppm: program.clone(), tesseract: program, languages, limits };
        Silent { recognition, _folder: folder }
    }

    fn pictures(count: usize) -> Vec<Result<String, NoText>> {
        vec![Err(NoText { reason: "a picture".into(), recognisable: true }); count]
    }

    #[test]
    fn recognition_that_is_not_wanted_any_more_ends_within_a_page() {
        let (silent, cancel) = (silent(limits(600)), CancelToken::default());
        let mut pages = pictures(3);
        thread::scope(|scope| {
            scope.spawn(|| silent.recognition.read_pictures("/dev/null".as_ref(), &mut pages, &cancel));
            cancel.cancel();
        });
        let reasons: Vec<&str> =
            pages.iter().map(|page| page.as_ref().expect_err("nothing was read").reason.as_str()).collect();
        let stopped = "a picture; text recognition failed: it was stopped";
        assert!(reasons[0] == "a picture" || reasons[0] == stopped, "{reasons:?}");
        assert_eq!(reasons[1..], ["a picture"; 2]);
    }

    #[test]
    fn pages_behind_the_time_of_the_whole_file_say_so() {
        let mut pages = pictures(2);
        silent(limits(0)).recognition.read_pictures("/dev/null".as_ref(), &mut pages, &CancelToken::default());
        let reason = "a picture; the time for text recognition of the whole file was over before this page";
        assert!(pages.iter().all(|page| page.as_ref().is_err_and(|it| it.reason == reason)), "{pages:?}");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = TextRecognition::find("/nowhere".as_ref(), "eng", limits(60)).unwrap_err();
        assert_eq!(
            error,
            "text recognition needs the program pdftoppm: install it (Debian: poppler-utils) or set ocr = false"
        );
    }

    #[test]
    fn full_lines_run_on_short_ones_stand_alone_and_divided_words_are_marked() {
        let page =
            "A line that is as long as any oth-\ner of the page, and one behind it\nshort\nitem\n \n\nTwo\n\u{C}";
        assert_eq!(
            tidy(page),
            "A line that is as long as any oth\u{AD}er of the page, and one behind it short\nitem\n\nTwo"
        );
    }
}
