//! The contract for machines and people: `/openapi.json`, the same as a page at `/docs`, and `/schema/frames.json` for what
//! goes over a WebSocket. Written beside the code and built from its constants; `tests/contract/` holds it against the routes
//! and against real traffic.
//!
//! | module | what lives there |
//! |---|---|
//! | `schemas` | every object that is sent, once |
//! | `openai_schemas` | those of OpenAI's protocol |
//! | `conversation_schemas`, `course_schemas` | those of what is kept, and of documents and jobs |
//! | `operation` | how a route is written down |
//! | `operations` | every route, with its statuses |
//! | `frames` | the frames of a WebSocket |
//! | `page` | the page |

mod conversation_schemas;
mod course_schemas;
mod frames;
mod openai_schemas;
mod operation;
mod operations;
mod page;
mod schemas;

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::Doors;
use super::body::AskLimits;
use crate::guard::policy;
use schemas::Schemas;

pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/openapi.json", web::get().to(contract))
        .route("/docs", web::get().to(docs))
        .route("/schema/frames.json", web::get().to(frames_schema));
}

/// `GET /openapi.json`.
async fn contract(doors: web::Data<Doors>) -> HttpResponse {
    HttpResponse::Ok().json(document(doors.limits))
}

/// `GET /docs`.
async fn docs(doors: web::Data<Doors>) -> HttpResponse {
    let page = page::render(&document(doors.limits));
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, policy::of_page(&page)))
        .body(page)
}

/// `GET /schema/frames.json`.
async fn frames_schema(doors: web::Data<Doors>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/schema+json").body(frames::schema(doors.limits).to_string())
}

/// The OpenAPI document, with the limits that are configured.
fn document(limits: AskLimits) -> Value {
    let schemas = Schemas::new("#/components/schemas/", limits);
    let mut definitions = schemas.all();
    definitions.append(&mut openai_schemas::all(&schemas));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mentor",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A tutor over one's own course materials. Clients must ignore fields they do not know.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": operations::TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": operations::paths(&schemas),
        "components": {"schemas": definitions, "securitySchemes": security_schemes()},
    })
}

/// How a request says who asks.
fn security_schemes() -> Value {
    let key = "a key of `mentor keys create`; without any key the server answers its own machine alone, and needs none";
    let ticket = "of `POST /api/ticket`, for one GET request";
    json!({
        operation::KEY: {"type": "http", "scheme": "bearer", "description": key},
        operation::TICKET: {"type": "apiKey", "in": "query", "name": "ticket", "description": ticket},
    })
}
