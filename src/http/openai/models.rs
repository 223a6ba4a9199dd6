//! `/v1/models`: what is served, under which names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::http::Doors;

/// The name that always means what is served, whichever model that is: it writes where answers are asked for, and embeds where
/// vectors are.
pub const ALIAS: &str = "mentor";

/// Checks that a request's `model` is the one that is served for it.
///
/// # Errors
/// `model_not_found`.
pub fn check(asked: &str, served: &str) -> Result<(), Refusal> {
    if asked == served || asked == ALIAS { Ok(()) } else { Err(Refusal::unknown_model(asked)) }
}

/// `GET /v1/models`.
pub async fn list(doors: web::Data<Doors>) -> HttpResponse {
    let models: Vec<Value> = names(&doors).map(|name| model(name, &doors)).collect();
    HttpResponse::Ok().json(json!({"object": "list", "data": models}))
}

/// `GET /v1/models/{model}`.
pub async fn retrieve(name: web::Path<String>, doors: web::Data<Doors>) -> Result<HttpResponse, Refusal> {
    let found = names(&doors).find(|served| *served == name.as_str()).ok_or_else(|| Refusal::unknown_model(&name))?;
    Ok(HttpResponse::Ok().json(model(found, &doors)))
}

fn names(doors: &Doors) -> impl Iterator<Item = &str> {
    [ALIAS, &doors.models.generator, &doors.models.embedder].into_iter()
}

fn model(name: &str, doors: &Doors) -> Value {
    let up = SystemTime::now() - doors.started.elapsed();
    json!({"id": name, "object": "model", "created": seconds(up), "owned_by": "mentor"})
}

/// Seconds since 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
