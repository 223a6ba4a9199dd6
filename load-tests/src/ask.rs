//! Many conversations at once.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use crate::cli::AskArgs;
use crate::conversation::{Conversation, Plan};
use crate::frame::AskOptions;
use crate::questions::Questions;
use crate::report::AskReport;

/// Runs `ask`. What the server does wrong stands in the report.
///
/// # Errors
/// When the questions cannot be read.
pub async fn run(arguments: &AskArgs) -> anyhow::Result<AskReport> {
    let max_tokens = arguments.max_tokens.map(|tokens| tokens.get());
    let plan = Plan {
        address: arguments.url.clone(),
        run_id: new_run_id(),
        questions: Questions::read(&arguments.questions)?,
        conversations: arguments.conversations.get(),
        turns: arguments.turns.get(),
        options: AskOptions { max_tokens, seed: arguments.seed },
        connect_deadline: arguments.connect_deadline,
        turn_deadline: arguments.turn_deadline,
    };
    hold_conversations(Arc::new(plan)).await
}

/// Different in each run, so that no conversation is met again.
fn new_run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("load-{}-{}", now.as_millis(), std::process::id())
}

/// All connect first and then all begin to ask, so that connecting is not mixed with answering.
async fn hold_conversations(plan: Arc<Plan>) -> anyhow::Result<AskReport> {
    let opening: JoinSet<Conversation> =
        (0..plan.conversations).map(|number| Conversation::open(plan.clone(), number)).collect();
    let conversations = finish(opening).await?;
    let start = Instant::now();
    let talking: JoinSet<_> = conversations.into_iter().map(Conversation::talk).collect();
    let outcomes = finish(talking).await?;
    Ok(AskReport::new(&plan, start.elapsed(), &outcomes))
}

/// Waits for all tasks; each has deadlines of its own.
///
/// # Errors
/// When one panicked.
pub async fn finish<T: 'static>(mut tasks: JoinSet<T>) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(result) = tasks.join_next().await {
        results.push(result?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Address;
    use crate::fake_server::{self, SpoilTurn};

    /// Far more than these tests need.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn plan(address: Address, conversations: usize, turns: usize) -> Plan {
        Plan {
            address,
            run_id: "test".into(),
            questions: Questions::parse("what is a heap?\nand a stack?").unwrap(),
            conversations,
            turns,
            options: AskOptions::default(),
            connect_deadline: PATIENCE,
            turn_deadline: PATIENCE,
        }
    }

    async fn ask(conversations: usize, turns: usize, spoil: SpoilTurn) -> AskReport {
        let address = fake_server::serve_turns(spoil).await;
        hold_conversations(Arc::new(plan(address, conversations, turns))).await.unwrap()
    }

    #[tokio::test]
    async fn a_server_without_fault_gets_a_report_without_trouble() {
        let report = ask(3, 2, |_| {}).await;
        assert_eq!(report.trouble.examples, Vec::<String>::new());
        assert_eq!((report.turns_completed, report.trouble.exit_code(report.turns_completed)), (6, 0));
    }

    #[tokio::test]
    async fn a_turn_that_ends_twice_is_found_even_behind_the_last_question() {
        let report = ask(1, 1, |events| {
            let mut again = events[events.len() - 1].clone();
            again["seq"] = (events.len() + 1).into();
            events.push(again);
        })
        .await;
        assert_eq!(report.trouble.rules_broken.keys().collect::<Vec<_>>(), [&"one_end"]);
        assert_eq!(report.trouble.exit_code(report.turns_completed), 1);
    }

    #[tokio::test]
    async fn a_lost_token_is_found() {
        let report = ask(1, 1, |events| drop(events.remove(2))).await;
        let broken: Vec<_> = report.trouble.rules_broken.keys().copied().collect();
        assert_eq!(broken, ["seq_without_gaps", "tokens_are_the_answer"]);
    }

    #[tokio::test]
    async fn a_silent_server_costs_a_conversation_one_deadline() {
        let address = fake_server::serve_turns(|events| events.clear()).await;
        let impatient = Plan { turn_deadline: Duration::from_millis(20), ..plan(address, 1, 3) };
        let report = hold_conversations(Arc::new(impatient)).await.unwrap();
        assert_eq!(report.trouble.errors["client_deadline"], 1);
        assert_eq!((report.turns_completed, report.trouble.exit_code(report.turns_completed)), (0, 2));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_of_each_conversation() {
        let nobody = fake_server::unused_address();
        let report = hold_conversations(Arc::new(plan(nobody, 2, 1))).await.unwrap();
        assert_eq!(report.trouble.errors["connect_failed"], 2);
    }
}
