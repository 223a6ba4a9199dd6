//! What a turn brings, and how it ends.

use mentor_actors::domain::{EngineError, FinishReason, Usage};
use mentor_actors::ports::{Generation, GenerationEngine, Role, SlotOutput};

use crate::support::{ROOMY, engine, generation, message, run};

#[test]
fn a_stop_sequence_ends_the_answer_before_it() {
    let prompt = vec![message(Role::User, &"bcdef".repeat(9))];
    let mut engine = engine(1, ROOMY);
    let (_, whole) = run(&mut engine, &generation(prompt.clone(), "a", 60));
    let stop = whole[1..3].to_owned();
    let until = whole.find(&stop).unwrap();
    let (_, text) = run(&mut engine, &Generation { stop: vec![stop], ..generation(prompt, "b", 60) });
    assert_eq!(text, whole[..until]);
}

#[test]
fn a_prompt_without_room_for_an_answer_is_too_large_and_leaves_the_slot_free() {
    let mut engine = engine(1, ROOMY);
    let long = generation(vec![message(Role::User, &"b".repeat(1_999))], "a", 5);
    assert!(matches!(engine.begin(0, &long), Err(EngineError::TooLarge(_))));
    assert!(engine.scheduler().is_free(0));
    let (_, text) = run(&mut engine, &generation(vec![message(Role::User, "bcdbcd")], "a", 0));
    assert_eq!(text, "");
    assert!(matches!(
        engine.begin(7, &generation(vec![message(Role::User, "b")], "a", 1)),
        Err(EngineError::Failed(_))
    ));
}

#[test]
fn what_is_rejected_at_its_begin_leaves_everything_as_it_was() {
    let mut engine = engine(1, ROOMY);
    let asked = vec![message(Role::System, &"b".repeat(30)), message(Role::User, &"cdef".repeat(50))];
    let (_, first) = run(&mut engine, &generation(asked.clone(), "mine", 20));
    let mut rejected = generation(vec![message(Role::User, "bcd")], "other", 20);
    rejected.sampling.grammar = Some("root ::= ".into());
    assert!(matches!(engine.begin(0, &rejected), Err(EngineError::Rejected(_))));
    assert_eq!(engine.decoder().cells(), engine.scheduler().cells_used());
    let (begun, again) = run(&mut engine, &generation(asked, "mine", 20));
    assert_eq!((begun.cached_tokens, again), (begun.prompt_tokens - 1, first));
}

#[test]
fn what_was_said_before_a_cancel_can_be_reused() {
    let mut engine = engine(1, ROOMY);
    let asked = vec![message(Role::User, &"bcdef".repeat(30))];
    engine.begin(0, &generation(asked.clone(), "a", 50)).unwrap();
    engine.step().unwrap();
    engine.end(0);
    assert!(engine.step().unwrap().is_empty(), "a cancelled turn says nothing more");
    let begun = engine.begin(0, &generation(asked, "a", 50)).unwrap();
    assert_eq!(begun.cached_tokens, 64, "one batch was read");
}

#[test]
fn finish_reasons_tell_why_an_answer_ended() {
    let mut engine = engine(1, ROOMY);
    engine.begin(0, &generation(vec![message(Role::User, "bcdef")], "a", 1)).unwrap();
    let outputs = engine.step().unwrap();
    assert!(
        matches!(
            outputs[..],
            [
                (0, SlotOutput::Counted(Usage { completion_tokens: 1, .. })),
                (0, SlotOutput::Finished(_, FinishReason::Length | FinishReason::Stop)),
            ]
        ),
        "{outputs:?}"
    );
}

#[test]
fn an_answer_s_tokens_are_counted_whatever_was_held_back_of_their_text() {
    let counted = |max_tokens, stop: &[String]| {
        let mut engine = engine(1, ROOMY);
        let asked = vec![message(Role::User, &"bcdef".repeat(9))];
        engine.begin(0, &Generation { stop: stop.to_vec(), ..generation(asked, "a", max_tokens) }).unwrap();
        let (mut counted, mut text) = (Vec::new(), String::new());
        while counted.is_empty() {
            for (_, output) in engine.step().unwrap() {
                match output {
                    SlotOutput::Counted(usage) => counted.push(usage.completion_tokens),
                    SlotOutput::Token(more) | SlotOutput::Finished(more, _) => text.push_str(&more),
                    _ => {}
                }
            }
        }
        (counted, text)
    };
    // The model's own end is no token of the answer, and each of the others is a character.
    let (whole, text) = counted(50, &[]);
    assert_eq!((&whole, text.len()), (&vec![4], 4), "{text}");
    assert_eq!(counted(3, &[]), (vec![3], text[..3].to_owned()));
    // The last character may be the beginning of this one, and comes with the end.
    let held_back = [format!("{}§", &text[3..])];
    assert_eq!(counted(50, &held_back), (whole, text.clone()));
    // This one ends the answer with its third token.
    assert_eq!(counted(50, &[text[1..3].to_owned()]), (vec![3], text[..1].to_owned()));
}
