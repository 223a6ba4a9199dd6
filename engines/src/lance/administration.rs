//! What operators do to a store: they need its lock, but not its embedder.

use std::path::Path;
use std::sync::Arc;

use mentor_actors::domain::{CorpusStats, EngineError};
use mentor_actors::ports::Corpus as _;

use super::survey::StoreSurvey;
use super::versions;
use super::writer::LanceCorpus;

impl LanceCorpus {
    /// Opens the store in `data_dir` as what it is.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when another process writes to it; [`EngineError::Failed`] when there is none; [`EngineError::Load`]
    /// when it is damaged.
    pub fn open_stored(data_dir: &Path) -> Result<Self, EngineError> {
        let missing = || EngineError::Failed(format!("there is no store in {}", data_dir.display()));
        let survey = StoreSurvey::open(data_dir)?.ok_or_else(missing)?;
        Self::open(data_dir, survey.identity())
    }

    /// Merges all small fragments, and ends as an ingest does.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be written.
    pub fn merge(&mut self) -> Result<CorpusStats, EngineError> {
        self.make_sure()?;
        self.compact()?;
        self.finish()
    }

    /// Makes the search index anew, unless the store is too small for one, and ends as an ingest does.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the store cannot be written; it is whole then, and searched as before.
    pub fn reindex(&mut self) -> Result<CorpusStats, EngineError> {
        self.make_sure()?;
        if self.chunks() >= self.index_from {
            self.index()?;
        }
        self.finish()
    }

    /// Names the newest version, which is kept from then on. A name that another version had moves.
    ///
    /// # Errors
    /// [`EngineError::Failed`] for a name that is not allowed, or when the store cannot be written.
    pub fn tag(&mut self, name: &str) -> Result<u64, EngineError> {
        self.make_sure()?;
        let (dataset, name) = (Arc::clone(&self.dataset), name.to_owned());
        let tagged = self.runtime.run(async move { versions::tag(&dataset, &name).await });
        tagged.map_err(|error| error.into_failed("be tagged"))?;
        self.flush()?;
        Ok(self.dataset.version_id())
    }

    /// Takes a name away. Its version goes with the next `finish`, unless it is the newest.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when there is no such name, or the store cannot be written.
    pub fn untag(&mut self, name: &str) -> Result<(), EngineError> {
        let (dataset, name) = (Arc::clone(&self.dataset), name.to_owned());
        let removed = self.runtime.run(async move { versions::untag(&dataset, &name).await });
        removed.map_err(|error| error.into_failed("lose a tag"))
    }

    /// Makes a former version, by number or tag, the newest once more; gives its number and the new one. Ends this writer:
    /// the version may be of another embedder.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when there is no such version, or the store cannot be written.
    pub fn roll_back(mut self, reference: &str) -> Result<(u64, u64), EngineError> {
        self.make_sure()?;
        let (dataset, reference) = (Arc::clone(&self.dataset), reference.to_owned());
        let found = self.runtime.run(async move { versions::find(&dataset, &reference).await });
        let version = found.map_err(|error| error.into_failed("list its versions"))?;
        if version == self.dataset.version_id() {
            return Ok((version, version));
        }
        self.advance("be rolled back", |dataset| async move { versions::restore(&dataset, version).await })?;
        self.flush()?;
        self.read_again()?;
        if let Err(error) = self.index_if_due() {
            tracing::warn!(%error, "the store is rolled back, and slower until `mentor reindex`");
        }
        Ok((version, self.dataset.version_id()))
    }
}
