//! The one place where error codes meet HTTP statuses.

use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use mentor_actors::domain::{ErrorCode, TurnError};
use serde_json::{Value, json};

use super::wire::error_json;

/// An error on its way to an HTTP client.
#[derive(Debug)]
pub struct ApiError {
    error: TurnError,
    status: StatusCode,
}

impl ApiError {
    /// A request that is well-formed JSON but asks for something impossible.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        let error = TurnError::new(ErrorCode::InvalidRequest, message);
        Self { error, status: StatusCode::UNPROCESSABLE_ENTITY }
    }

    /// The error and its status, for a door that writes errors in another shape.
    pub fn into_parts(self) -> (TurnError, StatusCode) {
        (self.error, self.status)
    }

    /// A request whose head alone is too large.
    pub fn large_head(error: TurnError) -> Self {
        Self { error, status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        Self { status: status(error.code), error }
    }
}

/// What `Retry-After` says: whole seconds, at least one and never too few.
fn retry_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

/// The status of each code.
#[must_use]
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::TurnInProgress | ErrorCode::DocumentChanged => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let body = json!({"error": error_json(&self.error), "detail": self.error.message});
        response(self.status, &self.error, &body)
    }
}

/// An error in the shape of `body`, with the header fields that go with it.
pub fn response(status: StatusCode, error: &TurnError, body: &Value) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if let Some(wait) = error.retry_after {
        response.insert_header((RETRY_AFTER, retry_seconds(wait)));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((WWW_AUTHENTICATE, "Bearer"));
    }
    response.json(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_come_back_too_early() {
        let seconds = [0, 1, 1_000, 1_001].map(|ms| retry_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [1, 1, 1, 2]);
    }

    #[test]
    fn every_code_has_the_status_that_the_protocol_promises() {
        let table: Vec<(&str, u16)> =
            ErrorCode::ALL.iter().map(|code| (code.as_str(), status(*code).as_u16())).collect();
        let promised = [
            ("invalid_request", 400),
            ("unauthorized", 401),
            ("forbidden", 403),
            ("not_found", 404),
            ("turn_in_progress", 409),
            ("document_changed", 409),
            ("too_large", 413),
            ("overloaded", 429),
            ("internal", 500),
            ("unavailable", 503),
            ("deadline_exceeded", 504),
        ];
        assert_eq!(table, promised);
    }
}
