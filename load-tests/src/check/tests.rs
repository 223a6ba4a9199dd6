//! Each rule, with a turn without fault and one that breaks it.

use serde_json::{Value, json};

use super::*;

fn ready() -> Value {
    json!({"type": "ready", "protocol": 1, "conversation_id": "c", "last_seq": 0, "model": "m", "busy": false})
}

/// The events of a turn without fault, numbered from `first`.
fn turn(turn_id: &str, first: u64) -> Vec<Value> {
    let usage = json!({"prompt_tokens": 9, "cached_tokens": 3, "completion_tokens": 2});
    let mut events = vec![
        json!({"type": "workflow", "node": "retrieve", "message": "Searching"}),
        json!({"type": "sources", "sources": [{"id": 1}]}),
        json!({"type": "token", "content": "A he"}),
        json!({"type": "token", "content": "ap."}),
        json!({"type": "citation", "source": 1, "start": 0, "end": 7, "score": 0.9}),
        json!({"type": "complete", "answer": "A heap.", "sources": [{"id": 1}], "conversation_id": "c",
               "finish_reason": "stop", "usage": usage}),
    ];
    for (seq, event) in (first..).zip(&mut events) {
        event["seq"] = json!(seq);
        event["turn_id"] = json!(turn_id);
    }
    events
}

/// What the frames mean, and the rules they break, for a client that asks `t1` once it is ready.
fn judge(frames: &[Value]) -> (Vec<Heard>, Vec<Rule>) {
    let mut check = ProtocolCheck::new("c");
    let heard = frames
        .iter()
        .map(|frame| {
            let heard = check.take(&frame.to_string());
            if heard == Heard::Ready {
                check.begin("t1");
            }
            heard
        })
        .collect();
    let (_, violations) = check.into_parts();
    (heard, violations.into_iter().map(|violation| violation.rule).collect())
}

/// The rules that a turn breaks after `spoil` has changed it; index 0 is `ready`.
fn broken_by(spoil: impl FnOnce(&mut Vec<Value>)) -> Vec<Rule> {
    let mut frames = vec![ready()];
    frames.extend(turn("t1", 1));
    spoil(&mut frames);
    judge(&frames).1
}

#[test]
fn a_turn_without_fault_breaks_no_rule() {
    let mut frames = vec![ready()];
    frames.extend(turn("t1", 1));
    let (heard, broken) = judge(&frames);
    assert_eq!(broken, []);
    let usage = Usage { prompt_tokens: 9, cached_tokens: 3, completion_tokens: 2 };
    let end = Heard::Completed(Completion { finish_reason: "stop".into(), usage, answer: "A heap.".into() });
    let (progress, tokens) = (Heard::Progress, ["A he", "ap."].map(|text| Heard::Token(text.into())));
    let [first, second] = tokens;
    assert_eq!(heard, [Heard::Ready, progress.clone(), progress.clone(), first, second, progress, end]);
}

#[test]
fn numbers_go_on_in_the_next_turn() {
    let mut check = ProtocolCheck::new("c");
    check.take(&ready().to_string());
    for (turn_id, first) in [("t1", 1), ("t2", 7)] {
        check.begin(turn_id);
        turn(turn_id, first).iter().for_each(|event| drop(check.take(&event.to_string())));
    }
    assert_eq!(check.into_parts(), (Some("m".into()), vec![]));
}

#[test]
fn ready_must_come_first_and_once() {
    assert!(broken_by(|frames| drop(frames.remove(0))).contains(&Rule::ReadyFirst));
    let (_, broken) = judge(&[ready(), ready()]);
    assert_eq!(broken, [Rule::ReadyFirst]);
}

#[test]
fn ready_must_describe_the_new_conversation() {
    assert_eq!(broken_by(|frames| frames[0]["protocol"] = json!(2)), [Rule::ReadyFirst]);
    assert_eq!(broken_by(|frames| frames[0]["conversation_id"] = json!("d")), [Rule::ReadyFirst]);
    assert_eq!(broken_by(|frames| frames[0]["busy"] = json!(true)), [Rule::ReadyFirst]);
}

#[test]
fn numbers_must_begin_with_one_and_have_no_gap() {
    assert_eq!(broken_by(|frames| frames[6]["seq"] = json!(7)), [Rule::SeqWithoutGaps]);
    assert_eq!(broken_by(|frames| drop(frames.remove(1))), [Rule::SeqWithoutGaps]);
    assert_eq!(broken_by(|frames| frames[6]["seq"] = Value::Null), [Rule::SeqWithoutGaps]);
}

#[test]
fn a_gap_is_counted_once() {
    assert_eq!(broken_by(|frames| drop(frames.remove(5))), [Rule::SeqWithoutGaps]);
}

#[test]
fn the_first_token_must_not_come_before_the_sources() {
    let swap = |frames: &mut Vec<Value>| {
        frames.swap(2, 3);
        frames[2]["seq"] = json!(2);
        frames[3]["seq"] = json!(3);
    };
    assert_eq!(broken_by(swap), [Rule::SourcesBeforeTokens]);
}

#[test]
fn a_turn_must_not_end_twice_nor_go_on_behind_its_end() {
    let repeat = |kind: usize| {
        move |frames: &mut Vec<Value>| {
            let mut event = frames[kind].clone();
            event["seq"] = json!(7);
            frames.push(event);
        }
    };
    assert_eq!(broken_by(repeat(6)), [Rule::OneEnd]);
    assert_eq!(broken_by(repeat(4)), [Rule::EventsOfTheTurn]);
}

#[test]
fn events_of_another_turn_are_strange() {
    assert_eq!(broken_by(|frames| frames[1]["turn_id"] = json!("t0")), [Rule::EventsOfTheTurn]);
}

#[test]
fn the_tokens_must_be_the_answer() {
    assert_eq!(broken_by(|frames| frames[3]["content"] = json!("A  he")), [Rule::TokensAreTheAnswer]);
    assert_eq!(broken_by(|frames| frames[6]["answer"] = json!("A heap")), [Rule::TokensAreTheAnswer]);
}

#[test]
fn an_error_ends_a_turn_as_well() {
    let error = json!({"type": "error", "code": "internal", "message": "x", "seq": 1, "turn_id": "t1"});
    let (heard, broken) = judge(&[ready(), error]);
    assert_eq!(heard[1], Heard::Failed(Failure::new("internal", "x")));
    assert_eq!(broken, []);
}

#[test]
fn a_refused_question_is_an_error_without_a_turn() {
    let error = json!({"type": "error", "code": "overloaded", "message": "x", "retry_after_ms": 250});
    let refusal = Heard::Failed(Failure::new("overloaded", "x").retry_after_ms(Some(250)));
    assert_eq!(judge(&[ready(), error.clone()]), (vec![Heard::Ready, refusal.clone()], vec![]));
    assert_eq!(judge(&[error]), (vec![refusal], vec![]));
}

#[test]
fn a_turn_that_runs_cannot_be_refused() {
    let error = json!({"type": "error", "code": "not_found", "message": "x"});
    assert_eq!(broken_by(|frames| frames.insert(3, error)), [Rule::OneEnd]);
}

#[test]
fn unknown_events_are_ignored_but_counted() {
    let ignored = json!({"type": "hint", "seq": 1, "turn_id": "t1"});
    let mut frames = vec![ready(), ignored, json!({"type": "news"})];
    frames.extend(turn("t1", 2));
    assert_eq!(judge(&frames).1, []);
}

#[test]
fn what_is_no_frame_breaks_the_shape() {
    let mut check = ProtocolCheck::new("c");
    assert_eq!(check.take("{"), Heard::Progress);
    assert_eq!(check.into_parts().1[0].rule, Rule::Shape);
    assert_eq!(broken_by(|frames| frames[6]["usage"] = Value::Null), [Rule::Shape]);
}

#[test]
fn a_server_that_goes_away_ends_the_turn_first() {
    let mut check = ProtocolCheck::new("c");
    check.take(&ready().to_string());
    check.take_close(1001);
    check.begin("t1");
    check.take_close(1013);
    check.take_close(1001);
    let (_, violations) = check.into_parts();
    assert_eq!(violations.iter().map(|violation| violation.rule).collect::<Vec<_>>(), [Rule::OneEnd]);
}
