//! The rows a term stands in, as bytes: how far each is from the one before it, and how often the term stands there.
//!
//! A number is written seven bits at a time, the lowest first; all bytes but its last have the highest bit set. The distance
//! is doubled, and one more where a second number gives how often; that is once otherwise.

/// Rows of a term that is being read.
#[derive(Debug, Default)]
pub(super) struct EntryWriter {
    pub(super) bytes: Vec<u8>,
    /// Rows so far.
    pub(super) rows: u32,
    /// The next row that may come.
    next: u32,
}

impl EntryWriter {
    /// Adds a row, which is behind all former ones.
    pub(super) fn push(&mut self, row: u32, count: u32) {
        let distance = u64::from(row - self.next);
        self.number(distance << 1 | u64::from(count > 1));
        if count > 1 {
            self.number(u64::from(count));
        }
        self.next = row + 1;
        self.rows += 1;
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

/// The rows of a term, ascending, each with how often it stands there.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    next: u32,
}

impl<'a> Entries<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0 }
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Entries<'_> {
    type Item = (u32, u32);

    #[inline]
    fn next(&mut self) -> Option<(u32, u32)> {
        let number = self.number()?;
        // Rows only ascend: bytes that say otherwise are damaged, and nothing behind them is known.
        let row = self.next.checked_add(u32::try_from(number >> 1).ok()?)?;
        let count = if number & 1 == 1 { u32::try_from(self.number()?).ok()? } else { 1 };
        self.next = row.checked_add(1)?;
        Some((row, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let entries = [(0, 1), (1, 7), (63, 1), (64, 300), (1_000_000, 1), (u32::MAX - 1, 2)];
        let mut writer = EntryWriter::default();
        entries.iter().for_each(|(row, count)| writer.push(*row, *count));
        assert_eq!(Entries::of(&writer.bytes).collect::<Vec<_>>(), entries);
        assert_eq!(writer.rows, 6);
    }
}
