//! Too few cells for everybody.

use std::sync::Arc;

use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::ports::{GenerationEngine, SlotOutput};
use mentor_actors::telemetry::Silent;

use crate::decoder::{Faults, StrictDecoder};
use crate::support::{ROOMY, StrictEngine, engine, expected, generation, long_prompt, pool, run, run_all};

const NOTHING_EXTRA: BatchSettings = BatchSettings { state_bytes: 0, draft_tokens: 0 };
const GUESSES: BatchSettings = BatchSettings { state_bytes: 0, draft_tokens: 8 };

fn pooled(sequences: usize, sequence_tokens: usize, cells: usize, settings: BatchSettings) -> StrictEngine {
    BatchEngine::new(StrictDecoder::new(pool(sequences, sequence_tokens, cells)), settings, Arc::new(Silent))
}

#[test]
fn a_context_too_small_for_all_sets_the_youngest_back_and_all_finish() {
    let shape = pool(4, 100, 150);
    let mut engine = pooled(4, 100, 150, NOTHING_EXTRA);
    let prompts: Vec<_> = (0..4).map(|slot| long_prompt("bcdef", 40 + 5 * slot)).collect();
    for (slot, prompt) in prompts.iter().enumerate() {
        engine.begin(slot, &generation(prompt.clone(), &slot.to_string(), 30)).unwrap();
    }
    let texts = run_all(&mut engine, 4);
    assert!(engine.scheduler().times_set_back() > 0);
    for (slot, prompt) in prompts.iter().enumerate() {
        assert_eq!(texts[slot], expected(prompt, 30, shape), "slot {slot}");
    }
}

#[test]
fn who_was_set_back_does_not_wait_for_everybody_who_comes_later() {
    let mut engine = pooled(5, 300, 300, NOTHING_EXTRA);
    engine.begin(0, &generation(long_prompt("bcdef", 100), "a", 30)).unwrap();
    engine.begin(1, &generation(long_prompt("bcdef", 240), "b", 30)).unwrap();
    let (mut later, mut ended) = (0, [false; 5]);
    for _ in 0..5_000 {
        // Three that always fit, for ever.
        for slot in [2, 3, 4] {
            if engine.scheduler().times_set_back() > 0 && engine.scheduler().is_free(slot) {
                engine.begin(slot, &generation(long_prompt("cdef", 20), &slot.to_string(), 8)).unwrap();
                later += 1;
            }
        }
        for (slot, output) in engine.step().unwrap() {
            if matches!(output, SlotOutput::Finished(..)) {
                engine.end(slot);
                ended[slot] = true;
            }
        }
        if ended[1] {
            break;
        }
    }
    assert!(ended[0] && ended[1], "{ended:?} after {later} others that came later");
    assert!(engine.scheduler().times_set_back() > 0, "both fit: the test tests nothing");
}

#[test]
fn a_decoder_without_room_for_guesses_still_answers() {
    let faults = Faults { no_room_for_guesses: true, ..Faults::default() };
    for shape in [pool(2, 300, 400), pool(2, 300, 600)] {
        let decoder = StrictDecoder::with_faults(shape, faults);
        let mut engine = BatchEngine::new(decoder, GUESSES, Arc::new(Silent));
        let prompts = [long_prompt("bcdef", 60), long_prompt("cdefb", 70)];
        for (slot, prompt) in prompts.iter().enumerate() {
            engine.begin(slot, &generation(prompt.clone(), &slot.to_string(), 60)).unwrap();
        }
        let texts = run_all(&mut engine, 2);
        assert_eq!(texts, prompts.map(|prompt| expected(&prompt, 60, shape)));
        assert_eq!(engine.scheduler().times_set_back(), 0, "guesses give way first");
    }
}

#[test]
fn where_no_part_can_be_forgotten_all_is_read_again_and_nothing_guessed_any_more() {
    let faults = Faults { all_or_nothing: true, ..Faults::default() };
    let shape = pool(1, 500, 500);
    let mut engine = BatchEngine::new(StrictDecoder::with_faults(shape, faults), GUESSES, Arc::new(Silent));
    let prompt = long_prompt("bcdefbcdcb", 100);
    let (_, text) = run(&mut engine, &generation(prompt.clone(), "a", 200));
    assert_eq!(text, expected(&prompt, 200, shape));
    assert_eq!((engine.decoder().lost, engine.scheduler().times_set_back()), (1, 0));
    let guesses = engine.decoder().guesses;
    let prompt = long_prompt("cdefcdeffe", 100);
    let (_, text) = run(&mut engine, &generation(prompt.clone(), "b", 200));
    assert_eq!((text, engine.decoder().guesses), (expected(&prompt, 200, shape), guesses));
}

#[test]
fn what_is_forgotten_for_others_in_a_pool_comes_back_from_main_memory() {
    let mut engine = pooled(3, 200, 300, ROOMY);
    for (scope, letters) in [("a", "bcd"), ("b", "cde"), ("c", "def")] {
        run(&mut engine, &generation(long_prompt(letters, 120), scope, 1));
    }
    for (scope, letters) in [("a", "bcd"), ("b", "cde"), ("c", "def"), ("a", "bcd")] {
        let (begun, _) = run(&mut engine, &generation(long_prompt(letters, 120), scope, 1));
        assert_eq!(begun.cached_tokens, begun.prompt_tokens - 1, "{scope}");
    }
}

#[test]
fn a_conversation_comes_back_where_only_its_own_sequence_has_room_for_it() {
    let mut engine = engine(1, ROOMY);
    for (scope, letters) in [("a", "bcd"), ("b", "cde")] {
        run(&mut engine, &generation(long_prompt(letters, 1_100), scope, 1));
    }
    let (begun, _) = run(&mut engine, &generation(long_prompt("bcd", 1_100), "a", 1));
    assert_eq!(begun.cached_tokens, begun.prompt_tokens - 1);
}

#[test]
fn nobody_loses_a_sequence_of_their_own_because_another_one_comes_back() {
    let mut engine = engine(4, ROOMY);
    let ask = |number: usize| generation(long_prompt("bcdef", 1_790 + number), &number.to_string(), 1);
    for number in 0..5 {
        run(&mut engine, &ask(number));
    }
    let saves = engine.decoder().saves.get();
    let (begun, _) = run(&mut engine, &ask(0));
    assert_eq!(begun.cached_tokens, begun.prompt_tokens - 1);
    assert_eq!(engine.decoder().cells(), engine.scheduler().cells_used());
    assert_eq!(engine.decoder().saves.get(), saves + 1, "one was displaced");
    assert!(engine.decoder().cells() > 4 * 1_790, "the other three have theirs still");
}
