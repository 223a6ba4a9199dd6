//! Everything that answers questions: retrieval, the generator, and the actors in front of them.

use std::sync::Arc;

use actix::Addr;
use mentor_actors::admission::{Admission, Bounds};
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversations::ConversationsActor;
use mentor_actors::embedding::EmbeddingPoolActor;
use mentor_actors::fake_engine::FakeSettings;
use mentor_actors::generation::GeneratorActor;
use mentor_actors::storage::Storage;
use mentor_actors::supervision::Watchdog;
use mentor_actors::telemetry::Telemetry;
use mentor_actors::turn::TurnServices;
use mentor_actors::workers::WorkerHealth;

use super::conversations::conversation_settings;
use super::embedding::Embedding;
use super::generator::{self, Generator, GeneratorSource};
use super::retrieval::{Retrieval, for_retrieval};
use super::turn_settings::turn_settings;
use crate::config::Config;
use crate::documents::StoredDocuments;
use crate::http::{EmbeddingDoor, ModelNames};

/// Everything that answers questions.
pub struct Tutor {
    /// Embedding and store.
    pub retrieval: Retrieval,
    /// The generator.
    pub generator: Generator,
}

/// Builds embedder, store and generator; the models load at the same time.
///
/// # Errors
/// A model file that is missing or damaged; a store of another embedder; a model that does not fit the configuration.
pub fn for_answers(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Tutor> {
    answers_from(&GeneratorSource::from_config(config)?, config, telemetry)
}

/// Builds embedder and store, and in the generator's place one that writes so many words a second in each of the configured
/// slots: everything but the model is loaded as it would be.
///
/// # Errors
/// As [`for_answers`], without what is about models; a rate that makes no sense.
pub fn for_load(config: &Config, tokens_per_second: f64, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Tutor> {
    let (slots, context_tokens) = (config.slots, config.context_tokens);
    answers_from(&GeneratorSource::Fake(FakeSettings { slots, context_tokens, tokens_per_second }), config, telemetry)
}

fn answers_from(source: &GeneratorSource, config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Tutor> {
    let generator = generator::start(source, config, telemetry)?;
    let retrieval = for_retrieval(config, telemetry)?;
    let generator = generator.ready(config)?;
    Ok(Tutor { retrieval, generator })
}

/// The actors of a tutor. Must be started inside an actix system.
pub struct Actors {
    /// Finds conversations.
    pub conversations: Addr<ConversationsActor>,
    /// Lets turns in, those of conversations and others; closed when the server stops.
    pub admission: Admission,
    /// What turns ask.
    pub services: TurnServices,
    /// Of each actor that there is one of.
    pub health: Vec<Arc<WorkerHealth>>,
}

impl Tutor {
    /// Starts the actors in front of the engines.
    #[must_use]
    pub fn start_actors(&self, config: &Config, storage: &Storage, telemetry: &Arc<dyn Telemetry>) -> Actors {
        let Retrieval { embedding, store, .. } = &self.retrieval;
        let watchdogs @ [embedding_pool, retriever, generator, directory] =
            &["embedding-pool", "retriever", "generator", "directory"].map(|name| Watchdog::of_one(name, telemetry));
        let search = self.retrieval.retriever(config, telemetry, retriever.health().pulse());
        let services = TurnServices {
            embedding: embedding_pool.start(EmbeddingPoolActor::new(embedding.workers.clone())),
            retriever: retriever.start(search),
            generator: generator.start(GeneratorActor::new(self.generator.worker.clone())),
            telemetry: telemetry.clone(),
            settings: Arc::new(turn_settings(config, &self.generator.info.sampling)),
            documents: Arc::new(StoredDocuments::new(store.clone())),
            cut_off: CancelToken::default(),
        };
        let admission = Admission::new(bounds(config), self.generator.worker.outlook(), telemetry.clone());
        let settings = conversation_settings(config);
        let conversations = ConversationsActor::new(services.clone(), admission.clone(), storage.clone(), settings);
        let health = watchdogs.iter().map(Watchdog::health).collect();
        Actors { conversations: directory.start(conversations), services, admission, health }
    }

    /// What the program says of its models.
    #[must_use]
    pub fn names(&self) -> ModelNames {
        let (embedder, generator) = (&self.retrieval.embedding.info, &self.generator.info);
        ModelNames {
            generator: generator.name.clone(),
            embedder: embedder.model_id.clone(),
            execution_provider: embedder.execution_provider.to_string(),
            generation_backend: generator.backend.to_string(),
        }
    }

    /// What a client that wants vectors is told and held to.
    #[must_use]
    pub fn embedding_door(&self) -> EmbeddingDoor {
        let Embedding { info, counter, .. } = &self.retrieval.embedding;
        EmbeddingDoor::new(Arc::new(counter.clone()), info.dimension, info.max_tokens)
    }

    /// The workers' health.
    #[must_use]
    pub fn health(&self) -> Vec<Arc<WorkerHealth>> {
        let reranker = self.retrieval.reranker.as_ref().map(|loaded| loaded.reranking.health());
        let others = [self.retrieval.embedding.workers.health(), self.generator.worker.health()];
        others.into_iter().chain(reranker).collect()
    }

    /// Lets all threads end, and waits for them.
    pub fn stop(self) {
        self.generator.stop();
        self.retrieval.stop();
    }
}

/// What may be in the program at once.
fn bounds(config: &Config) -> Bounds {
    let prompt_tokens = match config.max_queued_tokens {
        0 => config.max_turns.saturating_mul(config.prompt_tokens),
        tokens => tokens,
    };
    Bounds { turns: config.max_turns, prompt_tokens, client_percent: config.client_share_percent }
}
