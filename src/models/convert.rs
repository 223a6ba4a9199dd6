//! Weights made for the machine: the generator's file is rewritten to the type that is fastest here without losing quality.
//!
//! What is made lies beside the file it was made from, with a record of what was measured. The file as shipped stays.

use std::fs;
use std::path::{Path, PathBuf};

use mentor_actors::domain::EngineError;
use mentor_engines::llama::{Choice, ChooseEvent, ChooseRequest, choose_weights, inspect_weights, is_fast_on_cpu};
use serde::Serialize;

use super::cache;
use super::conversion::{Conversion, ConvertedTo, LlmSource, PROCEDURE, WeightChoice};
use super::digest::Sha256Sum;
use super::dir::ModelsDir;
use super::error::ModelsError;
use super::machine::{Machine, today};
use super::place;
use super::resolve::{Device, computes_on_gpu};
use super::stamps::Stamps;
use super::verify::{Care, FileState, label};

/// Files above this are left alone unless asked for: making and measuring them takes many minutes.
const LARGEST_BYTES: u64 = 4_000_000_000;

/// How folders are called in which files are made, so that those of a killed run are known.
const WORK: &str = ".convert-";

/// What to convert.
#[derive(Debug, Clone, Copy)]
pub struct ConvertRequest<'a> {
    /// The generator, by name or path; the default when not given.
    pub llm: Option<&'a str>,
    /// What its weights are to become; what the record says when not given, and [`WeightChoice::Auto`] without one.
    pub weights: Option<WeightChoice>,
    /// Measure and make anew, also what would be left alone.
    pub force: bool,
    /// It is set-up that asks: files of the user's own are left alone.
    pub is_setup: bool,
    /// Where the generator is to compute.
    pub device: Device,
    /// Threads that compute.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvertReport {
    /// The model's name, or the file's path.
    pub model: String,
    /// What was done.
    pub state: ConvertState,
    /// Why nothing was done, or what was chosen and why; half a sentence.
    pub reason: String,
    /// The file that is used from now on.
    pub path: PathBuf,
    /// What was measured.
    pub conversion: Option<Conversion>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConvertState {
    /// A choice was made.
    Made,
    /// An earlier choice holds.
    Current,
    /// There is nothing to choose.
    Skipped,
}

/// What is told while it is at work.
#[derive(Debug)]
pub enum ConvertEvent<'a> {
    /// Another one is at work; this one goes on when that one ends.
    Waiting,
    /// Work on the file begins.
    Started {
        /// Its name.
        name: &'a str,
    },
    /// A step of it.
    Step(ChooseEvent<'a>),
}

/// Who is told.
pub(super) type Teller<'t> = &'t mut dyn FnMut(ConvertEvent<'_>);

/// Makes and measures files. Tests have one of their own.
pub trait WeightChooser {
    /// Type of most weights of a file.
    ///
    /// # Errors
    /// One line, when the file is not one that can be rewritten.
    fn type_name(&self, file: &Path) -> Result<String, EngineError>;

    /// Makes candidates, measures them, and keeps the best one.
    ///
    /// # Errors
    /// One line that names the file and the reason.
    fn choose(&self, request: &ChooseRequest<'_>, tell: &mut dyn FnMut(ChooseEvent<'_>))
    -> Result<Choice, EngineError>;
}

/// The one with llama.cpp.
#[derive(Debug, Clone, Copy)]
pub struct LlamaWeights;

impl WeightChooser for LlamaWeights {
    fn type_name(&self, file: &Path) -> Result<String, EngineError> {
        Ok(inspect_weights(file)?.type_name)
    }

    fn choose(
        &self,
        request: &ChooseRequest<'_>,
        tell: &mut dyn FnMut(ChooseEvent<'_>),
    ) -> Result<Choice, EngineError> {
        choose_weights(request, tell)
    }
}

impl ModelsDir {
    /// Chooses the weights of the generator and makes them, unless an earlier choice holds.
    ///
    /// # Errors
    /// When there is no such generator, it cannot be rewritten or measured, or the models folder cannot be written to. The
    /// file as shipped is used then, as before.
    pub fn convert(
        &self,
        request: &ConvertRequest<'_>,
        chooser: &dyn WeightChooser,
        tell: Teller<'_>,
    ) -> Result<ConvertReport, ModelsError> {
        let source = self.llm_source(request.llm)?;
        let metadata = fs::metadata(&source.path).map_err(ModelsError::io("read", &source.path))?;
        if let Some(reason) = reason_to_skip(request, &source, metadata.len()) {
            let path = source.path.clone();
            return Ok(report(&source, ConvertState::Skipped, reason.to_owned(), path, None));
        }
        if let Some(current) = self.current(&source, request) {
            return Ok(current);
        }
        place::create_folder(&source.folder)?;
        let _lock = cache::lock(&self.root().join(".convert.lock"), || tell(ConvertEvent::Waiting))?;
        // Whoever held the lock before may have done it.
        match self.current(&source, request) {
            Some(current) => Ok(current),
            None => self.make(&source, request, chooser, tell),
        }
    }

    /// The earlier choice, where it holds and nothing else is asked for.
    fn current(&self, source: &LlmSource, request: &ConvertRequest<'_>) -> Option<ConvertReport> {
        if request.force {
            return None;
        }
        let mut stamps = Stamps::read(self.root());
        let current = source.current(&mut stamps);
        stamps.save();
        let (record, path) = current.filter(|(record, _)| is_asked_for(record, request))?;
        Some(report(source, ConvertState::Current, record.reason.clone(), path, Some(record)))
    }

    fn make(
        &self,
        source: &LlmSource,
        request: &ConvertRequest<'_>,
        chooser: &dyn WeightChooser,
        tell: Teller<'_>,
    ) -> Result<ConvertReport, ModelsError> {
        let metadata = fs::metadata(&source.path).map_err(ModelsError::io("read", &source.path))?;
        let sha256 = match source.pin {
            Some(sum) => sum,
            None => Sha256Sum::of_file(&source.path).map_err(ModelsError::io("read", &source.path))?.0,
        };
        let type_name = chooser.type_name(&source.path).map_err(ModelsError::Weights)?;
        let from = source.describe(&metadata, sha256, type_name);
        let mut stamps = Stamps::read(self.root());
        let earlier = Conversion::read(&source.folder);
        let holds = |record: &Conversion, stamps: &mut Stamps| {
            let intact = |result| source.inspect(result, Care::Full, stamps).state == FileState::Intact;
            let is_same = record.procedure == PROCEDURE && record.source.sha256 == sha256;
            !request.force && is_same && is_asked_for(record, request) && record.result.as_ref().is_none_or(intact)
        };
        let (record, state) = match earlier.clone().filter(|record| holds(record, &mut stamps)) {
            // The same bytes with another date: touched, or copied anew.
            Some(record) => (Conversion { source: from, ..record }, ConvertState::Current),
            None => {
                tell(ConvertEvent::Started { name: &source.name });
                let draft = draft(request, from);
                let made =
                    if is_settled(&draft, request) { draft } else { choose(source, request, draft, chooser, tell)? };
                (made, ConvertState::Made)
            }
        };
        record.write(&source.folder)?;
        remove_other(source, earlier.and_then(|earlier| earlier.result), record.result.as_ref());
        let path = record.result.as_ref().map_or(source.path.clone(), |result| source.folder.join(&result.file));
        if let Some((result, metadata)) = record.result.as_ref().zip(fs::metadata(&path).ok()) {
            stamps.note(&label(&source.label, &result.file), result.sha256, &metadata);
        }
        stamps.save();
        Ok(report(source, state, record.reason.clone(), path, Some(record)))
    }
}

fn report(
    source: &LlmSource,
    state: ConvertState,
    reason: String,
    path: PathBuf,
    conversion: Option<Conversion>,
) -> ConvertReport {
    ConvertReport { model: source.name.clone(), state, reason, path, conversion }
}

/// Why a file is left alone, if it is.
fn reason_to_skip(request: &ConvertRequest<'_>, source: &LlmSource, bytes: u64) -> Option<&'static str> {
    let is_asked_for = request.force || request.weights.is_some_and(|weights| weights != WeightChoice::Auto);
    if is_asked_for {
        None
    } else if computes_on_gpu(request.device) {
        Some("a GPU computes, for which the weights as shipped are right")
    } else if request.is_setup && source.pin.is_none() {
        Some("a file of one's own is converted when asked for: `mentor models convert --llm PATH`")
    } else if is_part(&source.path) {
        Some("a file in several parts cannot be rewritten")
    } else if bytes > LARGEST_BYTES {
        Some("it is larger than 4 GB, which takes long: `--force` does it all the same")
    } else {
        None
    }
}

/// Whether a file is the first part of several, by its name as llama.cpp gives them.
fn is_part(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("-00001-of-"))
}

/// Whether a record is of what is asked for now.
fn is_asked_for(record: &Conversion, request: &ConvertRequest<'_>) -> bool {
    request.weights.is_none_or(|weights| weights == record.asked)
}

/// The record of a choice that is still to be made; as it stands, of the file as shipped.
fn draft(request: &ConvertRequest<'_>, source: super::conversion::ConvertedFrom) -> Conversion {
    let machine = Machine::here();
    let asked = request.weights.unwrap_or(WeightChoice::Auto);
    let reason = match asked {
        WeightChoice::Keep => "asked for".to_owned(),
        _ => format!("{} has fast kernels here as it is", source.type_name),
    };
    Conversion {
        procedure: PROCEDURE,
        date: today(),
        asked,
        chosen: source.type_name.clone(),
        reason,
        threads: request.threads,
        cpu: machine.cpu,
        cpu_features: machine.features,
        source,
        result: None,
        candidates: Vec::new(),
    }
}

/// Whether nothing needs to be measured.
fn is_settled(draft: &Conversion, request: &ConvertRequest<'_>) -> bool {
    let is_fast = is_fast_on_cpu(&draft.source.type_name);
    draft.asked == WeightChoice::Keep || (draft.asked == WeightChoice::Auto && is_fast && !request.force)
}

/// Lets the candidates be made and measured, and puts the chosen one into its place.
fn choose(
    source: &LlmSource,
    request: &ConvertRequest<'_>,
    draft: Conversion,
    chooser: &dyn WeightChooser,
    tell: Teller<'_>,
) -> Result<Conversion, ModelsError> {
    sweep(&source.folder);
    let write = |cause| ModelsError::io("write in", &source.folder)(cause);
    // On the file system of the result, which is only renamed; gone when this returns.
    let work = tempfile::Builder::new().prefix(WORK).tempdir_in(&source.folder).map_err(write)?;
    let wanted = ChooseRequest {
        source: &source.path,
        folder: work.path(),
        only: draft.asked.only(),
        threads: request.threads,
        memory_bytes: Machine::here().memory_bytes,
    };
    let mut step = |event: ChooseEvent<'_>| tell(ConvertEvent::Step(event));
    let choice = chooser.choose(&wanted, &mut step).map_err(ModelsError::Weights)?;
    let chosen = choice.candidates.get(choice.chosen).map(|candidate| candidate.type_name.clone());
    let chosen = chosen.unwrap_or_else(|| draft.chosen.clone());
    let result = choice.file.as_deref().map(|file| put(source, file, &chosen)).transpose()?;
    let candidates = choice.candidates.iter().map(Into::into).collect();
    Ok(Conversion { chosen, reason: choice.reason, result, candidates, ..draft })
}

/// Puts a file that was made beside the one it was made from.
fn put(source: &LlmSource, file: &Path, type_name: &str) -> Result<ConvertedTo, ModelsError> {
    let (sha256, bytes) = Sha256Sum::of_file(file).map_err(ModelsError::io("read", file))?;
    let name = result_name(&source.path, type_name);
    place::rename(file, &source.folder.join(&name))?;
    Ok(ConvertedTo { file: name, sha256, bytes })
}

/// `STEM.TYPE.gguf`, of characters that need no care.
fn result_name(path: &Path, type_name: &str) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = stem.trim_start_matches('.').chars().take(150).map(plain).collect();
    format!("{stem}.{type_name}.gguf")
}

/// Removes what an earlier choice made, unless it is what the present one uses.
fn remove_other(source: &LlmSource, earlier: Option<ConvertedTo>, present: Option<&ConvertedTo>) {
    if let Some(earlier) = earlier.filter(|earlier| present.is_none_or(|present| present.file != earlier.file)) {
        // It only takes room.
        fs::remove_file(source.folder.join(earlier.file)).ok();
    }
}

/// Removes what a killed run left. For the holder of the lock.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(WORK)) {
        fs::remove_dir_all(entry.path()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_up_passes_over_what_would_take_long_or_fail() {
        let pin = Some(Sha256Sum::of_bytes(b"a"));
        let source = |path: &str, pin| LlmSource {
            name: "a".into(),
            path: path.into(),
            folder: "m/a".into(),
            label: "a".into(),
            pin,
        };
        let setup =
            ConvertRequest { llm: None, weights: None, force: false, is_setup: true, device: Device::Cpu, threads: 1 };
        let (one, part) = (source("m/a.gguf", pin), source("m/a-00001-of-00002.gguf", pin));
        assert_eq!(reason_to_skip(&setup, &one, LARGEST_BYTES), None);
        assert!(reason_to_skip(&setup, &one, LARGEST_BYTES + 1).is_some_and(|reason| reason.contains("4 GB")));
        assert!(reason_to_skip(&setup, &part, 1).is_some_and(|reason| reason.contains("several parts")));
        assert!(reason_to_skip(&setup, &source("a.gguf", None), 1).is_some_and(|reason| reason.contains("own")));
        let forced = ConvertRequest { force: true, ..setup };
        assert_eq!(reason_to_skip(&forced, &one, LARGEST_BYTES + 1), None);
    }

    #[test]
    fn a_result_is_named_after_its_source_and_its_type() {
        let name = |path: &str| result_name(Path::new(path), "Q8_0");
        assert_eq!(name("a/SmolLM2-135M-Instruct.Q4_1.gguf"), "SmolLM2-135M-Instruct.Q4_1.Q8_0.gguf");
        assert_eq!(name("a/mein Modell (neu).gguf"), "mein_Modell__neu_.Q8_0.gguf");
        assert_eq!(name("a/.hidden.gguf"), "hidden.Q8_0.gguf");
    }
}
