//! The main job: a folder becomes a tutor.

use serde_json::{Value, json};

use crate::support::Workplace;

const HEAPS: &str = "# Heaps\n\nA binary heap is a complete binary tree that is stored in an array. The children of the node at index i \
    stand at the indexes 2i + 1 and 2i + 2, and its parent at (i - 1) / 2.\n\n## Operations\n\nInserting an element puts it at the end \
    of the array and lets it bubble up, which takes logarithmic time. Removing the smallest element takes logarithmic time as well.\n";
const LISTS: &str = "A linked list keeps its elements in nodes. Each node points to the next one.\n\nInserting at the head of a linked \
    list takes constant time, but finding the element at an index takes linear time.\n";

pub fn with_course() -> Option<Workplace> {
    let workplace = Workplace::new()?;
    workplace.course_file("heaps.md", HEAPS);
    workplace.course_file("week 2/lists.txt", LISTS);
    workplace.expect(0, &["ingest", "--directory", "course"]);
    Some(workplace)
}

fn ingest(workplace: &Workplace, code: i32) -> Value {
    serde_json::from_str(&workplace.expect(code, &["ingest", "--directory", "course", "--json"])).unwrap()
}

#[test]
fn a_question_is_answered_with_sources_and_usage() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    assert!(server.said.iter().any(|line| line.starts_with("generator  ")), "{:?}", server.said);
    assert!(server.said.iter().any(|line| line.contains("embedder and store are warm")), "{:?}", server.said);
    let answer = server.post("/api/chat", &json!({"message": "How is a binary heap stored?"}));
    assert!(!answer["answer"].as_str().unwrap().trim().is_empty(), "{answer}");
    assert_eq!(answer["sources"][0]["metadata"]["file_name"], "heaps.md");
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 50, "{answer}");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{answer}");
    let metrics = server.get("/metrics");
    // The question, and the sentences of the answer where words leave a doubt.
    assert!(metrics.contains("mentor_embed_duration_seconds_count"), "{metrics}");
    assert!(metrics.contains("mentor_attribution_duration_seconds_count 1"), "{metrics}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_question_about_something_else_is_refused_without_generating() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let answer = server.post("/api/chat", &json!({"message": "Which spices belong into a good curry?"}));
    assert_eq!(
        (answer["grounding"].as_str(), answer["usage"]["completion_tokens"].as_u64()),
        (Some("refused"), Some(0))
    );
}

#[test]
fn a_killed_server_finds_the_same_passages_after_its_restart() {
    let Some(workplace) = with_course() else { return };
    let query = json!({"query": "insert into a linked list", "top_k": 3});
    let server = workplace.serve();
    let before = server.post("/api/search", &query);
    assert_eq!(before["sources"][0]["metadata"]["document_id"], "week 2/lists.txt");
    server.kill();
    assert_eq!(workplace.serve().post("/api/search", &query), before);
}

#[test]
fn a_supervised_server_that_dies_is_started_again_and_ends_when_told() {
    let Some(workplace) = with_course() else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = workplace.serve_at(&free.to_string(), &["--supervised"]);
    let [first] = server.children()[..] else { panic!("the parent has one child: {:?}", server.children()) };
    // SAFETY: `kill` takes two integers; the process is the child of one that is running.
    unsafe { libc::kill(first, libc::SIGKILL) };
    server.wait_until_ready_again();
    assert!(server.children().iter().all(|&child| child != first), "another process answers");
    assert!(!server.post("/api/search", &json!({"query": "linked list"}))["sources"].as_array().unwrap().is_empty());
    assert_eq!(server.terminate(), Some(0), "the parent passes the signal on, and the server's exit code back");
}

#[test]
fn a_supervised_server_with_a_part_that_is_lost_for_good_ends_and_is_started_again() {
    let Some(workplace) = with_course() else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = workplace.serve_at(&free.to_string(), &["--supervised", "--fault-injection"]);
    // One more than its restarts.
    for _ in 0..11 {
        assert_eq!(server.call("POST", "/debug/panic/directory", &[], b"").0, 204);
    }
    server.wait_until_ready_again();
    assert_eq!(server.call("GET", "/readyz", &[], b"").0, 200);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn ingesting_again_embeds_nothing_and_follows_changes() {
    let Some(workplace) = with_course() else { return };
    let again = ingest(&workplace, 0);
    assert_eq!(
        (again["ingested"].as_u64(), again["unchanged"].as_u64(), again["tokens"].as_u64()),
        (Some(0), Some(2), Some(0))
    );

    workplace
        .course_file("heaps.md", "# Heaps\n\nA Fibonacci heap has a lazy merge operation that takes constant time.\n");
    std::fs::remove_file(workplace.path("course/week 2/lists.txt")).unwrap();
    let changed = ingest(&workplace, 0);
    assert_eq!((changed["ingested"].as_u64(), changed["removed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(changed["documents_in_store"].as_u64(), Some(1));
    let found: Value = serde_json::from_str(&workplace.expect(0, &["search", "lazy merge", "--json"])).unwrap();
    let texts: Vec<&str> =
        found["sources"].as_array().unwrap().iter().map(|source| source["text"].as_str().unwrap()).collect();
    assert!(texts.len() == 1 && texts[0].contains("Fibonacci"), "{texts:?}");
}

#[test]
fn a_running_server_sees_an_ingest_without_a_restart() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    assert!(server.said.iter().any(|line| line.contains("nothing to answer from yet")), "{:?}", server.said);
    workplace.course_file("heaps.md", HEAPS);
    workplace.expect(0, &["ingest", "--directory", "course"]);
    let query = json!({"query": "binary heap", "top_k": 1});
    let seen = (0..200).any(|_| {
        let found = !server.post("/api/search", &query)["sources"].as_array().unwrap().is_empty();
        if !found {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        found
    });
    assert!(seen, "the server never saw the new version");
}

#[test]
fn one_question_in_the_terminal_streams_an_answer_and_names_its_places() {
    let Some(workplace) = with_course() else { return };
    let said = workplace.expect(0, &["ask", "How is a binary heap stored?"]);
    assert!(said.contains("[1] heaps.md"), "{said}");
    let done: Value =
        serde_json::from_str(&workplace.expect(0, &["ask", "How is a binary heap stored?", "--json"])).unwrap();
    assert_eq!(
        done["finish_reason"].as_str().map(|reason| reason == "stop" || reason == "length"),
        Some(true),
        "{done}"
    );
}

#[test]
fn a_search_can_be_limited_to_a_document() {
    let Some(workplace) = with_course() else { return };
    let found: Value =
        serde_json::from_str(&workplace.expect(0, &["search", "insert", "--document", "*.txt", "--json"])).unwrap();
    let names: Vec<&str> = found["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source["metadata"]["file_name"].as_str().unwrap())
        .collect();
    assert!(!names.is_empty() && names.iter().all(|name| *name == "lists.txt"), "{names:?}");
}

#[test]
fn the_effective_configuration_can_be_read_back() {
    let Some(workplace) = Workplace::new() else { return };
    let config = workplace.expect(0, &["config", "--top-k", "7"]);
    assert!(config.contains("top_k = 7"), "{config}");
    std::fs::write(workplace.path("mentor.toml"), config).unwrap();
    assert!(workplace.expect(0, &["config"]).contains("top_k = 7"));
}
