//! Units into chunks: full ones, cut at the best place near their end.

use std::ops::Range;

use super::units::{Cut, Unit};
use super::words::SPACED_BYTES_PER_TOKEN;

/// Part of the target that a chunk holds before a better place for a cut counts more than a fuller chunk.
const LEAST_FILL: f64 = 0.6;
/// A last chunk below this part of the target joins the one before it.
const SMALL_REST: f64 = 0.25;
/// Widest white space that a chunk reaches over, in bytes: what stands further apart does not belong together.
const MAX_GAP_BYTES: usize = 200;

/// Lengths in tokens, special tokens not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub target: usize,
    pub limit: usize,
    pub overlap: usize,
}

impl Budget {
    fn part(&self, share: f64) -> usize {
        (self.target as f64 * share) as usize
    }

    /// Whether a chunk of these units is not too long in bytes, with the white space between them.
    fn holds(&self, units: &[Unit]) -> bool {
        let bytes = units.last().map_or(0, |last| last.range.end - units[0].range.start);
        bytes <= self.target * SPACED_BYTES_PER_TOKEN
    }
}

/// Byte ranges of the chunks, with ascending starts and ends. No unit may be heavier than the target, nor too long by itself.
pub(super) fn pack(units: &[Unit], budget: Budget) -> Vec<Range<usize>> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    // The first unit that is in no chunk yet.
    let mut fresh = 0;
    while fresh < units.len() {
        let start = chunks.last().map_or(fresh, |chunk| repeated(units, chunk.clone(), budget));
        fresh = cut(units, start, fresh, budget);
        chunks.push(start..fresh);
    }
    join_small_rest(units, &mut chunks, budget);
    chunks.into_iter().map(|chunk| units[chunk.start].range.start..units[chunk.end - 1].range.end).collect()
}

/// Where a chunk that begins at `start` ends: behind `fresh`, which fits.
fn cut(units: &[Unit], start: usize, fresh: usize, budget: Budget) -> usize {
    let mut weight = units[start..fresh].iter().map(|unit| unit.weight).sum::<usize>();
    let mut best = fresh + 1;
    let mut best_cut = None;
    for (index, unit) in units.iter().enumerate().skip(fresh) {
        weight += unit.weight;
        let only_headings = best_cut == Some(Cut::Heading) || index == fresh;
        if weight > budget.target && !(only_headings && weight <= budget.limit) {
            return best;
        }
        if index > fresh && (is_apart(units, index) || !budget.holds(&units[start..=index])) {
            return best;
        }
        let full_enough = weight >= budget.part(LEAST_FILL);
        let cut = if full_enough { unit.cut } else { unit.cut.min(Cut::Word) };
        if best_cut.is_none_or(|best_cut| cut >= best_cut) {
            (best, best_cut) = (index + 1, Some(cut));
        }
    }
    units.len()
}

/// Whether the unit stands far from the one before it.
fn is_apart(units: &[Unit], unit: usize) -> bool {
    units[unit].range.start - units[unit - 1].range.end > MAX_GAP_BYTES
}

/// Where the chunk after `chunk` begins, so that it repeats whole units of at most `overlap` tokens and still has room
/// for a new one.
fn repeated(units: &[Unit], chunk: Range<usize>, budget: Budget) -> usize {
    let room = budget.overlap.min(budget.target.saturating_sub(units[chunk.end].weight));
    let mut weight = 0;
    let mut start = chunk.end;
    while start > chunk.start + 1 && weight + units[start - 1].weight <= room {
        if is_apart(units, start) || !budget.holds(&units[start - 1..=chunk.end]) {
            break;
        }
        start -= 1;
        weight += units[start].weight;
    }
    start
}

fn join_small_rest(units: &[Unit], chunks: &mut Vec<Range<usize>>, budget: Budget) {
    let weight = |range: Range<usize>| units[range].iter().map(|unit| unit.weight).sum::<usize>();
    if let [.., before, rest] = chunks.as_slice() {
        let joined = before.start..rest.end;
        let is_near = !is_apart(units, before.end) && budget.holds(&units[joined.clone()]);
        if is_near && weight(rest.clone()) < budget.part(SMALL_REST) && weight(joined.clone()) <= budget.limit {
            chunks.truncate(chunks.len() - 2);
            chunks.push(joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of the given weights and cuts, each one byte long.
    fn units(list: &[(usize, Cut)]) -> Vec<Unit> {
        list.iter().enumerate().map(|(at, &(weight, cut))| Unit { range: at..at + 1, weight, cut }).collect()
    }

    const BUDGET: Budget = Budget { target: 10, limit: 14, overlap: 0 };

    #[test]
    fn a_paragraph_end_is_preferred_once_the_chunk_is_full_enough() {
        let units = units(&[(4, Cut::Sentence), (3, Cut::Paragraph), (2, Cut::Sentence), (8, Cut::Sentence)]);
        assert_eq!(pack(&units, BUDGET), [0..2, 2..4]);
    }

    #[test]
    fn a_heading_goes_with_what_follows() {
        let units = units(&[(8, Cut::Paragraph), (2, Cut::Heading), (7, Cut::Paragraph)]);
        assert_eq!(pack(&units, BUDGET), [0..1, 1..3]);
    }

    #[test]
    fn a_heading_is_not_left_behind_even_if_the_chunk_before_it_stays_short() {
        let units = units(&[(4, Cut::Paragraph), (2, Cut::Heading), (9, Cut::Paragraph)]);
        assert_eq!(pack(&units, BUDGET), [0..1, 1..3]);
    }

    #[test]
    fn a_small_rest_joins_the_chunk_before_it_up_to_the_limit() {
        assert_eq!(pack(&units(&[(9, Cut::Paragraph), (1, Cut::Sentence)]), BUDGET), vec![0..2]);
        assert_eq!(pack(&units(&[(9, Cut::Paragraph), (5, Cut::Sentence)]), BUDGET), [0..1, 1..2]);
    }

    #[test]
    fn a_chunk_ends_before_a_wide_gap_and_before_it_becomes_too_long() {
        let spaced = |gap: usize, count: usize| {
            let unit = |at: usize| Unit { range: at * (gap + 1)..at * (gap + 1) + 1, weight: 0, cut: Cut::Paragraph };
            (0..count).map(unit).collect::<Vec<_>>()
        };
        assert_eq!(pack(&spaced(MAX_GAP_BYTES, 3), BUDGET), vec![0..2 * MAX_GAP_BYTES + 3]);
        for budget in [BUDGET, Budget { overlap: 3, ..BUDGET }] {
            assert_eq!(pack(&spaced(MAX_GAP_BYTES + 1, 3), budget).len(), 3);
            let chunks = pack(&spaced(99, 100), budget);
            assert!(chunks.iter().all(|chunk| chunk.len() <= BUDGET.target * SPACED_BYTES_PER_TOKEN), "{chunks:?}");
        }
    }

    #[test]
    fn overlap_repeats_whole_units_and_leaves_room_for_a_new_one() {
        let units = units(&[(3, Cut::Sentence); 6]);
        let chunks = pack(&units, Budget { overlap: 3, ..BUDGET });
        assert_eq!(chunks, [0..3, 2..5, 4..6]);
        assert_eq!(pack(&units, Budget { overlap: 100, ..BUDGET }), [0..3, 1..4, 2..5, 3..6]);
        let large = super::tests::units(&[(5, Cut::Sentence), (5, Cut::Sentence), (9, Cut::Sentence)]);
        assert_eq!(pack(&large, Budget { overlap: 5, ..BUDGET }), [0..2, 2..3]);
    }
}
