//! Full turns through all actors, with fakes behind the ports.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mentor_actors::conversation::{Cancel, StartTurn};
use mentor_actors::domain::*;
use mentor_actors::telemetry::AttributionMethod;
use support::*;

#[actix::test]
async fn a_question_gets_sources_tokens_and_one_completion_in_order() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    let events = until_end(&mut cursor).await;

    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let place = |wanted: fn(&TurnEvent) -> bool| events.iter().position(|event| wanted(&event.event)).unwrap();
    let sources = place(|event| matches!(event, TurnEvent::Sources(_)));
    let first_token = place(|event| matches!(event, TurnEvent::Token(_)));
    assert!(sources < first_token);

    let done = completion(&events);
    let tokens: String = events
        .iter()
        .filter_map(|event| if let TurnEvent::Token(text) = &event.event { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(tokens, done.answer);
    assert_eq!(done.answer, "A binary heap is a complete tree in an array.");
    assert_eq!((done.sources.len(), done.grounding), (3, Grounding::Grounded));
    assert_eq!((done.finish_reason, done.usage.completion_tokens), (FinishReason::Stop, 3));
    assert_eq!(done.workflow_path, [WorkflowNode::Retrieve, WorkflowNode::Generate]);
    assert_eq!(done.citations.len(), 1);
}

#[actix::test]
async fn a_sentence_that_stands_on_nothing_is_reported_with_its_place() {
    let pieces = vec!["A binary heap is a complete tree. ", "Napoleon invented it in Paris."];
    let measured = Arc::new(Measured::default());
    let tutor = Tutor::start(Script { pieces, telemetry: measured.clone(), ..Script::default() });
    let done = answer(&tutor).await;
    assert_eq!((done.citations.len(), done.grounding), (1, Grounding::Partial));
    assert_eq!(done.unsupported, [CharSpan { start: 34, end: 64 }]);
    assert_eq!((measured.sentences(), measured.attributions()), ((1, 1), vec![AttributionMethod::Words]));
}

/// Words leave a doubt about it, so it is embedded.
const DOUBTFUL: &str = "A binary heap tree answers poison quickly.";

#[actix::test]
async fn what_words_leave_in_doubt_is_decided_by_meaning() {
    let measured = Arc::new(Measured::default());
    let telemetry = measured.clone();
    let tutor = Tutor::start(Script { pieces: vec![DOUBTFUL], poison: "none", telemetry, ..Script::default() });
    assert_eq!(answer(&tutor).await.citations.len(), 1, "the fake embedder finds all texts alike");
    assert_eq!(measured.attributions(), [AttributionMethod::Meaning]);
}

#[actix::test]
async fn attribution_does_without_an_embedder_that_fails() {
    let measured = Arc::new(Measured::default());
    let tutor = Tutor::start(Script { pieces: vec![DOUBTFUL], telemetry: measured.clone(), ..Script::default() });
    let done = answer(&tutor).await;
    assert_eq!((done.finish_reason, done.unsupported.len()), (FinishReason::Stop, 1));
    assert_eq!(measured.attributions(), [AttributionMethod::Fallback]);
}

#[actix::test]
async fn attribution_does_without_an_embedder_that_is_late() {
    let (measured, gate) = (Arc::new(Measured::default()), Arc::new(Gate::default()));
    gate.permit(1); // the question
    let (embedder_gate, telemetry) = (gate.clone(), measured.clone());
    let tutor = Tutor::start(Script { pieces: vec![DOUBTFUL], embedder_gate, telemetry, ..Script::default() });
    let done = answer(&tutor).await;
    assert_eq!((done.finish_reason, done.unsupported.len()), (FinishReason::Stop, 1));
    assert_eq!(measured.attributions(), [AttributionMethod::Fallback]);
    gate.open();
}

/// What becomes of a question.
async fn answer(tutor: &Tutor) -> Completion {
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    completion(&until_end(&mut cursor).await).clone()
}

#[actix::test]
async fn a_question_without_a_relevant_passage_is_refused_without_generating() {
    let tutor = Tutor::start(Script { score: 0.2, pieces: vec!["never"], ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t", "who won the cup?"))).await.unwrap().unwrap();
    let events = until_end(&mut cursor).await;
    let done = completion(&events);
    assert_eq!((done.grounding, done.finish_reason), (Grounding::Refused, FinishReason::Refused));
    assert!(done.sources.is_empty() && done.answer.contains("heaps.pdf, page 1"), "{}", done.answer);
    assert_eq!(done.usage, Usage::default());
}

#[actix::test]
async fn a_follow_up_is_searched_for_together_with_the_question_before_it() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t1", "what is a heap?"))).await.unwrap().unwrap();
    until_end(&mut cursor).await;
    let mut cursor = start_when_free(&conversation, question("t2", "and how is it stored?")).await;
    let events = until_end(&mut cursor).await;
    let done = completion(&events);
    assert_eq!(done.question, "what is a heap? and how is it stored?");
    assert!(done.was_rewritten);
}

#[actix::test]
async fn a_change_of_the_subject_in_the_form_of_a_follow_up_is_searched_for_by_itself() {
    let tutor = Tutor::start(Script { score: 0.6, ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t1", "what is a heap?"))).await.unwrap().unwrap();
    until_end(&mut cursor).await;
    // Together with the question before it, it is far from everything.
    let mut cursor = start_when_free(&conversation, question("t2", "and what is that CAP theorem?")).await;
    let events = until_end(&mut cursor).await;
    let done = completion(&events);
    assert_eq!((done.question.as_str(), done.was_rewritten), ("and what is that CAP theorem?", false));
}

/// The turn's end is in the log a moment before the conversation is free again.
async fn start_when_free(
    conversation: &mentor_actors::conversations::Conversation,
    request: TurnRequest,
) -> mentor_actors::turn_log::Cursor {
    loop {
        match conversation.actor.send(StartTurn(request.clone())).await.unwrap() {
            Ok(cursor) => return cursor,
            Err(error) => assert_eq!(error.code, ErrorCode::TurnInProgress),
        }
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn a_second_question_meanwhile_is_told_that_a_turn_is_in_progress() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t1", "what is a heap?"))).await.unwrap().unwrap();
    let second = conversation.actor.send(StartTurn(question("t2", "what is a list?"))).await.unwrap();
    assert_eq!(second.unwrap_err().code, ErrorCode::TurnInProgress);
    gate.open();
    completion(&until_end(&mut cursor).await);
}

#[actix::test]
async fn the_same_turn_id_again_starts_nothing_and_sees_the_same_answer() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let mut first = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    let done = completion(&until_end(&mut first).await).clone();
    let mut again = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    assert!(again.is_again() && !first.is_again());
    assert_eq!(*completion(&until_end(&mut again).await), done);
    assert_eq!(tutor.store.searches.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn a_cancel_keeps_what_was_said_and_frees_the_conversation() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t1", "what is a heap?"))).await.unwrap().unwrap();
    gate.permit(1);
    let mut heard = false;
    while !heard {
        heard = matches!(cursor.next().await.unwrap().event, TurnEvent::Token(_));
    }
    conversation.actor.send(Cancel { turn_id: None }).await.unwrap();
    gate.open();
    let events = until_end(&mut cursor).await;
    let done = completion(&events);
    assert_eq!(done.finish_reason, FinishReason::Cancelled);
    assert!(done.answer.starts_with("A binary heap"), "{}", done.answer);
    start_when_free(&conversation, question("t2", "what is a list?")).await;
}

#[actix::test]
async fn an_engine_that_fails_in_the_step_of_the_cancel_costs_nothing_of_what_was_said() {
    let gate = Arc::new(Gate::default());
    let script = Script { gate: gate.clone(), engine_fails_at_step: Some(2), ..Script::default() };
    let tutor = Tutor::start(script);
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    gate.permit(1);
    while !matches!(cursor.next().await.unwrap().event, TurnEvent::Token(_)) {}
    conversation.actor.send(Cancel { turn_id: None }).await.unwrap();
    gate.permit(1);
    let events = until_end(&mut cursor).await;
    let done = completion(&events);
    assert_eq!((done.finish_reason, done.answer.as_str()), (FinishReason::Cancelled, "A binary heap "));
    gate.open();
}

#[actix::test]
async fn a_turn_nobody_watches_is_cancelled() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let request = TurnRequest { abandon_after: Duration::ZERO, ..question("t", "what is a heap?") };
    drop(conversation.actor.send(StartTurn(request)).await.unwrap().unwrap());
    let mut late = loop {
        // A reader would keep the turn alive: look only once the conversation has let go of it.
        if !conversation.state.is_busy() {
            break conversation.state.log.watch(0);
        }
        tokio::task::yield_now().await;
    };
    gate.open();
    assert_eq!(completion(&until_end(&mut late).await).finish_reason, FinishReason::Cancelled);
}

#[actix::test]
async fn a_full_house_refuses_and_says_when_to_come_back() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), admission: 1, ..Script::default() });
    let (one, two) = (tutor.open("one").await, tutor.open("two").await);
    let mut cursor = one.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    let error = two.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Overloaded);
    assert!(error.retry_after.is_some());
    one.actor.send(Cancel { turn_id: None }).await.unwrap();
    gate.open();
    until_end(&mut cursor).await;
}

#[actix::test]
async fn a_waiting_turn_is_told_its_place() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let first = tutor.open("one").await;
    let mut running = first.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    gate.permit(1);
    while !matches!(running.next().await.unwrap().event, TurnEvent::Token(_)) {}
    let second = tutor.open("two").await;
    let mut waiting = second.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    assert_eq!(next_place(&mut waiting).await, 1);
    let third = tutor.open("three").await;
    let mut last = third.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    assert_eq!(next_place(&mut last).await, 2);
    gate.open();
    until_end(&mut running).await;
    until_end(&mut waiting).await;
    assert_eq!(next_place(&mut last).await, 1);
    completion(&until_end(&mut last).await);
}

/// The next place in the queue that a turn is told.
async fn next_place(cursor: &mut mentor_actors::turn_log::Cursor) -> usize {
    loop {
        if let TurnEvent::Workflow { position: Some(place), .. } = cursor.next().await.unwrap().event {
            return place;
        }
    }
}

#[actix::test]
async fn a_deadline_ends_the_turn_with_its_own_error() {
    let gate = Arc::new(Gate::default());
    let settings = mentor_actors::turn::TurnSettings { time_limit: Duration::from_millis(50), ..settings() };
    let tutor = Tutor::start(Script { gate: gate.clone(), settings, ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    assert_eq!(failure(&until_end(&mut cursor).await).code, ErrorCode::DeadlineExceeded);
    gate.open();
}

#[actix::test]
async fn a_panic_in_the_embedder_costs_one_turn_and_the_next_is_answered() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t1", "poison"))).await.unwrap().unwrap();
    assert_eq!(failure(&until_end(&mut cursor).await).code, ErrorCode::Unavailable);
    let mut cursor = start_when_free(&conversation, question("t2", "what is a heap?")).await;
    completion(&until_end(&mut cursor).await);
}

#[actix::test]
async fn a_lost_engine_costs_the_running_turn_and_is_rebuilt_for_the_next() {
    let tutor = Tutor::start(Script { engine_fails_at_step: Some(2), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t1", "what is a heap?"))).await.unwrap().unwrap();
    let events = until_end(&mut cursor).await;
    assert_eq!(failure(&events).code, ErrorCode::Unavailable);
    let mut cursor = start_when_free(&conversation, question("t2", "what is a heap?")).await;
    completion(&until_end(&mut cursor).await);
    assert_eq!(tutor.generator.health().restarts(), 1);
}

#[actix::test]
async fn a_question_over_the_prompt_budget_is_too_large() {
    let settings = mentor_actors::turn::TurnSettings { prompt_tokens: 5, ..settings() };
    let tutor = Tutor::start(Script { settings, ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    assert_eq!(failure(&until_end(&mut cursor).await).code, ErrorCode::TooLarge);
}

#[actix::test]
async fn the_longest_idle_conversation_makes_room_for_a_new_one() {
    let tutor = Tutor::start(Script::default());
    let first = tutor.open("c1").await;
    for name in ["c2", "c3", "c4", "c5"] {
        tutor.open(name).await;
    }
    let again = tutor.open("c1").await;
    assert!(!Arc::ptr_eq(&first.state, &again.state));
    assert_eq!(tutor.store.searches.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn after_closing_the_workers_a_question_is_told_that_the_server_goes_down() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    tutor.generator.close();
    let mut cursor = conversation.actor.send(StartTurn(question("t", "what is a heap?"))).await.unwrap().unwrap();
    let events = until_end(&mut cursor).await;
    assert_eq!(failure(&events).code, ErrorCode::Unavailable);
    assert!(failure(&events).message.contains("shutting down"));
}

#[actix::test]
async fn what_a_client_chose_reaches_the_engine_and_the_rest_stays_as_configured() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let options = AnswerOptions {
        top_p: Some(0.5),
        min_p: Some(0.2),
        repeat_penalty: Some(1.3),
        presence_penalty: Some(0.25),
        frequency_penalty: Some(-0.5),
        repeat_last_tokens: Some(32),
        dry_multiplier: Some(0.8),
        sampling_top_k: Some(20),
        logit_bias: vec![(Token(7), -100.0)],
        stop: vec!["END".into()],
        grammar: Some("root ::= \"yes\"".into()),
        ..AnswerOptions::default()
    };
    for (turn, options) in [("chosen", options), ("plain", AnswerOptions::default())] {
        let asked = TurnRequest { options, ..question(turn, "what is a heap?") };
        until_end(&mut conversation.actor.send(StartTurn(asked)).await.unwrap().unwrap()).await;
    }
    let begun = tutor.begun.lock().unwrap();
    let [chosen, plain] = begun.as_slice() else { panic!("{} generations", begun.len()) };
    let sampling = &chosen.sampling;
    assert_eq!((sampling.top_p, sampling.min_p, sampling.repeat_penalty), (0.5, 0.2, 1.3));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty, sampling.repeat_last_tokens), (0.25, -0.5, 32));
    assert_eq!((sampling.dry_multiplier, sampling.top_k, &sampling.logit_bias), (0.8, 20, &vec![(Token(7), -100.0)]));
    assert_eq!(
        (chosen.stop.as_slice(), sampling.grammar.as_deref()),
        (&["END".to_owned()][..], Some("root ::= \"yes\""))
    );
    assert_eq!((sampling.temperature, sampling.seed), (plain.sampling.temperature, plain.sampling.seed));
    assert_eq!((&plain.sampling, plain.stop.len()), (&settings().sampling, 0));
}

#[actix::test]
async fn a_grammar_that_cannot_be_read_fails_its_own_turn_only() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    let options = AnswerOptions { grammar: Some(BAD_GRAMMAR.into()), ..AnswerOptions::default() };
    let asked = TurnRequest { options, ..question("bad", "what is a heap?") };
    let events = until_end(&mut conversation.actor.send(StartTurn(asked)).await.unwrap().unwrap()).await;
    let error = failure(&events);
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    assert!(error.message.contains("the grammar cannot be used"), "{}", error.message);
    let mut next = start_when_free(&conversation, question("good", "what is a heap?")).await;
    assert!(!completion(&until_end(&mut next).await).answer.is_empty());
    assert_eq!(tutor.generator.health().restarts(), 0);
}
