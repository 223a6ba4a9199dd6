//! Documents and ingest jobs as JSON. Field names here are what clients rely on.

use mentor_actors::domain::{DocumentId, DocumentRecord};
use serde_json::{Value, json};

use super::error_event;
use crate::calendar::timestamp;
use crate::jobs::{Counts, DocumentResult, Event, Job, Order, Outcome, Snapshot, Stage, Stages, State};
use crate::materials::UploadLimits;

/// Body of `GET /api/documents`.
pub fn documents(records: &[DocumentRecord], limits: UploadLimits, may_delete: bool) -> Value {
    json!({
        "documents": records.iter().map(document).collect::<Value>(),
        "limits": {"max_upload_bytes": limits.file_bytes, "max_upload_files": limits.files},
        "may_delete": may_delete,
    })
}

fn document(record: &DocumentRecord) -> Value {
    let whole = record.failure.iter().map(|failure| json!({"page": null, "reason": failure.reason}));
    let copies: Vec<&str> = record.copies.iter().map(|id| id.0.as_str()).collect();
    json!({
        "id": record.id.0,
        "file_name": file_name(&record.id),
        "file_type": record.kind.media_type(),
        "pages": record.pages,
        "chunks": record.chunks,
        "bytes": record.bytes,
        "ingested_at": record.stored_at_s.map(timestamp),
        "copies": copies,
        "failures": whole.chain(failed_pages(&record.failed_pages)).collect::<Value>(),
    })
}

fn file_name(id: &DocumentId) -> &str {
    id.0.rsplit('/').next().unwrap_or(&id.0)
}

fn failed_pages(pages: &[(u32, String)]) -> impl Iterator<Item = Value> + '_ {
    pages.iter().map(|(page, reason)| json!({"page": page, "reason": reason}))
}

/// A job with the outcome of each document.
pub fn job(snapshot: &Snapshot) -> Value {
    let mut value = job_summary(snapshot);
    value["documents"] = snapshot.documents.iter().map(outcome).collect();
    value
}

/// A job in a list of them.
pub fn job_summary(snapshot: &Snapshot) -> Value {
    let Counts { ingested, failed, removed, renamed, copies, unchanged } = snapshot.counts;
    let mut value = json!({
        "id": snapshot.id,
        "kind": kind(&snapshot.order),
        "state": state(snapshot.state),
        "cancelling": snapshot.is_cancelled && !snapshot.state.is_ended(),
        "created_at": timestamp(snapshot.created_s),
        "started_at": snapshot.started_s.map(timestamp),
        "ended_at": snapshot.ended_s.map(timestamp),
        "progress": progress(snapshot.stages),
        "counts": {
            "ingested": ingested, "failed": failed, "removed": removed, "renamed": renamed, "copies": copies,
            "unchanged": unchanged,
        },
        "last_seq": snapshot.last_seq,
    });
    if let Some(error) = &snapshot.error {
        value["error"] = json!({"code": error.code.as_str(), "message": error.message});
    }
    value
}

fn kind(order: &Order) -> &'static str {
    match order {
        Order::Take(_) => "upload",
        Order::Remove(_) => "delete",
        Order::Sync { .. } => "sync",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Running => "running",
        State::Done => "done",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

fn progress(Stages { extract, embed, write }: Stages) -> Value {
    let stage = |Stage { done, total }: Stage, unit: &str| json!({"done": done, "total": total, "unit": unit});
    json!({"extract": stage(extract, "bytes"), "embed": stage(embed, "chunks"), "write": stage(write, "documents")})
}

fn outcome(Outcome { id, result }: &Outcome) -> Value {
    let mut value = json!({"id": id.0});
    match result {
        DocumentResult::Ingested { pages, chunks, failed_pages: failed } => {
            value["outcome"] = json!("ingested");
            value["pages"] = json!(pages);
            value["chunks"] = json!(chunks);
            value["failures"] = failed_pages(failed).collect();
        }
        DocumentResult::Failed { reason } => {
            value["outcome"] = json!("failed");
            value["failures"] = json!([{"page": null, "reason": reason}]);
        }
        DocumentResult::Removed => value["outcome"] = json!("removed"),
        DocumentResult::Renamed { from } => {
            value["outcome"] = json!("renamed");
            value["from"] = json!(from.0);
        }
        DocumentResult::Copy { of } => {
            value["outcome"] = json!("copy");
            value["of"] = json!(of.0);
        }
        DocumentResult::Unchanged => value["outcome"] = json!("unchanged"),
    }
    value
}

/// An event of a job. The last one is `complete`, or `error` when the job failed.
pub fn event(of: &Job, seq: u64, event: &Event) -> Value {
    let mut value = match event {
        Event::State(now) => json!({"type": "state", "state": state(*now)}),
        Event::Progress(stages) => json!({"type": "progress", "progress": progress(*stages)}),
        Event::Document(done) => json!({"type": "document", "document": outcome(done)}),
        Event::Ended => end(&of.snapshot()),
    };
    value["seq"] = json!(seq);
    value["job_id"] = json!(of.id());
    value
}

fn end(snapshot: &Snapshot) -> Value {
    let mut value = match &snapshot.error {
        Some(error) => error_event(error),
        None => json!({"type": "complete"}),
    };
    value["job"] = job(snapshot);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::{DocumentHash, DocumentKind, ErrorCode, TurnError};

    fn snapshot() -> Snapshot {
        let done = |name: &str, result| Outcome { id: DocumentId(name.into()), result };
        Snapshot {
            id: "j1".into(),
            order: Order::Sync { retry: false },
            state: State::Failed,
            is_cancelled: false,
            created_s: 0,
            started_s: Some(1),
            ended_s: None,
            stages: Stages { extract: Stage { done: 10, total: 20 }, ..Stages::default() },
            counts: Counts { ingested: 1, ..Counts::default() },
            documents: vec![
                done(
                    "a.pdf",
                    DocumentResult::Ingested { pages: 3, chunks: 7, failed_pages: vec![(2, "a picture".into())] },
                ),
                done("b.pdf", DocumentResult::Failed { reason: "encrypted".into() }),
                done("c.pdf", DocumentResult::Renamed { from: DocumentId("d.pdf".into()) }),
            ],
            error: Some(TurnError::new(ErrorCode::Unavailable, "no")),
            last_seq: 9,
        }
    }

    #[test]
    fn a_job_says_what_it_is_how_far_it_is_and_what_became_of_each_document() {
        let expected = json!({
            "id": "j1", "kind": "sync", "state": "failed", "cancelling": false,
            "created_at": "1970-01-01T00:00:00Z", "started_at": "1970-01-01T00:00:01Z", "ended_at": null,
            "progress": {
                "extract": {"done": 10, "total": 20, "unit": "bytes"},
                "embed": {"done": 0, "total": 0, "unit": "chunks"},
                "write": {"done": 0, "total": 0, "unit": "documents"},
            },
            "counts": {"ingested": 1, "failed": 0, "removed": 0, "renamed": 0, "copies": 0, "unchanged": 0},
            "documents": [
                {"id": "a.pdf", "outcome": "ingested", "pages": 3, "chunks": 7, "failures": [{"page": 2, "reason": "a picture"}]},
                {"id": "b.pdf", "outcome": "failed", "failures": [{"page": null, "reason": "encrypted"}]},
                {"id": "c.pdf", "outcome": "renamed", "from": "d.pdf"},
            ],
            "error": {"code": "unavailable", "message": "no"},
            "last_seq": 9,
        });
        assert_eq!(job(&snapshot()), expected);
    }

    #[test]
    fn a_stream_ends_with_complete_or_with_the_error() {
        let failed = end(&snapshot());
        assert_eq!(
            (&failed["type"], &failed["code"], &failed["job"]["id"]),
            (&json!("error"), &json!("unavailable"), &json!("j1"))
        );
        let done = end(&Snapshot { state: State::Done, error: None, ..snapshot() });
        assert_eq!((&done["type"], &done["job"]["state"]), (&json!("complete"), &json!("done")));
    }

    #[test]
    fn a_document_is_listed_with_what_is_known_of_it() {
        let id = DocumentId("week 1/a.pdf".into());
        let record = DocumentRecord::failed(id, DocumentHash([1; 32]), DocumentKind::Pdf, "encrypted".into());
        let record = DocumentRecord { bytes: Some(5), failed_pages: vec![(2, "a picture".into())], ..record };
        let limits = UploadLimits { file_bytes: 100, files: 2, free_bytes: 0 };
        let expected = json!({
            "documents": [{
                "id": "week 1/a.pdf", "file_name": "a.pdf", "file_type": "application/pdf", "pages": 0, "chunks": 0, "bytes": 5,
                "ingested_at": null, "copies": [],
                "failures": [{"page": null, "reason": "encrypted"}, {"page": 2, "reason": "a picture"}],
            }],
            "limits": {"max_upload_bytes": 100, "max_upload_files": 2},
            "may_delete": true,
        });
        assert_eq!(documents(&[record], limits, true), expected);
    }
}
