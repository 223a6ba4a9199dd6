//! Whether a client is still there and takes what it is sent. The server itself would notice only when it writes, and never
//! that nobody reads.

use std::any::Any;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;

use super::idle::Watched;
use crate::guard::{Guard, Patience};

/// How often a waiting handler looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// A client that takes nothing of what it is sent for so long is cut off by the operating system. A connection whose buffers are
/// full runs no code of ours that could.
pub const TAKES_NOTHING: Duration = Duration::from_secs(20);

/// Where `tcpi_bytes_acked` stands in the kernel's `struct tcp_info`, which only ever grows at its end.
const ARRIVED_AT: usize = 120;

/// Bytes of a connection so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Handed to the operating system.
    pub sent: u64,
    /// Of them, those that have arrived at the client's machine.
    pub arrived: u64,
}

/// The socket of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Connection(RawFd);

/// Remembers the socket of a new connection, limits how long it may be stuck, and takes its place among those of its address;
/// without one it is shut down.
pub fn remember(connection: &dyn Any, extensions: &mut Extensions, guard: &Guard) {
    let over_tls = || connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
    let Some(stream) = connection.downcast_ref::<TcpStream>().or_else(over_tls) else { return };
    let connection = Connection(stream.as_raw_fd());
    connection.limit_stuck_time();
    extensions.insert(connection);
    if let Some(socket) = connection.socket() {
        let Patience { head, idle, .. } = guard.patience();
        extensions.insert(Watched::new(idle + head, move || connection.shut_down_if(socket)));
    }
    match stream.peer_addr().map(|peer| guard.admit_connection(peer.ip())) {
        Ok(Ok(place)) => drop(extensions.insert(place)),
        Ok(Err(address)) => {
            tracing::debug!(?address, "too many connections");
            shut_down(stream);
        }
        // It is closed already.
        Err(_) => {}
    }
}

/// Closes both ways; whoever reads or writes then finds the end.
fn shut_down(stream: &TcpStream) {
    let copy = stream.as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
    if let Err(error) = copy.and_then(|stream| stream.shutdown(Shutdown::Both)) {
        tracing::debug!(%error, "a connection cannot be shut down");
    }
}

impl Connection {
    /// The number of the socket, which no other one gets: a descriptor is given again as soon as it is closed.
    fn socket(self) -> Option<libc::ino_t> {
        let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: the pointer is to memory of the type that is written there; a closed descriptor is an error that is returned.
        let asked = unsafe { libc::fstat(self.0, status.as_mut_ptr()) };
        // SAFETY: zeroes are a valid `stat`, and the call has filled it in.
        (asked == 0).then(|| unsafe { status.assume_init() }.st_ino)
    }

    /// Closes both ways, unless the descriptor is another connection's by now. For the connection's own thread, which alone could
    /// close it in between.
    fn shut_down_if(self, socket: libc::ino_t) {
        if self.socket() == Some(socket) {
            tracing::debug!("a connection without a whole request is shut down");
            // SAFETY: only integers are passed, and the descriptor is this connection's.
            unsafe { libc::shutdown(self.0, libc::SHUT_RDWR) };
        }
    }

    /// Ends when the client has closed its side.
    pub async fn closed(self) {
        while self.is_open() {
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The same, and never where the connection is not known.
    pub async fn left(caller: Option<Self>) {
        match caller {
            Some(connection) => connection.closed().await,
            None => std::future::pending().await,
        }
    }

    fn limit_stuck_time(self) {
        let milliseconds = libc::c_uint::try_from(TAKES_NOTHING.as_millis()).unwrap_or(libc::c_uint::MAX);
        let size = libc::socklen_t::try_from(size_of_val(&milliseconds)).unwrap_or(0);
        // SAFETY: the pointer is to a live integer of the size that is passed with it; the descriptor is open, since its stream
        // was borrowed to get it.
        let result = unsafe {
            libc::setsockopt(self.0, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, (&raw const milliseconds).cast(), size)
        };
        if result != 0 {
            tracing::warn!(error = %std::io::Error::last_os_error(), "stuck connections are not noticed");
        }
    }

    /// How far the bytes have come that were sent; `None` where the operating system does not say.
    #[must_use]
    pub fn delivery(self) -> Option<Delivery> {
        let mut waiting: libc::c_int = 0;
        // SAFETY: the request writes one integer to the pointer, which is to a live one; for the descriptor see `is_open`.
        let asked = unsafe { libc::ioctl(self.0, libc::TIOCOUTQ, &raw mut waiting) };
        let mut info = [0_u8; ARRIVED_AT + size_of::<u64>()];
        let mut size = libc::socklen_t::try_from(info.len()).ok()?;
        // SAFETY: at most `size` bytes are written to the pointer, which is to as many live ones; for the descriptor see `is_open`.
        let told = unsafe {
            libc::getsockopt(self.0, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size)
        };
        if asked != 0 || told != 0 || usize::try_from(size).ok()? < info.len() {
            return None;
        }
        let arrived = u64::from_ne_bytes(info[ARRIVED_AT..].try_into().ok()?);
        Some(Delivery { arrived, sent: arrived + u64::try_from(waiting).ok()? })
    }

    fn is_open(self) -> bool {
        let mut question = libc::pollfd { fd: self.0, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one valid `pollfd` is passed with its count, and a time-out of zero returns at once. The descriptor is open
        // while a handler of its connection runs; were it not, the answer would be POLLNVAL, which counts as closed.
        unsafe { libc::poll(&raw mut question, 1, 0) };
        question.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn bytes_that_were_read_have_arrived() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let connection = Connection(server.as_raw_fd());
        let before = connection.delivery().unwrap();
        server.write_all(&[b'x'; 1_000]).unwrap();
        assert_eq!(connection.delivery().unwrap().sent, before.sent + 1_000);
        client.read_exact(&mut [0; 1_000]).unwrap();
        // The client's answer carries the acknowledgement at the latest.
        client.write_all(b"y").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert_eq!(connection.delivery().unwrap().arrived, before.arrived + 1_000);
    }
}
