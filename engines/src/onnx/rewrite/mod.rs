//! The graph of a model, rewritten for ONNX Runtime on a CPU as it is loaded.
//!
//! Exported graphs spell attention and GELU out in dozens of small operators, each of which goes through memory once. The
//! runtime knows them as one, but recognises only what former exporters wrote. Weights that are stored in eight bits can also be
//! multiplied as such, which is faster where the processor has instructions for it.
//!
//! | file | what it is |
//! |---|---|
//! | `proto` | the file format |
//! | `view` | looking things up in a graph, and changing it |
//! | `attention`, `gelu` | what is recognised |
//! | `matrix`, `linear` | products in eight bits |

mod attention;
mod gelu;
mod linear;
mod matrix;
mod proto;
#[cfg(test)]
mod tests;
mod view;

use prost::Message as _;

use proto::{GraphProto, ModelProto, NodeProto, OpsetProto};
use view::{Edit, View};

/// The operators of ONNX Runtime that are not in the standard.
const OWN_DOMAIN: &str = "com.microsoft";
/// Versions of the standard's operators that are known here.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=23;

/// How products with constant matrices are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// In floats.
    #[default]
    Float,
    /// Those whose weights are stored in eight bits, in eight bits, most with activations of about 16. The vectors of nearly all
    /// texts keep a cosine of 0.9995 and more to what they are in floats.
    Int8,
}

/// The model of a file's content in fewer nodes; `None` when there is nothing to do, or the file is not understood, which
/// is for the runtime to say.
pub(super) fn rewrite(file: &[u8], arithmetic: Arithmetic) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(file).ok()?;
    if !is_known(&model) {
        return None;
    }
    let graph = model.graph.as_mut()?;
    let mut edits = pass(graph, attention::find) + pass(graph, gelu::find);
    if arithmetic == Arithmetic::Int8 {
        edits += pass(graph, linear::find);
    }
    if edits == 0 {
        return None;
    }
    if !model.opsets.iter().any(|opset| opset.domain == OWN_DOMAIN) {
        model.opsets.push(OpsetProto { domain: OWN_DOMAIN.to_owned(), version: 1 });
    }
    Some(model.encode_to_vec())
}

/// Number of changes.
fn pass(graph: &mut GraphProto, find: fn(&View<'_>) -> Vec<Edit>) -> usize {
    let edits = find(&View::of(graph));
    let count = edits.len();
    view::apply(graph, edits);
    count
}

/// Whether nothing is in it that could be lost here.
fn is_known(model: &ModelProto) -> bool {
    let standard = |opset: &&OpsetProto| opset.domain.is_empty() || opset.domain == "ai.onnx";
    let Some(graph) = &model.graph else { return false };
    model.opsets.iter().find(standard).is_some_and(|opset| OPSETS.contains(&opset.version))
        && model.functions.is_empty()
        && graph.sparse_initializers.is_empty()
        && !graph.initializers.iter().any(proto::TensorProto::is_external)
        && !graph.nodes.iter().any(NodeProto::has_graph)
}
