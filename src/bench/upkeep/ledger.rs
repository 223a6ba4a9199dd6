//! What the writer of [`super`] has done, and whether an answer fits to it.
//!
//! Changes are numbered from 1 as they begin. A reader sees the store as it was after some change, which may be one that has not been
//! acknowledged yet, but none before the newest that was ever seen: so every document has one state, or one of a few.

use std::collections::{BTreeMap, HashSet};

use mentor_actors::domain::{DocumentHash, DocumentId, DocumentRecord, Passage};

/// The number of a change; 0 is before all.
pub(super) type Change = u64;

/// What stands before a number in the names of the writer's documents, in their own words, and in those of their versions.
const DOCUMENT: &str = "moving-";
const DOCUMENT_WORD: &str = "zqx";
const VERSION_WORD: &str = "zqv";
/// In the hashes of the writer's documents: those of the others begin with small numbers.
const WRITTEN: u64 = 1 << 63;
/// A letter for each digit, without vowels: no stemmer shortens such a word, and no part of it is one.
const DIGITS: &[u8; 10] = b"bcdfghkmpt";

/// What a change made of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// The change that wrote it.
    pub change: Change,
    /// How many chunks it gave it.
    pub chunks: u32,
}

/// Everything the writer did to its documents.
#[derive(Debug)]
pub(super) struct Ledger {
    /// For each document what each change made of it, `None` where it was removed.
    documents: Vec<Vec<(Change, Option<Version>)>>,
    begun: Change,
    acknowledged: Change,
}

impl Ledger {
    pub(super) fn new(documents: usize) -> Self {
        Self { documents: vec![Vec::new(); documents], begun: 0, acknowledged: 0 }
    }

    /// The next change is about to be made; gives its number.
    pub(super) fn begin(&mut self, document: usize, chunks: Option<u32>) -> Change {
        self.begun += 1;
        let version = chunks.map(|chunks| Version { change: self.begun, chunks });
        self.documents[document].push((self.begun, version));
        self.begun
    }

    /// The last change that began was made.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledged = self.begun;
    }

    pub(super) fn begun(&self) -> Change {
        self.begun
    }

    pub(super) fn acknowledged(&self) -> Change {
        self.acknowledged
    }

    /// What a document was after a change.
    pub(super) fn after(&self, document: usize, change: Change) -> Option<Version> {
        let changes = &self.documents[document];
        let until = changes.partition_point(|(number, _)| *number <= change);
        until.checked_sub(1).and_then(|last| changes[last].1)
    }

    /// All documents that there were after a change.
    pub(super) fn all_after(&self, change: Change) -> BTreeMap<usize, Version> {
        let documents = 0..self.documents.len();
        documents.filter_map(|document| Some((document, self.after(document, change)?))).collect()
    }

    /// The first change from `from` on after which the documents were those of `records`.
    ///
    /// # Errors
    /// When there was no such moment.
    pub(super) fn moment(&self, records: &[DocumentRecord], from: Change) -> Result<Change, String> {
        let mut listed = BTreeMap::new();
        for record in records {
            if let Some(document) = document_number(&record.id) {
                let version = Version { change: change_of(&record.hash), chunks: record.chunks };
                if listed.insert(document, version).is_some() {
                    return Err(format!("{} is listed twice", record.id));
                }
            }
        }
        let found = (from..=self.begun).find(|change| self.all_after(*change) == listed);
        found.ok_or_else(|| format!("the documents listed are those of no moment since change {from}: {listed:?}"))
    }

    /// Whether the passages that one search found may stand in the store after any change from `from` to `to`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check(&self, passages: &[&Passage], from: Change, to: Change) -> Result<(), String> {
        let mut places = HashSet::new();
        let mut versions: BTreeMap<usize, Change> = BTreeMap::new();
        for passage in passages {
            let id = &passage.document_id;
            if !places.insert((id, passage.page)) {
                return Err(format!("page {:?} of {id} is there twice", passage.page));
            }
            let Some(document) = document_number(id) else { continue };
            let Some(version) = version_in(&passage.text) else {
                return Err(format!("a passage of {id} has lost its words: {:?}", passage.text));
            };
            let seen = *versions.entry(document).or_insert(version);
            if seen != version {
                return Err(format!("{id} is there in two versions, {seen} and {version}"));
            }
            let is_possible = |state: &Option<Version>| state.is_some_and(|state| state.change == version);
            if !self.states(document, from, to).any(|state| is_possible(&state)) {
                return Err(format!("{id} is there as change {version} left it, between changes {from} and {to}"));
            }
        }
        Ok(())
    }

    /// Whether a search for a document found its first page as often as it should have, under the same conditions.
    ///
    /// # Errors
    /// When it did not.
    pub(super) fn check_found(
        &self,
        document: usize,
        passages: &[&Passage],
        from: Change,
        to: Change,
    ) -> Result<(), String> {
        let id = document_id(document);
        let found = passages.iter().filter(|passage| passage.document_id == id && passage.page == Some(1)).count();
        let (was_there, was_gone) = (
            self.states(document, from, to).any(|state| state.is_some()),
            self.states(document, from, to).any(|state| state.is_none()),
        );
        match found {
            0 if !was_gone => Err(format!("{id} is lost: its first page was not found after change {from}")),
            1 if !was_there => Err(format!("{id} was removed and found, after change {from}")),
            0 | 1 => Ok(()),
            more => Err(format!("the first page of {id} was found {more} times")),
        }
    }

    /// What a document may be between two changes.
    fn states(&self, document: usize, from: Change, to: Change) -> impl Iterator<Item = Option<Version>> + '_ {
        let changes = self.documents[document].iter();
        let later = changes.filter(move |(change, _)| (from + 1..=to).contains(change)).map(|(_, state)| *state);
        std::iter::once(self.after(document, from)).chain(later)
    }
}

pub(super) fn document_id(document: usize) -> DocumentId {
    DocumentId(format!("{DOCUMENT}{document}.pdf"))
}

/// `None` for a document that is not the writer's.
pub(super) fn document_number(id: &DocumentId) -> Option<usize> {
    id.0.strip_prefix(DOCUMENT)?.strip_suffix(".pdf")?.parse().ok()
}

/// The hash that a document gets from the change that writes it: no other has it.
pub(super) fn hash_of(change: Change) -> DocumentHash {
    let mut hash = [0xff; 32];
    hash[..8].copy_from_slice(&(WRITTEN | change).to_be_bytes());
    DocumentHash(hash)
}

fn change_of(hash: &DocumentHash) -> Change {
    hash.0.first_chunk().map_or(0, |bytes| Change::from_be_bytes(*bytes) & !WRITTEN)
}

/// A word that stands on the first page of that document alone.
pub(super) fn document_word(document: usize) -> String {
    spell(DOCUMENT_WORD, document as u64)
}

/// A word that stands in all chunks which that change wrote.
pub(super) fn version_word(change: Change) -> String {
    spell(VERSION_WORD, change)
}

fn spell(prefix: &str, number: u64) -> String {
    let letters =
        number.to_string().bytes().map(|digit| char::from(DIGITS[usize::from(digit - b'0')])).collect::<String>();
    format!("{prefix}{letters}")
}

/// The change that wrote a chunk.
pub(super) fn version_in(text: &str) -> Option<Change> {
    let letters = text.split_whitespace().find_map(|word| word.strip_prefix(VERSION_WORD))?;
    letters.bytes().try_fold(0, |number, letter| {
        let digit = DIGITS.iter().position(|digit| *digit == letter)?;
        Some(number * 10 + digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use mentor_actors::domain::{CharSpan, ChunkId, DocumentKind};

    use super::*;

    fn passage(document: usize, page: u32, change: Change) -> Passage {
        Passage {
            chunk_id: ChunkId(format!("{change}-{page}")),
            document_id: document_id(document),
            file_name: String::new(),
            kind: DocumentKind::Pdf,
            page: Some(page),
            section: None,
            span: CharSpan::default(),
            text: format!("{} a heap", version_word(change)),
        }
    }

    /// Document 0 written by change 1 and again by 3, document 1 by 2 and removed by 4, which has not ended.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(3);
        for (document, chunks) in [(0, Some(2)), (1, Some(1)), (0, Some(1)), (1, None)] {
            ledger.begin(document, chunks);
            if ledger.begun() < 4 {
                ledger.acknowledge();
            }
        }
        ledger
    }

    #[test]
    fn numbers_are_read_back_out_of_words() {
        let text = format!("{} {} words", document_word(7), version_word(1_230));
        assert_eq!(version_in(&text), Some(1_230));
        assert_eq!(document_number(&document_id(12)), Some(12));
        assert_eq!(document_number(&DocumentId("12.pdf".into())), None);
        assert_eq!(change_of(&hash_of(99)), 99);
    }

    #[test]
    fn an_answer_must_be_of_a_moment_that_a_reader_may_see() {
        let ledger = ledger();
        let check = |passages: &[&Passage], from, to| ledger.check(passages, from, to);
        assert_eq!(check(&[&passage(0, 1, 3), &passage(1, 1, 2)], 3, 4), Ok(()));
        assert!(check(&[&passage(0, 1, 1)], 3, 4).unwrap_err().contains("as change 1 left it"));
        assert_eq!(check(&[&passage(0, 1, 1)], 2, 4), Ok(()), "the reader may be behind");
        assert!(check(&[&passage(0, 1, 3), &passage(0, 2, 1)], 1, 4).unwrap_err().contains("in two versions"));
        assert!(check(&[&passage(0, 1, 1), &passage(0, 1, 1)], 1, 4).unwrap_err().contains("twice"));
        assert!(check(&[&passage(1, 1, 2)], 4, 4).is_err(), "it is gone");
    }

    #[test]
    fn a_document_is_found_once_while_it_is_there_and_never_when_it_is_gone() {
        let ledger = ledger();
        let found = |document, passages: &[&Passage], from| ledger.check_found(document, passages, from, 4);
        assert_eq!(found(0, &[&passage(0, 1, 3)], 3), Ok(()));
        assert!(found(0, &[], 3).unwrap_err().contains("lost"));
        assert!(found(0, &[&passage(0, 1, 3), &passage(0, 1, 1)], 2).unwrap_err().contains("2 times"));
        assert_eq!(found(1, &[], 3), Ok(()), "its removal is under way");
        assert_eq!(found(1, &[&passage(1, 1, 2)], 3), Ok(()));
        assert!(found(1, &[&passage(1, 1, 2)], 4).unwrap_err().contains("removed and found"));
        assert!(found(2, &[&passage(2, 1, 2)], 1).is_err(), "it never was there");
    }

    #[test]
    fn a_list_of_documents_must_be_that_of_one_moment() {
        let ledger = ledger();
        let record = |document: usize, change| {
            let failed =
                DocumentRecord::failed(document_id(document), hash_of(change), DocumentKind::Pdf, String::new());
            DocumentRecord { failure: None, chunks: if change == 1 { 2 } else { 1 }, ..failed }
        };
        assert_eq!(ledger.moment(&[record(0, 3), record(1, 2)], 1), Ok(3));
        assert_eq!(ledger.moment(&[record(0, 3)], 1), Ok(4), "a change that has not been acknowledged yet");
        assert!(ledger.moment(&[record(0, 1), record(1, 2)], 3).is_err(), "older than what was seen before");
        assert!(ledger.moment(&[record(0, 1)], 2).is_err(), "document 1 is lost");
    }
}
