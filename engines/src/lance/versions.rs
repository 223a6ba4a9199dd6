//! Versions of the store: what each changed, the names that keep them, and going back to one.
//!
//! Every commit is a version. `finish` removes all but the newest and those with a tag; it tags the end of each ingest
//! itself (`sync-12` for version 12) and keeps the last few of these, as far as the disk they hold is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use lance::Dataset;
use lance::dataset::transaction::{Operation, Transaction};
use serde::Serialize;

use super::commit::CHANGE;
use super::error::StoreError;

/// Tags of this program's own begin so.
const SYNC: &str = "sync-";

/// A version that can be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreVersion {
    /// Its number; grows with every commit.
    pub version: u64,
    /// When it was committed, in UTC: `2026-05-04T09:30:00Z`.
    pub time: String,
    /// What it changed, for people.
    pub change: String,
    /// Its names.
    pub tags: Vec<String>,
}

/// The newest `limit` versions, the newest first.
pub(super) async fn history(dataset: &Dataset, limit: usize) -> Result<Vec<StoreVersion>, StoreError> {
    let mut tags = tags_by_version(dataset).await?;
    let mut history = Vec::new();
    for version in dataset.version_refs().await?.iter().rev().take(limit) {
        let read = dataset.read_version_transaction(version.version).await?;
        history.push(StoreVersion {
            version: version.version,
            time: read.timestamp.to_rfc3339().chars().take("2026-05-04T09:30:00".len()).chain(['Z']).collect(),
            change: read.transaction.as_ref().map_or_else(|| "unknown".into(), describe),
            tags: tags.remove(&version.version).unwrap_or_default(),
        });
    }
    Ok(history)
}

fn describe(transaction: &Transaction) -> String {
    let said = transaction.transaction_properties.as_ref().and_then(|properties| properties.get(CHANGE));
    match (said, &transaction.operation) {
        (Some(change), _) => change.clone(),
        (None, Operation::Rewrite { .. }) => "merged small files".into(),
        (None, Operation::ReserveFragments { .. }) => "made ready to merge small files".into(),
        (None, Operation::Restore { version }) => format!("rolled back to version {version}"),
        (None, Operation::Overwrite { .. }) => "made empty".into(),
        (None, other) => other.to_string(),
    }
}

async fn tags_by_version(dataset: &Dataset) -> Result<BTreeMap<u64, Vec<String>>, StoreError> {
    let mut tags: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (name, tag) in dataset.tags().list().await? {
        tags.entry(tag.version).or_default().push(name);
    }
    tags.values_mut().for_each(|names| names.sort());
    Ok(tags)
}

/// Gives the dataset's version a name, which another version may have had until then.
///
/// # Errors
/// [`StoreError::Refused`] for a name that Lance does not allow, or that belongs to this program.
pub(super) async fn tag(dataset: &Dataset, name: &str) -> Result<(), StoreError> {
    if name.starts_with(SYNC) || name.parse::<u64>().is_ok() {
        let reason = format!("{name:?} cannot be a tag: numbers and names that begin with {SYNC:?} are taken");
        return Err(StoreError::Refused(reason));
    }
    lance::dataset::refs::check_valid_tag(name).map_err(|_| {
        StoreError::Refused(format!("{name:?} cannot be a tag: use letters, digits, '-', '_' and single dots within"))
    })?;
    if dataset.tags().list().await?.contains_key(name) {
        return Ok(dataset.tags().update(name, dataset.version_id()).await?);
    }
    Ok(dataset.tags().create(name, dataset.version_id()).await?)
}

/// Takes a name away.
///
/// # Errors
/// [`StoreError::Refused`] when no version has it.
pub(super) async fn untag(dataset: &Dataset, name: &str) -> Result<(), StoreError> {
    if !dataset.tags().list().await?.contains_key(name) {
        return Err(StoreError::Refused(format!("no version has the tag {name:?}")));
    }
    Ok(dataset.tags().delete(name).await?)
}

/// The version that a number or a tag means.
///
/// # Errors
/// [`StoreError::Refused`] when there is none, with those there are.
pub(super) async fn find(dataset: &Dataset, reference: &str) -> Result<u64, StoreError> {
    let tags = dataset.tags().list().await?;
    if let Some(tag) = tags.get(reference) {
        return Ok(tag.version);
    }
    let versions: Vec<u64> = dataset.version_refs().await?.iter().map(|version| version.version).collect();
    let asked = reference.parse().ok().filter(|version| versions.contains(version));
    asked.ok_or_else(|| {
        StoreError::Refused(format!("there is no version {reference:?}: `mentor history` lists those that are kept"))
    })
}

/// Makes a former version the newest one once more.
pub(super) async fn restore(dataset: &Dataset, version: u64) -> Result<Dataset, StoreError> {
    let mut former = dataset.checkout_version(version).await?;
    former.restore().await?;
    Ok(former)
}

/// Tags the dataset's version as the end of an ingest, and lets go of all such tags but the newest `keep` before it.
pub(super) async fn keep_last(dataset: &Arc<Dataset>, keep: usize) -> Result<(), StoreError> {
    let ends = ends_of_ingests(dataset).await?;
    if keep > 0 && !ends.contains(&dataset.version_id()) {
        dataset.tags().create(&sync_tag(dataset.version_id()), dataset.version_id()).await?;
    }
    let former: Vec<u64> = ends.into_iter().filter(|version| *version != dataset.version_id()).collect();
    for version in former.iter().rev().skip(keep) {
        dataset.tags().delete(&sync_tag(*version)).await?;
    }
    Ok(())
}

/// Lets go of the oldest end of an ingest before the newest version; says whether there was one.
pub(super) async fn let_go_of_oldest(dataset: &Arc<Dataset>) -> Result<bool, StoreError> {
    let ends = ends_of_ingests(dataset).await?;
    let Some(oldest) = ends.into_iter().find(|version| *version != dataset.version_id()) else { return Ok(false) };
    dataset.tags().delete(&sync_tag(oldest)).await?;
    Ok(true)
}

/// The versions with a tag of this program's own, ascending.
async fn ends_of_ingests(dataset: &Dataset) -> Result<Vec<u64>, StoreError> {
    let tags = dataset.tags().list().await?;
    let mut ends: Vec<u64> =
        tags.into_iter().filter(|(name, tag)| *name == sync_tag(tag.version)).map(|(_, tag)| tag.version).collect();
    ends.sort_unstable();
    Ok(ends)
}

fn sync_tag(version: u64) -> String {
    format!("{SYNC}{version}")
}
