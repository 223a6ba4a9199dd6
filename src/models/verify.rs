//! Whether the files of the models folder are what they should be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::conversion::LlmSource;
use super::digest::Sha256Sum;
use super::dir::ModelsDir;
use super::error::ModelsError;
use super::manifest::{Model, ModelFile};
use super::stamps::Stamps;

/// How carefully to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Read a file only when it changed since its sum was last found right.
    Quick,
    /// Read every file.
    Full,
}

/// One file, and whether it is what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Name of the model.
    pub model: String,
    /// Name of the file in the model's folder.
    pub file: String,
    /// Where it is, or should be.
    pub path: PathBuf,
    /// How long it should be.
    pub bytes: u64,
    /// Whether it was made here by `mentor models convert`, and not fetched.
    pub converted: bool,
    /// What was found.
    #[serde(flatten)]
    pub state: FileState,
}

/// What was found of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FileState {
    /// It is what it should be.
    Intact,
    /// It is not there.
    Missing,
    /// It is cut short, or something else.
    WrongLength {
        /// Its length.
        found_bytes: u64,
    },
    /// Its bytes changed.
    WrongSum {
        /// Its sum.
        found: Sha256Sum,
    },
    /// The system does not let us read it.
    Unreadable {
        /// What the system says.
        reason: String,
    },
}

impl ModelsDir {
    /// Reads every file of these models, those made of them included, and compares its sum. Of all defaults, all installed and all pulled when none
    /// is named.
    ///
    /// # Errors
    /// [`ModelsError::Unknown`] for a name nobody has, [`ModelsError::Manifest`] when the list of pulled models is damaged.
    /// A damaged file is not an error here but a report.
    pub fn verify(&self, names: &[String]) -> Result<Vec<FileReport>, ModelsError> {
        self.report(names, Care::Full)
    }

    /// As [`ModelsDir::verify`], but trusts a file that has not been modified since it was last found intact.
    ///
    /// # Errors
    /// As [`ModelsDir::verify`].
    pub fn verify_quick(&self, names: &[String]) -> Result<Vec<FileReport>, ModelsError> {
        self.report(names, Care::Quick)
    }

    fn report(&self, names: &[String], care: Care) -> Result<Vec<FileReport>, ModelsError> {
        let models = match names {
            [] => self.expected()?,
            names => names.iter().map(|name| self.model(name)).collect::<Result<_, _>>()?,
        };
        let mut stamps = Stamps::read(self.root());
        let mut reports = Vec::new();
        for model in &models {
            reports.extend(self.inspect(model, care, &mut stamps));
            let source = LlmSource::of_model(self.root(), model);
            reports.extend(source.and_then(|source| inspect_result(&source, care, &mut stamps)));
        }
        if names.is_empty() {
            let own = self.own_conversions().into_iter();
            reports.extend(own.filter_map(|(source, _)| inspect_result(&source, care, &mut stamps)));
        }
        stamps.save();
        Ok(reports)
    }

    /// The models whose files should be there: the defaults, those of which something is there, and those pulled.
    fn expected(&self) -> Result<Vec<Model>, ModelsError> {
        let pulled = self.pulled()?;
        let expected = |model: &Model| {
            model.default || pulled.find(&model.name).is_some() || self.root().join(&model.name).is_dir()
        };
        Ok(self.catalogue()?.into_iter().filter(expected).collect())
    }

    /// Looks at the files of one model.
    pub(super) fn inspect(&self, model: &Model, care: Care, stamps: &mut Stamps) -> Vec<FileReport> {
        let report = |file: &ModelFile| {
            let path = self.root().join(&model.name).join(&file.name);
            let label = label(&model.name, &file.name);
            let state = inspect_file(&path, &label, file.sha256, file.bytes, care, stamps);
            FileReport {
                model: model.name.clone(),
                file: file.name.clone(),
                path,
                bytes: file.bytes,
                converted: false,
                state,
            }
        };
        model.files_here().map(report).collect()
    }
}

/// Looks at the file that was made of a generator's, if there should be one.
fn inspect_result(source: &LlmSource, care: Care, stamps: &mut Stamps) -> Option<FileReport> {
    let result = source.conversion()?.result?;
    Some(source.inspect(&result, care, stamps))
}

/// How a file is called in messages and stamps.
pub(super) fn label(model: &str, file: &str) -> String {
    format!("{model}/{file}")
}

/// Looks at one file. `label` is its name among the stamps.
pub(super) fn inspect_file(
    path: &Path,
    label: &str,
    sum: Sha256Sum,
    bytes: u64,
    care: Care,
    stamps: &mut Stamps,
) -> FileState {
    let unreadable = |error: io::Error| FileState::Unreadable { reason: error.to_string() };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return FileState::Missing,
        Err(error) => return unreadable(error),
        Ok(metadata) if metadata.len() != bytes => return FileState::WrongLength { found_bytes: metadata.len() },
        Ok(metadata) => metadata,
    };
    if care == Care::Quick && stamps.vouch(label, sum, &metadata) {
        return FileState::Intact;
    }
    match Sha256Sum::of_file(path) {
        Err(error) => unreadable(error),
        Ok((found, _)) if found != sum => FileState::WrongSum { found },
        Ok(_) => {
            stamps.note(label, sum, &metadata);
            FileState::Intact
        }
    }
}

impl FileReport {
    /// Whether the file is what it should be.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.state == FileState::Intact
    }

    /// The error that stands for this report, with the command that mends it; none when the file is intact.
    pub(super) fn error(&self, mend: &str) -> Option<ModelsError> {
        let (path, mend) = (self.path.clone(), mend.to_owned());
        let damaged = |how: String| Some(ModelsError::Damaged { path: self.path.clone(), how, mend: mend.clone() });
        match &self.state {
            FileState::Intact => None,
            FileState::Missing => Some(ModelsError::Missing { path, mend }),
            FileState::WrongLength { found_bytes } => damaged(format!("{found_bytes} of {} bytes", self.bytes)),
            FileState::WrongSum { found } => damaged(format!("its SHA-256 is {found}")),
            FileState::Unreadable { reason } => {
                Some(ModelsError::Unusable { path, why: format!("cannot be read: {reason}") })
            }
        }
    }
}
