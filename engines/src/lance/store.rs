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
use super::index_folder::IndexFolder;

/// The dataset's folder within the data folder.
pub(super) const DATASET: &str = "corpus.lance";

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

    /// Where the dataset's search indexes are.
    pub(super) fn indexes(&self) -> IndexFolder {
        IndexFolder::of(&self.folder)
    }

    /// The newest version; `None` when there is no dataset.
    pub(super) async fn open(&self, session: Arc<Session>) -> Result<Option<Dataset>, StoreError> {
        if !self.folder.exists() {
            return Ok(None);
        }
        match self.load(Arc::clone(&session)).await {
            Ok(dataset) => Ok(Some(dataset)),
            Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => self.absent(),
            Err(error) => match self.version_below_torn()? {
                Some(version) => self.load_version(version, session).await.map(Some),
                None => Err(error.into()),
            },
        }
    }

    async fn load(&self, session: Arc<Session>) -> lance::Result<Dataset> {
        DatasetBuilder::from_uri(&self.uri).with_session(session).load().await
    }

    async fn load_version(&self, version: u64, session: Arc<Session>) -> Result<Dataset, StoreError> {
        let builder = DatasetBuilder::from_uri(&self.uri).with_session(session).with_version(version);
        Ok(builder.load().await?)
    }

    /// The newest version that is whole, where a newer one was torn by a power cut.
    fn version_below_torn(&self) -> io::Result<Option<u64>> {
        let manifests = self.manifests()?;
        let torn = manifests.iter().any(|manifest| manifest.bytes == 0);
        let whole = manifests.iter().filter(|manifest| manifest.bytes > 0).map(|manifest| manifest.version).max();
        Ok(whole.filter(|_| torn))
    }

    /// The manifests of all versions, torn or whole; none where there is no dataset.
    pub(super) fn manifests(&self) -> io::Result<Vec<ManifestFile>> {
        let entries = match fs::read_dir(self.folder.join("_versions")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut manifests = Vec::new();
        for entry in entries {
            let path = entry?.path();
            match (manifest_version(&path), fs::metadata(&path)) {
                (Some(version), Ok(metadata)) => {
                    manifests.push(ManifestFile { path, version, bytes: metadata.len() });
                }
                // Removed by a writer since it was listed, or no manifest.
                (Some(_), Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(manifests)
    }

    /// A dataset without versions holds nothing only if it has no data either.
    fn absent(&self) -> Result<Option<Dataset>, StoreError> {
        match fs::read_dir(self.folder.join("data")).map(|mut files| files.next().is_some()) {
            Ok(true) => Err(StoreError::Damaged("its list of versions is missing".into())),
            _ => Ok(None),
        }
    }

    /// A first version without rows, where there is none.
    pub(super) async fn create(&self, schema: SchemaRef, session: Arc<Session>) -> Result<Dataset, StoreError> {
        let params = WriteParams { mode: WriteMode::Create, session: Some(session), ..WriteParams::default() };
        let nothing = vec![RecordBatch::new_empty(schema)];
        Ok(InsertBuilder::new(self.uri.as_str()).with_params(&params).execute(nothing).await?)
    }

    /// Removes manifests of no length: what a power cut leaves of a version that was never acknowledged.
    /// Only for the writer, which holds the lock.
    ///
    /// # Errors
    /// Those of the file system; a missing folder is none.
    pub(super) fn forget_torn_versions(&self) -> io::Result<()> {
        for manifest in self.manifests()?.iter().filter(|manifest| manifest.bytes == 0) {
            tracing::warn!(version = manifest.version, "removing a version that a power cut left empty");
            fs::remove_file(&manifest.path)?;
        }
        Ok(())
    }
}

/// The file that makes a version.
#[derive(Debug)]
pub(super) struct ManifestFile {
    pub(super) path: PathBuf,
    pub(super) version: u64,
    pub(super) bytes: u64,
}

/// The version in a manifest's name: 20 digits count down from the largest number, fewer are the version itself.
fn manifest_version(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".manifest")?;
    let number: u64 = name.parse().ok()?;
    Some(if name.len() == 20 { u64::MAX - number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_either_form_of_its_manifests_name() {
        let version = |name: &str| manifest_version(Path::new(name));
        assert_eq!(version("_versions/18446744073709551608.manifest"), Some(7));
        assert_eq!(version("_versions/7.manifest"), Some(7));
        assert_eq!(version("_versions/latest_version_hint.json"), None);
    }
}
