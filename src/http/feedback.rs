//! What students think of answers.

use actix_web::{HttpRequest, HttpResponse, web};
use mentor_actors::domain::{ErrorCode, Feedback, TurnError, TurnId};
use mentor_actors::queue::Lane;
use serde::Deserialize;

use super::body::invalid;
use super::{ApiError, Doors, body, owner};

/// Body of `POST /api/feedback`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct FeedbackBody {
    interaction_id: String,
    rating: i64,
    feedback_text: Option<String>,
}

/// `POST /api/feedback`, and the predecessor's `POST /api/analytics/feedback`.
pub async fn rate(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let given: FeedbackBody = body::json(payload).await?;
    let turn = TurnId::parse(&given.interaction_id).map_err(|error| invalid(format!("interaction_id: {error}")))?;
    let rating = u8::try_from(given.rating).ok().filter(|rating| (1..=5).contains(rating));
    let rating = rating.ok_or_else(|| invalid(format!("rating is {}, allowed are 1 to 5", given.rating)))?;
    let text = given.feedback_text.filter(|text| !text.trim().is_empty());
    if let Some(text) = &text {
        body::check_message(text, doors.limits.message_chars)?;
    }
    let missing = TurnError::new(ErrorCode::NotFound, format!("there is no interaction {turn}"));
    let (owner, feedback) = (owner(&request), Feedback { rating, text });
    let noted = doors.storage.run(Lane::Bulk, move |store| store.rate(owner.as_ref(), &turn, &feedback)).await?;
    if noted { Ok(HttpResponse::NoContent().finish()) } else { Err(missing.into()) }
}
