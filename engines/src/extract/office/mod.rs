//! Office Open XML: archives of XML parts that name each other. Nothing is ever unpacked to a disk.

pub(super) mod presentation;
mod relations;
pub(super) mod word;

/// What an older or an encrypted office document begins with: Microsoft's compound file.
const COMPOUND_FILE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// Refuses what is an office document, but not of this format.
fn check_beginning(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(COMPOUND_FILE) {
        return Err(
            "the file has a password or is in an older format: save a copy without, as .docx, .pptx or PDF".to_owned()
        );
    }
    Ok(())
}
