//! Several answers at once.

use std::collections::HashSet;

use mentor_actors::batching::BatchSettings;
use mentor_actors::ports::{Generation, GenerationEngine, Sampling, Slot, SlotOutput};
use mentor_engines::llama::{KvType, LlamaConfig, LlamaSource};

use crate::support::{LlamaEngine, SETTINGS, ask, build, config, model};

#[test]
fn slots_answer_side_by_side_and_share_the_system_message() {
    let Some(file) = model() else { return };
    let mut engine = build(&LlamaSource::new(LlamaConfig { slots: 3, ..config(file) }), SETTINGS);
    let questions =
        ["What is the capital of France?", "What is the capital of Italy?", "What is the capital of Spain?"];
    engine.begin(0, &ask(questions[0], "a", 60)).unwrap();
    while engine.step().unwrap().iter().any(|(_, output)| *output == SlotOutput::Prefilled) {}
    for slot in [1, 2] {
        let begun = engine.begin(slot, &ask(questions[slot], &format!("scope {slot}"), 60)).unwrap();
        assert!(begun.cached_tokens >= 10, "the system message was evaluated in slot 0: {begun:?}");
    }
    let texts = write_all(&mut engine, 3);
    for (slot, capital) in [(1, "Rome"), (2, "Madrid")] {
        assert!(texts[slot].contains(capital), "slot {slot}: {:?}", texts[slot]);
    }
}

/// Questions of different lengths, some of which quote their passage.
fn mixed_questions(count: usize) -> Vec<Generation> {
    let passage =
        |n: usize| format!("Rule {n}: a queue gives back first what was put in first, a stack what was put in last. ");
    let ask_one = |n: usize| {
        let asked = match n % 3 {
            0 => format!("{}Repeat rule {n} word for word.", passage(n).repeat(1 + n % 4)),
            1 => format!("What is {n} plus {n}? Explain in two sentences."),
            _ => format!("Tell me a story about a fox that is {n} years old. {}", passage(n)),
        };
        Generation { max_tokens: 40, ..ask(&asked, &n.to_string(), 40) }
    };
    (0..count).map(ask_one).collect()
}

/// What `slots` at once say to these questions, in their order.
fn answers(source: &LlamaSource, draft_tokens: usize, questions: &[Generation]) -> Vec<String> {
    let mut engine = build(source, BatchSettings { draft_tokens, ..SETTINGS });
    let mut texts = vec![String::new(); questions.len()];
    let mut running: Vec<Option<usize>> = vec![None; engine.slots()];
    let (mut next, mut ended) = (0, 0);
    while ended < questions.len() {
        for (slot, question) in running.iter_mut().enumerate() {
            if question.is_none() && next < questions.len() {
                engine.begin(slot, &questions[next]).expect("it fits");
                *question = Some(next);
                next += 1;
            }
        }
        for (slot, output) in engine.step().expect("the engine lives") {
            let question = running[slot].expect("only running slots say something");
            match output {
                SlotOutput::Token(text) => texts[question].push_str(&text),
                SlotOutput::Finished(text, _) => {
                    texts[question].push_str(&text);
                    running[slot] = None;
                    ended += 1;
                    engine.end(slot);
                }
                SlotOutput::Failed(error) => panic!("question {question} failed: {error}"),
                SlotOutput::Prefilled | SlotOutput::Counted(_) => {}
            }
        }
    }
    texts
}

/// Answers alone, with guesses, among four and among four with guesses.
fn assert_same_answers(config: LlamaConfig, questions: &[Generation]) {
    let with_slots = |slots| LlamaSource::new(LlamaConfig { slots, ..config.clone() });
    let (one, four) = (with_slots(1), with_slots(4));
    let alone = answers(&one, 0, questions);
    assert!(alone.iter().all(|answer| !answer.is_empty()), "{alone:?}");
    assert_eq!(answers(&one, 8, questions), alone, "with guesses");
    assert_eq!(answers(&four, 0, questions), alone, "among four");
    assert_eq!(answers(&four, 8, questions), alone, "among four, with guesses");
}

#[test]
fn greedy_answers_are_the_same_alone_among_others_and_with_guesses() {
    let Some(file) = model() else { return };
    assert_same_answers(config(file), &mixed_questions(12));
}

#[test]
fn answers_by_chance_are_the_same_with_the_same_seed_alone_among_others_and_with_guesses() {
    let Some(file) = model() else { return };
    let with_seeds = |first: u32| {
        let mut questions = mixed_questions(8);
        for (seed, question) in (first..).zip(&mut questions) {
            question.sampling = Sampling { temperature: 0.8, top_p: 0.95, seed, ..Sampling::greedy() };
        }
        questions
    };
    assert_same_answers(config(file.clone()), &with_seeds(1));
    let one = LlamaSource::new(config(file));
    assert_ne!(answers(&one, 0, &with_seeds(1)), answers(&one, 0, &with_seeds(101)), "chance has no say");
}

/// Fifty short questions that have little in common.
fn fifty_questions() -> Vec<Generation> {
    const THINGS: [&str; 10] = [
        "a stack",
        "a queue",
        "a heap",
        "a hash table",
        "a graph",
        "recursion",
        "sorting",
        "a tree",
        "a list",
        "a loop",
    ];
    const WAYS: [&str; 5] = [
        "Explain THING to a child.",
        "Name two uses of THING and one thing to be careful about.",
        "A student asks whether THING is fast. What do you say?",
        "Write the first two lines of a poem about THING, please.",
        "Compare THING with a drawer full of socks, in a sentence that is easy to remember.",
    ];
    let ask_one = |n: usize| {
        let asked = WAYS[n / THINGS.len()].replace("THING", THINGS[n % THINGS.len()]);
        ask(&asked, &n.to_string(), 24)
    };
    (0..50).map(ask_one).collect()
}

#[test]
fn fifty_greedy_answers_are_the_same_alone_among_four_and_among_eight() {
    let Some(file) = model() else { return };
    let questions = fifty_questions();
    let with_slots = |slots| LlamaSource::new(LlamaConfig { slots, context_tokens: 256, ..config(file.clone()) });
    let alone = answers(&with_slots(1), 0, &questions);
    let different: HashSet<&String> = alone.iter().collect();
    assert!(different.len() > 40, "only {} different answers", different.len());
    for slots in [4, 8] {
        for (number, (among, alone)) in answers(&with_slots(slots), 0, &questions).iter().zip(&alone).enumerate() {
            assert_eq!(among, alone, "question {number} among {slots}");
        }
    }
}

#[test]
fn long_conversations_too_where_keys_and_values_are_stored_as_q8_0() {
    let Some(file) = model() else { return };
    let passage = "A heap keeps its smallest value on top, and its children are never smaller than itself. ".repeat(20);
    let question = |n: usize| ask(&format!("{passage}Write a sentence with {n} words about this."), &n.to_string(), 30);
    let config =
        LlamaConfig { kv_type_k: KvType::Q8_0, kv_type_v: KvType::Q8_0, batch_tokens: Some(128), ..config(file) };
    assert_same_answers(config, &(5..9).map(question).collect::<Vec<_>>());
}

#[test]
fn a_pool_too_small_for_all_sets_one_back_and_all_finish() {
    let Some(file) = model() else { return };
    let config = LlamaConfig { slots: 4, context_tokens: 256, cells: 320, ..config(file) };
    let story = |n: usize| ask(&format!("Tell me a long story about {n} foxes."), &n.to_string(), 120);
    let texts = answers(&LlamaSource::new(config), 0, &(2..6).map(story).collect::<Vec<_>>());
    assert!(texts.iter().all(|text| text.len() > 20), "{texts:?}");
}

fn resident_mebibytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) >> 10
}

#[test]
fn hundreds_of_turns_cancelled_at_any_moment_leave_nothing_behind() {
    let Some(file) = model() else { return };
    let source = LlamaSource::new(LlamaConfig { slots: 4, context_tokens: 256, ..config(file) });
    let mut engine = build(&source, BatchSettings { state_bytes: 4 << 20, draft_tokens: 8 });
    let mut number = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |limit: u64| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number % limit
    };
    let (mut turns, mut warm, mut left) = (0, 0, [0u64; 4]);
    while turns < 300 {
        for (slot, steps) in left.iter_mut().enumerate() {
            if *steps == 0 {
                engine.end(slot);
                let question = format!("What is {}?", ["a stack", "a queue", "a heap"][below(3) as usize]);
                engine.begin(slot, &ask(&question, &below(20).to_string(), 30)).expect("the slot is free");
                *steps = 1 + below(4);
                turns += 1;
            }
            *steps -= 1;
        }
        for (slot, output) in engine.step().expect("the engine lives") {
            if matches!(output, SlotOutput::Finished(..) | SlotOutput::Failed(_)) {
                left[slot] = 0;
            }
        }
        if turns == 100 {
            warm = resident_mebibytes();
        }
    }
    (0..4).for_each(|slot| engine.end(slot));
    let grown = resident_mebibytes().saturating_sub(warm);
    // Not asserted: tests that run beside this one allocate too. Alone it says how much 200 turns leave behind.
    eprintln!("{grown} MiB more after 200 turns");
    assert!(engine.scheduler().cells_used() <= 4 * 256 && engine.step().unwrap().is_empty());
}

/// Steps until every slot has finished; the texts that came from now on.
fn write_all(engine: &mut LlamaEngine, slots: usize) -> Vec<String> {
    let mut texts = vec![String::new(); slots];
    let mut running: Vec<Slot> = (0..slots).collect();
    while !running.is_empty() {
        for (slot, output) in engine.step().expect("the engine lives") {
            match output {
                SlotOutput::Prefilled => {}
                SlotOutput::Token(text) => texts[slot].push_str(&text),
                SlotOutput::Finished(text, _) => {
                    texts[slot].push_str(&text);
                    running.retain(|&other| other != slot);
                    engine.end(slot);
                }
                SlotOutput::Counted(_) => {}
                SlotOutput::Failed(error) => panic!("slot {slot} failed: {error}"),
            }
        }
    }
    texts
}
