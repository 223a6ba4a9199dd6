//! Turns that belong to no conversation, with fakes behind the ports.

mod support;

use std::sync::Arc;
use std::time::Duration;

use mentor_actors::cancel::CancelToken;
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::*;
use mentor_actors::embedding::EmbedTexts;
use mentor_actors::prompt::Exchange;
use mentor_actors::stateless::StatelessTurn;
use support::*;

fn start(tutor: &Tutor, request: TurnRequest) -> Result<StatelessTurn, TurnError> {
    let earlier = Exchange { question: "what is a heap?".into(), read: None, answer: "A tree in an array.".into() };
    let admitted = tutor.admission.admit(&request, None, 100)?;
    Ok(StatelessTurn::start(&tutor.services, admitted, vec![earlier], request))
}

async fn end_of(turn: &mut StatelessTurn) -> TurnEvent {
    loop {
        let event = turn.next().await.unwrap().event;
        if event.is_terminal() {
            return event;
        }
    }
}

/// Waits until a turn that ends has given its place back.
async fn place(tutor: &Tutor) -> StatelessTurn {
    loop {
        match start(tutor, question("next", "and how is it stored?")) {
            Ok(turn) => return turn,
            Err(error) => assert_eq!(error.code, ErrorCode::Overloaded),
        }
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn the_history_that_comes_along_is_searched_with_and_read_by_the_model() {
    let tutor = Tutor::start(Script::default());
    let mut turn = start(&tutor, question("t", "and how is it stored?")).unwrap();
    let TurnEvent::Completed(done) = end_of(&mut turn).await else { panic!("the turn failed") };
    assert_eq!(done.question, "what is a heap? and how is it stored?");
    let begun = tutor.begun.lock().unwrap();
    let texts: Vec<&str> = begun[0].messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts[1..3], ["what is a heap?", "A tree in an array."]);
}

#[actix::test]
async fn instructions_are_read_before_the_question_and_neither_searched_for_nor_shared() {
    let tutor = Tutor::start(Script::default());
    let mut asked = question("t", "how does a binary heap stay sorted?");
    asked.options.instructions = Some("Speak like a pirate.".into());
    let mut turn = start(&tutor, asked).unwrap();
    let TurnEvent::Completed(done) = end_of(&mut turn).await else { panic!("the turn failed") };
    assert_eq!(done.question, "how does a binary heap stay sorted?");
    let begun = tutor.begun.lock().unwrap();
    let messages = &begun[0].messages;
    assert_eq!(messages[0].text, settings().system_prompt, "the system message is the same for all");
    assert!(messages.last().unwrap().text.ends_with("Speak like a pirate.\n\nhow does a binary heap stay sorted?"));
}

#[actix::test]
async fn a_turn_that_is_dropped_is_cancelled_and_gives_its_place_back() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), admission: 1, ..Script::default() });
    let turn = start(&tutor, question("t", "what is a heap?")).unwrap();
    let error = start(&tutor, question("u", "what is a heap?")).unwrap_err();
    assert_eq!(error.code, ErrorCode::Overloaded);
    drop(turn);
    gate.open();
    let mut next = place(&tutor).await;
    assert!(matches!(end_of(&mut next).await, TurnEvent::Completed(_)));
}

#[actix::test]
async fn at_the_cut_off_it_ends_with_what_was_said() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let mut turn = start(&tutor, question("t", "what is a heap?")).unwrap();
    gate.permit(1);
    while !matches!(turn.next().await.unwrap().event, TurnEvent::Token(_)) {}
    tutor.admission.close();
    tutor.services.cut_off.cancel();
    let TurnEvent::Completed(done) = end_of(&mut turn).await else { panic!("the turn failed") };
    assert_eq!((done.finish_reason, done.answer.as_str()), (FinishReason::Cancelled, "A binary heap "));
    tutor.admission.empty().await;
    gate.open();
}

#[actix::test]
async fn a_panic_of_a_worker_ends_the_turn_with_an_error_that_can_be_retried() {
    let tutor = Tutor::start(Script { admission: 1, ..Script::default() });
    let mut turn = start(&tutor, question("t", "how poison works in a long question of its own")).unwrap();
    let TurnEvent::Failed(error) = end_of(&mut turn).await else { panic!("the turn did not fail") };
    assert!(error.code == ErrorCode::Unavailable && error.retry_after.is_some(), "{error:?}");
    assert!(matches!(end_of(&mut place(&tutor).await).await, TurnEvent::Completed(_)));
}

#[actix::test]
async fn texts_are_embedded_in_order_and_a_poisoned_batch_fails_alone() {
    let tutor = Tutor::start(Script::default());
    let deadline = Deadline::after(Duration::from_secs(20));
    let embed = |texts: &[&str]| {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        tutor.services.embedding.send(EmbedTexts { texts, deadline, cancel: CancelToken::default() })
    };
    assert_eq!(embed(&["a", "b", "c"]).await.unwrap().unwrap().len(), 3);
    assert_eq!(embed(&["a", "poison"]).await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(embed(&["a"]).await.unwrap().unwrap().len(), 1);
}
