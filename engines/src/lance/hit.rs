//! A chunk as one question sees it, wherever it is kept.

use std::ops::Range;

use mentor_actors::domain::Passage;
use mentor_index::product;

use super::error::StoreError;

/// Chunks that one question was compared with.
pub(super) trait Scored {
    /// The chunk in a row.
    ///
    /// # Errors
    /// Those of the disk, where the chunk is there.
    fn hit(&self, row: usize) -> Result<Hit<'_>, StoreError>;
}

/// A chunk that was found, or stands beside one.
pub(super) struct Hit<'s> {
    pub(super) from: &'s dyn Scored,
    pub(super) row: usize,
    /// The rows of its document, or of a part of it.
    pub(super) run: Range<usize>,
    pub(super) score: f32,
    /// Of length 1.
    pub(super) vector: Vec<f32>,
    pub(super) passage: Passage,
}

impl<'s> Hit<'s> {
    /// The chunk `by` places on in the same document.
    pub(super) fn neighbour(&self, by: isize) -> Result<Option<Hit<'s>>, StoreError> {
        match self.row.checked_add_signed(by).filter(|row| self.run.contains(row)) {
            Some(row) => self.from.hit(row).map(Some),
            None => Ok(None),
        }
    }

    fn is_beside(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.from, other.from) && self.run == other.run
    }

    /// How many places behind `other` the chunk stands in the same document, negative before it.
    pub(super) fn places_behind(&self, other: &Self) -> Option<isize> {
        self.is_beside(other).then(|| self.row.wrapping_sub(other.row) as isize)
    }

    /// Whether both are on the same page, or under the same heading where there are no pages.
    pub(super) fn shares_place(&self, other: &Self) -> bool {
        let (one, other_one) = (&self.passage, &other.passage);
        self.is_beside(other) && one.page == other_one.page && (one.page.is_some() || one.section == other_one.section)
    }

    /// Cosine of the vectors of two chunks.
    pub(super) fn likeness(&self, other: &Self) -> f32 {
        product(&self.vector, &other.vector)
    }
}
