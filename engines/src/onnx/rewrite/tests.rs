//! Small graphs as exporters write them.

use super::proto::{AttributeProto, TensorProto, ValueName};
use super::*;

/// A graph that grows node by node; the last value is its output.
#[derive(Default)]
struct Builder {
    graph: GraphProto,
}

impl Builder {
    fn node(&mut self, operator: &str, inputs: &[&str], output: &str) -> &mut NodeProto {
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        let node = NodeProto::own(operator, inputs, vec![output.to_owned()], &[]);
        self.graph.nodes.push(NodeProto { domain: String::new(), ..node });
        self.graph.nodes.last_mut().unwrap()
    }

    fn transpose(&mut self, input: &str, output: &str, order: &[i64]) {
        let order =
            AttributeProto { name: "perm".to_owned(), ints: order.to_vec(), kind: 7, ..AttributeProto::default() };
        self.node("Transpose", &[input], output).attributes.push(order.encode_to_vec());
    }

    fn floats(&mut self, name: &str, dims: &[i64], floats: &[f32]) {
        self.graph.initializers.push(TensorProto::of_floats(name.to_owned(), dims.to_vec(), floats));
    }

    fn ints(&mut self, name: &str, ints: &[i64]) {
        let dims = vec![ints.len() as i64];
        let (name, int64s) = (name.to_owned(), ints.to_vec());
        self.graph.initializers.push(TensorProto { name, dims, data_type: 7, int64s, ..TensorProto::default() });
    }

    /// `x · weights + bias`, all of them ones.
    fn linear(&mut self, input: &str, output: &str, side: i64) {
        let (weights, bias, product) = (format!("{output}.w"), format!("{output}.b"), format!("{output}.m"));
        self.floats(&weights, &[side, side], &vec![1.0; (side * side) as usize]);
        self.floats(&bias, &[side], &vec![1.0; side as usize]);
        self.node("MatMul", &[input, &weights], &product);
        self.node("Add", &[&product, &bias], output);
    }

    fn file(mut self, opset: i64) -> Vec<u8> {
        let output = self.graph.nodes.last().unwrap().outputs[0].clone();
        self.graph.outputs.push(ValueName { name: output }.encode_to_vec());
        let opsets = vec![OpsetProto { domain: String::new(), version: opset }];
        ModelProto { ir_version: 8, graph: Some(self.graph), opsets, functions: Vec::new() }.encode_to_vec()
    }
}

fn operators(file: &[u8]) -> Vec<String> {
    graph(file).nodes.into_iter().map(|node| node.operator).collect()
}

fn graph(file: &[u8]) -> GraphProto {
    ModelProto::decode(file).unwrap().graph.unwrap()
}

/// Where exporters take the half.
#[derive(Debug, Clone, Copy)]
enum Half {
    OfX,
    OfTheSum,
    OfTheProduct,
}

fn gelu(place: Half, half: f32) -> Builder {
    let mut builder = Builder::default();
    builder.floats("root", &[], &[std::f32::consts::SQRT_2]);
    builder.floats("one", &[], &[1.0]);
    builder.floats("half", &[], &[half]);
    builder.node("Div", &["x", "root"], "divided");
    builder.node("Erf", &["divided"], "erf");
    builder.node("Add", &["erf", "one"], "sum");
    let (first, second) = match place {
        Half::OfX => (["x", "half"], ["halved", "sum"]),
        Half::OfTheSum => (["half", "sum"], ["x", "halved"]),
        Half::OfTheProduct => (["x", "sum"], ["halved", "half"]),
    };
    builder.node("Mul", &first, "halved");
    builder.node("Mul", &second, "y");
    builder
}

#[test]
fn gelu_becomes_one_node_wherever_the_half_is_taken() {
    for place in [Half::OfX, Half::OfTheSum, Half::OfTheProduct] {
        let file = rewrite(&gelu(place, 0.5).file(17), Arithmetic::Float);
        let graph = graph(&file.unwrap_or_else(|| panic!("{place:?} was not recognised")));
        let [node] = &graph.nodes[..] else { panic!("{place:?} left {} nodes", graph.nodes.len()) };
        assert_eq!(
            (node.operator.as_str(), &node.inputs[..], &node.outputs[..]),
            ("Gelu", &["x".to_owned()][..], &["y".to_owned()][..])
        );
        assert!(graph.initializers.is_empty(), "constants that nobody reads were kept");
    }
}

#[test]
fn what_only_looks_like_gelu_stays() {
    assert_eq!(rewrite(&gelu(Half::OfX, 0.25).file(17), Arithmetic::Float), None);
}

/// Two heads of 32 numbers. With `merged` the keys are turned with batch and heads as one dimension.
fn attention(merged: bool) -> Builder {
    let mut builder = Builder::default();
    builder.ints("split", &[0, -1, 2, 32]);
    builder.ints("join", &[0, -1, 64]);
    builder.ints("three", &[-1, 9, 32]);
    builder.ints("four", &[1, 2, 32, 9]);
    builder.floats("root", &[], &[0.25]);
    for name in ["q", "k", "v"] {
        builder.linear("x", name, 64);
        builder.node("Reshape", &[name, "split"], &format!("{name}.split"));
        builder.transpose(&format!("{name}.split"), &format!("{name}.heads"), &[0, 2, 1, 3]);
    }
    if merged {
        builder.node("Reshape", &["k.heads", "three"], "k.three");
        builder.transpose("k.three", "k.turned", &[0, 2, 1]);
        builder.node("Reshape", &["k.turned", "four"], "k.four");
    } else {
        builder.transpose("k.heads", "k.four", &[0, 1, 3, 2]);
    }
    builder.node("Mul", &["q.heads", "root"], "q.scaled");
    builder.node("Mul", &["k.four", "root"], "k.scaled");
    builder.node("MatMul", &["q.scaled", "k.scaled"], "scores");
    builder.node("Add", &["scores", "mask"], "masked");
    builder.node("Softmax", &["masked"], "weights");
    builder.node("MatMul", &["weights", "v.heads"], "context");
    builder.transpose("context", "context.swapped", &[0, 2, 1, 3]);
    builder.node("Reshape", &["context.swapped", "join"], "joined");
    builder
}

#[test]
fn attention_becomes_one_node_with_its_bias_scale_and_mask() {
    for merged in [true, false] {
        let file = rewrite(&attention(merged).file(17), Arithmetic::Float).unwrap();
        assert_eq!(operators(&file), ["MatMul", "MatMul", "MatMul", "MultiHeadAttention"]);
        let graph = graph(&file);
        let node = &graph.nodes[3];
        assert_eq!(node.inputs, ["q.m", "k.m", "v.m", "joined/bias", "", "mask"]);
        assert_eq!(node.attribute("num_heads").unwrap().int, Some(2));
        assert_eq!(node.attribute("scale").unwrap().float, Some(0.0625));
        let bias = graph.initializers.iter().find(|tensor| tensor.name == "joined/bias").unwrap();
        assert_eq!(bias.to_floats().unwrap(), [1.0; 192]);
    }
}

/// `x · weights` for each name, with weights stored in eight bits.
fn stored_in_eight_bits(names: &[&str]) -> Builder {
    let numbers: Vec<i8> = (0..4096).map(|i| (i % 251 - 125) as i8).collect();
    let factors: Vec<f32> = (1..=64).map(|i| i as f32 / 64.0).collect();
    let mut builder = Builder::default();
    builder.graph.initializers.push(TensorProto::of_bytes("q".to_owned(), vec![64, 64], &numbers));
    builder.floats("factors", &[1, 64], &factors);
    builder.floats("bias", &[64], &[1.0; 64]);
    builder.node("Cast", &["q"], "float").attributes.push(AttributeProto::of_int("to", 1).encode_to_vec());
    builder.node("Mul", &["float", "factors"], "weights");
    for name in names {
        builder.node("MatMul", &["x", "weights"], name);
    }
    builder
}

#[test]
fn weights_in_eight_bits_are_multiplied_as_they_are_by_activations_in_two_parts() {
    let mut builder = stored_in_eight_bits(&["m"]);
    builder.node("Add", &["bias", "m"], "y");
    let file = rewrite(&builder.file(17), Arithmetic::Int8).unwrap();
    let rounding = ["DynamicQuantizeLinear", "DequantizeLinear", "Sub", "DynamicQuantizeLinear"];
    assert_eq!(operators(&file), [&rounding[..], &["MatMulIntegerToFloat", "MatMulIntegerToFloat", "Add"]].concat());
    let graph = graph(&file);
    let [high, low] = [&graph.nodes[4], &graph.nodes[5]];
    assert_eq!(high.inputs, ["x/high-int8", "y/int8", "x/high-factor", "y/factors", "x/high-zero", "y/zeros", "bias"]);
    assert_eq!(low.inputs, ["x/low-int8", "y/int8", "x/low-factor", "y/factors", "x/low-zero", "y/zeros"]);
    assert_eq!(graph.nodes[6].outputs, ["y"]);
    let constant = |name: &str| graph.initializers.iter().find(|tensor| tensor.name == name).unwrap();
    assert_eq!(constant("y/int8").to_bytes().unwrap()[..3], [-125, -124, -123]);
    assert_eq!(constant("y/factors").to_floats().unwrap()[..2], [1.0 / 64.0, 2.0 / 64.0]);
}

#[test]
fn what_an_attention_compares_and_gives_is_computed_from_the_first_rounding_alone() {
    let mut builder = attention(false);
    let mut stored = stored_in_eight_bits(&["unused"]).graph;
    "numbers".clone_into(&mut stored.initializers[0].name);
    "numbers".clone_into(&mut stored.nodes[0].inputs[0]);
    "stored".clone_into(&mut stored.nodes[1].outputs[0]);
    builder.graph.initializers.extend(stored.initializers);
    builder.graph.nodes.splice(0..0, stored.nodes);
    for node in &mut builder.graph.nodes {
        if node.is("MatMul") && node.inputs[0] == "x" {
            "stored".clone_into(&mut node.inputs[1]);
        }
    }
    builder.node("MatMul", &["joined", "stored"], "y");
    let graph = graph(&rewrite(&builder.file(17), Arithmetic::Int8).unwrap());
    let products = graph.nodes.iter().filter(|node| node.operator == "MatMulIntegerToFloat");
    let made: Vec<&str> = products.map(|node| node.outputs[0].as_str()).collect();
    assert_eq!(made, ["q.m", "k.m", "v.m/high", "v.m/low", "y"]);
}

#[test]
fn an_attention_of_one_input_is_left_alone() {
    let mut builder = stored_in_eight_bits(&["m"]);
    let packed = NodeProto::own("MultiHeadAttention", vec!["m".to_owned()], vec!["y".to_owned()], &[]);
    builder.graph.nodes.push(packed);
    let file = rewrite(&builder.file(17), Arithmetic::Int8).unwrap();
    assert!(operators(&file).contains(&"MultiHeadAttention".to_owned()));
}

#[test]
fn activations_are_rounded_once_for_all_products_and_before_the_first() {
    let mut builder = stored_in_eight_bits(&["a", "b"]);
    builder.node("Add", &["b", "bias"], "b.y");
    builder.node("Add", &["a", "bias"], "a.y");
    builder.node("Add", &["a.y", "b.y"], "y");
    let operators = operators(&rewrite(&builder.file(17), Arithmetic::Int8).unwrap());
    assert_eq!(operators.iter().filter(|operator| *operator == "DynamicQuantizeLinear").count(), 2);
    assert_eq!(operators.iter().position(|operator| operator == "MatMulIntegerToFloat"), Some(4));
}

#[test]
fn weights_in_floats_are_not_rounded() {
    let mut builder = Builder::default();
    builder.linear("x", "y", 64);
    assert_eq!(rewrite(&builder.file(17), Arithmetic::Int8), None);
}

#[test]
fn a_file_that_is_not_understood_is_left_to_the_runtime() {
    assert_eq!(rewrite(b"this is no graph", Arithmetic::Int8), None);
    assert_eq!(rewrite(&gelu(Half::OfX, 0.5).file(9), Arithmetic::Float), None);
    let mut elsewhere = gelu(Half::OfX, 0.5);
    elsewhere.graph.initializers[0].location = 1;
    assert_eq!(rewrite(&elsewhere.file(17), Arithmetic::Float), None);
}

#[test]
fn all_of_the_shipped_model_is_recognised() {
    let models = std::env::var_os("MENTOR_MODELS_DIR").map(std::path::PathBuf::from);
    let Some(file) = models.and_then(|models| std::fs::read(models.join("all-minilm-l6-v2/model.onnx")).ok()) else {
        eprintln!("skipped: MENTOR_MODELS_DIR does not name a folder with the embedding model");
        return;
    };
    let count = |file: &[u8], wanted: &str| operators(file).iter().filter(|operator| *operator == wanted).count();
    let float = rewrite(&file, Arithmetic::Float).unwrap();
    let found = ["MultiHeadAttention", "Gelu", "Softmax", "Erf", "MatMul"].map(|operator| count(&float, operator));
    assert_eq!(found, [6, 6, 0, 0, 36]);
    let int8 = rewrite(&file, Arithmetic::Int8).unwrap();
    let found = ["MatMul", "MatMulIntegerToFloat", "DynamicQuantizeLinear"].map(|operator| count(&int8, operator));
    // 18 products of the first rounding alone, 18 of both; what an attention gives is rounded once.
    assert_eq!(found, [0, 54, 42]);
}
