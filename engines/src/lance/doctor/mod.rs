//! Examining a store without changing it: each finding with the command that mends it.
//!
//! | module | what it looks at |
//! |---|---|
//! | `files` | versions, files that nothing refers to, files that are missing, fragments, disk |
//! | `index` | the search index |
//! | `rows` | records and chunks, vectors |
//! | `similar` | passages and documents that are there more than once |

mod files;
mod index;
mod rows;
mod similar;

use std::path::Path;

use mentor_actors::domain::{DocumentRecord, EngineError};
use serde::Serialize;

use super::beside;
use super::error::StoreError;
use super::lock::WriterLock;
use super::store::Location;
use super::survey::StoreSurvey;
use crate::StoreIdentity;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is wrong.
    Problem,
    /// Nothing is wrong, but it is good to know.
    Note,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What mends it.
    pub remedy: String,
}

impl Finding {
    fn problem(check: &'static str, message: impl Into<String>, remedy: &str) -> Self {
        Self { check, severity: Severity::Problem, message: message.into(), remedy: remedy.into() }
    }

    fn note(check: &'static str, message: impl Into<String>, remedy: &str) -> Self {
        Self { check, severity: Severity::Note, message: message.into(), remedy: remedy.into() }
    }
}

const REBUILD: &str = "mentor restore BACKUP, or mentor ingest --overwrite";
const TIDY: &str = "mentor compact";
const REINDEX: &str = "mentor reindex";

/// Examines the store in `data_dir`; `expected` is the identity of the embedder in use, where there is one, and stores of
/// `index_from` chunks are to have a search index. Reads every row.
///
/// # Errors
/// [`EngineError::Failed`] when the folder cannot be read. A store that cannot be read is a finding.
pub fn examine(
    data_dir: &Path,
    expected: Option<&StoreIdentity>,
    index_from: usize,
) -> Result<Vec<Finding>, EngineError> {
    let failed = |error: std::io::Error| StoreError::from(error).into_failed("be examined");
    let location = Location::new(data_dir)?;
    if !location.folder().exists() {
        return Ok(vec![Finding::problem("store", "there is no store yet", "mentor ingest")]);
    }
    let busy = WriterLock::is_held(data_dir);
    let mut findings = files::torn_versions(&location).map_err(failed)?;
    if busy {
        findings.push(Finding::note("writer", "an ingest is at work: leftovers were not looked for", "mentor doctor"));
    } else {
        let mut leftovers = beside::leftovers(data_dir).map_err(failed)?;
        leftovers.extend(location.indexes().leftovers().map_err(failed)?);
        findings.extend(leftovers.iter().map(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            Finding::problem("leftovers", format!("{name} was left by a command that was killed"), TIDY)
        }));
    }
    match StoreSurvey::open(data_dir) {
        Ok(Some(survey)) => {
            findings.extend(identity(survey.identity(), expected, data_dir));
            // Lance lists files by reading all manifests, and a torn one cannot be read.
            let is_torn = findings.iter().any(|finding| finding.check == files::VERSIONS);
            findings.extend(contents(&survey, busy, is_torn));
            let chunks = survey.records().iter().map(|record| record.chunks as usize).sum();
            findings.extend(index::examine(survey.index(), &location.indexes(), chunks, index_from));
            findings.extend(failures(survey.records()));
        }
        Ok(None) => findings.push(Finding::problem("store", "there is no store yet", "mentor ingest")),
        Err(error) => findings.push(Finding::problem("store", error.to_string(), REBUILD)),
    }
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

fn identity(stored: &StoreIdentity, expected: Option<&StoreIdentity>, data_dir: &Path) -> Option<Finding> {
    let error = expected?.check(stored, data_dir).err()?;
    let remedy = if expected?.chunker_version == stored.chunker_version {
        "mentor re-embed, or set `embedder` to the one it was made with"
    } else {
        "mentor ingest --overwrite"
    };
    Some(Finding::problem("embedder", error.to_string(), remedy))
}

/// What is in the files; a file that cannot be read is a finding.
fn contents(survey: &StoreSurvey, busy: bool, is_torn: bool) -> Vec<Finding> {
    let (runtime, location, dataset) = survey.parts();
    let (folder, dimension) = (location.folder().to_owned(), survey.identity().dimension);
    let examined = runtime.run(async move {
        let mut findings = Vec::new();
        if !is_torn {
            let missing = files::missing(&dataset, &folder).await?;
            if !missing.is_empty() {
                return Ok(missing);
            }
            findings.extend(files::fragments_and_disk(&dataset, &folder).await?);
        }
        if !is_torn && !busy {
            findings.extend(files::orphans(&dataset).await?);
        }
        findings.extend(rows::examine(&dataset, dimension).await?);
        Ok(findings)
    });
    examined.unwrap_or_else(|error| vec![Finding::problem("data", error.to_string(), REBUILD)])
}

fn failures(records: &[DocumentRecord]) -> Option<Finding> {
    let documents = records.iter().filter(|record| record.failure.is_some()).count();
    let pages: usize = records.iter().map(|record| record.failed_pages.len()).sum();
    (documents + pages > 0).then(|| {
        let message = format!("{documents} documents and {pages} pages gave no text");
        Finding::note("failures", message, "mentor ingest lists them; mentor ingest --retry tries again")
    })
}
