//! Whether there is memory for what is about to be loaded, and how much of it goes to a GPU: without a GPU the system would start to
//! swap or kill, and with one llama.cpp ends the process.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::{LlamaBackendDevice, LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use mentor_actors::ports::DecoderShape;

use super::config::{Device, GpuLayers, LlamaConfig, SplitMode};
use super::layout::{KvShape, Layout};
use crate::main_memory;

/// Part of the free memory that may be asked for; the rest is for others.
const USABLE_PERCENT: u64 = 95;

/// What each GPU needs to compute with beside weights and context, when it is left to this program how much goes there: as llama.cpp's
/// own `--fit` leaves free.
const COMPUTING_BYTES: u64 = 1 << 30;

const SMALLER_CONTEXT: &str = "set fewer slots, a smaller context_tokens or kv_cells";

/// Memory that weights or a context would be put into.
pub(super) struct Place {
    name: String,
    free_bytes: u64,
    devices: u64,
}

impl Place {
    fn usable_bytes(&self) -> u64 {
        self.free_bytes / 100 * USABLE_PERCENT
    }
}

/// How much of a model is on GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offload {
    /// Layers there, the output counted as one.
    pub(super) layers: u32,
    /// Layers in all.
    pub(super) of: u32,
}

impl Offload {
    /// As the configuration would say it.
    pub(super) fn setting(self) -> GpuLayers {
        match self.layers {
            0 => GpuLayers::None,
            layers if layers >= self.of => GpuLayers::Auto,
            layers => GpuLayers::Count(layers),
        }
    }
}

/// Decides how many layers go to the GPUs, and checks that there is memory for weights and context everywhere. `None` where nothing is
/// computed on one, or nothing is known of the model: then llama.cpp says what is wrong with it.
///
/// # Errors
/// A line that says how much is needed, how much there is, and what to change.
pub(super) fn place_weights(config: &LlamaConfig) -> Result<Option<Offload>, String> {
    let Some(layout) = Layout::read(&config.model).ok().filter(|layout| layout.layers > 0) else { return Ok(None) };
    let kv = layout.kv.bytes(cells(config, layout.trained_tokens), config.kv_type_k, config.kv_type_v);
    let offload = gpu(config).map(|gpu| offload(config, &layout, kv, &gpu)).transpose()?;
    let bytes = layout.memory(offload.map_or(0, |offload| offload.layers), kv);
    let remedy = "take a smaller model or context, or end other programs";
    main_memory().map_or(Ok(()), |memory| check("the model's weights and context", bytes, &memory, remedy))?;
    Ok(offload)
}

/// As many layers as fit, where that is left to this program; as many as are asked for, or an error.
fn offload(config: &LlamaConfig, layout: &Layout, kv_layer_bytes: u64, gpu: &Place) -> Result<Offload, String> {
    let of = layout.all();
    let usable = gpu.usable_bytes().saturating_sub(COMPUTING_BYTES * gpu.devices);
    let fitting = layout.fitting(usable, kv_layer_bytes);
    let layers = match config.gpu_layers {
        GpuLayers::Auto if fitting == 0 && config.device == Device::Cuda => {
            let least = layout.gpu_weights(2) + layout.context(2, kv_layer_bytes).0 + COMPUTING_BYTES * gpu.devices;
            let remedy = "take a smaller model or context, or set device to auto";
            return check("a single layer with its context", least, gpu, remedy).map(|()| Offload { layers: 2, of });
        }
        GpuLayers::Auto => fitting,
        GpuLayers::None => 0,
        GpuLayers::Count(layers) => layers.min(of),
    };
    if let GpuLayers::Count(_) = config.gpu_layers {
        let bytes = layout.gpu_weights(layers) + layout.context(layers, kv_layer_bytes).0;
        let remedy = format!("set gpu_layers to {fitting}, or to -1 for as many as fit");
        check(&format!("{layers} of {of} layers with their context"), bytes, gpu, &remedy)?;
    }
    Ok(Offload { layers, of })
}

/// Tokens that the context will hold, as the decoder makes it.
fn cells(config: &LlamaConfig, trained_tokens: u64) -> u64 {
    let trained = if trained_tokens == 0 { u64::MAX } else { trained_tokens };
    let all = (config.context_tokens as u64).clamp(1, trained).saturating_mul(config.slots as u64);
    if config.cells == 0 { all } else { all.min(config.cells as u64) }
}

/// Whether there is room for a context, when the weights are loaded as `config` says.
///
/// # Errors
/// As [`place_weights`].
pub(super) fn check_context(config: &LlamaConfig, model: &LlamaModel, shape: DecoderShape) -> Result<(), String> {
    let layout = Layout { layers: model.n_layer(), kv: kv_shape(model), ..Layout::default() };
    let layer_bytes = layout.kv.bytes(shape.cells as u64, config.kv_type_k, config.kv_type_v);
    let gpu = gpu(config);
    let gpu_layers = match config.gpu_layers {
        _ if gpu.is_none() => 0,
        GpuLayers::Auto => layout.all(),
        GpuLayers::None => 0,
        GpuLayers::Count(layers) => layers,
    };
    let (on_gpu, in_memory) = layout.context(gpu_layers, layer_bytes);
    let what = format!("the context of {} conversations of {} tokens", shape.sequences, shape.sequence_tokens);
    for (bytes, place) in [(on_gpu, gpu), (in_memory, main_memory())] {
        place.map_or(Ok(()), |place| check(&what, bytes, &place, SMALLER_CONTEXT))?;
    }
    Ok(())
}

fn kv_shape(model: &LlamaModel) -> KvShape {
    let architecture = model.meta_val_str("general.architecture").unwrap_or_default();
    KvShape::read(|key| largest(&model.meta_val_str(&format!("{architecture}.{key}")).ok()?))
}

/// A number, or the largest of a list, as llama.cpp writes them: "8", "[8, 4]".
fn largest(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).max()
}

fn check(what: &str, bytes: u64, place: &Place, remedy: &str) -> Result<(), String> {
    if bytes <= place.usable_bytes() {
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
    let name = |gpu: &LlamaBackendDevice| format!("GPU memory ({})", gpu.description);
    gpus.first().map(|gpu| Place { name: name(gpu), free_bytes, devices: used as u64 })
}

/// `None` where the system does not say.
fn main_memory() -> Option<Place> {
    let free_bytes = main_memory::free_bytes()?;
    Some(Place { name: "main memory".into(), free_bytes, devices: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(free_bytes: u64) -> Place {
        Place { name: "GPU memory (test)".into(), free_bytes, devices: 1 }
    }

    /// Ten layers of a GiB, each with 100 MiB of context below.
    fn model() -> Layout {
        Layout { layers: 10, layer_bytes: 10 << 30, input_bytes: 1 << 20, output_bytes: 1 << 20, ..Layout::default() }
    }

    const KV: u64 = 100 << 20;

    fn wanted(gpu_layers: GpuLayers) -> LlamaConfig {
        LlamaConfig { gpu_layers, ..LlamaConfig::new("model.gguf") }
    }

    fn layers(gpu_layers: GpuLayers, free_gib: u64) -> Result<u32, String> {
        offload(&wanted(gpu_layers), &model(), KV, &place(free_gib << 30)).map(|offload| offload.layers)
    }

    #[test]
    fn auto_takes_what_fits_and_leaves_room_to_compute() {
        assert_eq!(layers(GpuLayers::Auto, 80), Ok(11));
        // 95 % of 7 GiB less one are 5.65 GiB: five layers of 1.1, and the output.
        assert_eq!(layers(GpuLayers::Auto, 7), Ok(6));
        assert_eq!(layers(GpuLayers::Auto, 1), Ok(0));
    }

    #[test]
    fn a_number_of_layers_is_kept_to_or_refused_with_the_number_that_fits() {
        assert_eq!((layers(GpuLayers::Count(3), 7), layers(GpuLayers::Count(99), 80)), (Ok(3), Ok(11)));
        let refusal = layers(GpuLayers::Count(9), 7).unwrap_err();
        let expected = "9 of 11 layers with their context would need 8993 MiB of GPU memory (test), where 7168 MiB are free: set \
                        gpu_layers to 6, or to -1 for as many as fit";
        assert_eq!(refusal, expected);
    }

    #[test]
    fn a_gpu_that_must_be_used_and_has_no_room_is_an_error() {
        let config = LlamaConfig { device: Device::Cuda, ..wanted(GpuLayers::Auto) };
        let refusal = offload(&config, &model(), KV, &place(1 << 30)).unwrap_err();
        assert!(refusal.contains("a single layer") && refusal.contains("1024 MiB are free"), "{refusal}");
    }

    #[test]
    fn what_was_decided_is_what_is_loaded() {
        let setting = |layers| Offload { layers, of: 11 }.setting();
        assert_eq!([0, 6, 11].map(setting), [GpuLayers::None, GpuLayers::Count(6), GpuLayers::Auto]);
    }

    #[test]
    fn a_context_has_the_cells_that_the_decoder_will_ask_for() {
        let config =
            |context_tokens, slots, cells| LlamaConfig { context_tokens, slots, cells, ..LlamaConfig::new("m") };
        assert_eq!(cells(&config(2_048, 4, 0), 8_192), 8_192);
        assert_eq!(cells(&config(2_048, 4, 0), 1_024), 4_096, "cut to what the model was trained on");
        assert_eq!((cells(&config(2_048, 4, 5_000), 0), cells(&config(2_048, 4, 90_000), 0)), (5_000, 8_192));
    }

    #[test]
    fn too_little_memory_is_told_with_both_numbers_and_a_remedy() {
        let memory = Place { name: "main memory".into(), free_bytes: 1 << 30, devices: 0 };
        assert_eq!(check("the context", 900 << 20, &memory, "wait"), Ok(()));
        let refusal = "the context would need 1000 MiB of main memory, where 1024 MiB are free: wait";
        assert_eq!(check("the context", 1_000 << 20, &memory, "wait"), Err(refusal.to_owned()));
    }

    #[test]
    fn numbers_of_metadata_come_alone_or_as_lists() {
        assert_eq!((largest("128"), largest("[8, 16, 4]"), largest("many")), (Some(128), Some(16), None));
    }
}
