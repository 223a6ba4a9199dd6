//! A JSON Schema becomes a grammar that [`crate::grammar`] lets through (pure).
//!
//! What is understood is kept to exactly; everything else is refused by name and place, never ignored: whoever asks for a schema goes
//! on to parse what comes. Objects have the properties that are named, the required ones first and in the order of `required`, and no
//! others; where none is required and the grammar would be too large otherwise, all of them. Texts without `maxLength` and lists
//! without `maxItems` may be as long as the answer.

mod exclusive;
mod keywords;
mod references;

use std::collections::HashSet;

use serde_json::{Map, Value};

use exclusive::check_exclusive;
use keywords::{bounds, check_keys, is_of, keys_of, kinds, required, values};
use references::References;

use crate::grammar::check_grammar;

/// Schemas within schemas, and references within what is referred to.
const MAX_DEPTH: usize = 8;
/// Properties of one object, and schemas of one `oneOf`.
const MAX_PROPERTIES: usize = 64;
/// Of all expressions together, those within others counted again: more than a grammar can have that is let through.
const MAX_BYTES: usize = 256 * 1024;

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
    written(schema, false).or_else(|_| written(schema, true))
}

fn written(schema: &Value, leaves_out_nothing: bool) -> Result<String, String> {
    let mut writer = Writer {
        references: References(schema),
        leaves_out_nothing,
        open: Vec::new(),
        rules: String::new(),
        number: 0,
        bytes: 0,
    };
    let root = writer.expression(schema, "$", 0)?;
    let grammar = format!("root ::= {root}{}{RULES}", writer.rules);
    check_grammar(&grammar).map_err(|reason| format!("it is too large: {reason}"))?;
    Ok(grammar)
}

/// Writes expressions, and the rules that they refer to more than once.
struct Writer<'s> {
    references: References<'s>,
    /// Whether objects of which nothing is required have all of their properties. If not, each may be the first, and the grammar
    /// grows with their square.
    leaves_out_nothing: bool,
    /// References that are being followed.
    open: Vec<&'s str>,
    rules: String,
    number: usize,
    bytes: usize,
}

impl<'s> Writer<'s> {
    /// One schema as the right side of a rule, in brackets where it needs some.
    fn expression(&mut self, schema: &'s Value, place: &str, depth: usize) -> Result<String, String> {
        let Value::Object(schema) = schema else { return Err(format!("{place} must be an object")) };
        if depth > MAX_DEPTH {
            return Err(format!("{place} is more than {MAX_DEPTH} schemas deep"));
        }
        let expression = if schema.contains_key("$ref") {
            self.referred(schema, place, depth)
        } else if let Some(key) = ["anyOf", "oneOf", "allOf"].into_iter().find(|key| schema.contains_key(*key)) {
            self.combined(schema, key, place, depth)
        } else {
            self.plain(schema, place, depth)
        }?;
        self.bytes += expression.len();
        if self.bytes > MAX_BYTES {
            return Err("it is too large".to_owned());
        }
        Ok(expression)
    }

    fn referred(&mut self, schema: &'s Map<String, Value>, place: &str, depth: usize) -> Result<String, String> {
        check_keys(schema, &["$ref"], place)?;
        let name = schema["$ref"].as_str().unwrap_or_default();
        let target = self.references.target(schema).ok_or_else(|| {
            format!("{place}.$ref must be a place in the schema, as \"#/$defs/name\", and \"{name}\" is none")
        })?;
        if self.open.contains(&name) {
            return Err(format!("{place}: {name} refers to itself, which is not supported here"));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(format!("{place} is more than {MAX_DEPTH} references deep"));
        }
        self.open.push(name);
        let expression = self.expression(target, place, depth)?;
        self.open.pop();
        Ok(expression)
    }

    /// `anyOf`; `oneOf` where it means the same; `allOf` of a single schema, as some write a reference with a description.
    fn combined(
        &mut self,
        schema: &'s Map<String, Value>,
        key: &str,
        place: &str,
        depth: usize,
    ) -> Result<String, String> {
        // Which of them is meant follows from the schemas.
        let known = if key == "allOf" { vec![key] } else { vec![key, "discriminator"] };
        check_keys(schema, &known, place)?;
        let schemas = schema[key].as_array().filter(|schemas| !schemas.is_empty());
        let schemas = schemas.ok_or_else(|| format!("{place}.{key} must be a list of schemas"))?;
        if key == "allOf" && schemas.len() > 1 {
            return Err(format!("{place}: allOf is not supported here with more than one schema"));
        }
        if key == "oneOf" {
            check_exclusive(schemas, self.references, place)?;
        }
        let mut one = |(number, schema): (usize, &'s Value)| {
            self.expression(schema, &format!("{place}.{key}[{number}]"), depth + 1)
        };
        Ok(any_of(schemas.iter().enumerate().map(&mut one).collect::<Result<_, _>>()?))
    }

    fn plain(&mut self, schema: &'s Map<String, Value>, place: &str, depth: usize) -> Result<String, String> {
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

    fn object(&mut self, schema: &'s Map<String, Value>, place: &str, depth: usize) -> Result<String, String> {
        if !matches!(schema.get("additionalProperties"), None | Some(Value::Bool(_))) {
            return Err(format!("{place}.additionalProperties must be true or false"));
        }
        let Some(properties) = schema.get("properties") else {
            if schema.get("required").is_some_and(|names| names.as_array().is_none_or(|names| !names.is_empty())) {
                return Err(format!("{place} has required and no properties"));
            }
            let is_empty = schema.get("additionalProperties") == Some(&Value::Bool(false));
            return Ok(if is_empty { "\"{}\"" } else { "object" }.to_owned());
        };
        let properties = properties.as_object().ok_or_else(|| format!("{place}.properties must be an object"))?;
        if properties.len() > MAX_PROPERTIES {
            return Err(format!("{place} has {} properties, {MAX_PROPERTIES} are allowed", properties.len()));
        }
        let mut required = required(schema, properties, place)?;
        if required.is_empty() && self.leaves_out_nothing {
            required = properties.keys().map(String::as_str).collect();
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

    fn array(&mut self, schema: &'s Map<String, Value>, place: &str, depth: usize) -> Result<String, String> {
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

/// Each once: what can be read in two ways is held against the vocabulary twice. Numbers have the integers among them.
fn any_of(choices: Vec<String>) -> String {
    let has_numbers = choices.iter().any(|choice| choice == "number");
    let mut seen = HashSet::new();
    let different = choices.iter().map(String::as_str).filter(|choice| !(has_numbers && *choice == "integer"));
    let different: Vec<&str> = different.filter(|choice| seen.insert(*choice)).collect();
    match different.as_slice() {
        [one] => (*one).to_owned(),
        _ => format!("({})", different.join(" | ")),
    }
}

/// A value as it is written, as a text of the grammar.
fn literal(value: &Value) -> String {
    format!("\"{}\"", value.to_string().replace('\\', "\\\\").replace('"', "\\\""))
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
        assert_eq!(root(json!({"type": "object", "required": []})), "object");
        assert_eq!(root(json!({"type": "object", "additionalProperties": false})), r#""{}""#);
    }

    #[test]
    fn many_properties_of_which_none_is_required_are_all_written() {
        let of = |number: usize| {
            let properties: Map<String, Value> =
                (0..number).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
            root(json!({"type": "object", "properties": properties}))
        };
        assert!(of(5).starts_with(r#""{" (part1 ("," s part2)?"#));
        assert!(of(20).starts_with(r#""{" "\"p0\"" ":" s string "," s "\"p1\"" ":" s string "," "#));
        assert_eq!(of(50).matches('?').count(), 0);
    }

    #[test]
    fn references_are_followed() {
        let schema = json!({
            "$ref": "#/definitions/a~1list",
            "definitions": {"a/list": {"type": "array", "items": {"$ref": "#/$defs/Level"}}},
            "$defs": {"Level": {"title": "Level", "enum": ["low", "high"]}},
        });
        assert_eq!(root(schema), r#""[" (part1 ("," s part1)*)? "]""#);
        let described = json!({
            "type": "object", "required": ["level"], "$defs": {"Level": {"const": 1}},
            "properties": {"level": {"allOf": [{"$ref": "#/$defs/Level"}], "default": 1, "description": "how hard"}},
        });
        assert_eq!(root(described), r#""{" "\"level\"" ":" s "1" "}""#);
    }

    #[test]
    fn references_that_have_no_end_are_refused() {
        let node =
            json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}});
        let list = json!({"$ref": "#/$defs/Node", "$defs": {"Node": node}});
        assert_eq!(refused(list), "$.next.anyOf[0]: #/$defs/Node refers to itself, which is not supported here");
        assert!(refused(json!({"$ref": "#"})).contains("# refers to itself"));
        let chain: Map<String, Value> =
            (0..10_000).map(|n| (n.to_string(), json!({"$ref": format!("#/$defs/{}", n + 1)}))).collect();
        assert_eq!(refused(json!({"$ref": "#/$defs/0", "$defs": chain})), "$ is more than 8 references deep");
        // Written out, this would be 50^8 times as long.
        let doubling: Map<String, Value> = (0..9)
            .map(|n| {
                let next = if n == 8 { json!({"type": "null"}) } else { json!({"$ref": format!("#/$defs/{}", n + 1)}) };
                let properties: Map<String, Value> = (0..50).map(|p| (p.to_string(), next.clone())).collect();
                let required: Vec<&String> = properties.keys().collect();
                (n.to_string(), json!({"type": "object", "required": required, "properties": properties}))
            })
            .collect();
        assert!(refused(json!({"$ref": "#/$defs/3", "$defs": doubling})).starts_with("it is too large"));
    }

    #[test]
    fn the_same_choice_is_there_once() {
        let choices = json!([{"type": "integer"}, {"type": "number"}, {"type": "null"}, {"type": "null"}]);
        assert_eq!(root(json!({"anyOf": choices})), "(number | null)");
        assert_eq!(root(json!({"enum": ["a", "a"]})), r#""\"a\"""#);
    }

    #[test]
    fn a_type_that_is_listed_twice_is_refused_before_it_is_written_twice() {
        let nested =
            (0..8).fold(json!({"type": "null"}), |items, _| json!({"type": vec!["array"; 30], "items": items}));
        assert!(refused(nested).contains("a list of different ones"));
    }

    #[test]
    fn a_name_that_is_required_twice_is_refused_without_comparing_all() {
        let required = vec!["a"; 1_000_000];
        let schema = json!({"type": "object", "properties": {"a": {"type": "null"}}, "required": required});
        assert_eq!(refused(schema), "$.required must be a list of different names");
    }

    #[test]
    fn usual_schemas_pass() {
        let name = json!({"type": "string", "minLength": 1, "maxLength": 60});
        let person = json!({"type": "object", "properties": {"name": name, "age": {"type": "integer"}}, "required": ["name", "age"]});
        let optional = |kind: Value| json!({"anyOf": [kind, {"type": "null"}], "default": null});
        for schema in [
            json!({"type": "array", "items": {"enum": ["red", "rose", "green", "grey", "blue"]}, "minItems": 1}),
            json!({"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "string"}]}}),
            json!({"type": "array", "items": person, "maxItems": 3}),
            json!({"type": "string", "maxLength": 270}),
            json!({"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}}),
            json!({"type": "object", "properties": {"person": person, "friends": {"type": "array", "items": person}}}),
            json!({"type": "object", "properties": {
                "title": {"type": "string"}, "subtitle": optional(json!({"type": "string"})), "year": optional(json!({"type": "integer"})),
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}}, "author": optional(person.clone()),
            }, "required": ["title"]}),
            json!({"type": "object", "properties": {"any": {"type": "object"}, "text": {"type": "string", "maxLength": 50}}}),
            json!({"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}}},
            "$defs": {
                "Cat": {"type": "object", "properties": {"kind": {"const": "cat", "type": "string"}, "lives": {"type": "integer"}}, "required": ["kind", "lives"]},
                "Dog": {"type": "object", "properties": {"kind": {"const": "dog", "type": "string"}, "name": {"type": "string"}}, "required": ["kind"]},
            }}),
            json!({"enum": (0..249).map(|n| format!("{}{}", char::from(b'A' + n / 26), char::from(b'A' + n % 26))).collect::<Vec<_>>()}),
        ] {
            assert!(grammar_of(&schema).is_ok(), "{schema}: {:?}", grammar_of(&schema));
        }
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
        let nowhere = "$.p.$ref must be a place in the schema, as \"#/$defs/name\", and \"#/$defs/x\" is none";
        assert_eq!(property(json!({"$ref": "#/$defs/x"})), nowhere);
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
        assert_eq!(refused(json!({"oneOf": []})), "$.oneOf must be a list of schemas");
        assert_eq!(
            refused(json!({"allOf": [{"type": "null"}, {"type": "null"}]})),
            "$: allOf is not supported here with more than one schema"
        );
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
