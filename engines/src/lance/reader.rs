//! The port [`Retriever`]: searches one version while the next is loaded behind it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lance::Dataset;
use lance::session::Session;
use mentor_actors::domain::{CorpusStats, DocumentRecord, EngineError, Found};
use mentor_actors::ports::{Retriever, SearchQuery};
use mentor_index::IndexError;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::error::StoreError;
use super::runtime::StoreRuntime;
use super::store::Location;
use super::view::{NumberedIndex, View};
use super::{disk, encode, upkeep};
use crate::StoreIdentity;

/// Most passages that one search returns, whatever it asks for.
pub const MAX_TOP_K: usize = 1_000;
/// How often a new version is looked for: one listing of a folder.
const FRESHNESS: Duration = Duration::from_secs(1);
/// What is promised of it: with the time that loading takes, a new version is seen within two seconds.
const _: () = assert!(FRESHNESS.as_millis() <= 1_000);
/// Longest search on disk; a turn's own limit is longer.
const DISK_SEARCH_LIMIT: Duration = Duration::from_secs(60);
/// So many versions in a row may be removed while they are searched on disk.
const DISK_ATTEMPTS: usize = 20;
/// A version may be removed by a finishing ingest while it is loaded; then there is a newer one.
const LOAD_ATTEMPTS: usize = 3;

/// What a reader may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Lance's cache of indices, in bytes.
    pub index_cache_bytes: usize,
    /// Lance's cache of file metadata, in bytes.
    pub metadata_cache_bytes: usize,
    /// Up to so many chunks that stand in no search index are held in memory; with more of them the store is searched on disk.
    pub max_resident_rows: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { index_cache_bytes: 64 << 20, metadata_cache_bytes: 64 << 20, max_resident_rows: 500_000 }
    }
}

/// The read side of the store. Needs no lock; any number may be open, in any process.
pub struct LanceRetriever {
    shared: Arc<Shared>,
}

struct Shared {
    location: Location,
    identity: StoreIdentity,
    options: ReaderOptions,
    session: Arc<Session>,
    view: RwLock<Arc<View>>,
    /// One refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
    /// The last complaint, so that the same is not logged every second.
    complaint: Mutex<Option<EngineError>>,
    runtime: StoreRuntime,
}

impl LanceRetriever {
    /// Opens the store in `data_dir`. One that is missing or empty is served as empty until an ingest has committed.
    /// From then on, and whenever there is a newer version, that is loaded within a second or so.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the store was made with another identity or is damaged.
    pub fn open(data_dir: &Path, identity: &StoreIdentity, options: ReaderOptions) -> Result<Self, EngineError> {
        let session = Session::new(options.index_cache_bytes, options.metadata_cache_bytes, Arc::default());
        let shared = Arc::new(Shared {
            location: Location::new(data_dir)?,
            identity: identity.clone(),
            options,
            session: Arc::new(session),
            view: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
            complaint: Mutex::default(),
            runtime: StoreRuntime::start()?,
        });
        let first = Arc::clone(&shared);
        let loaded = shared.runtime.run(async move { Ok(first.refresh().await) });
        loaded.map_err(|error| error.into_load(data_dir))??;
        shared.runtime.handle().spawn(keep_fresh(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }
}

impl Retriever for LanceRetriever {
    fn search(&self, query: SearchQuery) -> BoxFuture<'static, Result<Found, EngineError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.search(query).await })
    }

    fn stats(&self) -> BoxFuture<'static, Result<CorpusStats, EngineError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.stats().await })
    }

    fn documents(&self) -> BoxFuture<'static, Result<Vec<DocumentRecord>, EngineError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            refresh_or_complain(&shared).await;
            Ok(shared.view().records().cloned().collect())
        })
    }
}

impl Shared {
    fn view(&self) -> Arc<View> {
        // The lock is held for a pointer's copy alone; a panic cannot leave half of one.
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn search(self: &Arc<Self>, mut query: SearchQuery) -> Result<Found, EngineError> {
        encode::check_vector(&query.embedding, self.identity.dimension)
            .map_err(|reason| EngineError::Failed(format!("the question cannot be searched for: {reason}")))?;
        query.top_k = query.top_k.min(MAX_TOP_K);
        let view = self.view();
        if query.top_k == 0 || view.records().next().is_none() {
            return Ok(Found::default());
        }
        match view.on_disk() {
            Some(_) => self.search_on_disk(query).await,
            None => self.search_at_hand(view, query).await,
        }
    }

    /// Scans on a thread of the store's own; a scan whose caller has left before it began is skipped.
    async fn search_at_hand(&self, view: Arc<View>, query: SearchQuery) -> Result<Found, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.runtime.handle().spawn_blocking(move || {
            if !reply.is_closed() {
                // The caller may leave meanwhile.
                drop(reply.send(view.search(&query)));
            }
        });
        answer.await.map_err(|_| EngineError::WorkerLost("search"))?.map_err(|error| search_error(&error))
    }

    async fn search_on_disk(self: &Arc<Self>, query: SearchQuery) -> Result<Found, EngineError> {
        let shared = Arc::clone(self);
        let search = self.runtime.handle().spawn(async move {
            let found = tokio::time::timeout(DISK_SEARCH_LIMIT, shared.search_newest_on_disk(&query)).await;
            found.unwrap_or_else(|_| Err(StoreError::Damaged("it took too long on disk".into())))
        });
        search.await.map_err(|_| EngineError::WorkerLost("search"))?.map_err(|error| search_error(&error))
    }

    /// The version at hand may just have been removed by a writer: then there is a newer one, which is searched instead. An
    /// error of the newest version is one of the store.
    async fn search_newest_on_disk(&self, query: &SearchQuery) -> Result<Found, StoreError> {
        let mut attempt = 1;
        loop {
            let view = self.view();
            let error = match search_view(&view, query).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            // Loading fails as searching does while a writer removes versions.
            let is_newest = self.refresh().await.is_ok() && Arc::ptr_eq(&view, &self.view());
            if is_newest || attempt == DISK_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn stats(self: &Arc<Self>) -> Result<CorpusStats, EngineError> {
        refresh_or_complain(self).await;
        let shared = Arc::clone(self);
        let measured = self.runtime.handle().spawn_blocking(move || {
            let view = shared.view();
            match view.dataset() {
                Some(dataset) => upkeep::stats(dataset, view.records(), shared.location.folder(), view.index_state()),
                None => Ok(CorpusStats { index_state: view.index_state(), ..CorpusStats::default() }),
            }
        });
        let measured = measured.await.map_err(|_| EngineError::WorkerLost("store"))?;
        measured.map_err(|error| StoreError::from(error).into_failed("be measured"))
    }

    /// Loads the newest version unless it is the one at hand, which stays in use until then, and on an error.
    async fn refresh(&self) -> Result<(), EngineError> {
        let _alone = self.refreshing.lock().await;
        let former = self.view();
        let mut loaded = self.load_newer(&former).await;
        for _ in 1..LOAD_ATTEMPTS {
            if loaded.is_err() {
                loaded = self.load_newer(&former).await;
            }
        }
        if let Some(view) = loaded? {
            *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        }
        Ok(())
    }

    /// The newest version with the newest index; `None` when they are those of `former`.
    async fn load_newer(&self, former: &View) -> Result<Option<View>, EngineError> {
        let load_error = |error: StoreError| error.into_load(self.location.data_dir());
        let newer = self.newer(former.dataset()).await.map_err(load_error)?;
        let number = self.location.indexes().newest().map_err(|error| load_error(error.into()))?;
        let has_same_index = number == former.index().map(|index| index.number);
        let dataset = match newer {
            None if has_same_index => return Ok(None),
            newer => newer.or_else(|| former.dataset().cloned()),
        };
        let Some(dataset) = dataset else { return Ok(None) };
        let index = match number {
            Some(number) if !has_same_index => Some(self.open_index(number).map_err(load_error)?),
            Some(_) => former.index().cloned(),
            None => None,
        };
        let stored = StoreIdentity::from_metadata(&dataset.schema().metadata).map_err(load_error)?;
        self.identity.check(&stored, self.location.data_dir())?;
        let loaded = View::load(dataset, index, former, self.identity.dimension, self.options.max_resident_rows).await;
        loaded.map(Some).map_err(load_error)
    }

    /// Opens an index. One that is damaged is as good as none, and the doctor's business.
    fn open_index(&self, number: u64) -> Result<NumberedIndex, StoreError> {
        match self.location.indexes().open(number) {
            Ok(index) => Ok(NumberedIndex { number, index: Some(Arc::new(index)) }),
            // Removed by a writer since it was listed: there is a newer one.
            Err(IndexError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "the search index cannot be read; run `mentor doctor`");
                Ok(NumberedIndex { number, index: None })
            }
        }
    }

    async fn newer(&self, former: Option<&Dataset>) -> Result<Option<Dataset>, StoreError> {
        let Some(former) = former else {
            return self.location.open(Arc::clone(&self.session)).await;
        };
        let mut newest = former.clone();
        newest.checkout_latest().await?;
        let (was, is) = (former.manifest_location(), newest.manifest_location());
        Ok(((was.version, &was.e_tag) != (is.version, &is.e_tag)).then_some(newest))
    }

    /// Logs why there is no newer version, once.
    fn complain(&self, error: Option<EngineError>) {
        let mut last = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error.as_ref().filter(|error| last.as_ref() != Some(error)) {
            tracing::warn!(%error, "the store's newest version cannot be loaded; answering from the former one");
        }
        *last = error;
    }
}

/// What a caller sees; the rest is for the log.
fn search_error(error: &StoreError) -> EngineError {
    tracing::error!(%error, "a search failed");
    EngineError::Failed("the store could not be searched".into())
}

async fn search_view(view: &View, query: &SearchQuery) -> Result<Found, StoreError> {
    match view.on_disk() {
        Some(dataset) => disk::search(dataset, query).await,
        None => view.search(query),
    }
}

/// Refreshes on the store's own threads; the caller may be on any executor.
async fn refresh_or_complain(shared: &Arc<Shared>) {
    let refreshing = Arc::clone(shared);
    let refreshed = shared.runtime.handle().spawn(async move { refreshing.refresh().await }).await;
    let error = match refreshed {
        Ok(result) => result.err(),
        Err(_) => Some(StoreError::Panicked.into_load(shared.location.data_dir())),
    };
    shared.complain(error);
}

/// Ends when the retriever is dropped.
async fn keep_fresh(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(FRESHNESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        refresh_or_complain(&shared).await;
    }
}
