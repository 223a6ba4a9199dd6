//! Compaction, removal of old versions, flushing to the disk, and what the store says of itself.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures_util::StreamExt as _;
use lance::Dataset;
use lance::dataset::cleanup::CleanupPolicyBuilder;
use lance::dataset::files::TrackedFilesOptions;
use lance::dataset::optimize::{
    CompactionOptions, CompactionPlan, IgnoreRemap, RewriteResult, commit_compaction, plan_compaction,
};
use lance::table::format::Fragment;
use mentor_actors::domain::{CorpusStats, DocumentRecord};

use super::error::StoreError;

/// Fragments with fewer rows are merged with their neighbours. About 150 MB with 384 dimensions: the most that one
/// compaction holds back, and that a later one rewrites for a few new rows.
pub(super) const ROWS_PER_FRAGMENT: usize = 65_536;
/// Rows decoded at a time while compacting.
const COMPACTION_BATCH_ROWS: usize = 1_024;

/// So many small fragments may stay when an ingest ends. A version that is kept shares them with the next, so that going back
/// costs little disk, and an ingest of one document does not rewrite all others.
const FEW_SMALL_FRAGMENTS: usize = 8;
/// One row in so many may be a deleted one.
const DELETED_ROWS: usize = 5;

/// Whether there are so many small fragments or deleted rows that the end of an ingest should merge them.
pub(super) fn is_worth_compacting(dataset: &Dataset) -> bool {
    let fragments = dataset.fragments();
    let rows = |fragment: &Fragment| fragment.physical_rows.unwrap_or(0);
    let small = fragments.iter().filter(|fragment| rows(fragment) < ROWS_PER_FRAGMENT).count();
    let all: usize = fragments.iter().map(rows).sum();
    let live: usize = fragments.iter().map(|fragment| fragment.num_rows().unwrap_or(0)).sum();
    small > FEW_SMALL_FRAGMENTS || (all - live.min(all)) * DELETED_ROWS > all
}

/// Rewritten fragments that no version refers to yet.
pub(super) struct Compaction {
    options: CompactionOptions,
    results: Vec<RewriteResult>,
}

/// Rewrites small fragments and those with many deleted rows into large ones, one group at a time.
/// `None` when there is nothing worth it.
pub(super) async fn prepare_compaction(dataset: &Dataset) -> Result<Option<Compaction>, StoreError> {
    let options = CompactionOptions {
        target_rows_per_fragment: ROWS_PER_FRAGMENT,
        batch_size: Some(COMPACTION_BATCH_ROWS),
        num_threads: Some(1),
        ..CompactionOptions::default()
    };
    let plan: CompactionPlan = plan_compaction(dataset, &options).await?;
    let mut results = Vec::with_capacity(plan.num_tasks());
    for task in plan.compaction_tasks() {
        results.push(task.execute(dataset).await?);
    }
    Ok((!results.is_empty()).then_some(Compaction { options: plan.options().clone(), results }))
}

/// Makes prepared fragments the dataset's next version.
pub(super) async fn commit_prepared(mut dataset: Dataset, compaction: Compaction) -> Result<Dataset, StoreError> {
    // No index, so no index to remap.
    let remap = Arc::new(IgnoreRemap::default());
    commit_compaction(&mut dataset, compaction.results, remap, &compaction.options).await?;
    Ok(dataset)
}

/// Removes all versions but the newest and those with a tag, and every file that none of them refers to, those of killed
/// writers included: only for the writer, which holds the lock.
pub(super) async fn remove_old_versions(dataset: &Dataset) -> Result<(), StoreError> {
    let policy = CleanupPolicyBuilder::default().delete_unverified(true).error_if_tagged_old_versions(false);
    let policy = policy.retain_n_versions(dataset, 1).await?;
    dataset.cleanup_with_policy(policy.build()).await?;
    Ok(())
}

/// The files of a version, relative to the dataset's folder.
pub(super) async fn files_of_version(dataset: &Dataset) -> Result<Vec<String>, StoreError> {
    let only = TrackedFilesOptions { min_version: Some(dataset.version_id()), progress: None };
    let mut batches = dataset.tracked_files_with_options(only).await;
    let mut files = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(lance::Error::from)?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| unlisted(name));
        let versions = column("version")?.as_primitive_opt::<Int64Type>().ok_or_else(|| unlisted("version"))?;
        let paths = column("path")?.as_string_opt::<i32>().ok_or_else(|| unlisted("path"))?;
        let of_version = |row: &usize| u64::try_from(versions.value(*row)) == Ok(dataset.version_id());
        files.extend((0..batch.num_rows()).filter(of_version).map(|row| paths.value(row).to_owned()));
    }
    Ok(files)
}

fn unlisted(column: &str) -> StoreError {
    StoreError::Damaged(format!("lance's list of files has no column {column}"))
}

/// Bytes on disk that the dataset's version needs; the dataset is in `folder`.
pub(super) async fn live_bytes(dataset: &Dataset, folder: &Path) -> Result<u64, StoreError> {
    let bytes = |file: &String| fs::metadata(folder.join(file)).map_or(0, |metadata| metadata.len());
    Ok(files_of_version(dataset).await?.iter().map(bytes).sum())
}

/// Flushes everything written to the file system that `folder` is on.
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    flush_file_system(&folder)
}

#[cfg(target_os = "linux")]
fn flush_file_system(folder: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for the whole call, and syncfs touches no memory of ours.
    match unsafe { libc::syncfs(folder.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn flush_file_system(_folder: &File) -> io::Result<()> {
    // SAFETY: sync takes and returns nothing.
    unsafe { libc::sync() };
    Ok(())
}

/// What the store says of itself.
pub(super) fn stats<'r>(
    dataset: &Dataset,
    records: impl Iterator<Item = &'r DocumentRecord> + Clone,
    folder: &Path,
    index_state: String,
) -> io::Result<CorpusStats> {
    Ok(CorpusStats {
        documents: records.clone().filter(|record| record.was_read()).count() as u64,
        pages: records.clone().map(|record| u64::from(record.pages)).sum(),
        chunks: records.map(|record| u64::from(record.chunks)).sum(),
        dataset_version: dataset.version_id(),
        bytes: bytes_below(folder)?,
        fragments: dataset.count_fragments() as u64,
        index_state,
        undone: Vec::new(),
    })
}

/// Bytes of all files below `folder`; files that vanish meanwhile count as nothing.
pub(super) fn bytes_below(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path())?,
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
