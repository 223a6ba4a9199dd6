//! Where conversations are kept, and for how long.

use std::sync::Arc;
use std::time::Duration;

use mentor_actors::conversations::ConversationSettings;
use mentor_actors::memory_store::MemoryStore;
use mentor_actors::ports::Factory;
use mentor_actors::storage::{BoxedStore, Storage};
use mentor_actors::telemetry::Telemetry;
use mentor_actors::workers::{RestartBudget, WorkerPool};
use mentor_engines::sqlite::SqliteConversations;

use crate::config::Config;

/// The thread that keeps conversations.
pub struct ConversationKeeper {
    /// The way to it.
    pub storage: Storage,
    /// `None` when it could not open its store.
    pool: Option<WorkerPool>,
}

impl ConversationKeeper {
    /// Keeps conversations in the data folder. A store that cannot be opened is a problem of readiness, not of the start.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn in_data_dir(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone();
        let factory: Factory<BoxedStore> = Arc::new(move || Ok(Box::new(SqliteConversations::open(&data_dir)?)));
        Self::start(&factory, telemetry)
    }

    /// Keeps conversations for as long as this process lives.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn in_memory(telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Self> {
        let store = MemoryStore::default();
        let factory: Factory<BoxedStore> = Arc::new(move || Ok(Box::new(store.clone())));
        Self::start(&factory, telemetry)
    }

    fn start(factory: &Factory<BoxedStore>, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Self> {
        let (storage, pool) = Storage::start(factory, RestartBudget::default(), telemetry)?;
        Ok(Self { storage, pool })
    }

    /// Lets the thread end after what it is doing, and waits for it.
    pub fn stop(self) {
        self.storage.close();
        if let Some(pool) = self.pool {
            pool.join();
        }
    }
}

pub(super) fn conversation_settings(config: &Config) -> ConversationSettings {
    const DAY: u64 = 24 * 3_600;
    let days = config.keep_conversations_days;
    ConversationSettings {
        limit: config.max_conversations,
        idle_after: Duration::from_secs(config.conversation_idle_s),
        keep: (days > 0).then(|| Duration::from_secs(days.saturating_mul(DAY))),
    }
}
