//! Bad input at the command line: each gets one clear line and its exit code. Bad requests are in `tests/doors.rs`.

use serde_json::Value;

use crate::support::Workplace;

#[test]
fn a_folder_that_is_missing_or_empty_is_an_error() {
    let Some(workplace) = Workplace::new() else { return };
    assert!(workplace.expect_error(&["ingest", "--directory", "nowhere"]).contains("no such folder"));
    std::fs::create_dir(workplace.path("empty")).unwrap();
    assert!(workplace.expect_error(&["ingest", "--directory", "empty"]).contains("no course materials"));
}

#[test]
fn files_that_cannot_be_read_fail_alone_and_are_listed_with_the_reason() {
    let Some(workplace) = Workplace::new() else { return };
    workplace.course_file("good.md", "# Queues\n\nA queue serves its elements in the order of their arrival.\n");
    workplace.course_file("not really.pdf", "just some text");
    workplace.course_file("empty.pdf", "");
    workplace.course_file("truncated.pdf", "%PDF-1.5\n1 0 obj\n<< /Type /Catalog");
    workplace.course_file("encrypted.pdf", ENCRYPTED);
    workplace.course_file("empty.md", "");
    let report: Value =
        serde_json::from_str(&workplace.expect(3, &["ingest", "--directory", "course", "--json"])).unwrap();
    assert_eq!(report["ingested"].as_u64(), Some(1));
    let reason = |name: &str| {
        let failures = report["failures"].as_array().unwrap();
        let found = failures.iter().find(|failure| failure["document"] == name);
        found.unwrap_or_else(|| panic!("{name} is not listed in {report}"))["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("not really.pdf").contains("not a PDF"), "{}", reason("not really.pdf"));
    assert!(reason("encrypted.pdf").contains("encrypted"), "{}", reason("encrypted.pdf"));
    for name in ["empty.pdf", "truncated.pdf", "empty.md"] {
        assert!(!reason(name).is_empty() && !reason(name).contains('\n'), "{name}: {}", reason(name));
    }
}

/// A one-page file whose text nobody can read without its password.
const ENCRYPTED: &[u8] = include_bytes!("../data/encrypted.pdf");

#[test]
fn a_second_ingest_at_the_same_time_is_told_to_wait() {
    let Some(workplace) = Workplace::new() else { return };
    workplace.course_file("good.md", "A stack serves the youngest element first.\n");
    workplace.expect(0, &["ingest", "--directory", "course"]);
    let lock = std::fs::OpenOptions::new().write(true).open(workplace.path("vector_data/writer.lock")).unwrap();
    lock.try_lock().unwrap();
    assert!(workplace.expect_error(&["ingest", "--directory", "course"]).contains("another ingest"));
    drop(lock);
    workplace.expect(0, &["ingest", "--directory", "course"]);
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let Some(workplace) = Workplace::new() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = workplace.expect_error(&["serve", "--listen", &address]);
    assert!(error.contains(&address) && error.to_lowercase().contains("in use"), "{error}");
}

#[test]
fn a_model_that_is_missing_or_of_the_wrong_kind_is_an_error() {
    let Some(workplace) = Workplace::new() else { return };
    std::fs::write(workplace.path("fake.gguf"), "not a model at all").unwrap();
    std::fs::create_dir(workplace.path("bare")).unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["serve", "--llm", "fake.gguf"], "GGUF"),
        (&["serve", "--llm", "missing.gguf"], "missing.gguf"),
        (&["search", "x", "--embedder", "./bare"], "model.onnx"),
        (&["serve", "--models-dir", "nothing-here"], "mentor models pull"),
    ];
    for (arguments, part) in cases {
        let arguments = [arguments, &["--listen", "127.0.0.1:0"]].concat();
        let error = workplace.expect_error(&arguments);
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn a_damaged_library_or_store_is_an_error_and_no_panic() {
    let Some(workplace) = Workplace::new() else { return };
    std::fs::write(workplace.path("lib.so"), "no library").unwrap();
    let output = workplace.command(&["search", "x"]).env("ORT_DYLIB_PATH", workplace.path("lib.so")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && !error.contains("panicked"), "{error}");

    workplace.course_file("good.md", "A stack serves the youngest element first.\n");
    workplace.expect(0, &["ingest", "--directory", "course"]);
    damage(&workplace.path("vector_data"));
    let error = workplace.expect_error(&["search", "stack"]);
    assert!(error.contains("store"), "{error}");
}

/// Overwrites every manifest and data file below a folder.
fn damage(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
        } else if path.extension().is_some_and(|extension| extension == "manifest" || extension == "lance") {
            std::fs::write(&path, "damaged").unwrap();
        }
    }
}

#[test]
fn a_wrong_configuration_is_an_error_that_names_the_key() {
    let Some(workplace) = Workplace::new() else { return };
    std::fs::write(workplace.path("mentor.toml"), "topk = 3\n").unwrap();
    assert!(workplace.expect_error(&["config"]).contains("topk"));
    std::fs::remove_file(workplace.path("mentor.toml")).unwrap();
    assert!(workplace.expect_error(&["config", "--config", "other.toml"]).contains("other.toml"));
    let output = workplace.command(&["config"]).env("MENTOR_TOPK", "3").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("MENTOR_TOPK"));
    assert_eq!(workplace.run(&["config", "--top-k", "many"]).status.code(), Some(2));
}

#[test]
fn a_file_of_questions_that_is_none_is_an_error_with_its_line() {
    let Some(workplace) = Workplace::new() else { return };
    std::fs::write(workplace.path("questions.jsonl"), "{\"id\":\"1\"\n").unwrap();
    assert!(workplace.expect_error(&["eval", "questions.jsonl"]).contains("line 1"));
    assert!(workplace.expect_error(&["eval", "none.jsonl"]).contains("none.jsonl"));
}
