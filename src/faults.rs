//! Panics that tests order from a running server, with `mentor serve --fault-injection` and never without.
//!
//! Engines and actors know nothing of this. Each part of the program tells what it measures while it works; where a panic was
//! ordered, that call panics: on the part's own thread, in the midst of somebody's turn. Actors get a message that panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mentor_actors::telemetry::{Measurement, Telemetry};

/// What such a panic says.
pub const ORDERED: &str = "ordered by fault injection";

/// Where a panic can be ordered. The words are those of `worker` in metrics, as far as there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The thread that embeds, after the next batch.
    Embed,
    /// The thread that generates, between two tokens of the next answer.
    Generate,
    /// The thread that keeps conversations, at once.
    Conversations,
    /// The next search.
    Search,
    /// The next turn itself, at its first token.
    Turn,
    /// The actor that finds conversations, at once, like all that follow.
    Directory,
    /// The actor of one conversation.
    Conversation,
    /// The actor before the threads that embed.
    EmbeddingPool,
    /// The actor before the store.
    Retriever,
    /// The actor before the thread that generates.
    Generator,
    /// The handler of this very request.
    Http,
    /// The actor of the next WebSocket connection that a frame comes from.
    Socket,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Embed,
        Self::Generate,
        Self::Conversations,
        Self::Search,
        Self::Turn,
        Self::Directory,
        Self::Conversation,
        Self::EmbeddingPool,
        Self::Retriever,
        Self::Generator,
        Self::Http,
        Self::Socket,
    ];

    /// The word in addresses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Generate => "generate",
            Self::Conversations => "conversations",
            Self::Search => "search",
            Self::Turn => "turn",
            Self::Directory => "directory",
            Self::Conversation => "conversation",
            Self::EmbeddingPool => "embedding-pool",
            Self::Retriever => "retriever",
            Self::Generator => "generator",
            Self::Http => "http",
            Self::Socket => "socket",
        }
    }

    /// The part of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }

    /// The part that measures this while a turn depends on it.
    fn of(measurement: &Measurement) -> Option<Self> {
        match measurement {
            Measurement::Embedded { .. } => Some(Self::Embed),
            Measurement::InterToken(_) => Some(Self::Generate),
            Measurement::Retrieved { .. } => Some(Self::Search),
            Measurement::FirstToken(_) => Some(Self::Turn),
            _ => None,
        }
    }
}

/// Panics that were ordered and have not happened yet; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<[AtomicBool; Part::ALL.len()]>);

impl Faults {
    /// Lets the part panic the next time that it can.
    pub fn order(&self, part: Part) {
        self.0[part as usize].store(true, Ordering::SeqCst);
    }

    /// Panics where that was ordered, once.
    pub fn strike(&self, part: Part) {
        if self.0[part as usize].swap(false, Ordering::SeqCst) {
            panic!("{ORDERED}: {}", part.as_str());
        }
    }

    /// The same telemetry, which panics where that was ordered.
    #[must_use]
    pub fn within(&self, telemetry: Arc<dyn Telemetry>) -> Arc<dyn Telemetry> {
        Arc::new(Breaking { faults: self.clone(), telemetry })
    }
}

struct Breaking {
    faults: Faults,
    telemetry: Arc<dyn Telemetry>,
}

impl Telemetry for Breaking {
    fn record(&self, measurement: Measurement) {
        let part = Part::of(&measurement);
        self.telemetry.record(measurement);
        if let Some(part) = part {
            self.faults.strike(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::telemetry::Silent;
    use std::time::Duration;

    #[test]
    fn an_ordered_panic_happens_once_and_where_it_was_ordered() {
        let faults = Faults::default();
        let telemetry = faults.within(Arc::new(Silent));
        let record = |measurement| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| telemetry.record(measurement))).is_err()
        };
        let (token, depth) = (|| Measurement::InterToken(Duration::ZERO), || Measurement::EmbedQueueDepth(1));
        assert!(!record(token()));
        faults.order(Part::Generate);
        assert!(!record(depth()));
        assert!(record(token()));
        assert!(!record(token()));
    }

    #[test]
    fn every_part_has_its_name() {
        for (place, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!((Part::named(part.as_str()), part as usize), (Some(part), place));
        }
        assert_eq!(Part::named("kitchen"), None);
    }
}
