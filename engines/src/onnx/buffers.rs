//! The inputs of a run of the graph.

use ort::session::SessionInputValue;
use ort::value::TensorRef;

use super::graph::Input;

/// What the graph reads at once: a text, or two of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// Token ids.
    pub(super) ids: &'a [u32],
    /// Which of the texts each token is of: 0 or 1. Behind its end all are of the first.
    pub(super) types: &'a [u32],
}

/// The inputs of a run, `[batch, sequence]`, padded on the right. Their memory is kept between runs.
#[derive(Default)]
pub(super) struct Buffers {
    shape: [usize; 2],
    ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
    mask: Vec<i64>,
    types: Vec<i64>,
}

impl Buffers {
    /// Takes in the rows, each padded to the longest, whose length it returns.
    pub(super) fn fill(&mut self, rows: &[Row], pad_id: u32) -> usize {
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or_default();
        self.shape = [rows.len(), longest];
        self.ids.clear();
        self.mask.clear();
        self.types.clear();
        for row in rows {
            let end = self.ids.len() + longest;
            self.ids.extend(row.ids.iter().map(|&id| i64::from(id)));
            self.mask.resize(self.ids.len(), 1);
            self.types.extend(row.types.iter().map(|&text| i64::from(text)));
            self.ids.resize(end, i64::from(pad_id));
            self.mask.resize(end, 0);
            self.types.resize(end, 0);
        }
        longest
    }

    /// What the graph wants of it, by name.
    pub(super) fn tensors(&self, inputs: &[Input]) -> ort::Result<Vec<(&'static str, SessionInputValue<'_>)>> {
        let tensor = |&input: &Input| {
            let data = match input {
                Input::Ids => &self.ids,
                Input::Mask => &self.mask,
                Input::Types => &self.types,
            };
            Ok((input.name(), TensorRef::from_array_view((self.shape, data.as_slice()))?.into()))
        };
        inputs.iter().map(tensor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_on_the_right_and_the_padding_is_masked() {
        let mut buffers = Buffers::default();
        let (pair, single) = (Row { ids: &[7, 8, 9], types: &[0, 1, 1] }, Row { ids: &[5], types: &[] });
        assert_eq!(buffers.fill(&[pair, single], 1), 3);
        assert_eq!(buffers.ids, [7, 8, 9, 5, 1, 1]);
        assert_eq!(buffers.mask, [1, 1, 1, 1, 0, 0]);
        assert_eq!(buffers.types, [0, 1, 1, 0, 0, 0]);
        assert_eq!(buffers.fill(&[single], 1), 1);
        assert_eq!((buffers.ids, buffers.mask, buffers.types), (vec![5], vec![1], vec![0]));
    }
}
