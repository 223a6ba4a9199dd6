//! What is kept of conversations: the list, one as a tree of turns, its events as a stream, and forgetting it.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, web};
use mentor_actors::conversation::no_conversation;
use mentor_actors::conversations::{Conversation, Delete};
use mentor_actors::domain::{
    ConversationId, ConversationSummary, ErrorCode, ListPlace, Owner, StoredTurn, TurnError, TurnEvent,
};
use mentor_actors::queue::Lane;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::invalid;
use super::connection::Connection;
use super::{ApiError, Doors, body, conversations_gone, owner, sse, wire};

/// Conversations and turns in one answer, where the client does not say, and at most.
const PAGE: usize = 50;
pub(super) const LARGEST_PAGE: usize = 200;

/// Longest title in the list, in characters: the beginning of the first question.
const TITLE_CHARS: usize = 120;

/// Everything below `/api/conversations`.
pub fn routes(config: &mut web::ServiceConfig) {
    let refuse = |error: actix_web::error::QueryPayloadError, _: &HttpRequest| {
        ApiError::from(invalid(format!("the address cannot be understood: {error}"))).into()
    };
    config
        .app_data(web::QueryConfig::default().error_handler(refuse))
        .route("/api/conversations", web::get().to(list))
        .route("/api/conversations/{conversation_id}", web::get().to(tree))
        .route("/api/conversations/{conversation_id}", web::delete().to(delete))
        .route("/api/conversations/{conversation_id}/events", web::get().to(events));
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// `GET /api/conversations`: the one that changed last first.
async fn list(
    request: HttpRequest,
    query: web::Query<ListQuery>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let owner = owner(&request);
    if owner.is_none() && !doors.list_conversations {
        let message = "conversations are not listed here: ask for one by its id";
        return Err(TurnError::new(ErrorCode::NotFound, message).into());
    }
    let limit = page_size(query.limit)?;
    let after = query.after.as_deref().map(place).transpose()?;
    let page = doors.storage.run(Lane::Bulk, move |store| store.list(owner.as_ref(), after, limit)).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|last| place_text(last.place));
    let conversations: Value = page.iter().map(summary).collect();
    Ok(HttpResponse::Ok().json(json!({"conversations": conversations, "next": next})))
}

fn summary(one: &ConversationSummary) -> Value {
    json!({
        "conversation_id": one.id.as_str(),
        "title": one.title.chars().take(TITLE_CHARS).collect::<String>(),
        "turns": one.turns,
        "created_ms": milliseconds(one.created_at),
        "changed_ms": milliseconds(one.changed_at),
    })
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn place_text(place: ListPlace) -> String {
    format!("{}-{}", place.changed_ms, place.number)
}

fn place(text: &str) -> Result<ListPlace, TurnError> {
    let parts = text.split_once('-').and_then(|(changed, number)| Some((changed.parse().ok()?, number.parse().ok()?)));
    let (changed_ms, number) = parts.ok_or_else(|| invalid("after is not what a page before called next"))?;
    Ok(ListPlace { changed_ms, number })
}

fn page_size(wanted: Option<usize>) -> Result<usize, TurnError> {
    match wanted.unwrap_or(PAGE) {
        size if (1..=LARGEST_PAGE).contains(&size) => Ok(size),
        size => Err(invalid(format!("limit is {size}, allowed are 1 to {LARGEST_PAGE}"))),
    }
}

#[derive(Debug, Deserialize)]
struct TreeQuery {
    limit: Option<usize>,
    /// Only turns whose first event has a higher number.
    after: Option<u64>,
}

/// `GET /api/conversations/{conversation_id}`: its turns in the order in which they began, each with its parent.
async fn tree(
    request: HttpRequest,
    id: web::Path<String>,
    query: web::Query<TreeQuery>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let id = body::conversation_id(Some(&id))?;
    let (after, limit) = (query.after.unwrap_or(0), page_size(query.limit)?);
    let conversation = open_stored(&doors, &id, owner(&request)).await?;
    let stored = id.clone();
    let turns = doors.storage.run(Lane::Bulk, move |store| store.turns(&stored, after, limit)).await?;
    let next = turns.last().filter(|_| turns.len() == limit).map(|last| last.first_seq);
    Ok(HttpResponse::Ok().json(json!({
        "conversation_id": id.as_str(),
        "last_seq": conversation.state.log.last_seq(),
        "busy": conversation.state.is_busy(),
        "turns": turns.iter().map(turn).collect::<Value>(),
        "next": next,
    })))
}

/// Wakes a conversation that there is, so that a turn that was interrupted has its end.
async fn open_stored(doors: &Doors, id: &ConversationId, owner: Option<Owner>) -> Result<Conversation, TurnError> {
    let stored = id.clone();
    let known = doors.storage.run(Lane::Bulk, move |store| store.conversation(&stored, 0)).await?;
    known.filter(|known| known.owner == owner).ok_or_else(|| no_conversation(id))?;
    doors.open(id.clone(), owner).await
}

fn turn(turn: &StoredTurn) -> Value {
    let (state, complete, error) = match turn.end() {
        Some(TurnEvent::Completed(done)) => ("complete", wire::completion_json(&turn.turn_id, done), Value::Null),
        Some(TurnEvent::Failed(error)) => ("error", Value::Null, wire::error_json(error)),
        _ => ("running", Value::Null, Value::Null),
    };
    let feedback = turn.feedback.as_ref().map(|given| json!({"rating": given.rating, "feedback_text": given.text}));
    json!({
        "turn_id": turn.turn_id.as_str(),
        "parent_id": turn.parent.as_ref().map(|parent| parent.as_str()),
        "question": turn.question,
        "asked_ms": milliseconds(turn.asked_at),
        "first_seq": turn.first_seq,
        "last_seq": turn.last_seq(),
        "state": state,
        "complete": complete,
        "error": error,
        "feedback": feedback,
    })
}

/// `DELETE /api/conversations/{conversation_id}`.
async fn delete(
    request: HttpRequest,
    id: web::Path<String>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let id = body::conversation_id(Some(&id))?;
    let delete = Delete { id, owner: owner(&request) };
    doors.conversations.send(delete).await.unwrap_or_else(|_| Err(conversations_gone()))?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize)]
struct EventsQuery {
    after: Option<u64>,
}

/// `GET /api/conversations/{conversation_id}/events`: what a WebSocket would get, for `EventSource`.
async fn events(
    request: HttpRequest,
    id: web::Path<String>,
    query: web::Query<EventsQuery>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let id = body::conversation_id(Some(&id))?;
    let after = sse::last_event_id(&request)?.or(query.after);
    let conversation = doors.open(id, owner(&request)).await?;
    let last = conversation.state.log.last_seq();
    let after = after.unwrap_or(last);
    if after > last {
        return Err(invalid(format!("cannot resume after {after}: the last event is {last}")).into());
    }
    let connection = request.conn_data::<Connection>().copied();
    let cursor = conversation.state.log.watch(after);
    Ok(sse::response(sse::events_of_conversation(cursor, connection, doors.shutdown.clone())))
}
