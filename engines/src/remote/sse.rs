//! Bytes become server-sent events, as the HTML standard says, chapter "Server-sent events".

use std::mem;

use thiserror::Error;

/// Longest event, in bytes: far above one of a chat completion, far below what would hurt.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// What came is no stream of events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub(super) struct TooLong;

/// Takes bytes in any pieces, and gives the data of every event that is complete. What is neither data nor a line's end
/// (comments, names, ids) is left out; bytes that are no UTF-8 become replacement characters.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    line: Vec<u8>,
    /// The data lines of the event so far, each with a line break behind it.
    data: String,
    /// The last byte was a carriage return: a line feed behind it belongs to it.
    after_return: bool,
}

impl SseParser {
    /// The events that are complete with these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_return = mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ if self.line.len() + self.data.len() >= MAX_EVENT_BYTES => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    /// The last event, of servers that do not end it with an empty line.
    pub(super) fn finish(&mut self) -> Option<String> {
        let unfinished = self.end_line();
        unfinished.or_else(|| self.end_event())
    }

    fn end_line(&mut self) -> Option<String> {
        let line = mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_event();
        }
        let value = match line.strip_prefix(b"data:") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if line == b"data" => b"",
            None => return None,
        };
        self.data.push_str(&String::from_utf8_lossy(value));
        self.data.push('\n');
        None
    }

    fn end_event(&mut self) -> Option<String> {
        let mut data = mem::take(&mut self.data);
        data.pop().map(|_line_break| data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut events: Vec<String> = pieces.iter().flat_map(|piece| parser.push(piece).unwrap()).collect();
        events.extend(parser.finish());
        events
    }

    #[test]
    fn the_pieces_may_be_cut_anywhere() {
        let text = "data: {\"a\": \"größe 🦙\"}\r\n\r\n: ping\r\ndata:[DONE]\n\n".as_bytes();
        let whole = parse(&[text]);
        assert_eq!(whole, ["{\"a\": \"größe 🦙\"}", "[DONE]"]);
        for cut in 0..text.len() {
            assert_eq!(parse(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn all_three_ends_of_lines_are_known() {
        assert_eq!(parse(&[b"data: a\n\ndata: b\r\rdata: c\r\n\r\n"]), ["a", "b", "c"]);
    }

    #[test]
    fn lines_of_data_belong_together_until_an_empty_line() {
        assert_eq!(parse(&[b"data: a\ndata:  b\ndata\n\n"]), ["a\n b\n"]);
    }

    #[test]
    fn comments_names_ids_and_empty_events_are_left_out() {
        assert_eq!(parse(&[b": ping\n\n\n\nevent: x\nid: 3\nretry: 10\ndatabase: no\ndata: a\n\n"]), ["a"]);
    }

    #[test]
    fn a_last_event_without_its_empty_line_counts() {
        assert_eq!(parse(&[b"data: a\n\ndata: b\n"]), ["a", "b"]);
        assert_eq!(parse(&[b"data: a\ndata: b"]), ["a\nb"]);
        assert_eq!(parse(&[b""]), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_utf8_is_replaced() {
        assert_eq!(parse(&[b"data: a\xFFb\n\n"]), ["a\u{FFFD}b"]);
    }

    #[test]
    fn an_endless_event_is_refused_in_one_line_or_many() {
        let mut parser = SseParser::default();
        let mut push_until_refused =
            |piece: &[u8]| (0..=2 * MAX_EVENT_BYTES / piece.len()).any(|_| parser.push(piece).is_err());
        assert!(push_until_refused(&[b'x'; 4096]));
        let mut parser = SseParser::default();
        let line = format!("data: {}\n", "x".repeat(4096));
        assert!((0..=MAX_EVENT_BYTES / 4096).any(|_| parser.push(line.as_bytes()).is_err()));
    }
}
