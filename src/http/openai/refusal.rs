//! Errors in OpenAI's shape. The statuses are those of every door, but for a request with wrong fields: 400 here, not 422.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use mentor_actors::domain::{ErrorCode, TurnError};
use serde_json::{Value, json};

use crate::http::ApiError;
use crate::http::errors::{response, status};

/// Why a request is not answered.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    /// Stable, for programs.
    code: &'static str,
    error: TurnError,
    /// The field that is wrong, where it is one.
    param: Option<String>,
}

impl Refusal {
    /// A field that holds what it may not.
    pub fn field(name: impl Into<String>, message: impl Into<String>) -> Self {
        let error = TurnError::new(ErrorCode::InvalidRequest, message);
        Self { param: Some(name.into()), ..Self::from(error) }
    }

    /// A model that is not served here.
    pub fn unknown_model(name: &str) -> Self {
        /// No need to repeat a long name to who sent it.
        const SHOWN_CHARS: usize = 80;
        let shown: String = name.chars().take(SHOWN_CHARS).collect();
        let message = format!("there is no model \"{shown}\" here; GET /v1/models lists those there are");
        let error = TurnError::new(ErrorCode::NotFound, message);
        Self { code: "model_not_found", param: Some("model".into()), ..Self::from(error) }
    }

    /// The same refusal, of that field.
    #[must_use]
    pub fn of(mut self, field: impl Into<String>) -> Self {
        self.param = Some(field.into());
        self
    }

    /// The body of the response, or the data of a stream's last event.
    pub fn json(&self) -> Value {
        json!({"error": {"message": self.error.message, "type": self.kind(), "param": self.param, "code": self.code}})
    }

    /// OpenAI's class of errors with that status.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<TurnError> for Refusal {
    fn from(error: TurnError) -> Self {
        Self { status: status(error.code), code: error.code.as_str(), error, param: None }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let (error, status) = error.into_parts();
        let status = if status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { status };
        Self { status, ..Self::from(error) }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        response(self.status, &self.error, &self.json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
    use std::time::Duration;

    #[test]
    fn each_kind_of_error_has_openais_type_and_our_code() {
        let full: Refusal = TurnError::overloaded("the tutor", Duration::from_secs(3)).into();
        assert_eq!((full.json()["error"]["type"].as_str(), full.status.as_u16()), (Some("rate_limit_error"), 429));
        assert_eq!(full.error_response().headers().get(RETRY_AFTER).unwrap(), "3");
        let late: Refusal = TurnError::deadline("at the end").into();
        assert_eq!(late.json()["error"]["type"], "server_error");
        let wrong: Refusal = ApiError::unprocessable("that is no number").into();
        assert_eq!((wrong.status.as_u16(), wrong.json()["error"]["code"].as_str()), (400, Some("invalid_request")));
        let stranger: Refusal = TurnError::new(ErrorCode::Unauthorized, "a valid API key is needed").into();
        assert_eq!(stranger.error_response().headers().get(WWW_AUTHENTICATE).unwrap(), "Bearer");
        let long: Refusal = ApiError::large_head(TurnError::new(ErrorCode::TooLarge, "65 fields")).into();
        assert_eq!(long.status.as_u16(), 431);
        let unknown = Refusal::unknown_model(&"x".repeat(1_000));
        assert_eq!((unknown.status.as_u16(), unknown.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
        assert!(unknown.to_string().len() < 200);
    }
}
