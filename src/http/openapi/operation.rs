//! How a route is written down. What is common to many is filled in here: the errors that any request may meet, who may ask.

use std::collections::BTreeMap;

use actix_web::http::Method;
use mentor_actors::domain::ErrorCode;
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::guard::{Access, access};
use crate::http::errors::status;

/// Names of the two ways to say who asks.
pub const KEY: &str = "key";
pub const TICKET: &str = "ticket";

/// A route.
#[derive(Default)]
pub struct Operation {
    pub path: &'static str,
    pub method: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    pub takes: Body,
    /// Parameters of the query and header fields: name, where it stands, schema. Those of the path are filled in.
    pub reads: Vec<(&'static str, &'static str, Value)>,
    /// Status, description, content by media type.
    pub gives: Vec<(u16, &'static str, Value)>,
    pub fails: Failures,
}

/// What a route reads after its head.
#[derive(Default)]
pub enum Body {
    #[default]
    Nothing,
    /// An object of that name.
    Json(&'static str),
    /// The same, or nothing.
    OptionalJson(&'static str),
    /// Files.
    Files,
}

/// Which errors a route may answer with, and in which shape.
#[derive(Clone, Copy)]
pub enum Failures {
    Ours(&'static [ErrorCode]),
    /// Ours, and 422 for JSON with wrong fields.
    OursOfBody(&'static [ErrorCode]),
    OpenAi(&'static [ErrorCode]),
}

impl Default for Failures {
    fn default() -> Self {
        Self::Ours(&[])
    }
}

/// What every request may meet before its handler.
const ANY: &[ErrorCode] = &[ErrorCode::Forbidden, ErrorCode::Overloaded];

pub fn of_json(schemas: &Schemas, name: &str) -> Value {
    json!({"application/json": {"schema": schemas.link(name)}})
}

pub fn of_text(media: &str) -> Value {
    json!({media: {"schema": {"type": "string"}}})
}

/// No body.
pub fn nothing() -> Value {
    json!({})
}

impl Body {
    fn json(&self, schemas: &Schemas) -> Option<Value> {
        let files = || {
            let file = json!({"type": "string", "contentMediaType": "application/octet-stream"});
            json!({"multipart/form-data": {"schema": {"type": "object", "additionalProperties": file}}})
        };
        match self {
            Self::Nothing => None,
            Self::Json(name) => Some(json!({"required": true, "content": of_json(schemas, name)})),
            Self::OptionalJson(name) => Some(json!({"required": false, "content": of_json(schemas, name)})),
            Self::Files => Some(json!({"required": true, "content": files()})),
        }
    }
}

impl Operation {
    pub fn json(&self, schemas: &Schemas) -> Value {
        let mut operation = json!({
            "operationId": self.id(),
            "tags": [self.tag],
            "summary": self.summary,
            "security": self.security(),
            "responses": self.responses(schemas),
        });
        if !self.description.is_empty() {
            operation["description"] = json!(self.description);
        }
        if let Some(body) = self.takes.json(schemas) {
            operation["requestBody"] = body;
        }
        let parameters = self.parameters(schemas);
        if !parameters.is_empty() {
            operation["parameters"] = json!(parameters);
        }
        operation
    }

    /// Method and path in words: `post_api_chat`.
    fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        std::iter::once(self.method).chain(words).collect::<Vec<_>>().join("_")
    }

    /// What the guard asks of it, by the guard's own table.
    fn access(&self) -> Access {
        // All methods here are plain words, so none is refused.
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes()).unwrap_or_default();
        access(&method, Some(self.path))
    }

    /// Either way will do, and none where there are no keys; a ticket goes with a GET alone.
    fn security(&self) -> Value {
        let scopes = match self.access() {
            Access::Open | Access::Uncounted => return json!([]),
            Access::Needs(scope) => vec![scope.to_string()],
            Access::AnyKey | Access::Nobody => Vec::new(),
        };
        let mut ways = vec![json!({KEY: scopes})];
        if self.method == "get" {
            ways.push(json!({TICKET: scopes}));
        }
        json!(ways)
    }

    fn responses(&self, schemas: &Schemas) -> Value {
        let mut responses = Map::new();
        for (status, codes) in self.failures() {
            let mut response = json!({"description": codes.join(", "), "content": self.fails.content(schemas)});
            if status == 429 || status == 503 {
                let seconds = json!({"description": "seconds", "schema": {"type": "integer", "minimum": 1}});
                response["headers"] = json!({"Retry-After": seconds});
            }
            if status == 401 {
                response["headers"] = json!({"WWW-Authenticate": {"schema": {"const": "Bearer"}}});
            }
            responses.insert(status.to_string(), response);
        }
        for (status, description, content) in &self.gives {
            let mut response = json!({"description": description});
            if content.as_object().is_some_and(|content| !content.is_empty()) {
                response["content"] = content.clone();
            }
            responses.insert(status.to_string(), response);
        }
        Value::Object(responses)
    }

    /// Statuses of errors with their codes, those that any request may meet among them.
    fn failures(&self) -> BTreeMap<u16, Vec<&'static str>> {
        let (Failures::Ours(codes) | Failures::OursOfBody(codes) | Failures::OpenAi(codes)) = self.fails;
        let mut statuses: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        let needs_key = if matches!(self.access(), Access::Open | Access::Uncounted) {
            None
        } else {
            Some(&ErrorCode::Unauthorized)
        };
        for code in needs_key.into_iter().chain(ANY).chain(codes) {
            let known = statuses.entry(status(*code).as_u16()).or_default();
            if !known.contains(&code.as_str()) {
                known.push(code.as_str());
            }
        }
        statuses.insert(431, vec!["too_large: the head of the request"]);
        if matches!(self.fails, Failures::OursOfBody(_)) {
            statuses.insert(422, vec!["invalid_request: JSON with wrong or missing fields"]);
        }
        statuses
    }

    fn parameters(&self, schemas: &Schemas) -> Vec<Value> {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
        let schema = |name| match name {
            "conversation_id" => schemas.link("Id"),
            _ => json!({"type": "string", "minLength": 1}),
        };
        let in_path = names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": schema(name)}));
        let others = self.reads.iter().map(|(name, place, schema)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let mut parameter = json!({"name": name, "in": place, "required": false, "schema": schema});
            if let Some(description) = description {
                parameter["description"] = description;
            }
            parameter
        });
        in_path.chain(others).collect()
    }
}

impl Failures {
    fn content(self, schemas: &Schemas) -> Value {
        of_json(schemas, if matches!(self, Self::OpenAi(_)) { "OpenAiError" } else { "Error" })
    }
}
