//! What each address asks for. An address that is not in the table asks for what nobody has.

use actix_web::http::Method;

use super::scope::Scope;

/// What a request needs where keys are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it shows nobody's data and changes nothing.
    Open,
    /// The same, and it is not counted: whoever looks after the process hears that it lives, however much is asked from there.
    Uncounted,
    /// Any live key.
    AnyKey,
    /// A key that may do this.
    Needs(Scope),
    /// Nobody may.
    Nobody,
}

use Access::{AnyKey, Needs, Nobody, Open, Uncounted};

/// Patterns as the router has them; `/*` at the end stands for everything below. The first row that fits holds; `None` is every
/// method.
const TABLE: &[(Option<Method>, &str, Access)] = &[
    (Some(Method::GET), "/", Open),
    (Some(Method::GET), "/livez", Uncounted),
    (Some(Method::GET), "/readyz", Open),
    (Some(Method::GET), "/api/health", Needs(Scope::Metrics)),
    (Some(Method::GET), "/metrics", Needs(Scope::Metrics)),
    (Some(Method::GET), "/docs", AnyKey),
    (Some(Method::GET), "/docs/*", AnyKey),
    (Some(Method::GET), "/openapi.json", AnyKey),
    (Some(Method::GET), "/schema/*", AnyKey),
    (Some(Method::POST), "/api/ticket", AnyKey),
    (Some(Method::GET), "/api/stats", Needs(Scope::Ask)),
    (Some(Method::GET), "/api/ws/*", Needs(Scope::Ask)),
    (None, "/api/chat", Needs(Scope::Ask)),
    (None, "/api/chat/*", Needs(Scope::Ask)),
    (None, "/api/search", Needs(Scope::Ask)),
    (Some(Method::GET), "/api/files/*", Needs(Scope::Ask)),
    (None, "/api/conversations", Needs(Scope::Ask)),
    (None, "/api/conversations/*", Needs(Scope::Ask)),
    (Some(Method::POST), "/api/feedback", Needs(Scope::Ask)),
    (Some(Method::POST), "/api/analytics/feedback", Needs(Scope::Ask)),
    (None, "/v1/*", Needs(Scope::Ask)),
    (Some(Method::DELETE), "/api/documents/*", Needs(Scope::Admin)),
    (Some(Method::GET), "/api/documents", Needs(Scope::Ingest)),
    (Some(Method::POST), "/api/documents", Needs(Scope::Ingest)),
    (Some(Method::GET), "/api/documents/*", Needs(Scope::Ingest)),
    (Some(Method::POST), "/debug/panic/*", Needs(Scope::Admin)),
    (None, "/api/ingest", Needs(Scope::Ingest)),
    (None, "/api/ingest/*", Needs(Scope::Ingest)),
];

/// What a request to that pattern needs; `None` is an address that the router does not know. Nobody gets behind that: should the
/// router know it after all, no door stands open.
#[must_use]
pub fn access(method: &Method, pattern: Option<&str>) -> Access {
    let Some(pattern) = pattern else { return Nobody };
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let fits = |(of, path, _): &&(Option<Method>, &str, Access)| {
        let same_path = match path.strip_suffix("/*") {
            Some(folder) => pattern.strip_prefix(folder).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')),
            None => pattern == *path,
        };
        same_path && of.as_ref().is_none_or(|of| of == method)
    };
    TABLE.iter().find(fits).map_or(Nobody, |(_, _, access)| *access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_asks_for_its_scope() {
        let cases = [
            (Method::GET, "/", Open),
            (Method::GET, "/livez", Uncounted),
            (Method::GET, "/readyz", Open),
            (Method::GET, "/api/health", Needs(Scope::Metrics)),
            (Method::GET, "/metrics", Needs(Scope::Metrics)),
            (Method::GET, "/api/ws/chat", Needs(Scope::Ask)),
            (Method::GET, "/api/ws/chat/{conversation_id}", Needs(Scope::Ask)),
            (Method::POST, "/api/chat", Needs(Scope::Ask)),
            (Method::DELETE, "/api/conversations/{id}", Needs(Scope::Ask)),
            (Method::POST, "/v1/chat/completions", Needs(Scope::Ask)),
            (Method::POST, "/api/documents", Needs(Scope::Ingest)),
            (Method::DELETE, "/api/documents/{id:.*}", Needs(Scope::Admin)),
            (Method::HEAD, "/api/files/{document_id:.+}", Needs(Scope::Ask)),
            (Method::GET, "/api/ingest/{job}", Needs(Scope::Ingest)),
            (Method::POST, "/debug/panic/{part}", Needs(Scope::Admin)),
            (Method::POST, "/api/ticket", AnyKey),
            (Method::HEAD, "/metrics", Needs(Scope::Metrics)),
        ];
        for (method, pattern, needed) in cases {
            assert_eq!(access(&method, Some(pattern)), needed, "{method} {pattern}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_nobody_may() {
        for (method, pattern) in [
            (Method::POST, "/"),
            (Method::PUT, "/api/documents"),
            (Method::DELETE, "/api/files/{document_id:.+}"),
            (Method::GET, "/api/documentsx"),
            (Method::GET, "/api/new"),
            (Method::GET, "/api/ws/"),
            (Method::DELETE, "/metrics"),
        ] {
            assert_eq!(access(&method, Some(pattern)), Nobody, "{method} {pattern}");
        }
        assert_eq!(access(&Method::GET, None), Nobody);
    }
}
