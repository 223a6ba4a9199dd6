//! Conversations that are kept: over sleep and restart, as a tree, and when the store fails. A second tutor over the same store
//! is the first one after a restart.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mentor_actors::conversation::{StartAdmitted, StartSibling, StartTurn};
use mentor_actors::conversations::{Conversation, Delete, ForgetOld, Moment};
use mentor_actors::domain::*;
use mentor_actors::ports::{ConversationStore as _, Role};
use mentor_actors::queue::Lane;
use mentor_actors::turn_log::Cursor;
use support::*;

fn script(kept: &FakeConversations) -> Script {
    Script { kept: kept.clone(), ..Script::default() }
}

/// Starts a turn once the one before it has left.
async fn start(conversation: &Conversation, request: TurnRequest) -> Cursor {
    loop {
        match conversation.actor.send(StartTurn(request.clone())).await.unwrap() {
            Ok(cursor) => return cursor,
            Err(error) => assert_eq!(error.code, ErrorCode::TurnInProgress),
        }
        tokio::task::yield_now().await;
    }
}

async fn ask(conversation: &Conversation, turn: &str, message: &str) -> Vec<NumberedEvent> {
    until_end(&mut start(conversation, question(turn, message)).await).await
}

async fn sibling(
    conversation: &Conversation,
    of: &str,
    turn: &str,
    edited: Option<&str>,
) -> Result<Vec<NumberedEvent>, TurnError> {
    loop {
        let (of, repeats) = (TurnId::parse(of).unwrap(), edited.is_none());
        let request = question(turn, edited.unwrap_or_default());
        match conversation.actor.send(StartSibling { of, repeats, request, admitted: None }).await.unwrap() {
            Err(error) if error.code == ErrorCode::TurnInProgress => tokio::task::yield_now().await,
            Err(error) => return Err(error),
            Ok(mut cursor) => return Ok(until_end(&mut cursor).await),
        }
    }
}

fn stored(kept: &FakeConversations, conversation: &str) -> Vec<StoredTurn> {
    kept.clone().turns(&ConversationId::parse(conversation).unwrap(), 0, 1_000).unwrap()
}

fn parents(turns: &[StoredTurn]) -> Vec<(&str, Option<&str>)> {
    turns.iter().map(|turn| (turn.turn_id.as_str(), turn.parent.as_ref().map(TurnId::as_str))).collect()
}

#[actix::test]
async fn after_a_restart_every_number_can_be_resumed_from_and_numbers_go_on() {
    let kept = FakeConversations::default();
    let before = Tutor::start(script(&kept));
    let conversation = before.open("c").await;
    let mut events = ask(&conversation, "t1", "what is a heap?").await;
    events.extend(ask(&conversation, "t2", "and how is it stored?").await);
    drop(before);

    let after = Tutor::start(script(&kept));
    let conversation = after.open("c").await;
    assert_eq!(conversation.state.log.last_seq(), events.last().unwrap().seq);
    for seen in 0..=events.len() {
        let mut cursor = conversation.state.log.watch(seen as u64);
        let rest: Vec<NumberedEvent> = std::iter::from_fn(|| cursor.try_next().unwrap()).collect();
        assert_eq!(rest, events[seen..]);
    }
    let next = ask(&conversation, "t3", "what is a list?").await;
    assert_eq!(next[0].seq, events.last().unwrap().seq + 1);
}

#[actix::test]
async fn after_a_restart_the_same_turn_id_starts_nothing_however_old() {
    let kept = FakeConversations::default();
    let before = Tutor::start(script(&kept));
    let conversation = before.open("c").await;
    let first = ask(&conversation, "t0", "what is a heap?").await;
    for number in 1..20 {
        ask(&conversation, &format!("t{number}"), "what is a list?").await;
    }
    assert!(!conversation.state.log.holds_since(0), "the log keeps the newest turns alone");
    assert_eq!(ask(&conversation, "t0", "what is a heap?").await, first);
    assert_eq!(before.store.searches.load(Ordering::SeqCst), 20);
    drop(before);
    let after = Tutor::start(script(&kept));
    let conversation = after.open("c").await;
    assert_eq!(ask(&conversation, "t0", "what is a heap?").await, first, "older than what is replayed");
    assert_eq!(completion(&ask(&conversation, "t19", "what is a list?").await).question, "what is a list?");
    assert_eq!((after.store.searches.load(Ordering::SeqCst), stored(&kept, "c").len()), (0, 20));
}

#[actix::test]
async fn after_a_restart_a_follow_up_is_understood_and_the_model_is_told_what_was_said() {
    let kept = FakeConversations::default();
    let before = Tutor::start(script(&kept));
    ask(&before.open("c").await, "t1", "what is a heap?").await;
    drop(before);
    let after = Tutor::start(script(&kept));
    let events = ask(&after.open("c").await, "t2", "and how is it stored?").await;
    assert_eq!(completion(&events).question, "what is a heap? and how is it stored?");
    let begun = after.begun.lock().unwrap();
    assert!(begun[0].messages.iter().any(|message| message.role == Role::Assistant), "{:?}", begun[0].messages);
}

#[actix::test]
async fn a_conversation_that_was_put_to_sleep_wakes_as_it_was() {
    let tutor = Tutor::start(Script::default());
    let events = ask(&tutor.open("c1").await, "t", "what is a heap?").await;
    for name in ["c2", "c3", "c4", "c5"] {
        tutor.open(name).await;
    }
    let mut cursor = tutor.open("c1").await.state.log.watch(0);
    assert_eq!(until_end(&mut cursor).await, events);
}

#[actix::test]
async fn a_turn_is_stored_with_all_its_events_before_its_end_can_be_read() {
    let tutor = Tutor::start(Script::default());
    let events = ask(&tutor.open("c").await, "t", "what is a heap?").await;
    let changes = tutor.kept.changes.lock().unwrap();
    let [TurnChange::Begin(begin), TurnChange::End(end)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((begin.question.as_str(), begin.first_seq), ("what is a heap?", 1));
    assert_eq!(end.events, events);
}

/// Asks, and is refused.
async fn refusal(conversation: &Conversation, request: TurnRequest) -> TurnError {
    conversation.actor.send(StartTurn(request)).await.unwrap().unwrap_err()
}

#[actix::test]
async fn a_store_that_takes_nothing_refuses_the_question_at_once_and_takes_it_under_its_id_when_it_has_room() {
    let kept = FakeConversations::default();
    let tutor = Tutor::start(script(&kept));
    let conversation = tutor.open("c").await;
    let mut events = ask(&conversation, "t0", "what is a heap?").await;
    kept.is_full.store(true, Ordering::SeqCst);
    let refused = refusal(&conversation, question("t1", "what is a list?")).await;
    assert!(refused.code == ErrorCode::Unavailable && refused.retry_after.is_some(), "{refused:?}");
    assert!(!conversation.state.is_busy() && tutor.storage.problem().is_some());
    assert_eq!((tutor.begun.lock().unwrap().len(), tutor.admission.inside()), (1, 0));
    kept.is_full.store(false, Ordering::SeqCst);
    events.extend(ask(&conversation, "t1", "what is a list?").await);
    completion(&events);
    assert_eq!((tutor.storage.problem(), stored(&kept, "c").len()), (None, 2));

    // No number was used for what never began: a restart finds each with the same event.
    let after = Tutor::start(script(&kept));
    let mut cursor = after.open("c").await.state.log.watch(0);
    let restored: Vec<NumberedEvent> = std::iter::from_fn(|| cursor.try_next().unwrap()).collect();
    assert_eq!(restored, events);
    assert!(events.iter().enumerate().all(|(place, event)| event.seq == place as u64 + 1));
}

/// Polls a future once: what it sends at once is sent.
async fn begin<F: Future>(mut future: std::pin::Pin<&mut F>) {
    std::future::poll_fn(|task| {
        assert!(future.as_mut().poll(task).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[actix::test]
async fn a_change_that_nobody_waits_for_any_more_does_not_say_that_the_store_can_be_written() {
    let tutor = Tutor::start(Script::default());
    tutor.kept.is_full.store(true, Ordering::SeqCst);
    refusal(&tutor.open("c").await, question("t", "what is a heap?")).await;
    let (go_on, held) = std::sync::mpsc::sync_channel::<()>(0);
    let mut busy = Box::pin(tutor.storage.run(Lane::Interactive, move |_| {
        let _told = held.recv();
        Ok(())
    }));
    begin(busy.as_mut()).await;
    let begun = TurnChange::Begin(turn_begin("d", std::time::SystemTime::now()));
    let mut given_up = Box::pin(tutor.storage.change(begun));
    begin(given_up.as_mut()).await;
    drop(given_up);
    drop(go_on);
    busy.await.unwrap();
    tutor.storage.flush().await.unwrap();
    assert!(tutor.storage.problem().is_some());
}

fn turn_begin(conversation: &str, asked_at: std::time::SystemTime) -> TurnBegin {
    TurnBegin {
        conversation_id: ConversationId::parse(conversation).unwrap(),
        owner: None,
        turn_id: TurnId::parse("t").unwrap(),
        parent: None,
        question: "what is a heap?".into(),
        asked_at,
        first_seq: 1,
    }
}

#[actix::test]
async fn a_store_that_takes_nothing_is_tried_again_without_a_turn() {
    let tutor = Tutor::start(Script::default());
    tutor.kept.is_full.store(true, Ordering::SeqCst);
    refusal(&tutor.open("c").await, question("t", "what is a heap?")).await;
    assert!(tutor.storage.probe().await.is_err() && tutor.storage.problem().is_some());
    tutor.kept.is_full.store(false, Ordering::SeqCst);
    tutor.storage.probe().await.unwrap();
    assert_eq!(tutor.storage.problem(), None);
}

#[actix::test]
async fn an_answer_that_cannot_be_stored_is_never_called_complete() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    tutor.kept.loses_ends.store(true, Ordering::SeqCst);
    let events = ask(&conversation, "t1", "what is a heap?").await;
    let error = failure(&events);
    assert!(error.code == ErrorCode::Unavailable && error.message.contains("could not be stored"), "{error:?}");
    tutor.kept.loses_ends.store(false, Ordering::SeqCst);
    let next = ask(&conversation, "t2", "and how is it stored?").await;
    assert!(!completion(&next).was_rewritten, "a turn that does not count is no history");

    let after = Tutor::start(script(&tutor.kept));
    let mut cursor = after.open("c").await.state.log.watch(0);
    let first = cursor.next().await.unwrap();
    assert_eq!(first.seq, failure_seq(&events), "it has the number that its error had");
    assert_eq!(until_end(&mut cursor).await, next);
}

fn failure_seq(events: &[NumberedEvent]) -> u64 {
    failure(events);
    events.last().unwrap().seq
}

#[actix::test]
async fn a_turn_that_was_running_when_the_program_was_killed_ends_with_an_error_above_all_its_numbers() {
    let kept = FakeConversations::default();
    kept.clone().write(&[TurnChange::Begin(turn_begin("c", std::time::SystemTime::now()))]).unwrap();
    let tutor = Tutor::start(script(&kept));
    let conversation = tutor.open("c").await;
    let mut cursor = conversation.state.log.watch(57);
    let end = cursor.next().await.unwrap();
    assert!(end.seq > 10_000, "{end:?}");
    assert!(matches!(&end.event, TurnEvent::Failed(error) if error.code == ErrorCode::Unavailable), "{end:?}");
    let again = ask(&conversation, "t", "what is a heap?").await;
    assert_eq!(again, std::slice::from_ref(&end), "its id stays taken");
    assert_eq!(stored(&kept, "c")[0].events, again);
    assert_eq!(ask(&conversation, "t2", "what is a heap?").await[0].seq, end.seq + 1);
}

#[actix::test]
async fn regenerating_and_editing_make_siblings_that_go_on_from_the_same_parent() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    ask(&conversation, "t1", "what is a heap?").await;
    ask(&conversation, "t2", "what is a list?").await;
    completion(&sibling(&conversation, "t2", "t2b", None).await.unwrap());
    completion(&sibling(&conversation, "t1", "t1b", Some("what is a queue?")).await.unwrap());
    ask(&conversation, "t4", "and how is it stored?").await;
    let turns = stored(&tutor.kept, "c");
    let expected = [("t1", None), ("t2", Some("t1")), ("t2b", Some("t1")), ("t1b", None), ("t4", Some("t1b"))];
    assert_eq!(parents(&turns), expected);
    assert_eq!((turns[2].question.as_str(), turns[3].question.as_str()), ("what is a list?", "what is a queue?"));
    let Some(TurnEvent::Completed(done)) = turns[4].end() else { panic!("{:?}", turns[4]) };
    assert_eq!(done.question, "what is a queue? and how is it stored?");

    let begun = tutor.begun.lock().unwrap();
    assert!(begun[2].sampling.temperature > 0.0, "the same question should get another answer");
    assert_ne!(begun[2].sampling.seed, begun[1].sampling.seed);
    assert_eq!(begun[3].sampling, begun[0].sampling, "an edited question is asked as any other");
    let said: Vec<&str> = begun[2].messages.iter().map(|message| message.text.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("what is a heap?")), "the parent is in the prompt: {said:?}");
    assert_eq!(begun[3].messages.iter().filter(|message| message.role == Role::Assistant).count(), 0);
}

#[actix::test]
async fn a_sibling_that_fails_leaves_the_branch_as_it_was_and_one_of_nothing_is_not_found() {
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open("c").await;
    ask(&conversation, "t1", "what is a heap?").await;
    failure(&sibling(&conversation, "t1", "t2", Some("poison")).await.unwrap());
    let events = ask(&conversation, "t3", "and how is it stored?").await;
    assert_eq!(completion(&events).question, "what is a heap? and how is it stored?");
    assert_eq!(parents(&stored(&tutor.kept, "c")).last(), Some(&("t3", Some("t1"))));
    let missing = sibling(&conversation, "nowhere", "t4", None).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert_eq!(sibling(&conversation, "t1", "t3", None).await.unwrap(), events, "the id of a turn that there is");
}

#[actix::test]
async fn a_conversation_is_found_by_its_owner_alone_awake_or_asleep() {
    let kept = FakeConversations::default();
    let (ann, bob) = (Some(Owner::new("ann")), Some(Owner::new("bob")));
    let tutor = Tutor::start(script(&kept));
    ask(&tutor.open_for("c", ann.clone()).await.unwrap(), "t", "what is a heap?").await;
    let restarted = Tutor::start(script(&kept));
    for tutor in [&tutor, &restarted] {
        for other in [&bob, &None] {
            let error = tutor.open_for("c", other.clone()).await.err().unwrap();
            assert_eq!(error.code, ErrorCode::NotFound);
        }
        tutor.open_for("c", ann.clone()).await.unwrap();
    }
}

#[actix::test]
async fn a_deleted_conversation_is_gone_with_its_running_turn() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = start(&conversation, question("t", "what is a heap?")).await;
    gate.permit(1);
    while !matches!(cursor.next().await.unwrap().event, TurnEvent::Token(_)) {}
    let delete = || Delete { id: ConversationId::parse("c").unwrap(), owner: None };
    tutor.conversations.send(delete()).await.unwrap().unwrap();
    assert_eq!(failure(&until_end(&mut cursor).await).code, ErrorCode::Internal);
    gate.open();
    tutor.storage.flush().await.unwrap();
    assert!(stored(&tutor.kept, "c").is_empty());
    assert_eq!(tutor.conversations.send(delete()).await.unwrap().unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(ask(&tutor.open("c").await, "t", "what is a list?").await[0].seq, 1, "its id may be used anew");
}

fn delete(owner: Option<Owner>) -> Delete {
    Delete { id: ConversationId::parse("c").unwrap(), owner }
}

#[actix::test]
async fn while_a_conversation_is_being_deleted_nobody_wakes_it_and_afterwards_it_begins_anew() {
    let (ann, bob) = (Some(Owner::new("ann")), Some(Owner::new("bob")));
    let tutor = Tutor::start(Script::default());
    let conversation = tutor.open_for("c", ann.clone()).await.unwrap();
    ask(&conversation, "t", "what is a heap?").await;
    tutor.kept.removals.shut();
    let deleting = tutor.conversations.send(delete(ann.clone()));
    let meanwhile = async {
        // The store is at the removal, and its actor has ended.
        while conversation.actor.connected() {
            tokio::task::yield_now().await;
        }
        for owner in [&ann, &bob] {
            let refused = tutor.open_for("c", owner.clone()).await.err().unwrap();
            assert!(refused.code == ErrorCode::Unavailable && refused.retry_after.is_some(), "{refused:?}");
        }
        let again = tutor.conversations.send(delete(ann.clone())).await.unwrap().unwrap_err();
        assert_eq!(again.code, ErrorCode::Unavailable);
        tutor.kept.removals.open();
    };
    let (deleted, ()) = tokio::join!(deleting, meanwhile);
    deleted.unwrap().unwrap();
    let anew = tutor.open_for("c", bob).await.unwrap();
    assert_eq!(anew.state.log.last_seq(), 0, "nothing of the former one is in its log");
    assert_eq!(ask(&anew, "t", "what is a list?").await[0].seq, 1);
    assert_eq!(tutor.open_for("c", ann).await.err().unwrap().code, ErrorCode::NotFound);
}

#[actix::test]
async fn a_turn_that_begins_after_the_cut_off_ends_at_once_and_is_stored() {
    let (gate, kept) = (Arc::new(Gate::default()), FakeConversations::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..script(&kept) });
    let conversation = tutor.open("c").await;
    let request = question("t", "what is a heap?");
    let admitted = Some(tutor.admission.admit(&request, None, 1).unwrap());
    tutor.admission.close();
    tutor.services.cut_off.cancel();
    let mut cursor = conversation.actor.send(StartAdmitted { request, admitted }).await.unwrap().unwrap();
    let events = until_end(&mut cursor).await;
    assert_eq!(completion(&events).finish_reason, FinishReason::Cancelled);
    tutor.admission.empty().await;
    assert_eq!(stored(&kept, "c")[0].events, events);
    gate.open();
}

#[actix::test]
async fn a_house_that_closes_lets_running_turns_end_and_cuts_them_off_with_what_was_said() {
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { gate: gate.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let mut cursor = start(&conversation, question("t", "what is a heap?")).await;
    gate.permit(1);
    while !matches!(cursor.next().await.unwrap().event, TurnEvent::Token(_)) {}
    tutor.admission.close();
    let other = tutor.open("d").await;
    let refused = other.actor.send(StartTurn(question("t", "what is a list?"))).await.unwrap().unwrap_err();
    assert!(refused.code == ErrorCode::Unavailable && refused.retry_after.is_some(), "{refused:?}");
    tutor.services.cut_off.cancel();
    tutor.admission.empty().await;
    let events = until_end(&mut cursor).await;
    assert_eq!(completion(&events).finish_reason, FinishReason::Cancelled);
    assert_eq!(stored(&tutor.kept, "c")[0].end(), Some(&events.last().unwrap().event));
    gate.open();
}

#[actix::test]
async fn a_panic_in_the_store_costs_the_turn_that_was_written_and_no_other() {
    let tutor = Tutor::start(Script::default());
    let broken = tutor.storage.run(Lane::Interactive, |_| -> Result<(), EngineError> { panic!("a broken page") });
    assert_eq!(broken.await.unwrap_err().code, ErrorCode::Unavailable);
    completion(&ask(&tutor.open("c").await, "t", "what is a heap?").await);
    assert_eq!(tutor.storage.health().restarts(), 1);
}

/// Numbers that look random; the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A client that loses its connection again and again, and what it got. With a gate it lets the engine make a step whenever it
/// waits for one.
async fn flaky_client(
    conversation: &Conversation,
    gate: Option<&Gate>,
    turns: usize,
    mut dice: Dice,
) -> (Vec<NumberedEvent>, usize) {
    let (mut got, mut ends, mut losses) = (Vec::<NumberedEvent>::new(), 0, 0);
    while ends < turns {
        let mut cursor = conversation.state.log.watch(after_of(&got));
        for _ in 0..=dice.below(4) {
            if let Some(gate) = gate.filter(|_| conversation.state.log.last_seq() == after_of(&got)) {
                gate.permit(1);
            }
            let event = cursor.next().await.unwrap();
            ends += usize::from(event.event.is_terminal());
            got.push(event);
            if ends == turns {
                break;
            }
        }
        losses += 1;
        for _ in 0..dice.below(3) {
            tokio::task::yield_now().await;
        }
    }
    (got, losses)
}

fn after_of(got: &[NumberedEvent]) -> u64 {
    got.last().map_or(0, |event| event.seq)
}

#[actix::test]
async fn whatever_connections_are_lost_every_transcript_is_whole_in_order_and_the_stored_answer() {
    const TURNS: usize = 12;
    let pieces: Vec<&'static str> = ["A heap ", "is ", "a tree ", "in an array", "; ", "ä€😀 "].repeat(20);
    let answer = pieces.concat();
    let kept = FakeConversations::default();
    let gate = Arc::new(Gate::default());
    let tutor = Tutor::start(Script { pieces, gate: gate.clone(), kept: kept.clone(), ..Script::default() });
    let conversation = tutor.open("c").await;
    let asking = async {
        for number in 0..TURNS {
            ask(&conversation, &format!("t{number}"), "what is a heap?").await;
        }
    };
    let clients = (0..8).map(|seed| flaky_client(&conversation, (seed == 0).then_some(&gate), TURNS, Dice(seed)));
    let (all, ()) = tokio::join!(futures_util::future::join_all(clients), asking);

    let stored = stored(&kept, "c");
    let kept_events: Vec<NumberedEvent> = stored.iter().flat_map(|turn| turn.events.clone()).collect();
    let losses: usize = all.iter().map(|(_, losses)| losses).sum();
    assert!(losses > 2_000, "only {losses} connections were lost");
    for (got, _) in &all {
        assert_eq!(*got, kept_events);
    }
    assert!(kept_events.iter().enumerate().all(|(place, event)| event.seq == place as u64 + 1));
    for turn in &stored {
        let tokens: String = turn.events.iter().filter_map(|event| text_of(&event.event)).collect();
        let Some(TurnEvent::Completed(done)) = turn.end() else { panic!("{:?}", turn.end()) };
        assert_eq!((tokens.as_str(), done.answer.as_str()), (answer.as_str(), answer.as_str()));
    }
}

fn text_of(event: &TurnEvent) -> Option<&str> {
    match event {
        TurnEvent::Token(text) => Some(text),
        _ => None,
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A store with a conversation from long ago.
fn with_an_old_one() -> FakeConversations {
    let kept = FakeConversations::default();
    kept.clone().write(&[TurnChange::Begin(turn_begin("old", std::time::UNIX_EPOCH + DAY))]).unwrap();
    kept
}

/// As if the hour after the last look had passed.
async fn forget_old(tutor: &Tutor, now: Moment) -> usize {
    tutor.conversations.send(ForgetOld(now)).await.unwrap()
}

fn later(by: Duration) -> Moment {
    let now = Moment::now();
    Moment { date: now.date + by, instant: now.instant + by }
}

#[actix::test]
async fn old_conversations_are_forgotten_when_the_program_starts_and_others_stay() {
    let kept = with_an_old_one();
    ask(&Tutor::start(script(&kept)).open("new").await, "t", "what is a heap?").await;
    let tutor = Tutor::start(Script { keep: Some(DAY), ..script(&kept) });
    let forgotten = async {
        while !stored(&kept, "old").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(settings().time_limit, forgotten).await.expect("it is still there");
    assert_eq!(stored(&kept, "new").len(), 1);
    drop(tutor);
    let kept = with_an_old_one();
    let for_ever = Tutor::start(script(&kept));
    assert_eq!((forget_old(&for_ever, later(DAY * 1_000)).await, stored(&kept, "old").len()), (0, 1));
}

#[actix::test]
async fn an_old_conversation_in_memory_is_forgotten_with_what_memory_has_of_it_unless_a_turn_runs() {
    let gate = Gate::opened();
    let tutor = Tutor::start(Script { keep: Some(DAY), gate: gate.clone(), ..Script::default() });
    let (idle, busy) = (tutor.open("idle").await, tutor.open("busy").await);
    ask(&idle, "t", "what is a heap?").await;
    gate.shut();
    let mut cursor = start(&busy, question("t", "what is a heap?")).await;
    assert_eq!(forget_old(&tutor, later(DAY * 2)).await, 1);
    assert!(!idle.actor.connected() && stored(&tutor.kept, "idle").is_empty());
    assert_eq!(tutor.open("idle").await.state.log.last_seq(), 0);
    gate.open();
    completion(&until_end(&mut cursor).await);
    assert_eq!(stored(&tutor.kept, "busy").len(), 1);
}

#[actix::test]
async fn a_date_that_jumps_ahead_costs_no_conversation() {
    let tutor = Tutor::start(Script { keep: Some(DAY), ..Script::default() });
    ask(&tutor.open("c").await, "t", "what is a heap?").await;
    let jumped = Moment { date: later(DAY * 1_000).date, ..Moment::now() };
    assert_eq!(forget_old(&tutor, jumped).await, 0);
    assert_eq!(stored(&tutor.kept, "c").len(), 1);
    assert_eq!(forget_old(&tutor, Moment::now()).await, 0, "put right again, which is a jump as well");
    assert_eq!(forget_old(&tutor, later(DAY * 2)).await, 1);
}
