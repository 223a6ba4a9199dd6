//! A JSON Schema becomes a grammar that [`crate::grammar`] lets through (pure).
//!
//! What is understood is kept to exactly; everything else is refused by name and place, never ignored: whoever asks for a schema goes
//! on to parse what comes. Objects have the properties that are named, the required ones first and in the order of `required`, and no
//! others. Texts without `maxLength` and lists without `maxItems` may be as long as the answer.

use serde_json::{Map, Value};

use crate::grammar::check_grammar;

/// Schemas within schemas.
const MAX_DEPTH: usize = 8;
/// Properties of one object: where none is required, each may be the first, and the grammar grows with their square.
const MAX_PROPERTIES: usize = 64;

/// Keys that say nothing of what is valid.
const ANNOTATIONS: [&str; 6] = ["$schema", "title", "description", "default", "examples", "$comment"];

/// Rules that expressions refer to. A text holds no escapes by number, of which half are no character; lengths are only counted where
/// each character stands for itself.
const RULES: &str = r#"
s ::= " "?
plain ::= [^"\\\x01-\x1F\x7F]
char ::= plain | "\\" ["\\/bfnrt]
string ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]*)
number ::= integer ("." [0-9]+)?
boolean ::= "true" | "false"
null ::= "null"
scalar ::= string | number | boolean | null
scalars ::= "[" (scalar ("," s scalar)*)? "]"
field ::= string ":" s scalar
fields ::= "{" (field ("," s field)*)? "}"
member ::= string ":" s (scalar | scalars | fields)
object ::= "{" (member ("," s member)*)? "}"
"#;

/// The grammar of the JSON texts that are valid by `schema`. `{"type":"object"}` alone is any object whose values are texts, numbers,
/// and lists and objects of such.
///
/// # Errors
/// What is wrong with the schema or not supported, as half a sentence with its place.
pub fn grammar_of(schema: &Value) -> Result<String, String> {
    let mut writer = Writer::default();
    let root = writer.expression(schema, "$", 0)?;
    let grammar = format!("root ::= {root}{}{RULES}", writer.rules);
    check_grammar(&grammar).map_err(|reason| format!("it is too large: {reason}"))?;
    Ok(grammar)
}

/// Writes expressions, and the rules that they refer to more than once.
#[derive(Default)]
struct Writer {
    rules: String,
    number: usize,
}

impl Writer {
    /// One schema as the right side of a rule, in brackets where it needs some.
    fn expression(&mut self, schema: &Value, place: &str, depth: usize) -> Result<String, String> {
        let Value::Object(schema) = schema else { return Err(format!("{place} must be an object")) };
        if depth > MAX_DEPTH {
            return Err(format!("{place} is more than {MAX_DEPTH} schemas deep"));
        }
        if let Some(choices) = schema.get("anyOf") {
            check_keys(schema, &["anyOf"], place)?;
            let choices = choices.as_array().filter(|choices| !choices.is_empty());
            let choices = choices.ok_or_else(|| format!("{place}.anyOf must be a list of schemas"))?;
            let mut choice = |(number, choice): (usize, &Value)| {
                self.expression(choice, &format!("{place}.anyOf[{number}]"), depth + 1)
            };
            return Ok(any_of(choices.iter().enumerate().map(&mut choice).collect::<Result<_, _>>()?));
        }
        let kinds = kinds(schema, place)?;
        if let Some(values) = values(schema, place)? {
            check_keys(schema, &["type", "enum", "const"], place)?;
            let wrong = values.iter().find(|value| !kinds.is_empty() && !kinds.iter().any(|kind| is_of(value, kind)));
            return match wrong {
                Some(value) => Err(format!("{place}: {value} is not of its type")),
                None => Ok(any_of(values.into_iter().map(literal).collect())),
            };
        }
        if kinds.is_empty() {
            return Err(format!("{place} has no type"));
        }
        let keys: Vec<&str> = kinds.iter().flat_map(|kind| keys_of(kind)).copied().chain(["type"]).collect();
        check_keys(schema, &keys, place)?;
        let mut of_kind = |kind: &&str| match *kind {
            "object" => self.object(schema, place, depth),
            "array" => self.array(schema, place, depth),
            "string" => string(schema, place),
            plain => Ok(plain.to_owned()),
        };
        Ok(any_of(kinds.iter().map(&mut of_kind).collect::<Result<_, _>>()?))
    }

    fn object(&mut self, schema: &Map<String, Value>, place: &str, depth: usize) -> Result<String, String> {
        if !matches!(schema.get("additionalProperties"), None | Some(Value::Bool(_))) {
            return Err(format!("{place}.additionalProperties must be true or false"));
        }
        let Some(properties) = schema.get("properties") else {
            let is_any = schema.get("required").is_none();
            return if is_any {
                Ok("object".to_owned())
            } else {
                Err(format!("{place} has required and no properties"))
            };
        };
        let properties = properties.as_object().ok_or_else(|| format!("{place}.properties must be an object"))?;
        let required = required(schema, properties, place)?;
        if properties.len() > MAX_PROPERTIES {
            return Err(format!("{place} has {} properties, {MAX_PROPERTIES} are allowed", properties.len()));
        }
        let mut member = |name: &str| -> Result<String, String> {
            let value = self.expression(&properties[name], &format!("{place}.{name}"), depth + 1)?;
            Ok(format!("{} \":\" s {value}", literal(&Value::String(name.to_owned()))))
        };
        let always = required.iter().map(|name| member(name)).collect::<Result<Vec<_>, String>>()?;
        let others = properties.keys().filter(|name| !required.contains(&name.as_str()));
        let others = others.map(|name| member(name)).collect::<Result<Vec<_>, String>>()?;
        let following =
            |members: &[String]| members.iter().map(|member| format!(" (\",\" s {member})?")).collect::<String>();
        if !always.is_empty() {
            return Ok(format!("\"{{\" {}{} \"}}\"", always.join(" \",\" s "), following(&others)));
        }
        // Each of them may be the first, and is written once all the same.
        let others: Vec<String> = others.into_iter().map(|member| self.named(member)).collect();
        let firsts = (0..others.len()).map(|first| others[first].clone() + &following(&others[first + 1..]));
        let firsts: Vec<String> = firsts.collect();
        Ok(if firsts.is_empty() { "\"{}\"".to_owned() } else { format!("\"{{\" ({})? \"}}\"", firsts.join(" | ")) })
    }

    fn array(&mut self, schema: &Map<String, Value>, place: &str, depth: usize) -> Result<String, String> {
        let items = schema.get("items").ok_or_else(|| format!("{place} has no items"))?;
        let item = self.expression(items, &format!("{place}.items"), depth + 1)?;
        let item = self.named(item);
        let (least, most) = bounds(schema, "minItems", "maxItems", place)?;
        if most == Some(0) {
            return Ok("\"[]\"".to_owned());
        }
        let more = times(&format!("(\",\" s {item})"), least.saturating_sub(1), most.map(|most| most - 1));
        let list = format!("{item}{more}");
        Ok(if least == 0 { format!("\"[\" ({list})? \"]\"") } else { format!("\"[\" {list} \"]\"") })
    }

    /// A name for an expression, so that it is written once however often it stands somewhere.
    fn named(&mut self, expression: String) -> String {
        if expression.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return expression;
        }
        self.number += 1;
        let name = format!("part{}", self.number);
        self.rules.push_str(&format!("\n{name} ::= {expression}"));
        name
    }
}

/// What `type` says; nothing where there is none.
fn kinds<'s>(schema: &'s Map<String, Value>, place: &str) -> Result<Vec<&'s str>, String> {
    let given = match schema.get("type") {
        None => return Ok(Vec::new()),
        Some(Value::Array(kinds)) if !kinds.is_empty() => kinds.iter().map(Value::as_str).collect(),
        Some(kind) => vec![kind.as_str()],
    };
    let known =
        |kind: Option<&'s str>| kind.filter(|kind| *kind == "null" || !keys_of(kind).is_empty() || is_plain(kind));
    let wrong =
        || format!("{place}.type must be object, array, string, number, integer, boolean or null, or a list of them");
    given.into_iter().map(|kind| known(kind).ok_or_else(wrong)).collect()
}

fn is_plain(kind: &str) -> bool {
    ["number", "integer", "boolean", "null"].contains(&kind)
}

/// What is understood beside the annotations.
fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "object" => &["properties", "required", "additionalProperties"],
        "array" => &["items", "minItems", "maxItems"],
        "string" => &["minLength", "maxLength"],
        _ => &[],
    }
}

fn check_keys(schema: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), String> {
    let unknown = schema.keys().find(|key| !known.contains(&key.as_str()) && !ANNOTATIONS.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(format!("{place}: {key} is not supported here")))
}

/// The values that are listed, if they are.
fn values<'s>(schema: &'s Map<String, Value>, place: &str) -> Result<Option<Vec<&'s Value>>, String> {
    match (schema.get("enum"), schema.get("const")) {
        (None, None) => Ok(None),
        (None, Some(value)) => Ok(Some(vec![value])),
        (Some(Value::Array(values)), None) if !values.is_empty() => Ok(Some(values.iter().collect())),
        (Some(_), None) => Err(format!("{place}.enum must be a list of values")),
        (Some(_), Some(_)) => Err(format!("{place} has both enum and const")),
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
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

fn any_of(mut choices: Vec<String>) -> String {
    if choices.len() == 1 { choices.remove(0) } else { format!("({})", choices.join(" | ")) }
}

/// A value as it is written, as a text of the grammar.
fn literal(value: &Value) -> String {
    format!("\"{}\"", value.to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

fn required<'s>(
    schema: &'s Map<String, Value>,
    properties: &Map<String, Value>,
    place: &str,
) -> Result<Vec<&'s str>, String> {
    let Some(names) = schema.get("required") else { return Ok(Vec::new()) };
    let wrong = || format!("{place}.required must be a list of different names");
    let names = names.as_array().ok_or_else(wrong)?.iter().map(Value::as_str);
    let names = names.collect::<Option<Vec<&str>>>().ok_or_else(wrong)?;
    if (1..names.len()).any(|number| names[..number].contains(&names[number])) {
        return Err(wrong());
    }
    match names.iter().find(|name| !properties.contains_key(**name)) {
        Some(name) => Err(format!("{place}: {name} is required and no property")),
        None => Ok(names),
    }
}

fn string(schema: &Map<String, Value>, place: &str) -> Result<String, String> {
    let (least, most) = bounds(schema, "minLength", "maxLength", place)?;
    if (least, most) == (0, None) {
        return Ok("string".to_owned());
    }
    Ok(format!("\"\\\"\"{} \"\\\"\"", times("plain", least, most)))
}

/// So many times, with a space before; nothing for none at all.
fn times(part: &str, least: usize, most: Option<usize>) -> String {
    match most {
        Some(0) => String::new(),
        Some(most) => format!(" {part}{{{least},{most}}}"),
        None if least == 0 => format!(" {part}*"),
        None => format!(" {part}{{{least},}}"),
    }
}

fn bounds(
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The rule `root`.
    fn root(schema: Value) -> String {
        let grammar = grammar_of(&schema).unwrap_or_else(|reason| panic!("{schema}: {reason}"));
        grammar.lines().next().unwrap().trim_start_matches("root ::= ").to_owned()
    }

    fn refused(schema: Value) -> String {
        grammar_of(&schema).expect_err(&schema.to_string())
    }

    #[test]
    fn scalars_are_rules() {
        for kind in ["string", "number", "integer", "boolean", "null"] {
            assert_eq!(root(json!({"type": kind, "title": "t", "description": "d"})), kind);
        }
        assert_eq!(root(json!({"type": ["string", "null"]})), "(string | null)");
    }

    #[test]
    fn texts_have_their_length() {
        assert_eq!(root(json!({"type": "string", "maxLength": 20})), r#""\"" plain{0,20} "\"""#);
        assert_eq!(root(json!({"type": "string", "minLength": 2})), r#""\"" plain{2,} "\"""#);
        assert_eq!(root(json!({"type": "string", "maxLength": 0})), r#""\"" "\"""#);
    }

    #[test]
    fn listed_values_are_written_as_they_are() {
        let values = json!({"enum": ["a \"b\"", 1.5, null, {"k": [true]}, "ä\n"]});
        assert_eq!(root(values), r#"("\"a \\\"b\\\"\"" | "1.5" | "null" | "{\"k\":[true]}" | "\"ä\\n\"")"#);
        assert_eq!(root(json!({"type": "integer", "const": 7})), r#""7""#);
    }

    #[test]
    fn lists_have_their_number_of_items() {
        let list = |extra: Value| {
            let mut schema = json!({"type": "array", "items": {"type": "null"}});
            extra.as_object().unwrap().iter().for_each(|(key, value)| schema[key] = value.clone());
            root(schema)
        };
        assert_eq!(list(json!({})), r#""[" (null ("," s null)*)? "]""#);
        assert_eq!(list(json!({"maxItems": 3})), r#""[" (null ("," s null){0,2})? "]""#);
        assert_eq!(list(json!({"minItems": 2, "maxItems": 3})), r#""[" null ("," s null){1,2} "]""#);
        assert_eq!(list(json!({"minItems": 2})), r#""[" null ("," s null){1,} "]""#);
        assert_eq!(list(json!({"minItems": 1, "maxItems": 1})), r#""[" null "]""#);
        assert_eq!(list(json!({"maxItems": 0})), r#""[]""#);
    }

    #[test]
    fn objects_have_their_required_properties_first_and_the_others_where_they_like() {
        let of = |required: Value| {
            let property = json!({"type": "null"});
            root(
                json!({"type": "object", "properties": {"a": property, "b": property, "c": property}, "required": required}),
            )
        };
        let all = of(json!(["c", "a", "b"]));
        assert_eq!(all, r#""{" "\"c\"" ":" s null "," s "\"a\"" ":" s null "," s "\"b\"" ":" s null "}""#);
        let one = of(json!(["b"]));
        assert_eq!(one, r#""{" "\"b\"" ":" s null ("," s "\"a\"" ":" s null)? ("," s "\"c\"" ":" s null)? "}""#);
        let none = of(json!([]));
        assert_eq!(none, r#""{" (part1 ("," s part2)? ("," s part3)? | part2 ("," s part3)? | part3)? "}""#);
        assert_eq!(root(json!({"type": "object", "properties": {}, "additionalProperties": false})), r#""{}""#);
        assert_eq!(root(json!({"type": "object"})), "object");
    }

    #[test]
    fn a_schema_as_clients_send_them_is_taken_whole() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Quiz", "type": "object",
            "properties": {
                "question": {"type": "string", "maxLength": 80},
                "choices": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 4},
                "right": {"type": "integer"},
                "level": {"enum": ["easy", "hard"]},
                "source": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"page": {"type": "number"}}, "required": ["page"]}]},
            },
            "required": ["question", "choices", "right", "level", "source"], "additionalProperties": false,
        });
        let root = root(schema);
        assert!(root.contains(r#""\"source\"" ":" s (null | "{" "\"page\"" ":" s number "}")"#), "{root}");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_name_and_place() {
        let property = |schema: Value| refused(json!({"type": "object", "properties": {"p": schema}}));
        assert_eq!(property(json!({"type": "string", "pattern": "^a"})), "$.p: pattern is not supported here");
        assert_eq!(property(json!({"type": "number", "minimum": 1})), "$.p: minimum is not supported here");
        assert_eq!(property(json!({"type": "null", "maxLength": 1})), "$.p: maxLength is not supported here");
        assert_eq!(property(json!({"$ref": "#/$defs/x"})), "$.p has no type");
        assert_eq!(property(json!({})), "$.p has no type");
        assert_eq!(property(json!(true)), "$.p must be an object");
        assert!(property(json!({"type": "text"})).starts_with("$.p.type must be"));
        assert_eq!(property(json!({"type": "array"})), "$.p has no items");
        assert_eq!(refused(json!({"type": "object", "required": ["a"]})), "$ has required and no properties");
        let unknown = json!({"type": "object", "properties": {}, "required": ["a"]});
        assert_eq!(refused(unknown), "$: a is required and no property");
        let typed = json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}});
        assert_eq!(refused(typed), "$.additionalProperties must be true or false");
        assert_eq!(refused(json!({"type": "string", "enum": ["a", 1]})), "$: 1 is not of its type");
        assert_eq!(
            refused(json!({"type": "string", "minLength": 3, "maxLength": 2})),
            "$: maxLength is less than minLength"
        );
        assert_eq!(refused(json!({"type": "string", "maxLength": -1})), "$.maxLength must be a whole number");
        assert_eq!(refused(json!({"oneOf": []})), "$ has no type");
        assert_eq!(refused(json!({"anyOf": []})), "$.anyOf must be a list of schemas");
        let both = json!({"anyOf": [{"type": "null"}], "type": "string"});
        assert_eq!(refused(both), "$: type is not supported here");
    }

    #[test]
    fn what_is_too_deep_or_too_large_is_refused() {
        let nested =
            |depth| (0..depth).fold(json!({"type": "null"}), |items, _| json!({"type": "array", "items": items}));
        assert!(grammar_of(&nested(6)).is_ok());
        assert!(refused(nested(9)).contains("more than 8 schemas deep"));
        // Written out at every place, this would be 2^8 and 64^8 times as long.
        let wide = |inner: Value| {
            (0..40).fold(json!({"type": "object", "properties": {"z": inner}}), |mut object, n| {
                object["properties"][format!("p{n}")] = json!({"type": "null"});
                object
            })
        };
        let deep = (0..7).fold(json!({"type": "null"}), |inner, _| wide(inner));
        assert!(refused(deep).starts_with("it is too large: "));
        let many: Map<String, Value> = (0..65).map(|n| (n.to_string(), json!({"type": "null"}))).collect();
        assert_eq!(refused(json!({"type": "object", "properties": many})), "$ has 65 properties, 64 are allowed");
        assert!(refused(json!({"type": "string", "maxLength": 1_900})).starts_with("it is too large: "));
        assert!(refused(json!({"type": "string", "maxLength": 99_999_999})).starts_with("it is too large: "));
    }
}
