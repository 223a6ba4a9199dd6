//! Messages out of what the codec reads: parts put together up to a size, text that is UTF-8, and one word for each kind of fault.

use std::cell::Cell;
use std::rc::Rc;

use actix_http::ws::{CloseReason, Item, Message, ProtocolError};
use actix_web::web::Bytes;
use bytestring::ByteString;

use super::Fault;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text, whole.
    Text(ByteString),
    /// Bytes, whole.
    Binary(Bytes),
    /// Whether the server is there; it answers with the same bytes.
    Ping(Bytes),
    /// That the client is there.
    Pong,
    /// That it ends the connection, or agrees to its end.
    Close(Option<CloseReason>),
}

/// Makes messages of what the codec reads from [`super::Frames`].
#[derive(Debug)]
pub struct Messages {
    max_bytes: usize,
    /// Why frames were not passed on to the codec.
    fault: Rc<Cell<Option<Fault>>>,
    parts: Option<Parts>,
}

/// A message that comes in several frames, as far as it is there.
#[derive(Debug)]
struct Parts {
    is_text: bool,
    bytes: Vec<u8>,
    /// How far a text was found to be UTF-8; the rest may be the beginning of a character.
    checked: usize,
}

impl Messages {
    pub(super) fn new(max_bytes: usize, fault: Rc<Cell<Option<Fault>>>) -> Self {
        Self { max_bytes, fault, parts: None }
    }

    /// The message that is whole now, if one is.
    ///
    /// # Errors
    /// What the client did wrong.
    pub fn take(&mut self, read: Result<Message, ProtocolError>) -> Result<Option<Incoming>, Fault> {
        Ok(match read {
            Ok(Message::Text(text)) => Some(Incoming::Text(text)),
            Ok(Message::Binary(bytes)) => Some(Incoming::Binary(bytes)),
            Ok(Message::Continuation(item)) => self.join(item)?,
            Ok(Message::Ping(payload)) => Some(Incoming::Ping(payload)),
            Ok(Message::Pong(_)) => Some(Incoming::Pong),
            Ok(Message::Close(reason)) => Some(Incoming::Close(reason)),
            Ok(Message::Nop) => None,
            Err(error) => return Err(self.fault.get().unwrap_or_else(|| fault_of(&error))),
        })
    }

    fn join(&mut self, item: Item) -> Result<Option<Incoming>, Fault> {
        let (part, is_last) = match item {
            Item::FirstText(part) => (self.begin(true, part), false),
            Item::FirstBinary(part) => (self.begin(false, part), false),
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        let Some(parts) = self.parts.as_mut() else {
            return Err(Fault::Protocol("a continuation without a beginning"));
        };
        if parts.bytes.len() + part.len() > self.max_bytes {
            return Err(Fault::TooLarge);
        }
        parts.bytes.extend_from_slice(&part);
        parts.check()?;
        if is_last { self.parts.take().map(Parts::finish).transpose() } else { Ok(None) }
    }

    fn begin(&mut self, is_text: bool, part: Bytes) -> Bytes {
        self.parts = Some(Parts { is_text, bytes: Vec::new(), checked: 0 });
        part
    }
}

impl Parts {
    /// Text that is wrong already need not be waited for.
    fn check(&mut self) -> Result<(), Fault> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Fault::NotUtf8),
        }
        Ok(())
    }

    fn finish(self) -> Result<Incoming, Fault> {
        if self.is_text {
            return String::from_utf8(self.bytes).map(|text| Incoming::Text(text.into())).map_err(|_| Fault::NotUtf8);
        }
        Ok(Incoming::Binary(self.bytes.into()))
    }
}

/// What an error of the codec means.
fn fault_of(error: &ProtocolError) -> Fault {
    match error {
        ProtocolError::Overflow => Fault::TooLarge,
        // It reports text that is not UTF-8 this way, and a connection that is lost, to which nothing is said any more.
        ProtocolError::Io(_) => Fault::NotUtf8,
        ProtocolError::ContinuationStarted => Fault::Protocol("a message began within another one"),
        ProtocolError::ContinuationNotStarted => Fault::Protocol("a continuation without a beginning"),
        ProtocolError::BadOpCode | ProtocolError::InvalidLength(_) => {
            Fault::Protocol("a close frame with a code or a reason that may not be")
        }
        _ => Fault::Protocol("a frame that RFC 6455 does not allow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(max_bytes: usize) -> Messages {
        Messages::new(max_bytes, Rc::default())
    }

    /// What all parts but the last leave unsaid, and the last says.
    fn joined(max_bytes: usize, parts: Vec<Item>) -> Result<Option<Incoming>, Fault> {
        let mut messages = messages(max_bytes);
        parts.into_iter().try_fold(None, |_, part| messages.take(Ok(Message::Continuation(part))))
    }

    fn bytes(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }

    #[test]
    fn parts_are_joined_and_may_end_within_a_character() {
        let parts =
            vec![Item::FirstText(bytes(b"gr\xc3")), Item::Continue(bytes(b"")), Item::Last(bytes(b"\xbc\xc3\x9f"))];
        assert_eq!(joined(6, parts), Ok(Some(Incoming::Text("grüß".into()))));
        let parts = vec![Item::FirstBinary(bytes(b"\xc3")), Item::Last(bytes(b"x"))];
        assert_eq!(joined(6, parts), Ok(Some(Incoming::Binary(bytes(b"\xc3x")))));
    }

    #[test]
    fn parts_together_are_no_larger_than_one_frame_may_be() {
        let parts = |last| vec![Item::FirstText(bytes(b"abc")), Item::Continue(bytes(b"d")), Item::Last(bytes(last))];
        assert_eq!(joined(5, parts(b"e")), Ok(Some(Incoming::Text("abcde".into()))));
        assert_eq!(joined(5, parts(b"ef")), Err(Fault::TooLarge));
    }

    #[test]
    fn text_that_cannot_become_utf_8_is_refused_before_its_end() {
        assert_eq!(joined(9, vec![Item::FirstText(bytes(b"a\xff"))]), Err(Fault::NotUtf8));
        assert_eq!(joined(9, vec![Item::FirstText(bytes(b"\xc3")), Item::Continue(bytes(b"x"))]), Err(Fault::NotUtf8));
        assert_eq!(joined(9, vec![Item::FirstText(bytes(b"\xc3")), Item::Last(bytes(b""))]), Err(Fault::NotUtf8));
    }

    #[test]
    fn the_reason_for_a_refused_frame_comes_from_who_refused_it() {
        let fault = Rc::new(Cell::new(None));
        let mut messages = Messages::new(9, fault.clone());
        let lost = || ProtocolError::Io(std::io::Error::other("no reason"));
        assert_eq!(messages.take(Err(lost())), Err(Fault::NotUtf8));
        fault.set(Some(Fault::TooLarge));
        assert_eq!(messages.take(Err(lost())), Err(Fault::TooLarge));
        let alone = Message::Continuation(Item::Last(bytes(b"x")));
        assert_eq!(messages.take(Ok(alone)), Err(Fault::Protocol("a continuation without a beginning")));
    }
}
