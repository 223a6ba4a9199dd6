//! An event of a chat completion becomes a piece of an answer.

use mentor_actors::domain::{FinishReason, Usage};
use serde::Deserialize;

use super::failure::{ErrorBody, RemoteFailure};

/// What ends the stream.
const DONE: &str = "[DONE]";

/// What one event adds to an answer; mostly just text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// May be empty: the first event often names only the role.
    pub(super) text: String,
    /// The model thinks before it answers. Its thoughts are left out, but somebody is there.
    pub(super) thinks: bool,
    /// The answer is over.
    pub(super) reason: Option<FinishReason>,
    /// What the server counted so far.
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<WireUsage>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    content: Option<String>,
    /// What vLLM, SGLang and llama-server call it; newer vLLM says `reasoning`.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Debug, Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: usize,
    #[serde(default)]
    completion_tokens: usize,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<usize>,
}

/// Reads the data of one event; `None` when it says that the stream is over.
///
/// # Errors
/// An error that the server reports in the stream; what is no chat completion.
pub(super) fn read_piece(data: &str) -> Result<Option<Piece>, RemoteFailure> {
    if data.trim() == DONE {
        return Ok(None);
    }
    let chunk: Chunk = serde_json::from_str(data).map_err(|error| RemoteFailure::not_json(&error))?;
    if chunk.error.is_some() {
        return Err(RemoteFailure::Reported(ErrorBody::read(data.as_bytes())));
    }
    if chunk.choices.is_none() && chunk.usage.is_none() {
        return Err(RemoteFailure::Garbage("JSON without choices".into()));
    }
    let mut piece = Piece { usage: chunk.usage.as_ref().map(usage), ..Piece::default() };
    if let Some(choice) = chunk.choices.into_iter().flatten().next() {
        let delta = choice.delta.unwrap_or_default();
        piece.thinks = [delta.reasoning_content, delta.reasoning].iter().flatten().any(|text| !text.is_empty());
        piece.text = delta.content.unwrap_or_default();
        piece.reason = choice.finish_reason.as_deref().map(finish_reason);
    }
    Ok(Some(piece))
}

/// Servers have many words for "the model ended it" (`stop`, `eos_token`, `stop_sequence`, ...), and one for "too long".
fn finish_reason(word: &str) -> FinishReason {
    match word {
        "length" => FinishReason::Length,
        _ => FinishReason::Stop,
    }
}

fn usage(wire: &WireUsage) -> Usage {
    let cached_tokens = wire.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens).unwrap_or(0);
    Usage { prompt_tokens: wire.prompt_tokens, cached_tokens, completion_tokens: wire.completion_tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(data: &str) -> Piece {
        read_piece(data).unwrap().unwrap()
    }

    #[test]
    fn text_and_end_may_come_apart_or_together() {
        let text = piece(r#"{"choices":[{"index":0,"delta":{"content":"A heap"},"finish_reason":null}],"usage":null}"#);
        assert_eq!(text, Piece { text: "A heap".into(), ..Piece::default() });
        let both = piece(r#"{"choices":[{"delta":{"content":"."},"finish_reason":"length"}]}"#);
        assert_eq!(both, Piece { text: ".".into(), reason: Some(FinishReason::Length), ..Piece::default() });
        let end = piece(r#"{"choices":[{"delta":{},"finish_reason":"eos_token"}]}"#);
        assert_eq!(end, Piece { reason: Some(FinishReason::Stop), ..Piece::default() });
    }

    #[test]
    fn the_role_alone_is_an_empty_piece() {
        assert_eq!(piece(r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#), Piece::default());
    }

    #[test]
    fn usage_comes_without_choices_and_with_or_without_cached_tokens() {
        let usage = |json: &str| piece(&format!(r#"{{"choices":[],"usage":{json}}}"#)).usage.unwrap();
        let cached = usage(r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":5}}"#);
        assert_eq!(cached, Usage { prompt_tokens: 9, cached_tokens: 5, completion_tokens: 4 });
        let plain = usage(r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":null}"#);
        assert_eq!(plain.cached_tokens, 0);
    }

    #[test]
    fn thoughts_are_left_out_but_noticed() {
        for field in ["reasoning_content", "reasoning"] {
            let thought = piece(&format!(r#"{{"choices":[{{"delta":{{"{field}":"hm"}}}}]}}"#));
            assert_eq!(thought, Piece { thinks: true, ..Piece::default() });
        }
    }

    #[test]
    fn the_end_of_the_stream_is_no_piece() {
        assert_eq!(read_piece(" [DONE]"), Ok(None));
    }

    #[test]
    fn an_error_in_the_stream_is_one_and_its_message_is_kept_out() {
        let error =
            read_piece(r#"{"error":{"message":"bad prompt: my question","type":"BadRequestError","code":400}}"#);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("BadRequestError") && !text.contains("my question"), "{text}");
    }

    #[test]
    fn garbage_is_an_error_that_does_not_repeat_it() {
        for garbage in ["my question", r#"{"choices":"my question"}"#, r#"{"detail":"my question"}"#, "[1]", "12", ""] {
            let text = read_piece(garbage).unwrap_err().to_string();
            assert!(text.contains("no chat completion") && !text.contains("my question"), "{text}");
        }
    }
}
