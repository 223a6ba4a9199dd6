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
//! Who gives way when the cells run out is decided in `room`.

mod room;

use std::cmp::Reverse;

use super::plan::{Feed, Forgotten, Placement, Plan};
use super::reuse::{Evaluated, reusable_tokens};
use crate::ports::{DecoderShape, EncodedPrompt, Sequence, Slot, Token};

/// Steps that answers leave to the prompts while several of them wait, one for each but the first: everybody's first word comes sooner, and
/// tokens are cheaper the more answers are written together. Never more than so many in a row: with 320 tokens a step on a CPU, that
/// is about as long as llama.cpp's server makes answers wait with its usual batch of 2,048 tokens.
const LONGEST_REST: usize = 7;

/// Where batches are larger, the rows of a part of a prompt are a multiple of this, but for the last part: ggml's attention on a
/// CPU takes so many together (`GGML_FA_TILE_Q`).
const PART_MULTIPLE: usize = 64;

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
    /// How many of its tokens are the prompt.
    prompt: usize,
    /// How many of these all conversations share.
    shared: usize,
    /// Whether these are to be copied once they are evaluated.
    copies: bool,
    state: RunState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunState {
    Active,
    /// It waits for room, because it lost its cells or came after one that did.
    SetBack,
    /// It has nothing more to evaluate.
    Finished,
}

impl Run {
    /// Where the next part of the prompt ends. Parts are about equally long: a short last one would take a step of its own, in
    /// which tokens cost more. For the same prompt the ends are the same whatever else runs (but where answers in the same batch
    /// leave no room) and however much was kept: how many rows are evaluated together can change the last bits of the results.
    fn part_end(&self, batch_tokens: usize) -> usize {
        let borders = [0, self.shared, self.prompt, self.tokens.len()];
        let (start, end) = match borders.iter().position(|&border| border > self.evaluated) {
            Some(later @ 1..) => (borders[later - 1], borders[later].min(self.tokens.len())),
            _ => return self.tokens.len(),
        };
        let mut part_end = start;
        while part_end <= self.evaluated {
            part_end += part_of(end - part_end, batch_tokens);
        }
        part_end
    }

    /// Whether it is about to read, and copy, what `other` is too.
    fn copies_the_same(&self, other: &Self) -> bool {
        let shared = |run: &Self| run.copies && run.evaluated < run.shared;
        shared(self) && shared(other) && self.tokens[..self.shared] == other.tokens[..other.shared]
    }

    fn pending(&self) -> usize {
        if self.state == RunState::Active { self.tokens.len() - self.evaluated } else { 0 }
    }
}

/// How much of what is left to read is read first, if it is to be read in as few parts as possible and all about equally long.
fn part_of(left: usize, batch_tokens: usize) -> usize {
    let parts = left.div_ceil(batch_tokens);
    let even = left.div_ceil(parts.max(1));
    let whole = (even + PART_MULTIPLE / 2) / PART_MULTIPLE * PART_MULTIPLE;
    let others = parts.saturating_sub(1) * batch_tokens;
    if parts < 2 || whole == 0 { even } else { whole.clamp(left - others, batch_tokens) }
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
    /// Whether the decoder had no room lately: until it evaluates something, nothing is guessed and nobody brought back.
    refused: bool,
}

impl Scheduler {
    /// As many slots as sequences, all free.
    #[must_use]
    pub fn new(shape: DecoderShape) -> Self {
        let idle = std::iter::repeat_with(|| Some(Idle::default())).take(shape.sequences).collect();
        let runs = std::iter::repeat_with(|| None).take(shape.sequences).collect();
        Self { shape, runs, idle, begun: 0, read: 0, set_back: 0, rested: 0, refused: false }
    }

    /// Whether nobody has the slot. Slots that do not exist are never free.
    #[must_use]
    pub fn is_free(&self, slot: Slot) -> bool {
        self.runs.get(slot).is_some_and(Option::is_none)
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

    /// A generation begins in a free slot, on a sequence without an owner that holds the first `kept` tokens of its prompt and
    /// nothing else. With `copies` what all share is copied when it is evaluated: nobody reads it at the same time.
    pub fn admit(&mut self, slot: Slot, placement: Placement, prompt: EncodedPrompt, scope: &str, copies: bool) {
        let Placement { sequence, kept } = placement;
        debug_assert!(self.is_free(slot) && kept < prompt.tokens.len(), "a free slot, and something to evaluate");
        // Whoever comes later waits behind those that were set back, or they would wait for ever.
        let waits = self.runs_where(|run| run.state == RunState::SetBack).next().is_some();
        let state = if waits { RunState::SetBack } else { RunState::Active };
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
            prompt: prompt.tokens.len(),
            shared: prompt.shared,
            copies,
            state,
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

    /// The sequence of a slot holds so many of its tokens, and no more: it lost some, or got them from a copy.
    pub fn holds(&mut self, slot: Slot, tokens: usize) {
        if let Some(run) = self.run_mut(slot) {
            run.evaluated = tokens.min(run.tokens.len());
        }
    }

    /// What all share, when a slot has evaluated exactly that and it is to be copied; only once.
    pub fn take_shared(&mut self, slot: Slot) -> Option<Vec<Token>> {
        let run = self.run_mut(slot).filter(|run| run.copies && run.evaluated == run.shared)?;
        run.copies = false;
        Some(run.tokens[..run.shared].to_vec())
    }

    /// The slots that are to read `shared` first, now that there is a copy of it.
    pub fn take_waiting_for(&mut self, shared: &[Token]) -> Vec<(Slot, Sequence)> {
        let runs = self.runs.iter_mut().enumerate().filter_map(|(slot, run)| Some((slot, run.as_mut()?)));
        let waiting = runs.filter(|(_, run)| {
            let reads = run.copies && run.evaluated < run.shared && run.state == RunState::Active;
            reads && &run.tokens[..run.shared] == shared
        });
        let copied = |(slot, run): (Slot, &mut Run)| {
            run.copies = false;
            (slot, run.sequence)
        };
        waiting.map(copied).collect()
    }

    /// Guesses at what a writing slot says next; they replace former ones. None are taken while the decoder has no room.
    pub fn propose(&mut self, slot: Slot, mut draft: Vec<Token>) {
        if self.refused {
            return;
        }
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
        let reading = self.runs_where(|run| run.pending() > 1).count();
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
        let mut slots: Vec<(Slot, &Run)> = self.runs_where(|run| run.pending() == 1).collect();
        // By sequence: where each has memory of its own, llama.cpp only evaluates neighbours together.
        slots.sort_by_key(|(_, run)| run.sequence);
        slots.truncate(self.shape.batch_tokens);
        let mut left = self.shape.batch_tokens - slots.len();
        if self.shape.mixes && self.runs_where(|run| run.pending() > 1).next().is_some() {
            // Guesses leave room in the batch to those who read.
            left /= 2;
        }
        let feed = |(slot, run): (Slot, &Run)| {
            let drafted = run.draft.len().min(left);
            left -= drafted;
            Feed { slot, sequence: run.sequence, start: run.evaluated, tokens: 1, drafted, completes: true }
        };
        slots.into_iter().map(feed).collect()
    }

    fn reading_feeds(&self, batch_tokens: usize) -> Vec<Feed> {
        let mut slots: Vec<(Slot, &Run)> = self.runs_where(|run| run.pending() > 1).collect();
        slots.sort_by_key(|(_, run)| (run.due, run.arrival));
        let mut left = batch_tokens;
        let mut feeds: Vec<Feed> = Vec::new();
        for (slot, run) in slots {
            if feeds.iter().filter_map(|feed| self.run(feed.slot)).any(|other| other.copies_the_same(run)) {
                continue;
            }
            let (sequence, start) = (run.sequence, run.evaluated);
            let part = run.part_end(self.shape.batch_tokens) - start;
            // A part is cut only where answers that are written leave no room for a whole one.
            if left == 0 || (part > left && !feeds.is_empty()) {
                break;
            }
            let tokens = part.min(left);
            left -= tokens;
            let completes = start + tokens == run.tokens.len();
            feeds.push(Feed { slot, sequence, start, tokens, drafted: 0, completes });
        }
        feeds
    }

    fn runs_where(&self, wanted: impl Fn(&Run) -> bool) -> impl Iterator<Item = (Slot, &Run)> {
        let runs = self.runs.iter().enumerate().filter_map(|(slot, run)| Some((slot, run.as_ref()?)));
        runs.filter(move |(_, run)| wanted(run))
    }

    /// A feed of the plan is in the decoder.
    pub fn fed(&mut self, feed: &Feed) {
        self.refused = false;
        if let Some(run) = self.run_mut(feed.slot) {
            run.evaluated += feed.tokens;
            run.draft.truncate(feed.drafted);
        }
        if feed.reads() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler() -> Scheduler {
        Scheduler::new(DecoderShape { sequences: 2, sequence_tokens: 100, cells: 150, batch_tokens: 16, mixes: true })
    }

    fn admit(scheduler: &mut Scheduler, slot: Slot, tokens: i32) {
        let prompt = EncodedPrompt { tokens: (0..tokens).map(Token).collect(), shared: 0 };
        scheduler.admit(slot, Placement { sequence: slot, kept: 0 }, prompt, "a", false);
    }

    fn feeds(scheduler: &mut Scheduler) -> Vec<(Slot, usize)> {
        let plan = scheduler.plan();
        plan.batches.iter().flatten().map(|feed| (feed.slot, feed.rows())).collect()
    }

    #[test]
    fn guesses_leave_half_of_the_batch_to_those_who_read() {
        let mut scheduler = scheduler();
        admit(&mut scheduler, 0, 1);
        scheduler.propose(0, vec![Token(1); 15]);
        assert_eq!(feeds(&mut scheduler), [(0, 16)], "alone it may have all of it");
        admit(&mut scheduler, 1, 50);
        assert_eq!(feeds(&mut scheduler), [(0, 8), (1, 8)]);
    }

    /// Where the parts of a prompt end that has so many tokens kept.
    fn part_ends(prompt: usize, shared: usize, kept: usize, batch_tokens: usize) -> Vec<usize> {
        let shape = DecoderShape { sequences: 1, sequence_tokens: 2000, cells: 2000, batch_tokens, mixes: true };
        let mut scheduler = Scheduler::new(shape);
        let tokens = (0..i32::try_from(prompt).unwrap()).map(Token).collect();
        let placement = Placement { sequence: 0, kept };
        scheduler.admit(0, placement, EncodedPrompt { tokens, shared }, "a", false);
        let mut ends = Vec::new();
        while scheduler.evaluated(0) < prompt {
            let feed = scheduler.plan().batches[0][0];
            scheduler.fed(&feed);
            ends.push(scheduler.evaluated(0));
        }
        ends
    }

    #[test]
    fn a_prompt_is_read_in_as_few_parts_as_there_can_be_and_none_is_short() {
        assert_eq!(part_ends(618, 0, 0, 320), [320, 618]);
        assert_eq!(part_ends(660, 0, 0, 320), [192, 448, 660]);
        assert_eq!(part_ends(1028, 0, 0, 320), [256, 512, 768, 1028]);
        assert_eq!(part_ends(900, 0, 0, 320), [320, 640, 900]);
        assert_eq!(part_ends(300, 0, 0, 320), [300]);
        assert_eq!(part_ends(40, 0, 0, 16), [14, 27, 40], "a batch shorter than a tile");
        assert_eq!(part_ends(1999, 0, 0, 100), (1..=20).map(|part| part * 100 - part / 20).collect::<Vec<_>>());
    }

    #[test]
    fn parts_end_in_the_same_places_however_much_was_kept() {
        assert_eq!(part_ends(660, 0, 7, 320), [192, 448, 660]);
        assert_eq!(part_ends(660, 0, 191, 320), [192, 448, 660]);
        assert_eq!(part_ends(660, 0, 600, 320), [660]);
        assert_eq!(part_ends(660, 100, 0, 320), [100, 356, 660]);
        assert_eq!(part_ends(660, 100, 100, 320), [356, 660]);
    }

    #[test]
    fn a_part_of_a_single_token_counts_as_read() {
        let mut scheduler = scheduler();
        admit(&mut scheduler, 0, 40);
        scheduler.fed(&Feed { slot: 0, sequence: 0, start: 0, tokens: 13, drafted: 0, completes: false });
        let plan = scheduler.plan();
        assert_eq!(plan.batches[0][0].tokens, 1, "up to the end of the first part");
        scheduler.fed(&plan.batches[0][0]);
        assert_eq!(scheduler.read, 14);
    }
}
