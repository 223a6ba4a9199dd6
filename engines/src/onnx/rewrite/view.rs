//! A graph to look things up in, and what is to be changed about it.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use super::proto::{GraphProto, NodeProto, TensorProto, ValueName};

/// A graph with its makers and readers.
pub(super) struct View<'g> {
    nodes: &'g [NodeProto],
    makers: HashMap<&'g str, &'g NodeProto>,
    readers: HashMap<&'g str, Vec<usize>>,
    constants: HashMap<&'g str, &'g TensorProto>,
}

impl<'g> View<'g> {
    pub(super) fn of(graph: &'g GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| readers.entry(input).or_default().push(at));
        }
        let made = |node: &'g NodeProto| node.outputs.iter().map(move |output| (output.as_str(), node));
        let constant = |tensor: &'g TensorProto| (tensor.name.as_str(), tensor);
        Self {
            nodes: &graph.nodes,
            makers: graph.nodes.iter().flat_map(made).collect(),
            readers,
            constants: graph.initializers.iter().map(constant).collect(),
        }
    }

    /// All nodes with their places.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (usize, &'g NodeProto)> + use<'g> {
        self.nodes.iter().enumerate()
    }

    /// The node that makes a value.
    pub(super) fn maker(&self, value: &str) -> Option<&'g NodeProto> {
        self.makers.get(value).copied()
    }

    /// The node that makes a value, when it is this operator.
    pub(super) fn made_by(&self, value: &str, operator: &str) -> Option<&'g NodeProto> {
        self.maker(value).filter(|node| node.is(operator))
    }

    /// The place of the only node that reads a value, and the node.
    pub(super) fn only_reader(&self, value: &str) -> Option<(usize, &'g NodeProto)> {
        match self.readers.get(value)?.as_slice() {
            &[at] => Some((at, &self.nodes[at])),
            _ => None,
        }
    }

    pub(super) fn constant(&self, value: &str) -> Option<&'g TensorProto> {
        self.constants.get(value).copied()
    }

    /// A constant of one element.
    pub(super) fn scalar(&self, value: &str) -> Option<f32> {
        let tensor = self.constant(value).filter(|tensor| tensor.dims.iter().all(|&size| size == 1))?;
        tensor.to_floats()?.first().copied()
    }

    /// A value that is `other` times or divided by a constant of one element: `other` and the factor.
    pub(super) fn scaled(&self, value: &str) -> Option<(&'g str, f32)> {
        if let Some(node) = self.made_by(value, "Div") {
            return Some((&node.inputs[0], self.scalar(&node.inputs[1])?.recip()));
        }
        let node = self.made_by(value, "Mul")?;
        orders(node).into_iter().find_map(|(other, factor)| Some((other, self.scalar(factor)?)))
    }
}

/// The two inputs of a commutative operator, in both orders.
pub(super) fn orders(node: &NodeProto) -> [(&str, &str); 2] {
    let (a, b) = (node.inputs[0].as_str(), node.inputs[1].as_str());
    [(a, b), (b, a)]
}

/// What stands in place of the node at `at`, and the constants that it needs.
pub(super) struct Edit {
    pub(super) at: usize,
    pub(super) with: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
}

/// Carries out edits, those of one node in their order, and removes what nobody reads any more.
pub(super) fn apply(graph: &mut GraphProto, edits: Vec<Edit>) {
    let mut replaced: HashMap<usize, Vec<NodeProto>> = HashMap::new();
    for edit in edits {
        graph.initializers.extend(edit.constants);
        replaced.entry(edit.at).or_default().extend(edit.with);
    }
    let nodes = std::mem::take(&mut graph.nodes).into_iter().enumerate();
    graph.nodes = nodes.flat_map(|(at, node)| replaced.remove(&at).unwrap_or_else(|| vec![node])).collect();
    prune(graph);
}

fn prune(graph: &mut GraphProto) {
    let outputs = graph.outputs.iter().filter_map(|output| ValueName::decode(&output[..]).ok());
    let mut wanted: HashSet<String> = outputs.map(|output| output.name).collect();
    // A graph's nodes stand in an order in which each comes after what it reads.
    let mut kept: Vec<NodeProto> = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if node.outputs.iter().any(|output| wanted.contains(output)) {
            wanted.extend(node.inputs.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.nodes = kept;
    graph.initializers.retain(|tensor| wanted.contains(&tensor.name));
}
