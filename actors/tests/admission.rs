//! Who gets in, who waits and for how long, with fakes behind the ports.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mentor_actors::admission::TurnKey;
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversation::{Cancel, StartAdmitted, StartTurn};
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::*;
use mentor_actors::embedding::{EmbedQuery, EmbedTexts};
use mentor_actors::telemetry::Measurement;
use mentor_actors::turn::TurnSettings;
use mentor_actors::turn_log::Cursor;
use support::*;

/// A question of a client, whose turn goes by the conversation's name.
fn question_of(client: &str, name: &str) -> TurnRequest {
    TurnRequest { client: Some(ClientId::new(client)), ..question(name, "what is a heap?") }
}

async fn ask(tutor: &Tutor, client: &str, name: &str) -> Result<Cursor, TurnError> {
    tutor.open(name).await.actor.send(StartTurn(question_of(client, name))).await.unwrap()
}

/// Asks, and waits until the engine has begun the answer.
async fn run(tutor: &Tutor, gate: &Gate, client: &str, name: &str) -> Cursor {
    let mut cursor = ask(tutor, client, name).await.unwrap();
    gate.permit(1);
    while !matches!(cursor.next().await.unwrap().event, TurnEvent::Token(_)) {}
    cursor
}

/// Asks, and waits until the turn is told its place: the next one then comes after it.
async fn wait(tutor: &Tutor, client: &str, name: &str, place: usize) -> Cursor {
    let mut cursor = ask(tutor, client, name).await.unwrap();
    assert_eq!(told(&mut cursor).await.0, place);
    cursor
}

/// Place and estimate that a turn is told next.
async fn told(cursor: &mut Cursor) -> (usize, Option<Duration>) {
    loop {
        if let TurnEvent::Workflow { position: Some(place), wait, .. } = cursor.next().await.unwrap().event {
            return (place, wait);
        }
    }
}

fn held() -> (Arc<Gate>, Script) {
    let gate = Arc::new(Gate::default());
    (gate.clone(), Script { gate, ..Script::default() })
}

#[actix::test]
async fn one_client_leaves_a_place_for_others_and_gets_it_back_when_they_are_gone() {
    let (gate, script) = held();
    let tutor = Tutor::start(Script { admission: 4, client_percent: 75, ..script });
    let mut greedy = Vec::new();
    for name in ["a", "b", "c"] {
        greedy.push(ask(&tutor, "greedy", name).await.unwrap());
    }
    let error = ask(&tutor, "greedy", "d").await.unwrap_err();
    assert!(error.code == ErrorCode::Overloaded && error.retry_after.is_some(), "{error:?}");
    let mut other = ask(&tutor, "other", "d").await.unwrap();
    gate.open();
    until_end(&mut other).await;
    for cursor in &mut greedy {
        until_end(cursor).await;
    }
    tutor.admission.empty().await;
    assert!(ask(&tutor, "greedy", "d").await.is_ok());
}

#[actix::test]
async fn a_client_that_asks_once_is_answered_before_the_rest_of_one_that_asks_often() {
    let (gate, script) = held();
    let tutor = Tutor::start(script);
    let mut running = run(&tutor, &gate, "greedy", "first").await;
    let mut second = wait(&tutor, "greedy", "b", 1).await;
    let mut third = wait(&tutor, "greedy", "c", 2).await;
    // A turn of the other client is running already.
    let mut once = wait(&tutor, "modest", "d", 1).await;
    assert_eq!((told(&mut second).await.0, told(&mut third).await.0), (2, 3), "who is overtaken is told");
    gate.open();
    for cursor in [&mut running, &mut once, &mut second, &mut third] {
        completion(&until_end(cursor).await);
    }
    let begun = tutor.begun.lock().unwrap();
    let order: Vec<&str> = begun.iter().map(|generation| generation.cache_scope.as_str()).collect();
    assert_eq!(order, ["first", "d", "b", "c"]);
}

#[actix::test]
async fn the_estimate_comes_from_turns_that_were_measured_and_is_judged_afterwards() {
    let (gate, script) = held();
    let measured = Arc::new(Measured::default());
    let tutor = Tutor::start(Script { telemetry: measured.clone(), ..script });
    let mut first = run(&tutor, &gate, "c", "a").await;
    let mut unknown = ask(&tutor, "c", "b").await.unwrap();
    assert_eq!(told(&mut unknown).await, (1, None), "nothing was measured yet");
    // The rest of the first answer, and all of the second.
    gate.permit(3 + 4);
    until_end(&mut first).await;
    until_end(&mut unknown).await;
    let mut running = run(&tutor, &gate, "c", "c").await;
    let mut waiting = ask(&tutor, "c", "d").await.unwrap();
    let said = loop {
        let event = waiting.next().await.unwrap();
        if let TurnEvent::Workflow { position: Some(1), wait: Some(_), message, .. } = event.event {
            break message;
        }
    };
    assert!(said.starts_with("Waiting: number 1 in the queue, about ") && said.ends_with(" s"), "{said}");
    gate.open();
    until_end(&mut running).await;
    until_end(&mut waiting).await;
    assert!(measured.all().iter().any(|one| matches!(one, Measurement::WaitForeseen { .. })));
}

#[actix::test]
async fn a_waiting_turn_that_is_cancelled_is_gone_at_once_and_those_behind_it_move_up() {
    let (gate, script) = held();
    let tutor = Tutor::start(Script { admission: 3, ..script });
    let mut running = run(&tutor, &gate, "c", "a").await;
    let mut second = wait(&tutor, "c", "b", 1).await;
    let mut third = wait(&tutor, "c", "d", 2).await;
    tutor.open("b").await.actor.send(Cancel { turn_id: None }).await.unwrap();
    // The engine stands still within its step all the while.
    assert_eq!(completion(&until_end(&mut second).await).finish_reason, FinishReason::Cancelled);
    assert_eq!(told(&mut third).await.0, 1);
    while tutor.admission.admit(&question("next", "?"), None, 1).is_err() {
        tokio::task::yield_now().await;
    }
    gate.open();
    until_end(&mut running).await;
    completion(&until_end(&mut third).await);
    assert_eq!(tutor.begun.lock().unwrap().len(), 2);
}

#[actix::test]
async fn a_turn_whose_time_ends_while_it_waits_says_so_and_frees_its_place() {
    let (gate, script) = held();
    let settings = TurnSettings { time_limit: Duration::from_millis(300), ..settings() };
    let tutor = Tutor::start(Script { admission: 2, settings, ..script });
    let mut running = run(&tutor, &gate, "c", "a").await;
    let mut waiting = ask(&tutor, "c", "b").await.unwrap();
    let events = until_end(&mut waiting).await;
    let error = failure(&events);
    assert_eq!(
        (error.code, error.message.ends_with("while it waited in the queue")),
        (ErrorCode::DeadlineExceeded, true)
    );
    until_end(&mut running).await;
    tutor.admission.empty().await;
    gate.open();
}

#[actix::test]
async fn nothing_is_done_for_a_question_that_gets_no_place() {
    let tutor = Tutor::start(Script { admission: 0, ..Script::default() });
    assert_eq!(ask(&tutor, "c", "a").await.unwrap_err().code, ErrorCode::Overloaded);
    assert!(tutor.embedded.lock().unwrap().is_empty() && tutor.kept.changes.lock().unwrap().is_empty());
    assert_eq!(tutor.store.searches.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn asking_again_for_a_turn_that_is_in_the_program_needs_no_place() {
    let (gate, script) = held();
    let tutor = Tutor::start(Script { admission: 1, ..script });
    let mut first = ask(&tutor, "c", "a").await.unwrap();
    let request = question_of("c", "a");
    let conversation_id = ConversationId::parse("a").unwrap();
    let key = TurnKey { owner: None, conversation_id, turn_id: request.turn_id.clone() };
    assert!(tutor.admission.holds(&key));
    let conversation = tutor.open("a").await;
    let again = conversation.actor.send(StartAdmitted { request, admitted: None }).await.unwrap();
    gate.open();
    assert_eq!(until_end(&mut first).await, until_end(&mut again.unwrap()).await);
}

#[actix::test]
async fn questions_are_embedded_before_bulk_work() {
    let (gate, measured) = (Arc::new(Gate::default()), Arc::new(Measured::default()));
    let (embedder_gate, telemetry) = (gate.clone(), measured.clone());
    let tutor = Tutor::start(Script { embed_workers: 1, embedder_gate, telemetry, ..Script::default() });
    let (deadline, cancel) = (Deadline::after(Duration::from_secs(20)), CancelToken::default());
    let bulk = |text: &str| {
        let texts = vec![text.to_owned()];
        tutor.services.embedding.send(EmbedTexts { texts, deadline, cancel: cancel.clone() })
    };
    let all_wait = || measured.all().iter().any(|one| matches!(one, Measurement::EmbedQueueDepth(3..)));
    let bulk = [bulk("one"), bulk("two"), bulk("three")];
    let text = "question".to_owned();
    let asked = tutor.services.embedding.send(EmbedQuery { text, deadline, cancel: cancel.clone() });
    let open = async {
        while !all_wait() {
            tokio::task::yield_now().await;
        }
        gate.open();
    };
    let (vectors, vector, ()) = tokio::join!(futures_util::future::join_all(bulk), asked, open);
    assert!(vectors.into_iter().all(|vectors| vectors.unwrap().is_ok()) && vector.unwrap().is_ok());
    let order = tutor.embedded.lock().unwrap().clone();
    let place = |text: &str| order.iter().position(|embedded| embedded == text).unwrap();
    // The first one may have been with the worker when the question came.
    assert!(place("question") < place("two") && place("question") < place("three"), "{order:?}");
}
