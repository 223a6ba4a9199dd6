//! The configuration's values, as the engines name them.

use mentor_engines::llama;

use crate::config::{FlashAttention, KvType, SplitMode};

impl From<KvType> for llama::KvType {
    fn from(kind: KvType) -> Self {
        match kind {
            KvType::F32 => Self::F32,
            KvType::F16 => Self::F16,
            KvType::Q8_0 => Self::Q8_0,
        }
    }
}

impl From<SplitMode> for llama::SplitMode {
    fn from(mode: SplitMode) -> Self {
        match mode {
            SplitMode::Auto => Self::Auto,
            SplitMode::None => Self::None,
            SplitMode::Layer => Self::Layer,
            SplitMode::Row => Self::Row,
        }
    }
}

impl From<FlashAttention> for llama::FlashAttention {
    fn from(attention: FlashAttention) -> Self {
        match attention {
            FlashAttention::Auto => Self::Auto,
            FlashAttention::On => Self::On,
            FlashAttention::Off => Self::Off,
        }
    }
}
