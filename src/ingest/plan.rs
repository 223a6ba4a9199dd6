//! What an ingest has to do: the folder compared with the store.

use std::collections::HashMap;

use mentor_actors::domain::{DocumentId, DocumentRecord};

use super::Found;

/// What to do with each document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Not in the store yet.
    pub new: Vec<Found>,
    /// In the store with other content.
    pub changed: Vec<Found>,
    /// In the store as it is.
    pub unchanged: Vec<DocumentRecord>,
    /// In the store, but not in the folder any more.
    pub gone: Vec<DocumentId>,
}

/// Compares by content hash; names alone decide nothing but which document is meant.
#[must_use]
pub fn plan(found: Vec<Found>, stored: Vec<DocumentRecord>) -> Plan {
    let mut stored: HashMap<DocumentId, DocumentRecord> =
        stored.into_iter().map(|record| (record.id.clone(), record)).collect();
    let mut plan = Plan::default();
    for document in found {
        match stored.remove(&document.id) {
            None => plan.new.push(document),
            Some(record) if record.hash == document.hash => plan.unchanged.push(record),
            Some(_) => plan.changed.push(document),
        }
    }
    plan.gone = stored.into_keys().collect();
    plan.gone.sort();
    plan
}

impl Plan {
    /// One line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} new, {} changed, {} unchanged, {} gone",
            self.new.len(),
            self.changed.len(),
            self.unchanged.len(),
            self.gone.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::{DocumentHash, DocumentKind};

    fn found(name: &str, content: u8) -> Found {
        Found {
            id: DocumentId(name.into()),
            path: name.into(),
            kind: DocumentKind::Markdown,
            hash: DocumentHash([content; 32]),
            bytes: 1,
        }
    }

    fn stored(name: &str, content: u8) -> DocumentRecord {
        DocumentRecord {
            id: DocumentId(name.into()),
            hash: DocumentHash([content; 32]),
            kind: DocumentKind::Markdown,
            pages: 1,
            failed_pages: Vec::new(),
            chunks: 1,
        }
    }

    #[test]
    fn each_document_is_new_changed_unchanged_or_gone() {
        let plan = plan(
            vec![found("new", 1), found("same", 2), found("edited", 3)],
            vec![stored("same", 2), stored("edited", 9), stored("deleted", 4)],
        );
        assert_eq!((plan.new[0].id.0.as_str(), plan.changed[0].id.0.as_str()), ("new", "edited"));
        assert_eq!((plan.unchanged.len(), plan.gone), (1, vec![DocumentId("deleted".into())]));
    }
}
