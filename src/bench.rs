//! How fast the generator is, and in `search` the store: conversations begun at the same moment, timed to every token. It drives the port itself, so that
//! the same work measures the engine in this process and a server behind an address.

mod additions;
mod bare;
mod cancel;
mod embed;
mod ingest;
mod search;
mod upkeep;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mentor_actors::domain::Usage;
use mentor_actors::ports::{Generation, GenerationEngine, PromptMessage, Role, Sampling, SlotOutput};
use mentor_actors::telemetry::{Measurement, Telemetry};
use serde::Serialize;

pub use additions::{AdditionsFigures, AdditionsLoad, measure_additions};
pub use bare::{BareFigures, measure_bare};
pub use cancel::{
    CONTEXT_TOKENS as CANCEL_CONTEXT_TOKENS, CancelFigures, CancelTally, MOST_GROWTH_MIB, measure_cancel,
};
pub use embed::{EmbedFigures, measure_embed, passages};
pub use ingest::{IngestFigures, IngestRound};
pub use search::{MakeFigures, SearchBench, SearchFigures, SearchTimes, make_store, measure_search};
pub use upkeep::{Done, UpkeepFigures, UpkeepLoad, measure_upkeep};

/// What the prompts are made of.
const TEXT: &str = include_str!("../engines/src/llama/sample_text.txt");
/// What a token of that text has on average, so that prompts are the same for engines that cannot count tokens.
const BYTES_PER_TOKEN: f64 = 4.6;
/// An engine that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the conversations are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Nothing in common.
    Apart,
    /// Two thirds of every prompt are the same system message.
    Shared,
    /// The answer repeats the prompt, as one that quotes its sources does.
    Quote,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// At once.
    pub conversations: usize,
    /// About so many tokens a prompt.
    pub prompt_tokens: usize,
    /// Longest answer.
    pub answer_tokens: usize,
    /// What they are about.
    pub workload: Workload,
    /// Makes its prompts different from those of other measurements.
    pub round: usize,
}

/// What was measured. Rates are tokens a second, times milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// How many of them needed no evaluation.
    pub cached_tokens: usize,
    /// Tokens of all answers.
    pub answer_tokens: usize,
    /// Tokens of answers that were guessed.
    pub guessed_tokens: usize,
    /// How many of them were right.
    pub right_guesses: usize,
    /// Prompt tokens evaluated until the last conversation had its first token.
    pub prefill_rate: f64,
    /// Tokens after the first ones, while any answer was written.
    pub decode_rate: f64,
    /// Answer tokens in the whole time.
    pub total_rate: f64,
    /// From the begin to the first token.
    pub first_token_p50: f64,
    /// The same.
    pub first_token_p95: f64,
    /// Between two tokens of one answer.
    pub inter_token_p50: f64,
    /// The same.
    pub inter_token_p95: f64,
    /// The longest.
    pub inter_token_max: f64,
    /// From the begin to the last token of all.
    pub seconds: f64,
}

/// Counts guesses.
#[derive(Debug, Default)]
pub struct Tally {
    guessed: AtomicUsize,
    right: AtomicUsize,
}

impl Tally {
    /// Guessed tokens and right ones since the last time.
    fn take(&self) -> (usize, usize) {
        (self.guessed.swap(0, Ordering::Relaxed), self.right.swap(0, Ordering::Relaxed))
    }
}

impl Telemetry for Tally {
    fn record(&self, measurement: Measurement) {
        if let Measurement::Drafted { guessed, right } = measurement {
            self.guessed.fetch_add(guessed, Ordering::Relaxed);
            self.right.fetch_add(right, Ordering::Relaxed);
        }
    }
}

/// What one conversation did.
#[derive(Debug, Default)]
struct Trace {
    tokens: Vec<Instant>,
    usage: Usage,
    ended: bool,
}

/// Runs `load.conversations` generations at once, in as many slots.
///
/// # Errors
/// What the engine fails with, and an engine that stops saying anything.
pub fn measure(engine: &mut dyn GenerationEngine, tally: &Tally, load: &Load) -> anyhow::Result<Figures> {
    tally.take();
    let start = Instant::now();
    let mut traces: Vec<Trace> = Vec::new();
    for conversation in 0..load.conversations {
        let begun = engine.begin(conversation, &generation(load, conversation))?;
        let usage =
            Usage { prompt_tokens: begun.prompt_tokens, cached_tokens: begun.cached_tokens, completion_tokens: 0 };
        traces.push(Trace { usage, ..Trace::default() });
    }
    let mut heard = Heard::now();
    while traces.iter().any(|trace| !trace.ended) {
        for (slot, output) in engine.step()? {
            heard = Heard::now();
            let trace = &mut traces[slot];
            match output {
                SlotOutput::Token(_) => trace.tokens.push(heard.0),
                SlotOutput::Finished(text, _) => {
                    if !text.is_empty() {
                        trace.tokens.push(heard.0);
                    }
                    trace.ended = true;
                    engine.end(slot);
                }
                SlotOutput::Counted(usage) => trace.usage = usage,
                SlotOutput::Failed(error) => anyhow::bail!("conversation {slot} failed: {error}"),
                SlotOutput::Prefilled => {}
            }
        }
        heard.check(PATIENCE)?;
    }
    let (guessed_tokens, right_guesses) = tally.take();
    Ok(Figures { guessed_tokens, right_guesses, ..figures(start, &traces) })
}

fn figures(start: Instant, traces: &[Trace]) -> Figures {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let first: Vec<Instant> = traces.iter().filter_map(|trace| trace.tokens.first().copied()).collect();
    let last = traces.iter().filter_map(|trace| trace.tokens.last().copied()).max().unwrap_or(start);
    let gaps = traces.iter().flat_map(|trace| trace.tokens.windows(2).map(|pair| milliseconds(pair[1] - pair[0])));
    let (first_tokens, gaps) = (sorted(first.iter().map(|at| milliseconds(*at - start))), sorted(gaps));
    let sum = |of: fn(&Trace) -> usize| traces.iter().map(of).sum::<usize>();
    let (prompt_tokens, cached_tokens) =
        (sum(|trace| trace.usage.prompt_tokens), sum(|trace| trace.usage.cached_tokens));
    let answer_tokens = sum(|trace| trace.tokens.len());
    let read = first.iter().max().map_or(Duration::ZERO, |at| *at - start);
    let written = first.iter().min().map_or(Duration::ZERO, |at| last - *at);
    Figures {
        prompt_tokens,
        cached_tokens,
        answer_tokens,
        prefill_rate: rate(prompt_tokens - cached_tokens, read),
        decode_rate: rate(answer_tokens - first.len(), written),
        total_rate: rate(answer_tokens, last - start),
        first_token_p50: percentile(&first_tokens, 50),
        first_token_p95: percentile(&first_tokens, 95),
        inter_token_p50: percentile(&gaps, 50),
        inter_token_p95: percentile(&gaps, 95),
        inter_token_max: percentile(&gaps, 100),
        seconds: (last - start).as_secs_f64(),
        ..Figures::default()
    }
}

/// The median of each figure over several rounds.
#[must_use]
pub fn median(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| percentile(&sorted(rounds.iter().map(figure)), 50);
    let count = |figure: fn(&Figures) -> usize| {
        let mut counts: Vec<usize> = rounds.iter().map(figure).collect();
        counts.sort_unstable();
        counts.get(counts.len() / 2).copied().unwrap_or(0)
    };
    Figures {
        prompt_tokens: count(|figures| figures.prompt_tokens),
        cached_tokens: count(|figures| figures.cached_tokens),
        answer_tokens: count(|figures| figures.answer_tokens),
        guessed_tokens: count(|figures| figures.guessed_tokens),
        right_guesses: count(|figures| figures.right_guesses),
        prefill_rate: of(|figures| figures.prefill_rate),
        decode_rate: of(|figures| figures.decode_rate),
        total_rate: of(|figures| figures.total_rate),
        first_token_p50: of(|figures| figures.first_token_p50),
        first_token_p95: of(|figures| figures.first_token_p95),
        inter_token_p50: of(|figures| figures.inter_token_p50),
        inter_token_p95: of(|figures| figures.inter_token_p95),
        inter_token_max: of(|figures| figures.inter_token_max),
        seconds: of(|figures| figures.seconds),
    }
}

/// Waits for futures on the thread it is on; a store brings threads of its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The smallest value that `percent` of them do not exceed (nearest rank); 0 of none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

fn generation(load: &Load, conversation: usize) -> Generation {
    let number = load.round * 1_000 + conversation;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // thousands of tokens
    let bytes = (load.prompt_tokens as f64 * BYTES_PER_TOKEN) as usize;
    let essay = |text: String| (Role::User, format!("{text}\nWrite a long essay about this."));
    let repeat = |text: &str| (Role::User, format!("Repeat this text word for word, all of it.\n{text}"));
    let (system, asked) = match load.workload {
        Workload::Apart => (format!("Number {number}."), vec![essay(text(number, bytes))]),
        Workload::Shared => (text(0, bytes * 2 / 3), vec![essay(text(number, bytes / 3))]),
        // Small models quote when they have seen it done.
        Workload::Quote => {
            let (shown, wanted) = (text(number + 500, bytes / 4), text(number, bytes / 2));
            (format!("Number {number}."), vec![repeat(&shown), (Role::Assistant, shown), repeat(&wanted)])
        }
    };
    let messages = std::iter::once((Role::System, system)).chain(asked);
    Generation {
        messages: messages.map(|(role, text)| PromptMessage { role, text }).collect(),
        max_tokens: load.answer_tokens,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        cache_scope: format!("bench {number}"),
    }
}

/// About so many bytes of the text, from another sentence for every number.
fn text(number: usize, bytes: usize) -> String {
    let sentences: Vec<&str> = TEXT.split_inclusive(". ").collect();
    let from = number * 7 % sentences.len();
    let mut text = format!("({number}) ");
    for sentence in sentences.iter().cycle().skip(from) {
        if text.len() + sentence.len() > bytes {
            break;
        }
        text.push_str(&sentence.replace('\n', " "));
    }
    text
}

/// The next question of a conversation, and what it cost to read it. Times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct SecondTurn {
    /// Tokens of the first prompt.
    pub first_prompt_tokens: usize,
    /// To the first token, with nothing evaluated before.
    pub first_turn: f64,
    /// The same for the second question, asked at once.
    pub second_turn: f64,
    /// Prompt tokens that the second question evaluated.
    pub second_evaluated: usize,
    /// Other conversations that came in between then: at least one for every slot.
    pub others: usize,
    /// The second question after these.
    pub after_others: f64,
    /// Prompt tokens that it evaluated then.
    pub after_others_evaluated: usize,
}

/// Asks twice with a long first prompt; the second time again after `others` conversations.
///
/// # Errors
/// As [`measure`].
pub fn measure_second_turn(
    engine: &mut dyn GenerationEngine,
    prompt_tokens: usize,
    others: usize,
    round: usize,
) -> anyhow::Result<SecondTurn> {
    let load = Load { conversations: 1, prompt_tokens, answer_tokens: 16, workload: Workload::Apart, round };
    let mut conversation = generation(&load, 500);
    let (first, evaluated) = first_token(engine, &conversation)?;
    conversation.messages.push(PromptMessage { role: Role::Assistant, text: "I see.".into() });
    conversation.messages.push(PromptMessage { role: Role::User, text: "And what is the main point?".into() });
    let (second, second_evaluated) = first_token(engine, &conversation)?;
    for other in 0..others {
        first_token(engine, &generation(&Load { prompt_tokens: 100, ..load }, 600 + other))?;
    }
    // Another question, or all but one token of it would be there.
    conversation.messages.pop();
    conversation.messages.push(PromptMessage { role: Role::User, text: "Then tell me the main point!".into() });
    let (after_others, after_others_evaluated) = first_token(engine, &conversation)?;
    Ok(SecondTurn {
        first_prompt_tokens: evaluated,
        first_turn: first,
        second_turn: second,
        second_evaluated,
        others,
        after_others,
        after_others_evaluated,
    })
}

/// Milliseconds to the first token in slot 0, and prompt tokens evaluated for it.
fn first_token(engine: &mut dyn GenerationEngine, generation: &Generation) -> anyhow::Result<(f64, usize)> {
    let start = Instant::now();
    let begun = engine.begin(0, generation)?;
    let mut heard = Heard::now();
    loop {
        for (_, output) in engine.step()? {
            heard = Heard::now();
            match output {
                SlotOutput::Token(_) | SlotOutput::Finished(..) => {
                    let took = start.elapsed().as_secs_f64() * 1e3;
                    engine.end(0);
                    return Ok((took, begun.prompt_tokens - begun.cached_tokens));
                }
                SlotOutput::Failed(error) => anyhow::bail!("a conversation failed: {error}"),
                SlotOutput::Prefilled | SlotOutput::Counted(_) => {}
            }
        }
        heard.check(PATIENCE)?;
    }
}

/// When an engine last said something.
struct Heard(Instant);

impl Heard {
    fn now() -> Self {
        Self(Instant::now())
    }

    /// # Errors
    /// When that is too long ago.
    fn check(&self, patience: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(self.0.elapsed() < patience, "the engine says nothing for {} seconds", patience.as_secs());
        Ok(())
    }
}

/// What an answer suffers from a long prompt that is read beside it. Times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Interference {
    /// Tokens of the long prompt.
    pub prompt_tokens: usize,
    /// Longest time between two tokens of the answer meanwhile.
    pub longest_gap: f64,
    /// Median time of a step in which part of the prompt was read, alone.
    pub chunk: f64,
}

/// Writes one answer while a prompt of `prompt_tokens` is read in another slot.
///
/// # Errors
/// As [`measure`].
pub fn measure_interference(
    engine: &mut dyn GenerationEngine,
    prompt_tokens: usize,
    round: usize,
) -> anyhow::Result<Interference> {
    let load = Load { conversations: 2, prompt_tokens, answer_tokens: 2, workload: Workload::Apart, round };
    let mut chunks = Vec::new();
    let begun = engine.begin(1, &generation(&load, 800))?;
    let (mut reading, begin) = (true, Heard::now());
    while reading {
        let start = Instant::now();
        reading = engine.step()?.iter().all(|(_, output)| *output == SlotOutput::Prefilled);
        chunks.push(start.elapsed().as_secs_f64() * 1e3);
        begin.check(PATIENCE)?;
    }
    engine.end(1);
    engine.begin(0, &generation(&Load { prompt_tokens: 50, answer_tokens: 400, ..load }, 801))?;
    let begin = Heard::now();
    while engine.step()?.iter().all(|(_, output)| *output == SlotOutput::Prefilled) {
        begin.check(PATIENCE)?;
    }
    engine.begin(1, &generation(&load, 802))?;
    let (mut longest, mut last, mut read) = (Duration::ZERO, Instant::now(), false);
    let begin = Heard::now();
    while !read {
        begin.check(PATIENCE)?;
        for (slot, output) in engine.step()? {
            let now = Instant::now();
            if slot == 0 {
                longest = longest.max(now - last);
                last = now;
            } else if output != SlotOutput::Prefilled {
                read = true;
            }
        }
    }
    engine.end(0);
    engine.end(1);
    let chunk = percentile(&sorted(chunks.into_iter()), 50);
    Ok(Interference { prompt_tokens: begun.prompt_tokens, longest_gap: longest.as_secs_f64() * 1e3, chunk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let found = [50, 95, 100].map(|percent| percentile(&values, percent));
        assert_eq!(found, [2.0, 4.0, 4.0]);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn an_engine_that_says_nothing_is_given_up() {
        let heard = Heard::now();
        assert!(heard.check(PATIENCE).is_ok());
        assert_eq!(heard.check(Duration::ZERO).unwrap_err().to_string(), "the engine says nothing for 0 seconds");
    }

    #[test]
    fn figures_come_from_the_times_of_the_tokens() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let trace = |tokens: &[u64]| Trace {
            tokens: tokens.iter().map(|&ms| at(ms)).collect(),
            usage: Usage { prompt_tokens: 100, cached_tokens: 50, completion_tokens: 0 },
            ended: true,
        };
        let figures = figures(start, &[trace(&[500, 600, 700]), trace(&[1_000, 2_000])]);
        assert_eq!((figures.answer_tokens, figures.prompt_tokens, figures.cached_tokens), (5, 200, 100));
        assert_eq!((figures.first_token_p50, figures.first_token_p95), (500.0, 1_000.0));
        assert_eq!((figures.inter_token_p50, figures.inter_token_max), (100.0, 1_000.0));
        assert!((figures.prefill_rate - 100.0).abs() < 1e-9 && (figures.decode_rate - 2.0).abs() < 1e-9);
        assert!((figures.total_rate - 2.5).abs() < 1e-9);
    }

    #[test]
    fn prompts_have_about_the_size_asked_for_and_differ() {
        let load = |workload| Load { conversations: 2, prompt_tokens: 600, answer_tokens: 8, workload, round: 1 };
        for workload in [Workload::Apart, Workload::Shared, Workload::Quote] {
            let [first, second] = [0, 1].map(|number| generation(&load(workload), number));
            let bytes: usize = first.messages.iter().map(|message| message.text.len()).sum();
            assert!((2_300..3_000).contains(&bytes), "{bytes} bytes");
            assert_ne!(first.messages[1], second.messages[1]);
            assert_eq!(first.messages[0] == second.messages[0], workload == Workload::Shared);
        }
    }
}
