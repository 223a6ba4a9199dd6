//! Whether there is memory for what is about to be loaded: without a GPU the system would start to swap or kill, and with one
//! llama.cpp ends the process.

use std::path::Path;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::{LlamaBackendDevice, LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use mentor_actors::ports::DecoderShape;

use super::config::{Device, GpuLayers, KvType, LlamaConfig, SplitMode};

/// Part of the free memory that may be asked for; the rest is for computation and for others.
const USABLE_PERCENT: u64 = 95;

/// Memory that weights or a context would be put into.
pub(super) struct Place {
    name: String,
    free_bytes: u64,
}

/// # Errors
/// A line that says how much is needed, how much there is, and what to change.
pub(super) fn check_weights(config: &LlamaConfig) -> Result<(), String> {
    let bytes = std::fs::metadata(&config.model).map_or(0, |file| file.len());
    // In main memory weights are mapped: they are read as they are needed, and dropped where memory is short.
    let Some(gpu) = gpu(config).filter(|_| config.gpu_layers == GpuLayers::Auto) else { return Ok(()) };
    check("the model's weights", bytes, &gpu, "take a smaller model, or set gpu_layers")
}

/// # Errors
/// As [`check_weights`].
pub(super) fn check_context(config: &LlamaConfig, model: &LlamaModel, shape: DecoderShape) -> Result<(), String> {
    let layout = Layout {
        layers: u64::from(model.n_layer()),
        heads: u64::from(model.n_head_kv()),
        head_numbers: u64::try_from(model.n_embd()).unwrap_or(0) / u64::from(model.n_head()).max(1),
    };
    let bytes = layout.bytes(shape.cells as u64, config.kv_type_k, config.kv_type_v);
    let Some(place) = gpu(config).or_else(main_memory) else { return Ok(()) };
    let what = format!("the context of {} conversations of {} tokens", shape.sequences, shape.sequence_tokens);
    check(&what, bytes, &place, "set fewer slots, a smaller context_tokens or kv_cells")
}

/// The shape of keys and values of one token.
struct Layout {
    layers: u64,
    heads: u64,
    head_numbers: u64,
}

impl Layout {
    fn bytes(&self, tokens: u64, keys: KvType, values: KvType) -> u64 {
        self.layers * self.heads * self.head_numbers * tokens * (eighths(keys) + eighths(values)) / 8
    }
}

/// Eighths of a byte of one number, with its part of a block's scale.
fn eighths(kind: KvType) -> u64 {
    match kind {
        KvType::F32 => 32,
        KvType::F16 => 16,
        KvType::Q8_0 => 9,
    }
}

fn check(what: &str, bytes: u64, place: &Place, remedy: &str) -> Result<(), String> {
    let usable = place.free_bytes / 100 * USABLE_PERCENT;
    if bytes <= usable {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    let (need, free) = (mebibytes(bytes), mebibytes(place.free_bytes));
    Err(format!("{what} would need {need} MiB of {}, where {free} MiB are free: {remedy}", place.name))
}

/// The GPUs that are used; `None` where nothing is computed on one.
pub(super) fn gpu(config: &LlamaConfig) -> Option<Place> {
    if config.device == Device::Cpu || matches!(config.gpu_layers, GpuLayers::None | GpuLayers::Count(0)) {
        return None;
    }
    let is_gpu = |device: &LlamaBackendDevice| device.device_type == LlamaBackendDeviceType::Gpu;
    let gpus: Vec<_> = list_llama_ggml_backend_devices().into_iter().filter(is_gpu).collect();
    let used = if config.split_mode == SplitMode::None { 1 } else { gpus.len() };
    let free_bytes = gpus.iter().take(used).map(|gpu| gpu.memory_free as u64).sum();
    gpus.first().map(|gpu| Place { name: format!("GPU memory ({})", gpu.description), free_bytes })
}

/// `None` where the system does not say.
fn main_memory() -> Option<Place> {
    let free_bytes = available(&std::fs::read_to_string(Path::new("/proc/meminfo")).ok()?)?;
    Some(Place { name: "main memory".into(), free_bytes })
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_takes_keys_and_values_of_every_layer_and_token() {
        let smol = Layout { layers: 30, heads: 3, head_numbers: 64 };
        assert_eq!(smol.bytes(1, KvType::F16, KvType::F16), 23_040);
        assert_eq!(smol.bytes(8_192, KvType::F16, KvType::F32), 270 << 20, "what llama.cpp reports for it");
        assert_eq!(smol.bytes(2_048, KvType::Q8_0, KvType::Q8_0), 2_048 * 5_760 * 2 * 9 / 8);
    }

    #[test]
    fn too_little_memory_is_told_with_both_numbers_and_a_remedy() {
        let place = Place { name: "main memory".into(), free_bytes: 1 << 30 };
        assert_eq!(check("the context", 900 << 20, &place, "wait"), Ok(()));
        let refusal = "the context would need 1000 MiB of main memory, where 1024 MiB are free: wait";
        assert_eq!(check("the context", 1_000 << 20, &place, "wait"), Err(refusal.to_owned()));
    }

    #[test]
    fn free_memory_is_what_the_system_calls_available() {
        let meminfo = "MemTotal:  24000000 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available(meminfo), Some(2 << 20));
        assert_eq!(available("MemFree: 1 kB"), None);
    }
}
