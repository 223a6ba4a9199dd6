//! The course materials over HTTP: uploads, jobs, deletions, and everybody who may not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Server, Workplace};

const HEAPS: &str = "# Heaps\n\nA binary heap is a complete binary tree that is stored in an array. The smallest element is at its root.\n";
const LISTS: &str = "A linked list keeps its elements in nodes. Each node points to the next one.\n";
const SORTING: &[u8] = include_bytes!("../../course_materials/05-sorting.pdf");
const BOUNDARY: &str = "----boundary7MA4YWxk";
const CONTENT_TYPE: (&str, &str) = ("content-type", "multipart/form-data; boundary=----boundary7MA4YWxk");

fn multipart(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        let head =
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn upload(server: &Server, files: &[(&str, &[u8])]) -> (u16, Value) {
    server.call_json("POST", "/api/documents", &[CONTENT_TYPE], &multipart(files))
}

/// Follows a job to its end; the job as it then is.
fn ended(server: &Server, job: &Value) -> Value {
    events(server, job, &[]).pop().unwrap()["job"].clone()
}

/// The events of a job up to its end.
fn events(server: &Server, job: &Value, headers: &[(&str, &str)]) -> Vec<Value> {
    let path = format!("/api/ingest/{}", job["id"].as_str().unwrap_or_else(|| panic!("no job: {job}")));
    let headers = [headers, &[("accept", "text/event-stream")]].concat();
    let (status, text) = server.call("GET", &path, &headers, b"");
    assert_eq!(status, 200, "{text}");
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// What an upload that must succeed becomes.
fn ingested(server: &Server, files: &[(&str, &[u8])]) -> Value {
    let (status, job) = upload(server, files);
    assert_eq!(status, 202, "{job}");
    ended(server, &job)
}

fn best(server: &Server, query: &str) -> Value {
    server.post("/api/search", &json!({"query": query, "top_k": 1}))["sources"][0]["metadata"]["document_id"].clone()
}

fn listed(server: &Server) -> Vec<Value> {
    let (status, body) = server.call_json("GET", "/api/documents", &[], b"");
    assert_eq!(status, 200, "{body}");
    body["documents"].as_array().unwrap().clone()
}

fn files(workplace: &Workplace) -> Vec<String> {
    let entries = std::fs::read_dir(workplace.path("course_materials")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Looks until it is so; other processes are at work meanwhile.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let seen = (0..400).any(|_| {
        is_so() || {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
            false
        }
    });
    assert!(seen, "it never came to it that {what}");
}

/// A text that takes the embedder some seconds.
fn long_text() -> String {
    let sentence = |number: usize| {
        format!(
            "Lesson {number} explains how a queue of length {number} is kept in an array of twice that many places. "
        )
    };
    (0..800).map(sentence).collect::<Vec<_>>().chunks(5).map(<[String]>::concat).collect::<Vec<_>>().join("\n\n")
}

/// Uploads a long text and waits until some of it is embedded; the job.
fn embedding(server: &Server) -> Value {
    let (status, job) = upload(server, &[("long.txt", long_text().as_bytes())]);
    assert_eq!(status, 202, "{job}");
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let id = job["id"].as_str().unwrap();
    write!(stream, "GET /api/ingest/{id} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").unwrap();
    let begun = BufReader::new(stream).lines().map_while(Result::ok).any(|line| {
        let event: Option<Value> = line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
        event.is_some_and(|event| event["progress"]["embed"]["done"].as_u64() > Some(0))
    });
    assert!(begun, "nothing was embedded");
    job
}

#[test]
fn an_upload_is_stored_found_listed_and_deleted() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    let (status, job) = upload(&server, &[("heaps.md", HEAPS.as_bytes()), ("05-sorting.pdf", SORTING)]);
    assert_eq!((status, &job["kind"]), (202, &json!("upload")), "{job}");
    let events = events(&server, &job, &[]);
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b) && events.iter().all(|event| event["job_id"] == job["id"]), "{events:?}");
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["job"]["state"]), (&json!("complete"), &json!("done")));
    let outcomes: Vec<_> = last["job"]["documents"].as_array().unwrap().iter().collect();
    assert!(outcomes.iter().all(|document| document["outcome"] == "ingested"), "{last}");
    assert_eq!(last["job"]["counts"]["ingested"], 2);

    // At once: the end of a job is told when its documents can be found.
    assert_eq!(best(&server, "complete binary tree in an array"), "heaps.md");
    assert_eq!(best(&server, "merge sort and quicksort"), "05-sorting.pdf");
    let documents = listed(&server);
    let pdf = documents.iter().find(|document| document["id"] == "05-sorting.pdf").unwrap();
    assert_eq!((&pdf["bytes"], &pdf["file_type"]), (&json!(SORTING.len()), &json!("application/pdf")));
    assert!(pdf["pages"].as_u64() > Some(1) && pdf["chunks"].as_u64() > Some(5), "{pdf}");
    assert!(pdf["ingested_at"].as_str().unwrap().ends_with('Z') && pdf["failures"] == json!([]), "{pdf}");
    assert_eq!(files(&workplace), ["05-sorting.pdf", "heaps.md"]);
    assert_eq!(std::fs::read(workplace.path("course_materials/05-sorting.pdf")).unwrap(), SORTING);

    let (status, job) = server.call_json("DELETE", "/api/documents/05-sorting.pdf", &[], b"");
    assert_eq!(status, 202, "{job}");
    assert_eq!(ended(&server, &job)["documents"], json!([{"id": "05-sorting.pdf", "outcome": "removed"}]));
    assert_eq!((files(&workplace), listed(&server).len()), (vec!["heaps.md".to_owned()], 1));
    // The last one, too: the folder is empty then, and so is the store.
    let (_, job) = server.call_json("DELETE", "/api/documents/heaps.md", &[], b"");
    assert_eq!(ended(&server, &job)["state"], "done");
    assert_eq!(best(&server, "complete binary tree in an array"), Value::Null);
    assert_eq!(server.call_json("DELETE", "/api/documents/heaps.md", &[], b"").0, 404);
    let metrics = server.get("/metrics");
    for line in [
        "mentor_ingest_documents_total{outcome=\"ingested\"} 2",
        "{outcome=\"removed\"} 2",
        "mentor_ingest_chunks_total ",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[test]
fn a_document_in_a_folder_is_deleted_by_its_path_and_nothing_outside_can_be() {
    let Some(workplace) = Workplace::new() else { return };
    for name in ["course_materials/week 1/heaps.md", "outside.md", "course_materials/.hidden.md"] {
        std::fs::create_dir_all(workplace.path(name).parent().unwrap()).unwrap();
        std::fs::write(workplace.path(name), HEAPS).unwrap();
    }
    workplace.expect(0, &["ingest"]);
    let server = workplace.serve();
    for id in
        ["../outside.md", "..%2Foutside.md", "%2e%2e/outside.md", ".hidden.md", "week%201", "week 1/../../outside.md"]
    {
        let path = format!("/api/documents/{}", id.replace(' ', "%20"));
        assert_eq!(server.call_json("DELETE", &path, &[], b"").0, 404, "{id}");
    }
    let (status, job) = server.call_json("DELETE", "/api/documents/week%201/heaps.md", &[], b"");
    assert_eq!(status, 202, "{job}");
    assert_eq!(ended(&server, &job)["documents"], json!([{"id": "week 1/heaps.md", "outcome": "removed"}]));
    assert!(workplace.path("outside.md").is_file() && workplace.path("course_materials/.hidden.md").is_file());
    assert!(!workplace.path("course_materials/week 1/heaps.md").exists());
}

#[test]
fn an_upload_leaves_what_else_is_in_the_store_and_a_sync_does_not() {
    let Some(workplace) = Workplace::new() else { return };
    workplace.course_file("lists.txt", LISTS);
    workplace.expect(0, &["ingest", "--directory", "course"]);
    let server = workplace.serve();
    assert_eq!(ingested(&server, &[("heaps.md", HEAPS.as_bytes())])["state"], "done");
    assert_eq!(best(&server, "linked list nodes"), "lists.txt");
    let (status, job) = server.call_json("POST", "/api/ingest", &[], b"");
    assert_eq!(status, 202, "{job}");
    let job = ended(&server, &job);
    assert_eq!((&job["counts"]["removed"], &job["counts"]["unchanged"]), (&json!(1), &json!(1)), "{job}");
    assert_eq!(best(&server, "linked list nodes"), "heaps.md");
}

#[test]
fn a_name_that_is_taken_is_replaced_only_when_told() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    ingested(&server, &[("heaps.md", HEAPS.as_bytes())]);
    let (status, error) = upload(&server, &[("new.md", LISTS.as_bytes()), ("heaps.md", LISTS.as_bytes())]);
    assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid_request")), "{error}");
    assert_eq!(files(&workplace), ["heaps.md"], "all of an upload or nothing");
    let body = multipart(&[("heaps.md", LISTS.as_bytes())]);
    let (status, job) = server.call_json("POST", "/api/documents?replace=true", &[CONTENT_TYPE], &body);
    assert_eq!(status, 202, "{job}");
    assert_eq!(ended(&server, &job)["documents"][0]["outcome"], "ingested");
    assert_eq!(best(&server, "linked list nodes"), "heaps.md");
    let (_, job) = server.call_json("POST", "/api/documents?replace=true", &[CONTENT_TYPE], &body);
    assert_eq!(ended(&server, &job)["documents"], json!([{"id": "heaps.md", "outcome": "unchanged"}]));
    let job = ingested(&server, &[("again.md", LISTS.as_bytes())]);
    assert_eq!(job["documents"], json!([{"id": "again.md", "outcome": "copy", "of": "heaps.md"}]));
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason_and_leaves_nothing() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve_with(&["--max-upload-files", "2", "--max-upload-bytes", "10000"]);
    let text = HEAPS.as_bytes();
    let large = vec![b'x'; 10_001];
    let huge = vec![b'x'; 1 << 20];
    let cases: [(&[(&str, &[u8])], u16, &str); 16] = [
        (&[("../heaps.md", text)], 400, "is a path"),
        (&[("..\\heaps.md", text)], 400, "is a path"),
        (&[("/etc/heaps.md", text)], 400, "is a path"),
        (&[(".heaps.md", text)], 400, "begins with a dot"),
        (&[("heaps\u{1}.md", text)], 400, "cannot be seen"),
        (&[("hea\u{202e}dm.md", text)], 400, "cannot be seen"),
        (&[("heaps.exe", text)], 400, "files of type 'exe'"),
        (&[("heaps.doc", text)], 400, "save it as .docx or PDF"),
        (&[("heaps.pdf", text)], 400, "it is text, and not a PDF file"),
        (&[("heaps.md", b"%PDF-1.7\n")], 400, "it is a PDF file"),
        (&[("heaps.docx", b"PK\x03\x04")], 400, "archives are not looked into"),
        (&[("heaps.md", b"")], 400, "the file is empty"),
        (&[("a.md", text), ("a.md", text)], 400, "comes twice"),
        (&[("a.md", text), ("b.md", text), ("c.md", text)], 413, "at most 2 files"),
        (&[("a.md", text), ("large.md", &large)], 413, "more than the 10000 bytes"),
        (&[("huge.md", &huge)], 413, "may have 2 files of 10000 bytes"),
    ];
    for (files_sent, status, part) in cases {
        let (got, error) = upload(&server, files_sent);
        let message = error["detail"].as_str().unwrap_or_default();
        assert_eq!(got, status, "{:?}: {error}", files_sent[0].0);
        assert!(message.contains(part), "{:?}: {error}", files_sent[0].0);
    }
    for (content_type, body, part) in [
        ("application/json", "{}".to_owned(), "multipart/form-data"),
        ("multipart/form-data", String::new(), "multipart/form-data"),
        (CONTENT_TYPE.1, "no boundary in it".to_owned(), "ended before it was whole"),
        (CONTENT_TYPE.1, format!("--{BOUNDARY}--\r\n"), "no file"),
        (
            CONTENT_TYPE.1,
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"x\"\r\n\r\n1\r\n--{BOUNDARY}--"),
            "no filename",
        ),
    ] {
        let (status, error) =
            server.call_json("POST", "/api/documents", &[("content-type", content_type)], body.as_bytes());
        assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid_request")), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(part), "{error}");
    }
    let (status, error) =
        server.call_json("POST", "/api/documents?replace=maybe", &[CONTENT_TYPE], &multipart(&[("a.md", text)]));
    assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid_request")), "{error}");
    assert_eq!((files(&workplace), listed(&server)), (Vec::new(), Vec::new()));
    assert_eq!(server.call_json("GET", "/api/ingest", &[], b"").1["jobs"], json!([]));
}

#[test]
fn a_file_that_grows_beyond_the_limit_while_it_comes_is_refused() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve_with(&["--max-upload-bytes", "10000"]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    // Without a length nobody knows how much is to come.
    let head = format!(
        "POST /api/documents HTTP/1.1\r\nhost: localhost\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        CONTENT_TYPE.1
    );
    let piece = multipart(&[("a.md", &[b'x'; 20_000])]);
    stream.write_all(head.as_bytes()).unwrap();
    write!(stream, "{:x}\r\n", piece.len()).unwrap();
    stream.write_all(&piece).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(files(&workplace), Vec::<String>::new());
}

#[test]
fn a_document_that_turns_out_to_be_broken_is_listed_with_the_reason() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve_with(&["--max-pages", "1"]);
    let encrypted: &[u8] = include_bytes!("../data/encrypted.pdf");
    let job =
        ingested(&server, &[("encrypted.pdf", encrypted), ("sorting.pdf", SORTING), ("heaps.md", HEAPS.as_bytes())]);
    assert_eq!(
        (&job["state"], &job["counts"]["failed"], &job["counts"]["ingested"]),
        (&json!("done"), &json!(2), &json!(1))
    );
    let reason = |id: &str| {
        let documents = listed(&server);
        let document = documents.iter().find(|document| document["id"] == id).unwrap().clone();
        assert_eq!(document["failures"][0]["page"], Value::Null);
        document["failures"][0]["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("encrypted.pdf").contains("encrypted"));
    assert!(reason("sorting.pdf").contains("more than the 1 that are allowed"), "{}", reason("sorting.pdf"));
    let (_, job) = server.call_json("DELETE", "/api/documents/encrypted.pdf", &[], b"");
    assert_eq!(ended(&server, &job)["documents"][0]["outcome"], "removed");
    assert_eq!(files(&workplace), ["heaps.md", "sorting.pdf"]);
}

#[test]
fn whoever_is_not_this_machine_or_does_not_mean_it_is_refused() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    let own = format!("http://{}", server.address);
    let body = multipart(&[("heaps.md", HEAPS.as_bytes())]);
    let others: [&[(&str, &str)]; 5] = [
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("host", "evil.example")],
        &[("host", "evil.example"), ("origin", "http://evil.example")],
        &[("x-forwarded-for", "203.0.113.7")],
    ];
    for headers in others {
        let calls = [
            ("GET", "/api/documents", &b""[..]),
            ("POST", "/api/documents", &body),
            ("DELETE", "/api/documents/heaps.md", b""),
            ("POST", "/api/ingest", b""),
            ("GET", "/api/ingest", b""),
            ("GET", "/api/ingest/x", b""),
            ("DELETE", "/api/ingest/x", b""),
        ];
        // What another site's page may only read, its browser keeps from it.
        let is_local = headers.iter().all(|(name, _)| *name == "origin");
        for (method, path, body) in calls.into_iter().filter(|(method, ..)| !is_local || *method != "GET") {
            let (status, error) = server.call_json(method, path, &[headers, &[CONTENT_TYPE]].concat(), body);
            assert_eq!((status, &error["error"]["code"]), (403, &json!("forbidden")), "{method} {path} {headers:?}");
        }
    }
    assert_eq!(files(&workplace), Vec::<String>::new());
    assert_eq!(server.call_json("POST", "/api/documents", &[CONTENT_TYPE, ("origin", &own)], &body).0, 202);
}

#[test]
fn uploads_at_the_same_time_are_all_taken_in_and_a_name_is_given_once() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    let (heaps, lists) = std::thread::scope(|scope| {
        let heaps = scope.spawn(|| ingested(&server, &[("heaps.md", HEAPS.as_bytes())]));
        let lists = scope.spawn(|| ingested(&server, &[("lists.txt", LISTS.as_bytes())]));
        (heaps.join().unwrap(), lists.join().unwrap())
    });
    assert_eq!((&heaps["counts"]["ingested"], &lists["counts"]["ingested"]), (&json!(1), &json!(1)));
    let mut statuses = std::thread::scope(|scope| {
        let same = |text: &'static str| upload(&server, &[("same.md", text.as_bytes())]).0;
        [scope.spawn(move || same(HEAPS)), scope.spawn(move || same(LISTS))].map(|call| call.join().unwrap())
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 400]);
    until("all are stored", || {
        let (_, jobs) = server.call_json("GET", "/api/ingest", &[], b"");
        jobs["jobs"].as_array().unwrap().iter().all(|job| job["state"] == "done")
    });
    assert_eq!(files(&workplace), ["heaps.md", "lists.txt", "same.md"]);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve_with(&["--max-jobs", "1"]);
    let body = multipart(&[("a.md", HEAPS.as_bytes()), ("long.txt", long_text().as_bytes())]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "POST /api/documents HTTP/1.1\r\nhost: localhost\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
        CONTENT_TYPE.1,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..body.len() / 2]).unwrap();
    until("a part is there under a hidden name", || files(&workplace).iter().any(|name| name.starts_with('.')));
    let (status, error) = upload(&server, &[("b.md", HEAPS.as_bytes())]);
    assert_eq!((status, &error["error"]["code"]), (429, &json!("overloaded")), "its place is taken: {error}");
    assert!(error["error"]["retry_after_ms"].as_u64() > Some(0), "{error}");
    drop(stream);
    until("it is gone", || files(&workplace).is_empty());
    assert_eq!(ingested(&server, &[("b.md", HEAPS.as_bytes())])["state"], "done");
}

#[test]
fn a_job_is_cancelled_while_questions_are_answered_and_events_are_read_again_from_any_number() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    ingested(&server, &[("heaps.md", HEAPS.as_bytes())]);
    let job = embedding(&server);
    assert_eq!(best(&server, "complete binary tree in an array"), "heaps.md");
    let path = format!("/api/ingest/{}", job["id"].as_str().unwrap());
    let (status, cancelled) = server.call_json("DELETE", &path, &[], b"");
    assert_eq!(status, 202, "{cancelled}");
    assert_eq!(ended(&server, &job)["state"], "cancelled");
    let all = events(&server, &job, &[]);
    let second = all[1]["seq"].to_string();
    assert_eq!(events(&server, &job, &[("last-event-id", &second)]), all[2..]);
    assert_eq!(server.call_json("GET", &path, &[("accept", "text/event-stream"), ("last-event-id", "x")], b"").0, 400);
    // Its file stays, and a sync takes it up.
    assert_eq!(files(&workplace), ["heaps.md", "long.txt"]);
    assert_eq!(listed(&server).len(), 1);
    assert_eq!(server.call_json("GET", "/api/ingest/unknown", &[], b"").0, 404);
}

#[test]
fn a_job_while_another_process_writes_fails_with_a_clear_line_and_the_next_succeeds() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    std::fs::create_dir_all(workplace.path("vector_data")).unwrap();
    let lock = std::fs::File::create(workplace.path("vector_data/writer.lock")).unwrap();
    lock.try_lock().unwrap();
    let job = ingested(&server, &[("heaps.md", HEAPS.as_bytes())]);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("unavailable")), "{job}");
    assert!(job["error"]["message"].as_str().unwrap().contains("another ingest is writing"), "{job}");
    drop(lock);
    let (_, job) = server.call_json("POST", "/api/ingest", &[], br#"{"retry": true}"#);
    assert_eq!(ended(&server, &job)["counts"]["ingested"], 1);
    assert_eq!(server.call_json("POST", "/api/ingest", &[], b"[").0, 400);
}

#[test]
fn a_server_that_is_killed_in_a_job_opens_again_and_the_next_sync_completes() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    ingested(&server, &[("heaps.md", HEAPS.as_bytes())]);
    embedding(&server);
    std::fs::write(workplace.path("course_materials/.mentor-upload-dead"), "half a file").unwrap();
    server.kill();
    let server = workplace.serve();
    assert_eq!(files(&workplace), ["heaps.md", "long.txt"]);
    let ids: Vec<Value> = listed(&server).into_iter().map(|document| document["id"].clone()).collect();
    assert_eq!(ids, ["heaps.md"], "what was not acknowledged is not there in part");
    let (_, job) = server.call_json("POST", "/api/ingest", &[], b"");
    let job = ended(&server, &job);
    assert_eq!((&job["counts"]["ingested"], &job["counts"]["unchanged"]), (&json!(1), &json!(1)), "{job}");
    assert_eq!(listed(&server).len(), 2);
    let examined: Value = serde_json::from_str(&workplace.expect(0, &["doctor", "--json"])).unwrap();
    assert_eq!(examined["problems"], 0);
}

#[test]
fn a_server_that_is_told_to_stop_in_a_job_leaves_the_rest_to_the_next_ingest() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    ingested(&server, &[("heaps.md", HEAPS.as_bytes())]);
    embedding(&server);
    assert_eq!(server.terminate(), Some(0));
    let report: Value = serde_json::from_str(&workplace.expect(0, &["ingest", "--json"])).unwrap();
    assert_eq!((&report["ingested"], &report["unchanged"]), (&json!(1), &json!(1)), "{report}");
}
