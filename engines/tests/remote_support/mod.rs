//! A server that does with each chat completion what a test tells it to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

/// Longest a test waits for something that should happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Requests that are not looked at yet.
const REQUESTS: usize = 64;

/// What to do with one request.
pub type Script = Box<dyn FnOnce(&mut Connection) + Send>;

/// A request as it came.
pub struct Request {
    /// All header lines, in lower case.
    pub headers: String,
    pub body: Value,
}

struct Shared {
    models: String,
    scripts: Mutex<VecDeque<Script>>,
    requests: mpsc::SyncSender<Request>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// Listens until it is dropped.
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    listener: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// One that lists a single model, `tiny`.
    pub fn start() -> Self {
        Self::with_models(&json!({"data": [{"id": "tiny", "owned_by": "vllm", "max_model_len": 1000}]}).to_string())
    }

    /// One whose list of models is that text.
    pub fn with_models(models: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::sync_channel(REQUESTS);
        let shared = Arc::new(Shared {
            models: models.to_owned(),
            scripts: Mutex::default(),
            requests: sender,
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let listening = shared.clone();
        let thread = std::thread::spawn(move || listen(&listener, &listening));
        Self { address, shared, requests, listener: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What to do with the next chat completion that nothing is planned for yet.
    pub fn then(&self, script: impl FnOnce(&mut Connection) + Send + 'static) -> &Self {
        self.shared.scripts.lock().unwrap().push_back(Box::new(script));
        self
    }

    /// The next chat completion that came.
    pub fn request(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// How many chat completions came that nobody looked at.
    pub fn unseen_requests(&self) -> usize {
        self.requests.try_iter().count()
    }

    /// Connections so far, the one for the list of models included.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Takes no more connections.
    pub fn stop(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.shared.stopped.store(true, Ordering::SeqCst);
            // Wakes the listener.
            drop(TcpStream::connect(self.address));
            listener.join().unwrap();
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let (stream, shared) = (stream.unwrap(), shared.clone());
        shared.connections.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || serve(stream, &shared));
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut connection = Connection { reader: BufReader::new(stream), open: true };
    while connection.open {
        let Some((line, request)) = connection.read_request() else { return };
        if line.starts_with("GET /v1/models ") {
            connection.reply(200, "", &shared.models);
            continue;
        }
        assert!(line.starts_with("POST /v1/chat/completions "), "{line}");
        let script = shared.scripts.lock().unwrap().pop_front();
        shared.requests.send(request).unwrap();
        match script {
            Some(script) => script(&mut connection),
            None => connection.reply(418, "", "no script for this request"),
        }
    }
}

/// The server's end of a connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
    open: bool,
}

impl Connection {
    fn read_request(&mut self) -> Option<(String, Request)> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") && headers != "\r\n" {
            self.reader.read_line(&mut headers).ok()?;
        }
        let headers = headers.to_ascii_lowercase();
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        self.reader.read_exact(&mut body).ok()?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Some((line, Request { headers, body }))
    }

    /// A whole reply that closes the connection; `headers` are lines with their ends.
    pub fn reply(&mut self, status: u16, headers: &str, body: &str) {
        let length = body.len();
        self.send(&format!(
            "HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ));
        self.close();
    }

    /// Begins a stream of events.
    pub fn begin(&mut self) -> &mut Self {
        self.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        self
    }

    /// Bytes of the stream, in a chunk of their own; none end it.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk);
        self
    }

    pub fn event(&mut self, data: &Value) -> &mut Self {
        self.bytes(format!("data: {data}\n\n").as_bytes())
    }

    /// Text of the answer.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.event(&json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
    }

    /// Ends the answer and the stream; the connection stays open.
    pub fn finish(&mut self, reason: &str) {
        self.event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}));
        self.event(&json!({"choices": [], "usage": {
            "prompt_tokens": 21, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 16},
        }}));
        self.bytes(b"data: [DONE]\n\n").bytes(b"");
    }

    /// Closes the connection, whatever was sent.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Waits until the client closes the connection; says whether it did.
    pub fn closed_by_client(&mut self) -> bool {
        self.close();
        match self.reader.read(&mut [0]) {
            Ok(bytes) => bytes == 0,
            // It had not read all that was sent.
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }

    fn send(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    /// The client may be gone, as in the tests about that.
    fn write(&mut self, bytes: &[u8]) {
        let written = self.reader.get_mut().write_all(bytes);
        self.open &= written.is_ok();
    }
}
