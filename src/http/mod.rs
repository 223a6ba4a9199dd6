//! The doors: REST, WebSocket, metrics and the page. Handlers are thin; a turn is the same through every door.

mod body;
mod connection;
mod conversations;
mod documents;
mod entrance;
mod errors;
mod faults;
mod feedback;
mod files;
mod gate;
mod health;
mod idle;
mod jobs;
mod multipart;
mod openai;
mod openapi;
mod panics;
mod rest;
mod socket;
mod sse;
pub mod websocket;
mod wire;

use std::net::TcpListener;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use actix::Addr;
use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{App, HttpMessage as _, HttpRequest, HttpResponse, HttpServer, web};
use mentor_actors::admission::Admission;
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversations::{Conversation, ConversationsActor, Open};
use mentor_actors::domain::{ConversationId, ErrorCode, Owner, TurnError};
use mentor_actors::ports::Retriever;
use mentor_actors::storage::Storage;
use mentor_actors::turn::TurnServices;
use mentor_actors::workers::WorkerHealth;

use crate::faults::Faults;
use crate::guard::{Client, Guard, Patience, Tls, policy};
use crate::jobs::Jobs;
use crate::materials::Materials;
use crate::metrics::Metrics;
pub use body::AskLimits;
pub use errors::ApiError;
pub use openai::EmbeddingDoor;
pub use socket::HEARTBEAT;
pub use wire::{ModelNames, completion_json, sources_json};

/// Time that connections get to take their last bytes. Turns have ended by then, see [`crate::drain`].
const LAST_BYTES_SECONDS: u64 = 1;

/// When it makes sense to ask again what an actor did not answer.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// Says what is wrong now with something that answers need, if anything is.
pub type Problem = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What the doors need of the rest of the program. Shared by all HTTP threads.
pub struct Doors {
    /// Finds conversations.
    pub conversations: Addr<ConversationsActor>,
    /// Reads and forgets what is kept of them.
    pub storage: Storage,
    /// Whether conversations that belong to nobody can be listed.
    pub list_conversations: bool,
    /// Whether the documents' files can be opened.
    pub serve_files: bool,
    /// Lets turns in; closed when the server stops.
    pub admission: Admission,
    /// Answers searches without a conversation.
    pub services: TurnServices,
    /// The store, for its figures.
    pub store: Arc<dyn Retriever>,
    /// Change the store, one after the other.
    pub jobs: Jobs,
    /// The folder that uploads go to.
    pub materials: Materials,
    /// The health of the workers and the actors.
    pub workers: Vec<Arc<WorkerHealth>>,
    /// Longest that one of them may take for one step while the server calls itself ready.
    pub step_deadline: Duration,
    /// What else may stand in the way of answers.
    pub problems: Vec<Problem>,
    /// Panics that tests order; `None` in every server that is there for people.
    pub faults: Option<Faults>,
    /// Everything that is measured.
    pub metrics: Arc<Metrics>,
    /// What the program says of its models.
    pub models: ModelNames,
    /// What `/v1/embeddings` needs beside the embedder.
    pub embeddings: EmbeddingDoor,
    /// Limits on questions.
    pub limits: AskLimits,
    /// How long a turn of a socket goes on with nobody watching.
    pub abandon_after: Duration,
    /// Longest a search may take.
    pub time_limit: Duration,
    /// WebSocket connections at once.
    pub max_connections: usize,
    /// Who may do what.
    pub guard: Arc<Guard>,
    /// How often WebSocket clients are asked whether they are still there.
    pub heartbeat: Duration,
    /// Tells the sockets that the server is going away.
    pub shutdown: CancelToken,
    /// When the server started.
    pub started: Instant,
}

impl Doors {
    async fn open(&self, id: ConversationId, owner: Option<Owner>) -> Result<Conversation, TurnError> {
        let opened = tokio::time::timeout(self.time_limit, self.conversations.send(Open { id, owner })).await;
        let opened = opened.map_err(|_| TurnError::deadline("while its conversation was opened"))?;
        opened.unwrap_or_else(|_| Err(conversations_gone()))
    }
}

fn conversations_gone() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "the conversations are not there, try again").retry_after(COME_BACK_AFTER)
}

/// Whose conversations a request may see: those of its key.
fn owner(request: &HttpRequest) -> Option<Owner> {
    request.extensions().get::<Client>().and_then(Client::owner).as_deref().map(Owner::new)
}

/// Serves on an open listener until the handle stops it, with TLS when there is a certificate. Port 0 works, for tests.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    doors: Doors,
    workers: usize,
) -> std::io::Result<(ServerHandle, impl Future<Output = std::io::Result<()>>)> {
    let guard = doors.guard.clone();
    let tls = guard.tls().map(Tls::server_config).transpose().map_err(std::io::Error::other)?;
    let Patience { handshake, head, idle, .. } = guard.patience();
    let more: fn(&mut web::ServiceConfig) = if doors.faults.is_some() { faults::routes } else { |_| () };
    let (doors, shared) = (web::Data::new(doors), web::Data::from(guard.clone()));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(doors.clone())
            .app_data(shared.clone())
            // The last of them sees a request first.
            .wrap(Compress::default())
            .wrap(from_fn(gate::admit))
            .wrap(from_fn(panics::contain))
            .wrap(from_fn(measure))
            .wrap(from_fn(gate::add_headers))
            .configure(routes)
            .configure(more)
            .default_service(web::to(not_found))
    })
    .on_connect(move |connection, extensions| connection::remember(connection, extensions, &guard))
    .workers(workers)
    .tcp_nodelay(true)
    .tls_handshake_timeout(handshake)
    .client_request_timeout(head)
    .keep_alive(idle)
    .disable_signals()
    .shutdown_timeout(LAST_BYTES_SECONDS);
    let server = match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
        None => server.listen(listener)?,
    }
    .run();
    Ok((server.handle(), server))
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(page))
        .route("/api/ws/chat", web::get().to(socket::connect))
        .route("/api/ws/chat/{conversation_id}", web::get().to(socket::connect_to))
        .route("/api/chat", web::post().to(rest::chat))
        .configure(conversations::routes)
        .route("/api/feedback", web::post().to(feedback::rate))
        .route("/api/analytics/feedback", web::post().to(feedback::rate))
        .route("/api/search", web::post().to(rest::search))
        .route("/api/ticket", web::post().to(gate::ticket))
        .route("/api/stats", web::get().to(rest::stats))
        .route("/livez", web::get().to(health::live))
        .route("/readyz", web::get().to(health::ready))
        .route("/api/health", web::get().to(health::detail))
        .route("/metrics", web::get().to(health::metrics))
        .route("/api/documents", web::get().to(documents::list))
        .route("/api/documents", web::post().to(documents::upload))
        .route("/api/documents/{id:.+}", web::delete().to(documents::remove))
        .route("/api/files/{document_id:.+}", web::get().to(files::file))
        .route("/api/files/{document_id:.+}", web::head().to(files::file))
        .route("/api/ingest", web::post().to(jobs::sync))
        .route("/api/ingest", web::get().to(jobs::list))
        .route("/api/ingest/{job}", web::get().to(jobs::look))
        .route("/api/ingest/{job}", web::delete().to(jobs::cancel))
        .configure(openai::routes)
        .configure(openapi::routes);
}

async fn page() -> HttpResponse {
    const PAGE: &str = include_str!("../../web/index.html");
    static POLICY: LazyLock<String> = LazyLock::new(|| policy::of_page(PAGE));
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .body(PAGE)
}

async fn not_found(request: HttpRequest) -> Result<HttpResponse, actix_web::Error> {
    let message = format!("there is no {} {}", request.method(), request.path());
    Err(refusal(request.path(), TurnError::new(ErrorCode::NotFound, message).into()))
}

/// An error before any handler, in the shape that clients of that path expect.
fn refusal(path: &str, error: ApiError) -> actix_web::Error {
    if path.starts_with(openai::PREFIX) { openai::Refusal::from(error).into() } else { error.into() }
}

/// Counts and times every request by its route, not by its path, so that labels stay few.
async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let start = Instant::now();
    let route = gate::pattern(&request).unwrap_or_else(|| "other".into());
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
