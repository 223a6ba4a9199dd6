//! What `$ref` refers to (pure).

use serde_json::{Map, Value};

use super::MAX_DEPTH;

/// All of a schema, in which references are looked up.
#[derive(Clone, Copy)]
pub(super) struct References<'s>(pub(super) &'s Value);

impl<'s> References<'s> {
    /// What a schema with `$ref` refers to: a JSON Pointer into the whole, as `#/$defs/name`.
    pub(super) fn target(self, schema: &Map<String, Value>) -> Option<&'s Value> {
        self.0.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    /// What is behind all references, unless they are too many.
    pub(super) fn resolved<'a>(self, schema: &'a Value) -> Option<&'a Map<String, Value>>
    where
        's: 'a,
    {
        let schemas = std::iter::successors(schema.as_object(), |schema| self.target(schema)?.as_object());
        schemas.take(MAX_DEPTH).find(|schema| !schema.contains_key("$ref"))
    }
}
