//! What an ingest has to do: the folder compared with the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};

use mentor_actors::domain::{DocumentHash, DocumentId, DocumentKind, DocumentRecord};
use serde_json::{Value, json};

use super::{Folder, Found};

/// Begins the name of a document on its way to another one. Hidden, so that no file has it.
const ASIDE: &str = ".renaming";

/// What to do with each document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Not in the store yet.
    pub new: Vec<Planned>,
    /// In the store with other content, or to be tried again.
    pub changed: Vec<Planned>,
    /// In the store as they are; their records as they are to be.
    pub unchanged: Vec<DocumentRecord>,
    /// In the store under another name.
    pub renamed: Vec<Renamed>,
    /// Could not be read in this form before.
    pub failed_before: Vec<DocumentRecord>,
    /// Of the unchanged and failed ones: those whose record is to be written anew, since files with the same content came or
    /// went.
    pub noted: Vec<DocumentRecord>,
    /// Files that cannot be read, with the reason; what the store holds of them stays.
    pub unreadable: Vec<(DocumentId, String)>,
    /// In the store, but not to be there any more.
    pub gone: Vec<DocumentId>,
}

/// A document that is to be ingested.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The file.
    pub found: Found,
    /// Other files with the same content, ordered.
    pub copies: Vec<DocumentId>,
    /// What the store holds under its name.
    pub former: Option<DocumentRecord>,
}

/// A document that is to have another name.
#[derive(Debug, Clone, PartialEq)]
pub struct Renamed {
    /// Its name in the store.
    pub from: DocumentId,
    /// Its record under the new name.
    pub record: DocumentRecord,
}

/// Compares by content hash; names alone decide nothing but which document is meant. Files with the same content are one
/// document. With `retry`, what failed as a whole or in part before is read again.
#[must_use]
pub fn plan(folder: Folder, stored: Vec<DocumentRecord>, retry: bool) -> Plan {
    let mut stored: BTreeMap<DocumentId, DocumentRecord> =
        stored.into_iter().map(|record| (record.id.clone(), record)).collect();
    let mut plan = Plan::default();
    for (found, copies) in without_copies(folder.found, &stored) {
        plan.place(found, copies, &mut stored, retry);
    }
    for (id, reason) in folder.unreadable {
        stored.remove(&id);
        plan.unreadable.push((id, reason));
    }
    plan.find_renamed(&mut stored, retry);
    plan.gone = stored.into_keys().collect();
    plan.sort();
    plan
}

/// One file for each content, with the names of the others: the one that is stored, else the first by name.
fn without_copies(found: Vec<Found>, stored: &BTreeMap<DocumentId, DocumentRecord>) -> Vec<(Found, Vec<DocumentId>)> {
    let mut alike: HashMap<(DocumentHash, DocumentKind), Vec<Found>> = HashMap::new();
    for document in found {
        alike.entry((document.hash, document.kind)).or_default().push(document);
    }
    let choose = |mut files: Vec<Found>| {
        let is_stored =
            |found: &Found| stored.get(&found.id).is_some_and(|record| record.was_read() && record.hash == found.hash);
        files.sort_by_key(|found| (!is_stored(found), found.id.clone()));
        let chosen = files.remove(0);
        let mut copies: Vec<DocumentId> = files.into_iter().map(|found| found.id).collect();
        copies.sort();
        (chosen, copies)
    };
    alike.into_values().map(choose).collect()
}

impl Plan {
    fn place(
        &mut self,
        found: Found,
        copies: Vec<DocumentId>,
        stored: &mut BTreeMap<DocumentId, DocumentRecord>,
        retry: bool,
    ) {
        let Some(record) = stored.remove(&found.id) else {
            self.new.push(Planned { found, copies, former: None });
            return;
        };
        let is_known = record.was_read() && record.hash == found.hash;
        let has_failed = record.failure.as_ref().is_some_and(|failure| failure.hash == found.hash);
        let again = retry && (has_failed || !record.failed_pages.is_empty());
        if again || !(is_known || has_failed) {
            self.changed.push(Planned { found, copies, former: Some(record) });
            return;
        }
        let failure = record.failure.clone().filter(|_| has_failed);
        let record_now = DocumentRecord { copies, failure, ..record.clone() };
        if record_now != record {
            self.noted.push(record_now.clone());
        }
        if has_failed { &mut self.failed_before } else { &mut self.unchanged }.push(record_now);
    }

    /// Takes those documents out of `new` and `changed` whose content the store has under another name: one that is gone, or
    /// one whose file has other content now, as when two files were exchanged.
    fn find_renamed(&mut self, gone: &mut BTreeMap<DocumentId, DocumentRecord>, retry: bool) {
        let mut known: HashMap<(DocumentHash, DocumentKind), DocumentRecord> = HashMap::new();
        let is_whole = |record: &DocumentRecord| record.was_read() && (!retry || record.failed_pages.is_empty());
        let replaced = self
            .changed
            .iter()
            .filter_map(|planned| planned.former.as_ref().filter(|former| former.hash != planned.found.hash));
        // Of several with the same content one that is gone, the first by name.
        for record in replaced.chain(gone.values().rev()).filter(|record| is_whole(record)) {
            known.insert((record.hash, record.kind), record.clone());
        }
        let renamed = &mut self.renamed;
        let mut stays = |planned: &Planned| {
            let Some(former) = known.remove(&(planned.found.hash, planned.found.kind)) else { return true };
            gone.remove(&former.id);
            let (from, id, copies) = (former.id.clone(), planned.found.id.clone(), planned.copies.clone());
            renamed.push(Renamed { from, record: DocumentRecord { id, copies, failure: None, ..former } });
            false
        };
        self.new.retain(&mut stays);
        self.changed.retain(&mut stays);
        let moved: BTreeSet<&DocumentId> = self.renamed.iter().map(|renamed| &renamed.from).collect();
        // What was stored under that name is elsewhere by the time the new content comes.
        for planned in self.changed.iter_mut().filter(|planned| moved.contains(&planned.found.id)) {
            planned.former = None;
        }
    }

    /// The renames one after the other, so that none takes the place of what is still to be moved. Of names that were exchanged
    /// in a circle the first is moved aside for a moment; killed then, the next plan finds it by its content.
    #[must_use]
    pub fn moves(&self) -> Vec<Renamed> {
        let (mut waiting, mut moves) = (self.renamed.clone(), Vec::with_capacity(self.renamed.len()));
        while !waiting.is_empty() {
            let sources: BTreeSet<DocumentId> = waiting.iter().map(|renamed| renamed.from.clone()).collect();
            let is_free =
                |renamed: &Renamed| renamed.from == renamed.record.id || !sources.contains(&renamed.record.id);
            let (free, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_free);
            waiting = others;
            if free.is_empty()
                && let Some(first) = waiting.first_mut()
            {
                let aside = DocumentId(format!("{ASIDE}/{}", first.record.id));
                let from = std::mem::replace(&mut first.from, aside.clone());
                moves.push(Renamed { from, record: DocumentRecord { id: aside, ..first.record.clone() } });
            }
            moves.extend(free);
        }
        moves
    }

    /// The document of that name that is to be ingested.
    #[must_use]
    pub fn planned(&self, id: &DocumentId) -> Option<&Planned> {
        self.new.iter().chain(&self.changed).find(|planned| planned.found.id == *id)
    }

    fn sort(&mut self) {
        self.new.sort_by(|a, b| a.found.id.cmp(&b.found.id));
        self.changed.sort_by(|a, b| a.found.id.cmp(&b.found.id));
        self.unchanged.sort_by(|a, b| a.id.cmp(&b.id));
        self.renamed.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        self.failed_before.sort_by(|a, b| a.id.cmp(&b.id));
        self.noted.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// The same, but as far as these documents are concerned alone: whatever else came, changed or went is left.
    #[must_use]
    pub fn only(mut self, ids: &BTreeSet<DocumentId>) -> Self {
        let ids = self.with_sources(ids);
        self.new.retain(|planned| names_one(&ids, &planned.found.id, &planned.copies));
        self.changed.retain(|planned| names_one(&ids, &planned.found.id, &planned.copies));
        self.renamed.retain(|it| ids.contains(&it.from) || names_one(&ids, &it.record.id, &it.record.copies));
        self.gone.retain(|id| ids.contains(id));
        self
    }

    /// These documents, and those under whose names the store has the content of one of them: renamed without what their files
    /// hold now, they would be in no version.
    fn with_sources(&self, ids: &BTreeSet<DocumentId>) -> BTreeSet<DocumentId> {
        let mut all = ids.clone();
        loop {
            let is_named = |it: &&Renamed| names_one(&all, &it.record.id, &it.record.copies);
            let sources: Vec<_> = self.renamed.iter().filter(is_named).map(|it| it.from.clone()).collect();
            let before = all.len();
            all.extend(sources);
            if all.len() == before {
                return all;
            }
        }
    }

    /// The documents to be read and embedded, the smallest first.
    #[must_use]
    pub fn to_ingest(&self) -> Vec<&Planned> {
        let mut documents: Vec<&Planned> = self.new.iter().chain(&self.changed).collect();
        documents.sort_by_key(|planned| (planned.found.stamp.bytes, &planned.found.id));
        documents
    }

    /// Files that are stored under another one's name, each with that name.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<&DocumentId, &DocumentId> {
        let planned = self.new.iter().chain(&self.changed).map(|planned| (&planned.found.id, &planned.copies));
        let renamed = self.renamed.iter().map(|renamed| &renamed.record);
        let stored = self.unchanged.iter().chain(&self.failed_before).chain(renamed);
        let stored = stored.map(|record| (&record.id, &record.copies));
        planned.chain(stored).flat_map(|(id, copies)| copies.iter().map(move |copy| (copy, id))).collect()
    }

    /// Whether nothing in the store or in the folder calls for anything to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.changed.is_empty()
            && self.renamed.is_empty()
            && self.noted.is_empty()
            && self.gone.is_empty()
    }

    /// One line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = vec![
            format!("{} new", self.new.len()),
            format!("{} changed", self.changed.len()),
            format!("{} unchanged", self.unchanged.len()),
            format!("{} gone", self.gone.len()),
        ];
        let others = [
            (self.renamed.len(), "renamed"),
            (self.copies().len(), "copies"),
            (self.failed_before.len(), "failed before"),
            (self.unreadable.len(), "unreadable"),
        ];
        parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        parts.join(", ")
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let planned = |documents: &[Planned]| documents.iter().map(|it| it.found.id.0.clone()).collect::<Vec<_>>();
        let named = |id: &DocumentId, key: &str, value: &str| json!({"document": id.0, key: value});
        let renamed = self.renamed.iter().map(|it| named(&it.record.id, "from", &it.from.0));
        let copies = self.copies();
        let failed = self.failed_before.iter().map(|record| named(&record.id, "reason", reason(record)));
        json!({
            "new": planned(&self.new),
            "changed": planned(&self.changed),
            "unchanged": self.unchanged.len(),
            "renamed": renamed.collect::<Vec<_>>(),
            "copies": copies.iter().map(|(copy, of)| named(copy, "of", &of.0)).collect::<Vec<_>>(),
            "failed_before": failed.collect::<Vec<_>>(),
            "unreadable": self.unreadable.iter().map(|(id, why)| named(id, "reason", why)).collect::<Vec<_>>(),
            "gone": self.gone.iter().map(|id| id.0.as_str()).collect::<Vec<_>>(),
        })
    }
}

/// Whether a document or a file with the same content is one of these.
fn names_one(ids: &BTreeSet<DocumentId>, id: &DocumentId, copies: &[DocumentId]) -> bool {
    ids.contains(id) || copies.iter().any(|id| ids.contains(id))
}

fn reason(record: &DocumentRecord) -> &str {
    record.failure.as_ref().map_or("", |failure| failure.reason.as_str())
}

impl Display for Plan {
    /// A line for each document for which there is something to do or to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())?;
        let mut row = |what: &str, id: &DocumentId, more: String| write!(f, "\n  {what:<13} {id}{more}");
        let copies = self.copies();
        let gone: BTreeSet<&DocumentId> = self.gone.iter().filter(|id| !copies.contains_key(id)).collect();
        self.new.iter().try_for_each(|it| row("new", &it.found.id, String::new()))?;
        self.changed.iter().try_for_each(|it| row("changed", &it.found.id, String::new()))?;
        self.renamed.iter().try_for_each(|it| row("renamed", &it.record.id, format!(" (was {})", it.from)))?;
        copies.iter().try_for_each(|(copy, of)| row("copy", copy, format!(" (stored as {of})")))?;
        self.failed_before.iter().try_for_each(|it| row("failed before", &it.id, format!(": {}", reason(it))))?;
        self.unreadable.iter().try_for_each(|(id, why)| row("unreadable", id, format!(": {why}")))?;
        gone.into_iter().try_for_each(|id| row("gone", id, String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Stamp;
    use mentor_actors::domain::DocumentFailure;

    fn hash(content: u8) -> DocumentHash {
        DocumentHash([content; 32])
    }

    fn found(name: &str, content: u8) -> Found {
        Found {
            id: DocumentId(name.into()),
            path: name.into(),
            kind: DocumentKind::Markdown,
            hash: hash(content),
            stamp: Stamp { bytes: 1, modified_ns: 0, changed_ns: 0, inode: 0 },
        }
    }

    fn folder(found: Vec<Found>) -> Folder {
        Folder { found, unreadable: Vec::new() }
    }

    fn stored(name: &str, content: u8) -> DocumentRecord {
        DocumentRecord {
            id: DocumentId(name.into()),
            hash: hash(content),
            kind: DocumentKind::Markdown,
            pages: 1,
            failed_pages: Vec::new(),
            chunks: 1,
            copies: Vec::new(),
            failure: None,
            bytes: None,
            stored_at_s: None,
        }
    }

    fn failed(name: &str, content: u8) -> DocumentRecord {
        DocumentRecord::failed(DocumentId(name.into()), hash(content), DocumentKind::Markdown, "broken".into())
    }

    fn names(planned: &[Planned]) -> Vec<&str> {
        planned.iter().map(|planned| planned.found.id.0.as_str()).collect()
    }

    #[test]
    fn each_document_is_new_changed_unchanged_or_gone() {
        let plan = plan(
            folder(vec![found("new", 1), found("same", 2), found("edited", 3)]),
            vec![stored("same", 2), stored("edited", 9), stored("deleted", 4)],
            false,
        );
        assert_eq!((names(&plan.new), names(&plan.changed)), (vec!["new"], vec!["edited"]));
        assert_eq!((plan.unchanged.len(), &plan.gone), (1, &vec![DocumentId("deleted".into())]));
        assert_eq!(plan.summary(), "1 new, 1 changed, 1 unchanged, 1 gone");
    }

    #[test]
    fn a_file_under_a_new_name_is_renamed_also_over_another_one() {
        let plan = plan(
            folder(vec![found("b", 1), found("d", 2)]),
            vec![stored("a", 1), stored("c", 2), stored("d", 3)],
            false,
        );
        let renamed: Vec<_> = plan.renamed.iter().map(|it| (it.from.0.as_str(), it.record.id.0.as_str())).collect();
        assert_eq!(renamed, [("a", "b"), ("c", "d")]);
        assert_eq!((plan.new.len(), plan.changed.len(), plan.gone.len()), (0, 0, 0));
    }

    #[test]
    fn files_with_the_same_content_are_one_document_the_one_that_is_stored() {
        let files = || folder(vec![found("a", 1), found("b", 1), found("c", 1), found("x", 2), found("y", 2)]);
        let plan = super::plan(files(), vec![stored("b", 1), stored("c", 1)], false);
        assert_eq!(names(&plan.new), ["x"]);
        assert_eq!(plan.new[0].copies, [DocumentId("y".into())]);
        assert_eq!(plan.noted, plan.unchanged, "the record is to name the copies");
        assert_eq!(plan.noted[0].copies, [DocumentId("a".into()), DocumentId("c".into())]);
        assert_eq!(plan.gone, [DocumentId("c".into())], "a second copy in the store is one too many");
        assert_eq!(plan.copies().len(), 3);
        let settled = super::plan(files(), vec![plan.noted[0].clone(), stored("x", 2)], false);
        assert_eq!(settled.noted.len(), 1, "only the record of x lacks its copy");
    }

    #[test]
    fn when_a_stored_file_is_deleted_its_copy_takes_its_place() {
        let of_b = DocumentRecord { copies: vec![DocumentId("b".into())], ..stored("a", 1) };
        let plan = plan(folder(vec![found("b", 1)]), vec![of_b], false);
        assert_eq!((plan.renamed[0].from.0.as_str(), plan.renamed[0].record.copies.len()), ("a", 0));
        assert!(plan.gone.is_empty());
    }

    #[test]
    fn what_failed_is_tried_again_when_it_changes_or_when_told() {
        let former = DocumentRecord {
            failure: Some(DocumentFailure { hash: hash(2), reason: "broken".into() }),
            ..stored("edited", 1)
        };
        let files = |content| folder(vec![found("broken", 9), found("edited", content)]);
        let store = || vec![failed("broken", 9), former.clone()];
        let waits = plan(files(2), store(), false);
        assert_eq!((waits.failed_before.len(), waits.is_empty()), (2, true));
        let told = plan(files(2), store(), true);
        assert_eq!(names(&told.changed), ["broken", "edited"]);
        let edited = plan(files(3), store(), false);
        assert_eq!((edited.failed_before.len(), names(&edited.changed)), (1, vec!["edited"]));
        let put_back = plan(files(1), store(), false);
        assert_eq!((put_back.unchanged.len(), put_back.noted[0].failure.clone()), (1, None));
    }

    #[test]
    fn pages_that_failed_are_tried_again_only_when_told() {
        let record = DocumentRecord { failed_pages: vec![(3, "a picture".into())], ..stored("a", 1) };
        let plan = |retry| super::plan(folder(vec![found("a", 1)]), vec![record.clone()], retry);
        assert_eq!((plan(false).unchanged.len(), plan(true).changed.len()), (1, 1));
    }

    #[test]
    fn a_plan_for_some_documents_leaves_the_others_alone() {
        let files = || folder(vec![found("new", 1), found("other", 2), found("edited", 3), found("name now", 4)]);
        let store = || vec![stored("edited", 9), stored("gone", 5), stored("name before", 4)];
        let only = |id: &str| plan(files(), store(), false).only(&BTreeSet::from([DocumentId(id.into())]));
        assert_eq!(only("new").summary(), "1 new, 0 changed, 0 unchanged, 0 gone");
        assert_eq!(only("gone").summary(), "0 new, 0 changed, 0 unchanged, 1 gone");
        assert_eq!(only("name now").summary(), "0 new, 0 changed, 0 unchanged, 0 gone, 1 renamed");
        assert!(only("elsewhere").is_empty());
    }

    #[test]
    fn a_plan_for_a_document_takes_in_the_one_that_stands_for_it() {
        let files = folder(vec![found("a", 1), found("b", 1)]);
        let plan = plan(files, Vec::new(), false).only(&BTreeSet::from([DocumentId("b".into())]));
        assert_eq!((names(&plan.new), plan.copies().len()), (vec!["a"], 1));
    }

    #[test]
    fn a_plan_for_a_document_leaves_no_other_without_its_content() {
        let only =
            |id: &str, files, store| plan(folder(files), store, false).only(&BTreeSet::from([DocumentId(id.into())]));
        let edited = only("b", vec![found("a", 2), found("b", 1)], vec![stored("a", 1)]);
        assert_eq!((moved(&edited), names(&edited.changed)), (vec![pair("a", "b")], vec!["a"]));
        let files = vec![found("a", 9), found("b", 1), found("c", 2)];
        let chain = only("c", files, vec![stored("a", 1), stored("b", 2)]);
        assert_eq!((moved(&chain), names(&chain.changed)), (vec![pair("b", "c"), pair("a", "b")], vec!["a"]));
        let files = vec![found("a", 3), found("b", 1), found("c", 2), found("d", 4)];
        let circle = only("a", files, vec![stored("a", 1), stored("b", 2), stored("c", 3)]);
        assert_eq!((circle.renamed.len(), circle.new.len()), (3, 0));
    }

    #[test]
    fn what_the_store_holds_of_a_file_that_cannot_be_read_stays() {
        let unreadable = vec![(DocumentId("a".into()), "permission denied".into())];
        let plan = plan(Folder { found: vec![found("b", 2)], unreadable }, vec![stored("a", 1)], false);
        assert!(plan.gone.is_empty());
        assert!(plan.to_string().contains("unreadable    a: permission denied"), "{plan}");
    }

    fn moved(plan: &Plan) -> Vec<(String, String)> {
        plan.moves().into_iter().map(|renamed| (renamed.from.0, renamed.record.id.0)).collect()
    }

    fn pair(from: &str, to: &str) -> (String, String) {
        (from.into(), to.into())
    }

    #[test]
    fn names_that_were_exchanged_cost_no_embedding() {
        let plan = plan(folder(vec![found("a", 2), found("b", 1)]), vec![stored("a", 1), stored("b", 2)], false);
        assert_eq!(plan.summary(), "0 new, 0 changed, 0 unchanged, 0 gone, 2 renamed");
        assert_eq!(moved(&plan), [pair("b", ".renaming/a"), pair("a", "b"), pair(".renaming/a", "a")]);
    }

    #[test]
    fn an_exchange_that_was_killed_half_way_is_ended_by_the_next_plan() {
        let store = vec![stored(".renaming/a", 2), stored("a", 1)];
        let plan = plan(folder(vec![found("a", 2), found("b", 1)]), store, false);
        assert_eq!(moved(&plan), [pair("a", "b"), pair(".renaming/a", "a")]);
        assert!(plan.gone.is_empty());
    }

    #[test]
    fn a_chain_of_names_is_moved_from_its_end() {
        let files = folder(vec![found("b", 1), found("c", 2), found("a", 9)]);
        let plan = plan(files, vec![stored("a", 1), stored("b", 2)], false);
        assert_eq!(moved(&plan), [pair("b", "c"), pair("a", "b")]);
        let Planned { found, former, .. } = &plan.changed[0];
        assert_eq!((found.id.0.as_str(), former), ("a", &None), "its former text is that of b by then");
    }

    #[test]
    fn what_is_to_be_read_again_is_no_source_of_a_name() {
        let failed = DocumentRecord { failed_pages: vec![(1, "a picture".into())], ..stored("a", 1) };
        let plan = plan(folder(vec![found("a", 1)]), vec![failed], true);
        assert_eq!((names(&plan.changed), plan.renamed.len()), (vec!["a"], 0));
    }
}
