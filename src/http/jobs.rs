//! Ingest jobs over HTTP: start one, look at it, follow it, stop it.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream};
use mentor_actors::domain::{ErrorCode, TurnError};
use serde::Deserialize;
use serde_json::json;

use super::rest::{KEEP_ALIVE, event_response, frame, wants_events};
use super::wire::administration as wire;
use super::{ApiError, Doors, body};
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
        let after = last_event_id(&request)?;
        return Ok(event_response(events(job, after)));
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

/// The number after which a client that comes back goes on; 0 for one that comes first.
fn last_event_id(request: &HttpRequest) -> Result<u64, TurnError> {
    let Some(header) = request.headers().get("last-event-id") else { return Ok(0) };
    let number = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| TurnError::new(ErrorCode::InvalidRequest, "Last-Event-ID is not the number of an event"))
}

/// The job's events up to its end, with comments in between when it is quiet.
fn events(job: Arc<Job>, after: u64) -> impl Stream<Item = web::Bytes> {
    stream::unfold((job, after), |(job, after)| async move {
        match tokio::time::timeout(KEEP_ALIVE, job.next(after)).await {
            Err(_) => Some((web::Bytes::from_static(b": still working\n\n"), (job, after))),
            Ok(None) => None,
            Ok(Some((seq, event))) => {
                let text = frame(Some(seq), &wire::event(&job, seq, &event));
                Some((text, (job, seq)))
            }
        }
    })
}
