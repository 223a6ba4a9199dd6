//! What a pull tells while it is at work.

use std::path::Path;
use std::time::Duration;

/// One thing that happened. `label` is `MODEL/FILE`.
#[derive(Debug)]
pub enum PullEvent<'a> {
    /// Another pull is at work; this one goes on when that one ends.
    Waiting {
        /// The lock that is waited for.
        lock: &'a Path,
    },
    /// The file is already in the models folder, and whole.
    Present {
        /// Which file.
        label: &'a str,
    },
    /// The file was in the cache: no network was needed.
    Cached {
        /// Which file.
        label: &'a str,
    },
    /// A download begins, or goes on, at `done_bytes`.
    Started {
        /// Which file.
        label: &'a str,
        /// What is there already.
        done_bytes: u64,
        /// All of it, when the server says.
        total_bytes: Option<u64>,
    },
    /// More has come.
    Advanced {
        /// What is there now.
        done_bytes: u64,
    },
    /// A try failed; the next comes after `pause`.
    Retrying {
        /// Which file.
        label: &'a str,
        /// What the try failed with.
        reason: &'a str,
        /// How long until the next.
        pause: Duration,
    },
    /// What an earlier pull left was wrong; the download begins anew.
    Discarded {
        /// Which file.
        label: &'a str,
    },
    /// A member is being taken out of its archive.
    Unpacking {
        /// Which file.
        label: &'a str,
    },
    /// The file is in the models folder now.
    Ready {
        /// Which file.
        label: &'a str,
        /// Where.
        path: &'a Path,
        /// How long it is.
        bytes: u64,
    },
}

/// Who is told.
pub(super) type Listener<'l> = &'l mut dyn FnMut(PullEvent<'_>);
