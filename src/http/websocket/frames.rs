//! The heads of a client's frames, looked at before the codec: it would wait for the whole of a frame, however large that says it
//! is, before it finds it too large.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;

use super::Fault;

/// A head's two first bytes, eight of a length and four of the mask.
const MAX_HEAD_BYTES: usize = 14;

/// Longest payload of a control frame.
const MAX_CONTROL_BYTES: u64 = 125;

const CLOSE: u8 = 0x8;

/// A client's bytes, never more than one frame at once. The first frame that may not be is an error; nothing follows it but the end,
/// when the client closes.
#[derive(Debug)]
pub struct Frames<S> {
    bytes: S,
    heads: Heads,
    /// What was read and not passed on yet.
    rest: Bytes,
    /// A frame has ended: the codec is to read it before it gets the next, so that errors come in their order.
    pauses: bool,
    /// A close frame came behind a fault.
    has_closed: bool,
    /// Tells the other half, since the codec passes on no reason.
    fault: Rc<Cell<Option<Fault>>>,
}

impl<S> Frames<S> {
    pub(super) fn new(bytes: S, max_bytes: usize, fault: Rc<Cell<Option<Fault>>>) -> Self {
        Self { bytes, heads: Heads::new(max_bytes), rest: Bytes::new(), pauses: false, has_closed: false, fault }
    }

    /// The next part of what was read; `None` when there is none, or nothing is passed on any more.
    fn next_part(&mut self) -> Option<Result<Bytes, Fault>> {
        while !self.rest.is_empty() {
            let step = self.heads.advance(&self.rest);
            let part = self.rest.split_to(step.bytes);
            if self.fault.get().is_none() {
                self.pauses = step.ended.is_some();
                return Some(step.fault.map_or(Ok(part), Err));
            }
            if step.ended == Some(CLOSE) {
                self.rest.clear();
                self.has_closed = true;
            }
        }
        None
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Frames<S> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pauses) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match self.next_part() {
                Some(Ok(part)) => return Poll::Ready(Some(Ok(part))),
                Some(Err(fault)) => {
                    self.fault.set(Some(fault));
                    return Poll::Ready(Some(Err(PayloadError::EncodingCorrupted)));
                }
                None if self.has_closed => return Poll::Ready(None),
                None => {}
            }
            match ready!(Pin::new(&mut self.bytes).poll_next(context)) {
                Some(Ok(bytes)) => self.rest = bytes,
                end => return Poll::Ready(end),
            }
        }
    }
}

/// Where in a frame a client's bytes are.
#[derive(Debug)]
struct Heads {
    max_bytes: u64,
    head: [u8; MAX_HEAD_BYTES],
    /// Bytes of the head that were seen.
    seen: usize,
    /// Bytes of the payload that were not, once the head was.
    left: u64,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// How many of them belong to the frame they begin in.
    bytes: usize,
    /// The code of the frame, when it ends with them.
    ended: Option<u8>,
    /// Why that frame may not be.
    fault: Option<Fault>,
}

impl Heads {
    fn new(max_bytes: usize) -> Self {
        let max_bytes = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        Self { max_bytes, head: [0; MAX_HEAD_BYTES], seen: 0, left: 0 }
    }

    /// Goes on to the end of the frame, or of the bytes.
    fn advance(&mut self, bytes: &[u8]) -> Step {
        let mut taken = 0;
        let mut fault = None;
        while self.seen < self.head_bytes() && taken < bytes.len() {
            self.head[self.seen] = bytes[taken];
            (self.seen, taken) = (self.seen + 1, taken + 1);
            if self.seen == 2 {
                fault = self.wrong_beginning();
            }
            if self.seen == self.head_bytes() {
                self.left = self.payload_bytes();
                fault = fault.or_else(|| self.is_too_large().then_some(Fault::TooLarge));
            }
        }
        let mut ended = None;
        if self.seen == self.head_bytes() {
            let payload = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - taken);
            taken += payload;
            self.left -= payload as u64;
            if self.left == 0 {
                ended = Some(self.code());
                self.seen = 0;
            }
        }
        Step { bytes: taken, ended, fault }
    }

    /// Bytes of the head, as far as that is known yet.
    fn head_bytes(&self) -> usize {
        if self.seen < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + self.length_bytes() + mask
    }

    fn length_bytes(&self) -> usize {
        match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn payload_bytes(&self) -> u64 {
        let longer = &self.head[2..2 + self.length_bytes()];
        if longer.is_empty() {
            return u64::from(self.head[1] & 0x7f);
        }
        longer.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
    }

    fn code(&self) -> u8 {
        self.head[0] & 0x0f
    }

    fn is_control(&self) -> bool {
        self.code() >= CLOSE
    }

    fn is_too_large(&self) -> bool {
        !self.is_control() && self.left > self.max_bytes
    }

    /// What its first two bytes say that may not be.
    fn wrong_beginning(&self) -> Option<Fault> {
        let is_last = self.head[0] & 0x80 != 0;
        let wrong = if self.head[0] & 0x70 != 0 {
            "reserved bits are set, and no extension was agreed on"
        } else if matches!(self.code(), 0x3..=0x7 | 0xb..) {
            "a frame of an unknown kind"
        } else if self.head[1] & 0x80 == 0 {
            "a client's frames must be masked"
        } else if self.is_control() && !is_last {
            "a control frame in parts"
        } else if self.is_control() && u64::from(self.head[1] & 0x7f) > MAX_CONTROL_BYTES {
            "a control frame that is too long"
        } else {
            return None;
        };
        Some(Fault::Protocol(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use futures_util::stream;

    /// A masked frame whose mask is zero.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            0..126 => bytes.push(0x80 | payload.len() as u8),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((payload.len() as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    /// What is passed on when the bytes come in pieces of that size, and the fault that ends it.
    async fn pass(bytes: &[u8], piece: usize, max_bytes: usize) -> (Vec<u8>, Option<Fault>) {
        let fault = Rc::new(Cell::new(None));
        let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let parts: Vec<_> = Frames::new(stream::iter(pieces), max_bytes, fault.clone()).collect().await;
        let errors = parts.iter().filter(|part| part.is_err()).count();
        assert_eq!(errors, usize::from(fault.get().is_some()));
        (parts.into_iter().flatten().flatten().collect(), fault.get())
    }

    #[tokio::test]
    async fn frames_pass_as_they_are_in_whatever_pieces_they_come() {
        let bytes = [frame(0x01, b"one"), frame(0x89, b""), frame(0x80, &[7; 300]), frame(0x82, &[1; 70_000])].concat();
        for piece in [1, 2, 3, 5, 7, 311, bytes.len()] {
            assert_eq!(pass(&bytes, piece, 70_000).await, (bytes.clone(), None), "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn no_part_has_more_than_one_frame() {
        let bytes = [frame(0x81, b"one"), frame(0x81, b"two")].concat();
        let fault = Rc::new(Cell::new(None));
        let whole = stream::iter([Ok(Bytes::from(bytes.clone()))]);
        let parts: Vec<_> = Frames::new(whole, 10, fault).map(Result::unwrap).collect().await;
        assert_eq!(parts, [&bytes[..9], &bytes[9..]]);
    }

    #[tokio::test]
    async fn a_frame_that_may_not_be_is_refused_by_its_head_alone() {
        let large = [&[0x81, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
        let cases: [(&[u8], Fault); 8] = [
            (&large, Fault::TooLarge),
            (&[0x81, 0xfe, 0, 201, 0, 0, 0, 0], Fault::TooLarge),
            (&[0xc1, 0x80], Fault::Protocol("reserved bits are set, and no extension was agreed on")),
            (&[0x83, 0x80], Fault::Protocol("a frame of an unknown kind")),
            (&[0x8b, 0x80], Fault::Protocol("a frame of an unknown kind")),
            (&[0x81, 0x00], Fault::Protocol("a client's frames must be masked")),
            (&[0x09, 0x80], Fault::Protocol("a control frame in parts")),
            (&[0x89, 0xfe], Fault::Protocol("a control frame that is too long")),
        ];
        let before = frame(0x81, b"before");
        for (wrong, expected) in cases {
            let bytes = [&before, wrong].concat();
            for piece in [1, bytes.len()] {
                let (passed, fault) = pass(&bytes, piece, 200).await;
                assert_eq!(fault, Some(expected), "{wrong:?}");
                assert!(passed.starts_with(&before) && passed.len() < bytes.len(), "{wrong:?}: {passed:?}");
            }
        }
    }

    #[tokio::test]
    async fn behind_a_fault_only_a_close_is_heard() {
        let bytes = [frame(0xc1, b"wrong"), frame(0x81, &[5; 1_000]), frame(0x88, b"")].concat();
        let fault = Rc::new(Cell::new(None));
        let endless = stream::iter([Ok(Bytes::from(bytes))]).chain(stream::pending());
        let parts: Vec<_> = Frames::new(endless, 2_000, fault).collect().await;
        assert!(matches!(parts[..], [Err(PayloadError::EncodingCorrupted)]), "{parts:?}");
    }
}
