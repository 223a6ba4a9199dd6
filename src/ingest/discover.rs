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

/// All documents below `directory`, and what is likely to be meant as one and cannot be read. Hidden files and folders, and files
/// that are no course materials, are passed over.
///
/// # Errors
/// When the folder or a folder in it cannot be read, or when it holds no course materials: what the store holds is not to be
/// removed because a volume is not mounted.
pub fn discover(directory: &Path, hashes: &mut Hashes) -> anyhow::Result<Folder> {
    Ok(look_into(list(directory)?, hashes))
}

/// As [`discover`], but an empty folder is one, for who knows that it was emptied.
///
/// # Errors
/// When the folder or a folder in it cannot be read.
pub fn discover_if_any(directory: &Path, hashes: &mut Hashes) -> anyhow::Result<Folder> {
    Ok(look_into(list_if_any(directory)?, hashes))
}

/// The file of a document of `directory`. Nothing outside of it, and nothing hidden, has an id.
///
/// # Errors
/// As [`discover_if_any`].
pub fn find(directory: &Path, id: &DocumentId) -> anyhow::Result<Option<PathBuf>> {
    let has_id = |listed: &Listed| listed.is_utf8 && listed.kind.is_ok() && listed.id == *id;
    Ok(list_if_any(directory)?.into_iter().find(has_id).map(|listed| listed.path))
}

fn look_into(files: Vec<Listed>, hashes: &mut Hashes) -> Folder {
    let mut folder = Folder::default();
    for Listed { id, path, kind, is_utf8 } in files {
        if !is_utf8 {
            folder.unreadable.push((id, "its name is not UTF-8: rename it".to_owned()));
            continue;
        }
        let kind = match kind {
            Ok(kind) => kind,
            Err(refusal) => {
                folder.unreadable.push((id, refusal.to_owned()));
                continue;
            }
        };
        match hashes.of(&path) {
            Ok((hash, stamp)) => folder.found.push(Found { id, path, kind, hash, stamp }),
            // Removed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => folder.unreadable.push((id, format!("it cannot be read: {error}"))),
        }
    }
    folder.found.sort_by(|a, b| (a.stamp.bytes, &a.id).cmp(&(b.stamp.bytes, &b.id)));
    folder
}

/// A file that is to become a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: DocumentId,
    pub(super) path: PathBuf,
    /// Or why it cannot be read.
    pub(super) kind: Result<DocumentKind, &'static str>,
    /// Of other names the id has only what can be read of them, and several may read alike.
    pub(super) is_utf8: bool,
}

/// The files of [`discover`], unread.
pub(super) fn list(directory: &Path) -> anyhow::Result<Vec<Listed>> {
    let listed = list_if_any(directory)?;
    if listed.iter().all(|listed| listed.kind.is_err()) {
        let refused =
            listed.iter().min_by(|a, b| a.id.cmp(&b.id)).and_then(|listed| Some((&listed.id.0, listed.kind.err()?)));
        let refused = refused.map_or_else(String::new, |(name, reason)| format!("; {name}: {reason}"));
        bail!(
            "{}: no course materials here (PDF, Word, slides, EPUB, notebooks, Markdown, HTML or plain text){refused}",
            directory.display()
        );
    }
    Ok(listed)
}

fn list_if_any(directory: &Path) -> anyhow::Result<Vec<Listed>> {
    if !directory.is_dir() {
        bail!("{}: there is no such folder", directory.display());
    }
    let mut listed = Vec::new();
    walk(directory, directory, &mut listed)?;
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
            let relative = path.strip_prefix(root).unwrap_or(&path);
            listed.push(Listed { id: id(relative), is_utf8: relative.to_str().is_some(), path, kind });
        }
    }
    Ok(())
}

/// What a file promises to be, or why that cannot be read; `None` for what is no course material.
fn kind(path: &Path) -> Option<Result<DocumentKind, &'static str>> {
    let extension = path.extension()?.to_str()?;
    let refusal = || DocumentKind::refusal(extension).filter(|_| DocumentKind::is_made_to_be_read(extension)).map(Err);
    DocumentKind::from_extension(extension).map(Ok).or_else(refusal)
}

fn id(relative: &Path) -> DocumentId {
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
    fn a_format_that_cannot_be_read_is_listed_with_what_to_do_and_no_document() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.doc"), "x").unwrap();
        let error = look_at(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no course materials here") && error.contains("notes.doc: this word"), "{error}");
        assert_eq!(discover_if_any(folder.path(), &mut Hashes::default()).unwrap().found, []);
        std::fs::write(folder.path().join("a.md"), "text").unwrap();
        std::fs::write(folder.path().join("data.zip"), "x").unwrap();
        let Folder { found, unreadable } = look_at(folder.path()).unwrap();
        assert_eq!(found.iter().map(|found| found.id.0.as_str()).collect::<Vec<_>>(), ["a.md"]);
        let [(id, reason)] = &unreadable[..] else { panic!("{unreadable:?}") };
        assert_eq!((id.0.as_str(), reason.ends_with("save it as .docx or PDF")), ("notes.doc", true));
        assert_eq!(find(folder.path(), id).unwrap(), None);
    }

    #[test]
    fn a_name_that_is_not_utf8_is_listed_with_its_reason_and_no_document() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        for name in [&b"f\xfcr.md"[..], b"f\xe4r.md", b"good.md"] {
            std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "text").unwrap();
        }
        let found = look_at(folder.path()).unwrap();
        assert_eq!(found.found.iter().map(|found| found.id.0.as_str()).collect::<Vec<_>>(), ["good.md"]);
        assert_eq!(found.unreadable.len(), 2);
        let (id, reason) = &found.unreadable[0];
        assert_eq!((id.0.as_str(), reason.as_str()), ("f\u{FFFD}r.md", "its name is not UTF-8: rename it"));
        assert_eq!(find(folder.path(), id).unwrap(), None, "it could be either");
    }

    #[test]
    fn an_empty_and_a_missing_folder_are_errors_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look_at(folder.path()).unwrap_err().to_string().contains("no course materials"));
        assert!(look_at(&folder.path().join("nowhere")).unwrap_err().to_string().contains("no such folder"));
    }
}
