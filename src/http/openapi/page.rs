//! The contract as a page: plain HTML made here, without a script and without anything from elsewhere.

use std::fmt::Write as _;

use serde_json::{Map, Value};

const STYLE: &str = "
  :root { color-scheme: light dark; }
  body { max-width: 60rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
  h2 { margin-top: 2rem; border-bottom: 1px solid; }
  h3 { margin: 1.5rem 0 .3rem; font-size: 1rem; }
  details { margin: .4rem 0; padding: .4rem .8rem; border: 1px solid; border-radius: .4rem; }
  summary { cursor: pointer; }
  code { font: .9em ui-monospace, monospace; }
  table { border-collapse: collapse; width: 100%; }
  td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
  b.post { color: #1c6b3c; } b.get { color: #1d5ca8; } b.delete { color: #a92a24; }
  @media (prefers-color-scheme: dark) { b.post { color: #7fd19d; } b.get { color: #8dbaf5; } b.delete { color: #ff9d94; } }
";

/// An OpenAPI document as HTML.
pub fn render(document: &Value) -> String {
    let title = escape(text(&document["info"]["title"]));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}: the interface</title>\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body><h1>{title} {}</h1><p>{}</p>\
         <p><a href=\"/openapi.json\">OpenAPI</a> · <a href=\"/schema/frames.json\">WebSocket frames</a> · <a href=\"/\">ask</a></p>",
        escape(text(&document["info"]["version"])),
        prose(text(&document["info"]["description"]))
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        group(&mut page, tag, document);
    }
    page.push_str("<h2>Objects</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let name = escape(name);
        push(&mut page, format_args!("<h3 id=\"{name}\">{name}</h3><p>{}</p>", prose(text(&schema["description"]))));
        fields(&mut page, schema);
    }
    page.push_str("</body></html>\n");
    page
}

/// Writing to a `String` cannot fail.
fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _always_ok = page.write_fmt(text);
}

fn group(page: &mut String, tag: &Value, document: &Value) {
    push(page, format_args!("<h2>{}</h2>", escape(text(&tag["description"]))));
    for (path, methods) in entries(&document["paths"]) {
        for (method, operation) in entries(methods).filter(|(_, operation)| operation["tags"][0] == tag["name"]) {
            push(
                page,
                format_args!(
                    "<details><summary><b class=\"{method}\">{}</b> <code>{}</code> {}</summary><p>{}</p>",
                    escape(&method.to_uppercase()),
                    escape(path),
                    escape(text(&operation["summary"])),
                    prose(text(&operation["description"]))
                ),
            );
            let body = &operation["requestBody"]["content"];
            if body.is_object() {
                push(page, format_args!("<p>Takes {}.</p>", content(body)));
            }
            page.push_str("<table>");
            for (status, response) in entries(&operation["responses"]) {
                let (status, meaning) = (escape(status), prose(text(&response["description"])));
                let content = content(&response["content"]);
                push(page, format_args!("<tr><td>{status}</td><td>{meaning}</td><td>{content}</td></tr>"));
            }
            page.push_str("</table></details>");
        }
    }
}

/// Media types with what they hold.
fn content(content: &Value) -> String {
    let each =
        entries(content).map(|(media, held)| format!("<code>{}</code> {}", escape(media), kind(&held["schema"])));
    each.collect::<Vec<_>>().join("<br>")
}

/// A table of an object's fields.
fn fields(page: &mut String, schema: &Value) {
    page.push_str("<table>");
    let required = schema["required"].as_array();
    for (name, field) in entries(&schema["properties"]) {
        let needed = required.is_some_and(|names| names.iter().any(|needed| needed == name));
        push(
            page,
            format_args!(
                "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>",
                escape(name),
                if needed { "" } else { " ?" },
                kind(field),
                prose(text(&field["description"]))
            ),
        );
        for (inner, held) in entries(&field["properties"]) {
            let (name, inner) = (escape(name), escape(inner));
            push(page, format_args!("<tr><td><code>{name}.{inner}</code></td><td>{}</td><td></td></tr>", kind(held)));
        }
    }
    page.push_str("</table>");
}

/// What a value may be, in words, with links to objects.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|link| link.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(several) = schema["anyOf"].as_array() {
        return several.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(known) = schema["enum"].as_array() {
        return known.iter().map(|value| escape(&value.to_string())).collect::<Vec<_>>().join(" · ");
    }
    if !schema["const"].is_null() {
        return escape(&schema["const"].to_string());
    }
    let mut words = match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        name => text(name).to_owned(),
    };
    for (limit, word) in
        [("minimum", "from"), ("maximum", "to"), ("maxLength", "of length up to"), ("maxItems", "at most")]
    {
        if !schema[limit].is_null() {
            push(&mut words, format_args!(" {word} {}", escape(&schema[limit].to_string())));
        }
    }
    words
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Escaped, with what stands in backticks as code.
fn prose(text: &str) -> String {
    let marked = escape(text);
    let parts = marked.split('`').enumerate();
    parts.map(|(place, part)| if place % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_document_says_never_becomes_markup() {
        let evil = "<script>alert(1)</script>\"";
        let document = json!({
            "info": {"title": evil, "version": evil, "description": evil},
            "tags": [{"name": "t", "description": evil}],
            "paths": {"/x": {"get": {"tags": ["t"], "summary": evil, "description": evil,
                "responses": {"200": {"description": evil, "content": {"text/html": {"schema": {"const": evil}}}}}}}},
            "components": {"schemas": {"A": {"properties": {"f": {"enum": [evil], "description": evil}}}}},
        });
        let page = render(&document);
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }
}
