//! A generation as a chat completion, in the server's dialect.
//!
//! Everybody gets what OpenAI's interface has. The other settings go only to servers that name themselves in their list of
//! models and are known to understand them: OpenAI itself refuses a request with a field that it does not know.

use std::collections::BTreeMap;

use mentor_actors::domain::EngineError;
use mentor_actors::ports::{Generation, PromptMessage, Role};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::grammar::check_grammar;

/// Tokens that a message costs beside its text: role and marks.
const MESSAGE_TOKENS: usize = 8;

/// What a server understands beside OpenAI's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `top_k`, `min_p` and grammars. It has the local engine's other samplers too, but shows them the prompt (`init_sampler` of its
    /// server-context.cpp): `repeat_penalty` and DRY would keep an answer from using the words of its passages, so both are
    /// switched off, whatever the server was started with.
    LlamaServer,
    /// vLLM and SGLang: `top_k`, `min_p`, and a salt that keeps what was evaluated for one scope from others. Their `repetition_penalty` is another one: it looks at the whole prompt, so it
    /// would keep an answer from using the words of its passages. It is not sent.
    Vllm,
    /// Nothing.
    Plain,
}

impl Dialect {
    /// By the `owned_by` of a model, where these servers name themselves.
    pub(super) fn of(owner: Option<&str>) -> Self {
        match owner {
            Some("llamacpp") => Self::LlamaServer,
            Some("vllm" | "sglang") => Self::Vllm,
            _ => Self::Plain,
        }
    }
}

/// The body of `POST /v1/chat/completions`. `max_tokens` and not its newer name: the servers meant here all know it.
#[derive(Debug, Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: Vec<ChatMessage<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    max_tokens: usize,
    temperature: f32,
    top_p: f32,
    seed: u32,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    /// Only where somebody asked for them. llama-server counts the end of the prompt too; the others the answer alone.
    #[serde(skip_serializing_if = "is_zero")]
    presence_penalty: f32,
    #[serde(skip_serializing_if = "is_zero")]
    frequency_penalty: f32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    logit_bias: BTreeMap<String, f32>,
    #[serde(flatten)]
    extras: Extras<'a>,
}

fn is_zero(number: &f32) -> bool {
    *number == 0.0
}

#[derive(Debug, Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: &'a str,
}

impl<'a> From<&'a PromptMessage> for ChatMessage<'a> {
    fn from(message: &'a PromptMessage) -> Self {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        Self { role, content: &message.text }
    }
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Extras<'a> {
    LlamaServer {
        top_k: i32,
        min_p: f32,
        repeat_penalty: f32,
        repeat_last_n: i32,
        dry_multiplier: f32,
        #[serde(skip_serializing_if = "Option::is_none")]
        grammar: Option<&'a str>,
    },
    Vllm {
        top_k: i32,
        min_p: f32,
        cache_salt: String,
    },
    Plain {},
}

impl<'a> Extras<'a> {
    fn of(generation: &'a Generation, dialect: Dialect) -> Self {
        let sampling = &generation.sampling;
        match dialect {
            Dialect::LlamaServer => Self::LlamaServer {
                top_k: sampling.top_k,
                min_p: sampling.min_p,
                repeat_penalty: 1.0,
                repeat_last_n: sampling.repeat_last_tokens,
                dry_multiplier: 0.0,
                grammar: sampling.grammar.as_deref(),
            },
            Dialect::Vllm => Self::Vllm {
                // "All of them" is -1 there, for every version; 0 is an error for older ones.
                top_k: if sampling.top_k > 0 { sampling.top_k } else { -1 },
                min_p: sampling.min_p,
                cache_salt: salt(&generation.cache_scope),
            },
            Dialect::Plain => Self::Plain {},
        }
    }
}

/// A scope's hash: the scope may be a name that opens a conversation to whoever knows it.
fn salt(cache_scope: &str) -> String {
    Sha256::digest(cache_scope).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of the request.
///
/// # Errors
/// [`EngineError::Rejected`] for a grammar that the server would not follow, or that could harm it.
pub(super) fn chat_request(model: &str, generation: &Generation, dialect: Dialect) -> Result<Vec<u8>, EngineError> {
    let sampling = &generation.sampling;
    if let Some(grammar) = &sampling.grammar {
        if dialect != Dialect::LlamaServer {
            return Err(EngineError::Rejected("the remote server takes no grammars: only llama-server does".into()));
        }
        let rejected = |reason| EngineError::Rejected(format!("the grammar cannot be used: {reason}"));
        check_grammar(grammar).map_err(rejected)?;
    }
    let request = ChatRequest {
        model,
        messages: generation.messages.iter().map(ChatMessage::from).collect(),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        max_tokens: generation.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        seed: sampling.seed,
        stop: &generation.stop,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias: sampling.logit_bias.iter().map(|(token, bias)| (token.0.to_string(), *bias)).collect(),
        extras: Extras::of(generation, dialect),
    };
    serde_json::to_vec(&request)
        .map_err(|error| EngineError::Failed(format!("the request has no form in JSON: {error}")))
}

/// About how many tokens messages become, rounded up: the server alone could tell, at the cost of asking it for every
/// passage that is tried. One for 3.5 bytes of text, which today's vocabularies need for English prose and code (they read
/// 4 and more; other scripts are counted high, as their characters have 2 to 4 bytes), and some for each message.
pub(super) fn estimate_tokens(messages: &[PromptMessage]) -> usize {
    messages.iter().map(|message| MESSAGE_TOKENS + (message.text.len() * 2).div_ceil(7)).sum()
}

#[cfg(test)]
mod tests {
    use mentor_actors::ports::{Sampling, Token};
    use serde_json::{Value, json};

    use super::*;

    fn message(role: Role, text: &str) -> PromptMessage {
        PromptMessage { role, text: text.into() }
    }

    fn generation() -> Generation {
        Generation {
            messages: vec![message(Role::System, "Help."), message(Role::User, "What is a \"heap\"?")],
            max_tokens: 64,
            sampling: Sampling {
                temperature: 0.7,
                top_p: 0.9,
                top_k: 0,
                min_p: 0.05,
                repeat_penalty: 1.1,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                repeat_last_tokens: 128,
                dry_multiplier: 0.5,
                seed: 42,
                logit_bias: Vec::new(),
                grammar: None,
            },
            stop: Vec::new(),
            cache_scope: "a conversation".into(),
        }
    }

    fn sent(generation: &Generation, dialect: Dialect) -> Value {
        serde_json::from_slice(&chat_request("m", generation, dialect).unwrap()).unwrap()
    }

    #[test]
    fn a_plain_server_gets_openai_s_fields_and_no_other() {
        let text = String::from_utf8(chat_request("m", &generation(), Dialect::Plain).unwrap()).unwrap();
        let expected = concat!(
            r#"{"model":"m","messages":[{"role":"system","content":"Help."},"#,
            r#"{"role":"user","content":"What is a \"heap\"?"}],"stream":true,"stream_options":{"include_usage":true},"#,
            r#""max_tokens":64,"temperature":0.7,"top_p":0.9,"seed":42}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn stop_texts_biases_and_openai_s_penalties_are_sent_where_there_are_any() {
        let mut generation = generation();
        (generation.sampling.presence_penalty, generation.sampling.frequency_penalty) = (0.5, -0.25);
        generation.stop = vec!["END".into()];
        generation.sampling.logit_bias = vec![(Token(7), -1.5)];
        let sent = sent(&generation, Dialect::Plain);
        assert_eq!((&sent["stop"], &sent["logit_bias"]), (&json!(["END"]), &json!({"7": -1.5})));
        assert_eq!((&sent["presence_penalty"], &sent["frequency_penalty"]), (&json!(0.5), &json!(-0.25)));
    }

    #[test]
    fn vllm_gets_two_settings_more_and_no_penalty_on_its_passages() {
        let sent = sent(&generation(), Dialect::Vllm);
        assert_eq!(sent["top_k"], json!(-1));
        assert!(sent.get("min_p").is_some() && sent.get("repetition_penalty").is_none(), "{sent}");
    }

    #[test]
    fn vllm_gets_a_salt_for_each_scope_that_does_not_tell_it() {
        let salt = |scope: &str| {
            let generation = Generation { cache_scope: scope.into(), ..generation() };
            sent(&generation, Dialect::Vllm)["cache_salt"].as_str().unwrap().to_owned()
        };
        assert_eq!((salt("a").len(), salt("a")), (64, salt("a")));
        assert!(salt("a") != salt("b") && !salt("conversation").contains("conversation"));
    }

    #[test]
    fn llama_server_gets_the_grammar_and_no_sampler_that_would_punish_the_words_of_passages() {
        let mut generation = generation();
        generation.sampling.grammar = Some("root ::= \"yes\"".into());
        let sent = sent(&generation, Dialect::LlamaServer);
        for field in ["top_k", "min_p", "repeat_last_n", "grammar"] {
            assert!(sent.get(field).is_some(), "{field}");
        }
        assert_eq!((&sent["repeat_penalty"], &sent["dry_multiplier"]), (&json!(1.0), &json!(0.0)));
    }

    #[test]
    fn a_grammar_is_refused_where_it_would_be_ignored_or_cannot_be_read() {
        let mut generation = generation();
        generation.sampling.grammar = Some("root ::= \"yes\"".into());
        assert!(matches!(chat_request("m", &generation, Dialect::Vllm), Err(EngineError::Rejected(_))));
        generation.sampling.grammar = Some("root ::= (".into());
        assert!(matches!(chat_request("m", &generation, Dialect::LlamaServer), Err(EngineError::Rejected(_))));
    }

    #[test]
    fn servers_are_known_by_what_they_call_themselves() {
        let owners = [Some("llamacpp"), Some("vllm"), Some("sglang"), Some("openai"), None];
        let expected = [Dialect::LlamaServer, Dialect::Vllm, Dialect::Vllm, Dialect::Plain, Dialect::Plain];
        assert_eq!(owners.map(Dialect::of), expected);
    }

    #[test]
    fn tokens_are_estimated_by_length_and_message() {
        assert_eq!(estimate_tokens(&[]), 0);
        assert_eq!(estimate_tokens(&[message(Role::User, "")]), 8);
        assert_eq!(estimate_tokens(&[message(Role::User, "1234567"), message(Role::User, "12345678")]), 10 + 11);
    }
}
