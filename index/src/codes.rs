//! Vectors as whole numbers of 16 bits, in two halves: the upper ones are compared with every question, the lower ones make the
//! best of them exact.
//!
//! A vector's largest value becomes 32,767 or -32,767, so each value is off by at most one part in 65,534 of the largest, and
//! the cosine of two vectors by some millionths.

use crate::dot::PADDING;

/// What is added to a value so that it is never negative: half of 2^16.
const MIDDLE: f32 = 32_768.0;
/// An upper half alone stands for the middle of the 256 numbers it begins, this far above half of 2^8.
const UPPER_MIDDLE: f32 = 127.5;

/// How many bytes the upper halves of a vector take.
pub(crate) fn width(dimension: usize) -> usize {
    dimension.next_multiple_of(PADDING)
}

/// Splits `vector` into `upper` and `lower` halves, which have its length or more; gives what one step is worth.
pub(crate) fn encode(vector: &[f32], upper: &mut [u8], lower: &mut [u8]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let step = largest / 32_767.0;
    let per_step = if step > 0.0 { 1.0 / step } else { 0.0 };
    for ((value, upper), lower) in vector.iter().zip(&mut *upper).zip(lower) {
        let code = (value * per_step).round() + MIDDLE;
        [*lower, *upper] = (code as u16).to_le_bytes();
    }
    // Padding meets zeros of a question: it may be anything.
    upper[vector.len()..].fill(128);
    step
}

/// The values of a vector again.
pub(crate) fn decode(upper: &[u8], lower: &[u8], step: f32) -> Vec<f32> {
    let value = |(&upper, &lower): (&u8, &u8)| (f32::from(u16::from_le_bytes([lower, upper])) - MIDDLE) * step;
    upper.iter().zip(lower).map(value).collect()
}

/// Adds a vector to one of the same length.
pub fn add(sum: &mut [f32], vector: &[f32]) {
    for (sum, number) in sum.iter_mut().zip(vector) {
        *sum += number;
    }
}

/// Product of two vectors of the same length.
#[must_use]
pub fn product(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// A question's vector as whole numbers of 8 bits.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) values: Vec<i8>,
    /// What the product with a code of upper halves has too much, and what one of it is worth.
    excess: f32,
    step: f32,
}

impl Probe {
    pub(crate) fn new(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let step = largest / 127.0;
        let per_step = if step > 0.0 { 1.0 / step } else { 0.0 };
        let mut values: Vec<i8> = vector.iter().map(|value| (value * per_step).round() as i8).collect();
        values.resize(width(vector.len()), 0);
        Self::of(values, 256.0 * step)
    }

    /// The probe of a vector that is a code itself; its own length is left out.
    pub(crate) fn of_code(upper: &[u8], dimension: usize) -> Self {
        let mut values: Vec<i8> = upper.iter().map(|&code| (code ^ 0x80) as i8).collect();
        values[dimension..].fill(0);
        Self::of(values, 1.0)
    }

    fn of(values: Vec<i8>, step: f32) -> Self {
        let sum: i32 = values.iter().map(|&value| i32::from(value)).sum();
        Self { values, excess: UPPER_MIDDLE * sum as f32, step }
    }

    /// The likeness of a vector, out of the product with its upper halves and what a step of it is worth.
    #[inline]
    pub(crate) fn likeness(&self, product: i32, step: f32) -> f32 {
        (product as f32 - self.excess) * step * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::Kernel;

    fn wave(dimension: usize, phase: f32) -> Vec<f32> {
        let vector: Vec<f32> = (0..dimension).map(|at| (at as f32 * 0.7 + phase).sin()).collect();
        let length = product(&vector, &vector).sqrt();
        vector.iter().map(|value| value / length).collect()
    }

    #[test]
    fn a_vector_comes_back_almost_as_it_was() {
        for dimension in [2, 100, 384] {
            let vector = wave(dimension, 0.3);
            let (mut upper, mut lower) = (vec![0; width(dimension)], vec![0; dimension]);
            let step = encode(&vector, &mut upper, &mut lower);
            let again = decode(&upper, &lower, step);
            let cosine = product(&vector, &again);
            assert!(again.len() == dimension && (cosine - 1.0).abs() < 1e-5, "{cosine}");
        }
    }

    #[test]
    fn upper_halves_alone_tell_likeness_to_a_hundredth() {
        let (a, b) = (wave(384, 0.3), wave(384, 1.1));
        let (mut upper, mut lower) = (vec![0; 384], vec![0; 384]);
        let step = encode(&a, &mut upper, &mut lower);
        let probe = Probe::new(&b);
        let mut products = [0];
        Kernel::of_processor().products(&upper, &probe.values, &mut products);
        let (found, exact) = (probe.likeness(products[0], step), product(&a, &b));
        assert!((found - exact).abs() < 0.01, "{found} {exact}");
    }

    #[test]
    fn a_vector_of_zeros_stays_one() {
        let (mut upper, mut lower) = (vec![0; 64], vec![0; 2]);
        let step = encode(&[0.0, 0.0], &mut upper, &mut lower);
        assert_eq!((step, decode(&upper, &lower, step)), (0.0, vec![0.0, 0.0]));
    }
}
