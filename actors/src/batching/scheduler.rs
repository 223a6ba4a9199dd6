//! Which tokens go into the next batch, and who gives way when there is no room. A pure state machine: it says what to do,
//! is told what came of it, and never touches a model.
//!
//! Every running generation owns one sequence of the decoder; sequences without an owner keep what they hold, because a next
//! prompt may begin the same. Answers that are being written go before prompts that are being read, so that a long prompt
//! never makes an answer stutter for longer than one batch; only a crowd of prompts does, for up to `LONGEST_REST` more.
//! Prompts are read in the order of their *due*: the tokens read by anybody before they came, plus their own length. A short
//! prompt so overtakes a long one, and none can be overtaken by more than its own length (the virtual finishing time of
//! weighted fair queueing, Demers et al. 1989).
//!
//! When the cells run out, idle sequences are forgotten first, the least recently used before others; then the youngest
//! generation is set back: its tokens leave the decoder, and are evaluated again when there is room. Only a generation that
//! does not even fit alone fails.

use std::cmp::Reverse;

use super::reuse::{Evaluated, reusable_tokens};
use crate::ports::{DecoderShape, EncodedPrompt, Sequence, Slot, Token};

/// Cells that must be free for every running generation before one that was set back goes on, so that it is not set back
/// again at once.
const HEADROOM: usize = 32;

/// Steps that answers leave to the prompts while several of them wait, one for each but the first: everybody's first word comes sooner, and
/// tokens are cheaper the more answers are written together. Never more than so many in a row.
const LONGEST_REST: usize = 4;

/// Part of a batch: consecutive tokens of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// Whose.
    pub slot: Slot,
    /// Where they go.
    pub sequence: Sequence,
    /// Position of the first.
    pub start: usize,
    /// How many of its tokens.
    pub tokens: usize,
    /// How many guessed ones behind them, to be verified.
    pub drafted: usize,
    /// Whether nothing is left to evaluate after it, so that the next token can be chosen.
    pub completes: bool,
}

impl Feed {
    /// Rows it has in the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens + self.drafted
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Sequences to empty first.
    pub forget: Vec<Sequence>,
    /// Generations that fit nowhere and have failed.
    pub failed: Vec<Slot>,
    /// Batches to evaluate, one after the other.
    pub batches: Vec<Vec<Feed>>,
}

/// Where a new generation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// A sequence without an owner.
    pub sequence: Sequence,
    /// How many of the prompt's tokens it holds already.
    pub kept: usize,
}

/// What a sequence without an owner holds.
#[derive(Debug, Default)]
struct Idle {
    tokens: Vec<Token>,
    scope: String,
    /// When it was last owned, in generations begun.
    used: u64,
}

#[derive(Debug)]
struct Run {
    sequence: Sequence,
    /// Prompt and answer so far.
    tokens: Vec<Token>,
    /// How many of them are in the decoder.
    evaluated: usize,
    /// Guesses at what follows the last token, for the next batch.
    draft: Vec<Token>,
    scope: String,
    /// Number of the generation, in the order they began.
    arrival: u64,
    /// See the module's text.
    due: u64,
    /// How many of its tokens all conversations share.
    shared: usize,
    state: RunState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunState {
    Active,
    /// It lost its cells and waits for room.
    SetBack,
    /// It has nothing more to evaluate.
    Finished,
}

impl Run {
    /// Where the next part of the prompt ends. The ends are the same whatever else runs and however much was kept: how many
    /// rows are evaluated together can change the last bits of the results.
    fn chunk_end(&self, batch_tokens: usize) -> usize {
        let aligned = (self.evaluated / batch_tokens + 1) * batch_tokens;
        let shared = if self.evaluated < self.shared { self.shared } else { self.tokens.len() };
        aligned.min(shared).min(self.tokens.len())
    }

    fn pending(&self) -> usize {
        if self.state == RunState::Active { self.tokens.len() - self.evaluated } else { 0 }
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    shape: DecoderShape,
    runs: Vec<Option<Run>>,
    /// By sequence; `None` while it has an owner.
    idle: Vec<Option<Idle>>,
    begun: u64,
    /// Prompt tokens read so far, by anybody.
    read: u64,
    set_back: u64,
    /// Steps in a row in which answers were not written.
    rested: usize,
}

impl Scheduler {
    /// As many slots as sequences, all free.
    #[must_use]
    pub fn new(shape: DecoderShape) -> Self {
        let idle = std::iter::repeat_with(|| Some(Idle::default())).take(shape.sequences).collect();
        let runs = std::iter::repeat_with(|| None).take(shape.sequences).collect();
        Self { shape, runs, idle, begun: 0, read: 0, set_back: 0, rested: 0 }
    }

    /// Whether nobody has the slot. Slots that do not exist are never free.
    #[must_use]
    pub fn is_free(&self, slot: Slot) -> bool {
        self.runs.get(slot).is_some_and(Option::is_none)
    }

    /// Cells that hold tokens.
    #[must_use]
    pub fn cells_used(&self) -> usize {
        let idle: usize = self.idle.iter().flatten().map(|idle| idle.tokens.len()).sum();
        idle + self.runs.iter().flatten().map(|run| run.evaluated).sum::<usize>()
    }

    /// Cells that hold tokens of running generations.
    fn cells_running(&self) -> usize {
        self.runs.iter().flatten().map(|run| run.evaluated).sum()
    }

    /// How often a generation lost its cells to others.
    #[must_use]
    pub fn times_set_back(&self) -> u64 {
        self.set_back
    }

    /// Leading tokens of `prompt` that some sequence without an owner holds and that scope may use.
    #[must_use]
    pub fn reusable(&self, prompt: &EncodedPrompt, scope: &str) -> usize {
        self.idle.iter().flatten().map(|idle| idle.reusable(prompt, scope)).max().unwrap_or(0)
    }

    /// The best sequence for a prompt: the one that holds most of it, else an empty one, else the least recently used. `None`
    /// when all have owners.
    #[must_use]
    pub fn place(&self, prompt: &EncodedPrompt, scope: &str) -> Option<Placement> {
        let candidates = self.idle.iter().enumerate().filter_map(|(sequence, idle)| Some((sequence, idle.as_ref()?)));
        let placements = candidates.map(|(sequence, idle)| {
            let kept = idle.reusable(prompt, scope);
            // What all share is to be had elsewhere too: for it nobody's sequence is taken.
            let own = if idle.scope == scope { kept } else { 0 };
            let vacancy = (idle.tokens.is_empty(), Reverse(idle.used), Reverse(sequence));
            ((own, vacancy), Placement { sequence, kept })
        });
        placements.max_by_key(|(rank, _)| *rank).map(|(_, placement)| placement)
    }

    /// What a sequence without an owner holds, and whose it is.
    #[must_use]
    pub fn held(&self, sequence: Sequence) -> Option<(&[Token], &str)> {
        let idle = self.idle.get(sequence)?.as_ref()?;
        Some((&idle.tokens, &idle.scope))
    }

    /// Sequences to empty so that `cells` more are free, without touching a running generation; `None` where that does not
    /// suffice.
    pub fn free_cells(&mut self, cells: usize, except: Sequence) -> Option<Vec<Sequence>> {
        let spared = self.held(except).map_or(0, |(tokens, _)| tokens.len());
        if self.cells_running() + spared + cells > self.shape.cells {
            return None;
        }
        let mut forget = Vec::new();
        while self.cells_used() + cells > self.shape.cells {
            forget.push(self.forget_oldest(Some(except))?);
        }
        Some(forget)
    }

    /// A generation begins in a free slot, on a sequence without an owner that holds the first `kept` tokens of its prompt and
    /// nothing else.
    pub fn admit(&mut self, slot: Slot, placement: Placement, prompt: EncodedPrompt, scope: &str) {
        let Placement { sequence, kept } = placement;
        debug_assert!(self.is_free(slot) && kept < prompt.tokens.len(), "a free slot, and something to evaluate");
        self.idle[sequence] = None;
        self.begun += 1;
        let pending = (prompt.tokens.len() - kept) as u64;
        self.runs[slot] = Some(Run {
            sequence,
            evaluated: kept,
            draft: Vec::new(),
            scope: scope.to_owned(),
            arrival: self.begun,
            due: self.read + pending,
            shared: prompt.shared,
            state: RunState::Active,
            tokens: prompt.tokens,
        });
    }

    /// Whether the slot writes: its prompt is read.
    #[must_use]
    pub fn is_writing(&self, slot: Slot) -> bool {
        self.run(slot).is_some_and(|run| run.pending() == 1)
    }

    /// How many slots write.
    #[must_use]
    pub fn writing(&self) -> usize {
        self.runs.iter().flatten().filter(|run| run.pending() == 1).count()
    }

    /// The sequence of a slot.
    #[must_use]
    pub fn sequence(&self, slot: Slot) -> Option<Sequence> {
        self.run(slot).map(|run| run.sequence)
    }

    /// Prompt and answer so far; empty for a free slot.
    #[must_use]
    pub fn tokens(&self, slot: Slot) -> &[Token] {
        self.run(slot).map_or(&[], |run| &run.tokens)
    }

    /// How many tokens of a slot are in the decoder.
    #[must_use]
    pub fn evaluated(&self, slot: Slot) -> usize {
        self.run(slot).map_or(0, |run| run.evaluated)
    }

    /// Guesses at what a writing slot says next; they replace former ones.
    pub fn propose(&mut self, slot: Slot, mut draft: Vec<Token>) {
        let room = self.run(slot).map_or(0, |run| self.shape.sequence_tokens.saturating_sub(run.tokens.len() + 1));
        draft.truncate(room);
        if let Some(run) = self.run_mut(slot).filter(|run| run.pending() == 1) {
            run.draft = draft;
        }
    }

    /// The guesses of a slot that are not verified yet.
    #[must_use]
    pub fn draft(&self, slot: Slot) -> &[Token] {
        self.run(slot).map_or(&[], |run| &run.draft)
    }

    /// What to do next; nothing when all slots are free or finished.
    pub fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        self.bring_back();
        let reading = self.active(|run| run.pending() > 1).count();
        let rest = reading.saturating_sub(1).min(LONGEST_REST);
        self.rested = if self.rested < rest { self.rested + 1 } else { 0 };
        loop {
            let batches = self.batches();
            let rows: usize = batches.iter().flatten().map(Feed::rows).sum();
            if self.cells_used() + rows <= self.shape.cells {
                plan.batches = batches;
                return plan;
            }
            self.make_room(&mut plan);
        }
    }

    /// The decoder had no room for what was planned, against all expectation: somebody gives way all the same.
    pub fn refused(&mut self) -> Plan {
        let mut plan = Plan::default();
        self.make_room(&mut plan);
        plan
    }

    fn make_room(&mut self, plan: &mut Plan) {
        if let Some(sequence) = self.forget_oldest(None) {
            plan.forget.push(sequence);
            return;
        }
        if self.runs.iter().flatten().any(|run| !run.draft.is_empty()) {
            self.runs.iter_mut().flatten().for_each(|run| run.draft.clear());
            return;
        }
        // What a finished one holds is only kept for later; then the youngest gives way, and only the last of all fails.
        let active = self.active(|run| run.state == RunState::Active).count();
        let gives_way = self.active(|run| run.evaluated > 0 || run.pending() > 0);
        let victim = gives_way.max_by_key(|(_, run)| (run.state == RunState::Finished, run.arrival));
        let Some((slot, _)) = victim else { return };
        let Some(run) = self.run_mut(slot) else { return };
        let running = run.state == RunState::Active;
        plan.forget.push(run.sequence);
        run.evaluated = 0;
        run.state = if running && active > 1 { RunState::SetBack } else { RunState::Finished };
        if run.state == RunState::SetBack {
            self.set_back += 1;
        } else if running {
            plan.failed.push(slot);
        }
    }

    fn forget_oldest(&mut self, except: Option<Sequence>) -> Option<Sequence> {
        let idle = self.idle.iter().enumerate().filter_map(|(sequence, idle)| Some((sequence, idle.as_ref()?)));
        let idle = idle.filter(|(sequence, idle)| !idle.tokens.is_empty() && Some(*sequence) != except);
        let (sequence, _) = idle.min_by_key(|(_, idle)| idle.used)?;
        self.forget(sequence);
        Some(sequence)
    }

    /// A sequence without an owner holds nothing any more.
    pub fn forget(&mut self, sequence: Sequence) {
        if let Some(idle) = self.idle.get_mut(sequence).and_then(Option::as_mut) {
            *idle = Idle::default();
        }
    }

    /// Generations that were set back go on where there is room, the oldest first.
    fn bring_back(&mut self) {
        loop {
            let active = self.runs.iter().flatten().filter(|run| run.pending() > 0).count();
            let waiting = self.runs.iter().enumerate().filter_map(|(slot, run)| Some((slot, run.as_ref()?)));
            let waiting = waiting.filter(|(_, run)| run.state == RunState::SetBack);
            let Some((slot, run)) = waiting.min_by_key(|(_, run)| run.arrival) else { return };
            let pending: usize = self.runs.iter().flatten().map(Run::pending).sum();
            let wanted = self.cells_running() + pending + run.tokens.len() + HEADROOM * active;
            if active > 0 && wanted > self.shape.cells {
                return;
            }
            if let Some(run) = self.run_mut(slot) {
                run.state = RunState::Active;
            }
        }
    }

    fn batches(&self) -> Vec<Vec<Feed>> {
        let mut writing = if self.rested > 0 { Vec::new() } else { self.writing_feeds() };
        let rows: usize = writing.iter().map(Feed::rows).sum();
        let left = if self.shape.mixes { self.shape.batch_tokens - rows } else { self.shape.batch_tokens };
        let reading = self.reading_feeds(left);
        if self.shape.mixes {
            writing.extend(reading);
            return if writing.is_empty() { Vec::new() } else { vec![writing] };
        }
        let own = reading.into_iter().map(|feed| vec![feed]);
        std::iter::once(writing).filter(|feeds| !feeds.is_empty()).chain(own).collect()
    }

    /// One token of every slot that writes, and guesses as far as the batch has room for them.
    fn writing_feeds(&self) -> Vec<Feed> {
        let mut slots: Vec<(Slot, &Run)> = self.active(|run| run.pending() == 1).collect();
        // By sequence: where each has memory of its own, llama.cpp only evaluates neighbours together.
        slots.sort_by_key(|(_, run)| run.sequence);
        slots.truncate(self.shape.batch_tokens);
        let mut left = self.shape.batch_tokens - slots.len();
        let feed = |(slot, run): (Slot, &Run)| {
            let drafted = run.draft.len().min(left);
            left -= drafted;
            Feed { slot, sequence: run.sequence, start: run.evaluated, tokens: 1, drafted, completes: true }
        };
        slots.into_iter().map(feed).collect()
    }

    fn reading_feeds(&self, batch_tokens: usize) -> Vec<Feed> {
        let mut slots: Vec<(Slot, &Run)> = self.active(|run| run.pending() > 1).collect();
        slots.sort_by_key(|(_, run)| (run.due, run.arrival));
        let mut left = batch_tokens;
        let mut feeds: Vec<Feed> = Vec::new();
        for (slot, run) in slots {
            let (sequence, start) = (run.sequence, run.evaluated);
            let chunk = run.chunk_end(self.shape.batch_tokens) - start;
            // A chunk is cut only where answers that are written leave no room for a whole one.
            if left == 0 || (chunk > left && !feeds.is_empty()) {
                break;
            }
            let tokens = chunk.min(left);
            left -= tokens;
            let completes = start + tokens == run.tokens.len();
            feeds.push(Feed { slot, sequence, start, tokens, drafted: 0, completes });
        }
        feeds
    }

    fn active(&self, wanted: impl Fn(&Run) -> bool) -> impl Iterator<Item = (Slot, &Run)> {
        let runs = self.runs.iter().enumerate().filter_map(|(slot, run)| Some((slot, run.as_ref()?)));
        runs.filter(move |(_, run)| wanted(run))
    }

    /// A feed of the plan is in the decoder.
    pub fn fed(&mut self, feed: &Feed) {
        let reading = feed.tokens > 1;
        if let Some(run) = self.run_mut(feed.slot) {
            run.evaluated += feed.tokens;
            run.draft.truncate(feed.drafted);
        }
        if reading {
            self.read += feed.tokens as u64;
        }
    }

    /// A token was chosen for a slot. True when it is what was guessed, so that the next row of the batch counts too.
    pub fn say(&mut self, slot: Slot, token: Token) -> bool {
        let Some(run) = self.run_mut(slot) else { return false };
        run.tokens.push(token);
        let guessed = run.draft.first() == Some(&token);
        if guessed {
            run.draft.remove(0);
            run.evaluated += 1;
        } else {
            run.draft.clear();
        }
        guessed
    }

    /// A slot has nothing more to evaluate; it still waits for its end.
    pub fn finish(&mut self, slot: Slot) {
        if let Some(run) = self.run_mut(slot) {
            run.state = RunState::Finished;
            run.draft.clear();
        }
    }

    /// Frees a slot; its sequence keeps what was evaluated.
    pub fn end(&mut self, slot: Slot) {
        let Some(mut run) = self.runs.get_mut(slot).and_then(Option::take) else { return };
        run.tokens.truncate(run.evaluated);
        self.idle[run.sequence] = Some(Idle { tokens: run.tokens, scope: run.scope, used: self.begun });
    }

    fn run(&self, slot: Slot) -> Option<&Run> {
        self.runs.get(slot)?.as_ref()
    }

    fn run_mut(&mut self, slot: Slot) -> Option<&mut Run> {
        self.runs.get_mut(slot)?.as_mut()
    }
}

impl Idle {
    fn reusable(&self, prompt: &EncodedPrompt, scope: &str) -> usize {
        reusable_tokens(Evaluated { tokens: &self.tokens, scope: &self.scope }, prompt, scope)
    }
}
