//! The course materials over HTTP: what is there, more of it, less of it.

use std::time::Duration;

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use mentor_actors::domain::{DocumentId, ErrorCode, TurnError};
use serde::Deserialize;

use super::health::in_time;
use super::multipart::{Multipart, Part};
use super::rest::unreadable;
use super::wire::administration as wire;
use super::{ApiError, Doors};
use crate::guard::{Client, Scope};
use crate::ingest::find;
use crate::jobs::Order;
use crate::materials::{Misplaced, Upload};

/// Longest silence within an upload: a client that stops sending must not keep its place.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest that an upload may take, however steadily it comes: long enough for the largest over a slow line.
const LONGEST: Duration = Duration::from_secs(3_600);
/// What is written to the disk at once.
const WRITE_BYTES: usize = 256 << 10;
/// Boundaries and headers of a file in an upload, generously.
const ENVELOPE_BYTES: u64 = 16 << 10;

/// `GET /api/documents`.
pub async fn list(client: Client, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let documents = in_time(doors.store.documents()).await.map_err(unreadable)?;
    let may_delete = client.may(Scope::Admin);
    Ok(HttpResponse::Ok().json(wire::documents(&documents, doors.materials.limits(), may_delete)))
}

/// What may be asked of an upload.
#[derive(Debug, Deserialize)]
pub struct UploadQuery {
    /// Whether files of the same name are replaced.
    #[serde(default)]
    replace: bool,
}

/// `POST /api/documents`.
pub async fn upload(
    request: HttpRequest,
    query: Result<web::Query<UploadQuery>, actix_web::Error>,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let wrong = |error: actix_web::Error| {
        TurnError::new(ErrorCode::InvalidRequest, format!("the query cannot be understood: {error}"))
    };
    let replace = query.map_err(wrong)?.replace;
    check_length(&request, &doors)?;
    let parts = Multipart::new(&boundary(&request)?)?;
    // Before the files: what is put into the folder is to be taken up by a job.
    let place = doors.jobs.reserve()?;
    let receiving = receive(payload, parts, doors.materials.upload(replace));
    let received = tokio::time::timeout(LONGEST, receiving).await.map_err(|_| too_slow())??;
    let jobs = doors.jobs.clone();
    // In one go: a caller that leaves now must not leave files behind that no job takes up.
    let placed = move || match received.place() {
        Ok(placed) => jobs.submit(Order::Take(placed), place),
        Err(Misplaced { placed, error }) => {
            if !placed.is_empty() {
                jobs.submit(Order::Take(placed), place)?;
            }
            Err(error)
        }
    };
    let job = blocking(placed).await?;
    Ok(HttpResponse::Accepted().json(wire::job(&job.snapshot())))
}

/// What is too large from the first is refused before it is sent.
fn check_length(request: &HttpRequest, doors: &Doors) -> Result<(), TurnError> {
    let limits = doors.materials.limits();
    let files = limits.files as u64;
    let allowed = limits.file_bytes.saturating_add(ENVELOPE_BYTES).saturating_mul(files);
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > allowed) {
        let reason = format!("an upload may have {files} files of {} bytes", limits.file_bytes);
        return Err(TurnError::new(ErrorCode::TooLarge, reason));
    }
    Ok(())
}

fn boundary(request: &HttpRequest) -> Result<String, TurnError> {
    let kind = request.mime_type().ok().flatten();
    let kind = kind.filter(|kind| kind.essence_str() == "multipart/form-data");
    let boundary = kind.and_then(|kind| Some(kind.get_param("boundary")?.as_str().to_owned()));
    boundary.ok_or_else(|| {
        TurnError::new(ErrorCode::InvalidRequest, "send the files as multipart/form-data, as curl -F file=@NAME does")
    })
}

/// Writes files down as they come, waiting for the disk before more is read.
async fn receive(mut payload: web::Payload, mut parts: Multipart, mut upload: Upload) -> Result<Upload, TurnError> {
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    while !parts.is_whole() {
        let piece = tokio::time::timeout(SILENCE, payload.next()).await.map_err(|_| silent())?.ok_or_else(cut)?;
        parts.feed(&piece.map_err(|_| cut())?);
        while let Some(part) = parts.next()? {
            let is_due = match &part {
                Part::Data(data) => {
                    bytes += data.len();
                    bytes >= WRITE_BYTES
                }
                Part::File { .. } | Part::End => true,
            };
            waiting.push(part);
            if is_due {
                upload = take_in(upload, std::mem::take(&mut waiting)).await?;
                bytes = 0;
            }
        }
    }
    Ok(upload)
}

async fn take_in(mut upload: Upload, parts: Vec<Part>) -> Result<Upload, TurnError> {
    blocking(move || {
        for part in parts {
            match part {
                Part::File { name } => upload.begin(&name)?,
                Part::Data(data) => upload.write(&data)?,
                Part::End => upload.end()?,
            }
        }
        Ok(upload)
    })
    .await
}

/// `DELETE /api/documents/{id}`: from the folder and from the store.
pub async fn remove(id: web::Path<String>, doors: web::Data<Doors>) -> Result<HttpResponse, ApiError> {
    let id = DocumentId(id.into_inner());
    if !exists(&doors, &id).await? {
        return Err(no_such_document().into());
    }
    let job = doors.jobs.submit(Order::Remove(id), doors.jobs.reserve()?)?;
    Ok(HttpResponse::Accepted().json(wire::job(&job.snapshot())))
}

async fn exists(doors: &Doors, id: &DocumentId) -> Result<bool, TurnError> {
    let stored = in_time(doors.store.documents()).await.unwrap_or_default();
    if stored.iter().any(|record| record.id == *id) {
        return Ok(true);
    }
    let (directory, id) = (doors.materials.directory().to_owned(), id.clone());
    blocking(move || Ok(find(&directory, &id).is_ok_and(|file| file.is_some()))).await
}

pub(super) fn no_such_document() -> TurnError {
    TurnError::new(ErrorCode::NotFound, "there is no such document")
}

/// Runs what waits for the disk on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TurnError> + Send + 'static,
) -> Result<T, TurnError> {
    let lost = |_| TurnError::new(ErrorCode::Internal, "the request failed for a fault of the server's");
    web::block(work).await.map_err(lost)?
}

fn cut() -> TurnError {
    TurnError::new(ErrorCode::InvalidRequest, "the upload ended before it was whole")
}

fn too_slow() -> TurnError {
    TurnError::new(ErrorCode::DeadlineExceeded, format!("the upload took more than {} s", LONGEST.as_secs()))
}

fn silent() -> TurnError {
    TurnError::new(ErrorCode::DeadlineExceeded, format!("the upload sent nothing for {} s", SILENCE.as_secs()))
}
