//! `/openapi.json` against the routes that are registered and against real answers.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::schema::check;
use crate::support::Script;
use crate::{PATIENCE, Server};

/// An answer with what the contract speaks of.
pub struct Answer {
    pub status: u16,
    pub media_type: String,
    pub retry_after: Option<String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Calls a server on a thread of its own, as `ureq` waits.
pub async fn fetch(server: &Server, method: &'static str, path: &str, accept: &'static str, body: &Value) -> Answer {
    let (url, body) = (format!("http://{}{path}", server.address), body.to_string());
    let call = move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let mut response = match method {
            "get" => agent.get(&url).header("accept", accept).call(),
            _ => agent.post(&url).header("accept", accept).content_type("application/json").send(body.as_str()),
        }
        .unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let media_type = header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
        let (retry_after, status) = (header("retry-after"), response.status().as_u16());
        Answer { status, media_type, retry_after, text: response.body_mut().read_to_string().unwrap() }
    };
    tokio::task::spawn_blocking(call).await.unwrap()
}

/// Checks an answer by what the contract says of its operation.
fn check_answer(contract: &Value, method: &str, route: &str, answer: &Answer) {
    let shown = format!("{method} {route} {}: {}", answer.status, answer.text);
    let response = &contract["paths"][route][method]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "the status is not documented: {shown}");
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
    const ANY: &str = "*/*";
    let server = Server::start(Script::default());
    let contract = fetch(&server, "get", "/openapi.json", ANY, &json!(null)).await.json();
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
    let mut answered = BTreeSet::new();
    for (method, route, path, accept, body) in calls {
        let answer = fetch(&server, method, path, accept, &body).await;
        check_answer(&contract, method, route, &answer);
        if method == "post" && answer.status == 200 {
            let takes = &contract["paths"][route][method]["requestBody"]["content"]["application/json"]["schema"];
            check(&body, takes, &contract).unwrap_or_else(|wrong| panic!("{route} takes {body}: {wrong}"));
        }
        if answer.status == 200 || route.starts_with("/api/ws/") {
            answered.insert((route.to_owned(), method.to_owned()));
        }
    }
    assert_eq!(answered, documented(&contract), "every operation was answered here");
    server.stop().await;
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
async fn the_page_shows_every_operation_and_needs_nothing_from_elsewhere() {
    let server = Server::start(Script::default());
    let contract = fetch(&server, "get", "/openapi.json", "*/*", &json!(null)).await.json();
    let page = fetch(&server, "get", "/docs", "*/*", &json!(null)).await.text;
    for (path, _) in documented(&contract) {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
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
