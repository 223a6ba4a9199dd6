//! What every request passes before its handler: the guard's decision, what browsers of other sites are told, and the headers of
//! every response.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpResponse, web};
use futures_util::{StreamExt as _, stream};
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::TurnError;
use tokio::time::Instant;

use super::idle::{InFlight, Watched};
use super::{ApiError, refusal};
use crate::guard::{self, Asked, Client, Guard, Place, Principal, policy};

/// What a byte of a body may take once it flows: 500 a second, as Apache's `MinRate` has it.
const SLOWEST_BYTE: Duration = Duration::from_millis(2);

/// How long a browser remembers what another site's pages may send, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// How long a browser refuses to come without TLS, in seconds: half a year.
const TLS_SECONDS: &str = "max-age=15552000";

/// The close frame of a WebSocket whose key has ended: code 1008, and why.
const CLOSE_NOT_ALLOWED: &[u8] = b"\x88\x17\x03\xf0the API key has ended";

/// Lets a request through, with its [`Client`] in its extensions, or answers it.
pub async fn admit<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<Held<B>>>, actix_web::Error> {
    let Some(guard) = request.app_data::<web::Data<Guard>>().cloned() else {
        return Err(actix_web::error::ErrorInternalServerError("there is no guard"));
    };
    let in_flight = request.conn_data::<Watched>().map(Watched::begin);
    let site = guard.listed_origin(request.headers()).map(ToString::to_string);
    let mut response = match examine(&guard, &request) {
        Err(error) => {
            let refusal = refusal(request.path(), error);
            request.into_response(refusal.error_response()).map_into_right_body()
        }
        Ok(_) if is_preflight(&request) => request.into_response(preflight(site.is_some())).map_into_right_body(),
        Ok(guard::Admitted { client, place }) => {
            let ended = ended(client.principal());
            request.extensions_mut().insert(client);
            hurry(&mut request, guard.patience().body);
            let response = next.call(request).await?;
            response.map_body(|head, body| Held::new(body, head.status, ended, (place, in_flight))).map_into_left_body()
        }
    };
    tell_site(response.headers_mut(), site);
    Ok(response)
}

fn examine(guard: &Guard, request: &ServiceRequest) -> Result<guard::Admitted, ApiError> {
    guard::check_head(request.uri(), request.headers()).map_err(ApiError::large_head)?;
    let pattern = pattern(request);
    // A socket without a peer is not one of the network; there is none here.
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let asked = Asked {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        pattern: pattern.as_deref(),
        is_preflight: is_preflight(request),
        peer,
    };
    let refuse = |error: TurnError| {
        tracing::debug!(code = error.code.as_str(), pattern = asked.pattern, "refused");
        ApiError::from(error)
    };
    guard.admit(&asked).map_err(refuse)
}

/// The route that the router will choose. [`ServiceRequest::match_pattern`] looks at the path as it was sent before it has been
/// routed, but the router at its decoded form: `/%61pi/chat` would be no route for the one and `/api/chat` for the other.
pub fn pattern(request: &ServiceRequest) -> Option<String> {
    request.resource_map().match_pattern(request.match_info().unprocessed())
}

/// A browser asks whether another site's page may send something; it sends no key with that.
fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(is_listed: bool) -> HttpResponse {
    let mut response = HttpResponse::build(if is_listed { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN });
    if is_listed {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, last-event-id"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS));
    }
    response.finish()
}

/// The browser shows the answer to that site's page. Keys are sent by pages themselves, so cookies are not allowed for.
fn tell_site(headers: &mut HeaderMap, site: Option<String>) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(site) = site.and_then(|site| HeaderValue::from_str(&site).ok()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, site);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
}

/// A body that comes too slowly ends with an error, whoever reads it.
fn hurry(request: &mut ServiceRequest, patience: Duration) {
    // Nobody reads the body of a GET but a WebSocket.
    if request.method() == Method::GET {
        return;
    }
    let body = request.take_payload();
    let due = Instant::now() + patience;
    let parts = stream::unfold((body, due), |(mut body, due)| async move {
        let late = || PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, "it came too slowly"));
        let part = tokio::time::timeout_at(due, body.next()).await.unwrap_or_else(|_| Some(Err(late())))?;
        let bytes = part.as_ref().map_or(0, web::Bytes::len);
        Some((part, (body, due + SLOWEST_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX)))))
    });
    request.set_payload(Payload::Stream { payload: Box::pin(parts) });
}

fn ended(principal: &Principal) -> Option<CancelToken> {
    match principal {
        Principal::Key(key) => Some(key.ended.clone()),
        Principal::Anybody | Principal::Stranger => None,
    }
}

/// What is held while a response lasts: its client's place, and that its connection is in use.
type Holding = (Option<Place>, Option<InFlight>);

/// A response that holds its client's place and its connection, and ends early with its client's key when it is a stream.
pub struct Held<B> {
    body: Option<Pin<Box<B>>>,
    size: BodySize,
    ended: Option<Pin<Box<dyn Future<Output = ()>>>>,
    farewell: Option<web::Bytes>,
    _holding: Holding,
}

impl<B: MessageBody> Held<B> {
    fn new(body: B, status: StatusCode, ended: Option<CancelToken>, holding: Holding) -> Self {
        let size = body.size();
        let ended = ended.filter(|_| size == BodySize::Stream);
        let is_socket = status == StatusCode::SWITCHING_PROTOCOLS;
        Self {
            body: Some(Box::pin(body)),
            size,
            ended: ended.map(|ended| Box::pin(async move { ended.cancelled().await }) as _),
            farewell: is_socket.then(|| web::Bytes::from_static(CLOSE_NOT_ALLOWED)),
            _holding: holding,
        }
    }
}

impl<B: MessageBody> MessageBody for Held<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        if self.ended.as_mut().is_some_and(|ended| ended.as_mut().poll(context).is_ready()) {
            (self.ended, self.body) = (None, None);
            return Poll::Ready(self.farewell.take().map(Ok));
        }
        match &mut self.body {
            Some(body) => body.as_mut().poll_next(context),
            None => Poll::Ready(None),
        }
    }
}

/// What every response says to a browser. A page brings a policy of its own.
pub async fn add_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    const HEADERS: &[(&str, &str)] = &[
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    /// What a handler may have said otherwise.
    const DEFAULTS: &[(&str, &str)] = &[("content-security-policy", policy::NOTHING), ("cache-control", "no-store")];
    let is_tls = request.app_data::<web::Data<Guard>>().is_some_and(|guard| guard.tls().is_some());
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in DEFAULTS {
        if !headers.contains_key(*name) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    if is_tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TLS_SECONDS));
    }
    Ok(response)
}

/// `POST /api/ticket`: what a browser puts into the address of a WebSocket or an EventSource, where it cannot send a key.
pub async fn ticket(client: Client, guard: web::Data<Guard>) -> Result<HttpResponse, ApiError> {
    let ticket = guard.issue_ticket(&client).map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "no ticket can be made");
        TurnError::new(mentor_actors::domain::ErrorCode::Internal, "no ticket can be made")
    })?;
    let life = guard::TICKET_LIFE.as_secs();
    Ok(HttpResponse::Ok().json(serde_json::json!({"ticket": ticket.reveal(), "expires_in_s": life})))
}
