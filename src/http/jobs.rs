//! Ingest jobs over HTTP: start one, look at it, follow it, stop it.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream};
use mentor_actors::domain::{ErrorCode, TurnError};
use serde::Deserialize;
use serde_json::json;

use super::rest::wants_events;
use super::wire::administration as wire;
use super::{ApiError, Doors, body, sse};
use crate::jobs::{Job, Order};

/// Body of `POST /api/ingest`; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SyncBody {
    /// Try again what failed before.
    retry: bool,
}

/// `POST /api/ingest`: makes the store what the folder is, now.
pub async fn sync(payload: web::Payload, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let SyncBody { retry } = body::json_or_default(payload).await?;
    let job = doors.jobs.submit(Order::Sync { retry }, doors.jobs.reserve()?)?;
    Ok(HttpResponse::Accepted().json(wire::job(&job.snapshot())))
}

/// `GET /api/ingest`: the latest jobs, the newest first.
pub async fn list(doors: web::Data<Doors>) -> HttpResponse {
    let jobs: Vec<_> = doors.jobs.latest().iter().map(|job| wire::job_summary(&job.snapshot())).collect();
    HttpResponse::Ok().json(json!({"jobs": jobs}))
}

/// `GET /api/ingest/{job}`: the job, or its events.
pub async fn look(
    request: HttpRequest,
    id: web::Path<String>,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let job = find(&doors, &id)?;
    if wants_events(&request) {
        let after = sse::last_event_id(&request)?.unwrap_or(0);
        return Ok(sse::response(events(job, after)));
    }
    Ok(HttpResponse::Ok().json(wire::job(&job.snapshot())))
}

/// `DELETE /api/ingest/{job}`: stops it. What it has stored stays.
pub async fn cancel(id: web::Path<String>, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let job = find(&doors, &id)?;
    job.cancel();
    Ok(HttpResponse::Accepted().json(wire::job(&job.snapshot())))
}

fn find(doors: &Doors, id: &str) -> Result<Arc<Job>, TurnError> {
    doors.jobs.find(id).ok_or_else(|| TurnError::new(ErrorCode::NotFound, "there is no such job, or no longer"))
}

/// The job's events up to its end, with comments in between when it is quiet.
fn events(job: Arc<Job>, after: u64) -> impl Stream<Item = web::Bytes> {
    stream::unfold((job, after), |(job, after)| async move {
        match tokio::time::timeout(sse::KEEP_ALIVE, job.next(after)).await {
            Err(_) => Some((web::Bytes::from_static(sse::COMMENT), (job, after))),
            Ok(None) => None,
            Ok(Some((seq, event))) => {
                let text = sse::frame(Some(seq), &wire::event(&job, seq, &event));
                Some((text, (job, seq)))
            }
        }
    })
}
