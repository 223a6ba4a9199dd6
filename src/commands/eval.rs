//! `mentor eval`: measures retrieval on questions with known pages.

use std::time::Instant;

use mentor_actors::ports::SearchQuery;
use mentor_actors::query::condense;

use super::{block_on, silent};
use crate::cli::EvalArgs;
use crate::config::Config;
use crate::engines::{self, Retrieval};
use crate::eval::{DEPTH, Outcome, Question, history, judge, read_questions, summarise};

/// # Errors
/// A file of questions that cannot be read; models or a store that cannot be opened.
pub fn eval(config: &Config, arguments: &EvalArgs) -> anyhow::Result<u8> {
    let questions = read_questions(&arguments.questions)?;
    let retrieval = engines::for_retrieval(config, &silent())?;
    let outcomes: anyhow::Result<Vec<Outcome>> =
        questions.iter().map(|question| block_on(ask(&retrieval, question, &questions))?).collect();
    let summary = summarise(&outcomes?, config.min_score);
    if arguments.json {
        println!("{}", serde_json::to_string(&summary)?)
    } else {
        println!("{summary}")
    }
    retrieval.embedding.stop();
    Ok(0)
}

async fn ask(retrieval: &Retrieval, question: &Question, all: &[Question]) -> anyhow::Result<Outcome> {
    let text = condense(&question.question, &history(question, all)).text;
    let start = Instant::now();
    let embedding = engines::embed_one(&retrieval.embedding, &text).await?;
    let query = SearchQuery { text, embedding, top_k: DEPTH, context_chars: 0, documents: Vec::new() };
    let found = retrieval.store.search(query).await?;
    Ok(judge(question, &found, start.elapsed()))
}
