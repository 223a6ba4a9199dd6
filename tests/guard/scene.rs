//! A server with a guard, and clients that send exactly what they are told.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use futures_util::{SinkExt as _, StreamExt as _};
use mentor::config::Config;
use mentor::guard::{Clock, Guard, GuardSettings, KeyFile, KeyRecord, NewKey, Patience, Scope};
use mentor::http::{Doors, serve};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::fakes;
pub use crate::fakes::PATIENCE;
use crate::support::{Script, Tutor};

/// What slow clients get in the tests about them.
pub const LITTLE: Duration = Duration::from_millis(100);

pub struct Scene {
    pub address: SocketAddr,
    pub guard: Arc<Guard>,
    pub clock: Clock,
    folder: tempfile::TempDir,
    handle: ServerHandle,
    _tutor: Tutor,
}

/// What came back: status, header fields in lower case, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The error's stable code.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn has(&self, field: &str) -> bool {
        self.head.lines().any(|line| line == field)
    }
}

impl Scene {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut GuardSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Config { data_dir: folder.path().into(), ..Config::default() }.guard();
        settings.patience = Patience { handshake: PATIENCE, head: PATIENCE, body: PATIENCE, idle: PATIENCE };
        change(&mut settings);
        let clock = Clock::default();
        let guard = Arc::new(Guard::open(settings, clock.clone()).unwrap());
        let tutor = Tutor::start(Script::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let doors = Doors {
            problems: vec![Arc::new(|| Some("the cellar is flooded".to_owned()))],
            ..fakes::doors(&tutor, guard.clone())
        };
        let (handle, server) = serve(listener, doors, 1).unwrap();
        actix::spawn(server);
        Self { address, guard, clock, folder, handle, _tutor: tutor }
    }

    /// Makes a key that the server knows at once: its id and its text.
    pub fn key(&self, scopes: &[Scope], lives_s: Option<u64>) -> (String, String) {
        let key = NewKey::generate().unwrap();
        let created = self.clock.unix_s();
        self.file()
            .add(KeyRecord {
                id: key.id.clone(),
                name: key.id.clone(),
                scopes: scopes.to_vec(),
                sha256: key.hash,
                created,
                expires: lives_s.map(|life| created + life),
                revoked: None,
            })
            .unwrap();
        self.guard.refresh();
        (key.id, key.text.reveal().unwrap().to_owned())
    }

    pub fn file(&self) -> KeyFile {
        KeyFile::new(self.folder.path())
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, line: &str, fields: &[&str], body: &str) -> Answer {
        let mut stream = self.dial().await;
        self.ask_on(&mut stream, line, fields, body).await
    }

    pub async fn ask_on(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        line: &str,
        fields: &[&str],
        body: &str,
    ) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !fields.iter().any(|field| field.starts_with("host:")) {
            text.push_str(&format!("host: {}\r\n", self.address));
        }
        fields.iter().for_each(|field| text.push_str(&format!("{field}\r\n")));
        text.push_str(&format!("\r\n{body}"));
        // A server that refuses early may close before all is written.
        drop(stream.write_all(text.as_bytes()).await);
        read_answer(stream).await
    }

    /// A question with a key, or without one.
    pub async fn chat(&self, key: Option<&str>) -> Answer {
        let field = key.map(|key| format!("authorization: Bearer {key}"));
        let fields: Vec<&str> = field.as_deref().into_iter().collect();
        self.ask("POST /api/chat", &fields, r#"{"message":"what is a heap?"}"#).await
    }

    pub async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A WebSocket at that path and query, or the status it was refused with.
    pub async fn socket(&self, path: &str, origin: Option<&str>) -> Result<Socket, u16> {
        let mut request = format!("ws://{}/api/ws/chat{path}", self.address).into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn ticket(&self, key: &str) -> String {
        let answer = self.ask("POST /api/ticket", &[&format!("authorization: Bearer {key}")], "").await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, body["expires_in_s"].as_u64()), (200, Some(30)), "{answer:?}");
        body["ticket"].as_str().unwrap().to_owned()
    }

    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// All that comes until the server closes the connection.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut bytes = Vec::new();
    // A reset after the answer is an end, too.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server does not close"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_lowercase().replace('\r', ""), body: body.to_owned() }
}

pub struct Socket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub async fn say(&mut self, frame: &str) {
        self.stream.send(Message::text(frame)).await.unwrap();
    }

    /// The next JSON frame, or the code that the server closed with.
    pub async fn hear(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("the server is silent");
            match message.expect("the connection ended without a close frame").unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.expect("a close code").code.into()),
                _ => {}
            }
        }
    }

    pub async fn hear_type(&mut self, wanted: &str) -> Value {
        loop {
            let frame = self.hear().await.unwrap();
            if frame["type"] == wanted {
                return frame;
            }
            assert_ne!(frame["type"], "error", "{frame}");
        }
    }
}
