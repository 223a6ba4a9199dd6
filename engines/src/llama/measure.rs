//! What a model makes of a fixed text, and how fast it reads and writes on this machine.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;
use mentor_actors::domain::EngineError;

use super::load::{LoadedModel, backend};
use super::log;
use super::weights::{Reading, Speed, judge, median};

/// About computer science, as the questions will be. Written for this purpose, so no model has learnt it by heart.
const TEXT: &str = include_str!("sample_text.txt");

/// Tokens evaluated at once, about as many as in the generator's own batches.
const BATCH_TOKENS: usize = 256;

/// What is judged of the text: all of it, with most tokenizers. Of half as much, the perplexity of two roundings of one model
/// differs by a percent by chance.
const TEXT_TOKENS: usize = CONTEXT_TOKENS;

/// What is timed: one batch read and then some tokens written, as in an answer.
const PREFILL_TOKENS: usize = BATCH_TOKENS;
const DECODE_TOKENS: usize = 32;

/// The median of three is not moved by one disturbance.
const ROUNDS: usize = 3;

/// A large model on a slow machine is measured once: its rounds are long enough to average over disturbances.
const LONGEST_ROUNDS: Duration = Duration::from_secs(10);

/// Longest a model is timed writing: at two tokens a second, more of them tell nothing new.
const LONGEST_WRITING: Duration = Duration::from_secs(3);

const CONTEXT_TOKENS: usize = 4 * BATCH_TOKENS;

/// Units of processor time in a second, as `/proc/self/stat` counts them: the same on every Linux (`man 5 proc`, `USER_HZ`).
const TICKS_PER_S: f64 = 100.0;

/// A model with what it is measured by.
pub(super) struct Bench<'m> {
    llama: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    text: Vec<LlamaToken>,
    threads: usize,
}

impl<'m> Bench<'m> {
    /// Makes a context on the model.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the memory does not suffice, or the model is not one that can be measured.
    pub(super) fn new(loaded: &'m LoadedModel, threads: usize) -> Result<Self, EngineError> {
        let text = loaded.model.vocab().tokenize(TEXT.as_bytes(), true, false);
        // Below that, there would be nothing to write after the prefill.
        if text.len() < PREFILL_TOKENS + DECODE_TOKENS || loaded.info.context_tokens < text.len().min(TEXT_TOKENS) {
            return Err(EngineError::Load("the model cannot read the text it would be measured on".into()));
        }
        let llama = loaded.model.new_context(backend()?, params(threads)).map_err(|error| {
            let reason = log::take_error().unwrap_or_else(|| error.to_string());
            EngineError::Load(format!("llama.cpp cannot make a context: {reason}"))
        })?;
        Ok(Self { llama, batch: LlamaBatch::new(BATCH_TOKENS, 1), text, threads })
    }

    /// Lets the model foretell each token of the text from those before it.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the text cannot be evaluated.
    pub(super) fn read(&mut self) -> Result<Reading, EngineError> {
        self.llama.clear_kv_cache();
        let mut reading = Reading { log_probabilities: Vec::new(), choices: Vec::new() };
        let end = self.text.len().min(TEXT_TOKENS);
        for start in (0..end).step_by(BATCH_TOKENS) {
            let places = start..end.min(start + BATCH_TOKENS);
            self.evaluate(places.clone(), Scores::All)?;
            // The last token foretells one that is not judged, or comes in the next batch.
            for (row, place) in places.enumerate().filter(|(_, place)| place + 1 < end) {
                self.judge_row(row, self.text[place + 1], &mut reading)?;
            }
        }
        Ok(reading)
    }

    fn judge_row(&self, row: usize, next: LlamaToken, reading: &mut Reading) -> Result<(), EngineError> {
        let failed = || EngineError::Failed(format!("row {row} of the scores is not there"));
        let row = i32::try_from(row).map_err(|_| failed())?;
        let next = usize::try_from(next.0).map_err(|_| failed())?;
        let (log_probability, choice) = judge(self.llama.get_logits_ith(row), next).ok_or_else(failed)?;
        reading.log_probabilities.push(log_probability);
        reading.choices.push(i32::try_from(choice).map_err(|_| failed())?);
        Ok(())
    }

    /// Times reading and writing. [`Bench::read`] comes before it, so that the file is in memory.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when a batch cannot be evaluated.
    pub(super) fn speed(&mut self) -> Result<Speed, EngineError> {
        let (mut prefill, mut decode) = (Vec::new(), Vec::new());
        let (begun, ticks) = (Instant::now(), processor_ticks());
        while prefill.len() < ROUNDS && (prefill.is_empty() || begun.elapsed() < LONGEST_ROUNDS) {
            self.llama.clear_kv_cache();
            prefill.push(self.rate(Self::prefill)?);
            decode.push(self.rate(Self::write)?);
        }
        let used_s = ticks.zip(processor_ticks()).map(|(before, after)| (after - before) as f64 / TICKS_PER_S);
        let wanted_s = begun.elapsed().as_secs_f64() * self.threads as f64;
        // There was at least one round.
        let median = |rates| median(rates).unwrap_or(f64::NAN);
        Ok(Speed {
            prefill_tokens_per_s: median(prefill),
            decode_tokens_per_s: median(decode),
            // Where it cannot be told, it is believed.
            processor_share: used_s.map_or(1.0, |used_s| used_s / wanted_s),
        })
    }

    fn prefill(&mut self) -> Result<usize, EngineError> {
        self.evaluate(0..PREFILL_TOKENS, Scores::Last).map(|()| PREFILL_TOKENS)
    }

    /// Token after token, as an answer is written; which ones does not matter to the time. Returns how many.
    fn write(&mut self) -> Result<usize, EngineError> {
        let begun = Instant::now();
        for written in 0..DECODE_TOKENS {
            if begun.elapsed() > LONGEST_WRITING {
                return Ok(written);
            }
            let place = PREFILL_TOKENS + written;
            self.evaluate(place..place + 1, Scores::Last)?;
        }
        Ok(DECODE_TOKENS)
    }

    /// Tokens in a second of work that says how many it did.
    fn rate(&mut self, work: impl FnOnce(&mut Self) -> Result<usize, EngineError>) -> Result<f64, EngineError> {
        let begun = Instant::now();
        let tokens = work(self)?;
        Ok(tokens as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// Evaluates these tokens of the text, at most a batch of them.
    fn evaluate(&mut self, places: std::ops::Range<usize>, scores: Scores) -> Result<(), EngineError> {
        let failed = |reason: String| EngineError::Failed(format!("llama.cpp cannot evaluate a batch: {reason}"));
        self.batch.clear();
        for place in places.clone() {
            let scored = scores == Scores::All || place + 1 == places.end;
            let position = i32::try_from(place).map_err(|error| failed(error.to_string()))?;
            let added = self.batch.add(self.text[place], position, &[0], scored);
            added.map_err(|error| failed(error.to_string()))?;
        }
        let decoded = self.llama.decode(&mut self.batch);
        decoded.map_err(|error| failed(log::take_error().unwrap_or_else(|| error.to_string())))?;
        self.llama.synchronize();
        Ok(())
    }
}

/// Which tokens of a batch are to have scores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scores {
    All,
    Last,
}

fn params(threads: usize) -> LlamaContextParams {
    // More threads than a number can hold are no threads at all.
    let threads = i32::try_from(threads.max(1)).unwrap_or(1);
    let number = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(number(CONTEXT_TOKENS)))
        .with_n_seq_max(1)
        .with_n_batch(number(BATCH_TOKENS))
        .with_n_ubatch(number(BATCH_TOKENS))
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
}

/// Processor time that all threads of this process have had, where the system says.
fn processor_ticks() -> Option<u64> {
    ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time of a line of `/proc/PID/stat`: fields 14 and 15, counted from before the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map_while(|field| field.parse::<u64>().ok());
    Some(times.next()? + times.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a ) b) R 1 42 42 0 -1 4194304 100 0 0 0 700 30 0 0 20 0 3 0 12345 0 0";
        assert_eq!(ticks(stat), Some(730));
        assert_eq!(ticks("42 (a) R 1 42"), None);
        assert!(!cfg!(target_os = "linux") || processor_ticks().is_some());
    }
}
