//! What happens to a job, numbered from 1, for readers that come and go.

use std::collections::VecDeque;

use super::job::{Outcome, Stages, State};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It has another state now.
    State(State),
    /// It got on. Of several in a row only the newest is kept, so numbers may be missing.
    Progress(Stages),
    /// A document is done with.
    Document(Outcome),
    /// It has ended: nothing comes after this.
    Ended,
}

/// Events in order. As long as outcomes are bounded it is: between two other events there is at most one of progress.
#[derive(Debug, Default)]
pub(super) struct Log {
    events: VecDeque<(u64, Event)>,
    last: u64,
}

impl Log {
    /// Notes an event; gives its number.
    pub(super) fn push(&mut self, event: Event) -> u64 {
        self.last += 1;
        if matches!(event, Event::Progress(_)) && matches!(self.events.back(), Some((_, Event::Progress(_)))) {
            self.events.pop_back();
        }
        self.events.push_back((self.last, event));
        self.last
    }

    /// The first event after that number.
    pub(super) fn after(&self, seq: u64) -> Option<&(u64, Event)> {
        self.events.get(self.events.partition_point(|(number, _)| *number <= seq))
    }

    /// Number of the newest event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_joined_and_everything_else_kept() {
        let mut log = Log::default();
        let progress = || Event::Progress(Stages::default());
        for event in [Event::State(State::Running), progress(), progress(), progress(), Event::Ended] {
            log.push(event);
        }
        let mut numbers = Vec::new();
        let mut at = 0;
        while let Some((seq, _)) = log.after(at) {
            numbers.push(*seq);
            at = *seq;
        }
        assert_eq!((numbers, log.last()), (vec![1, 4, 5], 5));
    }
}
