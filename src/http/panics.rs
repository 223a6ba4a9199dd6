//! A panic in a handler costs its request: an error with status 500 instead of a connection that is cut.

use std::panic::AssertUnwindSafe;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use futures_util::FutureExt as _;
use mentor_actors::domain::{ErrorCode, TurnError};

use super::{COME_BACK_AFTER, refusal};

/// Answers what panics. What handlers share is behind actors, locks and atomics, none of which a handler leaves half-way.
pub async fn contain(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let path = request.path().to_owned();
    let answered = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        // The panic's own text is on standard error already.
        tracing::error!(path, "a request's handler panicked");
        let error = TurnError::new(ErrorCode::Internal, "the request failed for a fault of the server's, try again");
        Err(refusal(&path, error.retry_after(COME_BACK_AFTER).into()))
    })
}
