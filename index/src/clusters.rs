//! The lists that like vectors are kept in: spherical k-means over a sample (Dhillon and Modha, "Concept Decompositions for Large
//! Sparse Text Data Using Clustering", 2001), computed with the same whole numbers as a search.

use std::thread;

use crate::best::Best;
use crate::codes::{self, Probe};
use crate::dot::Kernel;
use crate::mapped::Numbers;

/// Rounds of k-means: later ones move few rows.
const ROUNDS: usize = 6;
/// Rows of the sample for each list: more make the centres hardly better.
pub(crate) const SAMPLE_PER_LIST: usize = 32;

/// The centres of the lists, as codes of upper halves.
#[derive(Debug)]
pub(crate) struct Clusters {
    pub(crate) dimension: usize,
    pub(crate) centres: Numbers<u8>,
    /// What one step of a centre's code is worth.
    pub(crate) steps: Numbers<f32>,
}

impl Clusters {
    /// Finds `lists` centres for the codes in `sample`, of which there must be as many or more.
    pub(crate) fn train(sample: &[u8], dimension: usize, lists: usize, threads: usize) -> Self {
        let width = codes::width(dimension);
        let rows = sample.len() / width;
        let mut clusters = Self::of(dimension, lists, |list, sum| add(sum, row_of(sample, width, list * rows / lists)));
        for _ in 0..ROUNDS {
            let nearest = clusters.assign(sample, threads);
            let mut sums = vec![0.0_f32; lists * dimension];
            let mut counts = vec![0_u32; lists];
            for (row, &list) in nearest.iter().enumerate() {
                add(&mut sums[list as usize * dimension..][..dimension], row_of(sample, width, row));
                counts[list as usize] += 1;
            }
            let mut stray = 0;
            clusters = Self::of(dimension, lists, |list, sum| match counts[list] {
                // An empty list begins anew at another row.
                0 => {
                    stray += 7_919;
                    add(sum, row_of(sample, width, stray % rows));
                }
                _ => sum.copy_from_slice(&sums[list * dimension..][..dimension]),
            });
        }
        clusters
    }

    /// Centres in the direction of what `fill` puts into each.
    fn of(dimension: usize, lists: usize, mut fill: impl FnMut(usize, &mut [f32])) -> Self {
        let width = codes::width(dimension);
        let (mut centres, mut steps) = (vec![0; lists * width], Vec::with_capacity(lists));
        let mut lower = vec![0; dimension];
        for list in 0..lists {
            let mut centre = vec![0.0; dimension];
            fill(list, &mut centre);
            let length = codes::product(&centre, &centre).sqrt().max(f32::MIN_POSITIVE);
            centre.iter_mut().for_each(|value| *value /= length);
            steps.push(codes::encode(&centre, &mut centres[list * width..][..width], &mut lower));
        }
        Self { dimension, centres: Numbers::Held(centres), steps: Numbers::Held(steps) }
    }

    pub(crate) fn count(&self) -> usize {
        self.steps.len()
    }

    /// The list of each of the rows whose codes stand in `upper`.
    pub(crate) fn assign(&self, upper: &[u8], threads: usize) -> Vec<u32> {
        let width = codes::width(self.dimension);
        let mut nearest = vec![0; upper.len() / width];
        let share = nearest.len().div_ceil(threads.max(1)).max(1);
        thread::scope(|scope| {
            for (nearest, upper) in nearest.chunks_mut(share).zip(upper.chunks(share * width)) {
                scope.spawn(move || self.assign_here(upper, width, nearest));
            }
        });
        nearest
    }

    fn assign_here(&self, upper: &[u8], width: usize, nearest: &mut [u32]) {
        let (kernel, mut products) = (Kernel::of_processor(), vec![0; self.count()]);
        for (row, nearest) in upper.chunks_exact(width).zip(nearest) {
            let probe = Probe::of_code(row, self.dimension);
            kernel.products(&self.centres, &probe.values, &mut products);
            let mut best = f32::NEG_INFINITY;
            for (list, (&product, &step)) in (0..).zip(products.iter().zip(&*self.steps)) {
                let likeness = probe.likeness(product, step);
                if likeness > best {
                    (best, *nearest) = (likeness, list);
                }
            }
        }
    }

    /// The lists with the nearest centres, nearest first.
    pub(crate) fn nearest(&self, probe: &Probe, count: usize) -> Vec<usize> {
        let mut products = vec![0; self.count()];
        Kernel::of_processor().products(&self.centres, &probe.values, &mut products);
        let mut best = Best::new(count.min(self.count()));
        for (list, (&product, &step)) in (0..).zip(products.iter().zip(&*self.steps)) {
            let likeness = probe.likeness(product, step);
            if best.wants(likeness) {
                best.take(likeness, list);
            }
        }
        best.into_sorted().into_iter().map(|(_, list)| list as usize).collect()
    }
}

fn row_of(codes: &[u8], width: usize, row: usize) -> &[u8] {
    &codes[row * width..(row + 1) * width]
}

/// Adds the direction of a row to `sum`.
fn add(sum: &mut [f32], row: &[u8]) {
    let value = |code: &u8| f32::from(*code) - 127.5;
    let length = row[..sum.len()].iter().map(|code| value(code) * value(code)).sum::<f32>().sqrt();
    sum.iter_mut().zip(row).for_each(|(sum, code)| *sum += value(code) / length);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows near one of four corners, in turn.
    fn corners(rows: usize) -> Vec<u8> {
        let mut upper = Vec::new();
        for row in 0..rows {
            let mut vector = vec![0.01 * (row % 5) as f32; 8];
            vector[row % 4] = 1.0;
            let (mut high, mut low) = (vec![0; codes::width(8)], vec![0; 8]);
            codes::encode(&vector, &mut high, &mut low);
            upper.extend(high);
        }
        upper
    }

    #[test]
    fn like_rows_come_into_one_list_whatever_the_number_of_threads() {
        let upper = corners(401);
        let clusters = Clusters::train(&upper, 8, 4, 1);
        let lists = clusters.assign(&upper, 1);
        assert!((4..401).all(|row| lists[row] == lists[row % 4]));
        assert!((0..4).all(|a| (0..a).all(|b| lists[a] != lists[b])), "{:?}", &lists[..4]);
        assert_eq!(lists, Clusters::train(&upper, 8, 4, 3).assign(&upper, 3));
    }
}
