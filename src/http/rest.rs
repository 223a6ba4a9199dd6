//! REST: one question, one search, the figures. With `Accept: text/event-stream` a question streams its events.

use std::time::Duration;

use actix_web::http::header::{self, Accept, Header as _};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversation::StartTurn;
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::{CorpusStats, ErrorCode, TurnError, TurnEvent, TurnId};
use mentor_actors::turn::SearchLimits;
use mentor_actors::turn_log::Cursor;
use serde_json::json;

use super::connection::Connection;
use super::wire::{self, AskBody, SearchBody};
use super::{ApiError, Doors, body};

/// A comment goes out when nothing else did for that long, so that proxies keep the connection.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `POST /api/chat`.
pub async fn chat(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let streams = wants_events(&request);
    let asked: AskBody = body::json(payload).await?;
    let conversation_id = body::conversation_id(asked.conversation_id.as_deref())?;
    // A caller without a stream can't come back for its answer, so there is nothing to keep a turn for once it left.
    let abandon_after = if streams { doors.abandon_after } else { Duration::ZERO };
    let turn = body::turn_request(asked, doors.limits, abandon_after)?;
    let turn_id = turn.turn_id.clone();
    let conversation = doors.open(conversation_id).await?;
    let cursor = conversation.actor.send(StartTurn(turn)).await.unwrap_or_else(|_| Err(conversation_gone()))?;
    if streams {
        return Ok(event_response(server_sent_events(cursor, turn_id)));
    }
    match request.conn_data::<Connection>().copied() {
        None => answer(cursor, &turn_id).await,
        // A caller that left drops the cursor here, and a turn that nobody watches is cancelled.
        Some(connection) => tokio::select! {
            answer = answer(cursor, &turn_id) => answer,
            () = connection.closed() => Err(TurnError::new(ErrorCode::Unavailable, "the caller has left").into()),
        },
    }
}

async fn answer(mut cursor: Cursor, turn_id: &TurnId) -> Result<HttpResponse, ApiError> {
    loop {
        let event = cursor.next_of(turn_id).await.map_err(|_| lagged())?;
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

/// A response of server-sent events.
pub(super) fn event_response(events: impl Stream<Item = web::Bytes> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .streaming(events.map(Ok::<_, actix_web::Error>))
}

/// The turn's events up to its end, with comments in between when it is quiet.
fn server_sent_events(cursor: Cursor, turn_id: TurnId) -> impl Stream<Item = web::Bytes> {
    stream::unfold(Some((cursor, turn_id)), |state| async {
        let (mut cursor, turn_id) = state?;
        match tokio::time::timeout(KEEP_ALIVE, cursor.next_of(&turn_id)).await {
            Err(_) => Some((web::Bytes::from_static(b": still working\n\n"), Some((cursor, turn_id)))),
            Ok(Err(_)) => Some((frame(None, &wire::error_event(&lagged())), None)),
            Ok(Ok(event)) => {
                let text = frame(Some(event.seq), &wire::event(&event));
                let goes_on = !event.event.is_terminal();
                Some((text, goes_on.then_some((cursor, turn_id))))
            }
        }
    })
}

/// One event as server-sent.
pub(super) fn frame(seq: Option<u64>, event: &serde_json::Value) -> web::Bytes {
    let id = seq.map_or_else(String::new, |seq| format!("id: {seq}\n"));
    web::Bytes::from(format!("{id}data: {event}\n\n"))
}

fn lagged() -> TurnError {
    TurnError::new(ErrorCode::Internal, "events of this turn were lost, ask again")
}

fn conversation_gone() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the conversation is not there, try again")
        .retry_after(Duration::from_secs(1))
}

/// `POST /api/search`: the passages alone.
pub async fn search(payload: web::Payload, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let asked: SearchBody = body::json(payload).await?;
    body::check_message(&asked.query, doors.limits.message_chars)?;
    body::check_top_k(asked.top_k)?;
    let previous: Vec<&str> =
        asked.history.iter().filter(|message| message.role == "user").map(|message| message.content.as_str()).collect();
    let limits = SearchLimits { top_k: asked.top_k, documents: asked.documents };
    let deadline = Deadline::after(doors.time_limit);
    let found = doors.services.retrieve(&asked.query, &previous, &limits, deadline, &CancelToken::default()).await?;
    Ok(HttpResponse::Ok().json(json!({"query": found.question, "sources": wire::sources_json(&found.passages)})))
}

/// `GET /api/stats`.
pub async fn stats(doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let corpus: CorpusStats = doors.store.stats().await.map_err(|error| {
        tracing::error!(%error, "the store cannot be read");
        TurnError::new(ErrorCode::Unavailable, "the dataset cannot be read")
    })?;
    Ok(HttpResponse::Ok().json(wire::stats(&corpus, &doors.models, doors.metrics.conversations_now())))
}
