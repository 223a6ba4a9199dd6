//! `x · (erf(x / √2) + 1) / 2`, in one node instead of five.

use std::f32::consts::FRAC_1_SQRT_2;

use super::proto::NodeProto;
use super::view::{Edit, View, orders};

/// How exactly exporters write constants.
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
    if let Some(product) = halved(view, &node.outputs[0]) {
        let product = view.made_by(product, "Mul")?;
        return orders(product).into_iter().find_map(|(x, sum)| (erf_plus_one(view, sum)? == x).then_some(x));
    }
    // The half is taken of one of the factors.
    orders(node).into_iter().find_map(|(one, other)| {
        let of_the_sum = || (erf_plus_one(view, halved(view, other)?)? == one).then_some(one);
        let of_x = || halved(view, one).filter(|x| erf_plus_one(view, other) == Some(x));
        of_the_sum().or_else(of_x)
    })
}

fn halved<'g>(view: &View<'g>, value: &str) -> Option<&'g str> {
    let (whole, factor) = view.scaled(value)?;
    is(factor, 0.5).then_some(whole)
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
    (number - wanted).abs() < TOLERANCE
}
