//! What comes over the network: frames, JSON, uploads.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_codec::Decoder as _;
use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream as _, stream};

use super::body::{self, AskLimits};
use super::multipart::{Multipart, Part};
use super::openai::ChatBody;
use super::websocket::{Fault, Incoming, incoming};
use super::wire::{self, AskBody, ClientFrame, SearchBody};

const LIMITS: AskLimits = AskLimits { message_chars: 200, max_tokens: 64 };

/// Small, so that inputs reach it.
const MAX_MESSAGE_BYTES: usize = 512;

/// A WebSocket's bytes, the size of their pieces first. Whatever they are, they mean the same in all pieces, no message is larger
/// than allowed, and the codec never waits behind what was found to be a whole frame.
pub fn frames(input: &[u8]) {
    let Some((piece, bytes)) = input.split_first() else { return };
    let in_pieces = read(bytes, usize::from(*piece).max(1));
    assert_eq!(in_pieces, read(bytes, bytes.len().max(1)));
    for message in in_pieces.0 {
        match message {
            Incoming::Text(text) => assert!(text.len() <= MAX_MESSAGE_BYTES),
            Incoming::Binary(bytes) => assert!(bytes.len() <= MAX_MESSAGE_BYTES),
            Incoming::Ping(payload) => assert!(payload.len() <= 125),
            Incoming::Pong | Incoming::Close(_) => {}
        }
    }
}

/// The messages up to the first fault, as the socket's stream has them.
fn read(bytes: &[u8], piece: usize) -> (Vec<Incoming>, Option<Fault>) {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok::<_, PayloadError>(Bytes::copy_from_slice(piece))).collect();
    let (mut frames, mut messages) = incoming(stream::iter(pieces), MAX_MESSAGE_BYTES);
    let (mut codec, mut buffer) = (Codec::new().max_size(MAX_MESSAGE_BYTES), BytesMut::new());
    let mut heard = Vec::new();
    loop {
        let read = match Pin::new(&mut frames).poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => continue,
            Poll::Ready(None) => return (heard, None),
            Poll::Ready(Some(Err(_))) => Err(ProtocolError::Io(std::io::Error::other("refused by its head"))),
            Poll::Ready(Some(Ok(part))) => {
                buffer.extend_from_slice(&part);
                match codec.decode(&mut buffer) {
                    Ok(None) => continue,
                    Ok(Some(frame)) => {
                        assert!(buffer.is_empty(), "more than a frame was passed on");
                        message(frame)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match messages.take(read) {
            Ok(message) => heard.extend(message),
            Err(fault) => return (heard, Some(fault)),
        }
    }
}

fn message(frame: Frame) -> Result<Message, ProtocolError> {
    Ok(match frame {
        Frame::Text(text) => {
            let text = text.try_into().map_err(|_| ProtocolError::Io(std::io::Error::other("not UTF-8")))?;
            Message::Text(text)
        }
        Frame::Binary(bytes) => Message::Binary(bytes),
        Frame::Continuation(item) => Message::Continuation(item),
        Frame::Ping(payload) => Message::Ping(payload),
        Frame::Pong(payload) => Message::Pong(payload),
        Frame::Close(reason) => Message::Close(reason),
    })
}

/// JSON of every door. What becomes a question is within the limits.
pub fn messages(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Ask(asked)) => question(asked),
        Ok(ClientFrame::Edit(edit)) => question(AskBody {
            message: edit.message,
            conversation_id: None,
            turn_id: edit.sibling.new_turn_id,
            options: edit.sibling.options,
        }),
        Ok(_) => {}
        Err(reason) => assert!(!reason.is_empty()),
    }
    if let Ok(chat) = serde_json::from_str::<ChatBody>(text)
        && let Ok(asked) = chat.question(LIMITS)
    {
        assert!(asked.turn.message.chars().count() <= LIMITS.message_chars);
        assert!(asked.history.iter().all(|earlier| earlier.question.chars().count() <= LIMITS.message_chars));
    }
    if let Ok(search) = serde_json::from_str::<SearchBody>(text) {
        let _checked = (body::check_message(&search.query, LIMITS.message_chars), body::check_top_k(search.top_k));
    }
}

fn question(asked: AskBody) {
    let id = body::conversation_id(asked.conversation_id.as_deref());
    match body::turn_request(asked, LIMITS, Duration::ZERO) {
        Ok(turn) => {
            assert!(!turn.message.trim().is_empty() && turn.message.chars().count() <= LIMITS.message_chars);
            assert!(turn.options.max_tokens.is_none_or(|tokens| (1..=LIMITS.max_tokens).contains(&tokens)));
            assert!(turn.options.stop.len() <= body::MAX_STOPS);
        }
        Err(error) => assert!(wire::error_json(&error)["code"].is_string()),
    }
    if let Ok(id) = id {
        assert_eq!(body::conversation_id(Some(id.as_str())).as_ref(), Ok(&id));
    }
}

/// An upload: the size of its pieces, the boundary's length, the boundary, the body. A body means the same in all pieces.
pub fn multipart(input: &[u8]) {
    let [piece, length, rest @ ..] = input else { return };
    let Some((boundary, body)) = rest.split_at_checked(usize::from(*length % 72)) else { return };
    let Ok(boundary) = std::str::from_utf8(boundary) else { return };
    let whole = files(boundary, body, body.len().max(1));
    // In a longer one a boundary may be found before, or only after, what precedes it is too long.
    if body.len() < 8 << 10 {
        assert_eq!(files(boundary, body, usize::from(*piece).max(1)), whole);
    }
    if let Some((files, _)) = whole {
        let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
        assert!(bytes <= body.len(), "a body of {} bytes has files of {bytes}", body.len());
    }
}

/// Its files and whether it is whole; `None` when it is refused.
#[expect(clippy::type_complexity)]
fn files(boundary: &str, body: &[u8], piece: usize) -> Option<(Vec<(String, Vec<u8>)>, bool)> {
    let mut multipart = Multipart::new(boundary).ok()?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for piece in body.chunks(piece) {
        multipart.feed(piece);
        while let Some(part) = multipart.next().ok()? {
            match part {
                Part::File { name } => files.push((name, Vec::new())),
                Part::Data(data) => {
                    assert!(!data.is_empty(), "a reader would wait for ever");
                    files.last_mut().expect("content has a file").1.extend(data);
                }
                Part::End => assert!(!files.is_empty(), "the end of no file"),
            }
        }
    }
    Some((files, multipart.is_whole()))
}
