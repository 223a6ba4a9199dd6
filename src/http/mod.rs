//! The doors: REST, WebSocket, metrics and the page. Handlers are thin; a turn is the same through every door.

mod administration;
mod body;
mod connection;
mod documents;
mod errors;
mod health;
mod jobs;
mod multipart;
mod rest;
mod socket;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversations::{Conversation, ConversationsActor, Open};
use mentor_actors::domain::{ConversationId, ErrorCode, TurnError};
use mentor_actors::ports::Retriever;
use mentor_actors::turn::TurnServices;
use mentor_actors::workers::WorkerHealth;

use crate::jobs::Jobs;
use crate::materials::Materials;
use crate::metrics::Metrics;
pub use body::AskLimits;
pub use errors::ApiError;
pub use wire::{ModelNames, completion_json, sources_json};

/// Time running requests get to end when the server is told to stop.
const DRAIN_SECONDS: u64 = 10;

/// Says what is wrong now with something that answers need, if anything is.
pub type Problem = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What the doors need of the rest of the program. Shared by all HTTP threads.
pub struct Doors {
    /// Finds conversations.
    pub conversations: Addr<ConversationsActor>,
    /// Answers searches without a conversation.
    pub services: TurnServices,
    /// The store, for its figures.
    pub store: Arc<dyn Retriever>,
    /// Change the store.
    pub jobs: Jobs,
    /// The folder that uploads go to.
    pub materials: Materials,
    /// The workers' health, by name.
    pub workers: Vec<(&'static str, Arc<WorkerHealth>)>,
    /// What else may stand in the way of answers.
    pub problems: Vec<Problem>,
    /// Everything that is measured.
    pub metrics: Arc<Metrics>,
    /// What the program says of its models.
    pub models: ModelNames,
    /// Limits on questions.
    pub limits: AskLimits,
    /// How long a turn of a socket goes on with nobody watching.
    pub abandon_after: Duration,
    /// Longest a search may take.
    pub time_limit: Duration,
    /// WebSocket connections at once.
    pub max_connections: usize,
    /// Tells the sockets that the server is going away.
    pub shutdown: CancelToken,
    /// When the server started.
    pub started: Instant,
}

impl Doors {
    async fn open(&self, id: ConversationId) -> Result<Conversation, TurnError> {
        let gone = || TurnError::new(ErrorCode::Unavailable, "the conversations are not there, try again");
        self.conversations.send(Open(id)).await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Serves on an open listener until the handle stops it. Port 0 works, for tests.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    doors: Doors,
    workers: usize,
) -> std::io::Result<(ServerHandle, impl Future<Output = std::io::Result<()>>)> {
    let doors = web::Data::new(doors);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(doors.clone())
            .wrap(from_fn(measure))
            .wrap(from_fn(add_security_headers))
            .wrap(Compress::default())
            .configure(routes)
            .default_service(web::to(not_found))
    })
    .on_connect(connection::remember)
    .workers(workers)
    .tcp_nodelay(true)
    .disable_signals()
    .shutdown_timeout(DRAIN_SECONDS)
    .listen(listener)?
    .run();
    Ok((server.handle(), server))
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(page))
        .route("/api/ws/chat", web::get().to(socket::connect))
        .route("/api/ws/chat/{conversation_id}", web::get().to(socket::connect_to))
        .route("/api/chat", web::post().to(rest::chat))
        .route("/api/search", web::post().to(rest::search))
        .route("/api/stats", web::get().to(rest::stats))
        .route("/livez", web::get().to(health::live))
        .route("/readyz", web::get().to(health::ready))
        .route("/api/health", web::get().to(health::detail))
        .route("/metrics", web::get().to(health::metrics))
        .service(
            web::scope("/api/documents")
                .wrap(from_fn(administration::guard))
                .route("", web::get().to(documents::list))
                .route("", web::post().to(documents::upload))
                .route("/{id:.+}", web::delete().to(documents::remove)),
        )
        .service(
            web::scope("/api/ingest")
                .wrap(from_fn(administration::guard))
                .route("", web::post().to(jobs::sync))
                .route("", web::get().to(jobs::list))
                .route("/{job}", web::get().to(jobs::look))
                .route("/{job}", web::delete().to(jobs::cancel)),
        );
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(include_str!("../../web/index.html"))
}

async fn not_found(request: actix_web::HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("there is no {} {}", request.method(), request.path());
    Err(TurnError::new(ErrorCode::NotFound, message).into())
}

/// Counts and times every request by its route, not by its path, so that labels stay few.
async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let start = Instant::now();
    let route = request.match_pattern().unwrap_or_else(|| "other".into());
    let metrics = request.app_data::<web::Data<Doors>>().map(|doors| doors.metrics.clone());
    let response = next.call(request).await;
    let status = match &response {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    if let Some(metrics) = metrics {
        metrics.http_requests.with_label_values(&[route.as_str(), status.as_str()]).inc();
        metrics.http_seconds.with_label_values(&[route.as_str()]).observe(start.elapsed().as_secs_f64());
    }
    response
}

async fn add_security_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    /// The page brings its own style and script, and talks to this server alone.
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(POLICY));
    Ok(response)
}
