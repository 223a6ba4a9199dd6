//! Who is served before whom.

use mentor_actors::ports::{GenerationEngine, Role, SlotOutput};

use crate::support::{ROOMY, engine, generation, message};

#[test]
fn answers_go_on_while_a_long_prompt_is_read() {
    let mut engine = engine(2, ROOMY);
    engine.begin(0, &generation(vec![message(Role::User, "bcdef")], "a", 500)).unwrap();
    engine.step().unwrap();
    engine.begin(1, &generation(vec![message(Role::User, &"bcdef".repeat(300))], "b", 5)).unwrap();
    let mut steps = 0;
    loop {
        let outputs = engine.step().unwrap();
        let wrote = outputs.iter().filter(|(slot, _)| *slot == 0).count();
        assert!(wrote == 1, "step {steps} brought {outputs:?}");
        if outputs.iter().any(|(slot, output)| *slot == 1 && matches!(output, SlotOutput::Token(_))) {
            break;
        }
        if outputs.iter().any(|(_, output)| matches!(output, SlotOutput::Finished(..))) {
            engine.end(0);
            break;
        }
        steps += 1;
    }
    assert!(steps <= 1_501 / 64 + 1, "{steps} steps");
}

#[test]
fn a_short_prompt_overtakes_a_long_one_and_only_a_bounded_number_does() {
    let mut engine = engine(4, ROOMY);
    let prompt = |length: usize| vec![message(Role::User, &"bcdef".repeat(length / 5))];
    engine.begin(0, &generation(prompt(600), "long", 1)).unwrap();
    let mut finished = Vec::new();
    let mut next = 0;
    while !finished.contains(&0) {
        assert!(next < 30, "the long prompt starves");
        for slot in 1..4 {
            if engine.scheduler().is_free(slot) {
                engine.begin(slot, &generation(prompt(100), &format!("short {next}"), 1)).unwrap();
                next += 1;
            }
        }
        for (slot, output) in engine.step().unwrap() {
            if matches!(output, SlotOutput::Finished(..)) {
                finished.push(slot);
                engine.end(slot);
            }
        }
    }
    assert!((3..12).contains(&finished.len()), "{finished:?}");
}
