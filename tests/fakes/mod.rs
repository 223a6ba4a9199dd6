//! Doors with nothing but fakes behind them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mentor::guard::Guard;
use mentor::http::{AskLimits, Doors, EmbeddingDoor, HEARTBEAT, ModelNames};
use mentor::jobs::{Job, Jobs, Runner};
use mentor::materials::{Materials, UploadLimits};
use mentor::metrics::Metrics;
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::TurnError;

use crate::support::{Tutor, Words};

/// Longest any step of these tests waits.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What changes the store is in `tests/program/documents.rs`.
struct NoJobs;

impl Runner for NoJobs {
    fn run(&mut self, _: &Job) -> Result<(), TurnError> {
        Ok(())
    }
}

/// What a server needs, with room for 64 connections.
pub fn doors(tutor: &Tutor, guard: Arc<Guard>) -> Doors {
    let name = || "fake".to_owned();
    Doors {
        conversations: tutor.conversations.clone(),
        storage: tutor.storage.clone(),
        list_conversations: true,
        serve_files: true,
        admission: tutor.admission.clone(),
        services: tutor.services.clone(),
        store: tutor.store.clone(),
        jobs: Jobs::start(NoJobs, 1, &tutor.services.telemetry).unwrap().0,
        materials: Materials::new("nowhere".into(), UploadLimits { file_bytes: 1, files: 1, free_bytes: 0 }),
        workers: tutor.health.clone(),
        step_deadline: PATIENCE,
        faults: None,
        problems: Vec::new(),
        metrics: Arc::new(Metrics::new().unwrap()),
        models: ModelNames {
            generator: name(),
            embedder: "fake-embedder".to_owned(),
            execution_provider: name(),
            generation_backend: "none".to_owned(),
        },
        embeddings: EmbeddingDoor::new(Arc::new(Words), 2, 10),
        limits: AskLimits { message_chars: 2_000, max_tokens: 256 },
        abandon_after: Duration::from_secs(30),
        time_limit: PATIENCE,
        max_connections: 64,
        guard,
        heartbeat: HEARTBEAT,
        shutdown: CancelToken::default(),
        started: Instant::now(),
    }
}
