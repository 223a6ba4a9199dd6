//! Weights made for the machine: what is kept, what is trusted, and when it is done again. With a chooser that measures nothing.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mentor::models::{
    ConvertReport, ConvertRequest, ConvertState, Device, FileReport, ModelsError, WeightChoice, WeightChooser,
};
use mentor_actors::domain::EngineError;
use mentor_engines::llama::{Candidate, Choice, ChooseEvent, ChooseRequest, Speed, WeightType};

use crate::scene::{Scene, gguf, index, line_of, tiny_wheel};
use crate::server::{Server, nobody};

/// Chooses what it is told to.
struct Fake {
    type_name: &'static str,
    chosen: Option<WeightType>,
    fails: Cell<bool>,
    /// How often something was measured.
    calls: Cell<usize>,
}

impl Fake {
    fn choosing(chosen: Option<WeightType>) -> Self {
        Self { type_name: "Q4_1", chosen, fails: Cell::new(false), calls: Cell::new(0) }
    }
}

fn candidate(type_name: &str, rewritten: Option<WeightType>) -> Candidate {
    let speed = Speed { prefill_tokens_per_s: 100.0, decode_tokens_per_s: 50.0, processor_share: 1.0 };
    Candidate { rewritten, type_name: type_name.to_owned(), bytes: 9, perplexity: 14.0, agreement: 1.0, speed }
}

impl WeightChooser for Fake {
    fn type_name(&self, _: &Path) -> Result<String, EngineError> {
        Ok(self.type_name.to_owned())
    }

    fn choose(&self, request: &ChooseRequest<'_>, _: &mut dyn FnMut(ChooseEvent<'_>)) -> Result<Choice, EngineError> {
        self.calls.set(self.calls.get() + 1);
        let chosen = request.only.or(self.chosen);
        let file = chosen.map(|weights| request.folder.join(format!("{weights}.gguf")));
        if let Some(file) = &file {
            fs::write(file, format!("GGUF as {}", chosen.map_or("", WeightType::name))).expect("the folder is there");
        }
        if self.fails.get() {
            return Err(EngineError::Load("model a.gguf: cannot be rewritten".to_owned()));
        }
        let made = chosen.map(|weights| candidate(weights.name(), Some(weights)));
        let candidates: Vec<_> = std::iter::once(candidate(self.type_name, None)).chain(made).collect();
        Ok(Choice { chosen: candidates.len() - 1, candidates, file, reason: "for a test".to_owned() })
    }
}

fn request() -> ConvertRequest<'static> {
    ConvertRequest { llm: None, weights: None, force: false, is_setup: false, device: Device::Cpu, threads: 1 }
}

fn convert(scene: &Scene, fake: &Fake, request: &ConvertRequest<'_>) -> Result<ConvertReport, ModelsError> {
    scene.dir().convert(request, fake, &mut |_| {})
}

/// What was done, and which file is used.
fn outcome(scene: &Scene, fake: &Fake, request: &ConvertRequest<'_>) -> (ConvertState, PathBuf) {
    let report = convert(scene, fake, request).expect("nothing fails");
    (report.state, report.path)
}

fn pulled() -> Scene {
    let server = Server::start(|request| index(request, &tiny_wheel()));
    let mut scene = Scene::new(&server.url(""));
    scene.pull(&[]).expect("pulled");
    scene.settings.pypi_index = nobody();
    scene
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn the_converted_file_is_handed_out_on_the_cpu_and_made_once() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    let (shipped, made) = (scene.root().join("writer/a.gguf"), scene.root().join("writer/a.Q8_0.gguf"));
    assert_eq!(scene.dir().resolve_llm(None, Device::Cpu).expect("there"), shipped);
    assert_eq!(outcome(&scene, &fake, &request()), (ConvertState::Made, made.clone()));
    assert_eq!(scene.dir().resolve_llm(None, Device::Cpu).expect("there"), made);
    assert_eq!(outcome(&scene, &fake, &request()), (ConvertState::Current, made));
    assert_eq!(fake.calls.get(), 1, "the second time nothing is measured");
    assert_eq!(names(&scene.root().join("writer")), ["a.Q8_0.gguf", "a.gguf", "converted.toml"]);
    assert_eq!(scene.read("writer/a.gguf"), gguf(), "the file as shipped stays");
    let rows = scene.dir().list().expect("readable");
    let chosen: Vec<_> = rows.iter().map(|row| row.conversion.as_ref().map(|made| &*made.chosen)).collect();
    assert_eq!(chosen, [Some("Q8_0"), None, None]);
}

#[test]
fn a_choice_of_the_shipped_file_holds_too() {
    let (scene, fake) = (pulled(), Fake::choosing(None));
    let shipped = scene.root().join("writer/a.gguf");
    assert_eq!(outcome(&scene, &fake, &request()), (ConvertState::Made, shipped.clone()));
    assert_eq!(outcome(&scene, &fake, &request()), (ConvertState::Current, shipped));
    assert_eq!(fake.calls.get(), 1);
}

#[test]
fn a_damaged_result_is_found_not_used_and_made_anew() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    let (_, made) = outcome(&scene, &fake, &request());
    for damage in ["GGUF as q8_0", "GGUF"] {
        fs::write(&made, damage).expect("written");
        let reports = scene.dir().verify(&[]).expect("readable");
        let damaged: Vec<_> = reports.iter().filter(|report| !report.is_intact()).collect();
        assert!(damaged.len() == 1 && damaged[0].converted && damaged[0].path == made, "{damaged:?}");
        assert_eq!(scene.dir().resolve_llm(None, Device::Cpu).expect("there"), scene.root().join("writer/a.gguf"));
        assert_eq!(outcome(&scene, &fake, &request()), (ConvertState::Made, made.clone()));
        assert!(scene.dir().verify(&[]).expect("readable").iter().all(FileReport::is_intact));
    }
    fs::remove_file(&made).expect("there");
    assert_eq!(outcome(&scene, &fake, &request()).0, ConvertState::Made);
    fs::write(scene.root().join("writer/converted.toml"), "procedure = ").expect("written");
    assert_eq!(outcome(&scene, &fake, &request()).0, ConvertState::Made, "a damaged record counts as none");
}

#[test]
fn another_procedure_or_another_source_means_doing_it_again() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    convert(&scene, &fake, &request()).expect("made");
    let record = scene.root().join("writer/converted.toml");
    let text = fs::read_to_string(&record).expect("there");
    let of_another = |from: &str, to: &str| {
        fs::write(&record, text.replacen(from, to, 1)).expect("written");
        outcome(&scene, &fake, &request()).0
    };
    assert_eq!(of_another("procedure = ", "procedure = 9"), ConvertState::Made);
    assert_eq!(of_another("sha256 = \"", &format!("sha256 = \"{}\" #", "0".repeat(64))), ConvertState::Made);
    assert_eq!(of_another("", ""), ConvertState::Current);
}

#[test]
fn a_type_that_is_asked_for_replaces_the_other_and_stays() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    convert(&scene, &fake, &request()).expect("made");
    let f16 = ConvertRequest { weights: Some(WeightChoice::F16), ..request() };
    let made = scene.root().join("writer/a.F16.gguf");
    assert_eq!(outcome(&scene, &fake, &f16), (ConvertState::Made, made.clone()));
    assert_eq!(outcome(&scene, &fake, &request()), (ConvertState::Current, made));
    assert_eq!(names(&scene.root().join("writer")), ["a.F16.gguf", "a.gguf", "converted.toml"]);
    let keep = ConvertRequest { weights: Some(WeightChoice::Keep), ..request() };
    assert_eq!(outcome(&scene, &fake, &keep), (ConvertState::Made, scene.root().join("writer/a.gguf")));
    assert_eq!(names(&scene.root().join("writer")), ["a.gguf", "converted.toml"]);
    assert_eq!(fake.calls.get(), 2, "to keep it, nothing is measured");
}

#[test]
fn a_fast_type_is_left_alone_unless_forced() {
    let (scene, mut fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    fake.type_name = "Q4_K";
    let report = convert(&scene, &fake, &request()).expect("nothing fails");
    assert_eq!((report.reason.as_str(), fake.calls.get()), ("Q4_K has fast kernels here as it is", 0));
    assert_eq!(outcome(&scene, &fake, &request()).0, ConvertState::Current);
    assert_eq!(outcome(&scene, &fake, &ConvertRequest { force: true, ..request() }).0, ConvertState::Made);
    assert_eq!(fake.calls.get(), 1);
}

#[test]
fn a_file_of_ones_own_is_converted_when_asked_and_found_again() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    let own = scene.root().join("../my model.gguf");
    fs::write(&own, "GGUF of mine").expect("written");
    let text = own.to_str().expect("UTF-8");
    let asked = ConvertRequest { llm: Some(text), ..request() };
    let setup = ConvertRequest { is_setup: true, ..asked };
    assert_eq!(outcome(&scene, &fake, &setup).0, ConvertState::Skipped, "set-up leaves it alone");
    let (state, made) = outcome(&scene, &fake, &asked);
    assert!(state == ConvertState::Made && made.ends_with("my_model.Q8_0.gguf"), "{}", made.display());
    let resolved = || scene.dir().resolve_llm(Some(text), Device::Cpu).expect("there");
    assert_eq!(resolved(), made);
    assert_eq!(scene.dir().verify(&[]).expect("readable").iter().filter(|report| report.converted).count(), 1);

    let touched = fs::metadata(&own).expect("there").modified().expect("known") + std::time::Duration::from_secs(9);
    File::options().write(true).open(&own).expect("there").set_modified(touched).expect("set");
    assert_eq!(resolved(), own, "it may be another file now");
    assert_eq!(outcome(&scene, &fake, &asked), (ConvertState::Current, made.clone()), "but it is not");
    assert_eq!((resolved(), fake.calls.get()), (made, 1));

    fs::write(&own, "GGUF of another").expect("written");
    assert_eq!(resolved(), own);
    assert_eq!(outcome(&scene, &fake, &asked).0, ConvertState::Made);
}

#[test]
fn a_failure_is_one_line_leaves_nothing_and_is_tried_again() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    fake.fails.set(true);
    assert_eq!(line_of(convert(&scene, &fake, &request())), "model a.gguf: cannot be rewritten");
    assert_eq!(names(&scene.root().join("writer")), ["a.gguf"]);
    assert_eq!(scene.dir().resolve_llm(None, Device::Cpu).expect("there"), scene.root().join("writer/a.gguf"));
    fake.fails.set(false);
    assert_eq!(outcome(&scene, &fake, &request()).0, ConvertState::Made);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let (scene, fake) = (pulled(), Fake::choosing(Some(WeightType::Q8_0)));
    let left = scene.root().join("writer/.convert-killed");
    fs::create_dir(&left).expect("created");
    fs::write(left.join("F16.gguf"), "half").expect("written");
    convert(&scene, &fake, &request()).expect("made");
    assert_eq!(names(&scene.root().join("writer")), ["a.Q8_0.gguf", "a.gguf", "converted.toml"]);
}

#[test]
fn a_generator_that_is_no_gguf_is_refused_in_one_line() {
    let scene = pulled();
    let own = scene.root().join("own.gguf");
    fs::write(&own, "PK").expect("written");
    let asked = ConvertRequest { llm: own.to_str(), ..request() };
    let line = line_of(convert(&scene, &Fake::choosing(None), &asked));
    assert!(line.ends_with("own.gguf is not a GGUF file"), "{line}");
}
