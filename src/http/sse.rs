//! Server-sent events: a turn or a whole conversation as a stream over HTTP, resumable by `Last-Event-ID`.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::{ErrorCode, NumberedEvent, TurnError, TurnId};
use mentor_actors::turn_log::{Cursor, Lagged};

use super::connection::Connection;
use super::rest::lagged;
use super::wire;
use crate::guard::Charge;

/// A comment goes out when nothing else did for that long, so that proxies keep the connection.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The comment.
pub const COMMENT: &[u8] = b": still working\n\n";

/// The number of the last event that a client saw, where it says so.
///
/// # Errors
/// `invalid_request` when that is no number.
pub fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, TurnError> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        let message = format!("Last-Event-ID is {value:?}, expected the number of an event");
        TurnError::new(ErrorCode::InvalidRequest, message)
    })
}

/// A response that streams.
pub fn response(frames: impl Stream<Item = web::Bytes> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .streaming(frames.map(Ok::<_, actix_web::Error>))
}

/// The turn's events after that number, up to its end, which settles the charge. The cursor goes when the client does.
pub fn events_of_turn(
    cursor: Cursor,
    turn_id: TurnId,
    after: u64,
    connection: Option<Connection>,
    charge: Charge,
) -> impl Stream<Item = web::Bytes> {
    stream::unfold(Some((cursor, turn_id, charge)), move |state| async move {
        let (mut cursor, turn_id, mut charge) = state?;
        let next = async {
            loop {
                match cursor.next_of(&turn_id).await {
                    Ok(event) if event.seq <= after && !event.event.is_terminal() => {}
                    other => return other,
                }
            }
        };
        let heard = hear(next, connection).await?;
        Some(match heard {
            None => (web::Bytes::from_static(COMMENT), Some((cursor, turn_id, charge))),
            Some(Err(Lagged)) => (frame(None, &wire::error_event(&lagged())), None),
            Some(Ok(event)) => {
                let end = event.event.answer_tokens();
                if let Some(tokens) = end {
                    charge.settle(tokens);
                }
                // A client that has seen the end gets an empty stream.
                let bytes = if event.seq <= after { web::Bytes::new() } else { numbered(&event) };
                (bytes, end.is_none().then_some((cursor, turn_id, charge)))
            }
        })
    })
}

/// The conversation's events, live, until the client leaves or the server stops.
pub fn events_of_conversation(
    cursor: Cursor,
    connection: Option<Connection>,
    shutdown: CancelToken,
) -> impl Stream<Item = web::Bytes> {
    stream::unfold(Some(cursor), move |state| {
        let shutdown = shutdown.clone();
        async move {
            let mut cursor = state?;
            let heard = tokio::select! {
                biased;
                heard = hear(cursor.next(), connection) => heard?,
                // What was written while this was decided is still to be read.
                () = shutdown.cancelled() => Some(cursor.try_next().transpose()?),
            };
            Some(match heard {
                None => (web::Bytes::from_static(COMMENT), Some(cursor)),
                Some(Err(Lagged)) => (frame(None, &wire::error_event(&wire::events_gone())), None),
                Some(Ok(event)) => (numbered(&event), Some(cursor)),
            })
        }
    })
}

/// What comes next: an event, `Some(None)` for a comment, or `None` when the client has left.
async fn hear<T>(next: impl Future<Output = T>, connection: Option<Connection>) -> Option<Option<T>> {
    tokio::select! {
        biased;
        heard = tokio::time::timeout(KEEP_ALIVE, next) => Some(heard.ok()),
        () = Connection::left(connection) => None,
    }
}

fn numbered(event: &NumberedEvent) -> web::Bytes {
    frame(Some(event.seq), &wire::event(event))
}

/// One event.
pub fn frame(seq: Option<u64>, event: &serde_json::Value) -> web::Bytes {
    let id = seq.map_or_else(String::new, |seq| format!("id: {seq}\n"));
    web::Bytes::from(format!("{id}data: {event}\n\n"))
}
