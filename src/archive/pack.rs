//! Writing an archive: beside its place first, and whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Contents, MANIFEST, Member};

/// Writes `files`, each with its path in the archive, to `file`, which must not be there yet; gives the archive's size.
pub(crate) fn pack(file: &Path, mut contents: Contents, files: &[(String, PathBuf)]) -> anyhow::Result<u64> {
    if file.exists() {
        bail!("{} is there already: choose another name, or remove it", file.display());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("cannot write {}", file.display());
    let mut new = tempfile::Builder::new().prefix(".archive-").tempfile_in(folder).with_context(cannot)?;
    write(new.as_file_mut(), &mut contents, files).with_context(cannot)?;
    new.as_file().sync_all().with_context(cannot)?;
    let bytes = new.as_file().metadata()?.len();
    // Only its owner may read it: it holds the text of the course.
    new.persist_noclobber(file).with_context(cannot)?;
    File::open(folder)?.sync_all()?;
    Ok(bytes)
}

fn write(file: &mut File, contents: &mut Contents, files: &[(String, PathBuf)]) -> anyhow::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for (path, place) in files {
        zip.start_file(path.as_str(), options)?;
        let member = copy(File::open(place)?, &mut zip)?;
        contents.files.push(Member { path: path.clone(), ..member });
    }
    zip.start_file(MANIFEST, options)?;
    zip.write_all(&contents.to_json()?)?;
    zip.finish()?.flush()?;
    Ok(())
}

/// Copies a file; gives its size and hash.
fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<Member> {
    let (mut digest, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Member { path: String::new(), bytes, sha256 })
}
