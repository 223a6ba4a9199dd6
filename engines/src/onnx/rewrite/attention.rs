//! Attention over several heads, in one node instead of twenty.
//!
//! ```text
//! queries ─ split into heads ─ · √scale ─┐
//! keys ──── split into heads ─ · √scale ─┴ product ─ + mask ─ softmax ─┐
//! values ── split into heads ─────────────────────────────────────────┴ product ─ join heads
//! ```
//! The mask stays what the graph makes of its inputs.

use super::matrix;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::view::{Edit, View, orders};

/// `[batch, tokens, heads, size]` to `[batch, heads, tokens, size]`, and back.
const SWAP_HEADS: [i64; 4] = [0, 2, 1, 3];

pub(super) fn find(view: &View<'_>) -> Vec<Edit> {
    let edit = |(at, last): (usize, &NodeProto)| {
        let (node, constants) = Attention::ending_in(view, last)?.into_node(last.outputs.clone());
        Some(Edit { at, with: vec![node], constants })
    };
    view.nodes().filter_map(edit).collect()
}

struct Attention {
    /// Queries, keys, values: `[batch, tokens, heads · size]`, the bias not added yet.
    inputs: [String; 3],
    /// Of all three, one after the other.
    bias: Option<Vec<f32>>,
    mask: Option<String>,
    heads: usize,
    scale: f32,
}

impl Attention {
    /// `last` joins the heads.
    fn ending_in(view: &View<'_>, last: &NodeProto) -> Option<Self> {
        if !last.is("Reshape") || sizes(view, &last.inputs[1])?.len() != 3 {
            return None;
        }
        let swapped = view.made_by(&last.inputs[0], "Transpose").filter(|node| node.ints("perm") == SWAP_HEADS)?;
        let product = view.made_by(&swapped.inputs[0], "MatMul")?;
        let scores = Scores::of(view, before_softmax(view, &product.inputs[0])?)?;
        let queries = Projection::of(view, &scores.queries)?;
        let keys = Projection::of(view, &scores.keys)?;
        let values = Projection::of(view, &split_into_heads(view, &product.inputs[1])?)?;
        let is_alike = |other: &Projection| (other.width, other.head_size) == (queries.width, queries.head_size);
        if !is_alike(&keys) || !is_alike(&values) || queries.width % queries.head_size != 0 {
            return None;
        }
        let heads = queries.width / queries.head_size;
        let bias = match [queries.bias, keys.bias, values.bias] {
            [Some(a), Some(b), Some(c)] => Some([a, b, c].concat()),
            [None, None, None] => None,
            _ => return None,
        };
        let inputs = [queries.value, keys.value, values.value];
        Some(Self { inputs, bias, mask: scores.mask, heads, scale: scores.scale })
    }

    fn into_node(self, outputs: Vec<String>) -> (NodeProto, Vec<TensorProto>) {
        let [queries, keys, values] = self.inputs;
        let constants: Vec<TensorProto> = self
            .bias
            .into_iter()
            .map(|bias| TensorProto::of_floats(format!("{}/bias", outputs[0]), vec![bias.len() as i64], &bias))
            .collect();
        let bias = constants.first().map_or_else(String::new, |bias| bias.name.clone());
        let mut inputs = vec![queries, keys, values, bias];
        if let Some(mask) = self.mask {
            inputs.extend([String::new(), mask]);
        }
        let attributes =
            [AttributeProto::of_int("num_heads", self.heads as i64), AttributeProto::of_float("scale", self.scale)];
        (NodeProto::own("MultiHeadAttention", inputs, outputs, &attributes), constants)
    }
}

/// What goes into the softmax.
struct Scores<'g> {
    queries: Heads<'g>,
    keys: Heads<'g>,
    scale: f32,
    mask: Option<String>,
}

impl<'g> Scores<'g> {
    fn of(view: &View<'g>, value: &str) -> Option<Self> {
        let (product, mask) = match view.made_by(value, "Add") {
            Some(sum) => {
                let (product, mask) = orders(sum).into_iter().find(|(product, _)| is_product(view, product))?;
                (product, Some(mask.to_owned()))
            }
            None => (value, None),
        };
        let (product, factor) = unscaled(view, product);
        let product = view.made_by(product, "MatMul")?;
        let (queries, query_factor) = unscaled(view, &product.inputs[0]);
        let (keys, key_factor) = unscaled(view, &product.inputs[1]);
        Some(Self {
            queries: split_into_heads(view, queries)?,
            keys: keys_of(view, keys)?,
            scale: factor * query_factor * key_factor,
            mask,
        })
    }
}

/// A value before it is split into heads, with the bias taken off again.
struct Projection {
    value: String,
    bias: Option<Vec<f32>>,
    /// Length of a token's vector.
    width: usize,
    head_size: usize,
}

impl Projection {
    fn of(view: &View<'_>, heads: &Heads<'_>) -> Option<Self> {
        let of_product = |value: &str| matrix::columns(view, &view.made_by(value, "MatMul")?.inputs[1]);
        if let Some(sum) = view.made_by(heads.value, "Add") {
            let (product, bias) = orders(sum).into_iter().find(|(product, _)| of_product(product).is_some())?;
            let (width, bias) = (of_product(product)?, view.constant(bias)?.to_floats()?);
            return (bias.len() == width).then(|| Self {
                value: product.to_owned(),
                bias: Some(bias),
                width,
                head_size: heads.size,
            });
        }
        let width = of_product(heads.value)?;
        Some(Self { value: heads.value.to_owned(), bias: None, width, head_size: heads.size })
    }
}

/// A value that is split into heads of so many numbers.
struct Heads<'g> {
    value: &'g str,
    size: usize,
}

fn split_into_heads<'g>(view: &View<'g>, value: &str) -> Option<Heads<'g>> {
    split(view, value, &SWAP_HEADS)
}

fn split<'g>(view: &View<'g>, value: &str, order: &[i64]) -> Option<Heads<'g>> {
    let swapped = view.made_by(value, "Transpose").filter(|node| node.ints("perm") == order)?;
    let reshaped = view.made_by(&swapped.inputs[0], "Reshape")?;
    match *sizes(view, &reshaped.inputs[1])?.as_slice() {
        [_, _, _, Some(size)] if size > 0 => Some(Heads { value: &reshaped.inputs[0], size: size.try_into().ok()? }),
        _ => None,
    }
}

/// Keys, split into heads and turned: at once, in two steps, or in two steps with batch and heads as one dimension.
fn keys_of<'g>(view: &View<'g>, value: &str) -> Option<Heads<'g>> {
    if let Some(heads) = split(view, value, &[0, 2, 3, 1]) {
        return Some(heads);
    }
    if let Some(turned) = view.made_by(value, "Transpose") {
        return if turned.ints("perm") == [0, 1, 3, 2] { split_into_heads(view, &turned.inputs[0]) } else { None };
    }
    let split_again = view.made_by(value, "Reshape")?;
    let turned = view.made_by(&split_again.inputs[0], "Transpose").filter(|node| node.ints("perm") == [0, 2, 1])?;
    let joined = view.made_by(&turned.inputs[0], "Reshape")?;
    split_into_heads(view, &joined.inputs[0])
}

/// What goes into the softmax whose result `value` is, also where what is no number becomes 0 after it.
fn before_softmax<'g>(view: &View<'g>, value: &str) -> Option<&'g str> {
    let value = match view.made_by(value, "Where") {
        Some(guard) => {
            view.made_by(&guard.inputs[0], "IsNaN").filter(|node| node.inputs[0] == guard.inputs[2])?;
            view.scalar(&guard.inputs[1]).filter(|zero| *zero == 0.0)?;
            guard.inputs[2].as_str()
        }
        None => value,
    };
    let softmax = view.made_by(value, "Softmax")?;
    let axis = softmax.attribute("axis").and_then(|axis| axis.int).unwrap_or(-1);
    matches!(axis, -1 | 3).then_some(softmax.inputs[0].as_str())
}

fn is_product(view: &View<'_>, value: &str) -> bool {
    view.made_by(unscaled(view, value).0, "MatMul").is_some()
}

/// A value without the constant factor it has.
fn unscaled<'v, 'g: 'v>(view: &View<'g>, value: &'v str) -> (&'v str, f32) {
    view.scaled(value).unwrap_or((value, 1.0))
}

/// A shape's sizes, as far as they are constant.
fn sizes(view: &View<'_>, shape: &str) -> Option<Vec<Option<i64>>> {
    let constant = |value: &str| view.constant(value)?.to_ints();
    if let Some(sizes) = constant(shape) {
        return Some(sizes.into_iter().map(Some).collect());
    }
    let parts = &view.made_by(shape, "Concat")?.inputs;
    // A part that is no constant is the size of one dimension of an input.
    Some(
        parts
            .iter()
            .flat_map(|part| constant(part).map_or(vec![None], |s| s.into_iter().map(Some).collect()))
            .collect(),
    )
}
