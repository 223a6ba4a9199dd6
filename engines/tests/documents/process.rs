//! The reader's process: whatever it does, the parent has a reason in time.

use std::time::{Duration, Instant};

use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::DocumentKind;
use mentor_engines::extract::reader::{DocumentReader, ReaderLimits};

use super::support::*;

#[test]
fn a_child_that_says_nothing_is_stopped_in_time_even_if_another_process_holds_its_output() {
    let limits = ReaderLimits { page_time: Duration::from_millis(200), ..tight() };
    let silent = DocumentReader {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), "sleep 20; true".into()],
        limits,
        recognition: None,
        cancel: CancelToken::default(),
    };
    let started = Instant::now();
    let reason = silent
        .read(DocumentKind::Pdf, &file(&Pdf::with_pages(&[""]).bytes()).path)
        .expect_err("must be stopped")
        .to_string();
    assert_eq!(reason, "opening the file took too long (damaged, or made to do so)");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_reading_that_is_cancelled_ends_while_the_child_says_nothing() {
    let cancel = CancelToken::default();
    let silent = DocumentReader {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), "sleep 60".into()],
        cancel: cancel.clone(),
        ..reader(ReaderLimits::default())
    };
    let file = file(b"");
    let reason = std::thread::scope(|scope| {
        let reading = scope.spawn(|| silent.read(DocumentKind::Pdf, &file.path));
        cancel.cancel();
        reading.join().expect("no panic").expect_err("must be stopped").to_string()
    });
    assert_eq!(reason, "reading was stopped");
}

#[test]
fn a_child_that_writes_nonsense_or_is_missing_is_an_error_and_no_more() {
    let bytes = Pdf::with_pages(&[""]).bytes();
    let run = |program: &str, arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let reader = DocumentReader {
            program: program.into(),
            arguments,
            limits: tight(),
            recognition: None,
            cancel: CancelToken::default(),
        };
        reader.read(DocumentKind::Pdf, &file(&bytes).path).expect_err("no child, no text").to_string()
    };
    assert_eq!(run("/bin/echo", &["nonsense"]), "the document reader wrote something that is no page");
    assert_eq!(run("/bin/false", &[]), "the document reader failed");
    assert_eq!(run("/nowhere/at/all", &[]), "the document reader cannot be started: entity not found");
}

#[test]
fn more_pages_or_text_than_allowed_are_refused_or_reported() {
    let bytes = Pdf::with_pages(&["", "", ""]).bytes();
    let few = ReaderLimits { max_pages: 2, ..tight() };
    let reason = reader(few).read(DocumentKind::Pdf, &file(&bytes).path).expect_err("too many pages").to_string();
    assert_eq!(reason, "the file has 3 pages, more than the 2 that are allowed");
    let little = ReaderLimits { max_output_bytes: 60, ..tight() };
    let pages = Pdf::with_pages(&[&lines(&["one"]), &lines(&["a longer line than fits"])]).bytes();
    let content = reader(little).read(DocumentKind::Pdf, &file(&pages).path).expect("the first page fits");
    assert_eq!(texts(&content), [Ok("one"), Err("the file holds more text than a book can")]);
}

/// A program that answers for the first page, says nothing more, and does the same when it is started again.
#[test]
fn a_file_of_pages_that_take_too_long_costs_little_more_than_one_of_them() {
    let script = r#"
        page=$(echo "$1" | grep -o '"first_page":[0-9]*' | grep -o '[0-9]*$')
        echo '{"pages":9,"outline":[]}'
        [ "$page" = 1 ] && echo '{"page":1,"text":"one"}'
        exec sleep 60"#;
    let arguments = vec!["-c".into(), script.into(), "reader".into()];
    let limits = ReaderLimits { page_time: Duration::from_secs(2), ..tight() };
    let slow = DocumentReader {
        program: "/bin/sh".into(),
        arguments,
        limits,
        recognition: None,
        cancel: CancelToken::default(),
    };
    let content = slow.read(DocumentKind::Pdf, &file(b"").path).expect("the first page is read");
    let (slow, given_up) =
        ("reading the page took too long", "not read, because too many pages before it took too long");
    let texts = texts(&content);
    assert_eq!((texts[0], texts[1], texts[8]), (Ok("one"), Err(slow), Err(given_up)));
    assert!(texts[2..8].iter().all(|text| *text == Err(slow) || *text == Err(given_up)), "{texts:?}");
}

/// A program that reads the page it is started for, and crashes behind it.
#[test]
fn all_processes_of_a_file_together_may_write_no_more_than_one() {
    let script = r#"
        page=$(echo "$1" | grep -o '"first_page":[0-9]*' | grep -o '[0-9]*$')
        echo '{"pages":9,"outline":[]}'
        echo '{"page":'$page',"text":"one"}'
        exit 1"#;
    let limits = ReaderLimits { max_output_bytes: 120, ..tight() };
    let crashing = DocumentReader {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), "reader".into()],
        limits,
        recognition: None,
        cancel: CancelToken::default(),
    };
    let content = crashing.read(DocumentKind::Pdf, &file(b"").path).expect("two pages are read");
    let (crashed, too_much) = ("the document reader failed", "the file holds more text than a book can");
    let expected = [Ok("one"), Err(crashed), Ok("one"), Err(crashed)].into_iter().chain([Err(too_much); 5]);
    assert_eq!(texts(&content), expected.collect::<Vec<_>>());
}
