//! Whatever happens in whatever order: nothing is lost, and every turn ends once.

use std::sync::Arc;

use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::ports::{Begun, DecoderShape, GenerationEngine, PromptMessage, Role, Slot, SlotOutput};
use mentor_actors::telemetry::Silent;

use crate::decoder::{Faults, Random, StrictDecoder};
use crate::support::{StrictEngine, expected, generation, message};

const STEPS: u64 = 1_000_000;
const EPISODES: u64 = 24;
/// Steps in which everything that runs must have ended.
const DRAIN: usize = 5_000;

struct Turn {
    messages: Vec<PromptMessage>,
    scope: usize,
    max_tokens: usize,
    text: String,
}

/// What happened in many random steps.
#[derive(Debug, Default)]
struct Tally {
    steps: u64,
    begun: u64,
    finished: u64,
    cancelled: u64,
    failed: u64,
    cached: u64,
    checked: u64,
    set_back: u64,
    lost: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.begun += other.begun;
        self.finished += other.finished;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.cached += other.cached;
        self.checked += other.checked;
        self.set_back += other.set_back;
        self.lost += other.lost;
    }
}

/// An engine that lives at random, and what is known about it.
struct Life {
    shape: DecoderShape,
    random: Random,
    engine: StrictEngine,
    turns: Vec<Option<Turn>>,
    histories: Vec<Vec<PromptMessage>>,
    tally: Tally,
}

impl Life {
    fn new(seed: u64, shape: DecoderShape, settings: BatchSettings, faults: Faults) -> Self {
        Self {
            shape,
            random: Random(seed | 1),
            engine: BatchEngine::new(StrictDecoder::with_faults(shape, faults), settings, Arc::new(Silent)),
            turns: (0..shape.sequences).map(|_| None).collect(),
            histories: vec![Vec::new(); 7],
            tally: Tally::default(),
        }
    }

    /// Begins, cancels and steps at random, and then lets everything end.
    fn live(mut self, steps: u64) -> Tally {
        for _ in 0..steps {
            for slot in 0..self.shape.sequences {
                if self.turns[slot].is_none() && self.random.chance(15) {
                    self.begin(slot);
                } else if self.turns[slot].is_some() && self.random.chance(1) {
                    self.end(slot);
                    self.tally.cancelled += 1;
                }
            }
            self.step();
        }
        for _ in 0..DRAIN {
            if self.turns.iter().all(Option::is_none) {
                break;
            }
            self.step();
        }
        assert!(self.turns.iter().all(Option::is_none), "a turn has no end: {:?}", self.tally);
        assert!(self.engine.step().unwrap().is_empty(), "nobody runs");
        self.tally.set_back = self.engine.scheduler().times_set_back();
        self.tally.lost = self.engine.decoder().lost as u64;
        assert_eq!(self.engine.decoder().refusals, 0, "what was planned fits");
        self.tally
    }

    fn step(&mut self) {
        self.tally.steps += 1;
        for (slot, output) in self.engine.step().unwrap() {
            let turn =
                self.turns[slot].as_mut().expect("only a running slot says something, and nothing after its end");
            match output {
                SlotOutput::Token(text) => turn.text.push_str(&text),
                SlotOutput::Finished(rest, _) => {
                    turn.text.push_str(&rest);
                    self.finish(slot);
                }
                SlotOutput::Failed(_) => {
                    self.end(slot);
                    self.tally.failed += 1;
                }
                SlotOutput::Prefilled | SlotOutput::Counted(_) => {}
            }
        }
        let cells = self.engine.decoder().cells();
        assert!(cells <= self.shape.cells);
        assert_eq!(cells, self.engine.scheduler().cells_used(), "a cell leaked");
    }

    fn begin(&mut self, slot: Slot) {
        let scope = self.random.below(self.histories.len());
        if self.turns.iter().flatten().any(|turn| turn.scope == scope) {
            return;
        }
        let limit = self.engine.context_tokens();
        let used: usize = self.histories[scope].iter().map(|message| message.text.len() + 1).sum();
        if self.histories[scope].is_empty() || used * 2 > limit || self.random.chance(10) {
            let system = ["bbcdbcdbcdbcdbcdbcdbcd", "cdefcdef"][self.random.below(2)];
            self.histories[scope] = vec![message(Role::System, system)];
        }
        let mut messages = self.histories[scope].clone();
        messages.push(message(Role::User, &self.random.text(limit / 4)));
        let max_tokens = self.random.below(30);
        let asked = generation(messages.clone(), &format!("scope {scope}"), max_tokens);
        let begun = self.engine.begin(slot, &asked).unwrap();
        let Begun { prompt_tokens, cached_tokens } = begun;
        assert!(cached_tokens < prompt_tokens, "{begun:?}: the last token is always evaluated");
        self.tally.begun += 1;
        self.tally.cached += cached_tokens as u64;
        self.turns[slot] = Some(Turn { messages, scope, max_tokens, text: String::new() });
    }

    fn end(&mut self, slot: Slot) -> Option<Turn> {
        self.engine.end(slot);
        self.turns[slot].take()
    }

    fn finish(&mut self, slot: Slot) {
        let Some(turn) = self.end(slot) else { return };
        self.tally.finished += 1;
        // The reference is slow; a part of them says enough.
        if self.random.chance(20) {
            self.tally.checked += 1;
            assert_eq!(turn.text, expected(&turn.messages, turn.max_tokens, self.shape), "after {:?}", turn.messages);
        }
        let history = &mut self.histories[turn.scope];
        *history = turn.messages;
        history.push(message(Role::Assistant, &turn.text));
    }
}

/// Shapes from roomy to so narrow that not even two conversations fit.
fn shapes() -> Vec<DecoderShape> {
    let mut shapes = Vec::new();
    for (sequences, sequence_tokens, cells, batch_tokens) in
        [(1, 120, 120, 16), (4, 120, 480, 32), (6, 160, 960, 8), (4, 120, 260, 16), (8, 120, 130, 24), (3, 120, 121, 4)]
    {
        let mixes = cells < sequences * sequence_tokens || sequences == 1;
        shapes.push(DecoderShape { sequences, sequence_tokens, cells, batch_tokens, mixes });
    }
    shapes
}

/// Half of the episodes go wrong in some way.
fn faults(episode: u64) -> Faults {
    match episode / 4 {
        0 => Faults { all_or_nothing: true, ..Faults::default() },
        1 => Faults { saves: 30, restores: 30, ..Faults::default() },
        2 => Faults { no_room: 3, all_or_nothing: true, saves: 10, restores: 10, ..Faults::default() },
        _ => Faults::default(),
    }
}

#[test]
fn a_million_random_steps_lose_no_cell_no_turn_and_no_token() {
    let shapes = shapes();
    let steps = STEPS.div_ceil(shapes.len() as u64 * EPISODES);
    let (mut sound, mut faulty) = (Tally::default(), Tally::default());
    for episode in 0..EPISODES {
        let faults = faults(episode);
        for (number, shape) in shapes.iter().enumerate() {
            let settings = BatchSettings {
                state_bytes: [0, 20_000, 1 << 20][number % 3],
                draft_tokens: [0, 3, 8, 16][usize::try_from(episode % 4).unwrap()],
            };
            let seed = (episode + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64) << 32;
            let tally = Life::new(seed, *shape, settings, faults).live(steps);
            assert_eq!(tally.finished + tally.cancelled + tally.failed, tally.begun, "one end each: {tally:?}");
            assert!(tally.failed == 0 || faults.no_room > 0, "everybody fits alone, so nobody fails: {tally:?}");
            let all = if episode < EPISODES / 2 { &mut faulty } else { &mut sound };
            all.add(&tally);
        }
    }
    assert!(sound.steps + faulty.steps >= STEPS);
    for tally in [&sound, &faulty] {
        assert!(tally.finished > 5_000 && tally.cancelled > 500 && tally.checked > 1_000, "{tally:?}");
        assert!(tally.cached > 5_000 && tally.set_back > 50, "nothing was reused, or nobody gave way: {tally:?}");
    }
    assert!(faulty.failed > 0 && faulty.lost > 100, "nothing went wrong: {faulty:?}");
}
