//! What a model and its context take, layer by layer, and how many layers a GPU has room for (pure, but for reading the header).

use std::fs;
use std::path::{Path, PathBuf};

use super::config::KvType;
use super::header::Header;

/// Tensors of the layers that repeat begin so.
const LAYER: &str = "blk.";
/// The table of token vectors, which is read row by row and always stays in main memory.
const INPUT: &str = "token_embd.weight";
/// The matrix that makes scores of the last layer's result. Models without one of their own use `INPUT`, of which a GPU then gets a
/// copy.
const OUTPUT: &str = "output.weight";

/// Sizes of a model's parts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Layers that repeat.
    pub(super) layers: u32,
    /// Weights of all of them.
    pub(super) layer_bytes: u64,
    /// The table of token vectors.
    pub(super) input_bytes: u64,
    /// What makes scores.
    pub(super) output_bytes: u64,
    /// Whether that is the table of token vectors once more.
    pub(super) is_tied: bool,
    /// Most tokens that the model was trained on.
    pub(super) trained_tokens: u64,
    /// What a token leaves behind in a layer.
    pub(super) kv: KvShape,
}

/// Keys and values of one token in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KvShape {
    pub(super) heads: u64,
    /// Numbers of a key, and of a value.
    pub(super) key_length: u64,
    pub(super) value_length: u64,
}

impl KvShape {
    /// From metadata, by key without the architecture. The size of a head is `key_length` and `value_length` where a model has
    /// them (Qwen3, Gemma), else its part of the whole; where layers differ, the largest counts.
    pub(super) fn read(number: impl Fn(&str) -> Option<u64>) -> Self {
        let heads = number("attention.head_count").filter(|heads| *heads > 0);
        let part = number("embedding_length").unwrap_or(0) / heads.unwrap_or(1);
        Self {
            heads: number("attention.head_count_kv").or(heads).unwrap_or(0),
            key_length: number("attention.key_length").unwrap_or(part),
            value_length: number("attention.value_length").unwrap_or(part),
        }
    }

    /// Memory of so many tokens in one layer.
    pub(super) fn bytes(&self, tokens: u64, keys: KvType, values: KvType) -> u64 {
        self.heads * tokens * (self.key_length * eighths(keys) + self.value_length * eighths(values)) / 8
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

impl Layout {
    /// Of a file's header.
    ///
    /// # Errors
    /// A header that llama.cpp cannot read.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let header = Header::read(file)?;
        let architecture = header.text("general.architecture").unwrap_or_default();
        let number = |key: &str| header.number(&format!("{architecture}.{key}"));
        let mut layout = Self {
            layers: number("block_count").and_then(|layers| u32::try_from(layers).ok()).unwrap_or(0),
            trained_tokens: number("context_length").unwrap_or(0),
            kv: KvShape::read(number),
            is_tied: true,
            ..Self::default()
        };
        if header.is_split() {
            // The first part describes its own tensors alone.
            layout.layer_bytes =
                parts(file).iter().filter_map(|part| fs::metadata(part).ok()).map(|part| part.len()).sum();
        } else {
            header.tensors().for_each(|tensor| layout.add(&tensor.name, tensor.bytes));
        }
        if layout.is_tied {
            layout.output_bytes += layout.input_bytes;
        }
        Ok(layout)
    }

    fn add(&mut self, tensor: &str, bytes: u64) {
        if tensor.starts_with(LAYER) {
            self.layer_bytes += bytes;
        } else if tensor == INPUT {
            self.input_bytes += bytes;
        } else {
            self.is_tied &= tensor != OUTPUT;
            self.output_bytes += bytes;
        }
    }

    /// What can be put on a GPU: as llama.cpp counts, each layer that repeats, and the output as one more.
    pub(super) fn all(&self) -> u32 {
        self.layers + 1
    }

    /// Layers that repeat, of `gpu_layers`: the output goes first.
    fn repeating(&self, gpu_layers: u32) -> u64 {
        gpu_layers.saturating_sub(1).min(self.layers).into()
    }

    fn of_layers(&self, repeating: u64) -> u64 {
        self.layer_bytes * repeating / u64::from(self.layers).max(1)
    }

    /// Weights on the GPU with so many layers there.
    pub(super) fn gpu_weights(&self, gpu_layers: u32) -> u64 {
        let output = if gpu_layers > 0 { self.output_bytes } else { 0 };
        output + self.of_layers(self.repeating(gpu_layers))
    }

    /// Weights in main memory then. Those that the processor's kernels want in another order are copied there, the others mapped;
    /// either way they take their size, and an answer is only fast while all of it is there.
    pub(super) fn memory_weights(&self, gpu_layers: u32) -> u64 {
        let output = if gpu_layers > 0 { 0 } else { self.output_bytes };
        let shared = if self.is_tied && gpu_layers == 0 { self.input_bytes } else { 0 };
        let layers = self.layer_bytes - self.of_layers(self.repeating(gpu_layers));
        self.input_bytes + layers + (output - shared.min(output))
    }

    /// How much of a context of `layer_bytes` a layer is on the GPU, and how much in main memory.
    pub(super) fn context(&self, gpu_layers: u32, layer_bytes: u64) -> (u64, u64) {
        let on_gpu = self.repeating(gpu_layers);
        (layer_bytes * on_gpu, layer_bytes * (u64::from(self.layers) - on_gpu))
    }

    /// Weights and context in main memory. Together, as mapped weights leave the memory free that the context is then measured by.
    pub(super) fn memory(&self, gpu_layers: u32, layer_bytes: u64) -> u64 {
        self.memory_weights(gpu_layers) + self.context(gpu_layers, layer_bytes).1
    }

    /// The most layers that go into `usable_bytes` together with their part of a context of `layer_bytes` a layer. None where not even
    /// one that repeats does: the output alone would not be worth the way there and back.
    pub(super) fn fitting(&self, usable_bytes: u64, layer_bytes: u64) -> u32 {
        let takes = |layers: u32| self.gpu_weights(layers) + self.context(layers, layer_bytes).0;
        (2..=self.all()).rev().find(|layers| takes(*layers) <= usable_bytes).unwrap_or(0)
    }
}

/// All parts of a model in several files, `name-00001-of-00003.gguf` being the first.
fn parts(first: &Path) -> Vec<PathBuf> {
    let name = first.file_name().unwrap_or_default().to_string_lossy();
    let count = name.rsplit_once("-of-").and_then(|(_, rest)| rest.strip_suffix(".gguf")?.parse::<u32>().ok());
    let Some((stem, count)) = name.rsplit_once("-00001-of-").map(|(stem, _)| stem).zip(count) else {
        return vec![first.to_owned()];
    };
    (1..=count).map(|part| first.with_file_name(format!("{stem}-{part:05}-of-{count:05}.gguf"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::load::backend;
    use super::super::test_gguf::Gguf;
    use super::*;

    /// Ten layers of 100 bytes, a table of 50, and an output of 30 of its own.
    fn ten_layers() -> Layout {
        let kv = KvShape { heads: 1, key_length: 1, value_length: 1 };
        Layout {
            layers: 10,
            layer_bytes: 1_000,
            input_bytes: 50,
            output_bytes: 30,
            is_tied: false,
            trained_tokens: 8,
            kv,
        }
    }

    #[test]
    fn a_context_takes_keys_and_values_of_every_token() {
        let smol = KvShape { heads: 3, key_length: 64, value_length: 64 };
        assert_eq!(30 * smol.bytes(1, KvType::F16, KvType::F16), 23_040);
        assert_eq!(30 * smol.bytes(8_192, KvType::F16, KvType::F32), 270 << 20, "what llama.cpp reports for it");
        assert_eq!(smol.bytes(2_048, KvType::Q8_0, KvType::Q8_0), 2_048 * 192 * 2 * 9 / 8);
    }

    #[test]
    fn a_head_has_the_size_that_the_model_says_and_else_its_part_of_the_whole() {
        let qwen3 = |key: &str| match key {
            "embedding_length" => Some(1_024),
            "attention.head_count" => Some(16),
            "attention.head_count_kv" => Some(8),
            "attention.key_length" | "attention.value_length" => Some(128),
            _ => None,
        };
        assert_eq!(KvShape::read(qwen3), KvShape { heads: 8, key_length: 128, value_length: 128 });
        let without = |key: &str| qwen3(key).filter(|_| !key.contains("length") || key == "embedding_length");
        assert_eq!(KvShape::read(without), KvShape { heads: 8, key_length: 64, value_length: 64 });
        assert_eq!(KvShape::read(|_| None), KvShape::default());
    }

    #[test]
    fn the_header_says_it_before_anything_is_loaded() {
        backend().unwrap();
        let gguf = Gguf::model("qwen3").numbers("qwen3.attention.head_count_kv", &[1, 2]);
        let file = gguf.number("qwen3.attention.key_length", 64).file();
        let layout = Layout::read(file.path()).unwrap();
        assert_eq!((layout.layers, layout.trained_tokens), (1, 128));
        assert_eq!(layout.kv, KvShape { heads: 2, key_length: 64, value_length: 16 });
    }

    #[test]
    fn tensors_are_told_apart_by_their_names() {
        let mut layout = Layout { is_tied: true, ..Layout::default() };
        for (name, bytes) in [
            ("blk.0.attn_q.weight", 5),
            ("token_embd.weight", 7),
            ("output_norm.weight", 1),
            ("blk.11.ffn_up.weight", 4),
        ] {
            layout.add(name, bytes);
        }
        assert_eq!((layout.layer_bytes, layout.input_bytes, layout.output_bytes, layout.is_tied), (9, 7, 1, true));
        layout.add("output.weight", 8);
        assert_eq!((layout.output_bytes, layout.is_tied), (9, false));
    }

    #[test]
    fn what_is_not_on_the_gpu_is_in_main_memory() {
        let model = ten_layers();
        assert_eq!((model.gpu_weights(0), model.memory_weights(0)), (0, 1_080));
        assert_eq!((model.gpu_weights(1), model.memory_weights(1)), (30, 1_050), "the output goes first");
        assert_eq!((model.gpu_weights(4), model.memory_weights(4)), (330, 750));
        assert_eq!((model.gpu_weights(11), model.memory_weights(11)), (1_030, 50));
        assert_eq!(model.gpu_weights(999), 1_030);
        assert_eq!(model.context(4, 20), (60, 140), "only part of a context is on the GPU");
        assert_eq!(model.context(11, 20), (200, 0));
        assert_eq!([0, 4, 11].map(|layers| model.memory(layers, 20)), [1_280, 890, 50], "weights and context together");
    }

    #[test]
    fn a_table_that_is_the_output_too_is_in_main_memory_once_and_on_the_gpu_as_a_copy() {
        let tied = Layout { is_tied: true, output_bytes: 51, ..ten_layers() };
        assert_eq!((tied.gpu_weights(0), tied.memory_weights(0)), (0, 1_051));
        assert_eq!((tied.gpu_weights(11), tied.memory_weights(11)), (1_051, 50));
    }

    #[test]
    fn as_many_layers_go_to_a_gpu_as_fit_with_their_part_of_the_context() {
        let model = ten_layers();
        assert_eq!(model.fitting(u64::MAX, 20), 11);
        assert_eq!(model.fitting(1_230, 20), 11, "30 for the output and 120 for each layer");
        assert_eq!(model.fitting(1_229, 20), 10);
        assert_eq!(model.fitting(150, 20), 2);
        assert_eq!(model.fitting(149, 20), 0);
    }

    #[test]
    fn all_parts_of_a_model_in_several_files_count() {
        let named =
            |path: &str| parts(Path::new(path)).iter().map(|part| part.display().to_string()).collect::<Vec<_>>();
        assert_eq!(named("m/big-00001-of-00002.gguf"), ["m/big-00001-of-00002.gguf", "m/big-00002-of-00002.gguf"]);
        assert_eq!(named("m/one.gguf"), ["m/one.gguf"]);
    }
}
