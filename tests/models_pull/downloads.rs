//! One file over HTTP: cut, resumed, refused, busy, changed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::scene::{Scene, gguf, line_of, sum};
use crate::server::{Reply, Request, Server, nobody};

/// Answers the first requests from a script and all others with `rest`.
fn script(first: Vec<Reply>, rest: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let first = Mutex::new(first.into_iter());
    Server::start(move |request| first.lock().expect("no panic").next().unwrap_or_else(|| rest(request)))
}

fn whole(request: &Request) -> Reply {
    Reply::file(request, &gguf(), "\"one\"")
}

fn tagged(bytes: usize) -> Reply {
    Reply::ok(gguf()).header("etag", "\"one\"").cut_after(bytes)
}

fn range_of(server: &Server, at: usize) -> Option<String> {
    server.requests()[at].headers.get("range").cloned()
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let server = script(vec![tagged(150_000)], whole);
    let mut scene = Scene::new("");
    scene.pull(&[&server.url("/a.gguf")]).expect("pulled");
    assert_eq!(scene.read("a/a.gguf"), gguf());
    assert_eq!(range_of(&server, 1).as_deref(), Some("bytes=150000-"));
    assert_eq!(server.requests()[1].headers["if-range"], "\"one\"");
}

#[test]
fn a_later_pull_goes_on_where_one_was_given_up() {
    let server = Server::start({
        let tries = AtomicUsize::new(0);
        move |request| match tries.fetch_add(1, SeqCst) {
            0 => tagged(150_000),
            1..=3 => Reply::status(503),
            _ => whole(request),
        }
    });
    let mut scene = Scene::new("");
    let url = server.url("/a.gguf");
    let line = line_of(scene.pull(&[&url]));
    assert!(line.contains("given up after 4 tries") && line.contains("answers 503"), "{line}");
    scene.pull(&[&url]).expect("pulled");
    assert_eq!(range_of(&server, 4).as_deref(), Some("bytes=150000-"));
    assert_eq!(scene.read("a/a.gguf"), gguf());
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let server = script(vec![tagged(150_000)], |_| Reply::ok(gguf()).header("etag", "\"one\""));
    let mut scene = Scene::new("");
    scene.pull(&[&server.url("/a.gguf")]).expect("pulled");
    assert_eq!(scene.read("a/a.gguf"), gguf());
}

#[test]
fn a_file_that_changed_meanwhile_is_read_from_the_start() {
    let server = script(vec![tagged(150_000)], |request| Reply::file(request, b"GGUF, the next version", "\"two\""));
    let mut scene = Scene::new("");
    scene.pull(&[&server.url("/a.gguf")]).expect("pulled");
    assert_eq!(scene.read("a/a.gguf"), b"GGUF, the next version");
}

#[test]
fn without_a_tag_nothing_is_resumed() {
    let server = script(vec![Reply::ok(gguf()).cut_after(150_000)], |_| Reply::ok(gguf()));
    let mut scene = Scene::new("");
    scene.pull(&[&server.url("/a.gguf")]).expect("pulled");
    assert_eq!(range_of(&server, 1), None);
    assert_eq!(scene.read("a/a.gguf"), gguf());
}

#[test]
fn a_beginning_that_proves_wrong_is_dropped() {
    let wrong = vec![b'x'; gguf().len()];
    let head = |request: &Request| request.method == "HEAD";
    let server = Server::start({
        let tries = AtomicUsize::new(0);
        move |request| match tries.fetch_add(usize::from(!head(request)), SeqCst) {
            _ if head(request) => Reply::status(200).header("x-linked-etag", format!("\"{}\"", sum(&gguf()))),
            0 => Reply::ok(wrong.clone()).header("etag", "\"one\"").cut_after(1000),
            1..=3 => Reply::status(500),
            _ => whole(request),
        }
    });
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&["hf:o/r/a.gguf"]).expect_err("given up with a wrong beginning");
    scene.pull(&["hf:o/r/a.gguf"]).expect("pulled");
    assert!(scene.was_told("Discarded"), "{:?}", scene.told);
    assert_eq!(scene.read("a/a.gguf"), gguf());
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = script(vec![Reply::status(503), Reply::status(429).header("retry-after", "0")], whole);
    let mut scene = Scene::new("");
    scene.pull(&[&server.url("/a.gguf")]).expect("pulled");
    assert_eq!(server.requests().len(), 3);
    assert!(scene.was_told("Retrying"));
}

#[test]
fn what_is_not_there_or_not_allowed_is_one_line_and_one_try() {
    for (status, hint) in [(404, "check the name"), (403, "HF_TOKEN"), (401, "HF_TOKEN")] {
        let server = Server::start(move |_| Reply::status(status));
        let line = line_of(Scene::new("").pull(&[&server.url("/a.gguf")]));
        assert!(line.contains(&format!("answers {status}")) && line.contains(hint), "{line}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn nobody_answering_is_told_at_once() {
    let mut scene = Scene::new(&nobody());
    for wanted in ["writer", "hf:o/r/a.gguf"] {
        let line = line_of(scene.pull(&[wanted]));
        assert!(line.contains("cannot reach 127.0.0.1:") && line.contains("no network?"), "{line}");
        assert!(!scene.was_told("Retrying"));
    }
}

#[test]
fn a_web_page_in_the_place_of_a_model_is_refused() {
    let server = Server::start(|_| Reply::ok("<html>please log in</html>"));
    let mut scene = Scene::new("");
    let line = line_of(scene.pull(&[&server.url("/a.gguf")]));
    assert!(line.contains("not a GGUF file"), "{line}");
    assert!(!scene.root().join("a").exists());
}

#[test]
fn an_answer_cut_at_every_try_ends_in_one_line() {
    let server = Server::start(|_| tagged(1000));
    let line = line_of(Scene::new("").pull(&[&server.url("/a.gguf")]));
    assert!(line.contains("given up after 4 tries"), "{line}");
}
