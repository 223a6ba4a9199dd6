//! Makes the candidates of a model, measures each, and keeps the one to use.

use std::fs;
use std::path::{Path, PathBuf};

use mentor_actors::domain::EngineError;

use super::config::{Device, LlamaConfig};
use super::load::load_model;
use super::measure::Bench;
use super::quantise::{WeightsInfo, inspect_weights, requantise};
use super::weights::{Candidate, Reading, WeightType, agreement, best, is_good, perplexity};

/// What a model needs in memory beside its weights while it is measured.
const WORKING_MEMORY_BYTES: u64 = 512 << 20;

/// What is to be chosen from.
#[derive(Debug, Clone)]
pub struct ChooseRequest<'a> {
    /// The model as shipped.
    pub source: &'a Path,
    /// An empty folder for what is made, on the file system where the result is to be.
    pub folder: &'a Path,
    /// A type to be used whatever is measured; without it, the best is.
    pub only: Option<WeightType>,
    /// Threads that compute.
    pub threads: usize,
    /// What may be used of the main memory; candidates that need more are left out.
    pub memory_bytes: Option<u64>,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The file as shipped first, then those it was rewritten to.
    pub candidates: Vec<Candidate>,
    /// Place of the chosen one among them.
    pub chosen: usize,
    /// The chosen file, in the request's folder; none when it is the one as shipped.
    pub file: Option<PathBuf>,
    /// Why, as half a sentence.
    pub reason: String,
}

/// What is being done.
#[derive(Debug)]
pub enum ChooseEvent<'a> {
    /// A file of this type is being written.
    Rewriting(WeightType),
    /// A file of this type is being measured.
    Measuring(&'a str),
    /// It was measured.
    Measured(&'a Candidate),
    /// A type is left out.
    LeftOut(WeightType, &'a str),
}

/// Rewrites the model to each type in turn, measures quality and speed on the CPU, and keeps the best file.
///
/// # Errors
/// [`EngineError::Load`] or [`EngineError::Failed`] with one line, when the model cannot be measured as shipped, or when no
/// candidate was better and one could not be made or measured.
pub fn choose_weights(
    request: &ChooseRequest<'_>,
    tell: &mut dyn FnMut(ChooseEvent<'_>),
) -> Result<Choice, EngineError> {
    let info = inspect_weights(request.source)?;
    let (shipped, reading) = measure(request, request.source, None, None, tell)?;
    let mut made = Made { candidates: vec![shipped], folder: request.folder, kept: None };
    let mut failure = None;
    for weights in WeightType::ALL.into_iter().filter(|weights| is_wanted(*weights, request, &info)) {
        if !fits(weights, request, &info) {
            tell(ChooseEvent::LeftOut(weights, "the memory does not suffice"));
        } else if !made.is_comparable(weights, request) {
            tell(ChooseEvent::LeftOut(weights, "the machine is busy, so its speed cannot be told"));
        } else if let Err(error) = made.add(request, weights, &reading, tell) {
            tell(ChooseEvent::LeftOut(weights, &error.to_string()));
            failure = Some(error);
        }
    }
    match failure {
        // What failed may have been the best, and may not fail the next time.
        Some(error) if made.kept.is_none() => Err(error),
        _ => made.choice(request.only),
    }
}

fn is_wanted(weights: WeightType, request: &ChooseRequest<'_>, info: &WeightsInfo) -> bool {
    weights.name() != info.type_name && request.only.is_none_or(|only| only == weights)
}

fn fits(weights: WeightType, request: &ChooseRequest<'_>, info: &WeightsInfo) -> bool {
    let needed_bytes = weights.file_bytes(info.weights, info.rest_bytes).saturating_add(WORKING_MEMORY_BYTES);
    request.only.is_some() || request.memory_bytes.is_none_or(|memory| memory >= needed_bytes)
}

/// The candidates so far, and the best of those that were made.
struct Made<'a> {
    candidates: Vec<Candidate>,
    folder: &'a Path,
    kept: Option<WeightType>,
}

impl Made<'_> {
    /// Whether it could be chosen at all: without trusted speeds, only Q8_0 can.
    fn is_comparable(&self, weights: WeightType, request: &ChooseRequest<'_>) -> bool {
        let is_quiet = self.candidates.iter().all(|candidate| candidate.speed.is_trusted());
        is_quiet || weights == WeightType::Q8_0 || request.only.is_some()
    }

    fn file(&self, weights: WeightType) -> PathBuf {
        self.folder.join(format!("{weights}.gguf"))
    }

    /// Makes and measures one more, and removes the file that is not the best now.
    fn add(
        &mut self,
        request: &ChooseRequest<'_>,
        weights: WeightType,
        shipped: &Reading,
        tell: &mut dyn FnMut(ChooseEvent<'_>),
    ) -> Result<(), EngineError> {
        tell(ChooseEvent::Rewriting(weights));
        let file = self.file(weights);
        requantise(request.source, &file, weights, request.threads)?;
        let measured = measure(request, &file, Some(weights), Some(shipped), tell);
        self.candidates.extend(measured.as_ref().ok().map(|(candidate, _)| candidate.clone()));
        let keep = match request.only {
            Some(only) => measured.is_ok().then_some(only),
            None => best(&self.candidates).and_then(|candidate| candidate.rewritten),
        };
        for made in [self.kept, Some(weights)].into_iter().flatten().filter(|made| Some(*made) != keep) {
            // A file that cannot be removed goes with its folder.
            fs::remove_file(self.file(made)).ok();
        }
        self.kept = keep;
        measured.map(|_| ())
    }

    fn choice(self, only: Option<WeightType>) -> Result<Choice, EngineError> {
        let chosen = self.candidates.iter().position(|candidate| candidate.rewritten == self.kept);
        let chosen = chosen.ok_or_else(|| EngineError::Failed("nothing was measured".into()))?;
        let reason = match only {
            Some(_) => "asked for",
            None => reason(&self.candidates[chosen], &self.candidates),
        };
        Ok(Choice {
            chosen,
            file: self.kept.map(|weights| self.file(weights)),
            reason: reason.into(),
            candidates: self.candidates,
        })
    }
}

/// Why the best one is the best.
fn reason(chosen: &Candidate, all: &[Candidate]) -> &'static str {
    let shorter = |other: &&Candidate| is_good(other, &all[0]) && other.speed.turn_s() < chosen.speed.turn_s();
    match (all.iter().all(|candidate| candidate.speed.is_trusted()), all.iter().any(|other| shorter(&other))) {
        (false, _) if chosen.rewritten.is_some() => "loses nothing; speed could not be compared on a busy machine",
        (false, _) => "speed could not be compared on a busy machine",
        (true, false) => "the fastest of those that lose nothing",
        (true, true) => "nearly the fastest, and its answers do not depend on what else is in a batch",
    }
}

/// Loads a file, measures it, and lets it go. Without a reading of the file as shipped it is that file.
fn measure(
    request: &ChooseRequest<'_>,
    file: &Path,
    rewritten: Option<WeightType>,
    shipped: Option<&Reading>,
    tell: &mut dyn FnMut(ChooseEvent<'_>),
) -> Result<(Candidate, Reading), EngineError> {
    let config = LlamaConfig { threads: request.threads, device: Device::Cpu, ..LlamaConfig::new(file) };
    let loaded = load_model(&config)?;
    let type_name = match rewritten {
        Some(weights) => weights.name(),
        None => &loaded.info.quantisation,
    };
    tell(ChooseEvent::Measuring(type_name));
    let mut bench = Bench::new(&loaded, request.threads)?;
    let reading = bench.read()?;
    let candidate = Candidate {
        rewritten,
        type_name: type_name.to_owned(),
        bytes: fs::metadata(file).map_or(0, |metadata| metadata.len()),
        perplexity: perplexity(&reading.log_probabilities),
        agreement: agreement(&reading.choices, &shipped.unwrap_or(&reading).choices),
        speed: bench.speed()?,
    };
    tell(ChooseEvent::Measured(&candidate));
    Ok((candidate, reading))
}
