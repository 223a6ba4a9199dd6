//! REST: one question, one search, the figures. With `Accept: text/event-stream` a question streams its events.

use std::time::Duration;

use actix_web::http::header::{Accept, Header as _};
use actix_web::{HttpRequest, HttpResponse, web};
use mentor_actors::cancel::CancelToken;
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::{ErrorCode, TurnError, TurnEvent, TurnId};
use mentor_actors::turn::SearchLimits;
use mentor_actors::turn_log::Cursor;
use serde_json::json;

use super::connection::Connection;
use super::entrance::{self, LetIn};
use super::wire::{self, AskBody, SearchBody};
use super::{ApiError, Doors, body, health, owner, sse};
use crate::guard::{Charge, Client};

/// `POST /api/chat`.
pub async fn chat(
    request: HttpRequest,
    client: Client,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let streams = wants_events(&request);
    let asked: AskBody = body::json(payload).await?;
    let after = sse::last_event_id(&request)?;
    if after.is_some() && (asked.turn_id.is_none() || asked.conversation_id.is_none()) {
        let message = "Last-Event-ID goes with the turn_id and the conversation_id of the question that is resumed";
        return Err(TurnError::new(ErrorCode::InvalidRequest, message).into());
    }
    let conversation_id = body::conversation_id(asked.conversation_id.as_deref())?;
    // A caller without a stream can't come back for its answer, so there is nothing to keep a turn for once it left.
    let abandon_after = if streams { doors.abandon_after } else { Duration::ZERO };
    let turn = body::turn_request(asked, doors.limits, abandon_after)?;
    let turn_id = turn.turn_id.clone();
    let LetIn { turn, mut charge, admitted } =
        entrance::let_in(&doors, &client, &conversation_id, turn, after.is_some())?;
    let started = async {
        let conversation = doors.open(conversation_id, owner(&request)).await?;
        entrance::start(&conversation.actor, turn, admitted).await.unwrap_or_else(|_| Err(conversation_gone()))
    };
    let cursor = started.await.inspect_err(|_| charge.settle(0))?;
    if cursor.is_again() {
        // Its answer was counted when it was asked for.
        charge.settle(0);
    }
    let connection = request.conn_data::<Connection>().copied();
    if streams {
        return Ok(sse::response(sse::events_of_turn(cursor, turn_id, after.unwrap_or(0), connection, charge)));
    }
    tokio::select! {
        answer = answer(cursor, &turn_id, charge) => answer,
        // A caller that left drops the cursor here, and a turn that nobody watches is cancelled.
        () = Connection::left(connection) => Err(caller_left().into()),
    }
}

async fn answer(mut cursor: Cursor, turn_id: &TurnId, mut charge: Charge) -> Result<HttpResponse, ApiError> {
    loop {
        let event = cursor.next_of(turn_id).await.map_err(|_| lagged())?;
        if let Some(tokens) = event.event.answer_tokens() {
            charge.settle(tokens);
        }
        match event.event {
            TurnEvent::Completed(done) => return Ok(HttpResponse::Ok().json(wire::completion_json(turn_id, &done))),
            TurnEvent::Failed(error) => return Err(error.into()),
            TurnEvent::Workflow { .. } | TurnEvent::Sources(_) | TurnEvent::Token(_) | TurnEvent::Cited(_) => {}
        }
    }
}

pub(super) fn wants_events(request: &HttpRequest) -> bool {
    Accept::parse(request).is_ok_and(|accept| accept.iter().any(|item| item.item.essence_str() == "text/event-stream"))
}

pub(super) fn lagged() -> TurnError {
    TurnError::new(ErrorCode::Internal, "events of this turn were lost, ask again")
}

/// Nobody reads it.
pub(super) fn caller_left() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the caller has left")
}

fn conversation_gone() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the conversation is not there, try again")
        .retry_after(Duration::from_secs(1))
}

/// `POST /api/search`: the passages alone.
pub async fn search(client: Client, payload: web::Payload, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let asked: SearchBody = body::json(payload).await?;
    body::check_message(&asked.query, doors.limits.message_chars)?;
    body::check_top_k(asked.top_k)?;
    let previous: Vec<&str> =
        asked.history.iter().filter(|message| message.role == "user").map(|message| message.content.as_str()).collect();
    client.charge(&asked.query, 0)?;
    let limits = SearchLimits { top_k: asked.top_k, documents: asked.documents };
    let deadline = Deadline::after(doors.time_limit);
    let found = doors.services.retrieve(&asked.query, &previous, &limits, deadline, &CancelToken::default()).await?;
    Ok(HttpResponse::Ok().json(json!({"query": found.question, "sources": wire::sources_json(&found.passages)})))
}

/// `GET /api/stats`.
pub async fn stats(doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let corpus = health::in_time(doors.store.stats()).await.map_err(unreadable)?;
    Ok(HttpResponse::Ok().json(wire::stats(
        &corpus,
        &doors.models,
        doors.metrics.conversations_now(),
        doors.serve_files,
    )))
}

/// The error of a store that fails; why is for the log.
pub(super) fn unreadable(error: impl std::fmt::Display) -> TurnError {
    tracing::error!(%error, "the store cannot be read");
    TurnError::new(ErrorCode::Unavailable, "the dataset cannot be read")
}
