//! The one place where error codes meet HTTP statuses.

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

/// The status of each code.
#[must_use]
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::TurnInProgress => StatusCode::CONFLICT,
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
        response.insert_header((RETRY_AFTER, wait.as_secs().max(1)));
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
    fn every_code_has_the_status_that_the_protocol_promises() {
        let table: Vec<(&str, u16)> =
            ErrorCode::ALL.iter().map(|code| (code.as_str(), status(*code).as_u16())).collect();
        let promised = [
            ("invalid_request", 400),
            ("unauthorized", 401),
            ("forbidden", 403),
            ("not_found", 404),
            ("turn_in_progress", 409),
            ("too_large", 413),
            ("overloaded", 429),
            ("internal", 500),
            ("unavailable", 503),
            ("deadline_exceeded", 504),
        ];
        assert_eq!(table, promised);
    }
}
