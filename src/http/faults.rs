//! `POST /debug/panic/{part}`, which is there with `mentor serve --fault-injection` only, and in no contract.

use actix::MailboxError;
use actix_web::{HttpRequest, HttpResponse, web};
use mentor_actors::domain::{EngineError, ErrorCode, TurnError};
use mentor_actors::fault::Panic;
use mentor_actors::ports::ConversationStore;
use mentor_actors::queue::Lane;
use serde::Deserialize;

use super::{ApiError, Doors, body, owner};
use crate::faults::{Faults, ORDERED, Part};

/// For holders of the scope `admin`.
const PATH: &str = "/debug/panic/{part}";

pub fn routes(config: &mut web::ServiceConfig) {
    config.route(PATH, web::post().to(panic_in));
}

/// Which conversation, where the part is one.
#[derive(Deserialize)]
struct Which {
    conversation_id: Option<String>,
}

async fn panic_in(
    request: HttpRequest,
    name: web::Path<String>,
    which: web::Query<Which>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let unknown = || TurnError::new(ErrorCode::NotFound, format!("there is no part {name} to panic"));
    let (part, faults) = Part::named(&name).zip(doors.faults.clone()).ok_or_else(unknown)?;
    tracing::warn!(part = part.as_str(), "a panic is ordered");
    strike(part, &faults, &doors, &request, which.conversation_id.as_deref()).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn strike(
    part: Part,
    faults: &Faults,
    doors: &Doors,
    request: &HttpRequest,
    conversation: Option<&str>,
) -> Result<(), TurnError> {
    match part {
        Part::Embed | Part::Generate | Part::Search | Part::Turn | Part::Socket => faults.order(part),
        Part::Conversations => {
            let work = |_: &mut dyn ConversationStore| -> Result<(), EngineError> { panic!("{ORDERED}") };
            // An error is what it is for.
            drop(doors.storage.run(Lane::Interactive, work).await);
        }
        Part::Directory => unanswered(doors.conversations.send(Panic).await),
        Part::Conversation => {
            let conversation = doors.open(body::conversation_id(conversation)?, owner(request)).await?;
            unanswered(conversation.actor.send(Panic).await);
        }
        Part::EmbeddingPool => unanswered(doors.services.embedding.send(Panic).await),
        Part::Retriever => unanswered(doors.services.retriever.send(Panic).await),
        Part::Generator => unanswered(doors.services.generator.send(Panic).await),
        Part::Http => panic!("{ORDERED}"),
    }
    Ok(())
}

/// The panic has happened: whoever gets the message cannot answer it.
fn unanswered(_: Result<(), MailboxError>) {}
