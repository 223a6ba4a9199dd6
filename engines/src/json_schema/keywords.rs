//! What the keywords of a schema say (pure).
//!
//! Errors are half a sentence with the schema's place.

use serde_json::{Map, Value};

/// Keys that say nothing of what is valid.
pub(super) const ANNOTATIONS: [&str; 8] =
    ["$schema", "$defs", "definitions", "title", "description", "default", "examples", "$comment"];

/// What `type` says; nothing where there is none.
pub(super) fn kinds<'s>(schema: &'s Map<String, Value>, place: &str) -> Result<Vec<&'s str>, String> {
    let given = match schema.get("type") {
        None => return Ok(Vec::new()),
        Some(Value::Array(kinds)) if !kinds.is_empty() => kinds.as_slice(),
        Some(kind) => std::slice::from_ref(kind),
    };
    let is_known = |kind: &&str| *kind == "null" || !keys_of(kind).is_empty() || is_plain(kind);
    let mut kinds = Vec::new();
    for kind in given {
        let kind = kind.as_str().filter(is_known).filter(|kind| !kinds.contains(kind));
        kinds.push(kind.ok_or_else(|| {
            format!("{place}.type must be object, array, string, number, integer, boolean or null, or a list of different ones")
        })?);
    }
    Ok(kinds)
}

pub(super) fn is_plain(kind: &str) -> bool {
    ["number", "integer", "boolean", "null"].contains(&kind)
}

/// What is understood beside the annotations.
pub(super) fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "object" => &["properties", "required", "additionalProperties"],
        "array" => &["items", "minItems", "maxItems"],
        "string" => &["minLength", "maxLength"],
        _ => &[],
    }
}

pub(super) fn check_keys(schema: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), String> {
    let unknown = schema.keys().find(|key| !known.contains(&key.as_str()) && !ANNOTATIONS.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(format!("{place}: {key} is not supported here")))
}

/// The values that are listed, if they are.
pub(super) fn values<'s>(schema: &'s Map<String, Value>, place: &str) -> Result<Option<Vec<&'s Value>>, String> {
    match (schema.get("enum"), schema.get("const")) {
        (None, None) => Ok(None),
        (None, Some(value)) => Ok(Some(vec![value])),
        (Some(Value::Array(values)), None) if !values.is_empty() => Ok(Some(values.iter().collect())),
        (Some(_), None) => Err(format!("{place}.enum must be a list of values")),
        (Some(_), Some(_)) => Err(format!("{place} has both enum and const")),
    }
}

pub(super) fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    }
}

pub(super) fn required<'s>(
    schema: &'s Map<String, Value>,
    properties: &Map<String, Value>,
    place: &str,
) -> Result<Vec<&'s str>, String> {
    let Some(names) = schema.get("required") else { return Ok(Vec::new()) };
    let wrong = || format!("{place}.required must be a list of different names");
    let names = names.as_array().ok_or_else(wrong)?.iter().map(Value::as_str);
    let names = names.collect::<Option<Vec<&str>>>().ok_or_else(wrong)?;
    if let Some(name) = names.iter().find(|name| !properties.contains_key(**name)) {
        return Err(format!("{place}: {name} is required and no property"));
    }
    // More names than properties cannot be different, and need no comparison.
    if names.len() > properties.len() || (1..names.len()).any(|number| names[..number].contains(&names[number])) {
        return Err(wrong());
    }
    Ok(names)
}

pub(super) fn bounds(
    schema: &Map<String, Value>,
    least_key: &str,
    most_key: &str,
    place: &str,
) -> Result<(usize, Option<usize>), String> {
    let number = |key: &str| {
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let wrong = || format!("{place}.{key} must be a whole number");
        schema.get(key).map(|value| number(value).ok_or_else(wrong)).transpose()
    };
    let (least, most) = (number(least_key)?.unwrap_or(0), number(most_key)?);
    match most {
        Some(most) if most < least => Err(format!("{place}: {most_key} is less than {least_key}")),
        _ => Ok((least, most)),
    }
}
