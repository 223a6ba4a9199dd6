//! From a request for a chat completion to a question with its history (pure).

use std::collections::BTreeMap;
use std::time::Duration;

use mentor_actors::domain::TurnRequest;
use mentor_actors::prompt::Exchange;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::http::body::{self, AskLimits};
use crate::http::wire::{AskBody, OptionsBody};

/// Longest instructions of a client, all its system messages together, in characters: about a third of the default prompt, the
/// rest of which is for passages.
pub const MAX_INSTRUCTION_CHARS: usize = 1_000;

/// Exchanges that are looked at: a follow-up needs the last question, the prompt a few.
const HISTORY_LIMIT: usize = 32;

/// Body of `POST /v1/chat/completions`. What is not named here is ignored, as OpenAI's clients expect.
#[derive(Debug, Deserialize)]
pub struct ChatBody {
    pub model: String,
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    stop: Option<Value>,
    seed: Option<i64>,
    n: Option<u64>,
    response_format: Option<ResponseFormat>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    logprobs: Option<bool>,
    logit_bias: Option<BTreeMap<String, f32>>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    modalities: Option<Vec<String>>,
    /// What OpenAI has no parameter for; its parameters go before.
    mentor: Option<OptionsBody>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<NamedSchema>,
}

/// Its name and whether it is strict make no difference: it always is.
#[derive(Debug, Deserialize)]
struct NamedSchema {
    schema: Option<Value>,
}

impl ResponseFormat {
    /// What the answer must look like; nothing for text.
    fn schema(&self) -> Result<Option<Value>, Refusal> {
        match (self.kind.as_str(), &self.json_schema) {
            ("text", _) => Ok(None),
            ("json_object", _) => Ok(Some(json!({"type": "object"}))),
            ("json_schema", Some(NamedSchema { schema: Some(schema) })) => Ok(Some(schema.clone())),
            ("json_schema", _) => {
                Err(Refusal::field("response_format", "response_format.json_schema.schema is missing"))
            }
            (kind, _) => {
                let message =
                    format!("response_format has the type {kind:?}, known are text, json_object and json_schema");
                Err(Refusal::field("response_format", message))
            }
        }
    }
}

/// A question, what came before it, and how its answer is wanted.
#[derive(Debug)]
pub struct ChatQuestion {
    /// Oldest first.
    pub history: Vec<Exchange>,
    pub turn: TurnRequest,
    pub streams: bool,
    pub include_usage: bool,
}

impl ChatBody {
    /// # Errors
    /// 400 or 413, with the field that is wrong.
    pub fn question(self, limits: AskLimits) -> Result<ChatQuestion, Refusal> {
        self.refuse_what_is_not_offered()?;
        let include_usage = self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
        let streams = self.stream.unwrap_or(false);
        let options = self.options(limits)?;
        let Transcript { instructions, history, question } = read(&self.messages, limits)?;
        body::check_message(&question, limits.message_chars).map_err(|error| Refusal::from(error).of("messages"))?;
        let asked = AskBody { message: question, options, ..AskBody::default() };
        let mut turn = body::turn_request(asked, limits, Duration::ZERO)?;
        turn.options.instructions = instructions;
        Ok(ChatQuestion { history, turn, streams, include_usage })
    }

    fn refuse_what_is_not_offered(&self) -> Result<(), Refusal> {
        let some = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let tools_off = self.tool_choice.as_ref().is_some_and(|choice| choice == "none");
        let sound = |kinds: &Vec<String>| kinds.iter().any(|kind| kind != "text");
        let refused = [
            (self.n.is_some_and(|n| n != 1), "n", "n must be 1: there is one answer to a question"),
            (
                some(&self.tools) && !tools_off,
                "tools",
                "tools are not supported: answers come from the course materials",
            ),
            (some(&self.functions), "functions", "functions are not supported: answers come from the course materials"),
            (self.logprobs == Some(true), "logprobs", "logprobs are not supported"),
            (self.modalities.as_ref().is_some_and(sound), "modalities", "modalities must be [\"text\"]"),
        ];
        match refused.into_iter().find(|(refused, ..)| *refused) {
            Some((_, field, message)) => Err(Refusal::field(field, message)),
            None => Ok(()),
        }
    }

    fn options(&self, limits: AskLimits) -> Result<OptionsBody, Refusal> {
        let mut options = self.mentor.clone().unwrap_or_default();
        // Clients set what their model could write at most, or a round number. The answer says when it ended because of its length.
        let most = self.max_completion_tokens.or(self.max_tokens).map(|tokens| tokens.min(limits.max_tokens));
        options.max_tokens = most.or(options.max_tokens);
        options.temperature = self.temperature.or(options.temperature);
        options.top_p = self.top_p.or(options.top_p);
        options.presence_penalty = self.presence_penalty.or(options.presence_penalty);
        options.frequency_penalty = self.frequency_penalty.or(options.frequency_penalty);
        options.logit_bias = self.logit_bias.clone().or(options.logit_bias);
        options.seed = self.seed.map(low_bits).or(options.seed);
        let schema = self.response_format.as_ref().map(ResponseFormat::schema).transpose()?;
        options.json_schema = schema.flatten().or(options.json_schema);
        if let Some(stop) = &self.stop {
            options.stop = texts(stop)?;
        }
        Ok(options)
    }
}

/// The sampler's seed has 32 bits; OpenAI's is any integer.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low bits are what is wanted")]
fn low_bits(seed: i64) -> u32 {
    seed as u32
}

/// `stop`: a text, several, or nothing.
fn texts(stop: &Value) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::field("stop", "stop must be a text or a list of texts");
    match stop {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(ToOwned::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// What the messages of a request say.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    instructions: Option<String>,
    history: Vec<Exchange>,
    question: String,
}

/// Who said something last.
enum Last {
    Nobody,
    User,
    Assistant,
}

fn read(messages: &[Message], limits: AskLimits) -> Result<Transcript, Refusal> {
    let (mut instructions, mut exchanges, mut last) = (String::new(), Vec::<Exchange>::new(), Last::Nobody);
    for (place, message) in messages.iter().enumerate() {
        let text = message.text(place)?;
        match (message.role.as_str(), &last) {
            ("system" | "developer", _) => append(&mut instructions, &text),
            ("user", Last::User) => on_last(&mut exchanges, |exchange| append(&mut exchange.question, &text)),
            ("user", _) => {
                exchanges.push(Exchange { question: text, read: None, answer: String::new() });
                last = Last::User;
            }
            // A greeting before the first question has no place in a prompt.
            ("assistant", Last::Nobody) => {}
            ("assistant", _) => {
                on_last(&mut exchanges, |exchange| append(&mut exchange.answer, &text));
                last = Last::Assistant;
            }
            (role, _) => {
                let message =
                    format!("messages[{place}] has the role {role:?}, known are system, developer, user and assistant");
                return Err(Refusal::field(format!("messages[{place}].role"), message));
            }
        }
    }
    let (Last::User, Some(asked)) = (last, exchanges.pop()) else {
        return Err(Refusal::field("messages", "the last message must be the user's: it is the question"));
    };
    let chars = instructions.chars().count();
    if chars > MAX_INSTRUCTION_CHARS {
        let message = format!("the system messages have {chars} characters, {MAX_INSTRUCTION_CHARS} are allowed");
        return Err(Refusal::field("messages", message));
    }
    let mut history = exchanges.split_off(exchanges.len().saturating_sub(HISTORY_LIMIT));
    history.iter_mut().for_each(|exchange| cut(&mut exchange.question, limits.message_chars));
    let instructions = (!instructions.trim().is_empty()).then_some(instructions);
    Ok(Transcript { instructions, history, question: asked.question })
}

/// Through other doors no question is longer; here one may come back in the history, joined to another.
fn cut(question: &mut String, max_chars: usize) {
    if let Some((end, _)) = question.char_indices().nth(max_chars) {
        question.truncate(end);
    }
}

fn on_last(exchanges: &mut [Exchange], change: impl FnOnce(&mut Exchange)) {
    if let Some(exchange) = exchanges.last_mut() {
        change(exchange);
    }
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}

impl Message {
    /// Its text: given as such, in parts, or not at all.
    fn text(&self, place: usize) -> Result<String, Refusal> {
        let field = || format!("messages[{place}].content");
        let wrong = |message: &str| Refusal::field(field(), format!("{} {message}", field()));
        match &self.content {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            Value::Array(parts) => {
                let mut whole = String::new();
                for part in parts {
                    let text = part["text"].as_str().filter(|_| part["type"] == "text");
                    append(&mut whole, text.ok_or_else(|| wrong("has a part that is no text"))?);
                }
                Ok(whole)
            }
            _ => Err(wrong("must be a text or a list of texts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::Token;

    const LIMITS: AskLimits = AskLimits { message_chars: 100, max_tokens: 64 };

    fn question(body: Value) -> Result<ChatQuestion, Refusal> {
        serde_json::from_value::<ChatBody>(body).unwrap().question(LIMITS)
    }

    fn asked(messages: Value) -> Result<ChatQuestion, Refusal> {
        question(json!({"model": "mentor", "messages": messages}))
    }

    fn with(field: &str, value: Value) -> Result<ChatQuestion, Refusal> {
        question(json!({"model": "mentor", "messages": [{"role": "user", "content": "hi"}], field: value}))
    }

    fn exchange(question: &str, answer: &str) -> Exchange {
        Exchange { question: question.into(), read: None, answer: answer.into() }
    }

    #[test]
    fn messages_become_instructions_history_and_a_question() {
        let found = asked(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "first"},
            {"role": "assistant", "content": "and more"},
            {"role": "user", "content": "two"},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "again"}]},
        ]))
        .unwrap();
        assert_eq!(found.history, [exchange("one", "first\n\nand more")]);
        assert_eq!(found.turn.message, "two\n\ntwo\n\nagain");
        assert_eq!(found.turn.options.instructions.as_deref(), Some("Be brief.\n\nBe kind."));
        assert!(!found.streams && !found.include_usage);
    }

    #[test]
    fn what_cannot_be_a_conversation_is_refused_with_its_place() {
        let user = |content: Value| json!({"role": "user", "content": content});
        let cases = [
            (json!([]), "messages"),
            (json!([{"role": "system", "content": "x"}]), "messages"),
            (json!([user(json!("x")), {"role": "assistant", "content": "y"}]), "messages"),
            (json!([user(json!(" "))]), "messages"),
            (json!([user(json!("x".repeat(101)))]), "messages"),
            (json!([user(json!(5))]), "messages[0].content"),
            (json!([user(json!([{"type": "image_url", "image_url": {"url": "data:"}}]))]), "messages[0].content"),
            (json!([user(json!("x")), {"role": "tool", "content": "y"}]), "messages[1].role"),
            (json!([{"role": "system", "content": "x".repeat(1_001)}, user(json!("x"))]), "messages"),
        ];
        for (messages, field) in cases {
            let shown = messages.to_string();
            assert_eq!(asked(messages).unwrap_err().json()["error"]["param"], field, "{shown}");
        }
    }

    #[test]
    fn of_a_long_history_the_last_exchanges_are_looked_at() {
        let mut messages: Vec<Value> = (0..100)
            .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": n.to_string()}))
            .collect();
        messages.push(json!({"role": "user", "content": "and now?"}));
        let found = asked(json!(messages)).unwrap();
        assert_eq!((found.history.len(), &found.history[31]), (HISTORY_LIMIT, &exchange("98", "99")));
        messages[0]["content"] = json!("ä".repeat(101));
        messages.drain(2..100);
        assert_eq!(asked(json!(messages)).unwrap().history, [exchange(&"ä".repeat(100), "1")]);
    }

    #[test]
    fn parameters_become_options() {
        let found = question(json!({
            "model": "mentor", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "stream_options": {"include_usage": true}, "temperature": 0.5, "top_p": 0.9, "max_tokens": 5,
            "max_completion_tokens": 9_999, "stop": "END", "seed": -1, "n": 1, "response_format": {"type": "text"},
            "tools": [], "presence_penalty": 1.5, "frequency_penalty": -0.5, "logit_bias": {"5": -100}, "user": "u",
            "unknown": {"x": 1},
            "mentor": {"top_k": 3, "documents": ["*.pdf"], "temperature": 2.0, "presence_penalty": 0.1, "sampling_top_k": 8},
        }))
        .unwrap();
        let options = &found.turn.options;
        assert_eq!((found.streams, found.include_usage), (true, true));
        assert_eq!((options.max_tokens, options.temperature, options.top_p), (Some(64), Some(0.5), Some(0.9)));
        assert_eq!((options.seed, options.stop.join(",")), (Some(u32::MAX), "END".into()));
        assert_eq!((options.presence_penalty, options.frequency_penalty), (Some(1.5), Some(-0.5)));
        assert_eq!((&options.logit_bias, options.sampling_top_k), (&vec![(Token(5), -100.0)], Some(8)));
        assert_eq!((options.top_k, options.documents.join(",")), (Some(3), "*.pdf".into()));
    }

    #[test]
    fn a_response_format_is_what_the_answer_must_look_like() {
        let grammar = |format: Value| with("response_format", format).map(|asked| asked.turn.options.grammar);
        assert_eq!(grammar(json!({"type": "text"})).unwrap(), None);
        assert!(grammar(json!({"type": "json_object"})).unwrap().unwrap().starts_with("root ::= object\n"));
        let schema =
            json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": {"type": "null"}}});
        assert!(grammar(schema).unwrap().unwrap().starts_with("root ::= null\n"));
        let bad =
            json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "string", "pattern": "a"}}});
        let refused = grammar(bad).unwrap_err().json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(refused, "json_schema: $: pattern is not supported here");
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let cases = [
            ("n", json!(2)),
            ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
            ("functions", json!([{"name": "f"}])),
            ("response_format", json!({"type": "xml"})),
            ("response_format", json!({"type": "json_schema", "json_schema": {"name": "s"}})),
            ("logprobs", json!(true)),
            ("modalities", json!(["text", "audio"])),
            ("stop", json!([1])),
        ];
        for (field, value) in cases {
            assert_eq!(with(field, value).unwrap_err().json()["error"]["param"], field);
        }
        for (field, value) in [
            ("n", json!(1)),
            ("stop", json!(null)),
            ("tools", json!(null)),
            ("logprobs", json!(false)),
            ("logit_bias", json!({})),
        ] {
            assert!(with(field, value).is_ok(), "{field}");
        }
    }
}
