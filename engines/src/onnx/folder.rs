//! A model folder in the sentence-transformers layout: which files there are, and what they say about the model.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mentor_actors::domain::EngineError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::config::OnnxConfig;
use super::pooling::Pooling;

/// Longest text where no file says it: what all-MiniLM-L6-v2, the default model, was made for.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Room for special tokens and some text.
const MIN_MAX_TOKENS: usize = 8;
/// Tokenizers without a limit of their own say 10^30.
const MAX_MAX_TOKENS: f64 = 1e6;

/// The model's files, found.
#[derive(Debug)]
pub(super) struct ModelFolder {
    /// Last part of the folder's path: what people call the model.
    pub(super) name: String,
    pub(super) model: PathBuf,
    pub(super) tokenizer: PathBuf,
    pub(super) settings: Settings,
}

/// What the model's files say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) pooling: Pooling,
    pub(super) max_tokens: usize,
    /// A module between pooling and normalising that only the graph itself can do, such as `Dense`.
    pub(super) extra_module: Option<String>,
}

impl ModelFolder {
    /// # Errors
    /// [`EngineError::Load`] when a file is missing or does not make sense.
    pub(super) fn open(config: &OnnxConfig) -> Result<Self, EngineError> {
        let folder = &config.folder;
        let name = file_name(&fs::canonicalize(folder).unwrap_or_else(|_| folder.clone()));
        let model = find(folder, config.model_file.as_deref(), &["model.onnx", "onnx/model.onnx"], &name)?;
        let tokenizer = find_tokenizer(folder, config.tokenizer_file.as_deref())?;
        let settings = Settings::read(folder, config.max_tokens)?;
        Ok(Self { name, model, tokenizer, settings })
    }

    /// Name of the folder, a dash, and the first 12 hexadecimal digits of the model file's SHA-256.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file cannot be read.
    pub(super) fn model_id(&self) -> Result<String, EngineError> {
        Ok(format!("{}-{}", self.name, digits(&self.model)?))
    }

    /// The first 12 hexadecimal digits of the tokenizer file's SHA-256.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file cannot be read.
    pub(super) fn tokenizer_id(&self) -> Result<String, EngineError> {
        digits(&self.tokenizer)
    }
}

fn digits(file: &Path) -> Result<String, EngineError> {
    let mut hash = Sha256::new();
    File::open(file)
        .and_then(|mut opened| io::copy(&mut opened, &mut hash))
        .map_err(|e| damaged(file, &format!("cannot be read: {e}")))?;
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

/// The tokenizer of a model folder.
///
/// # Errors
/// [`EngineError::Load`] when it is not there.
pub(super) fn find_tokenizer(folder: &Path, chosen: Option<&Path>) -> Result<PathBuf, EngineError> {
    find(folder, chosen, &["tokenizer.json", "onnx/tokenizer.json"], &file_name(folder))
}

fn find(folder: &Path, chosen: Option<&Path>, usual: &[&str], model: &str) -> Result<PathBuf, EngineError> {
    let candidates: Vec<PathBuf> = match chosen {
        Some(file) => vec![folder.join(file)],
        None => usual.iter().map(|file| folder.join(file)).collect(),
    };
    let wanted = file_name(&candidates[0]);
    candidates.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        EngineError::Load(format!(
            "{wanted} is missing from the model {model}: fetch it with `mentor models pull`, or choose another model"
        ))
    })
}

/// A file that is there but no good, with the way out.
pub(super) fn damaged(file: &Path, problem: &str) -> EngineError {
    let name = file_name(file);
    EngineError::Load(format!("{name} {problem}; fetch it again with `mentor models pull`, or choose another model"))
}

/// The last part of a path, for messages.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

impl Settings {
    fn read(folder: &Path, override_max_tokens: Option<usize>) -> Result<Self, EngineError> {
        let pooling: Option<PoolingJson> = read_json(&folder.join("1_Pooling/config.json"))?;
        let modules: Option<Vec<ModuleJson>> = read_json(&folder.join("modules.json"))?;
        let limits = Limits {
            sentence_bert: read_json(&folder.join("sentence_bert_config.json"))?,
            tokenizer: read_json(&folder.join("tokenizer_config.json"))?,
            model: read_json(&folder.join("config.json"))?,
        };
        Ok(Self {
            pooling: pooling.map_or(Ok(Pooling::Mean), |config| config.pooling()).map_err(EngineError::Load)?,
            max_tokens: limits.max_tokens(override_max_tokens).map_err(EngineError::Load)?,
            extra_module: modules.and_then(|modules| modules.iter().find_map(ModuleJson::extra)),
        })
    }
}

/// The content of a JSON file; `None` when there is no such file.
fn read_json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, EngineError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(damaged(file, &format!("cannot be read: {e}"))),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| damaged(file, &format!("is not what it should be: {e}")))
}

/// `1_Pooling/config.json`: one switch for each way, or since version 5 of sentence-transformers also the way's name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolingJson {
    pooling_mode: Option<String>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl PoolingJson {
    fn pooling(&self) -> Result<Pooling, String> {
        let switches = [
            ("cls", self.pooling_mode_cls_token),
            ("mean", self.pooling_mode_mean_tokens),
            ("max", self.pooling_mode_max_tokens),
            ("mean_sqrt_len_tokens", self.pooling_mode_mean_sqrt_len_tokens),
            ("weightedmean", self.pooling_mode_weightedmean_tokens),
            ("lasttoken", self.pooling_mode_lasttoken),
        ];
        let on: Vec<&str> = switches.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        match (self.pooling_mode.as_deref(), on.as_slice()) {
            // The square root of the length scales the vector; its direction is the mean's.
            (Some("mean" | "mean_sqrt_len_tokens"), _) | (None, [] | ["mean" | "mean_sqrt_len_tokens"]) => {
                Ok(Pooling::Mean)
            }
            (Some("cls"), _) | (None, ["cls"]) => Ok(Pooling::Cls),
            (Some("max"), _) | (None, ["max"]) => Ok(Pooling::Max),
            (Some(other), _) => Err(unknown_pooling(other)),
            (None, several) => Err(unknown_pooling(&several.join(" and "))),
        }
    }
}

fn unknown_pooling(mode: &str) -> String {
    format!(
        "1_Pooling/config.json asks for {mode} pooling, which is not supported: choose a model with mean, cls or max"
    )
}

/// One step of `modules.json`.
#[derive(Debug, Deserialize)]
struct ModuleJson {
    #[serde(rename = "type", default)]
    kind: String,
}

impl ModuleJson {
    /// The step's name when it is none of those done here.
    fn extra(&self) -> Option<String> {
        let name = self.kind.rsplit('.').next().unwrap_or_default();
        (!matches!(name, "Transformer" | "Pooling" | "Normalize" | "Dropout" | "")).then(|| name.to_owned())
    }
}

/// The files that may say how long a text may be.
#[derive(Debug, Default)]
struct Limits {
    sentence_bert: Option<SentenceBertJson>,
    tokenizer: Option<TokenizerJson>,
    model: Option<ModelJson>,
}

#[derive(Debug, Deserialize)]
struct SentenceBertJson {
    max_seq_length: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct TokenizerJson {
    model_max_length: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct ModelJson {
    model_type: Option<String>,
    max_position_embeddings: Option<usize>,
}

impl ModelJson {
    /// The RoBERTa family begins counting positions after the padding id, which is 1.
    fn positions(&self) -> Option<usize> {
        let offset = match self.model_type.as_deref() {
            Some("roberta" | "xlm-roberta" | "camembert" | "mpnet") => 2,
            _ => 0,
        };
        self.max_position_embeddings.map(|positions| positions.saturating_sub(offset))
    }
}

impl Limits {
    /// The smallest limit of the files, or the caller's, as far as the model has positions for it.
    fn max_tokens(&self, chosen: Option<usize>) -> Result<usize, String> {
        let positions = self.model.as_ref().and_then(ModelJson::positions);
        let max_tokens = chosen.unwrap_or_else(|| self.smallest().unwrap_or(DEFAULT_MAX_TOKENS));
        if max_tokens < MIN_MAX_TOKENS {
            return Err(format!("the model's max_tokens is {max_tokens}: it must be at least {MIN_MAX_TOKENS}"));
        }
        match positions {
            Some(positions) if max_tokens > positions => Err(format!(
                "the model's max_tokens is {max_tokens}, but config.json says that the model reads at most {positions}"
            )),
            _ => Ok(max_tokens),
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In 1 to 10^6 after the filter.
    fn smallest(&self) -> Option<usize> {
        let sentence_bert = self.sentence_bert.as_ref().and_then(|config| config.max_seq_length);
        let tokenizer = self.tokenizer.as_ref().and_then(|config| config.model_max_length);
        let tokenizer =
            tokenizer.filter(|length| (1.0..=MAX_MAX_TOKENS).contains(length)).map(|length| length as usize);
        let positions = self.model.as_ref().and_then(ModelJson::positions);
        [sentence_bert, tokenizer, positions].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    fn settings(files: &[(&str, &str)], max_tokens: Option<usize>) -> Result<Settings, EngineError> {
        Settings::read(folder(files).path(), max_tokens)
    }

    fn pooling(json: &str) -> Result<Pooling, EngineError> {
        settings(&[("1_Pooling/config.json", json)], None).map(|settings| settings.pooling)
    }

    #[test]
    fn a_folder_without_settings_gets_mean_pooling_and_256_tokens() {
        let expected = Settings { pooling: Pooling::Mean, max_tokens: 256, extra_module: None };
        assert_eq!(settings(&[], None), Ok(expected));
    }

    #[test]
    fn pooling_comes_from_the_models_own_file() {
        assert_eq!(pooling(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#), Ok(Pooling::Cls));
        assert_eq!(
            pooling(r#"{"word_embedding_dimension": 384, "pooling_mode_mean_tokens": true}"#),
            Ok(Pooling::Mean)
        );
        assert_eq!(pooling(r#"{"pooling_mode_max_tokens": true}"#), Ok(Pooling::Max));
        assert_eq!(pooling(r#"{"pooling_mode": "cls"}"#), Ok(Pooling::Cls));
    }

    #[test]
    fn a_pooling_that_is_not_supported_is_named() {
        let error = pooling(r#"{"pooling_mode_lasttoken": true}"#).unwrap_err().to_string();
        assert!(error.contains("lasttoken"), "{error}");
        let both = r#"{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}"#;
        assert!(pooling(both).unwrap_err().to_string().contains("cls and max"));
    }

    #[test]
    fn the_smallest_limit_of_the_files_holds() {
        let files = [
            ("sentence_bert_config.json", r#"{"max_seq_length": 200}"#),
            ("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#),
            ("config.json", r#"{"model_type": "bert", "max_position_embeddings": 512}"#),
        ];
        assert_eq!(settings(&files, None).unwrap().max_tokens, 200);
        assert_eq!(settings(&files[1..], None).unwrap().max_tokens, 512);
        let roberta = [("config.json", r#"{"model_type": "xlm-roberta", "max_position_embeddings": 514}"#)];
        assert_eq!(settings(&roberta, None).unwrap().max_tokens, 512);
    }

    #[test]
    fn the_callers_limit_holds_as_far_as_the_model_reads() {
        let files = [("config.json", r#"{"max_position_embeddings": 512}"#)];
        assert_eq!(settings(&files, Some(128)).unwrap().max_tokens, 128);
        let error = settings(&files, Some(1024)).unwrap_err().to_string();
        assert!(error.contains("1024") && error.contains("512"), "{error}");
        assert!(settings(&files, Some(2)).is_err());
    }

    #[test]
    fn a_step_that_only_the_graph_can_do_is_noticed() {
        let modules = r#"[{"idx": 0, "type": "sentence_transformers.models.Transformer"},
                          {"idx": 2, "type": "sentence_transformers.models.Dense"}]"#;
        assert_eq!(settings(&[("modules.json", modules)], None).unwrap().extra_module.as_deref(), Some("Dense"));
    }

    #[test]
    fn a_broken_settings_file_is_named_without_its_path() {
        let folder = folder(&[("config.json", "{")]);
        let error = Settings::read(folder.path(), None).unwrap_err().to_string();
        assert!(error.starts_with("config.json") && !error.contains(folder.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_missing_model_file_is_named_with_what_to_do() {
        let folder = folder(&[("tokenizer.json", "{}")]);
        let error = ModelFolder::open(&OnnxConfig::new(folder.path(), "unused")).unwrap_err().to_string();
        assert!(error.starts_with("model.onnx is missing") && error.contains("mentor models pull"), "{error}");
    }
}
