//! The port [`Corpus`]: the only writer of the store.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use lance::Dataset;
use lance::dataset::transaction::Transaction;
use lance::session::Session;
use mentor_actors::domain::{CorpusStats, DocumentId, DocumentRecord, EmbeddedChunk, EngineError};
use mentor_actors::ports::Corpus;

use super::coverage::Coverage;
use super::error::StoreError;
use super::lock::WriterLock;
use super::record::StoredRecord;
use super::runtime::StoreRuntime;
use super::store::Location;
use super::{beside, commit, encode, indexing, schema, upkeep, versions, view};
use crate::StoreIdentity;

/// A writer reads little twice: no index, and each data file's metadata once.
const CACHE_BYTES: usize = 16 << 20;
/// Every put adds a fragment, and a replacement looks into all of them: so many are allowed before they are merged.
const MAX_SMALL_FRAGMENTS: usize = 128;
/// What upkeep consists of.
const INDEX: &str = "index";
const COMPACTION: &str = "compaction";
const TIDYING: &str = "tidying";
/// Former ingests are kept within so many times the disk that the newest version needs.
const DISK_BOUND: u64 = 2;

/// The write side of the store. Holds the writer's lock from open to drop.
pub struct LanceCorpus {
    pub(super) runtime: StoreRuntime,
    pub(super) location: Location,
    session: Arc<Session>,
    schema: SchemaRef,
    dimension: usize,
    pub(super) dataset: Arc<Dataset>,
    pub(super) records: BTreeMap<DocumentId, StoredRecord>,
    /// Fragments after the last compaction, or at open.
    settled_fragments: usize,
    /// A commit failed and may have landed all the same: what the store holds must be read again.
    unsure: bool,
    /// How many ends of former ingests `finish` keeps.
    keep: usize,
    /// Stores of so many chunks get a search index.
    pub(super) index_from: usize,
    /// Chunks that were put since there was last an index.
    not_indexed: usize,
    /// What upkeep could not do lately, with the reason; it costs speed or disk, and nothing that was stored.
    undone: BTreeMap<&'static str, String>,
    /// Last, so that it is given back after everything else.
    _lock: WriterLock,
}

impl LanceCorpus {
    /// Opens the store in `data_dir`, or makes an empty one. Both are created where they are missing.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when another process writes to it; [`EngineError::Load`] when it was made with another
    /// identity, is damaged, or the folder cannot be used.
    pub fn open(data_dir: &Path, identity: &StoreIdentity) -> Result<Self, EngineError> {
        let load_error = |error: StoreError| error.into_load(data_dir);
        std::fs::create_dir_all(data_dir).map_err(|error| load_error(error.into()))?;
        let lock = WriterLock::acquire(data_dir)?;
        let location = Location::new(data_dir)?;
        beside::remove_leftovers(data_dir).map_err(|error| load_error(error.into()))?;
        location.forget_torn_versions().map_err(|error| load_error(error.into()))?;

        let runtime = StoreRuntime::start()?;
        let session = Arc::new(Session::new(CACHE_BYTES, CACHE_BYTES, Arc::default()));
        let schema = schema::schema(identity);
        let found = runtime.run(find_or_create(location.clone(), Arc::clone(&schema), Arc::clone(&session)));
        let dataset = Arc::new(found.map_err(load_error)?);

        let stored = StoreIdentity::from_metadata(&dataset.schema().metadata).map_err(load_error)?;
        identity.check(&stored, data_dir)?;
        let records = runtime.run(records_by_id(Arc::clone(&dataset))).map_err(load_error)?;
        Ok(Self {
            runtime,
            location,
            session,
            schema,
            dimension: identity.dimension,
            settled_fragments: dataset.count_fragments(),
            dataset,
            records,
            unsure: false,
            keep: 0,
            index_from: indexing::INDEX_FROM,
            not_indexed: 0,
            undone: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Lets `finish` keep the ends of up to `former` ingests before the newest, so that they can be gone back to. It keeps
    /// fewer where the store would take more than twice the disk of the newest alone.
    #[must_use]
    pub fn keeping(mut self, former: usize) -> Self {
        self.keep = former;
        self
    }

    /// Lets stores of so many chunks have a search index; smaller ones are searched by comparing all.
    #[must_use]
    pub fn indexed_from(mut self, chunks: usize) -> Self {
        self.index_from = chunks;
        self
    }

    /// Writes a document's rows without making them visible.
    fn prepare_put(&self, stored: &StoredRecord, chunks: &[EmbeddedChunk]) -> Result<Transaction, EngineError> {
        let batch = encode::encode(&self.schema, self.dimension, stored, chunks)?;
        let record = &stored.record;
        let replaces = self.records.contains_key(&record.id);
        self.runtime
            .run(commit::prepare_put(Arc::clone(&self.dataset), batch, record.id.clone(), replaces))
            .map_err(|error| error.into_failed("write a document"))
    }

    /// Makes a prepared transaction visible, after everything it refers to is on the disk.
    fn commit(&mut self, transaction: Transaction) -> Result<(), EngineError> {
        self.advance("commit", |dataset| commit::commit(dataset, transaction))
    }

    /// Merges small fragments.
    pub(super) fn compact(&mut self) -> Result<(), EngineError> {
        let dataset = Arc::clone(&self.dataset);
        let prepared = self.runtime.run(async move { upkeep::prepare_compaction(&dataset).await });
        if let Some(compaction) = prepared.map_err(|error| error.into_failed("merge its files"))? {
            self.advance("merge its files", |dataset| upkeep::commit_prepared((*dataset).clone(), compaction))?;
        }
        self.settled_fragments = self.dataset.count_fragments();
        Ok(())
    }

    /// Flushes the disk, then lets `step` make the dataset's next version.
    pub(super) fn advance<F>(&mut self, what: &str, step: impl FnOnce(Arc<Dataset>) -> F) -> Result<(), EngineError>
    where
        F: Future<Output = Result<Dataset, StoreError>> + Send + 'static,
    {
        self.flush()?;
        match self.runtime.run(step(Arc::clone(&self.dataset))) {
            Ok(dataset) => {
                self.dataset = Arc::new(dataset);
                Ok(())
            }
            Err(error) => {
                self.unsure = true;
                Err(error.into_failed(what))
            }
        }
    }

    /// Removes what no kept version needs.
    fn tidy(&mut self) -> Result<(), EngineError> {
        let (dataset, folder, keep) = (Arc::clone(&self.dataset), self.location.folder().to_owned(), self.keep);
        let indexes = self.location.indexes();
        let removed = self.runtime.run(async move {
            versions::keep_last(&dataset, keep).await?;
            upkeep::remove_old_versions(&dataset).await?;
            indexes.remove_all_but(indexes.newest()?)?;
            let bound = DISK_BOUND * upkeep::live_bytes(&dataset, &folder).await?;
            while upkeep::bytes_below(&folder)?.saturating_sub(indexes.bytes()?) > bound
                && versions::let_go_of_oldest(&dataset).await?
            {
                upkeep::remove_old_versions(&dataset).await?;
            }
            Ok(())
        });
        removed.map_err(|error| error.into_failed("remove its old versions"))
    }

    /// Makes a search index when it is due, and removes one that is not worth it any more, as `finish` does.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the disk refuses; the store is whole without an index, and slower.
    pub(super) fn index_if_due(&mut self) -> Result<(), EngineError> {
        let records: Vec<StoredRecord> = self.records.values().cloned().collect();
        let chunks = self.chunks();
        if chunks < self.index_from {
            let removed = self.location.indexes().remove_all_but(None);
            return removed.map_err(|error| StoreError::from(error).into_failed("be rid of its search index"));
        }
        match indexing::is_due(&self.coverage(&records).0, chunks, self.index_from) {
            true => self.index(),
            false => Ok(()),
        }
    }

    pub(super) fn chunks(&self) -> usize {
        self.records.values().map(|stored| stored.record.chunks as usize).sum()
    }

    /// What the index has of `records`, and whether there is one. One that cannot be read is as good as none.
    fn coverage(&self, records: &[StoredRecord]) -> (Coverage, bool) {
        let indexes = self.location.indexes();
        let index = indexes.newest().ok().flatten().and_then(|number| indexes.open(number).ok());
        (Coverage::of(index.as_ref(), records), index.is_some())
    }

    /// Makes a search index of everything. The store is whole without it: an error costs speed alone.
    pub(super) fn index(&mut self) -> Result<(), EngineError> {
        let (dataset, indexes, dimension) = (Arc::clone(&self.dataset), self.location.indexes(), self.dimension);
        let records: Vec<StoredRecord> = self.records.values().cloned().collect();
        let built = self.runtime.run(async move { indexing::build(&dataset, &records, dimension, &indexes).await });
        self.not_indexed = 0;
        built.map_err(|error| error.into_failed("make its search index"))
    }

    /// What is said of the search index, for people.
    fn index_state(&self) -> String {
        let records: Vec<StoredRecord> = self.records.values().cloned().collect();
        let (coverage, has_index) = self.coverage(&records);
        coverage.state(has_index)
    }

    /// Follows a commit: small fragments do not get too many, nor chunks outside of the search index. What was committed is
    /// stored whether that succeeds or not.
    fn settle(&mut self) {
        if self.not_indexed >= indexing::INGESTED.saturating_mul(self.index_from) {
            let made = self.index();
            self.note(INDEX, made);
        }
        if self.dataset.count_fragments() > self.settled_fragments + MAX_SMALL_FRAGMENTS {
            let merged = self.compact();
            self.note(COMPACTION, merged);
            // After a failure, too, it is tried again only when so many more have come.
            self.settled_fragments = self.dataset.count_fragments();
        }
    }

    /// Keeps for `finish` what upkeep could not do.
    fn note(&mut self, what: &'static str, result: Result<(), EngineError>) {
        match result {
            Ok(()) => drop(self.undone.remove(what)),
            Err(error) => {
                tracing::warn!(%error, "the store is whole, but its upkeep failed");
                self.undone.insert(what, error.to_string());
            }
        }
    }

    /// `record` with the content that is stored of a document, which must count as many chunks.
    fn with_content_of(&self, id: &DocumentId, record: &DocumentRecord) -> Result<StoredRecord, EngineError> {
        match self.records.get(id) {
            Some(StoredRecord { record: stored, content }) if stored.chunks == record.chunks => {
                Ok(StoredRecord { record: record.clone(), content: content.clone() })
            }
            Some(StoredRecord { record: stored, .. }) => Err(EngineError::Failed(format!(
                "the record of {id} counts {} chunks, but {} are stored",
                record.chunks, stored.chunks
            ))),
            None => Err(EngineError::Failed(format!("{id} is not in the store"))),
        }
    }

    pub(super) fn flush(&self) -> Result<(), EngineError> {
        upkeep::flush(self.location.folder())
            .map_err(|error| StoreError::from(error).into_failed("be flushed to the disk"))
    }

    /// After a commit that failed: reads what is really there.
    pub(super) fn make_sure(&mut self) -> Result<(), EngineError> {
        if self.unsure { self.read_again() } else { Ok(()) }
    }

    /// Reads what is there, which may be of another embedder.
    pub(super) fn read_again(&mut self) -> Result<(), EngineError> {
        let reopened = self.runtime.run(reopen(self.location.clone(), Arc::clone(&self.session)));
        let (dataset, records) = reopened.map_err(|error| error.into_failed("be read again"))?;
        let identity = StoreIdentity::from_metadata(&dataset.schema().metadata);
        self.dimension = identity.map_err(|error| error.into_failed("be read again"))?.dimension;
        self.dataset = dataset;
        self.records = records;
        self.unsure = false;
        Ok(())
    }
}

impl Corpus for LanceCorpus {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, EngineError> {
        self.make_sure()?;
        Ok(self.records.values().map(|stored| stored.record.clone()).collect())
    }

    fn put(&mut self, record: &DocumentRecord, chunks: &[EmbeddedChunk]) -> Result<(), EngineError> {
        self.make_sure()?;
        let stored = StoredRecord::of(record, chunks);
        let transaction = self.prepare_put(&stored, chunks)?;
        self.commit(transaction)?;
        self.records.insert(record.id.clone(), stored);
        self.not_indexed += chunks.len();
        self.settle();
        Ok(())
    }

    fn update(&mut self, record: &DocumentRecord) -> Result<(), EngineError> {
        self.make_sure()?;
        let stored = self.with_content_of(&record.id, record)?;
        let failed = |error: StoreError| error.into_failed("note a document");
        let row = encode::encode_record(&self.schema, self.dimension, &stored).map_err(failed)?;
        let prepared = commit::prepare_update(Arc::clone(&self.dataset), row, record.id.clone());
        let transaction = self.runtime.run(prepared).map_err(failed)?;
        self.commit(transaction)?;
        self.records.insert(record.id.clone(), stored);
        self.settle();
        Ok(())
    }

    fn rename(&mut self, from: &DocumentId, record: &DocumentRecord) -> Result<(), EngineError> {
        self.make_sure()?;
        let stored = self.with_content_of(from, record)?;
        if *from == record.id {
            return self.update(record);
        }
        let (dataset, schema) = (Arc::clone(&self.dataset), Arc::clone(&self.schema));
        let prepared = commit::prepare_rename(dataset, schema, self.dimension, from.clone(), stored.clone());
        let transaction = self.runtime.run(prepared).map_err(|error| error.into_failed("rename a document"))?;
        self.commit(transaction)?;
        self.records.remove(from);
        self.records.insert(record.id.clone(), stored);
        self.settle();
        Ok(())
    }

    fn remove(&mut self, id: &DocumentId) -> Result<(), EngineError> {
        self.make_sure()?;
        if !self.records.contains_key(id) {
            return Ok(());
        }
        let prepared = self.runtime.run(commit::prepare_remove(Arc::clone(&self.dataset), id.clone()));
        self.commit(prepared.map_err(|error| error.into_failed("remove a document"))?)?;
        self.records.remove(id);
        Ok(())
    }

    fn finish(&mut self) -> Result<CorpusStats, EngineError> {
        self.make_sure()?;
        if upkeep::is_worth_compacting(&self.dataset) {
            let merged = self.compact();
            self.note(COMPACTION, merged);
            self.make_sure()?;
        }
        // The version that stays must be on the disk before those that could replace it are gone.
        self.flush()?;
        let tidied = self.tidy();
        self.note(TIDYING, tidied);
        self.flush()?;
        let indexed = self.index_if_due();
        self.note(INDEX, indexed);
        let records = self.records.values().map(|stored| &stored.record);
        let stats = upkeep::stats(&self.dataset, records, self.location.folder(), self.index_state())
            .map_err(|error| StoreError::from(error).into_failed("be measured"))?;
        Ok(CorpusStats { undone: self.undone.values().cloned().collect(), ..stats })
    }
}

async fn find_or_create(location: Location, schema: SchemaRef, session: Arc<Session>) -> Result<Dataset, StoreError> {
    match location.open(Arc::clone(&session)).await? {
        Some(dataset) => Ok(dataset),
        None => location.create(schema, session).await,
    }
}

type Contents = (Arc<Dataset>, BTreeMap<DocumentId, StoredRecord>);

async fn reopen(location: Location, session: Arc<Session>) -> Result<Contents, StoreError> {
    let dataset = location.open(session).await?.ok_or_else(|| StoreError::Damaged("it is gone".into()))?;
    let dataset = Arc::new(dataset);
    let records = records_by_id(Arc::clone(&dataset)).await?;
    Ok((dataset, records))
}

async fn records_by_id(dataset: Arc<Dataset>) -> Result<BTreeMap<DocumentId, StoredRecord>, StoreError> {
    let records = view::read_records(&dataset).await?;
    Ok(records.into_iter().map(|stored| (stored.record.id.clone(), stored)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::{CharSpan, Chunk, DocumentHash, DocumentKind};

    fn identity() -> StoreIdentity {
        StoreIdentity {
            embedder: "test".into(),
            dimension: 2,
            pooling: "mean".into(),
            max_tokens: 256,
            chunker_version: 1,
            tokenizer: None,
        }
    }

    fn document(hash: u8, chunks: u32) -> (DocumentRecord, Vec<EmbeddedChunk>) {
        let record = DocumentRecord {
            id: DocumentId("a.txt".into()),
            hash: DocumentHash([hash; 32]),
            kind: DocumentKind::PlainText,
            pages: 1,
            failed_pages: Vec::new(),
            chunks,
            copies: Vec::new(),
            failure: None,
            bytes: None,
            stored_at_s: None,
        };
        let chunk = Chunk { page: None, section: None, span: CharSpan::default(), text: "text".into(), tokens: 1 };
        (record, vec![(chunk, vec![1.0, 0.0]); chunks as usize])
    }

    fn live_rows(corpus: &LanceCorpus) -> usize {
        let dataset = Arc::clone(&corpus.dataset);
        corpus.runtime.run(async move { Ok(dataset.count_rows(None).await?) }).unwrap()
    }

    #[test]
    fn a_writer_that_dies_between_writing_and_committing_leaves_the_former_document_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (old, old_chunks) = document(1, 3);
        let (new, new_chunks) = document(2, 5);
        let mut corpus = LanceCorpus::open(folder.path(), &identity()).unwrap();
        corpus.put(&old, &old_chunks).unwrap();
        let size_before = corpus.finish().unwrap().bytes;
        corpus.prepare_put(&StoredRecord::of(&new, &new_chunks), &new_chunks).unwrap();
        drop(corpus);

        let mut corpus = LanceCorpus::open(folder.path(), &identity()).unwrap();
        assert_eq!(corpus.documents().unwrap(), vec![old]);
        assert_eq!(live_rows(&corpus), 1 + 3);
        assert_eq!(corpus.finish().unwrap().bytes, size_before, "files of the dead writer are left behind");
        corpus.put(&new, &new_chunks).unwrap();
        assert_eq!(corpus.documents().unwrap(), vec![new]);
        assert_eq!(live_rows(&corpus), 1 + 5);
    }

    #[test]
    fn an_empty_newest_manifest_is_forgotten_at_open() {
        let folder = tempfile::tempdir().unwrap();
        let (record, chunks) = document(1, 3);
        let mut corpus = LanceCorpus::open(folder.path(), &identity()).unwrap();
        corpus.put(&record, &chunks).unwrap();
        let newest = corpus.dataset.manifest_location().path.filename().unwrap().to_owned();
        drop(corpus);
        std::fs::write(folder.path().join("corpus.lance/_versions").join(newest), "").unwrap();

        let mut corpus = LanceCorpus::open(folder.path(), &identity()).unwrap();
        assert_eq!(corpus.documents().unwrap(), vec![], "the version before the torn one is the empty store");
        corpus.put(&record, &chunks).unwrap();
        assert_eq!(live_rows(&corpus), 1 + 3);
    }

    #[test]
    fn a_commit_of_unknown_outcome_is_followed_by_a_second_look() {
        let folder = tempfile::tempdir().unwrap();
        let (record, chunks) = document(1, 3);
        let mut corpus = LanceCorpus::open(folder.path(), &identity()).unwrap();
        let transaction = corpus.prepare_put(&StoredRecord::of(&record, &chunks), &chunks).unwrap();
        let dataset = Arc::clone(&corpus.dataset);
        corpus.runtime.run(commit::commit(dataset, transaction)).unwrap();
        corpus.unsure = true;

        corpus.put(&record, &chunks).unwrap();
        assert_eq!(live_rows(&corpus), 1 + 3, "the rows that had landed were not replaced");
    }

    #[test]
    fn upkeep_that_fails_is_told_and_costs_no_document() {
        let folder = tempfile::tempdir().unwrap();
        let (record, chunks) = document(1, 3);
        let mut corpus = LanceCorpus::open(folder.path(), &identity()).unwrap().indexed_from(1);
        let place = folder.path().join("corpus.lance/_search");
        std::fs::write(&place, "no folder").unwrap();
        corpus.not_indexed = indexing::INGESTED;
        corpus.put(&record, &chunks).unwrap();
        assert!(corpus.undone.contains_key(INDEX), "{:?}", corpus.undone);
        let stats = corpus.finish().unwrap();
        assert_eq!((stats.documents, stats.chunks, stats.undone.is_empty()), (1, 3, false));
        std::fs::remove_file(&place).unwrap();
        let stats = corpus.finish().unwrap();
        assert_eq!((stats.undone, stats.index_state.as_str()), (Vec::new(), "lists"));
    }
}
