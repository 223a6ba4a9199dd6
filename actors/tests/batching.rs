//! Continuous batching on a decoder that checks everything it is given. Its "model" says what depends on every token before,
//! so that a token in the wrong place, too many or too few, changes the answer.

use std::sync::Arc;

use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::domain::{EngineError, FinishReason, Usage};
use mentor_actors::ports::{
    BatchToken, Begun, Decoder, DecoderShape, EncodedPrompt, Evaluation, Generation, GenerationEngine, PromptMessage,
    Role, Sampling, Sequence, Slot, SlotOutput, Token,
};
use mentor_actors::telemetry::Silent;

/// Few tokens, so that the same runs come back and guesses are made.
const VOCABULARY: u64 = 6;
const END: Token = Token(0);

/// What the model says after these tokens: mostly what it said three tokens ago, so that guesses are often right.
fn next(tokens: &[Token]) -> Token {
    let hash = tokens.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, token| {
        (hash ^ u64::from(token.0.unsigned_abs())).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = hash ^ (hash >> 29);
    if hash % 100 < 60 && tokens.len() > 5 {
        return tokens[tokens.len() - 5];
    }
    if hash % 100 > 97 { END } else { Token(1 + i32::try_from((hash >> 20) % VOCABULARY).unwrap()) }
}

/// A decoder that fails the test when it is misused.
struct StrictDecoder {
    shape: DecoderShape,
    sequences: Vec<Vec<Token>>,
    /// For every row of the last batch with scores, what the model says.
    said: Vec<Option<Token>>,
    sampling: Vec<bool>,
    evaluated: u64,
    refusals: usize,
}

impl StrictDecoder {
    fn new(shape: DecoderShape) -> Self {
        let sequences = vec![Vec::new(); shape.sequences];
        let sampling = vec![false; shape.sequences];
        Self { shape, sequences, said: Vec::new(), sampling, evaluated: 0, refusals: 0 }
    }

    fn cells(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }
}

impl Decoder for StrictDecoder {
    type State = Vec<Token>;

    fn shape(&self) -> DecoderShape {
        self.shape
    }

    /// One token a character of the messages, roles between them.
    fn encode(&self, messages: &[PromptMessage]) -> Result<EncodedPrompt, EngineError> {
        let mut prompt = EncodedPrompt::default();
        for message in messages {
            prompt.tokens.push(Token(100 + message.role as i32));
            prompt.tokens.extend(message.text.bytes().map(|byte| Token(i32::from(byte - b'a'))));
            if message.role == Role::System {
                prompt.shared = prompt.tokens.len();
            }
        }
        Ok(prompt)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        vec![b'a' + u8::try_from(token.0).unwrap_or(25)]
    }

    fn ends_answer(&self, token: Token) -> bool {
        token == END
    }

    fn evaluate(&mut self, batch: &[BatchToken]) -> Result<Evaluation, EngineError> {
        assert!(!batch.is_empty() && batch.len() <= self.shape.batch_tokens, "a batch of {} rows", batch.len());
        if self.cells() + batch.len() > self.shape.cells {
            self.refusals += 1;
            return Ok(Evaluation::NoRoom);
        }
        self.said.clear();
        for row in batch {
            let sequence = &mut self.sequences[row.sequence];
            assert_eq!(row.position, sequence.len(), "sequence {} has a gap or an overlap", row.sequence);
            assert!(row.position < self.shape.sequence_tokens, "sequence {} outgrows its context", row.sequence);
            sequence.push(row.token);
            self.said.push(row.scores.then(|| next(sequence)));
        }
        self.evaluated += batch.len() as u64;
        Ok(Evaluation::Done)
    }

    fn keep(&mut self, sequence: Sequence, tokens: usize) -> Result<usize, EngineError> {
        assert!(tokens <= self.sequences[sequence].len(), "sequence {sequence} has no {tokens} tokens");
        self.sequences[sequence].truncate(tokens);
        Ok(tokens)
    }

    fn save(&self, sequence: Sequence) -> Result<Vec<Token>, EngineError> {
        Ok(self.sequences[sequence].clone())
    }

    fn state_bytes(state: &Vec<Token>) -> usize {
        state.len() * 100
    }

    fn restore(&mut self, sequence: Sequence, state: &Vec<Token>) -> Result<(), EngineError> {
        assert!(self.sequences[sequence].is_empty(), "sequence {sequence} is restored over something");
        assert!(self.cells() + state.len() <= self.shape.cells, "no room to restore sequence {sequence}");
        self.sequences[sequence].clone_from(state);
        Ok(())
    }

    fn begin_sampling(&mut self, slot: Slot, sampling: &Sampling) -> Result<(), EngineError> {
        if sampling.grammar.is_some() {
            return Err(EngineError::Rejected("no grammar is understood".into()));
        }
        assert!(!std::mem::replace(&mut self.sampling[slot], true), "slot {slot} begins twice");
        Ok(())
    }

    fn sample(&mut self, slot: Slot, row: usize) -> Result<Token, EngineError> {
        assert!(self.sampling[slot], "slot {slot} chooses and has not begun");
        Ok(self.said[row].expect("a row with scores"))
    }

    fn end_sampling(&mut self, slot: Slot) {
        assert!(std::mem::replace(&mut self.sampling[slot], false), "slot {slot} ends twice");
    }
}

/// A small generator of numbers: the same seed gives the same test.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn text(&mut self, longest: usize) -> String {
        let letters = 1 + self.below(longest);
        (0..letters).map(|_| char::from(b'b' + u8::try_from(self.below(5)).unwrap())).collect()
    }
}

fn message(role: Role, text: &str) -> PromptMessage {
    PromptMessage { role, text: text.into() }
}

fn generation(messages: Vec<PromptMessage>, scope: &str, max_tokens: usize) -> Generation {
    Generation { messages, max_tokens, sampling: Sampling::greedy(), stop: Vec::new(), cache_scope: scope.into() }
}

/// What the model alone would say: token after token, nothing guessed, nothing reused.
fn expected(messages: &[PromptMessage], max_tokens: usize, shape: DecoderShape) -> String {
    let lone = DecoderShape { sequences: 1, cells: shape.sequence_tokens, mixes: true, ..shape };
    let settings = BatchSettings { state_bytes: 0, draft_tokens: 0 };
    let mut engine = BatchEngine::new(StrictDecoder::new(lone), settings, Arc::new(Silent));
    engine.begin(0, &generation(messages.to_vec(), "alone", max_tokens)).unwrap();
    let mut text = String::new();
    loop {
        for (_, output) in engine.step().unwrap() {
            match output {
                SlotOutput::Token(more) => text.push_str(&more),
                SlotOutput::Finished(rest, _) => return text + &rest,
                _ => {}
            }
        }
    }
}

struct Turn {
    messages: Vec<PromptMessage>,
    scope: usize,
    max_tokens: usize,
    text: String,
}

/// What happened in many random steps.
#[derive(Debug, Default)]
struct Tally {
    finished: u64,
    cancelled: u64,
    failed: u64,
    cached: u64,
    checked: u64,
}

/// Begins, cancels and steps at random, and checks every answer that ends.
fn live(seed: u64, steps: usize, shape: DecoderShape, settings: BatchSettings) -> (Tally, u64) {
    let mut random = Random(seed | 1);
    let mut engine = BatchEngine::new(StrictDecoder::new(shape), settings, Arc::new(Silent));
    let mut turns: Vec<Option<Turn>> = (0..shape.sequences).map(|_| None).collect();
    let mut histories: Vec<Vec<PromptMessage>> = vec![Vec::new(); 7];
    let mut tally = Tally::default();
    for _ in 0..steps {
        for slot in 0..shape.sequences {
            if turns[slot].is_none() && random.chance(15) {
                turns[slot] = begin(&mut engine, slot, &mut random, &mut histories, &turns, &mut tally);
            } else if turns[slot].is_some() && random.chance(1) {
                engine.end(slot);
                turns[slot] = None;
                tally.cancelled += 1;
            }
        }
        for (slot, output) in engine.step().unwrap() {
            let turn = turns[slot].as_mut().expect("only a running slot says something, and nothing after its end");
            match output {
                SlotOutput::Token(text) => turn.text.push_str(&text),
                SlotOutput::Finished(rest, _) => {
                    turn.text.push_str(&rest);
                    engine.end(slot);
                    if let Some(turn) = turns[slot].take() {
                        finish(turn, &mut histories, shape, &mut random, &mut tally);
                    }
                }
                SlotOutput::Failed(_) => {
                    engine.end(slot);
                    turns[slot] = None;
                    tally.failed += 1;
                }
                SlotOutput::Prefilled | SlotOutput::Counted(_) => {}
            }
        }
        assert!(engine.decoder().cells() <= shape.cells);
        assert_eq!(engine.decoder().cells(), engine.scheduler().cells_used(), "a cell leaked");
    }
    assert_eq!(engine.decoder().refusals, 0, "what was planned fits");
    (tally, engine.scheduler().times_set_back())
}

fn begin(
    engine: &mut BatchEngine<StrictDecoder>,
    slot: Slot,
    random: &mut Random,
    histories: &mut [Vec<PromptMessage>],
    turns: &[Option<Turn>],
    tally: &mut Tally,
) -> Option<Turn> {
    let scope = random.below(histories.len());
    if turns.iter().flatten().any(|turn| turn.scope == scope) {
        return None;
    }
    let limit = engine.context_tokens();
    let used: usize = histories[scope].iter().map(|message| message.text.len() + 1).sum();
    if histories[scope].is_empty() || used * 2 > limit || random.chance(10) {
        let system = ["bbcdbcdbcdbcdbcdbcdbcd", "cdefcdef"][random.below(2)];
        histories[scope] = vec![message(Role::System, system)];
    }
    let mut messages = histories[scope].clone();
    messages.push(message(Role::User, &random.text(limit / 4)));
    let max_tokens = random.below(30);
    let begun = engine.begin(slot, &generation(messages.clone(), &format!("scope {scope}"), max_tokens)).unwrap();
    let Begun { prompt_tokens, cached_tokens } = begun;
    assert!(cached_tokens < prompt_tokens, "{begun:?}: the last token is always evaluated");
    tally.cached += cached_tokens as u64;
    Some(Turn { messages, scope, max_tokens, text: String::new() })
}

fn finish(
    turn: Turn,
    histories: &mut [Vec<PromptMessage>],
    shape: DecoderShape,
    random: &mut Random,
    tally: &mut Tally,
) {
    tally.finished += 1;
    // The reference is slow; a part of them says enough.
    if random.chance(20) {
        tally.checked += 1;
        assert_eq!(turn.text, expected(&turn.messages, turn.max_tokens, shape), "after {:?}", turn.messages);
    }
    histories[turn.scope] = turn.messages;
    histories[turn.scope].push(message(Role::Assistant, &turn.text));
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

#[test]
fn a_million_random_steps_lose_no_cell_no_turn_and_no_token() {
    let shapes = shapes();
    let episodes = 24;
    let steps = 1_000_000 / (shapes.len() * episodes);
    let (mut tally, mut set_back) = (Tally::default(), 0);
    for episode in 0..episodes as u64 {
        for (number, shape) in shapes.iter().enumerate() {
            let settings = BatchSettings {
                state_bytes: [0, 20_000, 1 << 20][number % 3],
                draft_tokens: [0, 3, 8, 16][usize::try_from(episode % 4).unwrap()],
            };
            let seed = (episode + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64) << 32;
            let (part, times) = live(seed, steps, *shape, settings);
            set_back += times;
            tally.finished += part.finished;
            tally.cancelled += part.cancelled;
            tally.failed += part.failed;
            tally.cached += part.cached;
            tally.checked += part.checked;
        }
    }
    assert!(tally.finished > 10_000 && tally.cancelled > 1_000 && tally.checked > 2_000, "{tally:?}");
    assert!(
        tally.cached > 10_000 && set_back > 100,
        "nothing was reused, or nobody had to give way: {tally:?}, {set_back}"
    );
    assert_eq!(tally.failed, 0, "everybody fits alone, so nobody fails");
}

#[test]
fn a_context_too_small_for_all_sets_the_youngest_back_and_all_finish() {
    let shape = DecoderShape { sequences: 4, sequence_tokens: 100, cells: 150, batch_tokens: 32, mixes: true };
    let settings = BatchSettings { state_bytes: 0, draft_tokens: 0 };
    let mut engine = BatchEngine::new(StrictDecoder::new(shape), settings, Arc::new(Silent));
    let prompts: Vec<_> = (0..4).map(|slot| vec![message(Role::User, &"bcdef".repeat(8 + slot))]).collect();
    for (slot, prompt) in prompts.iter().enumerate() {
        engine.begin(slot, &generation(prompt.clone(), &slot.to_string(), 30)).unwrap();
    }
    let mut texts = vec![String::new(); 4];
    let mut ended = Vec::new();
    while ended.len() < 4 {
        for (slot, output) in engine.step().unwrap() {
            match output {
                SlotOutput::Token(text) => texts[slot].push_str(&text),
                SlotOutput::Finished(rest, _) => {
                    texts[slot].push_str(&rest);
                    ended.push(slot);
                    engine.end(slot);
                }
                SlotOutput::Failed(error) => panic!("slot {slot} failed: {error}"),
                SlotOutput::Prefilled | SlotOutput::Counted(_) => {}
            }
        }
    }
    assert!(engine.scheduler().times_set_back() > 0);
    for (slot, prompt) in prompts.iter().enumerate() {
        assert_eq!(texts[slot], expected(prompt, 30, shape), "slot {slot}");
    }
}

fn engine(sequences: usize, settings: BatchSettings) -> BatchEngine<StrictDecoder> {
    let shape =
        DecoderShape { sequences, sequence_tokens: 2_000, cells: 2_000 * sequences, batch_tokens: 64, mixes: false };
    BatchEngine::new(StrictDecoder::new(shape), settings, Arc::new(Silent))
}

const ROOMY: BatchSettings = BatchSettings { state_bytes: 10 << 20, draft_tokens: 0 };

/// Runs one turn to its end, alone; what it said.
fn run(engine: &mut BatchEngine<StrictDecoder>, generation: &Generation) -> (Begun, String) {
    let begun = engine.begin(0, generation).unwrap();
    let mut text = String::new();
    loop {
        for (_, output) in engine.step().unwrap() {
            match output {
                SlotOutput::Token(more) => text.push_str(&more),
                SlotOutput::Finished(rest, _) => {
                    engine.end(0);
                    return (begun, text + &rest);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_second_turn_evaluates_what_is_new_also_after_many_others_had_the_slot() {
    for sequences in [1, 4] {
        let mut engine = engine(sequences, ROOMY);
        let system = message(Role::System, &"b".repeat(30));
        let first = vec![system.clone(), message(Role::User, &"cdef".repeat(250))];
        let (_, answer) = run(&mut engine, &generation(first.clone(), "mine", 20));
        for other in 0..16 {
            let asked = vec![system.clone(), message(Role::User, &"fedc".repeat(100))];
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
