//! What a WebSocket's client sends, as RFC 6455 has it: from bytes to messages of a bounded size, or to the reason why the connection
//! ends. The codec is actix's; what stands here is what it leaves to others.
//!
//! | module | what lives there |
//! |---|---|
//! | `frames` | the heads of frames, looked at before their payload is waited for |
//! | `messages` | messages out of what the codec reads, also those that come in parts |

mod frames;
mod messages;

use std::cell::Cell;
use std::rc::Rc;

use actix_http::ws::{CloseCode, CloseReason};

pub use frames::Frames;
pub use messages::{Incoming, Messages};

/// How a client broke the protocol. The connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A message is larger than allowed.
    TooLarge,
    /// A text is not UTF-8.
    NotUtf8,
    /// Frames that RFC 6455 does not allow, and why.
    Protocol(&'static str),
}

impl Fault {
    /// What the client is told with the end.
    #[must_use]
    pub fn close_reason(self) -> CloseReason {
        let (code, description) = match self {
            Self::TooLarge => (CloseCode::Size, "the message is too large"),
            Self::NotUtf8 => (CloseCode::Invalid, "text must be UTF-8"),
            Self::Protocol(why) => (CloseCode::Protocol, why),
        };
        CloseReason { code, description: Some(description.into()) }
    }
}

/// Both halves of a connection's way in: `bytes` as frames for the codec, and what makes messages of what the codec reads. No message
/// is larger than `max_bytes`; give the codec the same bound.
pub fn incoming<S>(bytes: S, max_bytes: usize) -> (Frames<S>, Messages) {
    let fault = Rc::new(Cell::new(None));
    (Frames::new(bytes, max_bytes, fault.clone()), Messages::new(max_bytes, fault))
}
