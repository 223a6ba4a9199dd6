//! `/openapi.json` against the routes that are registered and against real answers.

use std::collections::BTreeSet;
use std::path::Path;

use mentor::jobs::{DocumentResult, Job, Jobs, Order, Runner};
use mentor::materials::{Materials, UploadLimits};
use mentor_actors::domain::{DocumentId, ErrorCode, TurnError};
use serde_json::{Value, json};

use crate::files::Library;
use crate::schema::check;
use crate::support::Script;
use crate::{PATIENCE, Server};

/// An answer with what the contract speaks of.
pub struct Answer {
    pub status: u16,
    pub media_type: String,
    pub retry_after: Option<String>,
    policy: Option<String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Calls a server with JSON.
pub async fn fetch(server: &Server, method: &'static str, path: &str, accept: &'static str, body: &Value) -> Answer {
    let body = if method == "post" { body.to_string() } else { String::new() };
    fetch_text(server, method, path, [("accept", accept), ("content-type", "application/json")], body).await
}

/// Calls a server on a thread of its own, as `ureq` waits.
async fn fetch_text(
    server: &Server,
    method: &'static str,
    path: &str,
    headers: [(&'static str, &'static str); 2],
    body: String,
) -> Answer {
    let url = format!("http://{}{path}", server.address);
    let call = move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let mut request = ureq::http::Request::builder().method(method.to_uppercase().as_str()).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let media_type = header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
        let (retry_after, status) = (header("retry-after"), response.status().as_u16());
        let policy = header("content-security-policy");
        Answer { status, media_type, retry_after, policy, text: response.body_mut().read_to_string().unwrap() }
    };
    tokio::task::spawn_blocking(call).await.unwrap()
}

/// Checks an answer by what the contract says of its operation.
fn check_answer(contract: &Value, method: &str, route: &str, answer: &Answer) {
    let shown = format!("{method} {route} {}: {}", answer.status, answer.text);
    let response = &contract["paths"][route][method]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "the status is not documented: {shown}");
    if answer.text.is_empty() {
        assert!(response["content"].is_null(), "there is a body by the contract: {shown}");
        return;
    }
    let held = &response["content"][&answer.media_type];
    assert!(held.is_object(), "{} is not documented: {shown}", answer.media_type);
    if answer.media_type == "application/json" {
        check(&answer.json(), &held["schema"], contract).unwrap_or_else(|wrong| panic!("{wrong}\n{shown}"));
    }
    if answer.retry_after.is_some() {
        assert!(response["headers"]["Retry-After"].is_object(), "Retry-After is not documented: {shown}");
    }
}

#[actix::test]
async fn real_answers_of_every_route_are_as_documented() {
    let mut traffic = Traffic::start().await;
    let chat = |extra: Value| {
        let mut body = json!({"model": "mentor", "messages": [{"role": "user", "content": "what is a heap?"}]});
        extra.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    let texts = |encoding: &str| json!({"model": "fake-embedder", "input": ["a", "b"], "encoding_format": encoding});
    let calls = [
        ("post", "/api/chat", "/api/chat", ANY, json!({"message": "what is a heap?"})),
        ("post", "/api/chat", "/api/chat", "text/event-stream", json!({"message": "what is a heap?"})),
        ("post", "/api/chat", "/api/chat", ANY, json!({"message": "what about poison, in a question of its own?"})),
        ("post", "/api/chat", "/api/chat", ANY, json!({"message": " "})),
        ("post", "/api/chat", "/api/chat", ANY, json!({"message": 5})),
        ("post", "/api/chat", "/api/chat", ANY, json!({"message": "x".repeat(2_001)})),
        ("post", "/api/chat", "/api/chat", ANY, json!({"message": "hi", "conversation_id": "c1", "turn_id": "t1"})),
        ("get", "/api/conversations", "/api/conversations?limit=1", ANY, json!(null)),
        ("get", "/api/conversations", "/api/conversations?limit=0", ANY, json!(null)),
        ("post", "/api/feedback", "/api/feedback", ANY, json!({"interaction_id": "t1", "rating": 4})),
        ("post", "/api/feedback", "/api/feedback", ANY, json!({"interaction_id": "nothing", "rating": 4})),
        ("post", "/api/feedback", "/api/feedback", ANY, json!({"interaction_id": "t1", "rating": 6})),
        (
            "post",
            "/api/analytics/feedback",
            "/api/analytics/feedback",
            ANY,
            json!({"interaction_id": "t1", "rating": 5, "feedback_text": "clear"}),
        ),
        ("get", "/api/conversations/{conversation_id}", "/api/conversations/c1", ANY, json!(null)),
        ("get", "/api/conversations/{conversation_id}", "/api/conversations/c2", ANY, json!(null)),
        ("delete", "/api/conversations/{conversation_id}", "/api/conversations/c1", ANY, json!(null)),
        ("delete", "/api/conversations/{conversation_id}", "/api/conversations/c1", ANY, json!(null)),
        ("get", "/api/documents", "/api/documents", ANY, json!(null)),
        ("delete", "/api/documents/{id}", "/api/documents/nothing.md", ANY, json!(null)),
        ("get", "/api/files/{document_id}", "/api/files/notes.md", ANY, json!(null)),
        ("get", "/api/files/{document_id}", "/api/files/changed.md", ANY, json!(null)),
        ("get", "/api/files/{document_id}", "/api/files/nothing.md", ANY, json!(null)),
        ("get", "/api/ingest/{job}", "/api/ingest/nothing", ANY, json!(null)),
        ("delete", "/api/ingest/{job}", "/api/ingest/nothing", ANY, json!(null)),
        ("post", "/api/ingest", "/api/ingest", ANY, json!({"retry": true})),
        ("post", "/api/ingest", "/api/ingest", ANY, json!({"retry": 5})),
        ("post", "/api/ticket", "/api/ticket", ANY, json!(null)),
        ("post", "/api/search", "/api/search", ANY, json!({"query": "what is a heap?", "top_k": 2})),
        ("post", "/api/search", "/api/search", ANY, json!({})),
        ("get", "/api/stats", "/api/stats", ANY, json!(null)),
        ("get", "/livez", "/livez", ANY, json!(null)),
        ("get", "/readyz", "/readyz", ANY, json!(null)),
        ("get", "/api/health", "/api/health", ANY, json!(null)),
        ("get", "/metrics", "/metrics", ANY, json!(null)),
        ("get", "/", "/", ANY, json!(null)),
        ("get", "/openapi.json", "/openapi.json", ANY, json!(null)),
        ("get", "/docs", "/docs", ANY, json!(null)),
        ("get", "/schema/frames.json", "/schema/frames.json", ANY, json!(null)),
        ("get", "/api/ws/chat", "/api/ws/chat", ANY, json!(null)),
        ("get", "/api/ws/chat/{conversation_id}", "/api/ws/chat/a%20b", ANY, json!(null)),
        ("post", "/v1/chat/completions", "/v1/chat/completions", ANY, chat(json!({}))),
        ("post", "/v1/chat/completions", "/v1/chat/completions", ANY, chat(json!({"stream": true}))),
        ("post", "/v1/chat/completions", "/v1/chat/completions", ANY, chat(json!({"n": 2}))),
        ("post", "/v1/chat/completions", "/v1/chat/completions", ANY, chat(json!({"model": "x"}))),
        ("post", "/v1/embeddings", "/v1/embeddings", ANY, texts("float")),
        ("post", "/v1/embeddings", "/v1/embeddings", ANY, texts("base64")),
        ("post", "/v1/embeddings", "/v1/embeddings", ANY, texts("hex")),
        ("get", "/v1/models", "/v1/models", ANY, json!(null)),
        ("get", "/v1/models/{model}", "/v1/models/fake-embedder", ANY, json!(null)),
        ("get", "/v1/models/{model}", "/v1/models/other", ANY, json!(null)),
    ];
    for (method, route, path, accept, body) in calls {
        traffic.call(method, route, path, accept, &body).await;
    }
    traffic.change_the_course().await;
    traffic.refuse_a_long_head().await;
    traffic.follow_a_conversation().await;
    assert_eq!(traffic.answered, documented(&traffic.contract), "every operation was answered here");
    traffic.server.stop().await;
}

const ANY: &str = "*/*";
const EVENTS: &str = "text/event-stream";

/// A server, and what it was asked.
struct Traffic {
    server: Server,
    contract: Value,
    /// Operations that succeeded.
    answered: BTreeSet<(String, String)>,
    _folder: tempfile::TempDir,
}

/// Tells of everything that may become of documents, and fails where it is to try again.
struct Outcomes;

impl Runner for Outcomes {
    fn run(&mut self, job: &Job) -> Result<(), TurnError> {
        let id = |name: &str| DocumentId(name.to_owned());
        job.advance(|stages| stages.extract.total = 9);
        for result in [
            DocumentResult::Ingested { pages: 1, chunks: 2, failed_pages: vec![(1, "a picture".into())] },
            DocumentResult::Failed { reason: "encrypted".into() },
            DocumentResult::Removed,
            DocumentResult::Renamed { from: id("former.md") },
            DocumentResult::Copy { of: id("other.md") },
            DocumentResult::Unchanged,
        ] {
            job.document(id("heaps.md"), result);
        }
        let fails = matches!(job.order(), Order::Sync { retry: true });
        let full = TurnError::new(ErrorCode::Unavailable, "the disk is full").retry_after(PATIENCE);
        if fails { Err(full) } else { Ok(()) }
    }
}

impl Traffic {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = UploadLimits { file_bytes: 1_000, files: 2, free_bytes: 0 };
        let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        file("notes.md", "A heap.");
        file("changed.md", "A heap.");
        let library = Library::of(folder.path(), &["notes.md", "changed.md"]);
        file("changed.md", "A stack.");
        let server = Server::start_changed(Script::default(), |doors| {
            doors.jobs = Jobs::start(Outcomes, 8, &doors.services.telemetry).unwrap().0;
            doors.materials = Materials::new(folder.path().to_owned(), limits);
            doors.store = library;
        });
        let contract = fetch(&server, "get", "/openapi.json", ANY, &json!(null)).await.json();
        Self { server, contract, answered: BTreeSet::new(), _folder: folder }
    }

    async fn call(
        &mut self,
        method: &'static str,
        route: &str,
        path: &str,
        accept: &'static str,
        body: &Value,
    ) -> Answer {
        let answer = fetch(&self.server, method, path, accept, body).await;
        self.note(method, route, &answer);
        let takes = &self.contract["paths"][route][method]["requestBody"]["content"]["application/json"]["schema"];
        if (200..300).contains(&answer.status) && !takes.is_null() {
            check(body, takes, &self.contract).unwrap_or_else(|wrong| panic!("{route} takes {body}: {wrong}"));
        }
        answer
    }

    fn note(&mut self, method: &str, route: &str, answer: &Answer) {
        check_answer(&self.contract, method, route, answer);
        if (200..300).contains(&answer.status) || route.starts_with("/api/ws/") {
            self.answered.insert((route.to_owned(), method.to_owned()));
        }
    }

    /// Uploads, jobs and their events.
    async fn change_the_course(&mut self) {
        let file = "--X\r\ncontent-disposition: form-data; name=f; filename=heaps.md\r\n\r\nA heap.\r\n--X--\r\n";
        let mut jobs = Vec::new();
        for status in [202, 400] {
            let headers = [("accept", ANY), ("content-type", "multipart/form-data; boundary=X")];
            let answer = fetch_text(&self.server, "post", "/api/documents", headers, file.to_owned()).await;
            assert_eq!(answer.status, status, "its name is taken the second time: {}", answer.text);
            self.note("post", "/api/documents", &answer);
            jobs.push(answer);
        }
        jobs.pop();
        jobs.push(self.call("delete", "/api/documents/{id}", "/api/documents/heaps.md", ANY, &json!(null)).await);
        jobs.push(self.call("post", "/api/ingest", "/api/ingest", ANY, &json!({"retry": true})).await);
        let mut seen = BTreeSet::new();
        for job in jobs {
            let path = format!("/api/ingest/{}", job.json()["id"].as_str().unwrap());
            let followed = self.call("get", "/api/ingest/{job}", &path, EVENTS, &json!(null)).await;
            for event in followed.text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                let event: Value = serde_json::from_str(event).unwrap();
                check(&event, &self.contract["components"]["schemas"]["JobEvent"], &self.contract).unwrap();
                seen.insert(event["type"].as_str().unwrap().to_owned());
            }
            self.call("get", "/api/ingest/{job}", &path, ANY, &json!(null)).await;
            self.call("delete", "/api/ingest/{job}", &path, ANY, &json!(null)).await;
        }
        self.call("get", "/api/ingest", "/api/ingest", ANY, &json!(null)).await;
        assert_eq!(Vec::from_iter(seen), ["complete", "document", "error", "progress", "state"]);
    }

    /// Refusals before any handler have the shape that clients of the address expect.
    async fn refuse_a_long_head(&mut self) {
        let long = "x".repeat(2_100);
        for (route, is_openai) in [("/api/stats", false), ("/v1/models", true)] {
            let path = format!("{route}?{long}");
            let answer = self.call("get", route, &path, ANY, &json!(null)).await;
            let error = &answer.json()["error"];
            assert_eq!((answer.status, &error["code"]), (431, &json!("too_large")));
            assert_eq!(error["type"].is_string(), is_openai, "{}", answer.text);
        }
    }

    /// A stream without an end of its own: it ends with the server.
    async fn follow_a_conversation(&mut self) {
        let asked = json!({"message": "what is a heap?", "conversation_id": "c3"});
        self.call("post", "/api/chat", "/api/chat", ANY, &asked).await;
        self.server.shutdown.cancel();
        let route = "/api/conversations/{conversation_id}/events";
        let followed = self.call("get", route, "/api/conversations/c3/events?after=0", ANY, &json!(null)).await;
        assert!(followed.text.contains(r#""type":"complete""#), "{}", followed.text);
        self.call("get", route, "/api/conversations/c3/events?after=1000", ANY, &json!(null)).await;
    }
}

#[actix::test]
async fn chunks_of_a_stream_are_as_documented() {
    let server = Server::start(Script::default());
    let contract = fetch(&server, "get", "/openapi.json", "*/*", &json!(null)).await.json();
    let asked = json!({"model": "mentor", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "what is a heap?"}]});
    let answer = fetch(&server, "post", "/v1/chat/completions", "*/*", &asked).await;
    let chunks: Vec<&str> =
        answer.text.split_terminator("\n\n").filter_map(|part| part.strip_prefix("data: {")).collect();
    assert!(chunks.len() >= 4, "{}", answer.text);
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(&format!("{{{chunk}")).unwrap();
        check(&chunk, &contract["components"]["schemas"]["ChatChunk"], &contract).unwrap();
    }
    server.stop().await;
}

#[actix::test]
async fn every_route_is_documented_and_every_documented_one_is_there() {
    let server = Server::start(Script::default());
    let contract = fetch(&server, "get", "/openapi.json", "*/*", &json!(null)).await.json();
    assert_eq!(registered(), documented(&contract), "left what is registered, right what is documented");
    server.stop().await;
}

#[actix::test]
async fn every_operation_says_who_may_ask_and_refuses_the_others() {
    let server = Server::start(Script::default());
    let contract = fetch(&server, "get", "/openapi.json", "*/*", &json!(null)).await.json();
    for (path, method) in documented(&contract) {
        let operation = &contract["paths"][&path][&method];
        let is_open = ["/", "/livez", "/readyz"].contains(&path.as_str());
        assert_eq!(operation["security"] == json!([]), is_open, "{method} {path}");
        assert_eq!(operation["responses"]["401"].is_null(), is_open, "{method} {path}");
        for status in ["403", "429", "431"] {
            assert!(operation["responses"][status].is_object(), "{status} of {method} {path}");
        }
        for way in operation["security"].as_array().unwrap() {
            let scheme = way.as_object().unwrap().keys().next().unwrap();
            assert!(contract["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
        }
    }
    let scopes = |path: &str, method: &str| contract["paths"][path][method]["security"][0]["key"].clone();
    assert_eq!(scopes("/api/documents/{id}", "delete"), json!(["admin"]));
    assert_eq!(scopes("/v1/embeddings", "post"), json!(["ask"]));
    assert_eq!(scopes("/docs", "get"), json!([]));
    server.stop().await;
}

#[actix::test]
async fn the_page_shows_every_operation_and_needs_nothing_from_elsewhere() {
    let server = Server::start(Script::default());
    let contract = fetch(&server, "get", "/openapi.json", "*/*", &json!(null)).await.json();
    let answer = fetch(&server, "get", "/docs", "*/*", &json!(null)).await;
    let page = &answer.text;
    for (path, _) in documented(&contract) {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    let policy = mentor::guard::policy::of_page(page);
    assert_eq!(answer.policy.as_deref(), Some(policy.as_str()), "its style may be applied");
    for outside in ["<script", "src=", "http:", "https:", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    server.stop().await;
}

fn documented(contract: &Value) -> BTreeSet<(String, String)> {
    let paths = contract["paths"].as_object().unwrap();
    let methods = |(path, methods): (&String, &Value)| -> Vec<(String, String)> {
        methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect()
    };
    paths.iter().flat_map(methods).collect()
}

/// Paths and methods as the code registers them: the server cannot be asked.
fn registered() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    read_routes(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http")), &mut found);
    assert!(found.len() > 10, "the routes were not found: {found:?}");
    found
}

fn read_routes(folder: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_routes(&path, found);
        } else {
            routes_of(&std::fs::read_to_string(&path).unwrap(), found);
        }
    }
}

/// `.route("/path", web::method().to(...))`, and `web::resource("/path")` with its `.route(web::method()...)`.
fn routes_of(source: &str, found: &mut BTreeSet<(String, String)>) {
    let source: String = source.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(!source.contains("web::scope("), "routes in a scope are not understood here: register whole paths");
    let starts: Vec<usize> = ["route(\"/", "resource(\"/"]
        .iter()
        .flat_map(|start| source.match_indices(start).map(|(at, text)| at + text.len() - 1))
        .collect();
    for &start in &starts {
        let next = starts.iter().filter(|&&other| other > start).min().copied().unwrap_or(source.len());
        let (path, rest) = source[start..next].split_once('"').unwrap();
        let methods = ["get", "post", "put", "patch", "delete"];
        for method in methods.into_iter().filter(|method| rest.contains(&format!("web::{method}()"))) {
            found.insert((without_patterns(path), method.to_owned()));
        }
    }
}

/// `{model:.+}` is `{model}` to the contract.
fn without_patterns(path: &str) -> String {
    let part = |part: &str| match part.split_once(':') {
        Some((name, _)) if part.starts_with('{') => format!("{name}}}"),
        _ => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn routes_are_found_in_the_code() {
    let mut found = BTreeSet::new();
    routes_of(
        r#"config.route("/a/{id:.+}", web::get().to(a)).route("/b", web::post().to(b))
           .service(web::resource("/c").route(web::get().to(c)).route(web::delete().to(d)))"#,
        &mut found,
    );
    let expected = [("/a/{id}", "get"), ("/b", "post"), ("/c", "delete"), ("/c", "get")];
    assert_eq!(found, expected.map(|(path, method)| (path.to_owned(), method.to_owned())).into());
}
