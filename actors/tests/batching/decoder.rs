//! The decoder, and what can be wrong with it.

use std::cell::{Cell, RefCell};

use mentor_actors::domain::EngineError;
use mentor_actors::ports::{
    BatchToken, Decoder, DecoderShape, EncodedPrompt, Evaluation, PromptMessage, Role, Sampling, Sequence, Slot, Token,
};

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

/// What goes wrong with a decoder, in percent of the times.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// There is no room although nothing is full.
    pub no_room: usize,
    /// There never is room for guesses.
    pub no_room_for_guesses: bool,
    /// A part of a sequence cannot be forgotten, only all of it, as with recurrent models.
    pub all_or_nothing: bool,
    pub saves: usize,
    pub restores: usize,
}

/// A decoder that fails the test when it is misused.
pub struct StrictDecoder {
    shape: DecoderShape,
    faults: Faults,
    chances: RefCell<Random>,
    sequences: Vec<Vec<Token>>,
    /// For every row of the last batch with scores, what the model says.
    said: Vec<Option<Token>>,
    sampling: Vec<bool>,
    pub evaluated: u64,
    /// Batches for which there really was no room.
    pub refusals: usize,
    /// Batches with guesses.
    pub guesses: usize,
    /// How often a sequence lost everything because a part of it was to go.
    pub lost: usize,
    pub saves: Cell<usize>,
}

impl StrictDecoder {
    pub fn new(shape: DecoderShape) -> Self {
        Self::with_faults(shape, Faults::default())
    }

    pub fn with_faults(shape: DecoderShape, faults: Faults) -> Self {
        Self {
            shape,
            faults,
            chances: RefCell::new(Random(0x2545_F491_4F6C_DD1D)),
            sequences: vec![Vec::new(); shape.sequences],
            said: Vec::new(),
            sampling: vec![false; shape.sequences],
            evaluated: 0,
            refusals: 0,
            guesses: 0,
            lost: 0,
            saves: Cell::new(0),
        }
    }

    pub fn cells(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }

    fn goes_wrong(&self, percent: usize) -> bool {
        percent > 0 && self.chances.borrow_mut().chance(percent)
    }
}

/// Whether a sequence has several rows with scores: all but its first are guesses.
fn guesses(batch: &[BatchToken]) -> bool {
    batch.windows(2).any(|rows| rows[0].scores && rows[0].sequence == rows[1].sequence)
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
        if self.goes_wrong(self.faults.no_room) || self.faults.no_room_for_guesses && guesses(batch) {
            return Ok(Evaluation::NoRoom);
        }
        self.guesses += usize::from(guesses(batch));
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
        let lost = self.faults.all_or_nothing && tokens > 0 && tokens < self.sequences[sequence].len();
        self.lost += usize::from(lost);
        let kept = if lost { 0 } else { tokens };
        self.sequences[sequence].truncate(kept);
        Ok(kept)
    }

    fn save(&self, sequence: Sequence) -> Result<Vec<Token>, EngineError> {
        if self.goes_wrong(self.faults.saves) {
            return Err(EngineError::Failed("it cannot be saved".into()));
        }
        self.saves.set(self.saves.get() + 1);
        Ok(self.sequences[sequence].clone())
    }

    fn state_bytes(state: &Vec<Token>) -> usize {
        state.len() * 100
    }

    fn restore(&mut self, sequence: Sequence, state: &Vec<Token>) -> Result<(), EngineError> {
        assert!(self.sequences[sequence].is_empty(), "sequence {sequence} is restored over something");
        assert!(self.cells() + state.len() <= self.shape.cells, "no room to restore sequence {sequence}");
        self.sequences[sequence].clone_from(state);
        if self.goes_wrong(self.faults.restores) {
            self.sequences[sequence].truncate(state.len() / 2);
            return Err(EngineError::Failed("it cannot be restored".into()));
        }
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
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn text(&mut self, longest: usize) -> String {
        let letters = 1 + self.below(longest);
        (0..letters).map(|_| char::from(b'b' + u8::try_from(self.below(5)).unwrap())).collect()
    }
}
