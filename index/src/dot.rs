//! Products of codes: the hot loop of every search.
//!
//! With AVX-512 VNNI where the processor has it, else a loop that the compiler makes vectors of. Both give the same whole numbers.

/// Codes are padded to a multiple of so many bytes: one AVX-512 register.
pub(crate) const PADDING: usize = 64;

/// How products are computed on this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Kernel {
    pub(crate) fn of_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return Self::Vnni;
        }
        Self::Portable
    }

    /// The product of `query` with each of the rows that stand side by side in `codes`.
    ///
    /// `query` has a multiple of [`PADDING`] values, and `codes` as many for each of `products`.
    #[inline]
    pub(crate) fn products(self, codes: &[u8], query: &[i8], products: &mut [i32]) {
        assert!(query.len().is_multiple_of(PADDING) && codes.len() == query.len() * products.len());
        match self {
            Self::Portable => portable(codes, query, products),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the instructions, see `of_processor`; the lengths were looked at above.
            Self::Vnni => unsafe { vnni(codes, query, products) },
        }
    }
}

fn portable(codes: &[u8], query: &[i8], products: &mut [i32]) {
    for (row, product) in codes.chunks_exact(query.len().max(1)).zip(products) {
        *product = row.iter().zip(query).map(|(&code, &value)| i32::from(code) * i32::from(value)).sum();
    }
}

/// # Safety
/// The processor must have AVX-512 VNNI; `query` must have a multiple of 64 values, `codes` as many for each product.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn vnni(codes: &[u8], query: &[i8], products: &mut [i32]) {
    use std::arch::x86_64::{
        __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_reduce_add_epi32, _mm512_setzero_si512,
    };
    const ROWS: usize = 4;
    let width = query.len();
    let mut row = 0;
    // Four rows at a time: the query's values are loaded once for all of them.
    while row + ROWS <= products.len() {
        let mut sums = [_mm512_setzero_si512(); ROWS];
        let first = codes[row * width..(row + ROWS) * width].as_ptr();
        for at in (0..width).step_by(PADDING) {
            // SAFETY: `at + 64 <= width`, and the four rows were sliced above.
            let values = unsafe { _mm512_loadu_si512(query.as_ptr().add(at).cast::<__m512i>()) };
            for (number, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let row_codes = unsafe { _mm512_loadu_si512(first.add(number * width + at).cast::<__m512i>()) };
                *sum = _mm512_dpbusd_epi32(*sum, row_codes, values);
            }
        }
        for (number, sum) in sums.into_iter().enumerate() {
            products[row + number] = _mm512_reduce_add_epi32(sum);
        }
        row += ROWS;
    }
    portable(&codes[row * width..], query, &mut products[row..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_kernel_gives_what_the_portable_one_gives() {
        for (width, rows) in [(64, 1), (64, 4), (384, 11), (768, 7), (128, 0)] {
            let codes: Vec<u8> = (0..width * rows).map(|number| (number * 37 % 256) as u8).collect();
            let query: Vec<i8> = (0..width).map(|number| (number * 53 % 255) as i8).collect();
            let (mut expected, mut found) = (vec![0; rows], vec![0; rows]);
            portable(&codes, &query, &mut expected);
            Kernel::of_processor().products(&codes, &query, &mut found);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_largest_products_do_not_overflow() {
        let (codes, query) = ([255_u8; 1_024], [-128_i8; 1_024]);
        let mut found = [0];
        Kernel::of_processor().products(&codes, &query, &mut found);
        assert_eq!(found, [-255 * 128 * 1_024]);
    }
}
