//! Refuses a WebSocket frame that says it is too large as soon as it says so. The codec would first hold all of it in memory,
//! however long it is.

use std::cell::Cell;
use std::rc::Rc;

use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

/// Longest head of a frame: two bytes, eight of length, four of the mask.
const LONGEST_HEAD: usize = 14;

/// Follows frames through pieces of a stream, by their heads alone.
#[derive(Debug)]
struct FrameSizes {
    limit: u64,
    head: Vec<u8>,
    /// Bytes of the current frame's content that are still to come.
    content: u64,
}

impl FrameSizes {
    fn new(limit: usize) -> Self {
        Self { limit: limit as u64, head: Vec::with_capacity(LONGEST_HEAD), content: 0 }
    }

    /// Whether every frame that begins in this piece is small enough.
    fn allow(&mut self, mut piece: &[u8]) -> bool {
        loop {
            let passed = usize::try_from(self.content).unwrap_or(usize::MAX).min(piece.len());
            self.content -= passed as u64;
            piece = &piece[passed..];
            let [next, rest @ ..] = piece else { return true };
            self.head.push(*next);
            piece = rest;
            if let Some(content) = content_of(&self.head) {
                self.head.clear();
                self.content = content;
                if content > self.limit {
                    return false;
                }
            }
        }
    }
}

/// How much content follows a head; `None` while the head is not whole. RFC 6455, section 5.2.
fn content_of(head: &[u8]) -> Option<u64> {
    const MASKED: u8 = 0x80;
    let second = *head.get(1)?;
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    let (length, bytes) = match second & !MASKED {
        126 => (u64::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?)), 2),
        127 => (u64::from_be_bytes(head.get(2..10)?.try_into().ok()?), 8),
        short => (u64::from(short), 0),
    };
    (head.len() == 2 + bytes + mask).then_some(length)
}

/// The same bytes, up to a frame of more than `limit`: there an error stands, and `too_large` is set.
pub fn limited<S>(
    payload: S,
    limit: usize,
    too_large: Rc<Cell<bool>>,
) -> impl Stream<Item = Result<Bytes, PayloadError>>
where
    S: Stream<Item = Result<Bytes, PayloadError>>,
{
    let mut sizes = FrameSizes::new(limit);
    payload.map(move |piece| {
        let piece = piece?;
        if too_large.get() || !sizes.allow(&piece) {
            too_large.set(true);
            return Err(PayloadError::Overflow);
        }
        Ok(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match u16::try_from(length) {
            Ok(short @ 0..=125) => bytes.push(0x80 | u8::try_from(short).unwrap()),
            Ok(medium) => {
                bytes.push(0xFE);
                bytes.extend(medium.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0xFF);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.resize(bytes.len() + length, b'x');
        bytes
    }

    #[test]
    fn frames_are_followed_however_the_stream_is_cut() {
        let stream = [frame(0), frame(5), frame(125), frame(126), frame(300), frame(1_000), frame(1)].concat();
        for cut in [1, 2, 3, 7, 100, stream.len()] {
            let mut sizes = FrameSizes::new(1_000);
            assert!(stream.chunks(cut).all(|piece| sizes.allow(piece)), "pieces of {cut}");
            assert!(sizes.head.is_empty() && sizes.content == 0);
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused_by_its_head_alone() {
        for length in [1_001, 70_000, 1 << 40, (1_u64 << 63) | 1] {
            let mut head = frame(3);
            head.extend([0x81, 0xFF]);
            head.extend(length.to_be_bytes());
            let mut sizes = FrameSizes::new(1_000);
            assert!(sizes.allow(&head), "the mask is part of the head");
            assert!(!sizes.allow(&[0; 4]), "{length}");
        }
    }

    #[test]
    fn frames_without_a_mask_are_followed_too() {
        let mut sizes = FrameSizes::new(10);
        assert!(sizes.allow(&[0x81, 2, b'a', b'b', 0x81, 1]));
        assert_eq!(sizes.content, 1);
    }
}
