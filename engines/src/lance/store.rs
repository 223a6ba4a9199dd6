//! Where the dataset is; opening, creating, and forgetting a torn version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::{InsertBuilder, WriteMode, WriteParams};
use lance::session::Session;
use mentor_actors::domain::EngineError;

use super::error::StoreError;

/// The dataset's folder within the data folder.
const DATASET: &str = "corpus.lance";

/// Where the dataset of a data folder is.
#[derive(Debug, Clone)]
pub(super) struct Location {
    data_dir: PathBuf,
    folder: PathBuf,
    /// `folder` absolute: Lance takes what begins with a scheme for a URL, and `~` for the home folder.
    uri: String,
}

impl Location {
    /// # Errors
    /// [`EngineError::Load`] when the path is not UTF-8, which Lance needs.
    pub(super) fn new(data_dir: &Path) -> Result<Self, EngineError> {
        let folder = data_dir.join(DATASET);
        let unusable =
            |reason: String| EngineError::Load(format!("{} cannot hold a store: {reason}", data_dir.display()));
        let absolute = std::path::absolute(&folder).map_err(|error| unusable(error.to_string()))?;
        let uri = absolute.to_str().ok_or_else(|| unusable("its path is not UTF-8".into()))?.to_owned();
        Ok(Self { data_dir: data_dir.to_owned(), folder, uri })
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest version; `None` when there is no dataset.
    pub(super) async fn open(&self, session: Arc<Session>) -> Result<Option<Dataset>, StoreError> {
        if !self.folder.exists() {
            return Ok(None);
        }
        match DatasetBuilder::from_uri(&self.uri).with_session(session).load().await {
            Ok(dataset) => Ok(Some(dataset)),
            Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => self.absent(),
            Err(error) => Err(error.into()),
        }
    }

    /// A dataset without versions holds nothing only if it has no data either.
    fn absent(&self) -> Result<Option<Dataset>, StoreError> {
        match fs::read_dir(self.folder.join("data")).map(|mut files| files.next().is_some()) {
            Ok(true) => Err(StoreError::Damaged("its list of versions is missing".into())),
            _ => Ok(None),
        }
    }

    /// A new version without rows. With [`WriteMode::Overwrite`] a former dataset's versions stay on disk until the
    /// next upkeep, with [`WriteMode::Create`] there must be none.
    pub(super) async fn create(
        &self,
        schema: SchemaRef,
        mode: WriteMode,
        session: Arc<Session>,
    ) -> Result<Dataset, StoreError> {
        let params = WriteParams { mode, session: Some(session), ..WriteParams::default() };
        let nothing = vec![RecordBatch::new_empty(schema)];
        Ok(InsertBuilder::new(self.uri.as_str()).with_params(&params).execute(nothing).await?)
    }

    /// Removes manifests of no length: what a power cut leaves of a version that was never acknowledged.
    /// Only for the writer, which holds the lock.
    ///
    /// # Errors
    /// Those of the file system; a missing folder is none.
    pub(super) fn forget_torn_versions(&self) -> io::Result<()> {
        let entries = match fs::read_dir(self.folder.join("_versions")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_manifest = entry.path().extension().is_some_and(|extension| extension == "manifest");
            if is_manifest && entry.metadata()?.len() == 0 {
                tracing::warn!(manifest = ?entry.file_name(), "removing a version that a power cut left empty");
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes whatever is there, readable or not.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}
