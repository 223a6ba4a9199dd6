//! Finding the documents of a folder, each with the hash of its content.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use mentor_actors::domain::{DocumentHash, DocumentId, DocumentKind};
use sha2::{Digest as _, Sha256};

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
    /// Its size.
    pub bytes: u64,
}

/// All documents below `directory`, the smallest first, so that the embedder gets work early. Hidden files and folders, and
/// files that are no course materials, are passed over.
///
/// # Errors
/// When the folder or a file in it cannot be read, or when the folder holds no course materials.
pub fn discover(directory: &Path) -> anyhow::Result<Vec<Found>> {
    if !directory.is_dir() {
        bail!("{}: there is no such folder", directory.display());
    }
    let mut found = Vec::new();
    walk(directory, directory, &mut found)?;
    if found.is_empty() {
        bail!("{}: no course materials here (PDF, Markdown, HTML or plain text)", directory.display());
    }
    found.sort_by(|a, b| (a.bytes, &a.id).cmp(&(b.bytes, &b.id)));
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they could lead in circles.
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if path.is_file()
            && let Some(kind) = kind(&path)
        {
            found.push(look_at(root, path, kind)?);
        }
    }
    Ok(())
}

fn kind(path: &Path) -> Option<DocumentKind> {
    DocumentKind::from_extension(path.extension()?.to_str()?)
}

fn look_at(root: &Path, path: PathBuf, kind: DocumentKind) -> anyhow::Result<Found> {
    let relative = path.strip_prefix(root).unwrap_or(&path);
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let id = DocumentId(parts.join("/"));
    let (hash, bytes) = hash(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Found { id, path, kind, hash, bytes })
}

fn hash(path: &Path) -> std::io::Result<(DocumentHash, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut digest, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((DocumentHash(digest.finalize().into()), bytes));
        }
        digest.update(&buffer[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_in_subfolders_the_smallest_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("week 1")).unwrap();
        std::fs::write(folder.path().join("week 1/notes.md"), "long enough").unwrap();
        std::fs::write(folder.path().join("a.TXT"), "short").unwrap();
        std::fs::write(folder.path().join(".hidden.md"), "x").unwrap();
        std::fs::write(folder.path().join("build.sh"), "x").unwrap();
        let found = discover(folder.path()).unwrap();
        let ids: Vec<&str> = found.iter().map(|found| found.id.0.as_str()).collect();
        assert_eq!(ids, ["a.TXT", "week 1/notes.md"]);
        assert!(found[0].hash.to_string().starts_with("f9b0078b5df596d2"));
    }

    #[test]
    fn an_empty_and_a_missing_folder_are_errors_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(discover(folder.path()).unwrap_err().to_string().contains("no course materials"));
        assert!(discover(&folder.path().join("nowhere")).unwrap_err().to_string().contains("no such folder"));
    }
}
