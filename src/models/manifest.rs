//! Lists of models: the one compiled in, and the one of what a user pulled.

use std::env::consts::{ARCH, OS};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Sha256Sum;
use super::error::ModelsError;
use super::source::{Source, is_plain_name};

/// A list of models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// In the order of the file.
    #[serde(default, rename = "model")]
    pub models: Vec<Model>,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Writes answers; a GGUF.
    Generator,
    /// Turns texts into vectors; a folder with an ONNX file and its tokenizer.
    Embedder,
    /// The library that runs the embedder.
    Runtime,
    /// Files a user pulled that are none of these.
    Other,
}

/// One model: files that belong together, in a folder of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How people call it; also its folder.
    pub name: String,
    /// What it is for.
    pub kind: ModelKind,
    /// Whether it is used when nothing else is asked for; one of each kind.
    #[serde(default)]
    pub default: bool,
    /// Under which licence, as an SPDX name; unknown for what a user pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Least memory it runs in, in megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_memory_mb: Option<u64>,
    /// One line.
    #[serde(default)]
    pub description: String,
    /// All of its files, for every platform. See [`Model::files_here`].
    #[serde(rename = "file")]
    pub files: Vec<ModelFile>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its name in the model's folder.
    pub name: String,
    /// The only platform it is for, as `OS-ARCHITECTURE`; every platform when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// What it must be.
    pub sha256: Sha256Sum,
    /// How long it is.
    pub bytes: u64,
}

impl Manifest {
    /// The list compiled into the program.
    #[must_use]
    pub fn builtin() -> Self {
        // A test parses this very text.
        Self::parse(include_str!("../../models/models.toml"), "models.toml").expect("the manifest compiled in is valid")
    }

    /// Reads a list; `path` is for the error.
    ///
    /// # Errors
    /// [`ModelsError::Manifest`] when it is not TOML of this form, or a name in it could leave its folder.
    pub fn parse(text: &str, path: &str) -> Result<Self, ModelsError> {
        let wrong = |why: String| ModelsError::Manifest { path: path.to_owned(), why };
        let manifest: Self = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        let models = manifest.models.iter().map(|model| &model.name);
        let files = manifest.models.iter().flat_map(|model| &model.files).map(|file| &file.name);
        match models.chain(files).find(|name| !is_plain_name(name)) {
            Some(name) => Err(wrong(format!("{name:?} is not a plain file name"))),
            None => Ok(manifest),
        }
    }

    /// Reads a list from a file; empty when there is no file.
    pub(super) fn read(path: &Path) -> Result<Self, ModelsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ModelsError::io("read", path)(error)),
        }
    }

    /// The model of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }
}

impl Model {
    /// The files for the platform the program runs on.
    pub fn files_here(&self) -> impl Iterator<Item = &ModelFile> {
        let here = platform();
        self.files.iter().filter(move |file| file.platform.as_ref().is_none_or(|platform| *platform == here))
    }
}

/// The platform the program runs on, as manifests name it.
#[must_use]
pub(super) fn platform() -> String {
    format!("{OS}-{ARCH}")
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generator => "a generator",
            Self::Embedder => "an embedder",
            Self::Runtime => "a runtime library",
            Self::Other => "a file",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_that_ships_has_a_default_of_each_kind_for_each_platform() {
        let manifest = Manifest::builtin();
        for kind in [ModelKind::Generator, ModelKind::Embedder, ModelKind::Runtime] {
            let defaults: Vec<_> = manifest.models.iter().filter(|model| model.default && model.kind == kind).collect();
            assert_eq!(defaults.len(), 1, "{kind}");
            for platform in ["linux-x86_64", "linux-aarch64"] {
                let fits = |file: &&ModelFile| file.platform.as_deref().is_none_or(|only| only == platform);
                assert!(defaults[0].files.iter().any(|file| fits(&file)), "{kind} {platform}");
            }
        }
    }

    #[test]
    fn every_model_that_ships_states_its_licence_and_what_it_is() {
        for model in Manifest::builtin().models {
            assert!(model.licence.is_some(), "{}", model.name);
            assert!(!model.description.is_empty() && !model.description.ends_with('.'), "{}", model.name);
            assert!(!model.files.is_empty() && model.files.iter().all(|file| file.bytes > 0), "{}", model.name);
        }
    }

    #[test]
    fn a_list_survives_being_written_and_read() {
        let manifest = Manifest::builtin();
        let text = toml::to_string(&manifest).expect("a manifest is TOML");
        assert_eq!(Manifest::parse(&text, "copy").expect("valid"), manifest);
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_refused() {
        let text = "[[model]]\nname = \"../up\"\nkind = \"other\"\nfile = []\n";
        let error = Manifest::parse(text, "pulled.toml").expect_err("not a plain name");
        assert!(error.to_string().contains("../up"), "{error}");
    }
}
