//! The files that the documents were read from: where a citation leads.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT_RANGES, ByteRangeSpec, Charset, ContentDisposition, ContentEncoding, ContentRange, ContentRangeSpec,
    DispositionParam, DispositionType, ETag, EntityTag, ExtendedValue, IF_RANGE, IfNoneMatch, IfRange,
    Range as RangeHeader,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, mime, web};
use futures_util::{Stream, stream};
use mentor_actors::domain::{DocumentId, DocumentKind, ErrorCode, TurnError};

use super::documents::{blocking, no_such_document};
use super::health::in_time;
use super::rest::unreadable;
use super::{ApiError, Doors};

/// What is read of a file at once: a slow client holds no more of it in memory.
const PIECE_BYTES: u64 = 64 << 10;

/// `GET /api/files/{document_id}`: whole or a range of it, unless the client has it. The `ETag` is the hash of its content.
pub async fn file(
    id: web::Path<String>,
    request: HttpRequest,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    if !doors.serve_files {
        return Err(TurnError::new(ErrorCode::NotFound, "files are not handed out here").into());
    }
    let id = DocumentId(id.into_inner());
    let stored = in_time(doors.store.documents()).await.map_err(unreadable)?;
    let record = stored.into_iter().find(|record| record.id == id && record.was_read());
    let record = record.ok_or_else(no_such_document)?;
    let (kind, tag) = (record.kind, EntityTag::new_strong(record.hash.to_string()));
    let materials = doors.materials.clone();
    let (file, bytes) = blocking(move || materials.open(&record)).await?;

    let (media_type, disposition) = shown(kind);
    let mut response = HttpResponse::Ok();
    response
        .content_type(media_type)
        .insert_header(named(disposition, &id))
        .insert_header(ETag(tag.clone()))
        .insert_header((ACCEPT_RANGES, "bytes"))
        // Compressed there would be neither a length nor ranges, and most files are compressed already.
        .insert_header(ContentEncoding::Identity);
    if has_it(&request, &tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    let span = match asked(&request, &tag).map(|part| part.to_satisfiable_range(bytes)) {
        None => 0..bytes,
        Some(Some((first, last))) => {
            response.status(StatusCode::PARTIAL_CONTENT).insert_header(part_of(Some((first, last)), bytes));
            first..last + 1
        }
        Some(None) => {
            response.status(StatusCode::RANGE_NOT_SATISFIABLE).insert_header(part_of(None, bytes));
            return Ok(response.finish());
        }
    };
    let length = span.end - span.start;
    // Of HEAD the length alone is told.
    let read = if request.method() == Method::HEAD { 0..0 } else { span };
    Ok(response.body(SizedStream::new(length, pieces(file, read))))
}

/// What a browser shows runs nothing: PDF and plain text. Everything else is saved: a page of the materials would be one of this
/// server's own.
fn shown(kind: DocumentKind) -> (mime::Mime, DispositionType) {
    match kind {
        DocumentKind::Pdf => (mime::APPLICATION_PDF, DispositionType::Inline),
        DocumentKind::Markdown | DocumentKind::PlainText => (mime::TEXT_PLAIN_UTF_8, DispositionType::Inline),
        DocumentKind::Html
        | DocumentKind::Word
        | DocumentKind::Presentation
        | DocumentKind::Epub
        | DocumentKind::Notebook => (mime::APPLICATION_OCTET_STREAM, DispositionType::Attachment),
    }
}

/// With the file's name, whatever is in it.
fn named(disposition: DispositionType, DocumentId(path): &DocumentId) -> ContentDisposition {
    let name = path.rsplit('/').next().unwrap_or(path);
    let charset = Charset::Ext("UTF-8".to_owned());
    let name = ExtendedValue { charset, language_tag: None, value: name.as_bytes().to_vec() };
    ContentDisposition { disposition, parameters: vec![DispositionParam::FilenameExt(name)] }
}

fn has_it(request: &HttpRequest, tag: &EntityTag) -> bool {
    match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(tag)),
        None => false,
    }
}

/// The one range that is asked for; `None` for the whole file. It is also what who asks for several ranges gets, and who has the
/// beginning of another file.
fn asked(request: &HttpRequest, tag: &EntityTag) -> Option<ByteRangeSpec> {
    let is_of_this = match request.get_header::<IfRange>() {
        Some(IfRange::EntityTag(begun)) => begun.strong_eq(tag),
        Some(IfRange::Date(_)) => false,
        // None, or one that cannot be read.
        None => !request.headers().contains_key(IF_RANGE),
    };
    match request.get_header::<RangeHeader>().filter(|_| is_of_this)? {
        RangeHeader::Bytes(mut ranges) if ranges.len() == 1 => ranges.pop(),
        RangeHeader::Bytes(_) | RangeHeader::Unregistered(..) => None,
    }
}

fn part_of(range: Option<(u64, u64)>, bytes: u64) -> ContentRange {
    ContentRange(ContentRangeSpec::Bytes { range, instance_length: Some(bytes) })
}

/// These bytes of a file, read on a thread that may wait as the client takes them.
fn pieces(file: File, span: Range<u64>) -> impl Stream<Item = io::Result<web::Bytes>> {
    stream::try_unfold((file, span), |(file, span)| async move {
        let end = span.end.min(span.start + PIECE_BYTES);
        if end == span.start {
            return Ok(None);
        }
        let read = move || {
            // No piece is larger than memory addresses.
            let mut piece = vec![0; usize::try_from(end - span.start).unwrap_or_default()];
            file.read_exact_at(&mut piece, span.start)?;
            io::Result::Ok(Some((web::Bytes::from(piece), (file, end..span.end))))
        };
        web::block(read).await.map_err(io::Error::other)?
    })
}
