//! Passages as the bytes that a search index gives back with its rows: all but the document's own columns.

use mentor_actors::domain::{CharSpan, ChunkId, DocumentId, DocumentKind, Passage};

use super::decode::file_name;
use super::error::StoreError;

/// Stands where there is no page, or no section.
const NONE: u32 = u32::MAX;

/// Page, span, lengths of id and section, and then these and the text.
pub(super) fn encode(passage: &Passage) -> Vec<u8> {
    let section = passage.section.as_deref();
    let numbers = [
        passage.page.unwrap_or(NONE),
        // The store's own columns are of 32 bits.
        passage.span.start as u32,
        passage.span.end as u32,
        passage.chunk_id.0.len() as u32,
        section.map_or(NONE, |section| section.len() as u32),
    ];
    let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    for text in [&passage.chunk_id.0, section.unwrap_or_default(), &passage.text] {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// # Errors
/// [`StoreError::Damaged`] when the bytes are not those of a passage.
pub(super) fn decode(bytes: &[u8], document: &DocumentId, kind: DocumentKind) -> Result<Passage, StoreError> {
    try_decode(bytes, document, kind)
        .ok_or_else(|| StoreError::Damaged("a passage of its search index is unreadable: run `mentor reindex`".into()))
}

fn try_decode(mut bytes: &[u8], document: &DocumentId, kind: DocumentKind) -> Option<Passage> {
    let mut number = || {
        let (first, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        Some(u32::from_le_bytes(*first))
    };
    let [page, start, end, id_length, section_length] = [number()?, number()?, number()?, number()?, number()?];
    let (id, rest) = bytes.split_at_checked(id_length as usize)?;
    let (section, text) = rest.split_at_checked(if section_length == NONE { 0 } else { section_length as usize })?;
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(Passage {
        chunk_id: ChunkId(string(id)?),
        document_id: document.clone(),
        file_name: file_name(document).into(),
        kind,
        page: (page != NONE).then_some(page),
        section: if section_length == NONE { None } else { Some(string(section)?) },
        span: CharSpan { start: start as usize, end: end as usize },
        text: string(text)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_comes_back_as_it_was_and_a_torn_one_is_an_error() {
        let document = DocumentId("week 1/größe.pdf".into());
        for (page, section) in [(Some(7), Some("Bäume".to_owned())), (None, Some(String::new())), (None, None)] {
            let passage = Passage {
                chunk_id: ChunkId("ab-3".into()),
                document_id: document.clone(),
                file_name: "größe.pdf".into(),
                kind: DocumentKind::Pdf,
                page,
                section,
                span: CharSpan { start: 5, end: 9 },
                text: "größer".into(),
            };
            let bytes = encode(&passage);
            assert_eq!(decode(&bytes, &document, DocumentKind::Pdf).unwrap(), passage);
            assert!(decode(&bytes[..21], &document, DocumentKind::Pdf).is_err());
        }
    }
}
