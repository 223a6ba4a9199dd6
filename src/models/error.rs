//! Why a model could not be found, fetched or trusted.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mentor_actors::domain::EngineError;
use thiserror::Error;

use super::digest::Sha256Sum;
use super::manifest::ModelKind;

/// What went wrong, in one line, with the command that mends it where there is one.
#[derive(Debug, Error)]
pub enum ModelsError {
    /// No model, no file and no source is meant by this.
    #[error(
        "there is no model {name:?}: see `mentor models list`, or give a path, hf:OWNER/REPO/FILE or an https address"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A model that does something else.
    #[error("{name} is {found}, not {wanted}")]
    WrongKind {
        /// Its name.
        name: String,
        /// What it is.
        found: ModelKind,
        /// What was needed.
        wanted: ModelKind,
    },
    /// A file that should be in the models folder is not.
    #[error("{} is missing: run `{mend}`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The command that fetches it.
        mend: String,
    },
    /// A file in the models folder is not what it should be.
    #[error("{} is damaged ({how}): run `{mend}`", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// In what way.
        how: String,
        /// The command that fetches it anew.
        mend: String,
    },
    /// A file or folder of the user's own cannot be used.
    #[error("{} {why}", path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it, as a sentence that begins with it.
        why: String,
    },
    /// The manifest has no file for this operating system and processor.
    #[error("{name} is not available for {platform}{advice}")]
    Platform {
        /// Which model.
        name: String,
        /// Operating system and processor.
        platform: String,
        /// What to do instead, or nothing.
        advice: &'static str,
    },
    /// A source or a name that cannot be read.
    #[error("{text:?} {why}")]
    Malformed {
        /// What was given.
        text: String,
        /// What is wrong with it, as a sentence that begins with it.
        why: &'static str,
    },
    /// The list of models in `path` cannot be read.
    #[error("{path} is not a list of models ({why}): correct or remove it")]
    Manifest {
        /// Which list.
        path: String,
        /// What the parser says.
        why: String,
    },
    /// Something else was fetched than what was wanted.
    #[error("{what} has SHA-256 {found}, not {expected}: {advice}")]
    Checksum {
        /// What was fetched.
        what: String,
        /// The sum that was wanted.
        expected: Sha256Sum,
        /// The sum it has.
        found: Sha256Sum,
        /// What to do.
        advice: String,
    },
    /// What was fetched has another length than it should.
    #[error("{what} has {found} bytes where {expected} were expected: it is not the file that is meant")]
    Length {
        /// What was fetched.
        what: String,
        /// The length that was wanted.
        expected: u64,
        /// The length the server states, or what came until it was cut off.
        found: u64,
    },
    /// The server says no.
    #[error("{what}: {host} answers {status} ({hint})")]
    Refused {
        /// What was wanted.
        what: String,
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What that usually means.
        hint: &'static str,
    },
    /// Nobody answers.
    #[error(
        "{what}: cannot reach {host} ({reason}): no network? a proxy can be set with HTTPS_PROXY, a mirror with PIP_INDEX_URL \
         or HF_ENDPOINT"
    )]
    Offline {
        /// What was wanted.
        what: String,
        /// Who was asked.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The server's certificate cannot be trusted.
    #[error(
        "{what}: no trusted connection to {host} ({reason}): are the system's certificates (ca-certificates) installed?"
    )]
    Untrusted {
        /// What was wanted.
        what: String,
        /// Who was asked.
        host: String,
        /// What the check says.
        reason: String,
    },
    /// It failed again and again; what has come is kept.
    #[error("{what}: given up after {tries} tries ({reason}): run the command again, it goes on where it stopped")]
    Interrupted {
        /// What was wanted.
        what: String,
        /// How many tries were made.
        tries: u32,
        /// What the last one failed with.
        reason: String,
    },
    /// Somebody answers, but with something of no use.
    #[error("{what}: {why}")]
    Answer {
        /// What was wanted.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// An archive cannot be read or does not have the member.
    #[error("{archive}: {why}")]
    Archive {
        /// Which archive.
        archive: String,
        /// What is wrong.
        why: String,
    },
    /// No place for the cache can be told from the environment.
    #[error("no place for downloads: neither MENTOR_CACHE_DIR, XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// Weights cannot be rewritten or measured.
    #[error("{0}")]
    Weights(EngineError),
    /// The operating system refuses. The cause is part of the line, so it is not also a source.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

impl ModelsError {
    /// The program's exit code for all of them.
    pub const EXIT_CODE: i32 = 2;

    /// Turns a system error into one that says what was being done; for `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { doing, path: path.to_owned(), cause }
    }
}

/// Why one try failed: for good, or perhaps not.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again cannot help.
    Fatal(ModelsError),
    /// Nobody answers: worth another try only if somebody did before.
    Unreachable { host: String, reason: String },
    /// Worth another try, after `wait` if the server says so. `gained_bytes` had come before.
    Transient { reason: String, gained_bytes: u64, wait: Option<Duration> },
}

impl Failure {
    pub(super) fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), gained_bytes: 0, wait: None }
    }
}

impl From<ModelsError> for Failure {
    fn from(error: ModelsError) -> Self {
        Self::Fatal(error)
    }
}
