//! Failures of the store as one line for people.

use std::path::Path;

use mentor_actors::domain::EngineError;
use mentor_index::IndexError;
use thiserror::Error;

/// Why the store could not do something.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// Lance refused or failed.
    #[error("{}", one_line(&.0.to_string()))]
    Lance(#[from] lance::Error),
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What was read is not what this program writes.
    #[error("{0}")]
    Damaged(String),
    /// The task that did the work panicked; Lance does so on some damaged files.
    #[error("a file of it is damaged")]
    Panicked,
    /// What was asked for makes no sense here; the store is well.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    /// The error of a store that cannot be opened.
    pub(super) fn into_load(self, data_dir: &Path) -> EngineError {
        EngineError::Load(format!(
            "the store in {} cannot be read: {self}; restore a backup, or rebuild it with `mentor ingest --overwrite`",
            data_dir.display()
        ))
    }

    /// The error of one piece of work on an open store.
    pub(super) fn into_failed(self, what: &str) -> EngineError {
        match self {
            Self::Refused(reason) => EngineError::Failed(reason),
            error => EngineError::Failed(format!("the store could not {what}: {error}")),
        }
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Io(error) => Self::Io(error),
            IndexError::Damaged(reason) => Self::Damaged(format!("its search index is damaged: {reason}")),
        }
    }
}

impl From<arrow_schema::ArrowError> for StoreError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Damaged(one_line(&error.to_string()))
    }
}

/// `message` without line breaks and without the places in source files that Lance adds (`, path/file.rs:12:34`).
fn one_line(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<_> = line.split(", ").filter(|part| !part.contains(".rs:")).collect();
    if parts.is_empty() { line } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_source_files_and_line_breaks_are_left_out() {
        let raw = "LanceError(IO): no such file, crates/io/src/local.rs:12:34, code 2,\nlocation: src/x.rs:1:2";
        assert_eq!(one_line(raw), "LanceError(IO): no such file, code 2");
        assert_eq!(one_line("gone at src/a.rs:1:2"), "gone at src/a.rs:1:2");
    }
}
