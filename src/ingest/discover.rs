//! Finding the documents of a folder, each with the hash of its content.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use mentor_actors::domain::{DocumentHash, DocumentId, DocumentKind};

use super::{Hashes, Stamp};

/// A document in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path relative to the folder, with `/` between the parts.
    pub id: DocumentId,
    /// Where it is.
    pub path: PathBuf,
    /// What it promises to be.
    pub kind: DocumentKind,
    /// What it is.
    pub hash: DocumentHash,
    /// What it looked like when it was hashed.
    pub stamp: Stamp,
}

/// What a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Its documents, the smallest first, so that the embedder gets work early.
    pub found: Vec<Found>,
    /// Documents that cannot be read, with the reason.
    pub unreadable: Vec<(DocumentId, String)>,
}

/// All documents below `directory`. Hidden files and folders, and files that are no course materials, are passed over.
///
/// # Errors
/// When the folder or a folder in it cannot be read, or when it holds no course materials: what the store holds is not to be
/// removed because a volume is not mounted.
pub fn discover(directory: &Path, hashes: &mut Hashes) -> anyhow::Result<Folder> {
    let mut folder = Folder::default();
    for Listed { id, path, kind } in list(directory)? {
        match hashes.of(&path) {
            Ok((hash, stamp)) => folder.found.push(Found { id, path, kind, hash, stamp }),
            // Removed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => folder.unreadable.push((id, format!("it cannot be read: {error}"))),
        }
    }
    folder.found.sort_by(|a, b| (a.stamp.bytes, &a.id).cmp(&(b.stamp.bytes, &b.id)));
    Ok(folder)
}

/// A file that is to become a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: DocumentId,
    pub(super) path: PathBuf,
    pub(super) kind: DocumentKind,
}

/// The files of [`discover`], unread.
pub(super) fn list(directory: &Path) -> anyhow::Result<Vec<Listed>> {
    if !directory.is_dir() {
        bail!("{}: there is no such folder", directory.display());
    }
    let mut listed = Vec::new();
    walk(directory, directory, &mut listed)?;
    if listed.is_empty() {
        bail!(
            "{}: no course materials here (PDF, Word, slides, EPUB, notebooks, Markdown, HTML or plain text)",
            directory.display()
        );
    }
    Ok(listed)
}

fn walk(root: &Path, folder: &Path, listed: &mut Vec<Listed>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they could lead in circles.
        if entry.file_type()?.is_dir() {
            walk(root, &path, listed)?;
        } else if path.is_file()
            && let Some(kind) = kind(&path)
        {
            listed.push(Listed { id: id(root, &path), path, kind });
        }
    }
    Ok(())
}

fn kind(path: &Path) -> Option<DocumentKind> {
    DocumentKind::from_extension(path.extension()?.to_str()?)
}

fn id(root: &Path, path: &Path) -> DocumentId {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    DocumentId(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_at(directory: &Path) -> anyhow::Result<Folder> {
        discover(directory, &mut Hashes::default())
    }

    #[test]
    fn documents_are_found_in_subfolders_the_smallest_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("week 1")).unwrap();
        std::fs::write(folder.path().join("week 1/notes.md"), "long enough").unwrap();
        std::fs::write(folder.path().join("a.TXT"), "short").unwrap();
        std::fs::write(folder.path().join(".hidden.md"), "x").unwrap();
        std::fs::write(folder.path().join("build.sh"), "x").unwrap();
        let found = look_at(folder.path()).unwrap().found;
        let ids: Vec<&str> = found.iter().map(|found| found.id.0.as_str()).collect();
        assert_eq!(ids, ["a.TXT", "week 1/notes.md"]);
        assert!(found[0].hash.to_string().starts_with("f9b0078b5df596d2"));
    }

    #[test]
    fn an_empty_and_a_missing_folder_are_errors_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look_at(folder.path()).unwrap_err().to_string().contains("no course materials"));
        assert!(look_at(&folder.path().join("nowhere")).unwrap_err().to_string().contains("no such folder"));
    }
}
