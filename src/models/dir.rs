//! The models folder: `ROOT/MODEL/FILE`, with `ROOT/pulled.toml` for what a user fetched from elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::conversion::Conversion;
use super::error::ModelsError;
use super::manifest::{Manifest, Model, ModelFile, ModelKind};
use super::settings::Settings;
use super::source::Source;

/// A models folder, with the list of models it may hold. Cheap to make: nothing is read until it is asked.
#[derive(Debug, Clone)]
pub struct ModelsDir {
    root: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) settings: Settings,
}

/// A model as `mentor models list` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRow {
    /// How it is called.
    pub name: String,
    /// What it is for.
    pub kind: ModelKind,
    /// Whether it is used when nothing else is asked for.
    pub default: bool,
    /// Whether its files are there.
    pub state: ModelState,
    /// Length of its files together.
    pub bytes: u64,
    /// Least memory it runs in, where known.
    pub min_memory_mb: Option<u64>,
    /// Under which licence, where known.
    pub licence: Option<String>,
    /// One line.
    pub description: String,
    /// Its folder.
    pub path: PathBuf,
    /// Where its files come from.
    pub sources: Vec<Source>,
    /// How the weights of a generator were made for this machine, if they were.
    pub conversion: Option<Conversion>,
}

/// Whether a model's files are there; told from their lengths alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// All of them, with the right lengths.
    Ready,
    /// None of them.
    Missing,
    /// Some are missing or have another length.
    Damaged,
    /// There are none for this platform.
    Unavailable,
}

impl ModelsDir {
    /// The folder at `root`, with the models that ship and the environment's settings.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::with(root, Manifest::builtin(), Settings::from_env())
    }

    /// The folder at `root`, with models and settings of one's own.
    pub fn with(root: impl Into<PathBuf>, manifest: Manifest, settings: Settings) -> Self {
        Self { root: root.into(), manifest, settings }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All models: those that ship, then those pulled, each with what is there of it.
    ///
    /// # Errors
    /// [`ModelsError::Manifest`] when the list of pulled models is damaged.
    pub fn list(&self) -> Result<Vec<ModelRow>, ModelsError> {
        Ok(self.catalogue()?.into_iter().map(|model| self.row(model)).collect())
    }

    fn row(&self, model: Model) -> ModelRow {
        let path = self.root.join(&model.name);
        let files: Vec<_> = model.files_here().collect();
        ModelRow {
            state: state(&path, &files),
            bytes: files.iter().map(|file| file.bytes).sum(),
            conversion: self.conversion_of(&model),
            sources: files.iter().map(|file| file.source.clone()).collect(),
            path,
            kind: model.kind,
            default: model.default,
            min_memory_mb: model.min_memory_mb,
            licence: model.licence,
            name: model.name,
            description: model.description,
        }
    }

    /// The models that ship, then those pulled.
    pub(super) fn catalogue(&self) -> Result<Vec<Model>, ModelsError> {
        let pulled = self.pulled()?.models;
        let ours = self.manifest.models.iter().cloned();
        // A model that ships in a later version keeps its name, and the pulled one of that name is out of sight.
        let others = pulled.into_iter().filter(|model| self.manifest.find(&model.name).is_none());
        Ok(ours.chain(others).collect())
    }

    /// The list of what a user fetched from elsewhere.
    pub(super) fn pulled(&self) -> Result<Manifest, ModelsError> {
        Manifest::read(&self.pulled_path())
    }

    pub(super) fn pulled_path(&self) -> PathBuf {
        self.root.join("pulled.toml")
    }

    /// The model of this name, or the one with a file from this source.
    pub(super) fn model(&self, name: &str) -> Result<Model, ModelsError> {
        let is_meant =
            |model: &Model| model.name == name || model.files.iter().any(|file| file.source.to_string() == name);
        let found = self.catalogue()?.into_iter().find(is_meant);
        found.ok_or_else(|| ModelsError::Unknown { name: name.to_owned() })
    }

    /// The model used when nothing else is asked for.
    pub(super) fn default_of(&self, kind: ModelKind) -> Result<&Model, ModelsError> {
        let found = self.manifest.models.iter().find(|model| model.default && model.kind == kind);
        found.ok_or_else(|| ModelsError::Unknown { name: format!("the default of {kind}") })
    }
}

fn state(folder: &Path, files: &[&ModelFile]) -> ModelState {
    let length = |file: &ModelFile| fs::metadata(folder.join(&file.name)).ok().map(|metadata| metadata.len());
    let lengths: Vec<_> = files.iter().map(|file| (length(file), file.bytes)).collect();
    match &*lengths {
        [] => ModelState::Unavailable,
        all if all.iter().all(|(found, bytes)| *found == Some(*bytes)) => ModelState::Ready,
        all if all.iter().all(|(found, _)| found.is_none()) => ModelState::Missing,
        _ => ModelState::Damaged,
    }
}
