//! ZIP archives: backups, and documents. Most inputs are parts that are packed here, since a fuzzer does not find checksums.

use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mentor_actors::domain::DocumentKind;
use mentor_engines::extract::reader::read_unwalled;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::archive;

/// In memory where there is such a folder.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder can be made")
});

/// Between the parts of an archive that is packed here; each begins with a line that is its name.
const BETWEEN: &[u8] = b"\n==\n";

/// An archive, or the parts of one; the first byte says which, and who reads it. No backup writes outside of its folder.
pub fn archives(input: &[u8]) {
    let Some((reader, bytes)) = input.split_first() else { return };
    let bytes = if reader & 0x80 == 0 { pack(bytes) } else { bytes.to_vec() };
    let kind = match reader & 0x03 {
        0 => return restore(&bytes),
        1 => DocumentKind::Word,
        2 => DocumentKind::Presentation,
        _ => DocumentKind::Epub,
    };
    if let Err(reason) = read_unwalled(kind, bytes) {
        assert!(!reason.is_empty());
    }
}

fn pack(input: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for part in parts(input) {
        let (name, content) = part.iter().position(|byte| *byte == b'\n').map_or((part, &[][..]), |at| {
            (&part[..at], &part[at + 1..])
        });
        // A name may stand there twice.
        if zip.start_file(String::from_utf8_lossy(name), SimpleFileOptions::default()).is_ok() {
            zip.write_all(content).expect("memory takes it");
        }
    }
    zip.finish().expect("memory takes it").into_inner()
}

fn parts(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

fn restore(bytes: &[u8]) {
    let (file, to) = (FOLDER.path().join("backup.zip"), FOLDER.path().join("to"));
    fs::write(&file, bytes).expect("the folder can be written");
    fs::create_dir(&to).expect("the folder is there once");
    if let Ok(mut opened) = archive::open(&file)
        && opened.unpack(&to).is_ok()
    {
        let listed = opened.contents.bytes().expect("it was looked at before");
        assert_eq!(bytes_below(&to), listed, "what was written is not what was listed");
    }
    fs::remove_dir_all(&to).expect("it can be removed");
    let left: Vec<PathBuf> =
        fs::read_dir(FOLDER.path()).expect("it can be read").flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, [file], "something was written elsewhere");
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("it can be read").flatten();
    let bytes = |path: PathBuf| if path.is_dir() { bytes_below(&path) } else { File::open(path).map_or(0, length) };
    entries.map(|entry| bytes(entry.path())).sum()
}

fn length(file: File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}
