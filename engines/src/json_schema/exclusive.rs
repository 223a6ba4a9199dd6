//! Whether what is valid by one schema of a `oneOf` is valid by no other (pure).

use serde_json::{Map, Value};

use super::MAX_PROPERTIES;
use super::keywords::{is_of, kinds, required, values};
use super::references::References;

/// Pairs of listed values that are compared to find that two schemas exclude each other.
const MAX_COMPARED: usize = 4_096;

/// Looks whether no two schemas of a `oneOf` can both be valid.
///
/// # Errors
/// Two schemas that may have a value in common, as half a sentence with `place`.
pub(super) fn check_exclusive(schemas: &[Value], references: References<'_>, place: &str) -> Result<(), String> {
    if schemas.len() > MAX_PROPERTIES {
        return Err(format!("{place}.oneOf has {} schemas, {MAX_PROPERTIES} are allowed", schemas.len()));
    }
    let mut pairs = (0..schemas.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    match pairs.find(|(first, second)| !exclude(&schemas[*first], &schemas[*second], references)) {
        None => Ok(()),
        Some((first, second)) => Err(format!(
            "{place}: oneOf is not supported here where its schemas {first} and {second} may both be valid: each must have a type of \
             its own, or require a property whose const or enum is its own"
        )),
    }
}

/// Whether two schemas are known to have no value in common: by type, by the values that are listed, or by those of a property
/// that both require.
fn exclude(one: &Value, other: &Value, references: References<'_>) -> bool {
    let (Some(one), Some(other)) = (references.resolved(one), references.resolved(other)) else { return false };
    if differ(one, other) {
        return true;
    }
    let (Some((properties, required)), Some((others, also_required))) = (members(one), members(other)) else {
        return false;
    };
    required.into_iter().filter(|name| also_required.contains(name)).any(|name| {
        let both = references.resolved(&properties[name]).zip(references.resolved(&others[name]));
        both.is_some_and(|(one, other)| differ(one, other))
    })
}

/// Whether no value is of the type, or among the values, of both schemas.
fn differ(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let listed = |schema| values(schema, "").ok().flatten();
    let kinds = |schema| kinds(schema, "").unwrap_or_default();
    match (listed(one), listed(other)) {
        (Some(ones), Some(others)) => {
            ones.len() * others.len() <= MAX_COMPARED
                && ones.iter().all(|one| !others.iter().any(|other| may_be_equal(one, other)))
        }
        (Some(values), None) => are_of_none(&values, &kinds(other)),
        (None, Some(values)) => are_of_none(&values, &kinds(one)),
        (None, None) => {
            let (ones, others) = (kinds(one), kinds(other));
            let is_number = |kind: &str| ["number", "integer"].contains(&kind);
            let overlap = |one: &&str| others.iter().any(|kind| kind == one || is_number(kind) && is_number(one));
            !ones.is_empty() && !others.is_empty() && !ones.iter().any(overlap)
        }
    }
}

/// Where 1.0 is an integer too.
fn are_of_none(values: &[&Value], kinds: &[&str]) -> bool {
    let may_be = |value: &Value, kind: &str| is_of(value, if kind == "integer" { "number" } else { kind });
    !kinds.is_empty() && !values.iter().any(|value| kinds.iter().any(|kind| may_be(value, kind)))
}

/// Numbers are by their value, and what has parts is not looked into.
fn may_be_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => true,
        _ => one == other,
    }
}

/// Properties of an object, and those that are required.
fn members(schema: &Map<String, Value>) -> Option<(&Map<String, Value>, Vec<&str>)> {
    let is_object = kinds(schema, "").is_ok_and(|kinds| kinds == ["object"]);
    let properties = schema.get("properties").filter(|_| is_object)?.as_object()?;
    let is_short = schema.get("required")?.as_array().is_some_and(|names| names.len() <= MAX_PROPERTIES);
    let required = is_short.then(|| required(schema, properties, "").ok()).flatten()?;
    Some((properties, required))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn are_exclusive(schemas: Value) -> bool {
        let whole = json!({"$defs": {"text": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}});
        check_exclusive(schemas.as_array().unwrap(), References(&whole), "$").is_ok()
    }

    #[test]
    fn types_exclude_each_other_but_for_integers_and_numbers() {
        assert!(are_exclusive(json!([{"type": "string"}, {"type": ["null", "number"]}, {"type": "array"}])));
        assert!(!are_exclusive(json!([{"type": "integer"}, {"type": "null"}, {"type": "number"}])));
        assert!(!are_exclusive(json!([{"type": "string"}, {}])));
        assert!(are_exclusive(json!([{"type": "null"}, {"$ref": "#/$defs/text"}])));
        assert!(!are_exclusive(json!([{"type": "string"}, {"$ref": "#/$defs/text"}])));
        assert!(!are_exclusive(json!([{"type": "string"}, {"$ref": "#/$defs/loop"}])));
    }

    #[test]
    fn listed_values_exclude_others_and_types() {
        assert!(are_exclusive(json!([{"enum": ["a", "b"]}, {"const": "c"}, {"type": "number"}])));
        assert!(!are_exclusive(json!([{"enum": ["a", "b"]}, {"const": "b"}])));
        assert!(!are_exclusive(json!([{"const": "a"}, {"type": "string"}])));
        assert!(!are_exclusive(json!([{"const": 1}, {"const": 1.0}])));
        assert!(!are_exclusive(json!([{"const": 1.0}, {"type": "integer"}])));
        assert!(!are_exclusive(json!([{"const": [1]}, {"const": [2]}])));
    }

    #[test]
    fn objects_exclude_each_other_by_a_property_that_both_require() {
        let of = |kind: &str, required: Value| json!({"type": "object", "properties": {"kind": {"const": kind}, "a": {"type": "string"}}, "required": required});
        assert!(are_exclusive(json!([of("x", json!(["a", "kind"])), of("y", json!(["kind"]))])));
        assert!(!are_exclusive(json!([of("x", json!(["a", "kind"])), of("x", json!(["kind"]))])));
        assert!(!are_exclusive(json!([of("x", json!(["a"])), of("y", json!(["a"]))])));
        let error =
            check_exclusive(&[json!({"type": "object"}), json!({"type": "object"})], References(&json!({})), "$.p");
        assert!(
            error
                .unwrap_err()
                .starts_with("$.p: oneOf is not supported here where its schemas 0 and 1 may both be valid")
        );
    }

    #[test]
    fn a_choice_has_a_length() {
        let numbers: Vec<Value> = (0..65).map(|number| json!({"const": number})).collect();
        assert!(are_exclusive(json!(numbers[..64])) && !are_exclusive(json!(numbers)));
        let long = |text: &str| json!({"enum": (0..100).map(|number| format!("{text}{number}")).collect::<Vec<_>>()});
        assert!(!are_exclusive(json!([long("a"), long("b")])));
    }
}
