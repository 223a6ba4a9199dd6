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
use std::time::Duration;

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
/// Pages that may fail before the rest of a file is given up.
const MAX_FAILURES: u32 = 3;

/// The two programs, and what a page may cost.
#[derive(Debug, Clone)]
pub struct TextRecognition {
    pdftoppm: PathBuf,
    tesseract: PathBuf,
    languages: String,
    /// Longest time for a page.
    page_time: Duration,
    /// Memory of each program.
    memory_bytes: u64,
}

impl TextRecognition {
    /// Finds the programs in the folders of `path` (as in `PATH`) and asks whether they know the languages, as tesseract writes
    /// them: `eng+deu`.
    ///
    /// # Errors
    /// Which program or language is missing, and how to get it.
    pub fn find(
        path: &std::ffi::OsStr,
        languages: &str,
        page_time: Duration,
        memory_bytes: u64,
    ) -> Result<Self, String> {
        let program = |name: &str, package: &str| {
            let found = std::env::split_paths(path).map(|folder| folder.join(name)).find(|program| program.is_file());
            found.ok_or_else(|| {
                format!("text recognition needs the program {name}: install it (Debian: {package}) or set ocr = false")
            })
        };
        let pdftoppm = program("pdftoppm", "poppler-utils")?;
        let tesseract = program("tesseract", "tesseract-ocr")?;
        let found = Self { pdftoppm, tesseract, languages: languages.to_owned(), page_time, memory_bytes };
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

    /// Reads the pages of a PDF file that gave no text, but might have some.
    pub(super) fn read_pictures(&self, file: &Path, pages: &mut [Result<String, NoText>]) {
        let mut failures = 0;
        for (number, page) in (1_u32..).zip(pages) {
            let Err(no_text) = page else { continue };
            if !no_text.recognisable {
                continue;
            }
            if failures >= MAX_FAILURES {
                no_text.reason.push_str("; text recognition failed on too many pages before it");
                continue;
            }
            match self.read_page(file, number) {
                Ok(text) if text.chars().any(char::is_alphanumeric) => *page = Ok(text),
                Ok(_) => no_text.reason.push_str("; text recognition found none either"),
                Err(reason) => {
                    failures += 1;
                    no_text.reason.push_str(&format!("; text recognition failed: {reason}"));
                }
            }
        }
    }

    fn read_page(&self, file: &Path, number: u32) -> Result<String, String> {
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
        let bytes = match receiver.recv_timeout(self.page_time) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err("its output broke off".to_owned()),
            Err(RecvTimeoutError::Timeout) => return Err("it took too long".to_owned()),
        };
        match reading.0.wait() {
            Ok(status) if status.success() => Ok(tidy(&String::from_utf8_lossy(&bytes))),
            _ => Err("the programs could not read the page".to_owned()),
        }
    }

    fn start(&self, program: &Path, arguments: &[&str], input: Stdio) -> Result<Ended, String> {
        let memory_bytes = self.memory_bytes;
        let cpu_seconds = self.page_time.as_secs() + 1;
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

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = TextRecognition::find("/nowhere".as_ref(), "eng", Duration::from_secs(1), 1 << 30).unwrap_err();
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
