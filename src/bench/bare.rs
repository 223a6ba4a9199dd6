//! The least that writing an answer can cost on a decoder: one sequence, the most probable token every time, and nobody to share with.
//! The engine's rate for one conversation is held against it.

use std::time::Instant;

use mentor_actors::ports::{BatchToken, Decoder, Evaluation, Sampling, Token};
use serde::Serialize;

use super::{Load, generation, percentile, rate, sorted};

/// Rates of the bare loop, in tokens a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BareFigures {
    /// Tokens after the first one.
    pub decode_rate: f64,
    /// The engine's rate for one conversation, as part of that.
    pub ratio: f64,
}

impl BareFigures {
    /// The median of several runs, and what the engine's rate is of it. `None` where either was not measured.
    #[must_use]
    pub fn of(runs: &[f64], engine_rate: Option<f64>) -> Option<Self> {
        let decode_rate = percentile(&sorted(runs.iter().copied()), 50);
        engine_rate.filter(|_| decode_rate > 0.0).map(|engine| Self { decode_rate, ratio: engine / decode_rate })
    }
}

/// Reads the prompt of a load's first conversation and writes its answer; tokens a second after the first one.
///
/// # Errors
/// What the decoder fails with; one without room for a single conversation.
pub fn measure_bare<D: Decoder>(decoder: &mut D, load: &Load) -> anyhow::Result<f64> {
    let shape = decoder.shape();
    let prompt = decoder.encode(&generation(load, 0).messages)?.tokens;
    decoder.keep(0, 0)?;
    decoder.begin_sampling(0, &Sampling::greedy())?;
    let mut row = 0;
    for (number, tokens) in prompt.chunks(shape.batch_tokens).enumerate() {
        feed(decoder, tokens, number * shape.batch_tokens, prompt.len())?;
        row = tokens.len() - 1;
    }
    let (mut token, mut position) = (decoder.sample(0, row)?, prompt.len());
    let (start, mut written) = (Instant::now(), 0);
    while written + 1 < load.answer_tokens && !decoder.ends_answer(token) {
        feed(decoder, &[token], position, position + 1)?;
        token = decoder.sample(0, 0)?;
        (written, position) = (written + 1, position + 1);
    }
    let took = start.elapsed();
    decoder.end_sampling(0);
    decoder.keep(0, 0)?;
    Ok(rate(written, took))
}

/// Evaluates tokens of the only sequence; the one before `end` gets scores.
fn feed<D: Decoder>(decoder: &mut D, tokens: &[Token], from: usize, end: usize) -> anyhow::Result<()> {
    let row = |(offset, token): (usize, &Token)| {
        let position = from + offset;
        BatchToken { sequence: 0, position, token: *token, scores: position + 1 == end }
    };
    let rows: Vec<_> = tokens.iter().enumerate().map(row).collect();
    let evaluation = decoder.evaluate(&rows)?;
    anyhow::ensure!(evaluation == Evaluation::Done, "the context has no room for one conversation of {end} tokens");
    Ok(())
}

#[cfg(test)]
mod tests {
    use mentor_actors::domain::EngineError;
    use mentor_actors::ports::{DecoderShape, EncodedPrompt, PromptMessage, Sequence, Slot};

    use super::super::Workload;
    use super::*;

    /// Remembers the length of each batch and insists on order; says what it was told last.
    #[derive(Default)]
    struct Recorder {
        batches: Vec<usize>,
        held: usize,
        scores: Option<usize>,
    }

    impl Decoder for Recorder {
        type State = ();

        fn shape(&self) -> DecoderShape {
            DecoderShape { sequences: 1, sequence_tokens: 100, cells: 100, batch_tokens: 4, mixes: true }
        }

        fn encode(&self, _: &[PromptMessage]) -> Result<EncodedPrompt, EngineError> {
            Ok(EncodedPrompt { tokens: (0..10).map(Token).collect(), shared: 0 })
        }

        fn piece(&self, _: Token) -> Vec<u8> {
            Vec::new()
        }

        fn ends_answer(&self, token: Token) -> bool {
            token == Token(14)
        }

        fn evaluate(&mut self, batch: &[BatchToken]) -> Result<Evaluation, EngineError> {
            assert!(batch.iter().enumerate().all(|(offset, row)| row.position == self.held + offset));
            self.batches.push(batch.len());
            self.held += batch.len();
            self.scores = batch.iter().position(|row| row.scores);
            Ok(Evaluation::Done)
        }

        fn keep(&mut self, _: Sequence, tokens: usize) -> Result<usize, EngineError> {
            self.held = tokens;
            Ok(tokens)
        }

        fn save(&self, _: Sequence) -> Result<(), EngineError> {
            Ok(())
        }

        fn state_bytes((): &()) -> usize {
            0
        }

        fn restore(&mut self, _: Sequence, (): &()) -> Result<(), EngineError> {
            Ok(())
        }

        fn begin_sampling(&mut self, _: Slot, _: &Sampling) -> Result<(), EngineError> {
            Ok(())
        }

        fn sample(&mut self, _: Slot, row: usize) -> Result<Token, EngineError> {
            assert_eq!(self.scores, Some(row));
            Ok(Token(i32::try_from(self.held).unwrap()))
        }

        fn end_sampling(&mut self, _: Slot) {}
    }

    fn batches(answer_tokens: usize) -> Vec<usize> {
        let mut decoder = Recorder::default();
        let load = Load { conversations: 1, prompt_tokens: 10, answer_tokens, workload: Workload::Apart, round: 0 };
        measure_bare(&mut decoder, &load).unwrap();
        assert_eq!(decoder.held, 0, "nothing is left behind");
        decoder.batches
    }

    #[test]
    fn the_prompt_is_read_in_batches_and_the_answer_written_token_by_token() {
        assert_eq!(batches(3), [4, 4, 2, 1, 1]);
        assert_eq!(batches(1), [4, 4, 2]);
        assert_eq!(batches(50), [4, 4, 2, 1, 1, 1, 1], "until the model ends it");
    }

    #[test]
    fn the_engine_s_rate_is_compared_with_the_median_of_all_runs() {
        assert_eq!(
            BareFigures::of(&[90.0, 110.0, 100.0], Some(98.0)),
            Some(BareFigures { decode_rate: 100.0, ratio: 0.98 })
        );
        assert_eq!(BareFigures::of(&[], Some(98.0)), None);
        assert_eq!(BareFigures::of(&[100.0], None), None);
    }
}
