//! A store and the conversations in one file, and back: a zip archive whose last member lists the others with their sizes and hashes.
//!
//! Files are stored as they are, since vectors hardly compress. Nothing of an archive is believed: see `unpack`.

mod manifest;
mod pack;
mod unpack;

pub(crate) use manifest::{CONVERSATIONS, Contents, Member};
pub(crate) use pack::pack;
pub(crate) use unpack::open;

/// The member that lists the others.
const MANIFEST: &str = "manifest.json";
