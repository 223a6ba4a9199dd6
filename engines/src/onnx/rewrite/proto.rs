//! ONNX's file format, as far as it is looked into here. What is only passed on stays encoded; documentation, metadata and
//! the types of values inside the graph are dropped.
//!
//! Field numbers: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>.

use prost::Message;

/// `TensorProto.DataType` and `AttributeProto.AttributeType`.
pub(super) const FLOAT: i32 = 1;
pub(super) const INT8: i32 = 3;
pub(super) const INT64: i32 = 7;
const ATTRIBUTE_FLOAT: i32 = 1;
const ATTRIBUTE_INT: i32 = 2;
/// `TensorProto.DataLocation`: the numbers are in another file.
const EXTERNAL: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opsets: Vec<OpsetProto>,
    #[prost(bytes = "vec", repeated, tag = "25")]
    pub functions: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OpsetProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<TensorProto>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub inputs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "12")]
    pub outputs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub sparse_initializers: Vec<Vec<u8>>,
}

/// The beginning of a `ValueInfoProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueName {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub operator: String,
    /// Encoded [`AttributeProto`]s.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub attributes: Vec<Vec<u8>>,
    #[prost(string, tag = "7")]
    pub domain: String,
    #[prost(string, tag = "8")]
    pub overload: String,
}

/// Attributes of one number, or of several integers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub float: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub int: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub graph: Option<Vec<u8>>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub int32s: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub strings: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "7")]
    pub int64s: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Little endian.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw: Option<Vec<u8>>,
    #[prost(double, repeated, tag = "10")]
    pub doubles: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub uint64s: Vec<u64>,
    #[prost(int32, tag = "14")]
    pub location: i32,
}

impl NodeProto {
    /// A node of one of ONNX Runtime's own operators.
    pub(super) fn own(
        operator: &str,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: &[AttributeProto],
    ) -> Self {
        Self {
            name: format!("{}/{operator}", outputs.first().map_or("", String::as_str)),
            operator: operator.to_owned(),
            inputs,
            outputs,
            attributes: attributes.iter().map(Message::encode_to_vec).collect(),
            domain: super::OWN_DOMAIN.to_owned(),
            overload: String::new(),
        }
    }

    /// A node of the standard.
    pub(super) fn standard(operator: &str, inputs: Vec<String>, outputs: Vec<String>) -> Self {
        Self { domain: String::new(), ..Self::own(operator, inputs, outputs, &[]) }
    }

    /// Whether it is this operator of the standard.
    pub(super) fn is(&self, operator: &str) -> bool {
        self.operator == operator && self.domain.is_empty()
    }

    /// Whether it is this operator of ONNX Runtime's own.
    pub(super) fn is_own(&self, operator: &str) -> bool {
        self.operator == operator && self.domain == super::OWN_DOMAIN
    }

    pub(super) fn attribute(&self, name: &str) -> Option<AttributeProto> {
        let mut decoded = self.attributes.iter().filter_map(|encoded| AttributeProto::decode(&encoded[..]).ok());
        decoded.find(|attribute| attribute.name == name)
    }

    pub(super) fn ints(&self, name: &str) -> Vec<i64> {
        self.attribute(name).map(|attribute| attribute.ints).unwrap_or_default()
    }

    /// Whether it has a graph inside, which may read any value outside.
    pub(super) fn has_graph(&self) -> bool {
        self.attributes.iter().any(|encoded| AttributeProto::decode(&encoded[..]).is_ok_and(|a| a.graph.is_some()))
    }
}

impl AttributeProto {
    pub(super) fn of_float(name: &str, float: f32) -> Self {
        Self { name: name.to_owned(), float: Some(float), kind: ATTRIBUTE_FLOAT, ..Self::default() }
    }

    pub(super) fn of_int(name: &str, int: i64) -> Self {
        Self { name: name.to_owned(), int: Some(int), kind: ATTRIBUTE_INT, ..Self::default() }
    }
}

impl TensorProto {
    pub(super) fn of_floats(name: String, dims: Vec<i64>, floats: &[f32]) -> Self {
        let raw = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        Self { name, dims, data_type: FLOAT, raw: Some(raw), ..Self::default() }
    }

    pub(super) fn of_bytes(name: String, dims: Vec<i64>, bytes: &[i8]) -> Self {
        let raw = bytes.iter().map(|byte| byte.cast_unsigned()).collect();
        Self { name, dims, data_type: INT8, raw: Some(raw), ..Self::default() }
    }

    pub(super) fn is_external(&self) -> bool {
        self.location == EXTERNAL
    }

    /// Its numbers, when it is of that type.
    pub(super) fn to_floats(&self) -> Option<Vec<f32>> {
        let raw = match (self.data_type, &self.raw) {
            (FLOAT, Some(raw)) => raw,
            (FLOAT, None) => return Some(self.floats.clone()),
            _ => return None,
        };
        Some(raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The same for int8.
    pub(super) fn to_bytes(&self) -> Option<Vec<i8>> {
        match (self.data_type, &self.raw) {
            (INT8, Some(raw)) => Some(raw.iter().map(|byte| byte.cast_signed()).collect()),
            (INT8, None) => self.int32s.iter().map(|&int| i8::try_from(int).ok()).collect(),
            _ => None,
        }
    }

    /// The same for int64.
    pub(super) fn to_ints(&self) -> Option<Vec<i64>> {
        let raw = match (self.data_type, &self.raw) {
            (INT64, Some(raw)) => raw,
            (INT64, None) => return Some(self.int64s.clone()),
            _ => return None,
        };
        Some(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }
}
