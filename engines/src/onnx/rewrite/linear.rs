//! Products with matrices that are stored in eight bits, computed in eight bits without losing what matters of the activations.
//!
//! ```text
//! x ─ round ─┬─────────────────── high · W ─┐
//! └─ minus ──┴─ round ─────────── low · W ──┴ sum
//! ```
//! Activations rounded to eight bits once lose what matters: a few of them are ten times as large as the rest and set the
//! range. What the first rounding left over is rounded by its own, much smaller range; both together have about 16 bits. The
//! weights are the file's own numbers.
//!
//! Three products of each attention are computed from the first rounding alone: see `suffices_once`.

use std::collections::HashMap;

use super::matrix::Int8Matrix;
use super::proto::{NodeProto, TensorProto};
use super::view::{Edit, View, orders};

/// Smaller matrices cost nothing worth saving.
const LEAST_SIDE: usize = 64;

/// The products, each with the bias that is added to it.
pub(super) fn find(view: &View<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut rounded: HashMap<&str, Rounded> = HashMap::new();
    for (at, node) in view.nodes() {
        let Some(product) = Product::of(view, at, node) else { continue };
        // The first product comes before all others, whose biases may be added in another order.
        let parts = rounded.entry(&node.inputs[0]).or_insert_with_key(|activations| {
            let (nodes, parts) = round(activations);
            edits.push(Edit { at, with: nodes, constants: Vec::new() });
            parts
        });
        edits.push(product.edit(parts));
    }
    edits
}

/// Whether the first rounding is enough for a product: of queries and keys, whose scores the softmax evens out, and of what an
/// attention gives, means of values. `docs/adr/0015-embedding-in-eight-bits-twice.md` has what it changes.
fn suffices_once(view: &View<'_>, activations: &str, output: &str) -> bool {
    let is_attention = |node: &NodeProto| node.is_own("MultiHeadAttention");
    let is_scored = |(_, reader): (usize, &NodeProto)| {
        is_attention(reader) && reader.inputs.iter().take(2).any(|input| input == output)
    };
    view.only_reader(output).is_some_and(is_scored) || view.maker(activations).is_some_and(is_attention)
}

/// Activations in eight bits, twice; each as numbers, their factor and the number that means 0.
struct Rounded {
    high: [String; 3],
    low: [String; 3],
}

fn round(activations: &str) -> (Vec<NodeProto>, Rounded) {
    let name = |part: &str| format!("{activations}/{part}");
    let three = |part: &str| ["int8", "factor", "zero"].map(|kind| name(&format!("{part}-{kind}")));
    let (high, low) = (three("high"), three("low"));
    let (restored, rest) = (name("restored"), name("rest"));
    let activations = activations.to_owned();
    let nodes = vec![
        NodeProto::standard("DynamicQuantizeLinear", vec![activations.clone()], high.to_vec()),
        NodeProto::standard("DequantizeLinear", high.to_vec(), vec![restored.clone()]),
        NodeProto::standard("Sub", vec![activations, restored], vec![rest.clone()]),
        NodeProto::standard("DynamicQuantizeLinear", vec![rest], low.to_vec()),
    ];
    (nodes, Rounded { high, low })
}

/// A product with a constant matrix, the bias included.
struct Product<'g> {
    /// The place of its last node.
    at: usize,
    matrix: Int8Matrix,
    bias: Option<&'g str>,
    output: &'g str,
    /// Whether the rest of the first rounding is left out.
    once: bool,
}

impl<'g> Product<'g> {
    fn of(view: &View<'g>, at: usize, product: &'g NodeProto) -> Option<Self> {
        if !product.is("MatMul") {
            return None;
        }
        let matrix = Int8Matrix::of(view, &product.inputs[1])?;
        if matrix.rows.min(matrix.columns) < LEAST_SIDE {
            return None;
        }
        let output = product.outputs[0].as_str();
        let with_bias = view.only_reader(output).filter(|(_, sum)| sum.is("Add")).and_then(|(at, sum)| {
            let (_, bias) = orders(sum).into_iter().find(|(value, _)| *value == output)?;
            is_bias(view, bias, matrix.columns).then_some((at, bias, sum.outputs[0].as_str()))
        });
        let (at, bias, output) = match with_bias {
            Some((at, bias, output)) => (at, Some(bias), output),
            None => (at, None, output),
        };
        let once = suffices_once(view, &product.inputs[0], output);
        Some(Self { at, matrix, bias, output, once })
    }

    fn edit(self, activations: &Rounded) -> Edit {
        let Self { at, matrix, bias, output, once } = self;
        let name = |part: &str| format!("{output}/{part}");
        let [rows, columns] = [matrix.rows, matrix.columns].map(|size| size as i64);
        let constants = vec![
            TensorProto::of_bytes(name("int8"), vec![rows, columns], &matrix.numbers),
            TensorProto::of_floats(name("factors"), vec![columns], &matrix.factors),
            TensorProto::of_bytes(name("zeros"), vec![columns], &vec![0; matrix.columns]),
        ];
        let product = |[numbers, factor, zero]: &[String; 3], bias: Option<&str>, output: String| {
            let weights = [0, 1, 2].map(|index| constants[index].name.clone());
            let [weights, factors, zeros] = weights;
            let inputs = [numbers.clone(), weights, factor.clone(), factors, zero.clone(), zeros];
            let inputs = inputs.into_iter().chain(bias.map(str::to_owned)).collect();
            NodeProto::own("MatMulIntegerToFloat", inputs, vec![output], &[])
        };
        let with = if once {
            vec![product(&activations.high, bias, output.to_owned())]
        } else {
            let (high, low) = (name("high"), name("low"));
            vec![
                product(&activations.high, bias, high.clone()),
                product(&activations.low, None, low.clone()),
                NodeProto::standard("Add", vec![high, low], vec![output.to_owned()]),
            ]
        };
        Edit { at, with, constants }
    }
}

fn is_bias(view: &View<'_>, value: &str, columns: usize) -> bool {
    view.constant(value).is_some_and(|tensor| matches!(*tensor.dims.as_slice(), [length] if length == columns as i64))
}
