//! The best few of many, in an order that does not depend on where they are stored.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Something with a score; those of equal score are ordered by `key`, smaller first.
#[derive(Debug)]
pub(super) struct Candidate<K, T> {
    pub(super) score: f32,
    pub(super) key: K,
    pub(super) value: T,
}

impl<K: Ord, T> Ord for Candidate<K, T> {
    /// The better one is the greater.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.key.cmp(&self.key))
    }
}

impl<K: Ord, T> PartialOrd for Candidate<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> PartialEq for Candidate<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord, T> Eq for Candidate<K, T> {}

/// Keeps the best `capacity` of what is offered.
#[derive(Debug)]
pub(super) struct TopK<K, T> {
    capacity: usize,
    /// The worst on top.
    kept: BinaryHeap<Reverse<Candidate<K, T>>>,
}

impl<K: Ord, T> TopK<K, T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, kept: BinaryHeap::with_capacity(capacity + 1) }
    }

    /// Whether a candidate with this score could be kept; most cannot, and need not be made.
    pub(super) fn wants(&self, score: f32) -> bool {
        match self.kept.peek() {
            _ if !score.is_finite() => false,
            Some(Reverse(worst)) if self.kept.len() == self.capacity => score >= worst.score,
            _ => self.capacity > 0,
        }
    }

    pub(super) fn offer(&mut self, candidate: Candidate<K, T>) {
        self.kept.push(Reverse(candidate));
        if self.kept.len() > self.capacity {
            self.kept.pop();
        }
    }

    /// Best first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = Candidate<K, T>> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(capacity: usize, offered: &[(f32, &'static str)]) -> Vec<&'static str> {
        let mut top = TopK::new(capacity);
        for &(score, key) in offered {
            if top.wants(score) {
                top.offer(Candidate { score, key, value: () });
            }
        }
        top.into_sorted().map(|candidate| candidate.key).collect()
    }

    #[test]
    fn the_best_come_first_and_ties_go_by_key_in_any_order_of_arrival() {
        let mut offered = [(0.5, "d"), (0.9, "c"), (0.5, "b"), (0.5, "a"), (0.1, "e")];
        assert_eq!(best(3, &offered), ["c", "a", "b"]);
        offered.reverse();
        assert_eq!(best(3, &offered), ["c", "a", "b"]);
    }

    #[test]
    fn nothing_is_kept_without_room_and_no_score_that_is_not_a_number() {
        assert!(best(0, &[(0.5, "a")]).is_empty());
        assert_eq!(best(2, &[(f32::NAN, "a"), (0.5, "b")]), ["b"]);
    }
}
