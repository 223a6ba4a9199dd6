//! Files a user pulls from elsewhere: Hugging Face and plain addresses, recorded from then on.

use std::fs;
use std::sync::Mutex;

use mentor::models::{Device, FileReport, ModelKind, ModelState};

use crate::scene::{Scene, TOKENIZER, gguf, line_of, sum};
use crate::server::{Reply, Request, Server, nobody};

/// A hub that redirects from 127.0.0.1 to localhost, as the real one does to another host.
fn hub(stated: String) -> Server {
    let port = Mutex::new(0);
    let port = std::sync::Arc::new(port);
    let seen = std::sync::Arc::clone(&port);
    let server = Server::start(move |request| {
        let to = format!("http://localhost:{}/cdn{}", seen.lock().expect("no panic"), request.path);
        match request.path.strip_prefix("/cdn") {
            None => Reply::status(302).header("location", to).header("x-linked-etag", format!("\"{stated}\"")),
            Some(_) => Reply::file(request, &gguf(), "\"one\""),
        }
    });
    *port.lock().expect("no panic") = server.port();
    server
}

#[test]
fn a_file_on_hugging_face_is_pulled_recorded_and_found() {
    let server = hub(sum(&gguf()));
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&["hf:Qwen/Tiny-GGUF@v1/sub/Tiny-Q4.gguf"]).expect("pulled");
    let path = scene.root().join("tiny-q4/Tiny-Q4.gguf");
    assert_eq!(scene.dir().resolve_llm(Some("tiny-q4"), Device::Cpu).expect("by name"), path);
    assert_eq!(
        scene.dir().resolve_llm(Some("hf:Qwen/Tiny-GGUF@v1/sub/Tiny-Q4.gguf"), Device::Cpu).expect("by source"),
        path
    );
    let rows = scene.dir().list().expect("readable");
    let row = rows.iter().find(|row| row.name == "tiny-q4").expect("listed");
    assert_eq!((row.kind, row.state), (ModelKind::Generator, ModelState::Ready));
    assert!(server.requests()[0].path.ends_with("/Qwen/Tiny-GGUF/resolve/v1/sub/Tiny-Q4.gguf"));
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let server = hub(sum(&gguf()));
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&["hf:o/r/a.gguf"]).expect("pulled");
    let token = |request: &Request| request.headers.get("authorization").cloned();
    let (elsewhere, hub): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(|request| request.path.starts_with("/cdn"));
    assert!(hub.iter().all(|request| token(request).as_deref() == Some("Bearer hf_secret")));
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|request| token(request).is_none()));
    assert!(scene.told.iter().all(|line| !line.contains("hf_secret")));
}

#[test]
fn a_file_with_another_sum_than_the_hub_states_is_refused() {
    let server = hub(sum(b"something else"));
    let mut scene = Scene::new(&server.url(""));
    let line = line_of(scene.pull(&["hf:o/r/a.gguf"]));
    assert!(line.contains(&sum(&gguf())) && line.contains(&sum(b"something else")), "{line}");
    assert!(!scene.root().join("a").exists() && !scene.root().join("pulled.toml").exists());
}

#[test]
fn what_was_pulled_is_verified_and_mended_without_network() {
    let server = hub(sum(&gguf()));
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&["hf:o/r/a.gguf"]).expect("pulled");
    fs::remove_file(scene.root().join("a/a.gguf")).expect("removed");
    let line = line_of(scene.dir().resolve_llm(Some("a"), Device::Cpu));
    assert!(line.contains("is missing: run `mentor models pull a`"), "{line}");
    scene.settings.hf_endpoint = nobody();
    scene.pull(&["a"]).expect("from the cache");
    let names = ["a".to_owned()];
    assert!(scene.dir().verify(&names).expect("readable").iter().all(FileReport::is_intact));
}

#[test]
fn a_new_models_folder_gets_a_known_source_from_the_cache() {
    let server = hub(sum(&gguf()));
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&["hf:o/r/a.gguf"]).expect("pulled");
    fs::remove_dir_all(scene.root()).expect("removed");
    scene.settings.hf_endpoint = nobody();
    scene.pull(&["hf:o/r/a.gguf"]).expect("from the cache");
    assert!(scene.dir().resolve_llm(Some("a"), Device::Cpu).is_ok());
}

#[test]
fn a_source_that_changed_is_refused_until_that_is_asked_for() {
    let version = std::sync::Arc::new(Mutex::new(b"GGUF one".to_vec()));
    let current = std::sync::Arc::clone(&version);
    let server = Server::start(move |_| Reply::ok(current.lock().expect("no panic").clone()));
    let mut scene = Scene::new("");
    let url = server.url("/a.gguf");
    scene.pull(&[&url]).expect("pulled");
    *version.lock().expect("no panic") = b"GGUF two".to_vec();
    fs::remove_dir_all(scene.cache()).expect("removed");
    fs::remove_dir_all(scene.root().join("a")).expect("removed");
    assert!(line_of(scene.pull(&[&url])).contains("has SHA-256"));
    scene.pull_as(&[&url], None, true).expect("accepted");
    assert_eq!(scene.read("a/a.gguf"), b"GGUF two");
    assert!(scene.dir().resolve_llm(Some("a"), Device::Cpu).is_ok());
}

#[test]
fn the_first_part_of_a_split_model_brings_the_others() {
    let server = Server::start(|request| Reply::ok(format!("GGUF {}", request.path)));
    let mut scene = Scene::new(&server.url(""));
    let reports = scene.pull(&["hf:o/r/q-00001-of-00003.gguf"]).expect("pulled");
    assert_eq!(reports.len(), 3);
    let path = scene.dir().resolve_llm(Some("q"), Device::Cpu).expect("ready");
    assert_eq!(path, scene.root().join("q/q-00001-of-00003.gguf"));
}

#[test]
fn a_model_of_which_a_part_failed_is_not_recorded() {
    let server = Server::start(|request| match request.path.contains("00002") {
        true => Reply::status(404),
        false => Reply::ok("GGUF"),
    });
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&["hf:o/r/q-00001-of-00002.gguf"]).expect_err("a part is missing");
    assert!(line_of(scene.dir().resolve_llm(Some("q"), Device::Cpu)).contains("there is no model \"q\""));
}

#[test]
fn sources_with_a_name_share_a_folder_and_make_an_embedder() {
    let server = Server::start(|request| match request.path.as_str() {
        "/model.onnx" => Reply::ok("onnx"),
        _ => Reply::ok(TOKENIZER),
    });
    let mut scene = Scene::new("");
    let sources = [server.url("/model.onnx"), server.url("/tokenizer.json?download=true")];
    scene.pull_as(&[&sources[0], &sources[1]], Some("mine"), false).expect("pulled");
    assert_eq!(scene.dir().resolve_embedder(Some("mine")).expect("ready"), scene.root().join("mine"));
    assert!(
        line_of(scene.dir().resolve_llm(Some("mine"), Device::Cpu)).contains("mine is an embedder, not a generator")
    );
}

#[test]
fn two_sources_with_the_same_file_name_get_folders_of_their_own() {
    let server = Server::start(|request| Reply::ok(format!("GGUF {}", request.path)));
    let mut scene = Scene::new("");
    scene.pull(&[&server.url("/one/a.gguf"), &server.url("/two/a.gguf")]).expect("pulled");
    let rows = scene.dir().list().expect("readable");
    assert_eq!(rows.iter().filter(|row| row.name.starts_with('a') && row.state == ModelState::Ready).count(), 2);
}

#[test]
fn names_and_sources_that_cannot_be_are_one_line() {
    let mut scene = Scene::new(&nobody());
    assert!(line_of(scene.pull(&["nosuch"])).contains("there is no model \"nosuch\""));
    assert!(line_of(scene.pull(&["hf:only/two"])).contains("hf:OWNER/REPO/FILE"));
    assert!(line_of(scene.pull(&["http://example.org/a.gguf"])).contains("use https"));
    assert!(line_of(scene.pull_as(&["hf:o/r/a"], Some("../up"), false)).contains("cannot be the name"));
    assert!(line_of(scene.pull_as(&["hf:o/r/a"], Some("writer"), false)).contains("is the name of a model that ships"));
    assert!(line_of(scene.pull(&["writer", "writer"])).contains("asked for twice"));
}

#[test]
fn a_damaged_record_is_told_and_not_overwritten() {
    let mut scene = Scene::new(&nobody());
    fs::create_dir_all(scene.root()).expect("created");
    fs::write(scene.root().join("pulled.toml"), "[[model]\n").expect("written");
    assert!(line_of(scene.pull(&["hf:o/r/a.gguf"])).contains("pulled.toml is not a list of models"));
    assert_eq!(scene.read("pulled.toml"), b"[[model]\n");
}
