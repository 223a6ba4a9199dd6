//! The configuration of the generator, as its engines want it.

use std::time::Duration;

use anyhow::Context as _;
use mentor_actors::batching::BatchSettings;
use mentor_engines::llama::{self, GpuLayers, LlamaConfig};
use mentor_engines::remote::{RemoteConfig, ServerAddress};

use crate::config::{AS_MANY_AS_FIT, Config, FlashAttention, KvType, SplitMode};
use crate::engines::none_if_empty;
use crate::models::ModelsDir;

pub(super) fn llama_config(config: &Config) -> anyhow::Result<LlamaConfig> {
    let models = ModelsDir::new(&config.models_dir);
    let mut llama = LlamaConfig::new(models.resolve_llm(none_if_empty(&config.llm), config.generator_device())?);
    llama.context_tokens = config.context_tokens;
    llama.slots = config.slots;
    llama.cells = config.kv_cells;
    llama.batch_tokens = config.batch_tokens.given();
    llama.split_mode = config.split_mode.into();
    llama.flash_attention = config.flash_attention.into();
    llama.kv_type_k = config.kv_type_k.into();
    llama.kv_type_v = config.kv_type_v.into();
    llama.device = config.device.into();
    llama.gpu_layers = match config.gpu_layers {
        AS_MANY_AS_FIT => GpuLayers::Auto,
        0 => GpuLayers::None,
        layers => GpuLayers::Count(u32::try_from(layers).with_context(|| format!("gpu_layers = {layers}"))?),
    };
    if config.threads > 0 {
        llama.threads = config.threads;
    }
    Ok(llama)
}

pub(super) fn remote_config(config: &Config, address: ServerAddress) -> RemoteConfig {
    RemoteConfig {
        model: none_if_empty(&config.llm_model).map(ToOwned::to_owned),
        api_key: config.llm_api_key.clone(),
        parallel: config.llm_parallel,
        context_tokens: config.context_tokens,
        connect_timeout: Duration::from_secs(config.llm_connect_s),
        first_token_timeout: Duration::from_secs(config.llm_first_token_s),
        idle_timeout: Duration::from_secs(config.llm_idle_s),
        ..RemoteConfig::new(address)
    }
}

pub(super) fn batch_settings(config: &Config) -> BatchSettings {
    BatchSettings { state_bytes: config.state_cache_mb << 20, draft_tokens: config.draft_tokens }
}

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
