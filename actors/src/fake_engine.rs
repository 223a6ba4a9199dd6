//! A generator without a model, for loading everything but the model: it writes words on a schedule.
//!
//! Word `n` of an answer, from 0, is due `n` intervals after the first one. The first word says when that was and how long
//! an interval is, `FAKE@<microseconds since 1970>+<microseconds>`, so that whoever reads the answer knows when each word was
//! due, however many came in one event. A late step does not move the schedule: what the program adds is seen as delay.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::batching::{Filtered, StopFilter};
use crate::domain::{EngineError, FinishReason};
use crate::ports::{Begun, Generation, GenerationEngine, PromptMessage, Slot, SlotOutput};

/// How often words are looked for that are due: all slots together, so that a thousand of them do not cost a step a word.
const TICK: Duration = Duration::from_millis(2);

/// What a token of English text has, in bytes.
const BYTES_PER_TOKEN: usize = 4;

/// Words of a sentence.
const SENTENCE: u64 = 12;

/// Words that nobody takes for an answer.
const WORDS: [&str; 16] = [
    "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima",
    "mike", "november", "oscar", "papa",
];

/// How much a fake engine does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FakeSettings {
    /// Answers at once.
    pub slots: usize,
    /// Tokens of one conversation, prompt and answer together.
    pub context_tokens: usize,
    /// Words an answer gets in a second; each counts as a token.
    pub tokens_per_second: f64,
}

/// The engine.
pub struct FakeEngine {
    settings: FakeSettings,
    interval: Duration,
    slots: Vec<Option<Recital>>,
}

impl FakeEngine {
    /// An engine of that many slots.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the rate is not between 0.1 and 10,000 tokens a second.
    pub fn new(settings: FakeSettings) -> Result<Self, EngineError> {
        let rate = settings.tokens_per_second;
        if !(0.1..=10_000.0).contains(&rate) {
            return Err(EngineError::Load(format!("{rate} tokens/s: a fake generator writes 0.1 to 10000")));
        }
        let slots = (0..settings.slots).map(|_| None).collect();
        Ok(Self { settings, interval: Duration::from_secs_f64(1.0 / rate), slots })
    }

    /// The words that are due.
    fn recite(&mut self, now: Instant) -> Vec<(Slot, SlotOutput)> {
        let mut outputs = Vec::new();
        for (slot, recital) in self.slots.iter_mut().enumerate() {
            let Some(recital) = recital else { continue };
            while recital.is_due(now) {
                outputs.push((slot, recital.next()));
            }
        }
        outputs
    }
}

impl GenerationEngine for FakeEngine {
    fn slots(&self) -> usize {
        self.settings.slots
    }

    fn context_tokens(&self) -> usize {
        self.settings.context_tokens
    }

    fn count_prompt_tokens(&self, messages: &[PromptMessage]) -> Result<usize, EngineError> {
        Ok(messages.iter().map(|message| message.text.len() / BYTES_PER_TOKEN + 1).sum())
    }

    fn count_cached_tokens(&self, _: &[PromptMessage], _: &str) -> Result<usize, EngineError> {
        Ok(0)
    }

    fn begin(&mut self, slot: Slot, generation: &Generation) -> Result<Begun, EngineError> {
        let prompt_tokens = self.count_prompt_tokens(&generation.messages)?;
        let room = self.settings.context_tokens.checked_sub(prompt_tokens).ok_or_else(|| {
            EngineError::TooLarge(format!("{prompt_tokens} tokens of {}", self.settings.context_tokens))
        })?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let recital = Recital::new(generation, room, self.interval, Instant::now(), since_1970);
        self.slots[slot] = Some(recital);
        Ok(Begun { prompt_tokens, cached_tokens: 0 })
    }

    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        std::thread::sleep(TICK);
        Ok(self.recite(Instant::now()))
    }

    fn end(&mut self, slot: Slot) {
        self.slots[slot] = None;
    }
}

/// The answer of one slot.
struct Recital {
    /// The same for the same prompt and seed, as are all words but the first.
    key: u64,
    /// When the first word is due.
    start: Instant,
    /// The same by the clock on the wall, as the first word has it.
    start_since_1970: Duration,
    interval: Duration,
    /// Words so far.
    said: u64,
    max_words: u64,
    stop: StopFilter,
    ended: bool,
}

impl Recital {
    fn new(generation: &Generation, room: usize, interval: Duration, now: Instant, since_1970: Duration) -> Self {
        let mut hasher = DefaultHasher::new();
        generation.messages.iter().for_each(|message| message.text.hash(&mut hasher));
        generation.sampling.seed.hash(&mut hasher);
        Self {
            key: hasher.finish(),
            start: now + interval,
            start_since_1970: since_1970 + interval,
            interval,
            said: 0,
            max_words: generation.max_tokens.min(room) as u64,
            stop: StopFilter::new(&generation.stop),
            ended: false,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        // Reckoned in nanoseconds, so that a long answer does not drift.
        let due = Duration::from_nanos(self.interval.as_nanos() as u64 * self.said);
        !self.ended && now >= self.start + due
    }

    fn word(&self) -> String {
        if self.said == 0 {
            return format!("FAKE@{}+{}", self.start_since_1970.as_micros(), self.interval.as_micros());
        }
        let mut hasher = DefaultHasher::new();
        (self.key, self.said).hash(&mut hasher);
        let word = WORDS[hasher.finish() as usize % WORDS.len()];
        let end = if self.said % SENTENCE == SENTENCE - 1 { "." } else { "" };
        format!(" {word}{end}")
    }

    fn next(&mut self) -> SlotOutput {
        if self.said >= self.max_words {
            return self.finish(String::new(), FinishReason::Length);
        }
        let filtered = self.stop.push(&self.word());
        self.said += 1;
        match filtered {
            Filtered::Stopped(text) => self.finish(text, FinishReason::Stop),
            Filtered::Text(text) if self.said < self.max_words => SlotOutput::Token(text),
            Filtered::Text(text) => {
                let rest = text + &self.stop.rest();
                self.finish(rest, FinishReason::Length)
            }
        }
    }

    fn finish(&mut self, rest: String, reason: FinishReason) -> SlotOutput {
        self.ended = true;
        SlotOutput::Finished(rest, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Role, Sampling};

    const RATE: FakeSettings = FakeSettings { slots: 2, context_tokens: 100, tokens_per_second: 20.0 };

    fn generation(question: &str, max_tokens: usize, stop: &[&str]) -> Generation {
        Generation {
            messages: vec![PromptMessage { role: Role::User, text: question.into() }],
            max_tokens,
            sampling: Sampling::greedy(),
            stop: stop.iter().map(|&stop| stop.to_owned()).collect(),
            cache_scope: "c".into(),
        }
    }

    /// Everything that the first slot says within that time of its beginning.
    fn said(engine: &mut FakeEngine, generation: &Generation, after: Duration) -> (String, Option<FinishReason>) {
        engine.begin(0, generation).unwrap();
        let begun = Instant::now();
        let (mut text, mut reason) = (String::new(), None);
        for (_, output) in engine.recite(begun + after) {
            match output {
                SlotOutput::Token(word) => text.push_str(&word),
                SlotOutput::Finished(rest, why) => {
                    text.push_str(&rest);
                    reason = Some(why);
                }
                other => panic!("{other:?}"),
            }
        }
        (text, reason)
    }

    fn without_first(text: &str) -> &str {
        text.split_once(' ').unwrap().1
    }

    #[test]
    fn every_word_comes_when_it_is_due_and_a_late_step_says_all_of_them() {
        let mut engine = FakeEngine::new(RATE).unwrap();
        assert_eq!(said(&mut engine, &generation("a", 50, &[]), Duration::from_millis(20)).0, "");
        let (text, reason) = said(&mut engine, &generation("a", 50, &[]), Duration::from_millis(1_005));
        assert_eq!((text.split(' ').count(), reason), (20, None));
        let head = text.split(' ').next().unwrap();
        assert!(head.starts_with("FAKE@") && head.ends_with("+50000"), "{head}");
    }

    #[test]
    fn an_answer_has_as_many_words_as_it_may_and_then_ends() {
        let mut engine = FakeEngine::new(RATE).unwrap();
        let (text, reason) = said(&mut engine, &generation("a", 7, &[]), Duration::from_secs(60));
        assert_eq!((text.split(' ').count(), reason), (7, Some(FinishReason::Length)));
        assert_eq!(engine.recite(Instant::now() + Duration::from_secs(99)), Vec::new());
        let (text, _) = said(&mut engine, &generation("a", 1_000, &[]), Duration::from_secs(60));
        assert_eq!(text.split(' ').count(), 99, "one token of the context is the prompt");
    }

    #[test]
    fn the_same_prompt_and_seed_give_the_same_words_behind_the_first() {
        let mut engine = FakeEngine::new(RATE).unwrap();
        let mut words = |question| said(&mut engine, &generation(question, 40, &[]), Duration::from_secs(9)).0;
        let (one, again, other) = (words("a"), words("a"), words("b"));
        assert_eq!(without_first(&one), without_first(&again));
        assert_ne!(without_first(&one), without_first(&other));
    }

    #[test]
    fn a_stop_sequence_ends_the_answer_before_it() {
        let mut engine = FakeEngine::new(RATE).unwrap();
        let (whole, _) = said(&mut engine, &generation("a", 40, &[]), Duration::from_secs(9));
        let stop = whole.split(' ').nth(5).unwrap().to_owned();
        let (text, reason) = said(&mut engine, &generation("a", 40, &[&stop]), Duration::from_secs(9));
        assert_eq!(reason, Some(FinishReason::Stop));
        assert!(without_first(&whole).starts_with(without_first(&text)) && !text.contains(&stop), "{text}");
    }

    #[test]
    fn a_prompt_that_does_not_fit_and_a_rate_that_makes_no_sense_are_refused() {
        let mut engine = FakeEngine::new(RATE).unwrap();
        let large = generation(&"x".repeat(1_000), 5, &[]);
        assert!(matches!(engine.begin(0, &large), Err(EngineError::TooLarge(_))));
        assert!(FakeEngine::new(FakeSettings { tokens_per_second: 0.0, ..RATE }).is_err());
        assert!(FakeEngine::new(FakeSettings { tokens_per_second: f64::NAN, ..RATE }).is_err());
    }
}
