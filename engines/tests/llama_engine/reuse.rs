//! What was evaluated once is not evaluated again.

use mentor_actors::ports::{GenerationEngine, Role, SlotOutput};

use crate::support::{self, SYSTEM, ask, engine, message, write};

#[test]
fn a_conversation_that_goes_on_reuses_what_was_evaluated() {
    let Some(mut engine) = engine() else { return };
    let first = write(&mut engine, &ask("What is a queue?", "a", 20));
    let mut next = ask("What is a queue?", "a", 5);
    next.messages.push(message(Role::Assistant, &first.text));
    next.messages.push(message(Role::User, "And what is a stack?"));
    let reused = write(&mut engine, &next);
    // The last token of an answer is chosen, not evaluated.
    let evaluated = first.begun.prompt_tokens + first.tokens - 1;
    assert!(reused.begun.cached_tokens >= evaluated, "{:?} after {:?}", reused.begun, first.begun);
}

#[test]
fn a_reused_prefix_changes_nothing_in_the_answer() {
    let Some(mut engine) = engine() else { return };
    let passage = "A queue gives back first what was put in first. ".repeat(8);
    let question = |about: &str| ask(&format!("{passage}\n\nQuestion: {about}"), "a", 30);
    let first = write(&mut engine, &question("What does a queue give back first?"));
    let reused = write(&mut engine, &question("What is a queue?"));
    assert!(reused.begun.cached_tokens > 80, "{:?} after {:?}", reused.begun, first.begun);
    let fresh = write(&mut support::engine().expect("it was there"), &question("What is a queue?"));
    assert_eq!(fresh.begun.cached_tokens, 0);
    assert_eq!(fresh.text, reused.text);
}

#[test]
fn a_repeated_question_still_evaluates_its_last_token() {
    let Some(mut engine) = engine() else { return };
    let first = write(&mut engine, &ask("What is a tree?", "a", 10));
    let again = write(&mut engine, &ask("What is a tree?", "a", 10));
    assert_eq!(again.begun.cached_tokens, again.begun.prompt_tokens - 1);
    assert_eq!(again.text, first.text);
}

#[test]
fn another_conversation_reuses_the_system_message_only() {
    let Some(mut engine) = engine() else { return };
    let system_tokens = {
        let with = engine.count_prompt_tokens(&[message(Role::System, SYSTEM), message(Role::User, "x")]).unwrap();
        let empty = engine.count_prompt_tokens(&[message(Role::System, ""), message(Role::User, "x")]).unwrap();
        with - empty
    };
    write(&mut engine, &ask("What is a tree?", "a", 10));
    let other = write(&mut engine, &ask("What is a tree?", "b", 10));
    let begins_system = 3;
    assert_eq!(other.begun.cached_tokens, system_tokens + begins_system);

    let mut unlike = ask("What is a tree?", "c", 10);
    unlike.messages[0].text = "Answer in French.".into();
    assert_eq!(write(&mut engine, &unlike).begun.cached_tokens, begins_system);
}

#[test]
fn a_generation_ended_in_the_middle_of_its_prompt_leaves_a_usable_slot() {
    let Some(mut engine) = engine() else { return };
    let long = ask(&"A heap keeps its smallest value on top. ".repeat(30), "a", 10);
    let begun = engine.begin(0, &long).unwrap();
    assert!(begun.prompt_tokens > 2 * 64);
    for _ in 0..2 {
        assert_eq!(engine.step().unwrap(), [(0, SlotOutput::Prefilled)]);
    }
    let read = engine.scheduler().evaluated(0);
    assert!(read >= 64, "{read}");
    engine.end(0);
    assert_eq!(engine.step().unwrap(), []);

    let next = write(&mut engine, &ask("What is the capital of France?", "b", 60));
    assert!(next.text.contains("Paris"), "{:?}", next.text);
    assert_eq!(write(&mut engine, &long).begun.cached_tokens, read, "what was read before the end is kept");
}

#[test]
fn an_evaluated_part_of_an_ended_prompt_is_not_evaluated_again() {
    let Some(mut engine) = engine() else { return };
    let long = ask(&"A heap keeps its smallest value on top. ".repeat(30), "a", 10);
    engine.begin(0, &long).unwrap();
    // What all share is read by itself, to be copied; then the first part of the rest.
    engine.step().unwrap();
    let shared = engine.scheduler().evaluated(0);
    engine.step().unwrap();
    engine.end(0);
    assert_eq!(engine.begin(0, &long).unwrap().cached_tokens, shared + 64);
}

#[test]
fn a_conversation_comes_back_to_a_slot_that_others_had_meanwhile() {
    let Some(mut engine) = engine() else { return };
    let first = ask(&"A heap keeps its smallest value on top. ".repeat(20), "mine", 20);
    let begun = write(&mut engine, &first).begun;
    for other in 0..3 {
        write(&mut engine, &ask("What is a queue?", &format!("other {other}"), 5));
    }
    let again = write(&mut engine, &first);
    assert_eq!(again.begun.cached_tokens, begun.prompt_tokens - 1, "all but the last token were kept in memory");
    let fresh = write(&mut support::engine().expect("it was there"), &first);
    assert_eq!(again.text, fresh.text);
}
