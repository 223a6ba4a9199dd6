//! `mentor ask`: one question in the terminal, streaming, without a server.

use std::io::Write as _;
use std::time::Duration;

use mentor_actors::conversation::StartTurn;
use mentor_actors::conversations::Open;
use mentor_actors::domain::{AnswerOptions, Completion, ConversationId, TurnEvent, TurnId, TurnRequest};
use mentor_actors::prompt::place_of;
use mentor_actors::turn_log::Cursor;

use super::silent;
use crate::cli::AskArgs;
use crate::config::Config;
use crate::engines::{self, ConversationKeeper, Tutor};
use crate::http::completion_json;

/// # Errors
/// When the models or the store cannot be opened, or the turn fails.
pub fn ask(config: &Config, arguments: AskArgs) -> anyhow::Result<u8> {
    let telemetry = silent();
    let tutor = engines::for_answers(config, &telemetry)?;
    let keeper = ConversationKeeper::in_memory(&telemetry)?;
    let json = arguments.json;
    let result = actix::System::new().block_on(answer(&tutor, &keeper, config, arguments));
    tutor.stop();
    keeper.stop();
    let (turn_id, done) = result?;
    if json {
        println!("{}", completion_json(&turn_id, &done))
    } else {
        print_sources(&done)
    }
    Ok(0)
}

async fn answer(
    tutor: &Tutor,
    keeper: &ConversationKeeper,
    config: &Config,
    arguments: AskArgs,
) -> anyhow::Result<(TurnId, Completion)> {
    let actors = tutor.start_actors(config, &keeper.storage, &silent());
    let conversation = actors.conversations.send(Open { id: ConversationId::generate(), owner: None }).await??;
    let turn_id = TurnId::generate();
    let request = TurnRequest {
        turn_id: turn_id.clone(),
        client: None,
        message: arguments.question,
        options: AnswerOptions { documents: arguments.documents, ..AnswerOptions::default() },
        abandon_after: Duration::ZERO,
    };
    let cursor = conversation.actor.send(StartTurn(request)).await??;
    Ok((turn_id, stream(cursor, arguments.json).await?))
}

/// Prints the answer while it comes; nothing when `quiet`.
async fn stream(mut cursor: Cursor, quiet: bool) -> anyhow::Result<Completion> {
    loop {
        let event = cursor.next().await.map_err(|_| anyhow::anyhow!("events of this turn were lost, ask again"))?;
        match event.event {
            TurnEvent::Token(text) if !quiet => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            TurnEvent::Workflow { message, .. } if !quiet => eprintln!("{message}..."),
            TurnEvent::Completed(done) => return Ok(*done),
            TurnEvent::Failed(error) => return Err(error.into()),
            TurnEvent::Workflow { .. } | TurnEvent::Token(_) | TurnEvent::Sources(_) | TurnEvent::Cited(_) => {}
        }
    }
}

fn print_sources(done: &Completion) {
    println!();
    for (index, scored) in done.sources.iter().enumerate() {
        let number = index + 1;
        let cited = if done.citations.iter().any(|citation| citation.source == number) { " *" } else { "" };
        println!("[{number}] {} ({:.2}){cited}", place_of(&scored.passage), scored.score);
    }
    println!(
        "{} ({} tokens, {:.1} s)",
        done.grounding.as_str(),
        done.usage.completion_tokens,
        done.timings.total.as_secs_f64()
    );
}
