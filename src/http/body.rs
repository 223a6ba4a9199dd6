//! Reading request bodies: within the size limit, as JSON, with errors that say what was wrong.

use actix_web::http::StatusCode;
use actix_web::web;
use futures_util::StreamExt as _;
use mentor_actors::domain::{AnswerOptions, ConversationId, ErrorCode, Token, TurnError, TurnId, TurnRequest};
use mentor_engines::json_schema;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

use super::errors::ApiError;
use super::wire::{AskBody, OptionsBody};

/// Largest JSON body or frame, in bytes: the longest message in four-byte characters, with room for its envelope.
pub const MAX_JSON_BYTES: usize = 64 * 1024;

/// Most passages a client may ask for.
pub const MAX_TOP_K: usize = 50;

/// Most texts that end an answer, and their longest length in characters: every token of the answer is compared with them.
pub const MAX_STOPS: usize = 8;
pub const MAX_STOP_CHARS: usize = 64;

/// Most tokens whose scores a client may change, and by how much, as OpenAI has it.
pub const MAX_BIASES: usize = 300;
pub const MAX_BIAS: f32 = 100.0;

/// Most tokens that the sampler may be told to look at, and to look back at: more than any answer has, and a bound all the same.
pub const MAX_SAMPLING_TOP_K: usize = 10_000;
pub const MAX_REPEAT_LAST_TOKENS: usize = 32_768;

/// Longest grammar.
pub const MAX_GRAMMAR_BYTES: usize = 8 * 1024;

/// Reads a JSON body.
///
/// # Errors
/// 413 when it is too large, 400 when it is not JSON, 422 when its fields are wrong.
pub async fn json<T: DeserializeOwned>(payload: web::Payload) -> Result<T, ApiError> {
    json_up_to(MAX_JSON_BYTES, payload).await
}

/// Reads a JSON body of at most `max_bytes`.
///
/// # Errors
/// As [`json`].
pub async fn json_up_to<T: DeserializeOwned>(max_bytes: usize, payload: web::Payload) -> Result<T, ApiError> {
    parse(&read(max_bytes, payload).await?)
}

/// Reads a JSON body that may be left out.
///
/// # Errors
/// As [`json`].
pub async fn json_or_default<T: DeserializeOwned + Default>(payload: web::Payload) -> Result<T, ApiError> {
    let bytes = read(MAX_JSON_BYTES, payload).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

async fn read(max_bytes: usize, mut payload: web::Payload) -> Result<web::BytesMut, ApiError> {
    let mut bytes = web::BytesMut::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(|error| bad_request(format!("the request body could not be read: {error}")))?;
        if bytes.len() + part.len() > max_bytes {
            return Err(over(max_bytes).into());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            ApiError::unprocessable(format!("the request cannot be understood: {error}"))
        }
        _ => bad_request(format!("the request body is not valid JSON: {error}")),
    })
}

/// The error of a body or frame over [`MAX_JSON_BYTES`].
#[must_use]
pub fn too_large() -> TurnError {
    over(MAX_JSON_BYTES)
}

fn over(max_bytes: usize) -> TurnError {
    TurnError::new(ErrorCode::TooLarge, format!("at most {max_bytes} bytes are allowed in a request"))
}

fn bad_request(message: String) -> ApiError {
    debug_assert_eq!(super::errors::status(ErrorCode::InvalidRequest), StatusCode::BAD_REQUEST);
    TurnError::new(ErrorCode::InvalidRequest, message).into()
}

/// The error of a request that is wrong.
pub fn invalid(message: impl Into<String>) -> TurnError {
    TurnError::new(ErrorCode::InvalidRequest, message)
}

/// Checks a question's text.
///
/// # Errors
/// `invalid_request` when it is empty, `too_large` when it is longer than allowed.
pub fn check_message(message: &str, max_chars: usize) -> Result<(), TurnError> {
    if message.trim().is_empty() {
        return Err(invalid("the message is empty"));
    }
    let chars = message.chars().count();
    if chars > max_chars {
        let reason = format!("the message has {chars} characters, {max_chars} are allowed");
        return Err(TurnError::new(ErrorCode::TooLarge, reason));
    }
    Ok(())
}

/// Limits that the configuration sets on questions.
#[derive(Debug, Clone, Copy)]
pub struct AskLimits {
    /// Longest message, in characters.
    pub message_chars: usize,
    /// Longest answer, in tokens.
    pub max_tokens: usize,
}

/// Turns a client's question into a request of the domain. Whose it is, is added where it is let in.
///
/// # Errors
/// `invalid_request` or `too_large`, naming the field and its value.
pub fn turn_request(body: AskBody, limits: AskLimits, abandon_after: Duration) -> Result<TurnRequest, TurnError> {
    check_message(&body.message, limits.message_chars)?;
    let turn_id = body.turn_id.as_deref().map(TurnId::parse).transpose().map_err(|error| invalid(error.to_string()))?;
    Ok(TurnRequest {
        turn_id: turn_id.unwrap_or_else(TurnId::generate),
        client: None,
        message: body.message,
        options: options(body.options, limits)?,
        abandon_after,
    })
}

fn options(body: OptionsBody, limits: AskLimits) -> Result<AnswerOptions, TurnError> {
    check_top_k(body.top_k)?;
    if let Some(tokens) = body.max_tokens.filter(|tokens| *tokens == 0 || *tokens > limits.max_tokens) {
        return Err(invalid(format!("max_tokens is {tokens}, allowed are 1 to {}", limits.max_tokens)));
    }
    check_range("temperature", body.temperature, 0.0, 2.0)?;
    check_range("top_p", body.top_p, 0.0, 1.0)?;
    check_range("min_p", body.min_p, 0.0, 1.0)?;
    check_range("repeat_penalty", body.repeat_penalty, 1.0, 2.0)?;
    check_range("presence_penalty", body.presence_penalty, -2.0, 2.0)?;
    check_range("frequency_penalty", body.frequency_penalty, -2.0, 2.0)?;
    check_range("dry_multiplier", body.dry_multiplier, 0.0, 2.0)?;
    check_most("repeat_last_tokens", body.repeat_last_tokens, MAX_REPEAT_LAST_TOKENS)?;
    check_most("sampling_top_k", body.sampling_top_k, MAX_SAMPLING_TOP_K)?;
    let logit_bias = biases(body.logit_bias.unwrap_or_default())?;
    check_stops(&body.stop)?;
    let grammar_bytes = body.grammar.as_ref().map_or(1, String::len);
    if !(1..=MAX_GRAMMAR_BYTES).contains(&grammar_bytes) {
        return Err(invalid(format!("the grammar has {grammar_bytes} bytes, allowed are 1 to {MAX_GRAMMAR_BYTES}")));
    }
    let grammar = match (body.grammar, &body.json_schema) {
        (Some(_), Some(_)) => return Err(invalid("grammar and json_schema exclude each other")),
        (None, Some(schema)) => {
            Some(json_schema::grammar_of(schema).map_err(|reason| invalid(format!("json_schema: {reason}")))?)
        }
        (grammar, None) => grammar,
    };
    Ok(AnswerOptions {
        top_k: body.top_k,
        documents: body.documents,
        max_tokens: body.max_tokens,
        temperature: body.temperature,
        top_p: body.top_p,
        min_p: body.min_p,
        repeat_penalty: body.repeat_penalty,
        presence_penalty: body.presence_penalty,
        frequency_penalty: body.frequency_penalty,
        repeat_last_tokens: body.repeat_last_tokens,
        dry_multiplier: body.dry_multiplier,
        sampling_top_k: body.sampling_top_k,
        logit_bias,
        seed: body.seed,
        stop: body.stop,
        grammar,
        instructions: None,
    })
}

/// Whether the model has these tokens only the generator knows.
fn biases(given: BTreeMap<String, f32>) -> Result<Vec<(Token, f32)>, TurnError> {
    if given.len() > MAX_BIASES {
        return Err(invalid(format!("logit_bias has {} entries, {MAX_BIASES} are allowed", given.len())));
    }
    let bias = |(id, bias): (String, f32)| -> Result<(Token, f32), TurnError> {
        let token = id.parse::<i32>().ok().filter(|token| *token >= 0).map(Token);
        let token = token.ok_or_else(|| invalid(format!("logit_bias: {id:?} is no token id")))?;
        check_range(&format!("logit_bias of token {id}"), Some(bias), -MAX_BIAS, MAX_BIAS)?;
        Ok((token, bias))
    };
    given.into_iter().map(bias).collect()
}

fn check_most(name: &str, value: Option<usize>, most: usize) -> Result<(), TurnError> {
    match value {
        Some(value) if value > most => Err(invalid(format!("{name} is {value}, allowed are 0 to {most}"))),
        _ => Ok(()),
    }
}

fn check_range(name: &str, value: Option<f32>, least: f32, most: f32) -> Result<(), TurnError> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(invalid(format!("{name} is {value}, allowed are {least} to {most}")))
        }
        _ => Ok(()),
    }
}

fn check_stops(stops: &[String]) -> Result<(), TurnError> {
    if stops.len() > MAX_STOPS {
        return Err(invalid(format!("stop has {} texts, {MAX_STOPS} are allowed", stops.len())));
    }
    let lengths = stops.iter().map(|stop| stop.chars().count());
    match lengths.into_iter().find(|chars| !(1..=MAX_STOP_CHARS).contains(chars)) {
        Some(chars) => {
            Err(invalid(format!("stop has a text of {chars} characters, allowed are 1 to {MAX_STOP_CHARS}")))
        }
        None => Ok(()),
    }
}

/// Checks how many passages a client asks for.
///
/// # Errors
/// `invalid_request` when it is none or too many.
pub fn check_top_k(top_k: Option<usize>) -> Result<(), TurnError> {
    match top_k {
        Some(wanted) if wanted == 0 || wanted > MAX_TOP_K => {
            Err(invalid(format!("top_k is {wanted}, allowed are 1 to {MAX_TOP_K}")))
        }
        _ => Ok(()),
    }
}

/// A client's conversation id, or a new one.
///
/// # Errors
/// `invalid_request` when the id is malformed.
pub fn conversation_id(text: Option<&str>) -> Result<ConversationId, TurnError> {
    text.map_or_else(|| Ok(ConversationId::generate()), ConversationId::parse)
        .map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: AskLimits = AskLimits { message_chars: 5, max_tokens: 100 };

    fn asked(message: &str, options: OptionsBody) -> Result<TurnRequest, TurnError> {
        let body = AskBody { message: message.into(), options, ..AskBody::default() };
        turn_request(body, LIMITS, Duration::ZERO)
    }

    #[test]
    fn a_message_is_counted_in_characters() {
        assert!(asked("äöüßé", OptionsBody::default()).is_ok());
        let error = asked("äöüßéx", OptionsBody::default()).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::TooLarge, "the message has 6 characters, 5 are allowed")
        );
        assert_eq!(asked(" \n", OptionsBody::default()).unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn an_option_out_of_range_is_named_with_its_value() {
        let wrong = |options| asked("hi", options).unwrap_err().message;
        assert!(wrong(OptionsBody { top_k: Some(0), ..OptionsBody::default() }).contains("top_k is 0"));
        assert!(wrong(OptionsBody { max_tokens: Some(101), ..OptionsBody::default() }).contains("max_tokens is 101"));
        assert!(wrong(OptionsBody { temperature: Some(9.0), ..OptionsBody::default() }).contains("temperature is 9"));
        assert!(wrong(OptionsBody { top_p: Some(1.5), ..OptionsBody::default() }).contains("top_p is 1.5"));
        assert!(wrong(OptionsBody { min_p: Some(-0.5), ..OptionsBody::default() }).contains("min_p is -0.5"));
        let penalty = OptionsBody { repeat_penalty: Some(0.5), ..OptionsBody::default() };
        assert_eq!(wrong(penalty), "repeat_penalty is 0.5, allowed are 1 to 2");
    }

    #[test]
    fn every_sampler_can_be_asked_for_within_its_range() {
        let wrong = |options| asked("hi", options).unwrap_err().message;
        let presence = OptionsBody { presence_penalty: Some(2.5), ..OptionsBody::default() };
        assert_eq!(wrong(presence), "presence_penalty is 2.5, allowed are -2 to 2");
        let frequency = OptionsBody { frequency_penalty: Some(-3.0), ..OptionsBody::default() };
        assert_eq!(wrong(frequency), "frequency_penalty is -3, allowed are -2 to 2");
        let dry = OptionsBody { dry_multiplier: Some(-0.1), ..OptionsBody::default() };
        assert_eq!(wrong(dry), "dry_multiplier is -0.1, allowed are 0 to 2");
        let window = OptionsBody { repeat_last_tokens: Some(40_000), ..OptionsBody::default() };
        assert_eq!(wrong(window), "repeat_last_tokens is 40000, allowed are 0 to 32768");
        let top_k = OptionsBody { sampling_top_k: Some(10_001), ..OptionsBody::default() };
        assert_eq!(wrong(top_k), "sampling_top_k is 10001, allowed are 0 to 10000");
    }

    #[test]
    fn a_schema_becomes_a_grammar_and_one_that_is_not_understood_is_told_where() {
        let with = |schema, grammar: Option<&str>| {
            let (json_schema, grammar) = (Some(schema), grammar.map(ToOwned::to_owned));
            asked("hi", OptionsBody { json_schema, grammar, ..OptionsBody::default() })
        };
        let found = with(json!({"type": "boolean"}), None).unwrap().options.grammar.unwrap();
        assert!(found.starts_with("root ::= boolean\n"), "{found}");
        let error = with(json!({"type": "string", "format": "date"}), None).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::InvalidRequest, "json_schema: $: format is not supported here")
        );
        assert!(
            with(json!({"type": "boolean"}), Some("root ::= .")).unwrap_err().message.contains("exclude each other")
        );
    }

    #[test]
    fn biases_are_few_of_known_form_and_bounded() {
        let with = |entries: Vec<(String, f32)>| {
            let logit_bias = Some(entries.into_iter().collect());
            asked("hi", OptionsBody { logit_bias, ..OptionsBody::default() })
        };
        let one = |id: &str, bias| with(vec![(id.to_owned(), bias)]);
        let found = with(vec![("50".into(), -100.0), ("7".into(), 1.5)]).unwrap().options.logit_bias;
        assert_eq!(found, [(Token(50), -100.0), (Token(7), 1.5)]);
        assert_eq!(one("7", 100.5).unwrap_err().message, "logit_bias of token 7 is 100.5, allowed are -100 to 100");
        assert!(one("7", f32::NAN).is_err());
        for id in ["-1", "heap", "", "4294967296"] {
            assert_eq!(one(id, 1.0).unwrap_err().message, format!("logit_bias: {id:?} is no token id"));
        }
        let many = |count: i32| with((0..count).map(|id| (id.to_string(), 1.0)).collect());
        assert!(many(300).is_ok());
        assert_eq!(many(301).unwrap_err().message, "logit_bias has 301 entries, 300 are allowed");
    }

    #[test]
    fn stop_texts_and_a_grammar_have_a_size() {
        let stops = |stop: Vec<String>| asked("hi", OptionsBody { stop, ..OptionsBody::default() });
        assert!(stops(vec!["ü".repeat(64); 8]).is_ok());
        assert_eq!(stops(vec!["x".into(); 9]).unwrap_err().message, "stop has 9 texts, 8 are allowed");
        for (text, chars) in [(String::new(), 0), ("x".repeat(65), 65)] {
            let expected = format!("stop has a text of {chars} characters, allowed are 1 to 64");
            assert_eq!(stops(vec!["ok".into(), text]).unwrap_err().message, expected);
        }
        let grammar = |bytes| asked("hi", OptionsBody { grammar: Some("x".repeat(bytes)), ..OptionsBody::default() });
        assert!(grammar(8 * 1024).is_ok());
        assert!(grammar(0).unwrap_err().message.contains("0 bytes"));
        assert!(grammar(8 * 1024 + 1).unwrap_err().message.contains("8193 bytes, allowed are 1 to 8192"));
    }

    #[test]
    fn a_conversation_id_is_made_where_the_client_has_none() {
        assert!(conversation_id(None).is_ok());
        assert_eq!(conversation_id(Some("../x")).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
