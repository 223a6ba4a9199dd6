//! From what a user asks for to the paths the engines open, with a quick check that the files are whole.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::conversion::LlmSource;
use super::dir::ModelsDir;
use super::error::ModelsError;
use super::manifest::{Model, ModelKind, platform};
use super::source::Source;
use super::stamps::Stamps;
use super::verify::Care;

pub use crate::config::Device;

/// The library for NVIDIA GPUs.
const CUDA_RUNTIME: &str = "onnxruntime-cuda";
/// Where Linux shows an NVIDIA driver; the last is the one of WSL.
const NVIDIA_DRIVERS: [&str; 3] = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"];

impl ModelsDir {
    /// The GGUF to write answers with: the default, a model by name or by the source it was pulled from, or a file. Where the
    /// CPU computes, it is the file that `mentor models convert` made of it, if that is there and whole.
    ///
    /// # Errors
    /// When there is no such model, it is not there or damaged (with the command that mends it), or the file is no GGUF.
    pub fn resolve_llm(&self, wanted: Option<&str>, device: Device) -> Result<PathBuf, ModelsError> {
        let source = self.llm_source(wanted)?;
        if computes_on_gpu(device) {
            return Ok(source.path);
        }
        let mut stamps = Stamps::read(self.root());
        let current = source.current(&mut stamps);
        stamps.save();
        if current.is_none() && source.conversion().is_some() {
            tracing::warn!(model = source.name, "what was made of it is damaged: run `mentor models convert`");
        }
        Ok(current.map_or(source.path, |(_, path)| path))
    }

    /// The generator's file as it was shipped, with the place of what was made of it.
    pub(super) fn llm_source(&self, wanted: Option<&str>) -> Result<LlmSource, ModelsError> {
        match self.choose(wanted, ModelKind::Generator)? {
            Choice::Model(model) => {
                self.ready(&model)?;
                LlmSource::of_model(self.root(), &model).ok_or_else(|| not_here(&model))
            }
            Choice::Path(path) => check_gguf(&path).map(|()| LlmSource::own(self.root(), &path)),
        }
    }

    /// The folder of the embedder, with its ONNX file (`model.onnx` or `onnx/model.onnx`) and `tokenizer.json`: the
    /// default, a model by name, or any such folder.
    ///
    /// # Errors
    /// When there is no such model, it is not there or damaged (with the command that mends it), or a file is missing.
    pub fn resolve_embedder(&self, wanted: Option<&str>) -> Result<PathBuf, ModelsError> {
        match self.choose(wanted, ModelKind::Embedder)? {
            Choice::Model(model) => self.ready(&model).map(|_| self.root().join(&model.name)),
            Choice::Path(path) => check_onnx_folder(&path).map(|()| path),
        }
    }

    /// The folder of a reranker, laid out as an embedder's: a path, or the name of a folder among the models.
    ///
    /// # Errors
    /// When there is no such folder, or a file of it is missing.
    pub fn resolve_reranker(&self, wanted: &str) -> Result<PathBuf, ModelsError> {
        let among_models = self.root().join(wanted);
        let folder = if among_models.is_dir() { among_models } else { wanted.into() };
        check_onnx_folder(&folder).map(|()| folder)
    }

    /// The ONNX Runtime library: that of `ORT_DYLIB_PATH` where set, else ours for the device.
    ///
    /// # Errors
    /// When it is not there or damaged (with the command that mends it), or there is none for this platform.
    pub fn resolve_runtime(&self, device: Device) -> Result<PathBuf, ModelsError> {
        if let Some(path) = &self.settings.ort_dylib {
            return check_library(path).map(|()| path.clone());
        }
        let default = self.default_of(ModelKind::Runtime)?;
        match device {
            Device::Cpu => self.ready(default),
            Device::Cuda => self.ready(&self.model(CUDA_RUNTIME)?),
            Device::Auto if !has_nvidia_driver() => self.ready(default),
            Device::Auto => {
                self.model(CUDA_RUNTIME).and_then(|model| self.ready(&model)).or_else(|_| self.ready(default))
            }
        }
    }

    /// The first file of any model by name.
    ///
    /// # Errors
    /// When there is no such model, or it is not there or damaged (with the command that mends it).
    pub fn resolve_first_file(&self, name: &str) -> Result<PathBuf, ModelsError> {
        self.ready(&self.model(name)?)
    }

    fn choose(&self, wanted: Option<&str>, kind: ModelKind) -> Result<Choice, ModelsError> {
        let Some(text) = wanted else { return Ok(Choice::Model(self.default_of(kind)?.clone())) };
        match self.model(&normalised(text)) {
            Ok(model) if model.kind == kind => Ok(Choice::Model(model)),
            Ok(model) => Err(ModelsError::WrongKind { name: model.name, found: model.kind, wanted: kind }),
            Err(ModelsError::Unknown { .. }) if Source::is_meant_by(text) => {
                Err(ModelsError::Missing { path: text.into(), mend: format!("mentor models pull {text}") })
            }
            Err(ModelsError::Unknown { .. }) if is_path(text) => Ok(Choice::Path(text.into())),
            Err(error) => Err(error),
        }
    }

    /// The first file of a model, after a quick check of all of them.
    fn ready(&self, model: &Model) -> Result<PathBuf, ModelsError> {
        let mut stamps = Stamps::read(self.root());
        let reports = self.inspect(model, Care::Quick, &mut stamps);
        stamps.save();
        let mend = mend(model);
        match reports.iter().find_map(|report| report.error(&mend)) {
            Some(error) => Err(error),
            None => reports.into_iter().next().map(|report| report.path).ok_or_else(|| not_here(model)),
        }
    }
}

/// Whether the generator computes on a GPU: this build can, and there is one.
pub(super) fn computes_on_gpu(device: Device) -> bool {
    let is_wanted = match device {
        Device::Cpu => false,
        Device::Cuda => true,
        Device::Auto => has_nvidia_driver(),
    };
    cfg!(feature = "cuda") && is_wanted
}

fn has_nvidia_driver() -> bool {
    NVIDIA_DRIVERS.iter().any(|path| Path::new(path).exists())
}

enum Choice {
    Model(Model),
    Path(PathBuf),
}

/// The command that fetches a model.
pub(super) fn mend(model: &Model) -> String {
    if model.default { "mentor models pull".to_owned() } else { format!("mentor models pull {}", model.name) }
}

/// That a model has no file for this platform.
pub(super) fn not_here(model: &Model) -> ModelsError {
    let advice = if model.kind == ModelKind::Runtime { ": set ORT_DYLIB_PATH to a library of your own" } else { "" };
    ModelsError::Platform { name: model.name.clone(), platform: platform(), advice }
}

/// A source as manifests write it; anything else as it is.
fn normalised(text: &str) -> String {
    text.parse::<Source>().map_or_else(|_| text.to_owned(), |source| source.to_string())
}

fn is_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".gguf") || Path::new(text).exists()
}

fn unusable(path: &Path, why: impl Into<String>) -> ModelsError {
    ModelsError::Unusable { path: path.to_owned(), why: why.into() }
}

/// That a file begins as every GGUF does.
pub(super) fn check_gguf(path: &Path) -> Result<(), ModelsError> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut magic));
    match read {
        Err(error) => Err(unusable(path, format!("cannot be read: {error}"))),
        Ok(_) if magic == *b"GGUF" => Ok(()),
        Ok(_) => Err(unusable(path, "is not a GGUF file")),
    }
}

fn check_onnx_folder(folder: &Path) -> Result<(), ModelsError> {
    let has = |name: &str| folder.join(name).is_file();
    if !folder.is_dir() {
        Err(unusable(folder, "is not a folder"))
    } else if !has("model.onnx") && !has("onnx/model.onnx") {
        Err(unusable(folder, "has neither model.onnx nor onnx/model.onnx"))
    } else if !has("tokenizer.json") {
        Err(unusable(folder, "has no tokenizer.json"))
    } else {
        Ok(())
    }
}

/// A bare name is for the system's loader to find.
fn check_library(path: &Path) -> Result<(), ModelsError> {
    let is_bare = path.components().count() == 1;
    match is_bare || path.is_file() {
        true => Ok(()),
        false => Err(unusable(path, "is not a file: correct or unset ORT_DYLIB_PATH")),
    }
}
