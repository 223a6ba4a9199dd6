//! What an operator does with a store: look, examine, back up, restore, name, go back, embed again.

use serde_json::{Value, json};

use crate::support::Workplace;

const HEAPS: &str = "# Heaps\n\nA binary heap is a complete binary tree that is stored in an array.\n";
const LISTS: &str = "A linked list keeps its elements in nodes. Each node points to the next one.\n";

fn with_course() -> Option<Workplace> {
    let workplace = Workplace::new()?;
    workplace.course_file("heaps.md", HEAPS);
    workplace.course_file("lists.txt", LISTS);
    workplace.expect(0, &["ingest", "--directory", "course"]);
    Some(workplace)
}

fn json_of(workplace: &Workplace, code: i32, arguments: &[&str]) -> Value {
    serde_json::from_str(&workplace.expect(code, &[arguments, &["--json"]].concat())).unwrap()
}

fn best(workplace: &Workplace, query: &str) -> String {
    let found = json_of(workplace, 0, &["search", query, "--top-k", "1"]);
    found["sources"][0]["metadata"]["document_id"].as_str().unwrap_or_default().to_owned()
}

/// Asks a running server until it finds that document.
fn until_found(server: &crate::support::Server, query: &str, document: &str) {
    let query = json!({"query": query, "top_k": 1});
    let found = || server.post("/api/search", &query)["sources"][0]["metadata"]["document_id"] == document;
    let seen = (0..200).any(|_| {
        found() || {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
            false
        }
    });
    assert!(seen, "the server never found {document}");
}

#[test]
fn a_sound_store_is_found_to_be_so_and_counted_without_its_embedder() {
    let Some(workplace) = with_course() else { return };
    assert_eq!(json_of(&workplace, 0, &["doctor"])["problems"], 0);
    let stats = json_of(&workplace, 0, &["stats", "--models-dir", "nowhere"]);
    assert_eq!((&stats["documents"], &stats["identity"]["dimension"]), (&json!(2), &json!(384)));
    let findings = json_of(&workplace, 3, &["doctor", "--models-dir", "nowhere"]);
    assert_eq!(findings["findings"][0]["remedy"], "mentor models pull");
}

#[test]
fn a_backup_comes_back_under_a_running_server_and_a_damaged_one_changes_nothing() {
    let Some(workplace) = with_course() else { return };
    let written = json_of(&workplace, 0, &["backup", "course.zip"]);
    assert_eq!(written["documents"], 2);
    assert!(workplace.expect_error(&["backup", "course.zip"]).contains("is there already"));
    workplace.course_file("heaps.md", "# Spices\n\nPepper, salt and a good curry.\n");
    workplace.expect(0, &["ingest", "--directory", "course"]);
    let server = workplace.serve();
    until_found(&server, "curry", "heaps.md");

    let whole = std::fs::read(workplace.path("course.zip")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x55;
    std::fs::write(workplace.path("damaged.zip"), damaged).unwrap();
    std::fs::write(workplace.path("cut.zip"), &whole[..whole.len() / 2]).unwrap();
    for file in ["damaged.zip", "cut.zip", "mentor.toml"] {
        workplace.expect_error(&["restore", file]);
    }
    assert!(!server.post("/api/search", &json!({"query": "curry"}))["sources"].as_array().unwrap().is_empty());

    assert_eq!(json_of(&workplace, 0, &["restore", "course.zip"])["documents"], 2);
    let text = "complete binary tree stored in an array";
    let seen = (0..200).any(|_| {
        let found = server.post("/api/search", &json!({"query": text, "top_k": 1}));
        let is_back = found["sources"][0]["text"].as_str().is_some_and(|text| text.contains("binary heap"));
        if !is_back {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        is_back
    });
    assert!(seen, "the server never saw the restored version");
    assert_eq!(json_of(&workplace, 0, &["doctor"])["problems"], 0);
    // The folder is what it was: ingesting makes the store follow it again.
    workplace.expect(0, &["ingest", "--directory", "course"]);
    until_found(&server, "curry", "heaps.md");
}

/// Turns of the conversation "c", as the server knows them.
fn turn_ids(server: &crate::support::Server) -> Vec<Value> {
    let (_, tree) = server.call_json("GET", "/api/conversations/c", &[], b"");
    tree["turns"].as_array().into_iter().flatten().map(|turn| turn["turn_id"].clone()).collect()
}

#[test]
fn conversations_are_in_a_backup_of_a_running_server_and_come_back_with_it() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let ask = |turn: &str| {
        let asked = json!({"message": "What is a binary heap?", "conversation_id": "c", "turn_id": turn,
            "options": {"max_tokens": 4}});
        assert!(server.post("/api/chat", &asked).get("answer").is_some());
    };
    ask("before");
    assert_eq!(json_of(&workplace, 0, &["backup", "all.zip"])["conversations"], 1);
    assert_eq!(
        json_of(&workplace, 0, &["backup", "course.zip", "--without-conversations"])["conversations"],
        Value::Null
    );
    ask("after");
    let refused = workplace.expect_error(&["restore", "all.zip"]);
    assert!(refused.contains("--without-conversations") && refused.contains("in use"), "{refused}");
    assert_eq!(json_of(&workplace, 0, &["restore", "all.zip", "--without-conversations"])["documents"], 2);
    assert_eq!(json_of(&workplace, 0, &["restore", "course.zip"])["conversations"], Value::Null);
    assert_eq!(turn_ids(&server), ["before", "after"]);
    assert_eq!(server.terminate(), Some(0));

    let said = workplace.expect(0, &["restore", "all.zip"]);
    assert!(said.contains("1 conversations, in the place of those there were"), "{said}");
    assert!(said.contains("the history and the tags of the former store are gone"), "{said}");
    let server = workplace.serve();
    assert_eq!(turn_ids(&server), ["before"]);
    assert_eq!(json_of(&workplace, 0, &["doctor"])["problems"], 0);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn conversations_that_a_killed_restore_left_in_the_store_survive_its_replacement() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let asked = json!({"message": "What is a binary heap?", "conversation_id": "c", "turn_id": "before",
        "options": {"max_tokens": 4}});
    assert!(server.post("/api/chat", &asked).get("answer").is_some());
    assert_eq!(server.terminate(), Some(0));
    workplace.expect(0, &["backup", "all.zip"]);
    // As a restore leaves them that was killed before its last step, with nothing else of them anywhere.
    let name = "conversations.sqlite";
    let mut archive = zip::ZipArchive::new(std::fs::File::open(workplace.path("all.zip")).unwrap()).unwrap();
    let left = workplace.path("vector_data/corpus.lance/_conversations.sqlite");
    std::io::copy(&mut archive.by_name(name).unwrap(), &mut std::fs::File::create(left).unwrap()).unwrap();
    for file in ["", "-wal", "-shm"].map(|end| workplace.path(&format!("vector_data/{name}{end}"))) {
        assert!(!file.exists() || std::fs::remove_file(file).is_ok());
    }
    workplace.expect(0, &["re-embed"]);
    let server = workplace.serve();
    assert_eq!(turn_ids(&server), ["before"]);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_version_that_was_named_is_gone_back_to() {
    let Some(workplace) = with_course() else { return };
    workplace.expect(0, &["tag", "spring"]);
    std::fs::remove_file(workplace.path("course/heaps.md")).unwrap();
    workplace.expect(0, &["ingest", "--directory", "course"]);
    assert_eq!(best(&workplace, "binary heap"), "lists.txt");
    let versions = json_of(&workplace, 0, &["history"])["versions"].as_array().unwrap().clone();
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert!(versions[1]["tags"].as_array().unwrap().contains(&json!("spring")), "{versions:?}");
    let said = workplace.expect(0, &["rollback", "spring"]);
    assert!(said.contains("the next ingest makes it what the folder is again"), "{said}");
    assert_eq!(best(&workplace, "binary heap"), "heaps.md");
    workplace.expect_error(&["rollback", "autumn"]);
    workplace.expect(0, &["tag", "--remove", "spring"]);
    assert!(json_of(&workplace, 0, &["compact"])["fragments"].as_u64().unwrap() <= 2);
}

#[test]
fn the_state_before_the_last_ingest_can_be_gone_back_to() {
    let Some(workplace) = with_course() else { return };
    for number in 1..=10 {
        workplace
            .course_file(&format!("week {number}.md"), format!("# Week {number}\n\nWhat was said in that week.\n"));
    }
    workplace.expect(0, &["ingest", "--directory", "course"]);
    workplace.course_file("heaps.md", "# Spices\n\nPepper, salt and a good curry.\n");
    workplace.expect(0, &["ingest", "--directory", "course"]);
    let versions = json_of(&workplace, 0, &["history"])["versions"].as_array().unwrap().clone();
    let Some(former) = versions.get(1) else { panic!("nothing to go back to: {versions:?}") };
    workplace.expect(0, &["rollback", &former["version"].to_string()]);
    let found = json_of(&workplace, 0, &["search", "binary heap", "--top-k", "1"]);
    assert!(found["sources"][0]["text"].as_str().unwrap().contains("binary heap"), "{found}");
}

/// Twelve documents, so that the change of one leaves room for the version before it.
fn with_long_course() -> Option<Workplace> {
    let workplace = Workplace::new()?;
    for number in 1..=12 {
        workplace
            .course_file(&format!("week {number}.md"), format!("# Week {number}\n\nWhat was said in that week.\n"));
    }
    workplace.expect(0, &["ingest", "--directory", "course"]);
    Some(workplace)
}

#[test]
fn what_took_the_place_of_the_store_can_be_gone_back_to_after_the_next_ingest() {
    let Some(workplace) = with_long_course() else { return };
    workplace.expect(0, &["backup", "course.zip"]);
    for (number, replacing) in
        [&["ingest", "--directory", "course", "--overwrite"][..], &["re-embed"], &["restore", "course.zip"]]
            .iter()
            .enumerate()
    {
        workplace.expect(0, replacing);
        workplace.course_file("week 1.md", format!("# Spices\n\nPepper, salt and curry number {number}.\n"));
        workplace.expect(0, &["ingest", "--directory", "course"]);
        let versions = json_of(&workplace, 0, &["history"])["versions"].as_array().unwrap().clone();
        assert_eq!(versions.len(), 2, "after {replacing:?}: {versions:?}");
    }
}

#[test]
fn a_rollback_and_a_restore_leave_the_store_with_the_index_that_is_configured() {
    let Some(workplace) = with_long_course() else { return };
    let text = (0..300).map(|number| format!("In lesson {number} we sort a list of {number} cards by hand.\n\n"));
    workplace.course_file("lessons.md", text.collect::<String>());
    std::fs::write(workplace.path("mentor.toml"), "index_from = 40\n").unwrap();
    workplace.expect(0, &["ingest", "--directory", "course"]);
    workplace.expect(0, &["tag", "spring"]);
    workplace.expect(0, &["backup", "course.zip"]);
    workplace.course_file("week 1.md", "# Spices\n\nPepper, salt and a good curry.\n");
    workplace.expect(0, &["ingest", "--directory", "course"]);
    for going_back in [&["rollback", "spring"][..], &["restore", "course.zip"]] {
        workplace.expect(0, going_back);
        assert_eq!(json_of(&workplace, 0, &["stats"])["index_state"], "lists", "after {going_back:?}");
    }
}

#[test]
fn stored_text_is_embedded_again_without_reading_the_files() {
    let Some(workplace) = with_course() else { return };
    let before = json_of(&workplace, 0, &["search", "binary heap"]);
    std::fs::remove_dir_all(workplace.path("course")).unwrap();
    let report = json_of(&workplace, 0, &["re-embed"]);
    assert_eq!(report["documents"], 2);
    assert_eq!(json_of(&workplace, 0, &["search", "binary heap"]), before);
    assert_eq!(json_of(&workplace, 0, &["doctor"])["problems"], 0);
}

#[test]
fn without_a_store_each_command_says_so_in_a_line() {
    let Some(workplace) = Workplace::new() else { return };
    for arguments in [&["backup", "x.zip"][..], &["compact"], &["tag", "x"], &["rollback", "1"], &["re-embed"]] {
        let line = workplace.expect_error(arguments);
        assert!(line.contains("there is no store in vector_data"), "{line}");
    }
    assert_eq!(json_of(&workplace, 0, &["stats"])["documents"], 0);
    assert_eq!(json_of(&workplace, 0, &["history"])["versions"], json!([]));
    assert_eq!(json_of(&workplace, 3, &["doctor"])["findings"][0]["remedy"], "mentor ingest");
}
