//! `multipart/form-data` (RFC 7578) as it arrives: nothing is kept but what could still be part of a boundary, and a part's
//! headers, which are bounded.

use mentor_actors::domain::TurnError;

use super::body::invalid;

/// What may stand before the first boundary, and in a part's headers: browsers send some 200 bytes.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// The longest boundary, as RFC 2046 has it.
const MAX_BOUNDARY_CHARS: usize = 70;
const END_OF_HEADERS: &[u8] = b"\r\n\r\n";

/// What comes next in a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A file begins.
    File { name: String },
    /// Some of its content.
    Data(Vec<u8>),
    /// It is whole.
    End,
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub(super) struct Multipart {
    /// The boundary with the line break and the dashes before it.
    delimiter: Vec<u8>,
    /// What was fed and is not given out yet.
    buffer: Vec<u8>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    BehindBoundary,
    InHeaders,
    InFile,
    BehindLast,
}

impl Multipart {
    /// A body with that boundary.
    ///
    /// # Errors
    /// `invalid_request` for a boundary that cannot be.
    pub(super) fn new(boundary: &str) -> Result<Self, TurnError> {
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY_CHARS {
            return Err(invalid("the body's boundary is missing or too long"));
        }
        // The first boundary has no line break before it; one that is made up lets it be found like the others.
        let (delimiter, buffer) = (format!("\r\n--{boundary}").into_bytes(), b"\r\n".to_vec());
        Ok(Self { delimiter, buffer, place: Place::BeforeFirst })
    }

    /// Takes in the next piece of the body.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Whether the last boundary was seen; what follows it means nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.place == Place::BehindLast
    }

    /// What comes next, as far as it was fed.
    ///
    /// # Errors
    /// `invalid_request` for what is no multipart body, or has a part that is no file.
    pub(super) fn next(&mut self) -> Result<Option<Part>, TurnError> {
        loop {
            let before = self.place;
            let part = match before {
                Place::BeforeFirst => self.skip_to_first()?,
                Place::BehindBoundary => self.look_behind_boundary()?,
                Place::InHeaders => self.read_headers()?,
                Place::InFile => self.read_file(),
                Place::BehindLast => None,
            };
            if part.is_some() || self.place == before {
                return Ok(part);
            }
        }
    }

    fn skip_to_first(&mut self) -> Result<Option<Part>, TurnError> {
        match find(&self.buffer, &self.delimiter) {
            Some(at) => {
                self.buffer.drain(..at + self.delimiter.len());
                self.place = Place::BehindBoundary;
            }
            None if self.buffer.len() > MAX_HEADER_BYTES => {
                return Err(invalid("the body does not begin with its boundary"));
            }
            None => {}
        }
        Ok(None)
    }

    /// Behind a boundary stand two dashes, when it was the last, or space and a line break.
    fn look_behind_boundary(&mut self) -> Result<Option<Part>, TurnError> {
        let space = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match self.buffer.get(space..space + 2) {
            Some(b"--") if space == 0 => self.place = Place::BehindLast,
            Some(b"\r\n") => {
                // The line break stays: with it headers that are none end like others.
                self.buffer.drain(..space);
                self.place = Place::InHeaders;
            }
            None if space <= MAX_HEADER_BYTES => {}
            _ => return Err(invalid("the body has a boundary that is none")),
        }
        Ok(None)
    }

    fn read_headers(&mut self) -> Result<Option<Part>, TurnError> {
        let Some(end) = find(&self.buffer, END_OF_HEADERS) else {
            let too_long = invalid("a part of the body has headers that are too long");
            return if self.buffer.len() > MAX_HEADER_BYTES { Err(too_long) } else { Ok(None) };
        };
        let headers: Vec<u8> = self.buffer.drain(..end + END_OF_HEADERS.len()).collect();
        let headers = String::from_utf8(headers).map_err(|_| invalid("a file name is not UTF-8"))?;
        let name = file_name(&headers).ok_or_else(|| invalid("a part of the body is no file: it has no filename"))?;
        self.place = Place::InFile;
        Ok(Some(Part::File { name }))
    }

    fn read_file(&mut self) -> Option<Part> {
        if let Some(at) = find(&self.buffer, &self.delimiter) {
            if at > 0 {
                return Some(Part::Data(self.buffer.drain(..at).collect()));
            }
            self.buffer.drain(..self.delimiter.len());
            self.place = Place::BehindBoundary;
            return Some(Part::End);
        }
        // The end may be the beginning of the delimiter.
        let safe = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
        (safe > 0).then(|| Part::Data(self.buffer.drain(..safe).collect()))
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    let first = pattern.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        if bytes[from + at..].starts_with(pattern) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// `filename` of a part's `Content-Disposition`.
fn file_name(headers: &str) -> Option<String> {
    let header = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, behind) = value_of(value.trim_start());
        if name.trim().eq_ignore_ascii_case("filename") {
            return Some(value);
        }
        rest = behind.split_once(';')?.1;
    }
}

/// A parameter's value and what follows it. Between quotes only `\"` and `\\` are read as one character: browsers send a
/// backslash as it is.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let (mut value, mut chars) = (String::new(), quoted.char_indices().peekable());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.push(chars.next_if(|(_, next)| matches!(next, '"' | '\\')).map_or(c, |(_, next)| next)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.md\"\r\nContent-Type: text/markdown\r\n\r\n\
        one\r\n--X\r\ntwo\r\n--XX \r\ncontent-disposition: form-data; filename=b.txt; name=f\r\n\r\n\r\n--XX--\r\nbehind";

    /// All files with their content, when the body comes in pieces of that size.
    fn files(body: &[u8], piece: usize) -> Result<(Vec<(String, Vec<u8>)>, bool), TurnError> {
        let mut multipart = Multipart::new("XX")?;
        let (mut files, mut ended) = (Vec::new(), 0);
        for piece in body.chunks(piece) {
            multipart.feed(piece);
            while let Some(part) = multipart.next()? {
                match part {
                    Part::File { name } => files.push((name, Vec::new())),
                    Part::Data(data) => files.last_mut().unwrap().1.extend(data),
                    Part::End => ended += 1,
                }
            }
        }
        assert!(!multipart.is_whole() || ended == files.len());
        Ok((files, multipart.is_whole()))
    }

    #[test]
    fn files_are_the_same_in_whatever_pieces_they_come() {
        let expected = vec![("a b.md".to_owned(), b"one\r\n--X\r\ntwo".to_vec()), ("b.txt".to_owned(), Vec::new())];
        for piece in 1..=BODY.len() {
            assert_eq!(files(BODY.as_bytes(), piece), Ok((expected.clone(), true)), "pieces of {piece}");
        }
    }

    #[test]
    fn a_body_that_ends_early_is_not_whole_wherever_it_ends() {
        let last = BODY.rfind("--\r\nbehind").unwrap();
        for end in 0..=last + 1 {
            assert!(!files(&BODY.as_bytes()[..end], 7).unwrap().1, "{end}");
        }
    }

    #[test]
    fn what_is_no_upload_is_refused() {
        let refused = |body: &str| files(body.as_bytes(), 16).unwrap_err().message;
        assert!(refused(&"x".repeat(10_000)).contains("does not begin with its boundary"));
        assert!(refused("--XXY\r\n").contains("boundary that is none"));
        assert!(
            refused("--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX--").contains("no filename")
        );
        assert!(refused("--XX\r\n\r\ntext\r\n--XX--").contains("no filename"));
        assert!(refused(&format!("--XX\r\nA: {}", "x".repeat(10_000))).contains("headers that are too long"));
        assert!(Multipart::new("").is_err() && Multipart::new(&"x".repeat(71)).is_err());
    }

    #[test]
    fn a_name_is_read_as_browsers_and_curl_write_it() {
        let name = |value: &str| file_name(&format!("\r\nContent-Disposition: form-data; name=\"f\"; {value}\r\n\r\n"));
        assert_eq!(name(r#"filename="a.md""#).as_deref(), Some("a.md"));
        assert_eq!(name(r#"filename="say \"hi\"; \\ ok.md""#).as_deref(), Some(r#"say "hi"; \ ok.md"#));
        assert_eq!(name(r#"filename="..\x.md""#).as_deref(), Some(r"..\x.md"));
        assert_eq!(name("FileName=ü.md").as_deref(), Some("ü.md"));
        assert_eq!(name("filename*=UTF-8''x.md"), None);
        assert_eq!(name(r#"other="filename=x""#), None);
    }
}
