//! Every row read once: records and chunks that belong together, vectors that can be compared.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, FixedSizeListArray, RecordBatch};
use futures_util::StreamExt as _;
use lance::Dataset;
use mentor_actors::domain::DocumentRecord;

use super::super::error::StoreError;
use super::super::{decode, schema};
use super::similar::Similar;
use super::{Finding, REBUILD};

const BATCH_ROWS: usize = 1_024;
/// Embedders give vectors of length 1; rounding moves it by far less.
const LENGTH_TOLERANCE: f32 = 0.01;
/// So many documents are named in a line.
const NAMED: usize = 5;

pub(super) async fn examine(dataset: &Dataset, dimension: usize) -> Result<Vec<Finding>, StoreError> {
    let mut rows = Rows { dimension, ..Rows::default() };
    let mut scan = dataset.scan();
    let columns = [schema::DOCUMENT_ID, schema::RECORD, schema::CHUNK_ID, schema::TEXT, schema::VECTOR];
    scan.scan_in_order(true).batch_size(BATCH_ROWS).project(&columns)?;
    let mut batches = scan.try_into_stream().await?;
    while let Some(batch) = batches.next().await {
        rows.read(&batch?)?;
    }
    Ok(rows.findings())
}

/// What was seen of the rows so far.
#[derive(Default)]
struct Rows {
    dimension: usize,
    records: Vec<DocumentRecord>,
    chunks: BTreeMap<String, u32>,
    chunk_ids: HashSet<u64>,
    doubled_ids: u64,
    vectors: BadVectors,
    similar: Similar,
}

#[derive(Default)]
struct BadVectors {
    missing: u64,
    not_finite: u64,
    zero: u64,
    not_unit: u64,
    /// Length of the store's vectors where it is not that of the identity.
    dimension: Option<usize>,
}

impl Rows {
    fn read(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.records.extend(decode::decode_records(batch)?.into_iter().map(|stored| stored.record));
        let (ids, records) = (decode::strings(batch, schema::DOCUMENT_ID)?, decode::strings(batch, schema::RECORD)?);
        let (chunk_ids, texts) = (decode::strings(batch, schema::CHUNK_ID)?, decode::strings(batch, schema::TEXT)?);
        let vectors = batch.column_by_name(schema::VECTOR).and_then(|column| column.as_fixed_size_list_opt());
        let vectors = vectors.ok_or_else(|| decode::lacks(schema::VECTOR))?;
        for row in (0..batch.num_rows()).filter(|row| records.is_null(*row)) {
            let id = ids.value(row);
            match self.chunks.get_mut(id) {
                Some(count) => *count += 1,
                None => drop(self.chunks.insert(id.to_owned(), 1)),
            }
            let mut hasher = DefaultHasher::new();
            (id, chunk_ids.value(row)).hash(&mut hasher);
            self.doubled_ids += u64::from(!self.chunk_ids.insert(hasher.finish()));
            self.similar.add(id, texts.value(row));
            self.vectors.look_at(vectors, row, self.dimension);
        }
        Ok(())
    }

    fn findings(self) -> Vec<Finding> {
        let mut findings = self.vectors.findings(self.dimension);
        let mut wrong = |documents: Vec<&str>, what: &str| {
            if !documents.is_empty() {
                let named = documents.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
                let more = if documents.len() > NAMED { ", ..." } else { "" };
                findings.push(Finding::problem("documents", format!("{what}: {named}{more}"), REBUILD));
            }
        };
        let known: HashSet<&str> = self.records.iter().map(|record| record.id.0.as_str()).collect();
        wrong(
            self.chunks.keys().map(String::as_str).filter(|id| !known.contains(id)).collect(),
            "passages without a record",
        );
        let count = |record: &&DocumentRecord| self.chunks.get(&record.id.0).copied().unwrap_or(0) != record.chunks;
        let ids = |records: Vec<&DocumentRecord>| -> Vec<String> {
            records.into_iter().map(|record| record.id.0.clone()).collect()
        };
        let miscounted = ids(self.records.iter().filter(count).collect());
        wrong(miscounted.iter().map(String::as_str).collect(), "other passages than the record counts");
        let mut seen = HashSet::new();
        let doubled = ids(self.records.iter().filter(|record| !seen.insert(&record.id)).collect());
        wrong(doubled.iter().map(String::as_str).collect(), "more than one record");
        if self.doubled_ids > 0 {
            findings.push(Finding::problem(
                "documents",
                format!("{} passages are there twice", self.doubled_ids),
                REBUILD,
            ));
        }
        findings.extend(self.similar.findings());
        findings
    }
}

impl BadVectors {
    fn look_at(&mut self, vectors: &FixedSizeListArray, row: usize, dimension: usize) {
        if vectors.is_null(row) {
            self.missing += 1;
            return;
        }
        let vector = vectors.value(row);
        if vector.len() != dimension {
            self.dimension = Some(vector.len());
        }
        let Some(values) = vector.as_primitive_opt::<Float32Type>() else {
            self.missing += 1;
            return;
        };
        let length = values.values().iter().map(|value| value * value).sum::<f32>().sqrt();
        match length {
            _ if values.null_count() > 0 || !length.is_finite() => self.not_finite += 1,
            0.0 => self.zero += 1,
            _ if (length - 1.0).abs() > LENGTH_TOLERANCE => self.not_unit += 1,
            _ => {}
        }
    }

    fn findings(&self, dimension: usize) -> Vec<Finding> {
        let counted = [
            (self.missing, "have no vector"),
            (self.not_finite, "have a vector with values that are no numbers"),
            (self.zero, "have a vector of zeros, which nothing finds"),
            (self.not_unit, "have a vector whose length is not 1, so that their scores are wrong"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let mut findings: Vec<Finding> = counted
            .map(|(count, what)| Finding::problem("vectors", format!("{count} passages {what}"), "mentor re-embed"))
            .collect();
        if let Some(stored) = self.dimension {
            let message = format!("the vectors have {stored} dimensions, but the store says {dimension}");
            findings.push(Finding::problem("vectors", message, REBUILD));
        }
        findings
    }
}
