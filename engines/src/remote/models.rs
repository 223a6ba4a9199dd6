//! Which model to ask for, of those the server lists, and what the list says of the server.

use serde::Deserialize;
use thiserror::Error;

use super::request::Dialect;

/// Names in an error, at most: some servers list hundreds.
const LISTED_NAMES: usize = 20;

/// The answer to `GET /v1/models`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelList {
    data: Vec<ModelEntry>,
}

#[derive(Debug, Deserialize)]
struct ModelEntry {
    id: String,
    owned_by: Option<String>,
    /// What vLLM and SGLang were started with.
    max_model_len: Option<usize>,
    meta: Option<ModelMeta>,
}

/// llama-server's own figures.
#[derive(Debug, Deserialize)]
struct ModelMeta {
    n_ctx: Option<usize>,
    n_ctx_train: Option<usize>,
}

/// The model of all requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChosenModel {
    pub(super) name: String,
    /// Longest conversation, in tokens, where the server says.
    pub(super) context_tokens: Option<usize>,
    pub(super) dialect: Dialect,
}

impl ChosenModel {
    /// Its name for people. llama-server calls a model by its file, whose folder is nobody's business.
    pub(super) fn shown_name(&self) -> &str {
        let is_path = self.name.starts_with('/');
        self.name.rsplit('/').next().filter(|file| is_path && !file.is_empty()).unwrap_or(&self.name)
    }
}

/// Why there is no model to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ChoiceError {
    #[error("has no model {wanted:?}; set llm_model to one of: {available}")]
    Unknown { wanted: String, available: String },
    #[error("has several models; set llm_model to one of: {available}")]
    Ambiguous { available: String },
    #[error("lists no model; set llm_model to the name of one")]
    None,
}

impl ModelList {
    /// The wanted model, or the only one. A server that lists none is believed to have the wanted one.
    pub(super) fn choose(&self, wanted: Option<&str>) -> Result<ChosenModel, ChoiceError> {
        let entry = match (wanted, self.data.as_slice()) {
            (None, []) => return Err(ChoiceError::None),
            (None, [only]) => only,
            (None, _) => return Err(ChoiceError::Ambiguous { available: self.names() }),
            (Some(name), []) => return Ok(unlisted(name)),
            (Some(name), entries) => entries
                .iter()
                .find(|entry| entry.id == name)
                .ok_or_else(|| ChoiceError::Unknown { wanted: name.to_owned(), available: self.names() })?,
        };
        Ok(entry.chosen())
    }

    fn names(&self) -> String {
        let shown: Vec<&str> = self.data.iter().take(LISTED_NAMES).map(|entry| entry.id.as_str()).collect();
        let more = self.data.len() - shown.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{rest}", shown.join(", "))
    }
}

impl ModelEntry {
    fn chosen(&self) -> ChosenModel {
        let meta = self.meta.as_ref().and_then(|meta| meta.n_ctx.or(meta.n_ctx_train));
        ChosenModel {
            name: self.id.clone(),
            context_tokens: self.max_model_len.or(meta).filter(|tokens| *tokens > 0),
            dialect: Dialect::of(self.owned_by.as_deref()),
        }
    }
}

fn unlisted(name: &str) -> ChosenModel {
    ChosenModel { name: name.to_owned(), context_tokens: None, dialect: Dialect::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> ModelList {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_only_model_is_taken_with_what_vllm_says_of_it() {
        let list =
            list(r#"{"object":"list","data":[{"id":"qwen","owned_by":"vllm","max_model_len":4096,"root":"q"}]}"#);
        let expected = ChosenModel { name: "qwen".into(), context_tokens: Some(4096), dialect: Dialect::Vllm };
        assert_eq!(list.choose(None), Ok(expected));
    }

    #[test]
    fn llama_server_says_its_context_or_what_the_model_was_trained_on() {
        let context = |meta| {
            let list = list(&format!(r#"{{"data":[{{"id":"a","owned_by":"llamacpp","meta":{meta}}}]}}"#));
            let chosen = list.choose(Some("a")).unwrap();
            assert_eq!(chosen.dialect, Dialect::LlamaServer);
            chosen.context_tokens
        };
        assert_eq!(context(r#"{"n_ctx_train":8192,"n_params":1}"#), Some(8192));
        assert_eq!(context(r#"{"n_ctx":2048,"n_ctx_train":8192}"#), Some(2048));
        assert_eq!(context("null"), None);
    }

    #[test]
    fn a_wrong_name_is_an_error_that_lists_the_right_ones() {
        let list = list(r#"{"data":[{"id":"a"},{"id":"b"}]}"#);
        let error = list.choose(Some("c")).unwrap_err().to_string();
        assert_eq!(error, r#"has no model "c"; set llm_model to one of: a, b"#);
    }

    #[test]
    fn several_models_need_a_choice_and_long_lists_are_cut() {
        let entries: Vec<String> = (0..25).map(|number| format!(r#"{{"id":"m{number}"}}"#)).collect();
        let list = list(&format!(r#"{{"data":[{}]}}"#, entries.join(",")));
        let error = list.choose(None).unwrap_err().to_string();
        assert!(error.ends_with("m18, m19 and 5 more"), "{error}");
        assert_eq!(list.choose(Some("m24")).unwrap().name, "m24");
    }

    #[test]
    fn people_see_a_file_s_name_and_not_its_folder() {
        let shown = |name| unlisted(name).shown_name().to_owned();
        assert_eq!(
            (shown("/srv/models/tiny.gguf"), shown("Qwen/Qwen2.5-7B")),
            ("tiny.gguf".into(), "Qwen/Qwen2.5-7B".into())
        );
    }

    #[test]
    fn a_server_without_a_list_needs_a_name_and_is_believed_to_have_it() {
        assert_eq!(ModelList::default().choose(None), Err(ChoiceError::None));
        assert_eq!(ModelList::default().choose(Some("a")).unwrap().name, "a");
    }
}
