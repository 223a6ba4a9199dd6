//! Whether a client is still there while its answer is written. The server itself would notice only when it writes.

use std::any::Any;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use actix_web::dev::Extensions;

/// How often a waiting handler looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// The socket of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Connection(RawFd);

/// Remembers the socket of a new connection.
pub fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
        extensions.insert(Connection(stream.as_raw_fd()));
    }
}

impl Connection {
    /// Ends when the client has closed its side.
    pub async fn closed(self) {
        while self.is_open() {
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn is_open(self) -> bool {
        let mut question = libc::pollfd { fd: self.0, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one valid `pollfd` is passed with its count, and a time-out of zero returns at once. The descriptor is open
        // while a handler of its connection runs; were it not, the answer would be POLLNVAL, which counts as closed.
        unsafe { libc::poll(&raw mut question, 1, 0) };
        question.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) == 0
    }
}
