//! What can go wrong with a remote generation, what of it is worth another try, and what says that the server is unwell.

use std::time::Duration;

use mentor_actors::domain::EngineError;
use serde_json::Value;
use thiserror::Error;

/// Longest code of an error, in bytes: longer ones are sentences, which may quote a prompt.
const LONGEST_CODE: usize = 48;

/// What servers call a prompt that is too long for their context, as they all answer 400 to it: llama-server's `type`, and the
/// `code` of OpenAI and those who follow it.
const TOO_LONG: [&str; 2] = ["exceed_context_size_error", "context_length_exceeded"];
/// What vLLM says of it, whose `type` is that of every bad request. It is looked for and not passed on.
const TOO_LONG_WORDS: &str = "maximum context length";

/// Why a request or an answer failed. The messages follow the server's address: "http://gpu:8000 cannot be reached ...".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum RemoteFailure {
    #[error("cannot be reached: {0}")]
    Connect(String),
    #[error("answered with status {status}{code}")]
    Status {
        status: u16,
        code: ErrorBody,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    #[error("gave no first token within {0:?}")]
    NoFirstToken(Duration),
    #[error("did not answer within {0:?}")]
    NoReply(Duration),
    #[error("fell silent for {0:?} in the middle of an answer")]
    Silent(Duration),
    #[error("lost the connection: {0}")]
    Lost(String),
    #[error("ended an answer without saying why")]
    Unfinished,
    #[error("sent what is no chat completion: {0}")]
    Garbage(String),
    #[error("reported an error{0}")]
    Reported(ErrorBody),
}

impl RemoteFailure {
    /// JSON of the wrong kind; serde's message would quote it.
    pub(super) fn not_json(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "JSON of another kind",
            _ => "not JSON",
        };
        Self::Garbage(kind.into())
    }

    /// Whether another try may help, as long as no token was passed on.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost(_) => true,
            Self::Status { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Self::NoFirstToken(_) | Self::NoReply(_) | Self::Silent(_) => false,
            Self::Unfinished | Self::Garbage(_) | Self::Reported(_) => false,
        }
    }

    /// How long the server asked to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the next request would likely fail as well. A server that refuses one request is well.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Reported(_) => self.refusal().is_none(),
            _ => true,
        }
    }

    /// What to tell whoever asked, when it is the request that the server does not take: trying it again would not help. Without
    /// the server's address, which is not theirs to know.
    pub(super) fn refusal(&self) -> Option<EngineError> {
        let (status, body) = match self {
            Self::Status { status, code, .. } => (*status, code),
            Self::Reported(body) => (body.status?, body),
            _ => return None,
        };
        match status {
            413 => Some(EngineError::TooLarge(format!("the prompt is too long for the remote server{body}"))),
            400 | 422 if body.is_too_long => {
                Some(EngineError::TooLarge(format!("the prompt does not fit the remote server's context{body}")))
            }
            400 | 422 => Some(EngineError::Rejected(format!("the remote server refuses the request{body}"))),
            _ => None,
        }
    }
}

/// What is of use of a server's error; its message stays out, as it may quote the prompt. Its code is shown with a space and in
/// brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    code: Option<String>,
    /// The HTTP status, which errors in the middle of a stream carry as a number.
    status: Option<u16>,
    /// It says that the prompt is longer than the context.
    is_too_long: bool,
}

impl ErrorBody {
    /// Finds the code in what a server sent. OpenAI, vLLM and llama-server have an object `error` with `type` or `code`; TGI and
    /// older vLLM have such fields at the top.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let places =
            [&body["error"]["type"], &body["error"]["code"], &body["error_type"], &body["type"], &body["code"]];
        let codes = || places.into_iter().filter_map(Value::as_str).filter(|text| is_code(text));
        let messages = [&body["error"]["message"], &body["message"]];
        let says_so = messages.into_iter().filter_map(Value::as_str).any(|text| text.contains(TOO_LONG_WORDS));
        let status = places.into_iter().find_map(Value::as_u64).and_then(|number| u16::try_from(number).ok());
        Self {
            code: codes().next().map(ToOwned::to_owned),
            status,
            is_too_long: says_so || codes().any(|code| TOO_LONG.contains(&code)),
        }
    }
}

impl std::fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.code.as_ref().map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_CODE
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> RemoteFailure {
        RemoteFailure::Status { status, code: ErrorBody::default(), retry_after: None }
    }

    #[test]
    fn overload_and_outage_may_pass_and_a_refusal_does_not() {
        assert!([429, 502, 503, 504].into_iter().all(|number| status(number).may_pass()));
        assert!(![400, 401, 404, 422, 500].into_iter().any(|number| status(number).may_pass()));
        assert!(RemoteFailure::Connect("refused".into()).may_pass());
        assert!(!RemoteFailure::NoFirstToken(Duration::from_secs(1)).may_pass());
    }

    #[test]
    fn a_server_that_refuses_one_request_is_well() {
        assert!(![400, 401, 404, 413, 422].into_iter().any(|number| status(number).is_outage()));
        assert!([429, 500, 503].into_iter().all(|number| status(number).is_outage()));
        assert!(RemoteFailure::Unfinished.is_outage());
    }

    #[test]
    fn what_a_server_refuses_is_told_as_such_and_what_it_cannot_do_is_not() {
        let refused = |status, body: &str| {
            RemoteFailure::Status { status, code: ErrorBody::read(body.as_bytes()), retry_after: None }.refusal()
        };
        let bad = r#"{"error":{"message":"no such token: my question","type":"BadRequestError","code":400}}"#;
        let rejected = EngineError::Rejected("the remote server refuses the request (BadRequestError)".into());
        assert_eq!([400, 422].map(|status| refused(status, bad)), [Some(rejected.clone()), Some(rejected)]);
        assert!(matches!(refused(413, "<html>"), Some(EngineError::TooLarge(_))));
        assert!([401, 403, 404, 429, 500, 503].into_iter().all(|status| refused(status, bad).is_none()));
        assert!(
            RemoteFailure::Unfinished.refusal().is_none() && RemoteFailure::Connect("x".into()).refusal().is_none()
        );
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_known_by_each_server_s_word_for_it() {
        let bodies = [
            r#"{"error":{"code":400,"message":"request (900 tokens) exceeds the available context size (512 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":900,"n_ctx":512}}"#,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 512 tokens.","type":"BadRequestError","code":400}"#,
        ];
        for body in bodies {
            let read = ErrorBody::read(body.as_bytes());
            let failure = RemoteFailure::Status { status: 400, code: read, retry_after: None };
            assert!(matches!(failure.refusal(), Some(EngineError::TooLarge(_))), "{body}");
        }
        let streamed = RemoteFailure::Reported(ErrorBody::read(bodies[0].as_bytes()));
        assert!(matches!(streamed.refusal(), Some(EngineError::TooLarge(_))) && !streamed.is_outage());
        let broken = r#"{"error":{"message":"m","type":"server_error","code":500}}"#;
        let broken = RemoteFailure::Reported(ErrorBody::read(broken.as_bytes()));
        assert!(broken.refusal().is_none() && broken.is_outage());
    }

    #[test]
    fn codes_of_all_servers_are_found() {
        let bodies = [
            r#"{"error":{"message":"m","type":"unavailable_error","code":503}}"#,
            r#"{"error":{"message":"m","type":null,"code":"model_not_found"}}"#,
            r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
            r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
        ];
        let codes = bodies.map(|body| ErrorBody::read(body.as_bytes()).to_string());
        assert_eq!(codes, [" (unavailable_error)", " (model_not_found)", " (BadRequestError)", " (overloaded)"]);
    }

    #[test]
    fn sentences_and_pages_are_no_codes() {
        for body in [r#"{"error":{"type":"your question, what is a heap"}}"#, "<html>", "[]", "null", r#"{"type":""}"#]
        {
            assert_eq!(ErrorBody::read(body.as_bytes()), ErrorBody::default(), "{body}");
        }
    }
}
