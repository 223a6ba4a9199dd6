//! `POST /v1/chat/completions`: one turn, whole or streamed. A caller that leaves ends it.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream, StreamExt as _};
use mentor_actors::domain::{Completion, TurnEvent, TurnId, WorkflowNode};
use mentor_actors::stateless::StatelessTurn;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{ChatBody, ChatQuestion};
use super::wire::Envelope;
use super::{MAX_BODY_BYTES, models};
use crate::guard::{Charge, Client};
use crate::http::connection::Connection;
use crate::http::rest::{caller_left, lagged};
use crate::http::{Doors, body, entrance, sse};

/// An answer on its way to one caller.
struct Reply {
    turn: StatelessTurn,
    turn_id: TurnId,
    envelope: Envelope,
    caller: Option<Connection>,
    charge: Charge,
}

/// `POST /v1/chat/completions`.
pub async fn complete(
    request: HttpRequest,
    client: Client,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Refusal> {
    let asked: ChatBody = body::json_up_to(MAX_BODY_BYTES, payload).await?;
    models::check(&asked.model, &doors.models.generator)?;
    let ChatQuestion { history, turn, streams, include_usage } = asked.question(doors.limits)?;
    let turn_id = turn.turn_id.clone();
    let (turn, mut charge) = entrance::count(&doors, &client, turn)?;
    let admitted = entrance::place(&doors, &turn).inspect_err(|_| charge.settle(0))?;
    let reply = Reply {
        envelope: Envelope::new(&turn_id, &doors.models.generator, include_usage),
        turn: StatelessTurn::start(&doors.services, admitted, history, turn),
        turn_id,
        caller: request.conn_data::<Connection>().copied(),
        charge,
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
        Ok(sse::response(stream::once(async { begin }).chain(self.parts(first))))
    }

    /// The next event of the turn that is not its failure. The end settles the charge.
    async fn next(&mut self) -> Result<TurnEvent, Refusal> {
        let event = tokio::select! {
            event = self.turn.next() => event,
            () = Connection::left(self.caller) => return Err(caller_left().into()),
        };
        let event = event.map_err(|_| lagged())?.event;
        if let Some(tokens) = event.answer_tokens() {
            self.charge.settle(tokens);
        }
        match event {
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
                None => match tokio::time::timeout(sse::KEEP_ALIVE, self.next()).await {
                    Ok(Ok(event)) => event,
                    Ok(Err(refusal)) => return (data(&refusal.json()), None),
                    Err(_) => return (web::Bytes::from_static(sse::COMMENT), Some(self)),
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
    sse::frame(None, value)
}
