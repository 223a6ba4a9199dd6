//! Bytes of tokens become text: whole characters, and nothing of a stop sequence.

/// Turns bytes that may end inside a character into text.
///
/// Bytes that can be no character are left out, as is a character that is never completed; white space before the first
/// word too.
#[derive(Debug, Default)]
pub(super) struct TextStream {
    incomplete: Vec<u8>,
    started: bool,
}

impl TextStream {
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.incomplete.extend_from_slice(bytes);
        let mut text = self.take_complete();
        if !self.started {
            text.drain(..text.len() - text.trim_start().len());
            self.started = !text.is_empty();
        }
        text
    }

    /// All whole characters; what may still become one stays.
    fn take_complete(&mut self) -> String {
        let bytes = std::mem::take(&mut self.incomplete);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunks.peek().is_none() && may_be_completed(chunk.invalid()) {
                self.incomplete.extend_from_slice(chunk.invalid());
            }
        }
        text
    }
}

/// Whether more bytes can make a character of these.
fn may_be_completed(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Looks for texts that end an answer, also where they are spread over tokens: what may be the beginning of one is held back.
#[derive(Debug)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
}

/// What passes a [`StopFilter`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filtered {
    /// Text, and no end yet.
    Text(String),
    /// The text before the end.
    Stopped(String),
}

impl StopFilter {
    /// Empty stop sequences are ignored.
    pub(crate) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> Filtered {
        if self.stops.is_empty() {
            return Filtered::Text(text.to_owned());
        }
        self.held.push_str(text);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(start) = first {
            self.held.truncate(start);
            return Filtered::Stopped(std::mem::take(&mut self.held));
        }
        let kept = self.stops.iter().map(|stop| suspicious_bytes(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        Filtered::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What was held back, once it is clear that no end follows.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` with which `stop` begins.
fn suspicious_bytes(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(end, _)| end).filter(|&end| end > 0);
    ends.filter(|&end| text.ends_with(&stop[..end])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: &[&[u8]]) -> Vec<String> {
        let mut stream = TextStream::default();
        pieces.iter().map(|piece| stream.push(piece)).collect()
    }

    #[test]
    fn a_character_that_is_spread_over_tokens_comes_whole() {
        assert_eq!(stream(&[b"a", &[0xF0, 0x9F], &[0xA6], &[0x99, b'!']]), ["a", "", "", "🦙!"]);
        assert_eq!(stream(&[&[b'x', 0xC3], &[0xA9, 0xC3], &[0xA9]]), ["x", "é", "é"]);
    }

    #[test]
    fn bytes_that_are_no_character_are_left_out() {
        assert_eq!(stream(&[b"a\xFFb", &[0xE2, 0x82], b"c"]), ["ab", "", "c"]);
    }

    #[test]
    fn white_space_before_the_first_word_is_left_out_and_later_kept() {
        assert_eq!(stream(&[b" ", b"\n Hello", b" ", b"you"]), ["", "Hello", " ", "you"]);
    }

    fn filtered(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut said = String::new();
        for piece in pieces {
            match filter.push(piece) {
                Filtered::Text(text) => said.push_str(&text),
                Filtered::Stopped(text) => return (said + &text, true),
            }
        }
        (said + &filter.rest(), false)
    }

    #[test]
    fn a_stop_sequence_ends_the_answer_also_where_it_spans_tokens() {
        assert_eq!(filtered(&["\n\nQ:"], &["an answer", "\n", "\nQ", ": more"]), ("an answer".into(), true));
        assert_eq!(filtered(&["END"], &["aEN", "D", "b"]), ("a".into(), true));
    }

    #[test]
    fn what_only_begins_like_a_stop_sequence_comes_in_the_end() {
        assert_eq!(filtered(&["END"], &["aEN", "joy", " E"]), ("aENjoy E".into(), false));
        assert_eq!(filtered(&["ααβ"], &["α", "α", "α", "β"]), ("α".into(), true));
    }

    #[test]
    fn the_first_of_several_counts_and_empty_ones_do_not() {
        assert_eq!(filtered(&["", "two", "one"], &["zero one two"]), ("zero ".into(), true));
        assert_eq!(filtered(&[""], &["zero"]), ("zero".into(), false));
    }
}
