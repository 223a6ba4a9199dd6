//! `POST /v1/chat/completions`: one turn, whole or streamed. A caller that leaves ends it.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream, StreamExt as _};
use mentor_actors::domain::{Completion, ErrorCode, TurnError, TurnEvent, TurnId, WorkflowNode};
use mentor_actors::stateless::StatelessTurn;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{ChatBody, ChatQuestion};
use super::wire::Envelope;
use super::{MAX_BODY_BYTES, models};
use crate::http::connection::Connection;
use crate::http::{Doors, body};

/// A comment goes out when nothing else did for that long, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An answer on its way to one caller.
struct Reply {
    turn: StatelessTurn,
    turn_id: TurnId,
    envelope: Envelope,
    caller: Option<Connection>,
}

/// `POST /v1/chat/completions`.
pub async fn complete(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Refusal> {
    let asked: ChatBody = body::json_up_to(MAX_BODY_BYTES, payload).await?;
    models::check(&asked.model, &doors.models.generator)?;
    let ChatQuestion { history, turn, streams, include_usage } = asked.question(doors.limits)?;
    let turn_id = turn.turn_id.clone();
    let reply = Reply {
        envelope: Envelope::new(&turn_id, &doors.models.generator, include_usage),
        turn: StatelessTurn::start(&doors.services, &doors.admission, history, turn)?,
        turn_id,
        caller: request.conn_data::<Connection>().copied(),
    };
    if streams { reply.stream().await } else { reply.whole().await }
}

impl Reply {
    async fn whole(mut self) -> Result<HttpResponse, Refusal> {
        loop {
            if let TurnEvent::Completed(done) = self.next().await? {
                return Ok(HttpResponse::Ok().json(self.envelope.completion(&self.turn_id, &done)));
            }
        }
    }

    /// What fails before the generator has taken the question is an error of the request, later one in the stream.
    async fn stream(mut self) -> Result<HttpResponse, Refusal> {
        let first = loop {
            match self.next().await? {
                event @ (TurnEvent::Token(_) | TurnEvent::Completed(_)) => break event,
                event @ TurnEvent::Workflow { node: WorkflowNode::Queued | WorkflowNode::Generate, .. } => break event,
                _ => {}
            }
        };
        let begin = data(&self.envelope.chunk(&json!({"role": "assistant", "content": ""}), None));
        let parts = stream::once(async { begin }).chain(self.parts(first)).map(Ok::<_, actix_web::Error>);
        Ok(HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::CONTENT_ENCODING, "identity"))
            .streaming(parts))
    }

    /// The next event of the turn that is not its failure.
    async fn next(&mut self) -> Result<TurnEvent, Refusal> {
        let event = tokio::select! {
            event = self.turn.next() => event,
            () = left(self.caller) => return Err(TurnError::new(ErrorCode::Unavailable, "the caller has left").into()),
        };
        match event.map_err(|_| TurnError::new(ErrorCode::Internal, "events of this turn were lost, ask again"))?.event
        {
            TurnEvent::Failed(error) => Err(error.into()),
            event => Ok(event),
        }
    }

    /// From an event that was read already to the end.
    fn parts(self, first: TurnEvent) -> impl Stream<Item = web::Bytes> {
        stream::unfold((Some(self), Some(first)), |(reply, read)| async move {
            let (part, rest) = reply?.part(read).await;
            Some((part, (rest, None)))
        })
    }

    /// The next part, and the reply where it goes on; `read` is an event that was read already.
    async fn part(mut self, mut read: Option<TurnEvent>) -> (web::Bytes, Option<Self>) {
        loop {
            let event = match read.take() {
                Some(event) => event,
                None => match tokio::time::timeout(KEEP_ALIVE, self.next()).await {
                    Ok(Ok(event)) => event,
                    Ok(Err(refusal)) => return (data(&refusal.json()), None),
                    Err(_) => return (web::Bytes::from_static(b": still working\n\n"), Some(self)),
                },
            };
            match event {
                TurnEvent::Token(text) => {
                    return (data(&self.envelope.chunk(&json!({"content": text}), None)), Some(self));
                }
                TurnEvent::Completed(done) => return (self.end(&done), None),
                TurnEvent::Workflow { .. } | TurnEvent::Sources(_) | TurnEvent::Cited(_) | TurnEvent::Failed(_) => {}
            }
        }
    }

    fn end(&self, done: &Completion) -> web::Bytes {
        let mut text: Vec<u8> = self.envelope.last_chunks(&self.turn_id, done).iter().flat_map(data).collect();
        text.extend_from_slice(b"data: [DONE]\n\n");
        text.into()
    }
}

fn data(value: &Value) -> web::Bytes {
    web::Bytes::from(format!("data: {value}\n\n"))
}

/// Ends when the caller has left; never where that cannot be seen.
async fn left(caller: Option<Connection>) {
    match caller {
        Some(connection) => connection.closed().await,
        None => std::future::pending().await,
    }
}
