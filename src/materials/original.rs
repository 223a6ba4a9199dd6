//! The file that a document of the store was read from.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use mentor_actors::domain::{DocumentHash, DocumentId, DocumentRecord, ErrorCode, TurnError};

use super::Materials;
use crate::ingest::find;

impl Materials {
    /// The file of a stored document, open, and how many bytes it has. Blocks, for as long as hashing takes where the file was not
    /// asked for before.
    ///
    /// # Errors
    /// `not_found` when the folder does not have it, or only as a link that leads out of the folder; `document_changed` when its
    /// content is not what was ingested.
    pub fn open(&self, record: &DocumentRecord) -> Result<(File, u64), TurnError> {
        let path = self.inside(&record.id).ok_or_else(gone)?;
        let file = File::open(&path).map_err(|_| gone())?;
        let bytes = file.metadata().map_err(|_| gone())?.len();
        let is_as_ingested = record.bytes.is_none_or(|ingested| ingested == bytes)
            && self.hash(&path).map_err(|_| gone())? == record.hash;
        if is_as_ingested { Ok((file, bytes)) } else { Err(changed()) }
    }

    /// The file of that id, as the ingest finds it, with every link in its path followed.
    fn inside(&self, id: &DocumentId) -> Option<PathBuf> {
        let found = find(self.directory(), id);
        let path =
            found.inspect_err(|error| tracing::warn!(%error, "the course materials cannot be listed")).ok()??;
        let (path, folder) = (path.canonicalize().ok()?, self.directory().canonicalize().ok()?);
        path.starts_with(folder).then_some(path)
    }

    fn hash(&self, path: &Path) -> io::Result<DocumentHash> {
        // A panic cannot leave half of an entry. Held while a file is hashed: one at a time is enough.
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(hashes.of(path)?.0)
    }
}

fn gone() -> TurnError {
    TurnError::new(ErrorCode::NotFound, "the file of this document is not in the course materials")
}

fn changed() -> TurnError {
    TurnError::new(ErrorCode::DocumentChanged, "the file has changed since it was ingested")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mentor_actors::domain::DocumentKind;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::materials::UploadLimits;

    fn course() -> (tempfile::TempDir, Materials) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("course")).unwrap();
        let limits = UploadLimits { file_bytes: 1, files: 1, free_bytes: 0 };
        let materials = Materials::new(folder.path().join("course"), limits);
        (folder, materials)
    }

    /// As the store remembers a document of that content.
    fn stored(id: &str, text: &str) -> DocumentRecord {
        let hash = DocumentHash(Sha256::digest(text).into());
        let failed = DocumentRecord::failed(DocumentId(id.into()), hash, DocumentKind::Markdown, String::new());
        DocumentRecord { failure: None, ..failed }
    }

    fn code(opened: Result<(File, u64), TurnError>) -> Option<ErrorCode> {
        opened.err().map(|error| error.code)
    }

    #[test]
    fn a_file_is_opened_while_it_is_what_was_ingested() {
        let (_folder, materials) = course();
        let path = materials.directory().join("a.md");
        assert_eq!(code(materials.open(&stored("a.md", "one"))), Some(ErrorCode::NotFound));
        fs::write(&path, "one").unwrap();
        assert_eq!(code(materials.open(&stored("a.md", "one"))), None);
        // The same size: the content alone tells, unless the size was noted.
        fs::write(&path, "two").unwrap();
        assert_eq!(code(materials.open(&stored("a.md", "one"))), Some(ErrorCode::DocumentChanged));
        let other_size = DocumentRecord { bytes: Some(4), ..stored("a.md", "two") };
        assert_eq!(code(materials.open(&other_size)), Some(ErrorCode::DocumentChanged));
    }

    #[test]
    fn a_link_is_followed_within_the_folder_and_not_out_of_it() {
        let (folder, materials) = course();
        fs::write(folder.path().join("outside.md"), "one").unwrap();
        fs::write(materials.directory().join("inside.md"), "one").unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, materials.directory().join(name)).unwrap();
        link(&folder.path().join("outside.md"), "out.md");
        link(Path::new("inside.md"), "in.md");
        link(folder.path(), "folder");
        assert_eq!(code(materials.open(&stored("in.md", "one"))), None);
        for id in ["out.md", "folder/outside.md", "../outside.md", "folder/../outside.md"] {
            assert_eq!(code(materials.open(&stored(id, "one"))), Some(ErrorCode::NotFound), "{id}");
        }
    }
}
