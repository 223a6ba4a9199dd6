//! Ingest is a sync: renames, copies, failures, wrong folders, watching.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::Workplace;

const HEAPS: &str = "# Heaps\n\nA binary heap is a complete binary tree that is stored in an array. The smallest element is at its root.\n";
const LISTS: &str = "A linked list keeps its elements in nodes. Each node points to the next one.\n";
const STACKS: &str =
    "A stack gives back the element that was put on it last. A queue gives back the one that was put into it first.\n";

fn with_course() -> Option<Workplace> {
    let workplace = Workplace::new()?;
    workplace.course_file("heaps.md", HEAPS);
    workplace.course_file("week 2/lists.txt", LISTS);
    workplace.course_file("stacks.txt", STACKS);
    workplace.expect(0, &["ingest", "--directory", "course"]);
    Some(workplace)
}

fn ingest(workplace: &Workplace, code: i32, more: &[&str]) -> Value {
    let arguments = [&["ingest", "--directory", "course", "--json"], more].concat();
    serde_json::from_str(&workplace.expect(code, &arguments)).unwrap()
}

fn names(found: &str) -> Vec<String> {
    let found: Value = serde_json::from_str(found).unwrap();
    let sources = found["sources"].as_array().unwrap().iter();
    sources.map(|source| source["metadata"]["document_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_renamed_file_is_embedded_no_second_time_and_found_under_its_new_name() {
    let Some(workplace) = with_course() else { return };
    std::fs::rename(workplace.path("course/heaps.md"), workplace.path("course/week 2/trees.md")).unwrap();
    let plan = ingest(&workplace, 0, &["--dry-run"]);
    assert_eq!(plan["renamed"], json!([{"document": "week 2/trees.md", "from": "heaps.md"}]));
    let report = ingest(&workplace, 0, &[]);
    assert_eq!((&report["renamed"], &report["tokens"], &report["removed"]), (&json!(1), &json!(0), &json!(0)));
    let found = names(&workplace.expect(0, &["search", "binary heap", "--top-k", "1", "--json"]));
    assert_eq!(found, ["week 2/trees.md"]);
    assert_eq!(ingest(&workplace, 0, &[])["unchanged"], 3);
}

#[test]
fn a_second_copy_of_a_file_is_stored_once_and_found_by_either_name() {
    let Some(workplace) = with_course() else { return };
    workplace.course_file("again/trees.md", HEAPS);
    let report = ingest(&workplace, 0, &[]);
    assert_eq!(report["copies"], json!([{"document": "again/trees.md", "of": "heaps.md"}]));
    assert_eq!((&report["tokens"], &report["documents_in_store"]), (&json!(0), &json!(3)));
    for name in ["heaps.md", "trees.md", "again/*"] {
        let found = workplace.expect(0, &["search", "binary heap", "--document", name, "--json"]);
        assert_eq!(names(&found), ["heaps.md"]);
    }
    std::fs::remove_file(workplace.path("course/heaps.md")).unwrap();
    let report = ingest(&workplace, 0, &[]);
    assert_eq!((&report["renamed"], &report["tokens"]), (&json!(1), &json!(0)));
    workplace.expect_error(&["search", "binary heap", "--document", "heaps.md"]);
}

#[test]
fn of_33_documents_only_the_one_that_changed_is_embedded() {
    let Some(workplace) = Workplace::new() else { return };
    let lesson = |number: usize, about: &str| {
        format!("# Lesson {number}\n\nThis is the lesson number {number}. It says what {about} is good for.\n")
    };
    for number in 0..33 {
        workplace.course_file(&format!("week {}/lesson-{number:02}.md", number / 5), lesson(number, "a queue"));
    }
    let first = ingest(&workplace, 0, &[]);
    assert_eq!((&first["ingested"], &first["unchanged"]), (&json!(33), &json!(0)));
    workplace.course_file("week 2/lesson-12.md", lesson(12, "a Fibonacci heap"));
    let second = ingest(&workplace, 0, &[]);
    assert_eq!((&second["ingested"], &second["unchanged"], &second["removed"]), (&json!(1), &json!(32), &json!(0)));
    assert_eq!((&second["chunks"], &second["chunks_in_store"]), (&json!(1), &first["chunks_in_store"]));
    assert!(second["tokens"].as_u64().unwrap() * 20 < first["tokens"].as_u64().unwrap(), "{second}");
    let found = names(&workplace.expect(0, &["search", "Fibonacci heap", "--top-k", "1", "--json"]));
    assert_eq!(found, ["week 2/lesson-12.md"]);
}

#[test]
fn what_failed_is_remembered_and_tried_again_only_when_it_changes_or_when_told() {
    let Some(workplace) = with_course() else { return };
    workplace.course_file("broken.pdf", "this is no PDF");
    let first = ingest(&workplace, 3, &[]);
    let reason = first["failures"][0]["reason"].as_str().unwrap().to_owned();
    assert_eq!((&first["failures"][0]["document"], &first["documents_in_store"]), (&json!("broken.pdf"), &json!(3)));
    let plan = ingest(&workplace, 0, &["--dry-run"]);
    assert_eq!(plan["failed_before"], json!([{"document": "broken.pdf", "reason": reason}]));
    assert_eq!(plan["new"], json!([]));
    assert_eq!(ingest(&workplace, 3, &[])["failures"][0]["reason"], reason.as_str());
    assert_eq!(ingest(&workplace, 0, &["--dry-run", "--retry"])["changed"], json!(["broken.pdf"]));
    let stats: Value = serde_json::from_str(&workplace.expect(0, &["stats", "--json"])).unwrap();
    assert_eq!(stats["failed_documents"][0]["document"], "broken.pdf");

    std::fs::remove_file(workplace.path("course/broken.pdf")).unwrap();
    assert_eq!(ingest(&workplace, 0, &[])["failures"], json!([]));
}

#[test]
fn a_document_that_breaks_keeps_its_former_text() {
    let Some(workplace) = with_course() else { return };
    workplace.course_file("stacks.txt", "");
    let report = ingest(&workplace, 3, &[]);
    assert_eq!(report["failures"][0]["document"], "stacks.txt");
    let found = names(&workplace.expect(0, &["search", "stack and queue", "--top-k", "1", "--json"]));
    assert_eq!(found, ["stacks.txt"]);
    workplace.course_file("stacks.txt", STACKS);
    let report = ingest(&workplace, 0, &[]);
    assert_eq!((&report["tokens"], &report["failures"]), (&json!(0), &json!([])));
}

#[test]
fn a_folder_that_is_empty_or_missing_does_not_empty_the_store_and_another_one_takes_its_place() {
    let Some(workplace) = with_course() else { return };
    std::fs::rename(workplace.path("course"), workplace.path("elsewhere")).unwrap();
    let missing = workplace.expect_error(&["ingest", "--directory", "course"]);
    assert!(missing.contains("no such folder"), "{missing}");
    std::fs::create_dir(workplace.path("course")).unwrap();
    let empty = workplace.expect_error(&["ingest", "--directory", "course"]);
    assert!(empty.contains("no course materials"), "{empty}");
    workplace.expect_error(&["ingest", "--directory", "course", "--overwrite"]);
    let found = names(&workplace.expect(0, &["search", "binary heap", "--top-k", "1", "--json"]));
    assert_eq!(found, ["heaps.md"]);
    workplace.course_file("something else.md", "# Spices\n\nPepper and salt.\n");
    let report = ingest(&workplace, 0, &[]);
    assert_eq!((&report["removed"], &report["documents_in_store"]), (&json!(3), &json!(1)));
}

#[test]
fn an_overwriting_that_is_killed_leaves_the_course_that_was_there_and_one_that_ends_replaces_it() {
    let Some(workplace) = with_course() else { return };
    workplace.course_file("long.md", "A sentence of a long text that takes a while to be embedded. ".repeat(30_000));
    let mut overwriting = workplace.command(&["ingest", "--directory", "course", "--overwrite"]);
    let mut overwriting = overwriting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let building = workplace.path("vector_data/.building/corpus.lance");
    let is_under_way = (0..6_000).any(|_| {
        building.exists() || {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
            false
        }
    });
    overwriting.kill().unwrap();
    overwriting.wait().unwrap();
    assert!(is_under_way, "it was never built beside the one in use");
    let found = names(&workplace.expect(0, &["search", "binary heap", "--top-k", "1", "--json"]));
    assert_eq!(found, ["heaps.md"]);

    std::fs::remove_file(workplace.path("course/long.md")).unwrap();
    let report = ingest(&workplace, 0, &["--overwrite"]);
    assert_eq!((&report["ingested"], &report["documents_in_store"]), (&json!(3), &json!(3)));
    assert!(!workplace.path("vector_data/.building").exists());
    let found = names(&workplace.expect(0, &["search", "binary heap", "--top-k", "1", "--json"]));
    assert_eq!(found, ["heaps.md"]);
}

#[test]
fn a_dry_run_changes_nothing() {
    let Some(workplace) = with_course() else { return };
    let look = || {
        let data = workplace.path("vector_data");
        let mut files: Vec<_> =
            walk(&data).into_iter().map(|path| (std::fs::metadata(&path).unwrap().len(), path)).collect();
        files.sort();
        files
    };
    workplace.course_file("new.md", "# New\n\nA new document.\n");
    std::fs::remove_file(workplace.path("course/stacks.txt")).unwrap();
    let before = look();
    let said = workplace.expect(0, &["ingest", "--directory", "course", "--dry-run"]);
    assert!(said.contains("new           new.md") && said.contains("gone          stacks.txt"), "{said}");
    assert_eq!(look(), before);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_watched_folder_is_followed_until_ctrl_c() {
    let Some(workplace) = with_course() else { return };
    let mut watching = workplace
        .command(&["ingest", "--directory", "course", "--watch", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reports = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut report = || -> Value { serde_json::from_str(&reports.next().unwrap().unwrap()).unwrap() };
    assert_eq!(report()["unchanged"], 3);
    workplace.course_file("week 3/graphs.md", "# Graphs\n\nA graph has nodes and edges.\n");
    let seen = report();
    assert_eq!((&seen["ingested"], &seen["unchanged"]), (&json!(1), &json!(3)));
    // The lock is free between two ingests.
    assert_eq!(ingest(&workplace, 0, &[])["unchanged"], 4);
    let id = i32::try_from(watching.id()).unwrap();
    // SAFETY: `kill` takes two integers; the process is our child and not yet waited for, so the id is its own.
    unsafe { libc::kill(id, libc::SIGINT) };
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}
