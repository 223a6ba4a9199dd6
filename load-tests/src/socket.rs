//! Frames over a WebSocket. Nothing here has a deadline: callers set it.

use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

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

/// A connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects to a URL, without waiting for any frame.
    ///
    /// # Errors
    /// `http_<status>` when the server answers with another status than 101, `connect_failed` for anything else.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let disable_nagle = true;
        match tokio_tungstenite::connect_async_with_config(url, None, disable_nagle).await {
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
}
