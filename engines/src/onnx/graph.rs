//! What goes into the model's graph and what comes out, by the names it declares.

use ort::value::{Outlet, TensorElementType, ValueType};

use super::pooling::Pooling;

/// An input or output as the graph declares it: its name and its type.
pub(super) type Declared<'a> = (&'a str, &'a ValueType);

/// What a session tells about its inputs or outputs.
pub(super) fn declared(outlets: &[Outlet]) -> Vec<Declared<'_>> {
    outlets.iter().map(|outlet| (outlet.name(), outlet.dtype())).collect()
}

/// An input: `[batch, sequence]` of int64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Ids,
    Mask,
    Types,
}

impl Input {
    const ALL: [Self; 3] = [Self::Ids, Self::Mask, Self::Types];

    /// Its name in the graph.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ids => "input_ids",
            Self::Mask => "attention_mask",
            Self::Types => "token_type_ids",
        }
    }

    fn of(&(name, dtype): &Declared<'_>) -> Result<Self, String> {
        let input = Self::ALL.into_iter().find(|input| input.name() == name);
        let input = input.ok_or_else(|| format!("it wants an input {name}, which is not known here"))?;
        match dtype.tensor_type() {
            Some(TensorElementType::Int64) => Ok(input),
            _ => Err(format!("its input {name} is {dtype}, not int64")),
        }
    }
}

/// The output that is read: float32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) name: String,
    /// `[batch, sequence, dimension]`, to be pooled; else `[batch, dimension]`.
    pub(super) per_token: bool,
}

/// The inputs to feed, in the graph's order.
///
/// # Errors
/// What is wrong with the first input that cannot be fed.
pub(super) fn inputs(declared: &[Declared<'_>]) -> Result<Vec<Input>, String> {
    declared.iter().map(Input::of).collect()
}

/// The output to read. One that the graph pooled itself comes first: it may have steps that are only there.
///
/// # Errors
/// What is wrong with the outputs.
pub(super) fn output(declared: &[Declared<'_>]) -> Result<Output, String> {
    let named = |wanted: &&str| declared.iter().find(|(name, _)| name == wanted);
    let known = ["sentence_embedding", "last_hidden_state", "token_embeddings"].iter().find_map(named);
    let found = known.or_else(|| declared.iter().find(|(_, dtype)| rank(dtype) == 3));
    let (name, dtype) = found.ok_or("it has no output with a vector for each token or for each text")?;
    match (dtype.tensor_type(), rank(dtype)) {
        (Some(TensorElementType::Float32), 3) => Ok(Output { name: (*name).to_owned(), per_token: true }),
        (Some(TensorElementType::Float32), 2) => Ok(Output { name: (*name).to_owned(), per_token: false }),
        _ => Err(format!("its output {name} is {dtype}, not float32 vectors")),
    }
}

/// The output of a model that scores pairs of texts: float32, one or two numbers for each.
///
/// # Errors
/// When it has none such.
pub(super) fn logits(declared: &[Declared<'_>]) -> Result<String, String> {
    let scores = |dtype: &ValueType| {
        dtype.tensor_type() == Some(TensorElementType::Float32)
            && dtype.tensor_shape().is_some_and(|shape| match shape[..] {
                [_] => true,
                [_, numbers] => matches!(numbers, -1 | 1 | 2),
                _ => false,
            })
    };
    let usable = || declared.iter().filter(|(_, dtype)| scores(dtype));
    let found = usable().find(|(name, _)| *name == "logits").or_else(|| usable().next());
    found
        .map(|(name, _)| (*name).to_owned())
        .ok_or_else(|| "it has no output with a score for each pair of texts".to_owned())
}

fn rank(dtype: &ValueType) -> usize {
    dtype.tensor_shape().map_or(0, |shape| shape.len())
}

/// How the output becomes one vector for each text, given what the model's files say.
///
/// # Errors
/// When the files name a step after pooling that neither the graph nor this program does.
pub(super) fn pooling(output: &Output, by_files: Pooling, extra_module: Option<&str>) -> Result<Pooling, String> {
    match (output.per_token, extra_module) {
        (false, _) => Ok(Pooling::InGraph),
        (true, None) => Ok(by_files),
        (true, Some(module)) => {
            Err(format!("modules.json has a {module} step, and the graph has no sentence_embedding output with it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use ort::value::{Shape, SymbolicDimensions};

    use super::*;

    fn tensor(ty: TensorElementType, rank: usize) -> ValueType {
        ValueType::Tensor { ty, shape: Shape::new(vec![-1; rank]), dimension_symbols: SymbolicDimensions::empty(rank) }
    }

    fn floats(rank: usize) -> ValueType {
        tensor(TensorElementType::Float32, rank)
    }

    #[test]
    fn the_graph_gets_the_inputs_it_declares() {
        let ids = tensor(TensorElementType::Int64, 2);
        let two = [("input_ids", &ids), ("attention_mask", &ids)];
        assert_eq!(inputs(&two), Ok(vec![Input::Ids, Input::Mask]));
        let three = [("token_type_ids", &ids), ("input_ids", &ids), ("attention_mask", &ids)];
        assert_eq!(inputs(&three), Ok(vec![Input::Types, Input::Ids, Input::Mask]));
    }

    #[test]
    fn an_input_that_cannot_be_fed_is_named() {
        let unknown = [("pixel_values", &tensor(TensorElementType::Int64, 4))];
        assert!(inputs(&unknown).unwrap_err().contains("pixel_values"));
        let wrong_type = [("input_ids", &tensor(TensorElementType::Int32, 2))];
        assert!(inputs(&wrong_type).unwrap_err().contains("input_ids"));
    }

    #[test]
    fn a_vector_the_graph_pooled_comes_before_one_for_each_token() {
        let chosen = output(&[("token_embeddings", &floats(3)), ("sentence_embedding", &floats(2))]).unwrap();
        assert_eq!(chosen, Output { name: "sentence_embedding".to_owned(), per_token: false });
        assert_eq!(pooling(&chosen, Pooling::Cls, Some("Dense")), Ok(Pooling::InGraph));
    }

    #[test]
    fn token_vectors_are_found_by_name_and_else_by_rank() {
        let (flat, cube) = (floats(2), floats(3));
        let declared = [("pooler_output", &flat), ("hidden", &cube), ("last_hidden_state", &cube)];
        assert_eq!(output(&declared).unwrap().name, "last_hidden_state");
        assert_eq!(output(&declared[..2]).unwrap().name, "hidden");
        assert!(output(&declared[..1]).is_err());
        let half = [("last_hidden_state", &tensor(TensorElementType::Float16, 3))];
        assert!(output(&half).unwrap_err().contains("float32"));
    }

    #[test]
    fn scores_of_pairs_are_found_and_vectors_are_not_taken_for_them() {
        let sized = |sizes: &[i64]| ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape: Shape::new(sizes.to_vec()),
            dimension_symbols: SymbolicDimensions::empty(sizes.len()),
        };
        let (vectors, score, open) = (sized(&[-1, 384]), sized(&[-1, 1]), sized(&[-1, -1]));
        assert_eq!(logits(&[("pooled", &vectors), ("score", &score)]).as_deref(), Ok("score"));
        assert_eq!(logits(&[("other", &open), ("logits", &open)]).as_deref(), Ok("logits"));
        assert!(logits(&[("sentence_embedding", &vectors), ("last_hidden_state", &floats(3))]).is_err());
    }

    #[test]
    fn token_vectors_are_refused_when_a_step_after_pooling_is_missing() {
        let tokens = Output { name: "last_hidden_state".to_owned(), per_token: true };
        assert_eq!(pooling(&tokens, Pooling::Cls, None), Ok(Pooling::Cls));
        assert!(pooling(&tokens, Pooling::Mean, Some("Dense")).unwrap_err().contains("Dense"));
    }
}
