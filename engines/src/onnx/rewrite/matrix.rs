//! The constant matrices that a graph multiplies with.

use super::proto::{FLOAT, NodeProto, TensorProto};
use super::view::{View, orders};

/// Weights in eight bits: `[rows, columns]`, each column with a factor of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Int8Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Row by row.
    pub(super) numbers: Vec<i8>,
    /// One a column.
    pub(super) factors: Vec<f32>,
}

impl Int8Matrix {
    /// `float(int8 constant) · factors`, as the shipped model stores its weights; `None` when the value is made in another way.
    pub(super) fn of(view: &View<'_>, value: &str) -> Option<Self> {
        let product = view.made_by(value, "Mul")?;
        let (cast, factors) = orders(product)
            .into_iter()
            .find_map(|(cast, factors)| Some((view.made_by(cast, "Cast")?, view.constant(factors)?)))?;
        let tensor = view.constant(&cast.inputs[0]).filter(|_| casts_to_float(cast))?;
        let (rows, columns) = size(tensor)?;
        let numbers = tensor.to_bytes().filter(|numbers| numbers.len() == rows * columns)?;
        let factors = match (factors.dims.as_slice(), factors.to_floats()?) {
            ([] | [1], one) if one.len() == 1 => vec![one[0]; columns],
            ([_] | [1, _], each) if each.len() == columns => each,
            _ => return None,
        };
        Some(Self { rows, columns, numbers, factors })
    }
}

/// Columns of the constant matrix by that name.
pub(super) fn columns(view: &View<'_>, value: &str) -> Option<usize> {
    if let Some(tensor) = view.constant(value) {
        return size(tensor).map(|(_, columns)| columns);
    }
    let product = view.made_by(value, "Mul")?;
    let cast = product.inputs.iter().find_map(|input| view.made_by(input, "Cast"))?;
    size(view.constant(&cast.inputs[0])?).map(|(_, columns)| columns)
}

fn casts_to_float(cast: &NodeProto) -> bool {
    cast.attribute("to").and_then(|to| to.int) == Some(FLOAT.into())
}

fn size(tensor: &TensorProto) -> Option<(usize, usize)> {
    match *tensor.dims.as_slice() {
        [rows, columns] if rows > 0 && columns > 0 => Some((rows.try_into().ok()?, columns.try_into().ok()?)),
        _ => None,
    }
}
