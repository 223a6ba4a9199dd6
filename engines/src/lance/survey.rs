//! A look at the store without its embedder, without the lock, and without changing anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use lance::Dataset;
use lance::deps::datafusion::prelude::col;
use lance::session::Session;
use mentor_actors::domain::{Chunk, CorpusStats, DocumentRecord, EmbeddedChunk, EngineError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::beside::HoldingFolder;
use super::coverage::Coverage;
use super::decode::{self, ChunkColumns};
use super::error::StoreError;
use super::index_folder::IndexFolder;
use super::record::StoredRecord;
use super::runtime::StoreRuntime;
use super::store::{DATASET, Location};
use super::versions::{self, StoreVersion};
use super::{schema, segment, upkeep, view};
use crate::StoreIdentity;

const CACHE_BYTES: usize = 16 << 20;
/// Rows read at a time.
const BATCH_ROWS: usize = 1_024;
/// Documents that may wait for who reads them; each holds the text of one book.
const DOCUMENTS_AHEAD: usize = 2;
/// A version may be removed by a finishing ingest while its files are linked; then there is a newer one.
const SNAPSHOT_ATTEMPTS: usize = 5;

/// The newest version, as it was when this was opened.
pub struct StoreSurvey {
    runtime: StoreRuntime,
    location: Location,
    dataset: Arc<Dataset>,
    identity: StoreIdentity,
    records: Vec<DocumentRecord>,
    /// How the search index is seen from it.
    index: IndexSurvey,
}

/// The search index as a version sees it.
pub(super) struct IndexSurvey {
    /// Its number, where there is one.
    pub(super) number: Option<u64>,
    /// Why it cannot be read.
    pub(super) error: Option<String>,
    pub(super) coverage: Coverage,
}

impl IndexSurvey {
    fn of(folder: &IndexFolder, records: &[StoredRecord]) -> Result<Self, StoreError> {
        let number = folder.newest()?;
        let (index, error) = match number.map(|number| folder.open(number)) {
            Some(Ok(index)) => (Some(index), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        Ok(Self { number, error, coverage: Coverage::of(index.as_ref(), records) })
    }

    fn state(&self) -> String {
        self.coverage.state(self.number.is_some() && self.error.is_none())
    }
}

/// A document's record and its chunks, without vectors.
pub type StoredDocument = (DocumentRecord, Vec<Chunk>);

impl StoreSurvey {
    /// Opens the store in `data_dir`; `None` where there is none.
    ///
    /// # Errors
    /// [`EngineError::Load`] when it is damaged.
    pub fn open(data_dir: &Path) -> Result<Option<Self>, EngineError> {
        let load_error = |error: StoreError| error.into_load(data_dir);
        let location = Location::new(data_dir)?;
        let runtime = StoreRuntime::start()?;
        let opening = location.clone();
        let found = runtime.run(async move {
            let session = Arc::new(Session::new(CACHE_BYTES, CACHE_BYTES, Arc::default()));
            let Some(dataset) = opening.open(session).await? else { return Ok(None) };
            let records = view::read_records(&dataset).await?;
            Ok(Some((Arc::new(dataset), records)))
        });
        let Some((dataset, records)) = found.map_err(load_error)? else { return Ok(None) };
        let identity = StoreIdentity::from_metadata(&dataset.schema().metadata).map_err(load_error)?;
        let index = IndexSurvey::of(&location.indexes(), &records).map_err(load_error)?;
        let records = records.into_iter().map(|stored| stored.record).collect();
        Ok(Some(Self { runtime, location, dataset, identity, records, index }))
    }

    /// What the store knows of its embedder.
    #[must_use]
    pub fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    /// The documents, ordered by id; those that could never be read among them.
    #[must_use]
    pub fn records(&self) -> &[DocumentRecord] {
        &self.records
    }

    /// What the store says of itself.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the folder cannot be read.
    pub fn stats(&self) -> Result<CorpusStats, EngineError> {
        upkeep::stats(&self.dataset, self.records.iter(), self.location.folder(), self.index.state())
            .map_err(|error| StoreError::from(error).into_failed("be measured"))
    }

    /// Bytes on disk that the newest version and its search index need; the rest is for versions that are kept, or left over.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be read.
    pub fn live_bytes(&self) -> Result<u64, EngineError> {
        let (dataset, folder) = (Arc::clone(&self.dataset), self.location.folder().to_owned());
        let indexes = self.location.indexes();
        let measured =
            self.runtime.run(async move { Ok(upkeep::live_bytes(&dataset, &folder).await? + indexes.bytes()?) });
        measured.map_err(|error| error.into_failed("be measured"))
    }

    /// The newest `limit` versions, the newest first.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be read, or an ingest removes versions meanwhile.
    pub fn history(&self, limit: usize) -> Result<Vec<StoreVersion>, EngineError> {
        let dataset = Arc::clone(&self.dataset);
        let listed = self.runtime.run(async move { versions::history(&dataset, limit).await });
        listed.map_err(|error| error.into_failed("list its versions"))
    }

    /// All documents that were read, with the text of their chunks, in the order of the store. The chunks' `tokens` are 0:
    /// how many they are depends on the embedder. Ends when this is dropped.
    #[must_use]
    pub fn documents_with_text(&self) -> Receiver<Result<StoredDocument, EngineError>> {
        let (next, documents) = channel(DOCUMENTS_AHEAD);
        let (dataset, records) = (Arc::clone(&self.dataset), self.records.clone());
        self.runtime.handle().spawn(async move {
            if let Err(error) = send_documents(&dataset, records, &next).await {
                // A receiver that is gone wants no error either.
                drop(next.send(Err(error.into_failed("be read"))).await);
            }
        });
        documents
    }

    /// All chunks with their vectors, at once.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be read.
    pub fn embedded_chunks(&self) -> Result<Vec<EmbeddedChunk>, EngineError> {
        let (dataset, dimension) = (Arc::clone(&self.dataset), self.identity.dimension);
        let read = self.runtime.run(async move {
            let mut columns = schema::PASSAGE_COLUMNS.to_vec();
            columns.push(schema::VECTOR);
            let mut scan = dataset.scan();
            scan.filter_expr(col(schema::RECORD).is_null()).scan_in_order(true).project(&columns)?;
            let rows = scan.try_into_batch().await?;
            let (columns, vectors) = (ChunkColumns::of(&rows)?, segment::vectors(&rows, dimension)?);
            let vectors = vectors.values().chunks_exact(dimension).map(<[f32]>::to_vec);
            Ok(vectors.enumerate().map(|(row, vector)| (columns.chunk(row), vector)).collect())
        });
        read.map_err(|error| error.into_failed("be read"))
    }

    /// The search index, for the doctor.
    pub(super) fn index(&self) -> &IndexSurvey {
        &self.index
    }

    /// The dataset's handle and the threads it lives on, for the doctor.
    pub(super) fn parts(&self) -> (&StoreRuntime, &Location, Arc<Dataset>) {
        (&self.runtime, &self.location, Arc::clone(&self.dataset))
    }
}

/// Chunk rows of a document stand side by side: it is written in one piece, and compaction keeps the order.
async fn send_documents(
    dataset: &Dataset,
    records: Vec<DocumentRecord>,
    next: &Sender<Result<StoredDocument, EngineError>>,
) -> Result<(), StoreError> {
    let mut waiting: std::collections::BTreeMap<_, _> =
        records.into_iter().map(|record| (record.id.0.clone(), record)).collect();
    let mut scan = dataset.scan();
    scan.filter_expr(col(schema::RECORD).is_null()).scan_in_order(true);
    scan.batch_size(BATCH_ROWS).project(&schema::PASSAGE_COLUMNS)?;
    let mut batches = scan.try_into_stream().await?;
    let mut current: Option<StoredDocument> = None;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let (ids, columns) = (decode::strings(&batch, schema::DOCUMENT_ID)?, ChunkColumns::of(&batch)?);
        for row in 0..batch.num_rows() {
            let id = ids.value(row);
            if current.as_ref().is_none_or(|(record, _)| record.id.0 != id) {
                let unknown =
                    || StoreError::Damaged(format!("the chunks of {id} have no record, or are not side by side"));
                let begun = (waiting.remove(id).ok_or_else(unknown)?, Vec::new());
                if let Some(whole) = current.replace(begun)
                    && next.send(Ok(whole)).await.is_err()
                {
                    return Ok(());
                }
            }
            if let Some((_, chunks)) = &mut current {
                chunks.push(columns.chunk(row));
            }
        }
    }
    // Documents without chunks, and what is only remembered as failed.
    let rest = waiting.into_values().map(|record| (record, Vec::new()));
    for document in current.into_iter().chain(rest) {
        if next.send(Ok(document)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The files of one version, held on to while a backup reads them: an ingest may remove them from the store meanwhile.
pub struct StoreSnapshot {
    /// What the version knows of its embedder.
    pub identity: StoreIdentity,
    /// What it says of itself.
    pub stats: CorpusStats,
    /// Paths relative to the data folder, with `/` between the parts, and where the files are for now.
    pub files: Vec<(String, PathBuf)>,
    folder: HoldingFolder,
}

impl StoreSnapshot {
    /// A folder on the store's file system that lives as long as this: for what else belongs into the backup.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Holds on to the newest version of the store in `data_dir`, by links, or by copies where the file system has none.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when there is no store, or the data folder cannot be written; [`EngineError::Load`] when the
    /// store is damaged.
    pub fn take(data_dir: &Path) -> Result<Self, EngineError> {
        let mut attempt = Self::try_take(data_dir);
        for _ in 1..SNAPSHOT_ATTEMPTS {
            if attempt.is_err() {
                attempt = Self::try_take(data_dir);
            }
        }
        attempt
    }

    fn try_take(data_dir: &Path) -> Result<Self, EngineError> {
        let missing = || EngineError::Failed(format!("there is no store in {}", data_dir.display()));
        let survey = StoreSurvey::open(data_dir)?.ok_or_else(missing)?;
        let folder = HoldingFolder::make(data_dir)?;
        let dataset = Arc::clone(&survey.dataset);
        let listed = survey.runtime.run(async move { upkeep::files_of_version(&dataset).await });
        let names = listed.map_err(|error| error.into_failed("list its files"))?;
        if names.is_empty() {
            return Err(EngineError::Failed("the version was removed before its files were held".into()));
        }
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let held = folder.path().join(&name);
            hold(&survey.location.folder().join(&name), &held)
                .map_err(|error| StoreError::from(error).into_failed("be held for a backup"))?;
            files.push((format!("{DATASET}/{name}"), held));
        }
        files.sort();
        Ok(Self { identity: survey.identity.clone(), stats: survey.stats()?, files, folder })
    }
}

fn hold(file: &Path, at: &Path) -> io::Result<()> {
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::hard_link(file, at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => fs::copy(file, at).map(drop),
        result => result,
    }
}
