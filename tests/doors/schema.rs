//! JSON Schema, as far as the published contract uses it, and stricter: an object may only have the fields that are named.

use serde_json::Value;

/// What is wrong with `value` by `schema`, if anything; `document` is where references lead.
pub fn check(value: &Value, schema: &Value, document: &Value) -> Result<(), String> {
    Checker { document, strict: true }.check(value, schema, "$")
}

struct Checker<'a> {
    document: &'a Value,
    /// Whether a field that is not named is an error. Not within `allOf` and `not`, which look at the same object again.
    strict: bool,
}

/// What a schema may say; anything else would go unnoticed here.
const KNOWN: &[&str] = &[
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "description",
    "enum",
    "example",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "not",
    "pattern",
    "properties",
    "required",
    "type",
];

impl Checker<'_> {
    fn check(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        let schema_fields = schema.as_object().ok_or_else(|| format!("{place}: the schema is {schema}"))?;
        if let Some(unknown) = schema_fields.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("{place}: the schema has {unknown}, which is not checked here"));
        }
        if let Some(link) = schema["$ref"].as_str() {
            let found = self.document.pointer(link.trim_start_matches('#'));
            self.check(value, found.ok_or_else(|| format!("{link} leads nowhere"))?, place)?;
        }
        self.kind(value, &schema["type"], place)?;
        self.constants(value, schema, place)?;
        self.combinations(value, schema, place)?;
        bounds(value, schema, place)?;
        self.fields(value, schema, place)?;
        if let (Some(items), false) = (value.as_array(), schema["items"].is_null()) {
            for (index, item) in items.iter().enumerate() {
                self.check(item, &schema["items"], &format!("{place}[{index}]"))?;
            }
        }
        Ok(())
    }

    fn kind(&self, value: &Value, kind: &Value, place: &str) -> Result<(), String> {
        let is = |kind: &Value| match kind.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("unknown type {other}"),
        };
        let fits = match kind {
            Value::Null => true,
            Value::Array(kinds) => kinds.iter().any(is),
            kind => is(kind),
        };
        if fits { Ok(()) } else { Err(format!("{place}: {value} is not {kind}")) }
    }

    fn constants(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        if !schema["const"].is_null() && schema["const"] != *value {
            return Err(format!("{place}: {value} is not {}", schema["const"]));
        }
        match schema["enum"].as_array() {
            Some(known) if !known.contains(value) => Err(format!("{place}: {value} is none of {known:?}")),
            _ => Ok(()),
        }
    }

    fn combinations(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        if let Some(several) = schema["anyOf"].as_array() {
            let wrong: Vec<String> = several.iter().map_while(|one| self.check(value, one, place).err()).collect();
            if wrong.len() == several.len() {
                return Err(format!("{place}: none fits: {}", wrong.join("; ")));
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.check(value, part, place)?;
        }
        let lenient = Checker { strict: false, ..*self };
        if !schema["not"].is_null() && lenient.check(value, &schema["not"], place).is_ok() {
            return Err(format!("{place}: {value} is what it must not be"));
        }
        Ok(())
    }

    fn fields(&self, value: &Value, schema: &Value, place: &str) -> Result<(), String> {
        let Some(object) = value.as_object() else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap()) {
                return Err(format!("{place}: {name} is missing"));
            }
        }
        let (known, others) = (&schema["properties"], &schema["additionalProperties"]);
        for (name, field) in object {
            let place = format!("{place}.{name}");
            match (known.get(name), others) {
                (Some(schema), _) => self.check(field, schema, &place)?,
                (None, schema @ Value::Object(_)) => self.check(field, schema, &place)?,
                (None, _) if known.is_object() && self.strict => return Err(format!("{place} is not documented")),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

fn bounds(value: &Value, schema: &Value, place: &str) -> Result<(), String> {
    let length = value.as_str().map(|text| text.chars().count()).or(value.as_array().map(Vec::len));
    let size = value.as_f64().or(length.and_then(|length| u32::try_from(length).ok()).map(f64::from));
    let Some(size) = size else { return Ok(()) };
    for (least, most) in [("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")] {
        let (least, most) = (schema[least].as_f64(), schema[most].as_f64());
        if least.is_some_and(|least| size < least) || most.is_some_and(|most| size > most) {
            return Err(format!("{place}: {size} is not within {least:?} and {most:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_wrong_value_is_found() {
    use serde_json::json;
    let document = json!({"A": {"type": "object", "required": ["n"], "properties": {
        "n": {"type": "integer", "minimum": 1}, "w": {"enum": ["x"]}, "l": {"type": "array", "items": {"$ref": "#/A"}}}}});
    let wrong = |value: Value| check(&value, &document["A"], &document).is_err();
    assert!(!wrong(json!({"n": 1, "w": "x", "l": [{"n": 2}]})));
    for value in [
        json!(1),
        json!({}),
        json!({"n": 0}),
        json!({"n": 1.5}),
        json!({"n": 1, "w": "y"}),
        json!({"n": 1, "l": [{"n": 0}]}),
        json!({"n": 1, "other": true}),
    ] {
        assert!(wrong(value.clone()), "{value}");
    }
    let one_of = json!({"anyOf": [{"$ref": "#/A"}, {"type": "null"}]});
    assert!(check(&json!(null), &one_of, &document).is_ok() && check(&json!(1), &one_of, &document).is_err());
    let without = json!({"allOf": [{"$ref": "#/A"}], "not": {"required": ["w"]}});
    assert!(check(&json!({"n": 1}), &without, &document).is_ok());
    assert!(check(&json!({"n": 1, "w": "x"}), &without, &document).is_err());
}
