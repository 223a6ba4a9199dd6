//! Who gives way when the cells run out. Idle sequences are forgotten first, the least recently used before others, then what
//! those who wait for room have kept. Then the youngest generation is set back: its tokens leave the decoder, and are
//! evaluated again when there is room. Only a generation that does not even fit alone fails.
//!
//! Whoever comes while others wait, waits behind them. So every generation that waits is younger than all that run, and the
//! oldest of all is never set back: nobody starves.

use super::{Forgotten, Idle, Plan, Run, RunState, Scheduler, Sequence, Slot};

/// Cells that must be free for every running generation before one that was set back goes on, so that it is not set back
/// again at once.
const HEADROOM: usize = 32;

impl Scheduler {
    /// Cells that hold tokens.
    #[must_use]
    pub fn cells_used(&self) -> usize {
        let idle: usize = self.idle.iter().flatten().map(|idle| idle.tokens.len()).sum();
        idle + self.cells_of(|_| true)
    }

    /// Cells that hold tokens of such generations.
    fn cells_of(&self, wanted: impl Fn(&Run) -> bool) -> usize {
        self.runs_where(wanted).map(|(_, run)| run.evaluated).sum()
    }

    /// How often a generation lost its cells to others.
    #[must_use]
    pub fn times_set_back(&self) -> u64 {
        self.set_back
    }

    /// Whether so many cells can be had without touching a running generation.
    #[must_use]
    pub fn can_free(&self, cells: usize) -> bool {
        self.cells_of(|_| true) + cells <= self.shape.cells
    }

    /// Whether so many cells are free.
    #[must_use]
    pub fn has_room(&self, cells: usize) -> bool {
        self.cells_used() + cells <= self.shape.cells
    }

    /// Sequences without an owner to empty so that `cells` more are free, as far as that suffices.
    pub fn free_cells(&mut self, cells: usize) -> Vec<Forgotten> {
        let mut forgotten = Vec::new();
        while !self.has_room(cells) {
            let Some(oldest) = self.forget_oldest() else { break };
            forgotten.push(oldest);
        }
        forgotten
    }

    /// The decoder had no room for what was planned, against all expectation: the next batch has no guesses, and somebody
    /// gives way if this one had none.
    pub fn refused(&mut self) -> Plan {
        let mut plan = Plan::default();
        self.refused = true;
        if !self.clear_drafts() {
            self.make_room(&mut plan);
        }
        plan
    }

    pub(super) fn make_room(&mut self, plan: &mut Plan) {
        if let Some(oldest) = self.forget_oldest() {
            plan.forget.push(oldest);
            return;
        }
        let waiting = self.runs_where(|run| run.state == RunState::SetBack && run.evaluated > 0);
        if let Some((slot, _)) = waiting.max_by_key(|(_, run)| run.arrival) {
            plan.forget.extend(self.lose(slot));
            return;
        }
        if !self.clear_drafts() {
            self.set_one_back(plan);
        }
    }

    /// Whether there were any.
    fn clear_drafts(&mut self) -> bool {
        let any = self.runs.iter().flatten().any(|run| !run.draft.is_empty());
        self.runs.iter_mut().flatten().for_each(|run| run.draft.clear());
        any
    }

    /// What a finished one holds is only kept for later; then the youngest gives way, and only the last of all fails.
    fn set_one_back(&mut self, plan: &mut Plan) {
        let active = self.runs_where(|run| run.state == RunState::Active).count();
        let gives_way = self.runs_where(|run| run.evaluated > 0 || run.pending() > 0);
        let victim = gives_way.max_by_key(|(_, run)| (run.state == RunState::Finished, run.arrival));
        let Some((slot, _)) = victim else { return };
        plan.forget.extend(self.lose(slot));
        let Some(run) = self.run_mut(slot).filter(|run| run.state == RunState::Active) else { return };
        if active > 1 {
            run.state = RunState::SetBack;
            self.set_back += 1;
        } else {
            run.state = RunState::Finished;
            plan.failed.push(slot);
        }
    }

    /// A slot's sequence is emptied.
    fn lose(&mut self, slot: Slot) -> Option<Forgotten> {
        let run = self.run_mut(slot)?;
        let finished = run.state == RunState::Finished;
        let held = if finished { run.tokens[..run.evaluated].to_vec() } else { Vec::new() };
        run.evaluated = 0;
        Some(Forgotten { sequence: run.sequence, held, scope: run.scope.clone() })
    }

    fn forget_oldest(&mut self) -> Option<Forgotten> {
        let idle = self.idle.iter().enumerate().filter_map(|(sequence, idle)| Some((sequence, idle.as_ref()?)));
        let idle = idle.filter(|(_, idle)| !idle.tokens.is_empty());
        let (sequence, _) = idle.min_by_key(|(_, idle)| idle.used)?;
        let Idle { tokens: held, scope, .. } = std::mem::take(self.idle[sequence].as_mut()?);
        Some(Forgotten { sequence, held, scope })
    }

    /// A sequence without an owner holds nothing any more.
    pub fn forget(&mut self, sequence: Sequence) {
        if let Some(idle) = self.idle.get_mut(sequence).and_then(Option::as_mut) {
            *idle = Idle::default();
        }
    }

    /// Generations that wait go on where there is room, the oldest first. What the younger ones of them hold is room too.
    pub(super) fn bring_back(&mut self) {
        loop {
            let active = self.runs_where(|run| run.pending() > 0).count();
            let waiting = self.runs_where(|run| run.state == RunState::SetBack);
            let Some((slot, run)) = waiting.min_by_key(|(_, run)| run.arrival) else { return };
            let pending: usize = self.runs.iter().flatten().map(Run::pending).sum();
            let running = self.cells_of(|run| run.state != RunState::SetBack);
            let wanted = running + pending + run.tokens.len() + HEADROOM * active;
            if active > 0 && (self.refused || wanted > self.shape.cells) {
                return;
            }
            if let Some(run) = self.run_mut(slot) {
                run.state = RunState::Active;
            }
        }
    }
}
