//! `x · (erf(x / √2) + 1) / 2`, in one node instead of five.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::proto::NodeProto;
use super::view::{Edit, View, orders};

/// How exact constants are written.
const TOLERANCE: f32 = 1e-4;

pub(super) fn find(view: &View<'_>) -> Vec<Edit> {
    let edit = |(at, node): (usize, &NodeProto)| {
        let node = NodeProto::own("Gelu", vec![gelu(view, node)?.to_owned()], node.outputs.clone(), &[]);
        Some(Edit { at, with: vec![node], constants: Vec::new() })
    };
    view.nodes().filter_map(edit).collect()
}

/// Its input, when the node is the last of such a chain.
fn gelu<'g>(view: &View<'g>, node: &'g NodeProto) -> Option<&'g str> {
    if !node.is("Mul") {
        return None;
    }
    // x · (½ · (erf + 1)), or ½ · (x · (erf + 1)) and (½ · x) · (erf + 1).
    let halved = |(x, rest): (&'g str, &'g str)| {
        let (sum, factor) = view.scaled(rest)?;
        (is(factor, 0.5) && erf_plus_one(view, sum)? == x).then_some(x)
    };
    let half_outside = || {
        let (product, factor) = view.scaled(&node.outputs[0])?;
        let product = view.made_by(product, "Mul")?;
        let matches = |(x, sum): (&'g str, &'g str)| (erf_plus_one(view, sum)? == x).then_some(x);
        orders(product).into_iter().find_map(matches).filter(|_| is(factor, 0.5))
    };
    let half_before = |(half, sum): (&'g str, &'g str)| {
        let (x, factor) = view.scaled(half)?;
        (is(factor, 0.5) && erf_plus_one(view, sum)? == x).then_some(x)
    };
    let [first, second] = orders(node);
    halved(first)
        .or_else(|| halved(second))
        .or_else(half_outside)
        .or_else(|| half_before(first))
        .or_else(|| half_before(second))
}

/// The `x` of `erf(x / √2) + 1`.
fn erf_plus_one<'g>(view: &View<'g>, sum: &str) -> Option<&'g str> {
    let sum = view.made_by(sum, "Add")?;
    let erf = orders(sum).into_iter().find(|(_, one)| view.scalar(one) == Some(1.0)).map(|(erf, _)| erf)?;
    let erf = view.made_by(erf, "Erf")?;
    let (x, factor) = view.scaled(&erf.inputs[0])?;
    is(factor, FRAC_1_SQRT_2).then_some(x)
}

fn is(number: f32, wanted: f32) -> bool {
    debug_assert!((SQRT_2 * FRAC_1_SQRT_2 - 1.0).abs() < TOLERANCE);
    (number - wanted).abs() < TOLERANCE
}
