//! One configuration: defaults < `mentor.toml` < `MENTOR_*` environment < flags.
//!
//! Every key stands once, in the table below; its flag, its environment variable, its place in the file and its default
//! follow from that. Unknown keys are errors, in the file and in the environment. Relative paths are relative to the working
//! directory.

mod embed_arithmetic;
mod list;
mod or_auto;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use mentor_engines::Secret;
use mentor_engines::remote::{AddressError, ServerAddress};
use serde::{Deserialize, Serialize};

use crate::guard::{Allowance, GuardSettings, Origin, Patience, Proxies, ProxyHeader, TlsFiles};
pub use embed_arithmetic::EmbedArithmetic;
pub use list::List;
pub use or_auto::OrAuto;

/// Longest that a turn may be allowed to take, in seconds: a day. Deadlines are moments, which have an end.
const LONGEST_TURN_S: u64 = 24 * 3_600;

/// Where engines run, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA GPU, or an error.
    Cuda,
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

impl From<Device> for mentor_actors::domain::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda,
        }
    }
}

/// How the generator stores evaluated tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// Four bytes a number.
    F32,
    /// Two bytes a number.
    F16,
    /// About one byte a number.
    #[value(name = "q8_0")]
    Q8_0,
}

/// How a model is spread over several GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SplitMode {
    /// By layers.
    Auto,
    /// Only on the first GPU.
    None,
    /// Some layers on each.
    Layer,
    /// Some rows of every layer on each.
    Row,
}

/// Whether attention is computed in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttention {
    /// Where the model and the device can.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

macro_rules! configuration {
    ($( $(#[doc = $doc:literal])* $name:ident / $env:literal : $type:ty = $default:expr $(, arg($($arg:tt)*))?; )*) => {
        /// The effective values.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct Config { $( $(#[doc = $doc])* pub $name: $type, )* }

        /// One layer of values: some given, the rest left to the layers below.
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
        #[serde(deny_unknown_fields)]
        pub struct ConfigLayer { $(
            $(#[doc = $doc])*
            #[arg(long, env = $env, hide_env_values = true, global = true, hide_short_help = true)]
            #[arg(help_heading = "Configuration")]
            $(#[arg($($arg)*)])?
            pub $name: Option<$type>,
        )* }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $name: $default, )* }
            }
        }

        impl Config {
            fn apply(&mut self, layer: ConfigLayer) {
                $( if let Some(value) = layer.$name { self.$name = value; } )*
            }

            /// The environment variables that set a key.
            pub const ENVIRONMENT: &'static [&'static str] = &[$( $env, )*];
        }
    };
}

configuration! {
    /// Address and port to serve on.
    listen / "MENTOR_LISTEN": String = "127.0.0.1:8000".into();
    /// Folder of the dataset and everything else that must be kept.
    data_dir / "MENTOR_DATA_DIR": PathBuf = "vector_data".into();
    /// Folder of the course materials.
    materials_dir / "MENTOR_MATERIALS_DIR": PathBuf = "course_materials".into();
    /// Folder of the models.
    models_dir / "MENTOR_MODELS_DIR": PathBuf = "models".into();
    /// Generator: a path to a GGUF file, or the name of a model that was pulled; empty for the default. Or the address of an
    /// OpenAI-compatible server (http://... or https://...), which then writes the answers.
    llm / "MENTOR_LLM": String = String::new();
    /// Name of the model on that server; empty for the only one it lists.
    llm_model / "MENTOR_LLM_MODEL": String = String::new();
    /// Key that server asks for. A flag can be seen by everybody on the machine: better in the environment or the file.
    llm_api_key / "MENTOR_LLM_API_KEY": Secret = Secret::default();
    /// Answers that server writes at once; more wait here.
    llm_parallel / "MENTOR_LLM_PARALLEL": usize = 32;
    /// Seconds a connection to that server may take.
    llm_connect_s / "MENTOR_LLM_CONNECT_S": u64 = 5;
    /// Seconds until its first token, with all retries. Less gives up sooner on a server that is overloaded.
    llm_first_token_s / "MENTOR_LLM_FIRST_TOKEN_S": u64 = 60;
    /// Seconds it may be silent within an answer.
    llm_idle_s / "MENTOR_LLM_IDLE_S": u64 = 20;
    /// Embedder: a path to a sentence-transformers ONNX folder, or a name; empty for the default.
    embedder / "MENTOR_EMBEDDER": String = String::new();
    /// Reranker, which reads the best passages a second time and puts them in order: embedder for the embedder's own tokens, a path
    /// to a cross-encoder's ONNX folder (model.onnx, tokenizer.json), or the name of a folder among the models; empty for none. It
    /// costs time.
    reranker / "MENTOR_RERANKER": String = String::new();
    /// How many passages of a question the reranker reads; 0 for 6 with the embedder's tokens and 20 with a cross-encoder.
    rerank_passages / "MENTOR_RERANK_PASSAGES": usize = 0;
    /// Where the engines run: auto, cpu or cuda.
    device / "MENTOR_DEVICE": Device = Device::Auto;
    /// What is logged, as a filter: error, warn, info, debug, or per module.
    log / "MENTOR_LOG": String = "warn,mentor=info,mentor_actors=info,mentor_engines=info".into();

    /// Passages to retrieve for a question. More give the model more to read: each costs about 130 prompt tokens.
    top_k / "MENTOR_TOP_K": usize = 5;
    /// How likely the materials must answer a question, 0 to 1; below, it is refused. Higher refuses more, also answerable ones.
    min_score / "MENTOR_MIN_SCORE": f32 = 0.5;

    /// Instructions to the model.
    system_prompt / "MENTOR_SYSTEM_PROMPT": String = DEFAULT_SYSTEM_PROMPT.into();
    /// Most tokens of a prompt that is read anew: on a CPU every token delays the first word by some milliseconds. A follow-up may go
    /// on behind the last prompt instead, within context_tokens, where that leaves less to read.
    prompt_tokens / "MENTOR_PROMPT_TOKENS": usize = 700;
    /// Longest answer, in tokens.
    max_tokens / "MENTOR_MAX_TOKENS": usize = 192;
    /// Tokens of the model's context for one conversation; must hold a prompt and an answer.
    context_tokens / "MENTOR_CONTEXT_TOKENS": usize = 2_048;
    /// Sampling temperature; 0 always takes the most probable token. auto, here and in the next three, is what the model's file
    /// recommends; where it says nothing, 0.
    temperature / "MENTOR_TEMPERATURE": OrAuto<f32> = OrAuto::Auto;
    /// Keep the most probable tokens that together have this probability. auto: the model's own, else 0.9.
    top_p / "MENTOR_TOP_P": OrAuto<f32> = OrAuto::Auto;
    /// Drop tokens less probable than this times the best. auto: the model's own, else 0.05.
    min_p / "MENTOR_MIN_P": OrAuto<f32> = OrAuto::Auto;
    /// Divides the score of tokens seen lately; 1 is off. Small models repeat themselves without it. auto: the model's own, else
    /// 1.1.
    repeat_penalty / "MENTOR_REPEAT_PENALTY": OrAuto<f32> = OrAuto::Auto;
    /// How far back that looks, in tokens of the answer; 0 is not at all. More keeps longer answers from coming back to a word.
    /// auto: the model's own, else 128.
    repeat_last_tokens / "MENTOR_REPEAT_LAST_TOKENS": OrAuto<usize> = OrAuto::Auto;
    /// Strength of the penalty on repeated sequences (DRY), in tenths; 0 is off.
    dry_multiplier / "MENTOR_DRY_MULTIPLIER": f32 = 0.0;
    /// Keep so many of the most probable tokens; 0 keeps all. (top_k is how many passages are searched for.) auto: the model's own,
    /// else 40.
    sampling_top_k / "MENTOR_SAMPLING_TOP_K": OrAuto<usize> = OrAuto::Auto;
    /// Seed of the sampler: the same seed and prompt give the same answer.
    seed / "MENTOR_SEED": u32 = 42;
    /// Earlier questions and answers of a conversation that a prompt read anew repeats.
    history_turns / "MENTOR_HISTORY_TURNS": usize = 2;
    /// Layers of the generator on the GPU, the output being one; -1 for as many as fit where there is one. A number that does not
    /// fit is an error.
    gpu_layers / "MENTOR_GPU_LAYERS": i32 = -1;
    /// How they are spread over several GPUs: auto, none (only the first GPU), layer or row.
    split_mode / "MENTOR_SPLIT_MODE": SplitMode = SplitMode::Auto;
    /// Attention without its matrix in memory: auto (where model and device can), on or off. Off needs kv_type_v other than q8_0.
    flash_attention / "MENTOR_FLASH_ATTENTION": FlashAttention = FlashAttention::Auto;
    /// Conversations that are answered at once; more wait. Each has a context of its own in memory.
    slots / "MENTOR_SLOTS": usize = 4;
    /// Tokens of all conversations in the generator together; 0 for `slots` times `context_tokens`. Fewer save memory and are
    /// shared by all, which is slower on a CPU; who does not fit is set back for a while.
    kv_cells / "MENTOR_KV_CELLS": usize = 0;
    /// Prompt tokens evaluated in one step; auto for 320 on a CPU and 512 on a GPU. More is a little faster; fewer let other
    /// answers and a cancel come in sooner.
    batch_tokens / "MENTOR_BATCH_TOKENS": OrAuto<usize> = OrAuto::Auto;
    /// How keys of evaluated tokens are stored: f32, f16 or q8_0.
    kv_type_k / "MENTOR_KV_TYPE_K": KvType = KvType::F16;
    /// How values of evaluated tokens are stored: f32, f16 or q8_0. On a CPU, q8_0 for keys and values halves their memory and
    /// makes answers independent of what else runs to the last bit, but reads prompts at half the speed.
    kv_type_v / "MENTOR_KV_TYPE_V": KvType = KvType::F16;
    /// Memory for conversations that had to leave the generator's context, in MiB, so that their next question need not be
    /// evaluated from the beginning; 0 for none.
    state_cache_mb / "MENTOR_STATE_CACHE_MB": usize = 1_024;
    /// Tokens of an answer that are guessed from its sources and verified together; 0 for none. Guesses change the speed, never
    /// the answer.
    draft_tokens / "MENTOR_DRAFT_TOKENS": usize = 8;
    /// Threads of the generator; 0 for one a core.
    threads / "MENTOR_THREADS": usize = 0;

    /// Embedding workers; 0 for one when serving, and for one a core when ingesting.
    embed_workers / "MENTOR_EMBED_WORKERS": usize = 0;
    /// Threads of each embedding worker; 0 to share the cores between the workers.
    embed_threads / "MENTOR_EMBED_THREADS": usize = 0;
    /// How the embedder multiplies on a CPU: float, int8, or auto for int8 where the processor has AMX or AVX-512 VNNI. Int8 moves
    /// cosines by some ten-thousandths, holds for models that store their weights in eight bits, and is for processors with VNNI at
    /// least.
    embed_arithmetic / "MENTOR_EMBED_ARITHMETIC": EmbedArithmetic = EmbedArithmetic::Auto;
    /// Questions that may wait for an embedding worker.
    embed_queue / "MENTOR_EMBED_QUEUE": usize = 256;
    /// Searches that may run at once.
    search_parallel / "MENTOR_SEARCH_PARALLEL": usize = 4;
    /// Searches that may wait.
    search_queue / "MENTOR_SEARCH_QUEUE": usize = 256;
    /// Turns that may be in the program at once, running or waiting; more are told to come back.
    max_turns / "MENTOR_MAX_TURNS": usize = 32;
    /// Tokens of their prompts together, as far as they are known when a question comes; more are told to come back. 0 for
    /// `max_turns` times `prompt_tokens`, which leaves the bound to `max_turns`.
    max_queued_tokens / "MENTOR_MAX_QUEUED_TOKENS": usize = 0;
    /// What one client (a key, else an address) may have of both, in percent of what it has and what is free: the rest is kept
    /// for others. 100 lets one have all of it, as where a whole class is behind one key or address and nobody else is there.
    client_share_percent / "MENTOR_CLIENT_SHARE_PERCENT": usize = 75;
    /// Conversations in memory at once; the longest idle one is put to sleep to make room.
    max_conversations / "MENTOR_MAX_CONVERSATIONS": usize = 10_000;
    /// Seconds after which an idle conversation is put to sleep: it leaves the memory and comes back when somebody wants it.
    conversation_idle_s / "MENTOR_CONVERSATION_IDLE_S": u64 = 300;
    /// Days that a conversation is kept after something last happened in it; 0 for ever.
    keep_conversations_days / "MENTOR_KEEP_CONVERSATIONS_DAYS": u64 = 0;
    /// Whether conversations that belong to nobody can be listed. Turn it off where people share a server without keys of their
    /// own: who knows no id then finds no conversation.
    list_conversations / "MENTOR_LIST_CONVERSATIONS": bool = true;
    /// Whether whoever may ask may open the files that sources come from. Off where they may be quoted and not handed out.
    serve_files / "MENTOR_SERVE_FILES": bool = true;
    /// WebSocket connections at once.
    max_connections / "MENTOR_MAX_CONNECTIONS": usize = 4_096;
    /// Seconds a turn may take.
    turn_time_limit_s / "MENTOR_TURN_TIME_LIMIT_S": u64 = 120;
    /// Seconds that one step may take (a batch of at most `batch_tokens` tokens, a search, a write to the disk): while one takes
    /// longer, the server says that it is not ready, and which part hangs.
    step_deadline_s / "MENTOR_STEP_DEADLINE_S": u64 = 30;
    /// Seconds a turn goes on with nobody watching it.
    abandon_after_s / "MENTOR_ABANDON_AFTER_S": u64 = 30;
    /// Seconds that running answers get to end when the server is told to stop; what is not finished then is cut off and kept.
    drain_seconds / "MENTOR_DRAIN_SECONDS": u64 = 20;
    /// Longest question, in characters.
    message_chars / "MENTOR_MESSAGE_CHARS": usize = 2_000;
    /// Threads that serve HTTP.
    http_workers / "MENTOR_HTTP_WORKERS": usize = 2;

    /// Let everybody who reaches the address do everything, uploading and deleting documents included, as long as there are no API
    /// keys. Without keys, an address other than this machine's own is refused otherwise.
    insecure_no_keys / "MENTOR_INSECURE_NO_KEYS": bool = false,
        arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// Other sites whose pages may use this server from a browser, as https://site.example; with commas between them.
    allowed_origins / "MENTOR_ALLOWED_ORIGINS": List<Origin> = List::default();
    /// Networks of reverse proxies, as 10.0.0.0/8, that are believed when they say for whom they ask; with commas between them.
    trusted_proxies / "MENTOR_TRUSTED_PROXIES": List<IpNet> = List::default();
    /// The header in which they say it: x-forwarded-for or forwarded. They must set or extend it; a client can send it, too.
    proxy_header / "MENTOR_PROXY_HEADER": ProxyHeader = ProxyHeader::XForwardedFor;
    /// Certificate for TLS, with those that lead to a root, in PEM; empty for none. Read again when it changes.
    tls_cert / "MENTOR_TLS_CERT": PathBuf = PathBuf::new();
    /// Its private key, in PEM.
    tls_key / "MENTOR_TLS_KEY": PathBuf = PathBuf::new();
    /// Requests and WebSocket frames a minute from one address without a key; 0 for no limit, here and in the next five.
    address_requests_per_min / "MENTOR_ADDRESS_REQUESTS_PER_MIN": u32 = 600;
    /// Tokens of questions and answers a minute for one address without a key.
    address_tokens_per_min / "MENTOR_ADDRESS_TOKENS_PER_MIN": u32 = 60_000;
    /// Connections at once from one address. A school may be one address.
    address_connections / "MENTOR_ADDRESS_CONNECTIONS": usize = 1_024;
    /// Requests and WebSocket frames a minute with one key. A course may share a key.
    key_requests_per_min / "MENTOR_KEY_REQUESTS_PER_MIN": u32 = 6_000;
    /// Tokens of questions and answers a minute with one key.
    key_tokens_per_min / "MENTOR_KEY_TOKENS_PER_MIN": u32 = 600_000;
    /// Requests and WebSocket connections at once with one key.
    key_connections / "MENTOR_KEY_CONNECTIONS": usize = 2_048;

    /// Longest chunk, in the embedder's tokens, two special ones included.
    chunk_tokens / "MENTOR_CHUNK_TOKENS": usize = 128;
    /// Tokens that a chunk repeats of the one before it. Each costs embedding time.
    chunk_overlap_tokens / "MENTOR_CHUNK_OVERLAP_TOKENS": usize = 0;
    /// Seconds one page may take to extract.
    extract_page_s / "MENTOR_EXTRACT_PAGE_S": u64 = 20;
    /// Memory of the process that reads a document, in MiB.
    extract_memory_mb / "MENTOR_EXTRACT_MEMORY_MB": u64 = 2_048;
    /// Recognise the text of PDF pages that are pictures, with the programs tesseract and pdftoppm. Takes seconds a page.
    ocr / "MENTOR_OCR": bool = false;
    /// Languages of that text, as tesseract names them, with + between them.
    ocr_languages / "MENTOR_OCR_LANGUAGES": String = "eng".into();
    /// Largest file to ingest, in MiB.
    max_file_mb / "MENTOR_MAX_FILE_MB": u64 = 512;
    /// Most pages of a document; one with more is refused as a whole.
    max_pages / "MENTOR_MAX_PAGES": u32 = 20_000;
    /// Largest file that may be uploaded, in bytes.
    max_upload_bytes / "MENTOR_MAX_UPLOAD_BYTES": u64 = 64 << 20;
    /// Files in one upload.
    max_upload_files / "MENTOR_MAX_UPLOAD_FILES": usize = 20;
    /// Disk that an upload must leave free, in MiB: ingesting it takes some as well.
    min_free_mb / "MENTOR_MIN_FREE_MB": u64 = 512;
    /// Ingest jobs of a server that may wait, uploads under way included; more are told to come back.
    max_jobs / "MENTOR_MAX_JOBS": usize = 8;
    /// Memory for what is read of the store's files, in MiB: their lists and footers. Less makes a large store slower to open anew.
    metadata_cache_mb / "MENTOR_METADATA_CACHE_MB": usize = 64;
    /// Memory for indexes that other programs made in the store, in MiB; its own search index is not counted: the operating system
    /// keeps as much of that in memory as there is room for.
    index_cache_mb / "MENTOR_INDEX_CACHE_MB": usize = 64;
    /// Stores with so many passages get a search index; smaller ones are searched by comparing all, which finds each of the nearest,
    /// and takes longer the more there are.
    index_from / "MENTOR_INDEX_FROM": usize = 16_384;
    /// Passages outside of a search index that may be in memory, about 2 KB each; with more of them the store is searched on disk,
    /// slowly and by meaning alone.
    resident_passages / "MENTOR_RESIDENT_PASSAGES": usize = 500_000;
    /// Ends of former ingests that can be gone back to with `mentor rollback`. Fewer are kept where the store would take more
    /// than twice its disk.
    keep_versions / "MENTOR_KEEP_VERSIONS": usize = 1;
}

/// What the model is told. Short: a small model follows few instructions, and every token of it is read for every question.
pub const DEFAULT_SYSTEM_PROMPT: &str = "You help students. Use the passages to answer. Be short and precise.";

/// Variables of the scripts and of other commands, which are not keys of the configuration.
const OTHER_ENVIRONMENT: &[&str] =
    &["MENTOR_CONFIG", "MENTOR_CACHE_DIR", "MENTOR_TARGET_DIR", "MENTOR_FEATURES", "MENTOR_HOME", "MENTOR_NO_INSTALL"];

/// The value of `gpu_layers` that leaves the number to the program.
pub const AS_MANY_AS_FIT: i32 = -1;

/// Each ingest lists the kept versions; more than this are better named with `mentor tag`.
const MAX_KEPT_VERSIONS: usize = 100;

impl Config {
    /// The effective values, from the file (if there is one) and the layer that the command line and environment gave.
    ///
    /// # Errors
    /// A file that was named and is not there, that is not TOML or has unknown keys; unknown `MENTOR_*` variables; values out
    /// of range.
    pub fn load(file: Option<&Path>, command_line: ConfigLayer) -> anyhow::Result<Self> {
        refuse_unknown_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let mut config = Self::default();
        let (path, required) = file.map_or((Path::new("mentor.toml"), false), |path| (path, true));
        match std::fs::read_to_string(path) {
            Ok(text) => config.apply(parse(&text).with_context(|| format!("configuration file {}", path.display()))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {}
            Err(error) => bail!("configuration file {}: {error}", path.display()),
        }
        config.apply(command_line);
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let positive = [
            ("top_k", self.top_k),
            ("prompt_tokens", self.prompt_tokens),
            ("max_tokens", self.max_tokens),
            ("slots", self.slots),
            ("batch_tokens", self.batch_tokens.given().unwrap_or(1)),
            ("embed_queue", self.embed_queue),
            ("search_parallel", self.search_parallel),
            ("max_turns", self.max_turns),
            ("client_share_percent", self.client_share_percent),
            ("max_conversations", self.max_conversations),
            ("max_connections", self.max_connections),
            ("message_chars", self.message_chars),
            ("http_workers", self.http_workers),
            ("step_deadline_s", self.step_deadline_s as usize),
            ("max_pages", self.max_pages as usize),
            ("max_upload_bytes", usize::try_from(self.max_upload_bytes).unwrap_or(usize::MAX)),
            ("max_upload_files", self.max_upload_files),
            ("max_jobs", self.max_jobs),
            ("index_from", self.index_from),
            ("llm_parallel", self.llm_parallel),
            ("llm_connect_s", self.llm_connect_s as usize),
            ("llm_first_token_s", self.llm_first_token_s as usize),
            ("llm_idle_s", self.llm_idle_s as usize),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            bail!("{key} = 0: must be at least 1");
        }
        if !(1..=LONGEST_TURN_S).contains(&self.turn_time_limit_s) {
            bail!("turn_time_limit_s = {}: must be 1 to {LONGEST_TURN_S}", self.turn_time_limit_s);
        }
        // Before anybody prints it: an address may hold a password.
        if let Some(Err(error)) = self.llm_server() {
            bail!("llm: {error}");
        }
        if self.prompt_tokens + self.max_tokens > self.context_tokens {
            bail!(
                "prompt_tokens ({}) and max_tokens ({}) together exceed context_tokens ({})",
                self.prompt_tokens,
                self.max_tokens,
                self.context_tokens
            );
        }
        if self.kv_cells > 0 && self.kv_cells < self.context_tokens {
            bail!(
                "kv_cells ({}) must hold at least one conversation (context_tokens = {})",
                self.kv_cells,
                self.context_tokens
            );
        }
        if self.gpu_layers < AS_MANY_AS_FIT {
            bail!(
                "gpu_layers = {}: must be a number of layers, or {AS_MANY_AS_FIT} for as many as fit",
                self.gpu_layers
            );
        }
        if self.client_share_percent > 100 {
            bail!("client_share_percent = {}: must be at most 100", self.client_share_percent);
        }
        if self.tls_cert.as_os_str().is_empty() != self.tls_key.as_os_str().is_empty() {
            bail!("tls_cert and tls_key belong together: one of them is empty");
        }
        if self.chunk_tokens < 16 || self.chunk_overlap_tokens * 2 > self.chunk_tokens {
            bail!("chunk_tokens must be at least 16, and chunk_overlap_tokens at most half of it");
        }
        if self.index_from > self.resident_passages {
            bail!(
                "index_from ({}) exceeds resident_passages ({}): a store between the two would be searched on disk",
                self.index_from,
                self.resident_passages
            );
        }
        if self.keep_versions > MAX_KEPT_VERSIONS {
            bail!("keep_versions = {}: must be at most {MAX_KEPT_VERSIONS}", self.keep_versions);
        }
        let ranges = [
            ("min_score", Some(self.min_score), 0.0..=1.0),
            ("temperature", self.temperature.given(), 0.0..=10.0),
            ("top_p", self.top_p.given(), 0.0..=1.0),
            ("min_p", self.min_p.given(), 0.0..=1.0),
            ("repeat_penalty", self.repeat_penalty.given(), 0.1..=10.0),
            ("dry_multiplier", Some(self.dry_multiplier), 0.0..=10.0),
        ];
        for (key, value, range) in ranges {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                bail!("{key} = {value}: must be between {} and {}", range.start(), range.end());
            }
        }
        Ok(())
    }

    /// These values with some changed, each given as `key=value`; quotes around text may be left out.
    ///
    /// # Errors
    /// What is no `key=value`, unknown keys, values out of range.
    pub fn changed(&self, changes: &[String]) -> anyhow::Result<Self> {
        let mut changed = self.clone();
        for change in changes {
            let (key, value) = change.split_once('=').with_context(|| format!("{change:?} is not KEY=VALUE"))?;
            let (key, value) = (key.trim(), value.trim());
            // Text may come without quotes; what then reads as a number is meant as one where the key wants one.
            let quoted = format!("{key} = {}", toml::Value::String(value.to_owned()));
            let layer = parse(&format!("{key} = {value}")).or_else(|error| parse(&quoted).map_err(|_| error));
            changed.apply(layer.with_context(|| change.clone())?);
        }
        changed.check()?;
        Ok(changed)
    }

    /// The server that writes the answers, if `llm` is the address of one.
    #[must_use]
    pub fn llm_server(&self) -> Option<Result<ServerAddress, AddressError>> {
        ServerAddress::is_meant(&self.llm).then(|| ServerAddress::parse(&self.llm))
    }

    /// Where the generator computes: without a layer on the GPU, the CPU does, whatever else is there.
    #[must_use]
    pub fn generator_device(&self) -> Device {
        if self.gpu_layers == 0 { Device::Cpu } else { self.device }
    }

    /// What these values say about who may do what.
    #[must_use]
    pub fn guard(&self) -> GuardSettings {
        let tls = TlsFiles { cert: self.tls_cert.clone(), key: self.tls_key.clone() };
        GuardSettings {
            data_dir: self.data_dir.clone(),
            everybody: self.insecure_no_keys,
            origins: self.allowed_origins.to_vec(),
            proxies: Proxies { networks: self.trusted_proxies.to_vec(), header: self.proxy_header },
            address: Allowance {
                requests_per_min: self.address_requests_per_min,
                tokens_per_min: self.address_tokens_per_min,
                connections: self.address_connections,
            },
            key: Allowance {
                requests_per_min: self.key_requests_per_min,
                tokens_per_min: self.key_tokens_per_min,
                connections: self.key_connections,
            },
            tls: (!tls.cert.as_os_str().is_empty()).then_some(tls),
            patience: Patience::default(),
        }
    }

    /// The values as a file that sets them; a key is shown as `[redacted]`.
    ///
    /// # Errors
    /// None in practice: every value has a form in TOML.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }
}

fn parse(text: &str) -> anyhow::Result<ConfigLayer> {
    toml::from_str(text).map_err(|error| {
        let mut message = error.message().replace('\n', " ");
        if let Some(span) = error.span() {
            let line = text[..span.start].matches('\n').count() + 1;
            // Writing to a string can't fail.
            let _written = write!(message, " (line {line})");
        }
        anyhow::anyhow!(message)
    })
}

fn refuse_unknown_environment(names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    for name in names.filter(|name| name.starts_with("MENTOR_") && !name.starts_with("MENTOR_TEST_")) {
        if !Config::ENVIRONMENT.contains(&name.as_str()) && !OTHER_ENVIRONMENT.contains(&name.as_str()) {
            bail!("environment variable {name} is not a key of the configuration: see `mentor config`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let mut config = Config::default();
        config.apply(parse("top_k = 7\nlisten = '0.0.0.0:9'").unwrap());
        config.apply(ConfigLayer { top_k: Some(9), ..ConfigLayer::default() });
        assert_eq!((config.top_k, config.listen.as_str(), config.max_tokens), (9, "0.0.0.0:9", 192));
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it_and_its_line() {
        let error = parse("top_k = 7\ntopk = 3").unwrap_err().to_string();
        assert!(error.contains("topk") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_it() {
        let names = |name: &str| std::iter::once(name.to_owned());
        assert!(refuse_unknown_environment(names("MENTOR_TOPK")).unwrap_err().to_string().contains("MENTOR_TOPK"));
        assert!(refuse_unknown_environment(names("MENTOR_TOP_K")).is_ok());
        assert!(refuse_unknown_environment(names("PATH")).is_ok());
    }

    #[test]
    fn values_out_of_range_are_refused_with_their_names() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|config| config.top_k = 0).contains("top_k"));
        assert!(refused(|config| config.min_score = 1.5).contains("min_score"));
        assert!(refused(|config| config.temperature = OrAuto::Is(-0.5)).contains("temperature = -0.5"));
        assert!(refused(|config| config.batch_tokens = OrAuto::Is(0)).contains("batch_tokens"));
        assert!(refused(|config| config.context_tokens = 100).contains("context_tokens (100)"));
        assert!(refused(|config| config.llm_parallel = 0).contains("llm_parallel"));
        assert!(refused(|config| config.resident_passages = 100).contains("index_from (16384)"));
        assert!(refused(|config| config.dry_multiplier = 10.5).contains("dry_multiplier = 10.5"));
        assert!(refused(|config| config.gpu_layers = -2).contains("gpu_layers = -2"));
        Config::default().check().unwrap();
    }

    #[test]
    fn a_generator_without_a_layer_on_the_gpu_is_the_cpu_s_and_takes_the_weights_made_for_it() {
        let device = |device, gpu_layers| Config { device, gpu_layers, ..Config::default() }.generator_device();
        assert_eq!([device(Device::Auto, 0), device(Device::Cuda, 0)], [Device::Cpu, Device::Cpu]);
        assert_eq!([device(Device::Auto, -1), device(Device::Cuda, 5)], [Device::Auto, Device::Cuda]);
    }

    #[test]
    fn keys_are_changed_by_name_and_text_needs_no_quotes() {
        let changes = ["top_k=7".to_owned(), "embedder=bge-small".to_owned(), "data_dir = a b/c".to_owned()];
        let changed = Config::default().changed(&changes).unwrap();
        assert_eq!((changed.top_k, changed.embedder.as_str()), (7, "bge-small"));
        assert_eq!(changed.data_dir, PathBuf::from("a b/c"));
        let wrong = |change: &str| format!("{:#}", Config::default().changed(&[change.to_owned()]).unwrap_err());
        assert!(wrong("top_k").contains("KEY=VALUE"));
        assert!(wrong("topk=7").contains("unknown field"), "{}", wrong("topk=7"));
        assert!(wrong("top_k=many").contains("top_k=many"), "{}", wrong("top_k=many"));
        assert!(wrong("min_score=2").contains("between 0 and 1"));
        for beyond in ["turn_time_limit_s=0", "turn_time_limit_s=18446744073709551615"] {
            assert!(wrong(beyond).contains("must be 1 to 86400"), "{}", wrong(beyond));
        }
    }

    #[test]
    fn a_server_s_address_with_a_password_is_refused_and_not_repeated() {
        let config = Config { llm: "http://me:hunter2@gpu:8000".into(), ..Config::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with("llm: ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_key_is_read_from_a_file_and_never_printed() {
        let mut config = Config::default();
        config.apply(parse("llm_api_key = 'hunter2'").unwrap());
        assert_ne!(config.llm_api_key, Secret::default());
        let printed = format!("{} {config:?}", config.to_toml().unwrap());
        assert!(printed.contains("llm_api_key = \"[redacted]\"") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn lists_are_read_from_text_and_from_files_and_checked() {
        let mut config = Config::default();
        config.apply(
            parse("trusted_proxies = ['10.0.0.0/8', '::1/128']\nallowed_origins = 'https://a.example,http://b'")
                .unwrap(),
        );
        assert_eq!((config.trusted_proxies.len(), config.allowed_origins.len()), (2, 2));
        assert!(parse("trusted_proxies = ['10.0.0.0/99']").is_err() && parse("allowed_origins = ['*']").is_err());
        config.tls_cert = "cert.pem".into();
        assert!(config.check().unwrap_err().to_string().contains("tls_cert and tls_key"));
    }

    #[test]
    fn the_shipped_example_sets_every_key_to_its_default() {
        let example = include_str!("../mentor.example.toml");
        let mut config = Config { top_k: 99, ..Config::default() };
        config.apply(parse(example).unwrap());
        assert_eq!(config, Config::default());
        for name in Config::ENVIRONMENT {
            let key = name.trim_start_matches("MENTOR_").to_lowercase();
            assert!(example.contains(&format!("{key} = ")), "mentor.example.toml lacks {key}");
        }
    }
}
