//! Files on their way into the folder of course materials.
//!
//! Each is written beside its later place under a hidden name, which no ingest looks at, within limits on size and disk; its
//! name and content are looked at; and when all of an upload are there, they get their names. And the way back: the file that a
//! document of the store was read from.

mod content;
mod file_name;
mod original;
mod upload;

pub use file_name::check_name;
pub use upload::{Materials, Misplaced, Upload, UploadLimits};
