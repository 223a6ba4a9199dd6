//! Frames over a WebSocket. Nothing here has a deadline: callers set it.

use std::os::fd::AsRawFd as _;
use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::address::Address;
use crate::failure::Failure;
use crate::frame::ClientFrame;

/// Close code where the server sent none.
const NO_CODE: u16 = 1005;

/// What a server sends that a client of this protocol can do something with.
#[derive(Debug)]
pub enum Received {
    /// A text frame, and when it came.
    Text(String, Instant),
    /// A binary frame.
    Binary,
    /// The server closed the connection, with this code.
    Closed(u16),
}

/// How a connection is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dial {
    /// What the operating system may hold for a client that does not read, in bytes; its own choice when `None`.
    pub receive_buffer: Option<u32>,
}

/// Bytes that are read at once: a token is about a hundred, and thousands of connections have a buffer each.
const READ_BUFFER: usize = 4 * 1024;

/// A connection.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Connects to a path of a server, without waiting for any frame.
    ///
    /// # Errors
    /// `http_<status>` when the server answers with another status than 101, `connect_failed` for anything else.
    pub async fn connect(address: &Address, path: &str, dial: Dial) -> Result<Self, Failure> {
        let stream = open(address, dial).await.map_err(|error| Failure::connecting(&error))?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        match tokio_tungstenite::client_async_with_config(address.url(path), stream, Some(config)).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => {
                let status = response.status();
                Err(Failure::new(
                    format!("http_{}", status.as_u16()),
                    format!("the server answered {status} to a WebSocket"),
                ))
            }
            Err(error) => Err(Failure::connecting(&error)),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn say(&mut self, frame: &ClientFrame<'_>) -> Result<(), Failure> {
        self.stream.send(Message::text(frame.to_json())).await.map_err(|error| Failure::lost(&error))
    }

    /// Sends a text.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn say_text(&mut self, text: String) -> Result<(), Failure> {
        self.stream.send(Message::text(text)).await.map_err(|error| Failure::lost(&error))
    }

    /// Sends bytes as they are, which may be no proper frame.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn say_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.get_mut().write_all(bytes).await.map_err(|error| Failure::lost(&error))
    }

    /// What comes next; the protocol's own pings are answered on the way.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn hear(&mut self) -> Result<Received, Failure> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Received::Text(text.as_str().to_owned(), Instant::now())),
                Some(Ok(Message::Binary(_))) => return Ok(Received::Binary),
                Some(Ok(Message::Close(frame))) => {
                    return Ok(Received::Closed(frame.map_or(NO_CODE, |frame| u16::from(frame.code))));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(Failure::lost(&error)),
                None => return Err(Failure::lost(&"the connection ended without a close frame")),
            }
        }
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.stream.close(None).await.map_err(|error| Failure::lost(&error))
    }

    /// Is gone without a word: the server finds the connection reset.
    pub fn abort(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap_or(0);
        let socket = self.stream.get_ref().as_raw_fd();
        // SAFETY: the pointer is to a live struct of the size that is passed with it; the descriptor is open, since its stream
        // was borrowed to get it. Where the call fails the connection ends in order, which is as good.
        unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size) };
    }
}

async fn open(address: &Address, dial: Dial) -> std::io::Result<TcpStream> {
    let mut last = None;
    for place in tokio::net::lookup_host(address.authority()).await? {
        let socket = if place.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = dial.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        match socket.connect(place).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the server's name has no address")))
}
