//! Reading the parts of a ZIP archive, each and all of them up to a size.

use std::io::{Cursor, ErrorKind, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::encoding;

/// Largest part, unpacked. A book of a thousand pages has about 3 MB of text, and ten times as much around it.
const MAX_PART_BYTES: u64 = 64 << 20;
/// Most that is unpacked of one archive, parts read again counted again.
const MAX_TOTAL_BYTES: u64 = 256 << 20;

/// An open archive.
pub(super) struct Archive {
    zip: ZipArchive<Cursor<Vec<u8>>>,
    left_bytes: u64,
}

impl Archive {
    /// # Errors
    /// That it is no archive, for people.
    pub fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let zip =
            ZipArchive::new(Cursor::new(bytes)).map_err(|_| "the file is damaged or cut off: it is no ZIP archive")?;
        Ok(Self { zip, left_bytes: MAX_TOTAL_BYTES })
    }

    /// A part's text, by its name in the archive; `None` when there is none of that name.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let bytes = self.bytes(name)?;
        bytes.map(|bytes| encoding::decode(&bytes, None).map_err(|error| format!("part {name}: {error}"))).transpose()
    }

    /// A part that must be there.
    ///
    /// # Errors
    /// That it is not, or why it cannot be read.
    pub fn required_text(&mut self, name: &str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| format!("the file is damaged: it has no part {name}"))
    }

    fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let part = match self.zip.by_name(name) {
            Ok(part) => part,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err("the file is encrypted: save a copy without a password".to_owned());
            }
            Err(_) => return Err(format!("part {name} is damaged")),
        };
        let may_have = MAX_PART_BYTES.min(self.left_bytes);
        let mut bytes = Vec::new();
        part.take(may_have + 1).read_to_end(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => format!("part {name} needs more memory than is allowed"),
            _ => format!("part {name} is damaged"),
        })?;
        let length = bytes.len() as u64;
        if length > may_have {
            return Err(format!("part {name} unpacks to more than {} MiB", may_have >> 20));
        }
        self.left_bytes -= length;
        Ok(Some(bytes))
    }
}

/// The name in the archive of what a part refers to, relative to the part's folder or, with a `/` before it, to the archive.
pub(super) fn resolve(part: &str, reference: &str) -> String {
    let folder = part.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = if reference.starts_with('/') { "" } else { folder };
    let mut names: Vec<&str> = Vec::new();
    for name in folder.split('/').chain(reference.split('/')) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_relative_to_their_part_and_never_leave_the_archive() {
        assert_eq!(resolve("ppt/presentation.xml", "slides/slide1.xml"), "ppt/slides/slide1.xml");
        assert_eq!(resolve("ppt/slides/slide1.xml", "../notes/./n.xml"), "ppt/notes/n.xml");
        assert_eq!(resolve("ppt/presentation.xml", "/word/document.xml"), "word/document.xml");
        assert_eq!(resolve("a.opf", "../../../../etc/passwd"), "etc/passwd");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let refusal = Archive::open(b"hello".to_vec()).err();
        assert_eq!(refusal.as_deref(), Some("the file is damaged or cut off: it is no ZIP archive"));
    }
}
