//! The store's files: torn versions, what nothing refers to, what is missing, fragments, disk.

use std::io;
use std::path::Path;

use lance::Dataset;
use lance::dataset::cleanup::CleanupPolicy;

use super::super::error::StoreError;
use super::super::index_folder::IndexFolder;
use super::super::store::Location;
use super::super::upkeep;
use super::{Finding, REBUILD, TIDY};

/// The check for torn versions.
pub(super) const VERSIONS: &str = "versions";

/// So many small fragments cost nothing; more slow down opening and searching.
const SMALL_FRAGMENTS: usize = 10;
/// Versions that are kept may take as much disk as the newest; more is worth a line.
const DISK_FACTOR: u64 = 2;

pub(super) fn torn_versions(location: &Location) -> io::Result<Vec<Finding>> {
    let torn = location.manifests()?.into_iter().filter(|manifest| manifest.bytes == 0);
    Ok(torn.map(|manifest| torn_version(manifest.version)).collect())
}

fn torn_version(version: u64) -> Finding {
    let message = format!("version {version} was torn by a power cut; it was never acknowledged");
    Finding::problem(VERSIONS, message, TIDY)
}

/// Files of the version that are not there.
pub(super) async fn missing(dataset: &Dataset, folder: &Path) -> Result<Vec<Finding>, StoreError> {
    let files = upkeep::files_of_version(dataset).await?;
    // Transactions are for the history alone.
    let missing = files.iter().filter(|file| !file.starts_with("_transactions/") && !folder.join(file).exists());
    Ok(missing.map(|file| Finding::problem("files", format!("{file} is missing"), REBUILD)).collect())
}

/// Files that no version refers to.
pub(super) async fn orphans(dataset: &Dataset) -> Result<Option<Finding>, StoreError> {
    // Versions begin at 1, so none is old: what is left are files that none of them refers to.
    let nothing_is_old = CleanupPolicy {
        before_version: Some(0),
        delete_unverified: true,
        error_if_tagged_old_versions: false,
        ..CleanupPolicy::default()
    };
    let found = dataset.cleanup(nothing_is_old).explain().await?;
    let more = if found.candidate_files_truncated { "more than " } else { "" };
    let message = format!(
        "{more}{} files ({} bytes) belong to no version: a writer was killed",
        found.candidate_files.len(),
        found.stats.bytes_removed
    );
    Ok((!found.candidate_files.is_empty()).then(|| Finding::problem("files", message, TIDY)))
}

pub(super) async fn fragments_and_disk(dataset: &Dataset, folder: &Path) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let rows = dataset.fragments().iter().map(|fragment| fragment.num_rows().unwrap_or(0));
    let small = rows.filter(|rows| *rows < upkeep::ROWS_PER_FRAGMENT).count();
    if small > SMALL_FRAGMENTS {
        findings.push(Finding::problem("fragments", format!("{small} small fragments slow down opening"), TIDY));
    }
    // The search index belongs to the newest version alone, and no version counts it.
    let of_index = IndexFolder::of(folder).bytes()?;
    let (all, live) = (upkeep::bytes_below(folder)?, upkeep::live_bytes(dataset, folder).await?);
    let all = all.saturating_sub(of_index);
    if all > DISK_FACTOR * live {
        let message = format!("{all} bytes on disk, of which the newest version needs {live}: the rest is history");
        findings.push(Finding::note("disk", message, "mentor history; mentor tag --remove NAME; mentor compact"));
    }
    Ok(findings)
}
