//! `mentor eval`: measures retrieval, and answers when asked to, on questions with known places.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix::Actor as _;
use anyhow::Context as _;
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversation::StartTurn;
use mentor_actors::conversations::{Conversation, Open};
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::{AnswerOptions, Completion, ConversationId, TurnEvent, TurnId, TurnRequest};
use mentor_actors::embedding::EmbeddingPoolActor;
use mentor_actors::finder::{Finder, SearchScope};

use super::silent;
use crate::cli::EvalArgs;
use crate::config::Config;
use crate::engines::{self, Actors, ConversationKeeper, Retrieval};
use crate::eval::DEPTH;
use crate::eval::answers::{JudgedAnswer, judge_answer};
use crate::eval::html::page;
use crate::eval::judge::{Outcome, judge};
use crate::eval::questions::{Question, history, read_questions};
use crate::eval::report::{Report, Run};

/// Longest that one question may take to embed and search.
const PATIENCE: Duration = Duration::from_secs(10);

/// # Errors
/// A file of questions that cannot be read, a `--compare` that is no configuration; models or a store that cannot be opened; a
/// question that cannot be searched for or answered.
pub fn eval(config: &Config, arguments: &EvalArgs) -> anyhow::Result<u8> {
    let all = read_questions(&arguments.questions)?;
    // Before anything is measured: a wrong key should cost no waiting.
    let second = match arguments.compare.as_slice() {
        [] => None,
        changes => Some(config.changed(changes).context("--compare")?),
    };
    let first = measure(config, "as configured", &all, arguments)?;
    let name = name_of(&arguments.compare);
    let second = second.map(|second| measure(&second, &name, &all, arguments)).transpose()?;
    let report = Report::new(first, second);
    if let Some(path) = &arguments.html {
        std::fs::write(path, page(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.json {
        println!("{}", report.to_json())
    } else {
        print!("{report}")
    }
    Ok(0)
}

/// The changes as a report names them, without a secret.
fn name_of(changes: &[String]) -> String {
    let shown = changes.iter().map(|change| match change.split_once('=') {
        Some((key, _)) if key.trim() == "llm_api_key" => "llm_api_key=[redacted]",
        _ => change.as_str(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Asks the questions, `--limit` of them, with one configuration.
fn measure(config: &Config, name: &str, all: &[Question], arguments: &EvalArgs) -> anyhow::Result<Run> {
    let asked = &all[..arguments.limit.unwrap_or(all.len()).min(all.len())];
    let (outcomes, answers) = if arguments.answers {
        let tutor = engines::for_answers(config, &silent())?;
        let keeper = ConversationKeeper::in_memory(&silent())?;
        let result = actix::System::new().block_on(async {
            let outcomes = find_all(config, &tutor.retrieval, asked, all).await?;
            let actors = tutor.start_actors(config, &keeper.storage, &silent());
            Ok((outcomes, answer_all(&actors, asked, all).await?))
        });
        tutor.stop();
        keeper.stop();
        result
    } else {
        let retrieval = engines::for_retrieval(config, &silent())?;
        let outcomes = actix::System::new().block_on(find_all(config, &retrieval, asked, all));
        retrieval.stop();
        outcomes.map(|outcomes| (outcomes, Vec::new()))
    }
    .with_context(|| name.to_owned())?;
    Ok(Run::new(name.to_owned(), config.min_score, outcomes, answers))
}

async fn find_all(
    config: &Config,
    retrieval: &Retrieval,
    asked: &[Question],
    all: &[Question],
) -> anyhow::Result<Vec<Outcome>> {
    // Nobody looks at it: an evaluation that hangs is seen by who started it.
    let pulse = std::sync::Arc::default();
    let finder = Finder {
        embedding: EmbeddingPoolActor::new(retrieval.embedding.workers.clone()).start(),
        retriever: retrieval.retriever(config, &silent(), pulse).start(),
    };
    // As a turn searches, only deeper.
    let context_chars = engines::context_chars(config);
    let scope = SearchScope { top_k: DEPTH, context_chars, documents: Vec::new() };
    let mut outcomes = Vec::with_capacity(asked.len());
    for question in asked {
        let before: Vec<&str> = history(question, all).iter().map(|earlier| earlier.question.as_str()).collect();
        let start = Instant::now();
        let (deadline, cancel) = (Deadline::after(PATIENCE), CancelToken::default());
        let found = finder.find(&question.question, &before, &scope, deadline, &cancel).await;
        let found = found.with_context(|| format!("question {}", question.id))?;
        outcomes.push(judge(question, &found, start.elapsed()));
    }
    Ok(outcomes)
}

/// Answers the questions with the generator, follow-ups in the conversation of the question before them.
async fn answer_all(actors: &Actors, asked: &[Question], all: &[Question]) -> anyhow::Result<Vec<JudgedAnswer>> {
    // By the question that was asked last there; a second follow-up to the same question gets a conversation of its own.
    let mut conversations: HashMap<&str, Conversation> = HashMap::new();
    let mut judged = Vec::with_capacity(asked.len());
    for question in asked {
        let going_on = question.follow_up_to.as_deref().and_then(|before| conversations.remove(before));
        let conversation = match going_on {
            Some(conversation) => conversation,
            None => {
                let new = actors.conversations.send(Open { id: ConversationId::generate(), owner: None }).await??;
                for earlier in history(question, all) {
                    answer(&new, earlier).await?;
                }
                new
            }
        };
        judged.push(judge_answer(question, &answer(&conversation, question).await?));
        conversations.insert(&question.id, conversation);
        eprintln!("answered {} of {}", judged.len(), asked.len());
    }
    Ok(judged)
}

async fn answer(conversation: &Conversation, question: &Question) -> anyhow::Result<Completion> {
    let request = TurnRequest {
        turn_id: TurnId::generate(),
        client: None,
        message: question.question.clone(),
        options: AnswerOptions::default(),
        abandon_after: Duration::ZERO,
    };
    let place = || format!("question {}", question.id);
    let mut cursor = conversation.actor.send(StartTurn(request)).await?.with_context(place)?;
    loop {
        let event = cursor.next().await.map_err(|_| anyhow::anyhow!("{}: events of its turn were lost", place()))?;
        match event.event {
            TurnEvent::Completed(done) => return Ok(*done),
            TurnEvent::Failed(error) => return Err(error).with_context(place),
            _ => {}
        }
    }
}
