//! A model file becomes a model, or one clear line.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::{LlamaModelParams, LlamaSplitMode};
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use mentor_actors::domain::EngineError;

use super::config::{Device, FlashAttention, GpuLayers, LlamaConfig, LlamaInfo, SplitMode};
use super::memory::{Offload, gpu, place_weights};
use super::preferences::SamplingPreferences;
use super::{cpu, log};

/// Magic number, version, number of tensors, number of metadata entries (GGUF specification).
const GGUF_HEADER_BYTES: usize = 24;
const GGUF_MAGIC: &[u8] = b"GGUF";

/// More sequences than this abort the process (`LLAMA_MAX_SEQ`).
const MAX_SLOTS: usize = 256;

/// Architectures that read texts but write none, or that need an encoder pass before they do.
const NOT_GENERATORS: [&str; 5] = ["bert", "t5", "embed", "clip", "wavtokenizer"];

/// A model and what is known of it.
pub(super) struct LoadedModel {
    pub(super) model: LlamaModel,
    /// As it was asked for, with the number of layers that are on a GPU.
    pub(super) config: LlamaConfig,
    pub(super) info: LlamaInfo,
}

/// llama.cpp itself, initialised once for the process.
pub(super) fn backend() -> Result<&'static LlamaBackend, EngineError> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    let initialised = BACKEND.get_or_init(|| {
        log::capture();
        LlamaBackend::init().map_err(|error| format!("llama.cpp could not be initialised: {error}"))
    });
    initialised.as_ref().map_err(|error| EngineError::Load(error.clone()))
}

/// Loads the model of `config`.
///
/// # Errors
/// [`EngineError::Load`] with one line that names the file and what is wrong with it, or with this machine.
pub(super) fn load_model(config: &LlamaConfig) -> Result<LoadedModel, EngineError> {
    check_machine(config).and_then(|()| check_settings(config)).map_err(EngineError::Load)?;
    let file = FileName(&config.model);
    check_file(&config.model).map_err(|reason| file.error(&reason))?;
    let backend = backend()?;
    log::take_error();
    let offload = place_weights(config).map_err(|reason| file.error(&reason))?;
    let gpu_layers = offload.map_or(config.gpu_layers, Offload::setting);
    let config = LlamaConfig { gpu_layers, ..config.clone() };
    tell(offload);
    let params = model_params(&config, backend)?;
    let model = LlamaModel::load_from_file(backend, &config.model, &params).map_err(|error| {
        let reason = log::take_error().unwrap_or_else(|| error.to_string());
        file.error(&format!("llama.cpp cannot load it: {reason}"))
    })?;
    check_model(&model, config.slots).map_err(|reason| file.error(&reason))?;
    let info = describe(&model, &config, backend, offload);
    Ok(LoadedModel { model, config, info })
}

/// Where the layers go, where there is a choice.
fn tell(offload: Option<Offload>) {
    let Some(Offload { layers, of }) = offload else { return };
    if layers < of {
        tracing::warn!(
            layers,
            of,
            "the GPU has no room for all layers of the generator: the rest is computed by the CPU"
        );
    } else {
        tracing::info!(layers, of, "all layers of the generator go to the GPU");
    }
}

/// Names a model file in messages.
pub(super) struct FileName<'a>(pub(super) &'a Path);

impl FileName<'_> {
    pub(super) fn error(&self, reason: &str) -> EngineError {
        EngineError::Load(format!("model {}: {reason}", self.0.display()))
    }
}

fn check_machine(config: &LlamaConfig) -> Result<(), String> {
    let missing = cpu::missing_cpu_features();
    if !missing.is_empty() {
        return Err(format!("this processor lacks {}, which this build of llama.cpp needs", missing.join(", ")));
    }
    if !(1..=MAX_SLOTS).contains(&config.slots) {
        return Err(format!("{} generation slots are not possible, 1 to {MAX_SLOTS} are", config.slots));
    }
    Ok(())
}

/// Settings that llama.cpp would refuse only once the weights are there.
fn check_settings(config: &LlamaConfig) -> Result<(), String> {
    if config.kv_type_v.is_quantised() && config.flash_attention == FlashAttention::Off {
        return Err("values can be stored as q8_0 only with flash attention: set flash_attention to auto or on, or \
                    kv_type_v to f16"
            .into());
    }
    Ok(())
}

/// What can be told from the file before llama.cpp reads it.
pub(super) fn check_file(path: &Path) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    if metadata.len() < GGUF_HEADER_BYTES as u64 {
        return Err(format!("is not a GGUF file: it has only {} bytes", metadata.len()));
    }
    let mut magic = [0; GGUF_MAGIC.len()];
    file.read_exact(&mut magic).map_err(|error| format!("cannot be read: {error}"))?;
    if magic != GGUF_MAGIC {
        return Err(format!("is not a GGUF file: it begins with \"{}\"", magic.escape_ascii()));
    }
    Ok(())
}

fn model_params(config: &LlamaConfig, backend: &LlamaBackend) -> Result<LlamaModelParams, EngineError> {
    if config.device == Device::Cuda && !backend.supports_gpu_offload() {
        let reason = "device cuda was asked for, but there is no CUDA GPU or this build does not support it";
        return Err(EngineError::Load(reason.into()));
    }
    let params = LlamaModelParams::default();
    if config.device == Device::Cpu {
        // An empty list of devices keeps llama.cpp from using a GPU for large batches all the same.
        let params = params.with_devices(&[]).map_err(|error| EngineError::Load(error.to_string()))?;
        return Ok(params.with_n_gpu_layers(0));
    }
    let params = match config.gpu_layers {
        GpuLayers::Auto => params,
        GpuLayers::None => params.with_n_gpu_layers(0),
        GpuLayers::Count(layers) => params.with_n_gpu_layers(layers),
    };
    // llama.cpp refuses to load anything on "the first GPU" where there is none.
    if gpu(config).is_none() {
        return Ok(params);
    }
    Ok(match config.split_mode {
        SplitMode::Auto => params,
        SplitMode::None => params.with_split_mode(LlamaSplitMode::None),
        SplitMode::Layer => params.with_split_mode(LlamaSplitMode::Layer),
        SplitMode::Row => params.with_split_mode(LlamaSplitMode::Row),
    })
}

/// What only shows once the model is loaded.
fn check_model(model: &LlamaModel, slots: usize) -> Result<(), String> {
    let architecture = metadata(model, "general.architecture").unwrap_or_default();
    let of_architecture = |key: &str| metadata(model, &format!("{architecture}.{key}"));
    let embeds = of_architecture("pooling_type").is_some_and(|pooling| pooling != "0")
        || of_architecture("attention.causal").is_some_and(|causal| causal == "false")
        || NOT_GENERATORS.iter().any(|name| architecture.contains(name));
    if embeds {
        return Err(format!("is no model that writes answers (architecture {architecture})"));
    }
    // Tokenizing without a vocabulary aborts the process.
    if metadata(model, "tokenizer.ggml.model").is_none_or(|kind| kind == "none" || kind == "no_vocab") {
        return Err("has no vocabulary".into());
    }
    if slots > 1 && (model.is_recurrent() || model.is_hybrid()) {
        return Err(format!("a recurrent model (architecture {architecture}) serves one slot, not {slots}"));
    }
    Ok(())
}

fn describe(model: &LlamaModel, config: &LlamaConfig, backend: &LlamaBackend, offload: Option<Offload>) -> LlamaInfo {
    let file_stem = || config.model.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    LlamaInfo {
        name: metadata(model, "general.name").filter(|name| !name.trim().is_empty()).unwrap_or_else(file_stem),
        parameters: model.n_params(),
        bytes: model.size(),
        context_tokens: model.n_ctx_train() as usize,
        quantisation: quantisation(metadata(model, "general.file_type").as_deref()),
        backend: with_part(backend_name(config, backend), offload),
        sampling: SamplingPreferences::read(|key| metadata(model, key)),
    }
}

fn metadata(model: &LlamaModel, key: &str) -> Option<String> {
    model.meta_val_str(key).ok()
}

/// What computes: `cpu`, or the GPU library's name.
fn backend_name(config: &LlamaConfig, backend: &LlamaBackend) -> String {
    let on_cpu = config.device == Device::Cpu || matches!(config.gpu_layers, GpuLayers::None | GpuLayers::Count(0));
    if on_cpu || !backend.supports_gpu_offload() {
        return "cpu".into();
    }
    let gpus = [LlamaBackendDeviceType::Gpu, LlamaBackendDeviceType::IntegratedGpu];
    let device = list_llama_ggml_backend_devices().into_iter().find(|device| gpus.contains(&device.device_type));
    device.map_or_else(|| "cpu".into(), |device| device.backend.to_lowercase())
}

/// The same, with the part of the layers that is there, where it is not all of them.
fn with_part(backend: String, offload: Option<Offload>) -> String {
    match offload {
        Some(Offload { layers, of }) if (1..of).contains(&layers) => format!("{backend}, {layers} of {of} layers"),
        _ => backend,
    }
}

/// The name of a GGUF file type (`llama_ftype` of llama.h).
pub(super) fn quantisation(file_type: Option<&str>) -> String {
    let name = match file_type {
        Some("0") => "F32",
        Some("1") => "F16",
        Some("2") => "Q4_0",
        Some("3") => "Q4_1",
        Some("7") => "Q8_0",
        Some("8") => "Q5_0",
        Some("9") => "Q5_1",
        Some("10" | "21") => "Q2_K",
        Some("11" | "12" | "13") => "Q3_K",
        Some("14" | "15") => "Q4_K",
        Some("16" | "17") => "Q5_K",
        Some("18") => "Q6_K",
        Some("25") => "IQ4_NL",
        Some("30") => "IQ4_XS",
        Some("32") => "BF16",
        Some("38") => "MXFP4",
        Some(other) => return format!("type {other}"),
        None => "unknown type",
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::config::KvType;
    use super::super::test_gguf::{Gguf, Kind};
    use super::*;

    fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn load(path: &Path, slots: usize) -> String {
        let config = LlamaConfig { slots, ..LlamaConfig::new(path) };
        match load_model(&config) {
            Err(EngineError::Load(line)) => line,
            Err(other) => panic!("not a load error: {other:?}"),
            Ok(_) => panic!("{} was loaded", path.display()),
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let line = load(Path::new("no/such/model.gguf"), 1);
        assert!(line.starts_with("model no/such/model.gguf: cannot be opened: "), "{line}");
    }

    #[test]
    fn a_folder_is_not_a_model() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path(), 1).ends_with("is not a file"));
    }

    #[test]
    fn a_file_that_is_not_gguf_is_refused_before_llama_cpp_sees_it() {
        let pointer = file_with(b"version https://git-lfs.github.com/spec/v1");
        assert!(load(pointer.path(), 1).ends_with("is not a GGUF file: it begins with \"vers\""));
        assert!(load(file_with(b"GGUF").path(), 1).ends_with("is not a GGUF file: it has only 4 bytes"));
    }

    #[test]
    fn a_damaged_header_is_refused() {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend_from_slice(&3u32.to_le_bytes());
        bytes.extend_from_slice(&[0xFF; 64]);
        let line = load(file_with(&bytes).path(), 1);
        assert!(line.contains("llama.cpp cannot load it: "), "{line}");
    }

    #[test]
    fn an_unknown_architecture_is_named() {
        let line = load(Gguf::of_architecture("nonesuch").file().path(), 1);
        assert!(line.contains("llama.cpp cannot load it: ") && line.contains("nonesuch"), "{line}");
    }

    #[test]
    fn a_model_without_its_tensors_is_refused() {
        let line = load(Gguf::model("llama").sentence_pieces(&[]).file().path(), 1);
        assert!(line.contains("llama.cpp cannot load it: "), "{line}");
    }

    #[test]
    fn a_model_that_writes_is_accepted_and_one_that_embeds_is_not() {
        let vocabulary = [("a", Kind::Normal)];
        let writes = Gguf::model("llama").sentence_pieces(&vocabulary);
        assert_eq!(check_model(writes.load_vocabulary(), 4), Ok(()));
        let embeds = Gguf::model("llama").number("llama.pooling_type", 3).sentence_pieces(&vocabulary);
        let refusal = "is no model that writes answers (architecture llama)";
        assert_eq!(check_model(embeds.load_vocabulary(), 1), Err(refusal.to_owned()));
    }

    #[test]
    fn a_recurrent_model_serves_one_slot() {
        let model = Gguf::model("mamba").sentence_pieces(&[("a", Kind::Normal)]).load_vocabulary();
        assert_eq!(check_model(model, 1), Ok(()));
        let refusal = "a recurrent model (architecture mamba) serves one slot, not 2";
        assert_eq!(check_model(model, 2), Err(refusal.to_owned()));
    }

    #[test]
    fn a_model_without_a_vocabulary_is_refused() {
        let model = Gguf::model("llama").text("tokenizer.ggml.model", "none").number("llama.vocab_size", 8);
        assert_eq!(check_model(model.load_vocabulary(), 1), Err("has no vocabulary".to_owned()));
    }

    #[test]
    fn an_impossible_number_of_slots_is_refused() {
        let file = file_with(b"GGUF");
        assert_eq!(load(file.path(), 0), "0 generation slots are not possible, 1 to 256 are");
        assert!(load(file.path(), 257).starts_with("257 "));
    }

    #[test]
    fn values_of_q8_0_without_flash_attention_are_refused_before_the_file_is_opened() {
        let config = LlamaConfig {
            kv_type_v: KvType::Q8_0,
            flash_attention: FlashAttention::Off,
            ..LlamaConfig::new("no/such/model.gguf")
        };
        let Err(EngineError::Load(line)) = load_model(&config) else { panic!("it was loaded") };
        assert!(line.contains("flash_attention") && line.contains("kv_type_v"), "{line}");
        for flash_attention in [FlashAttention::Auto, FlashAttention::On] {
            assert_eq!(check_settings(&LlamaConfig { flash_attention, ..config.clone() }), Ok(()));
        }
    }

    #[test]
    fn what_computes_is_told_with_its_part() {
        let told = |layers| with_part("cuda".into(), Some(Offload { layers, of: 33 }));
        assert_eq!((told(20), told(33)), ("cuda, 20 of 33 layers".into(), "cuda".into()));
        assert_eq!(with_part("cpu".into(), Some(Offload { layers: 0, of: 33 })), "cpu");
        assert_eq!(with_part("cpu".into(), None), "cpu");
    }

    #[test]
    fn file_types_have_names() {
        assert_eq!(quantisation(Some("3")), "Q4_1");
        assert_eq!(quantisation(Some("999")), "type 999");
        assert_eq!(quantisation(None), "unknown type");
    }
}
