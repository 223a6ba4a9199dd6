//! What was evaluated once is not evaluated again.

use mentor_actors::batching::BatchSettings;
use mentor_actors::ports::{GenerationEngine, Role};

use crate::support::{ROOMY, engine, generation, long_prompt, message, run, run_all};

#[test]
fn a_second_turn_evaluates_what_is_new_also_after_sixteen_large_ones_had_the_slot() {
    for sequences in [1, 4] {
        let mut engine = engine(sequences, ROOMY);
        let system = message(Role::System, &"b".repeat(30));
        let first = vec![system.clone(), message(Role::User, &"cdef".repeat(250))];
        let (_, answer) = run(&mut engine, &generation(first.clone(), "mine", 20));
        for other in 0..16 {
            // As large as a whole sequence.
            let asked = vec![system.clone(), message(Role::User, &"fedc".repeat(490))];
            run(&mut engine, &generation(asked, &format!("other {other}"), 5));
        }
        let second = [first, vec![message(Role::Assistant, &answer), message(Role::User, "bcd")]].concat();
        let before = engine.decoder().evaluated;
        let (begun, _) = run(&mut engine, &generation(second, "mine", 1));
        assert!(begun.cached_tokens > 1_000, "{begun:?}");
        let new = (begun.prompt_tokens - begun.cached_tokens) as u64;
        assert!(new < 10, "{begun:?}");
        assert_eq!(engine.decoder().evaluated - before, new, "{sequences} sequences");
    }
}

#[test]
fn nobody_reuses_what_another_conversation_asked() {
    let mut engine = engine(2, ROOMY);
    let asked = vec![message(Role::System, &"b".repeat(30)), message(Role::User, &"cdef".repeat(50))];
    let (first, _) = run(&mut engine, &generation(asked.clone(), "mine", 5));
    let (second, _) = run(&mut engine, &generation(asked, "another", 5));
    assert_eq!((first.cached_tokens, second.cached_tokens), (0, 31), "the system message and no more");
}

#[test]
fn a_conversation_is_not_pushed_out_of_memory_by_the_one_it_displaces() {
    // Room for one copy of 104 bytes a token.
    let mut engine = engine(1, BatchSettings { state_bytes: 104 * 250, draft_tokens: 0 });
    let ask = |scope: &str, letters: &str| generation(long_prompt(letters, 200), scope, 1);
    run(&mut engine, &ask("a", "bcd"));
    run(&mut engine, &ask("b", "cde"));
    for (scope, letters) in [("a", "bcd"), ("b", "cde"), ("a", "bcd")] {
        let (begun, _) = run(&mut engine, &ask(scope, letters));
        assert_eq!(begun.cached_tokens, begun.prompt_tokens - 1, "{scope}");
    }
}

#[test]
fn what_all_share_is_read_once_also_by_those_who_come_together() {
    let mut engine = engine(4, ROOMY);
    let system = "bcdef".repeat(8);
    let ask = |slot: usize| {
        let question = long_prompt(["bcd", "cde", "def", "efb"][slot], 30).remove(0);
        generation(vec![message(Role::System, &system), question], &slot.to_string(), 1)
    };
    for slot in 0..4 {
        assert_eq!(engine.begin(slot, &ask(slot)).unwrap().cached_tokens, 0, "nothing is there yet");
    }
    run_all(&mut engine, 4);
    assert_eq!(engine.decoder().evaluated, 41 + 4 * 31);
    assert_eq!(engine.decoder().saves.get(), 1);
}

#[test]
fn what_all_share_is_read_by_everybody_where_no_copy_can_be_kept() {
    let mut engine = engine(4, BatchSettings { state_bytes: 0, draft_tokens: 0 });
    let ask = |slot: usize| {
        let messages = vec![message(Role::System, &"bcdef".repeat(8)), message(Role::User, "bcd")];
        generation(messages, &slot.to_string(), 1)
    };
    for slot in 0..4 {
        engine.begin(slot, &ask(slot)).unwrap();
    }
    run_all(&mut engine, 4);
    assert_eq!((engine.decoder().evaluated, engine.decoder().saves.get()), (4 * 45, 0));
}

#[test]
fn what_is_too_large_for_memory_is_copied_once_and_never_again() {
    let mut engine = engine(1, BatchSettings { state_bytes: 5_000, draft_tokens: 0 });
    for number in 0..6 {
        run(&mut engine, &generation(long_prompt("bcd", 200), &number.to_string(), 1));
    }
    assert_eq!(engine.decoder().saves.get(), 1);
}
