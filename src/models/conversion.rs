//! The record of a choice of weights, beside the file it is about: `converted.toml`.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mentor_engines::llama::{Candidate, WeightType};
use serde::{Deserialize, Serialize};

use super::digest::Sha256Sum;
use super::dir::ModelsDir;
use super::error::ModelsError;
use super::manifest::{Model, ModelKind};
use super::place;
use super::source::is_plain_name;
use super::stamps::Stamps;
use super::verify::{Care, FileReport, FileState, inspect_file, label};

/// Version of how files are made, measured and chosen. What an older one chose is chosen anew.
pub const PROCEDURE: u32 = 1;

const RECORD: &str = "converted.toml";

/// Folder for results of files that lie outside the models folder.
const OWN: &str = ".converted";

/// What is to become of a file's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WeightChoice {
    /// What is measured to be the fastest without losing quality
    Auto,
    /// 8 bits a weight
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits a weight
    #[value(name = "q4_0")]
    Q4_0,
    /// 16-bit floating point
    F16,
    /// The file as shipped
    Keep,
}

impl WeightChoice {
    /// The type that is asked for whatever is measured.
    pub(super) fn only(self) -> Option<WeightType> {
        match self {
            Self::Auto | Self::Keep => None,
            Self::Q8_0 => Some(WeightType::Q8_0),
            Self::Q4_0 => Some(WeightType::Q4_0),
            Self::F16 => Some(WeightType::F16),
        }
    }
}

/// A choice of weights for one file, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// Version of how it was made: [`PROCEDURE`].
    pub procedure: u32,
    /// Day on which it was made, in UTC.
    pub date: String,
    /// What was asked for.
    pub asked: WeightChoice,
    /// Type of the weights that are used.
    pub chosen: String,
    /// Why, as half a sentence.
    pub reason: String,
    /// Threads that computed.
    pub threads: usize,
    /// The processor's name.
    pub cpu: String,
    /// Those of its features that matter here.
    pub cpu_features: Vec<String>,
    /// The file it is about.
    pub source: ConvertedFrom,
    /// The file that is used in its stead; none when it is used as shipped.
    pub result: Option<ConvertedTo>,
    /// What was measured, the file as shipped first; nothing where there was nothing to choose.
    #[serde(default, rename = "candidate")]
    pub candidates: Vec<CandidateFigures>,
}

/// The file as shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedFrom {
    /// Its name; of a file outside the models folder, its path.
    pub file: String,
    /// Its sum.
    pub sha256: Sha256Sum,
    /// Its length.
    pub bytes: u64,
    /// When it was last modified.
    pub modified_s: i64,
    /// The nanoseconds of that.
    pub modified_ns: i64,
    /// Type of most of its weights.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// The file that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedTo {
    /// Its name.
    pub file: String,
    /// Its sum.
    pub sha256: Sha256Sum,
    /// Its length.
    pub bytes: u64,
}

/// What was measured of one type of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateFigures {
    /// Which type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Length of the file.
    pub bytes: u64,
    /// On a fixed text; lower is better.
    pub perplexity: f64,
    /// Share of the text's tokens at which it holds the same one for the most probable as the file as shipped.
    pub agreement: f64,
    /// Tokens read in a second.
    pub prefill_tokens_per_s: f64,
    /// Tokens written in a second.
    pub decode_tokens_per_s: f64,
    /// How long a typical turn takes.
    pub turn_s: f64,
    /// Share of the processor time that the threads could have had meanwhile; below 0.85 the speeds are not compared.
    pub processor_share: f64,
}

impl From<&Candidate> for CandidateFigures {
    fn from(candidate: &Candidate) -> Self {
        // Digits that the next measurement would change are noise in a file for people.
        let round = |value: f64, digits: i32| (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
        Self {
            type_name: candidate.type_name.clone(),
            bytes: candidate.bytes,
            perplexity: round(candidate.perplexity, 4),
            agreement: round(candidate.agreement, 4),
            prefill_tokens_per_s: round(candidate.speed.prefill_tokens_per_s, 1),
            decode_tokens_per_s: round(candidate.speed.decode_tokens_per_s, 1),
            turn_s: round(candidate.speed.turn_s(), 3),
            processor_share: round(candidate.speed.processor_share, 2),
        }
    }
}

/// A generator's file, with the place where its conversion is kept.
#[derive(Debug, Clone)]
pub(super) struct LlmSource {
    /// How people call it: the model's name, or the file's path.
    pub(super) name: String,
    /// The file as shipped.
    pub(super) path: PathBuf,
    /// Where record and result are kept.
    pub(super) folder: PathBuf,
    /// The result's folder as stamps and reports name it.
    pub(super) label: String,
    /// What the file must be; none for one outside the models folder.
    pub(super) pin: Option<Sha256Sum>,
}

impl LlmSource {
    /// The first file of a generator in the models folder.
    pub(super) fn of_model(root: &Path, model: &Model) -> Option<Self> {
        let file = model.files_here().next().filter(|_| model.kind == ModelKind::Generator)?;
        let folder = root.join(&model.name);
        let path = folder.join(&file.name);
        Some(Self { name: model.name.clone(), path, folder, label: model.name.clone(), pin: Some(file.sha256) })
    }

    /// A file of the user's own.
    pub(super) fn own(root: &Path, path: &Path) -> Self {
        // A file that cannot be found again is not found in its record either.
        let path_in_full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let hash = Sha256Sum::of_bytes(path_in_full.as_os_str().as_encoded_bytes()).to_string();
        let label = format!("{OWN}/{}", &hash[..16]);
        let folder = root.join(&label);
        Self { name: path_in_full.display().to_string(), path: path.to_owned(), folder, label, pin: None }
    }

    /// The file, as a record describes it.
    pub(super) fn describe(&self, metadata: &Metadata, sha256: Sha256Sum, type_name: String) -> ConvertedFrom {
        let file_name = || self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ConvertedFrom {
            file: if self.pin.is_some() { file_name() } else { self.name.clone() },
            sha256,
            bytes: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            type_name,
        }
    }

    /// Whether a record is about this very file.
    fn is_meant_by(&self, record: &ConvertedFrom) -> bool {
        match self.pin {
            Some(sum) => record.sha256 == sum,
            None => fs::metadata(&self.path).is_ok_and(|metadata| {
                let described = self.describe(&metadata, record.sha256, record.type_name.clone());
                described == *record
            }),
        }
    }

    /// The record, if it is about this file and of this procedure.
    pub(super) fn conversion(&self) -> Option<Conversion> {
        let is_ours = |record: &Conversion| record.procedure == PROCEDURE && self.is_meant_by(&record.source);
        Conversion::read(&self.folder).filter(is_ours)
    }

    /// What there is of the result of a record.
    pub(super) fn inspect(&self, result: &ConvertedTo, care: Care, stamps: &mut Stamps) -> FileReport {
        let path = self.folder.join(&result.file);
        let state = inspect_file(&path, &label(&self.label, &result.file), result.sha256, result.bytes, care, stamps);
        let (model, file) = (self.name.clone(), result.file.clone());
        FileReport { model, file, path, bytes: result.bytes, converted: true, state }
    }

    /// The conversion that can be used, and the file to use.
    pub(super) fn current(&self, stamps: &mut Stamps) -> Option<(Conversion, PathBuf)> {
        let record = self.conversion()?;
        let path = match &record.result {
            None => self.path.clone(),
            Some(result) => {
                let report = self.inspect(result, Care::Quick, stamps);
                (report.state == FileState::Intact).then_some(report.path)?
            }
        };
        Some((record, path))
    }
}

impl Conversion {
    /// The record in a folder, of any procedure; none when there is none that can be read.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(RECORD)).ok()?;
        let record: Self = toml::from_str(&text).ok()?;
        // A name from a file must not lead out of its folder.
        let is_plain = record.result.iter().all(|result| is_plain_name(&result.file));
        is_plain.then_some(record)
    }

    /// Keeps it.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ModelsError> {
        let path = folder.join(RECORD);
        // A structure of texts and numbers has a form in TOML.
        let text = toml::to_string(self).expect("plain data");
        place::write(&path, &format!("{RECORD_HEAD}{text}"))
    }

    /// The figures of the file as shipped, and of the one that is used.
    pub(super) fn compared(&self) -> Option<(&CandidateFigures, &CandidateFigures)> {
        let chosen = self.candidates.iter().find(|candidate| candidate.type_name == self.chosen)?;
        Some((self.candidates.first()?, chosen))
    }
}

const RECORD_HEAD: &str = "# What `mentor models convert` measured and chose. Without this file it does so again.\n\n";

impl ModelsDir {
    /// The conversion of a model, as it is recorded.
    pub(super) fn conversion_of(&self, model: &Model) -> Option<Conversion> {
        LlmSource::of_model(self.root(), model)?.conversion()
    }

    /// Files of the user's own that were converted, with their records.
    pub(super) fn own_conversions(&self) -> Vec<(LlmSource, Conversion)> {
        let folders = fs::read_dir(self.root().join(OWN)).into_iter().flatten().flatten();
        let sources = folders.filter_map(|folder| {
            let record = Conversion::read(&folder.path())?;
            let source = LlmSource::own(self.root(), Path::new(&record.source.file));
            (source.folder == folder.path()).then_some((source, record))
        });
        let mut sources: Vec<_> = sources.collect();
        sources.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Conversion {
        Conversion {
            procedure: PROCEDURE,
            date: "2026-05-01".into(),
            asked: WeightChoice::Auto,
            chosen: "Q8_0".into(),
            reason: "the fastest of those that lose nothing".into(),
            threads: 2,
            cpu: "Some CPU".into(),
            cpu_features: vec!["avx2".into()],
            source: ConvertedFrom {
                file: "a.gguf".into(),
                sha256: Sha256Sum::of_bytes(b"a"),
                bytes: 1,
                modified_s: 2,
                modified_ns: 3,
                type_name: "Q4_1".into(),
            },
            result: Some(ConvertedTo { file: "a.Q8_0.gguf".into(), sha256: Sha256Sum::of_bytes(b"b"), bytes: 4 }),
            candidates: vec![CandidateFigures {
                type_name: "Q4_1".into(),
                bytes: 1,
                perplexity: 14.0,
                agreement: 1.0,
                prefill_tokens_per_s: 184.0,
                decode_tokens_per_s: 98.0,
                turn_s: 4.6,
                processor_share: 0.98,
            }],
        }
    }

    #[test]
    fn a_record_reads_back_as_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Conversion::read(folder.path()), None);
        record().write(folder.path()).expect("written");
        assert_eq!(Conversion::read(folder.path()), Some(record()));
    }

    #[test]
    fn a_record_of_another_procedure_or_file_does_not_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = |pin: &[u8]| LlmSource {
            name: "a".into(),
            path: folder.path().join("a.gguf"),
            folder: folder.path().to_owned(),
            label: "a".into(),
            pin: Some(Sha256Sum::of_bytes(pin)),
        };
        record().write(folder.path()).expect("written");
        assert_eq!(source(b"a").conversion(), Some(record()));
        assert_eq!(source(b"another").conversion(), None);
        Conversion { procedure: PROCEDURE + 1, ..record() }.write(folder.path()).expect("written");
        assert_eq!(source(b"a").conversion(), None);
    }

    #[test]
    fn a_damaged_record_and_one_that_leads_out_of_its_folder_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let result = record().result.map(|result| ConvertedTo { file: "../a.gguf".into(), ..result });
        Conversion { result, ..record() }.write(folder.path()).expect("written");
        assert_eq!(Conversion::read(folder.path()), None);
        fs::write(folder.path().join(RECORD), "procedure = 1\nda").expect("written");
        assert_eq!(Conversion::read(folder.path()), None);
    }
}
