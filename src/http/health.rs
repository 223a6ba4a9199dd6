//! Is it alive, can it answer, and its metrics.

use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use mentor_actors::domain::{CorpusStats, EngineError, ErrorCode, TurnError};
use serde_json::json;

use super::{ApiError, Doors};
use crate::engines::FAKE_BACKEND;
use crate::guard::{Client, Scope};

/// Longest that the store may take to say what it holds: one that hangs must not hang whoever asks how it is.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// Every worker and actor is up and none hangs in a step, the store can be read, and a remote server is not given up for a while;
/// 503 otherwise, with the reason for those who may see the metrics. What makes it no tutor is named, so that nobody takes it for one.
pub async fn ready(client: Client, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let (_, problems) = look(&doors).await;
    if problems.is_empty() {
        let mut body = json!({"status": "ready"});
        if doors.faults.is_some() {
            body["fault_injection"] = true.into();
        }
        if doors.models.generation_backend == FAKE_BACKEND {
            body["generator"] = json!(doors.models.generator);
        }
        return Ok(HttpResponse::Ok().json(body));
    }
    let reason = if client.may(Scope::Metrics) { problems.join("; ") } else { "not ready".to_owned() };
    Err(TurnError::new(ErrorCode::Unavailable, reason).into())
}

/// Readiness with everything that it was decided from.
pub async fn detail(doors: web::Data<Doors>) -> HttpResponse {
    let (corpus, problems) = look(&doors).await;
    let workers: serde_json::Map<String, serde_json::Value> = doors
        .workers
        .iter()
        .map(|health| {
            let state = health.problem(Instant::now(), doors.step_deadline).unwrap_or_else(|| "up".into());
            (health.name().to_owned(), json!({"state": state, "restarts": health.restarts()}))
        })
        .collect();
    let mut response = if problems.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({
        "status": if problems.is_empty() { "ready" } else { "unavailable" },
        "problems": problems,
        "workers": workers,
        "chunks": corpus.map(|corpus| corpus.chunks),
        "models": doors.models,
        "uptime_s": doors.started.elapsed().as_secs(),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

async fn look(doors: &Doors) -> (Option<CorpusStats>, Vec<String>) {
    let now = Instant::now();
    let mut problems: Vec<String> =
        doors.workers.iter().filter_map(|health| health.problem(now, doors.step_deadline)).collect();
    problems.extend(doors.problems.iter().filter_map(|problem| problem()));
    let corpus = stats(doors).await;
    if let Err(error) = &corpus {
        tracing::error!(%error, "the store cannot be read");
        problems.push("the dataset cannot be read".into());
    }
    problems.extend(doors.storage.problem());
    if doors.admission.is_closed() || doors.shutdown.is_cancelled() {
        problems.push("the server is shutting down".into());
    }
    (corpus.ok(), problems)
}

async fn stats(doors: &Doors) -> Result<CorpusStats, EngineError> {
    in_time(doors.store.stats()).await
}

/// What the store says, unless it takes too long for anybody who waits.
pub(super) async fn in_time<T>(asking: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    let silent = |_| Err(EngineError::Failed(format!("it says nothing for {} s", STORE_PATIENCE.as_secs())));
    tokio::time::timeout(STORE_PATIENCE, asking).await.unwrap_or_else(silent)
}

/// Everything that is measured, for Prometheus.
pub async fn metrics(doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    if let Ok(corpus) = stats(&doors).await {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        doors.metrics.dataset_version.set(gauge(corpus.dataset_version));
        doors.metrics.dataset_fragments.set(gauge(corpus.fragments));
        doors.metrics.dataset_rows.set(gauge(corpus.chunks));
    }
    let text = doors.metrics.render().map_err(|error| {
        tracing::error!(%error, "the metrics cannot be rendered");
        TurnError::new(ErrorCode::Internal, "the metrics cannot be rendered")
    })?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text))
}
