//! Text recognition with the real programs, where they are installed.

use std::time::Duration;

use mentor_actors::domain::DocumentKind;
use mentor_engines::extract::reader::DocumentReader;
use mentor_engines::extract::recognition::{RecognitionLimits, TextRecognition};

use super::support::*;

fn limits(page_time: Duration) -> RecognitionLimits {
    RecognitionLimits { page_time, file_time: Duration::from_secs(120), memory_bytes: 2 << 30 }
}

/// A page without text whose letters are drawn as squares: 5 by 7 for each.
fn drawn(word: &str) -> String {
    let rows = |letter| match letter {
        'H' => [17, 17, 17, 31, 17, 17, 17],
        'E' => [31, 16, 16, 30, 16, 16, 31],
        'A' => [14, 17, 17, 31, 17, 17, 17],
        ' ' => [0; 7],
        _ => [30, 17, 17, 30, 16, 16, 16],
    };
    let mut content = String::new();
    for (place, letter) in word.chars().enumerate() {
        for (y, row) in rows(letter).iter().enumerate() {
            for x in (0..5).filter(|x| row >> (4 - x) & 1 == 1) {
                content.push_str(&format!("{} {} 6 6 re f ", 100 + 40 * place + 6 * x, 600 - 6 * y));
            }
        }
    }
    content
}

#[test]
fn letters_that_are_drawn_are_recognised_where_the_programs_are_installed() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let recognition = match TextRecognition::find(&path, "eng", limits(Duration::from_secs(60))) {
        Ok(recognition) => recognition,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let pdf = file(&Pdf::with_pages(&[&lines(&["A page of text."]), &drawn("HEAP HEAP"), ""]).bytes());
    let without = reader(tight()).read(DocumentKind::Pdf, &pdf.path).expect("it can be read");
    assert_eq!(texts(&without)[1], Err("no text: the page is a drawing, or its letters are"));
    let reader = DocumentReader { recognition: Some(recognition), ..reader(tight()) };
    let content = reader.read(DocumentKind::Pdf, &pdf.path).expect("it can be read");
    assert_eq!(texts(&content), [Ok("A page of text."), Ok("HEAP HEAP"), Ok("")]);
}

#[test]
fn a_page_that_takes_too_long_says_so() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Ok(recognition) = TextRecognition::find(&path, "eng", limits(Duration::ZERO)) else {
        return eprintln!("skipped: tesseract or pdftoppm is not installed");
    };
    let pdf = file(&Pdf::with_pages(&[&drawn("HEAPHEAP")]).bytes());
    let reader = DocumentReader { recognition: Some(recognition), ..reader(tight()) };
    let content = reader.read(DocumentKind::Pdf, &pdf.path).expect("it can be read");
    let reason = "no text: the page is a drawing, or its letters are; text recognition failed: it took too long";
    assert_eq!(texts(&content), [Err(reason)]);
}
