//! Which files were found whole, so that a start need not read them all again.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Sha256Sum;
use super::place;

/// The stamps of a models folder. Losing them costs time, never safety.
pub(super) struct Stamps {
    path: PathBuf,
    stamps: BTreeMap<String, Stamp>,
    changed: bool,
}

/// What a file looked like when its sum was right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    sha256: Sha256Sum,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(sha256: Sha256Sum, metadata: &Metadata) -> Self {
        let (modified_s, modified_ns) = (metadata.mtime(), metadata.mtime_nsec());
        Self { sha256, bytes: metadata.len(), modified_s, modified_ns }
    }
}

impl Stamps {
    /// The stamps of the models folder `root`; none when they cannot be read.
    pub(super) fn read(root: &Path) -> Self {
        let path = root.join(".verified.toml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self { path, stamps: toml::from_str(&text).unwrap_or_default(), changed: false }
    }

    /// Whether the file `label` had this sum when it looked as it does now.
    pub(super) fn vouch(&self, label: &str, sum: Sha256Sum, metadata: &Metadata) -> bool {
        self.stamps.get(label) == Some(&Stamp::of(sum, metadata))
    }

    /// Notes that the file `label` has this sum.
    pub(super) fn note(&mut self, label: &str, sum: Sha256Sum, metadata: &Metadata) {
        let stamp = Stamp::of(sum, metadata);
        self.changed |= self.stamps.insert(label.to_owned(), stamp.clone()) != Some(stamp);
    }

    /// Keeps them, where the folder can be written to.
    pub(super) fn save(&self) {
        if let Some(text) = self.changed.then(|| toml::to_string(&self.stamps).ok()).flatten() {
            place::write(&self.path, &text).ok();
        }
    }
}
