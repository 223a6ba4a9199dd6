//! How soon a slot is free after stop was pressed, and whether many such turns leave anything behind: turns through the
//! generator's own queue, stopped at random moments.

use std::sync::Mutex;
use std::time::Duration;

use actix::Addr;
use futures_util::future::try_join_all;
use mentor_actors::cancel::CancelToken;
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::{FinishReason, TurnId};
use mentor_actors::generation::{Generate, GenerationEvent, GeneratorActor};
use mentor_actors::ports::Sampling;
use mentor_actors::prompt::PromptParts;
use mentor_actors::telemetry::{Measurement, Telemetry};
use mentor_actors::turn_queue::Flow;
use serde::Serialize;

use super::{percentile, sorted, text};

/// Tokens of a conversation here: enough for the longest prompt and its answer.
pub const CONTEXT_TOKENS: usize = 512;
/// Longest answer that is stopped on its way, and of a prompt, about.
const ANSWER_TOKENS: usize = 24;
const PROMPT_TOKENS: u64 = 240;
/// A prompt for which the whole context is needed, with its answer.
const FULL_PROMPT_TOKENS: usize = 360;
/// Memory that may be added after a tenth of the turns, in MiB: by then everything is as large as it gets (the context, the saved
/// conversations, the allocator's own store), and what is left is its wavering.
pub const MOST_GROWTH_MIB: usize = 64;
/// A turn that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured. Times in milliseconds, memory in MiB.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CancelFigures {
    /// Turns in all.
    pub turns: usize,
    /// How many were stopped before their end, and how many of those before their first token.
    pub cancelled: usize,
    /// The same.
    pub cancelled_in_prefill: usize,
    /// From "stop" to the slot being free.
    pub cancel_p50: f64,
    /// The same.
    pub cancel_p95: f64,
    /// The same.
    pub cancel_p99: f64,
    /// The same.
    pub cancel_max: f64,
    /// Longest step of the engine.
    pub longest_step: f64,
    /// Resident memory before the first turn.
    pub memory_start: usize,
    /// After a tenth of the turns.
    pub memory_tenth: usize,
    /// After all.
    pub memory_end: usize,
    /// Slots still taken at the end.
    pub slots_taken: usize,
    /// KV cells that hold tokens at the end, of `cells_total`: what idle conversations left to be reused.
    pub cells_used: usize,
    /// The same.
    pub cells_total: usize,
    /// Whether afterwards every slot had room for a whole conversation at once: no cell is owned by a turn that is gone.
    pub all_fit_afterwards: bool,
}

/// Hears the engine's measurements.
#[derive(Debug, Default)]
pub struct CancelTally(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    cancels: Vec<Duration>,
    step: Duration,
    longest_step: Duration,
    slots_taken: usize,
    cells: (usize, usize),
}

impl CancelTally {
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl CancelFigures {
    /// Memory added since a tenth of the turns, in MiB.
    #[must_use]
    pub fn growth(&self) -> usize {
        self.memory_end.saturating_sub(self.memory_tenth)
    }

    /// Whether many turns left something behind.
    #[must_use]
    pub fn left_something(&self) -> bool {
        self.slots_taken > 0 || !self.all_fit_afterwards || self.growth() > MOST_GROWTH_MIB
    }
}

impl Telemetry for CancelTally {
    fn record(&self, measurement: Measurement) {
        let mut heard = self.heard();
        match measurement {
            Measurement::Cancelled(took) => heard.cancels.push(took),
            // A step may evaluate several batches, and tells its cells at its end.
            Measurement::BatchEvaluated { took, .. } => heard.step += took,
            Measurement::CellsUsed { used, total } => {
                heard.cells = (used, total);
                heard.longest_step = heard.longest_step.max(std::mem::take(&mut heard.step));
            }
            Measurement::GenerationSlots { busy, .. } => heard.slots_taken = busy,
            _ => {}
        }
    }
}

/// When a turn is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// So long after it was asked: while it waits for the next step, while its prompt is read, or later.
    After(Duration),
    /// After so many pieces of its answer.
    AtPiece(usize),
    /// Not at all.
    Never,
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same turns every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn stop(&mut self) -> Stop {
        match self.below(10) {
            0 => Stop::Never,
            1..=5 => Stop::After(Duration::from_micros(self.below(150_000))),
            _ => Stop::AtPiece(usize::try_from(1 + self.below(12)).unwrap_or(1)),
        }
    }
}

/// How a turn ended.
struct Ended {
    reason: FinishReason,
    pieces: usize,
}

/// Runs turns in all slots at once, most of them stopped at random moments.
///
/// # Errors
/// A turn that fails, does not end, or ends more than once.
pub async fn measure_cancel(
    generator: &Addr<GeneratorActor>,
    tally: &CancelTally,
    slots: usize,
    turns: usize,
) -> anyhow::Result<CancelFigures> {
    let mut figures = CancelFigures { turns, memory_start: mebibytes_of("VmRSS:"), ..CancelFigures::default() };
    let tenth = turns / 10;
    run(generator, slots, 0..tenth, &mut figures).await?;
    figures.memory_tenth = mebibytes_of("VmRSS:");
    run(generator, slots, tenth..turns, &mut figures).await?;
    figures.memory_end = mebibytes_of("VmRSS:");
    {
        let heard = tally.heard();
        let times = sorted(heard.cancels.iter().map(|took| took.as_secs_f64() * 1e3));
        let at = |percent| percentile(&times, percent);
        (figures.cancel_p50, figures.cancel_p95) = (at(50), at(95));
        (figures.cancel_p99, figures.cancel_max) = (at(99), at(100));
        figures.longest_step = heard.longest_step.as_secs_f64() * 1e3;
        figures.slots_taken = heard.slots_taken;
        (figures.cells_used, figures.cells_total) = heard.cells;
    }
    let whole = (0..slots).map(|slot| {
        let request = request(turns + slot, FULL_PROMPT_TOKENS, CONTEXT_TOKENS);
        run_turn(generator, request, Stop::Never)
    });
    figures.all_fit_afterwards = try_join_all(whole).await.is_ok();
    Ok(figures)
}

async fn run(
    generator: &Addr<GeneratorActor>,
    slots: usize,
    turns: std::ops::Range<usize>,
    figures: &mut CancelFigures,
) -> anyhow::Result<()> {
    let clients = (0..slots).map(|client| {
        let mine = turns.clone().filter(move |turn| turn % slots == client);
        async move {
            let mut ends = Vec::new();
            for turn in mine {
                let mut random = Random(turn as u64);
                let prompt_tokens = usize::try_from(20 + random.below(PROMPT_TOKENS)).unwrap_or(20);
                ends.push(run_turn(generator, request(turn, prompt_tokens, ANSWER_TOKENS), random.stop()).await?);
            }
            anyhow::Ok(ends)
        }
    });
    for ended in try_join_all(clients).await?.into_iter().flatten() {
        if ended.reason == FinishReason::Cancelled {
            figures.cancelled += 1;
            figures.cancelled_in_prefill += usize::from(ended.pieces == 0);
        }
    }
    Ok(())
}

async fn run_turn(generator: &Addr<GeneratorActor>, request: Generate, stop: Stop) -> anyhow::Result<Ended> {
    let cancel = request.cancel.clone();
    let mut events = generator.send(request).await?.map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let delay = if let Stop::After(delay) = stop { delay } else { PATIENCE };
    let stopped = tokio::time::sleep(delay);
    tokio::pin!(stopped);
    let (mut ended, mut pieces) = (None, 0);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut stopped, if !cancel.is_cancelled() => {
                anyhow::ensure!(matches!(stop, Stop::After(_)), "a turn did not end within {} s", PATIENCE.as_secs());
                cancel.cancel();
                continue;
            }
        };
        match event {
            Some(GenerationEvent::Piece(_)) => {
                pieces += 1;
                if stop == Stop::AtPiece(pieces) {
                    cancel.cancel();
                }
            }
            Some(GenerationEvent::Finished { reason, .. }) => {
                anyhow::ensure!(ended.is_none(), "a turn ended twice");
                ended = Some(Ended { reason, pieces });
            }
            Some(GenerationEvent::Failed(error)) => anyhow::bail!("a turn failed: {}", error.message),
            Some(GenerationEvent::Queued(_) | GenerationEvent::Begun { .. }) => {}
            None => return ended.ok_or_else(|| anyhow::anyhow!("a turn had no end")),
        }
    }
}

fn request(turn: usize, prompt_tokens: usize, answer_tokens: usize) -> Generate {
    Generate {
        flow: Flow { client: None, conversation: None },
        turn_id: TurnId::generate(),
        parts: PromptParts {
            system: "Answer in one sentence.".into(),
            history: Vec::new(),
            brief_exchanges: 0,
            passages: Vec::new(),
            question: format!("{}\nWrite a long essay about this.", text(turn, prompt_tokens * 4)),
            budget_tokens: CONTEXT_TOKENS,
        },
        max_tokens: answer_tokens.min(CONTEXT_TOKENS - prompt_tokens),
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        cache_scope: format!("bench {turn}"),
        deadline: Deadline::after(PATIENCE),
        cancel: CancelToken::default(),
    }
}

/// What the system says of the process's memory, for example after `VmRSS:` for all of it in main memory; 0 where it does not.
pub(super) fn mebibytes_of(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) >> 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_stopped_in_every_way_and_the_same_way_every_time() {
        let stops = |seed| {
            let mut random = Random(seed);
            (0..100).map(|_| random.stop()).collect::<Vec<_>>()
        };
        assert_eq!(stops(1), stops(1));
        assert_ne!(stops(1), stops(2));
        let count = |is: fn(&Stop) -> bool| stops(1).iter().filter(|stop| is(stop)).count();
        assert!(count(|stop| *stop == Stop::Never) > 0);
        assert!(count(|stop| matches!(stop, Stop::After(_))) > 30);
        assert!(count(|stop| matches!(stop, Stop::AtPiece(1..=12))) > 20);
    }

    #[test]
    fn slots_cells_and_memory_that_are_left_behind_are_told() {
        let clean =
            CancelFigures { memory_tenth: 500, memory_end: 564, all_fit_afterwards: true, ..CancelFigures::default() };
        assert!(!clean.left_something());
        assert!(CancelFigures { memory_end: 565, ..clean.clone() }.left_something());
        assert!(CancelFigures { slots_taken: 1, ..clean.clone() }.left_something());
        assert!(CancelFigures { all_fit_afterwards: false, ..clean.clone() }.left_something());
        assert!(!CancelFigures { memory_end: 400, ..clean }.left_something());
    }

    #[test]
    fn the_longest_step_is_that_of_all_its_batches() {
        let tally = CancelTally::default();
        let batch = |ms| Measurement::BatchEvaluated { rows: 1, took: Duration::from_millis(ms) };
        for measurement in [batch(30), batch(20), Measurement::CellsUsed { used: 3, total: 9 }, batch(40)] {
            tally.record(measurement);
        }
        tally.record(Measurement::CellsUsed { used: 4, total: 9 });
        let heard = tally.heard();
        assert_eq!((heard.longest_step, heard.cells), (Duration::from_millis(50), (4, 9)));
    }
}
