//! The best few of very many rows.

/// Keeps the `capacity` rows with the highest scores that are offered; of equal ones those with lower numbers.
#[derive(Debug)]
pub(crate) struct Best {
    capacity: usize,
    /// No row below it is among the best.
    floor: f32,
    /// The best so far, and up to as many again that may be.
    kept: Vec<(f32, u32)>,
}

impl Best {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, floor: f32::NEG_INFINITY, kept: Vec::with_capacity(2 * capacity) }
    }

    /// Whether a row with this score could be among the best.
    #[inline]
    pub(crate) fn wants(&self, score: f32) -> bool {
        score >= self.floor && self.capacity > 0
    }

    /// Takes a row that is wanted.
    #[inline]
    pub(crate) fn take(&mut self, score: f32, row: u32) {
        self.kept.push((score, row));
        if self.kept.len() >= 2 * self.capacity {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.capacity {
            self.kept.select_nth_unstable_by(self.capacity - 1, order);
            self.kept.truncate(self.capacity);
            self.floor = self.kept[self.capacity - 1].0;
        }
    }

    /// Best first.
    pub(crate) fn into_sorted(mut self) -> Vec<(f32, u32)> {
        self.cut();
        self.kept.sort_unstable_by(order);
        self.kept
    }
}

fn order(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(capacity: usize, scores: &[f32]) -> Vec<u32> {
        let mut best = Best::new(capacity);
        for (row, &score) in (0..).zip(scores) {
            if best.wants(score) {
                best.take(score, row);
            }
        }
        best.into_sorted().into_iter().map(|(_, row)| row).collect()
    }

    #[test]
    fn the_best_come_first_and_of_equal_ones_the_first() {
        assert_eq!(best(3, &[0.1, 0.5, 0.9, 0.5, 0.5, 0.2, 0.0, 0.4]), [2, 1, 3]);
        assert_eq!(best(3, &[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]), [0, 1, 2]);
        assert_eq!(best(3, &[0.1]), [0]);
        assert!(best(0, &[0.1]).is_empty());
    }
}
