//! What a panic costs, in each actor and each worker: the turn at hand, which ends with one error that can be tried again. What
//! runs beside it goes on, the next question is answered, and what panics again and again stays down and says so.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mentor_actors::conversation::StartTurn;
use mentor_actors::conversations::{Conversation, Open};
use mentor_actors::domain::*;
use mentor_actors::fault::Panic;
use mentor_actors::turn_log::Cursor;
use support::*;

/// More than any budget of restarts.
const IN_A_ROW: usize = 100;

async fn start(conversation: &Conversation, request: TurnRequest) -> Result<Cursor, TurnError> {
    loop {
        match conversation.actor.send(StartTurn(request.clone())).await {
            // The turn's end is in the log a moment before the conversation is free again.
            Ok(Err(error)) if error.code == ErrorCode::TurnInProgress => tokio::task::yield_now().await,
            Ok(started) => return started,
            Err(_) => return Err(TurnError::new(ErrorCode::Unavailable, "nobody answers")),
        }
    }
}

/// Asks as a client does: opens the conversation, starts the turn, reads to its end.
async fn ask(tutor: &Tutor, name: &str, request: TurnRequest) -> Result<Vec<NumberedEvent>, TurnError> {
    let open = Open { id: ConversationId::parse(name).unwrap(), owner: None };
    let nobody = |_| Err(TurnError::new(ErrorCode::Unavailable, "nobody answers"));
    let conversation = tutor.conversations.send(open).await.unwrap_or_else(nobody)?;
    Ok(until_end(&mut start(&conversation, request).await?).await)
}

/// The one error that a turn ended with.
fn only_error(events: &[NumberedEvent]) -> &TurnError {
    assert_eq!(events.iter().filter(|event| event.event.is_terminal()).count(), 1);
    failure(events)
}

fn assert_can_be_tried_again(error: &TurnError) {
    assert!(matches!(error.code, ErrorCode::Unavailable | ErrorCode::Internal), "{error:?}");
    assert!(error.retry_after.is_some(), "{error:?}");
}

fn problems(tutor: &Tutor) -> Vec<String> {
    tutor.health.iter().filter_map(|health| health.problem(Instant::now(), Duration::MAX)).collect()
}

/// Waits, but not for ever.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(settings().time_limit, waiting).await.expect("it never came to that");
}

/// A question with which one part panics, its name, and whether that part is rebuilt.
fn breaking() -> Vec<(&'static str, TurnRequest, bool)> {
    let broken = |message| question("broken", message);
    let options = AnswerOptions { documents: vec![BREAK_TURN.into()], ..AnswerOptions::default() };
    vec![
        ("embed", broken("poison"), true),
        ("generate", broken(BREAK_BEGIN), true),
        ("generate", broken(BREAK_STEP), true),
        ("search", broken(BREAK_SEARCH), false),
        ("turn", TurnRequest { options, ..broken("what is a heap?") }, false),
    ]
}

#[actix::test]
async fn a_panic_costs_one_turn_wherever_it_is() {
    for (part, request, rebuilt) in breaking() {
        let tutor = Tutor::start(Script::default());
        let events = ask(&tutor, "c", request.clone()).await.unwrap();
        assert_can_be_tried_again(only_error(&events));
        until(|| problems(&tutor).is_empty()).await;
        let next = ask(&tutor, "c", question("next", "what is a heap?")).await.unwrap();
        assert_eq!(completion(&next).finish_reason, FinishReason::Stop, "{part}");
        assert_eq!(next[0].seq, events.last().unwrap().seq + 1, "{part}: the conversation's log goes on");
        let restarts: u64 = tutor.health.iter().map(|health| health.restarts()).sum();
        assert_eq!(restarts, u64::from(rebuilt), "{part}");
    }
}

#[actix::test]
async fn a_panic_of_the_store_refuses_the_question_which_may_be_asked_again_under_its_id() {
    let tutor = Tutor::start(Script::default());
    assert_can_be_tried_again(&ask(&tutor, "c", question("t", BREAK_STORE)).await.unwrap_err());
    until(|| problems(&tutor).is_empty()).await;
    let events = ask(&tutor, "c", question("t", "what is a heap?")).await.unwrap();
    assert_eq!((completion(&events).finish_reason, events[0].seq), (FinishReason::Stop, 1));
    assert_eq!(tutor.storage.health().restarts(), 1);
}

#[actix::test]
async fn a_turn_beside_it_is_unhurt() {
    // What shares the generator with it is another test.
    for (part, request, _) in breaking().into_iter().filter(|(part, ..)| *part != "generate") {
        let gate = Arc::new(Gate::default());
        let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
        let beside = tutor.open("beside").await;
        let mut reading = start(&beside, question("t", "what is a heap?")).await.unwrap();
        gate.permit(1);
        while !matches!(reading.next().await.unwrap().event, TurnEvent::Token(_)) {}
        only_error(&ask(&tutor, "broken", request).await.unwrap());
        gate.open();
        let done = until_end(&mut reading).await;
        assert_eq!(completion(&done).answer, "A binary heap is a complete tree in an array.", "{part}");
    }
}

#[actix::test]
async fn a_panic_of_the_generator_ends_the_running_turn_and_the_waiting_one_goes_on() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let (running, waiting) = (tutor.open("running").await, tutor.open("waiting").await);
    let mut broken = start(&running, question("t", BREAK_STEP)).await.unwrap();
    gate.permit(1);
    while !matches!(broken.next().await.unwrap().event, TurnEvent::Token(_)) {}
    let mut patient = start(&waiting, question("t", "what is a heap?")).await.unwrap();
    while !matches!(patient.next().await.unwrap().event, TurnEvent::Workflow { position: Some(1), .. }) {}
    gate.open();
    assert_can_be_tried_again(only_error(&until_end(&mut broken).await));
    completion(&until_end(&mut patient).await);
}

#[actix::test]
async fn an_actor_that_panics_is_there_for_the_next_question() {
    let tutor = Tutor::start(Script::default());
    ask(&tutor, "c", question("before", "what is a heap?")).await.unwrap();
    let conversation = tutor.open("c").await;
    let services = &tutor.services;
    assert!(tutor.conversations.send(Panic).await.is_err());
    assert!(services.embedding.send(Panic).await.is_err());
    assert!(services.retriever.send(Panic).await.is_err());
    assert!(services.generator.send(Panic).await.is_err());
    assert!(conversation.actor.send(Panic).await.is_err());
    let next = ask(&tutor, "c", question("after", "and how is it stored?")).await.unwrap();
    assert!(completion(&next).was_rewritten, "the conversation remembers what came before");
    assert_eq!(problems(&tutor), Vec::<String>::new());
    let lost = tutor.health.iter().filter(|health| health.restarts() == 1);
    assert_eq!(lost.count(), 4, "one of each actor that there is one of");
}

#[actix::test]
async fn a_directory_that_panics_makes_no_second_actor_of_a_conversation() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let before = tutor.open("c").await;
    let mut reading = start(&before, question("t", "what is a heap?")).await.unwrap();
    assert!(tutor.conversations.send(Panic).await.is_err());
    let after = tutor.open("c").await;
    assert!(before.actor == after.actor && Arc::ptr_eq(&before.state, &after.state));
    gate.open();
    completion(&until_end(&mut reading).await);
}

#[actix::test]
async fn a_conversation_that_panics_ends_its_turn_and_those_who_watch_it_see_the_next() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut watching = start(&conversation, question("first", "what is a heap?")).await.unwrap();
    gate.permit(1);
    while !matches!(watching.next().await.unwrap().event, TurnEvent::Token(_)) {}
    assert!(conversation.actor.send(Panic).await.is_err());
    assert_can_be_tried_again(only_error(&until_end(&mut watching).await));
    gate.open();
    // With the address and the log that a device already has.
    start(&conversation, question("second", "what is a list?")).await.unwrap();
    let second = until_end(&mut watching).await;
    assert!(second.iter().all(|event| event.turn_id.as_str() == "second"), "{second:?}");
    completion(&second);
    let again = start(&conversation, question("first", "what is a heap?")).await.unwrap();
    assert_can_be_tried_again(only_error(&until_end(&mut { again }).await));
}

#[actix::test]
async fn a_conversation_that_spent_its_restarts_is_replaced_behind_the_log_that_devices_watch() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let mut watching = conversation.state.log.watch(0);
    for _ in 0..IN_A_ROW {
        assert!(conversation.actor.send(Panic).await.is_err());
    }
    let asked = ask(&tutor, "c", question("t", "what is a heap?")).await.unwrap();
    assert_eq!(until_end(&mut watching).await, asked);
    assert_eq!(problems(&tutor), Vec::<String>::new(), "one conversation is no reason not to be ready");
}

#[actix::test]
async fn a_conversation_that_cannot_wake_after_its_panic_takes_no_turn() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    completion(&ask(&tutor, "c", question("t1", "what is a heap?")).await.unwrap());
    tutor.storage.close();
    assert!(conversation.actor.send(Panic).await.is_err());
    let error = start(&conversation, question("t2", "and how is it stored?")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(!conversation.actor.connected(), "whoever opens it next wakes another");
}

#[actix::test]
async fn a_worker_that_panics_a_hundred_times_in_a_row_stays_down_and_questions_are_told_at_once() {
    for (part, request, _) in breaking().into_iter().filter(|(.., rebuilt)| *rebuilt) {
        let tutor = Tutor::start(Script::default());
        let error_of = |asked: Result<Vec<NumberedEvent>, TurnError>| match asked {
            Ok(events) => only_error(&events).code,
            Err(error) => error.code,
        };
        for turn in 0..IN_A_ROW {
            let request = TurnRequest { turn_id: TurnId::parse(&format!("t{turn}")).unwrap(), ..request.clone() };
            assert_eq!(error_of(ask(&tutor, "c", request).await), ErrorCode::Unavailable, "{part}");
        }
        let told = problems(&tutor);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(part) && told[0].contains("restarts used up, lost by a panic"), "{told:?}");
        let harmless = ask(&tutor, "another", question("t", "what is a heap?")).await;
        assert_eq!(error_of(harmless), ErrorCode::Unavailable, "{part}: not a deadline that it waited for");
    }
}

#[actix::test]
async fn a_step_that_does_not_end_is_seen_while_it_lasts() {
    let (gate, embedder_gate) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let tutor = Tutor::start(Script { gate: gate.clone(), embedder_gate: embedder_gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut reading = start(&conversation, question("t", "what is a heap?")).await.unwrap();
    let later = Instant::now() + Duration::from_secs(3_600);
    let stalled = |name: &str| {
        let told = tutor.health.iter().filter_map(|health| health.problem(later, Duration::from_secs(30)));
        told.into_iter().any(|told| told.starts_with(&format!("{name}: at one step for 3")))
    };
    for (part, gate) in [("embed", embedder_gate), ("generate", gate)] {
        until(|| stalled(part)).await;
        gate.open();
        until(|| !stalled(part)).await;
    }
    completion(&until_end(&mut reading).await);
}
