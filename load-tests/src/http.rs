//! As much of HTTP/1.1 as a search needs: one request after the other on a connection that stays open, whole bodies, no
//! TLS.
//! Nothing here has a deadline: callers set it.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Longest line of a head, in bytes. Common servers allow 8 KiB.
const MAX_LINE_BYTES: u64 = 16 * 1024;

/// Most lines of a head, or behind a chunked body.
const MAX_LINES: usize = 128;

/// Largest body, in bytes: far more than the passages of any search.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its whole body.
    pub body: Vec<u8>,
    /// Whether the connection can be used again.
    pub stays_open: bool,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: BufReader<S>,
    host: String,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
    UntilClosed,
}

/// Status line and headers, as far as they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Length,
    stays_open: bool,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When that fails.
    pub async fn open(authority: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, authority))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Speaks HTTP over a stream.
    fn over(stream: S, authority: &str) -> Self {
        Self { stream: BufReader::new(stream), host: authority.to_owned() }
    }

    /// Posts JSON and reads the response.
    ///
    /// # Errors
    /// When the connection is lost, or what comes is not HTTP/1.x or too large.
    pub async fn post(&mut self, target: &str, json: &str) -> Result<Response> {
        let (host, bytes) = (&self.host, json.len());
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {bytes}\r\n\r\n{json}"
        );
        self.exchange(&request).await
    }

    /// Gets something.
    ///
    /// # Errors
    /// As [`Connection::post`].
    pub async fn get(&mut self, target: &str) -> Result<Response> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.exchange(&request).await
    }

    async fn exchange(&mut self, request: &str) -> Result<Response> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let Head { status, length, stays_open } = self.head().await?;
        let body = match length {
            Length::Bytes(bytes) => self.bytes(bytes).await?,
            Length::Chunked => self.chunks().await?,
            Length::UntilClosed => self.rest().await?,
        };
        Ok(Response { status, body, stays_open })
    }

    async fn head(&mut self) -> Result<Head> {
        let first = self.line().await?;
        let mut headers = Vec::new();
        for _ in 0..MAX_LINES {
            let line = self.line().await?;
            if line.is_empty() {
                return parse_head(&first, &headers);
            }
            headers.push(line);
        }
        Err(invalid("the response has too many headers"))
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(MAX_LINE_BYTES).read_line(&mut line).await?;
        match line.pop() {
            Some('\n') => Ok(line.trim_end_matches('\r').to_owned()),
            None => Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            Some(_) => Err(invalid("a line of the response is too long or cut off")),
        }
    }

    async fn bytes(&mut self, bytes: usize) -> Result<Vec<u8>> {
        check_size(bytes)?;
        let mut body = vec![0; bytes];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let bytes = usize::from_str_radix(digits, 16).map_err(|_| invalid("a chunk has no length"))?;
            if bytes == 0 {
                self.trailers().await?;
                return Ok(body);
            }
            check_size(body.len().saturating_add(bytes))?;
            body.append(&mut self.bytes(bytes).await?);
            if !self.line().await?.is_empty() {
                return Err(invalid("a chunk is longer than its length"));
            }
        }
    }

    async fn trailers(&mut self) -> Result<()> {
        for _ in 0..MAX_LINES {
            if self.line().await?.is_empty() {
                return Ok(());
            }
        }
        Err(invalid("the response has too many trailers"))
    }

    async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let one_more = MAX_BODY_BYTES as u64 + 1;
        (&mut self.stream).take(one_more).read_to_end(&mut body).await?;
        check_size(body.len())?;
        Ok(body)
    }
}

fn parse_head(first: &str, headers: &[String]) -> Result<Head> {
    let status =
        first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse::<u16>().ok());
    let status = status.ok_or_else(|| invalid("the response does not begin like HTTP/1.x"))?;
    let mut head = Head { status, length: Length::UntilClosed, stays_open: first.starts_with("HTTP/1.1") };
    for header in headers {
        let (name, value) = header.split_once(':').ok_or_else(|| invalid("a header has no colon"))?;
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => head.length = Length::Chunked,
            "content-length" if head.length != Length::Chunked => {
                head.length = Length::Bytes(value.parse().map_err(|_| invalid("content-length is not a number"))?);
            }
            "connection" => head.stays_open = value != "close",
            _ => {}
        }
    }
    head.stays_open &= head.length != Length::UntilClosed;
    Ok(head)
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes > MAX_BODY_BYTES {
        return Err(invalid("the response is too large"));
    }
    Ok(())
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for a request and a response in each direction.
    const ROOM: usize = 64 * 1024;

    /// What the client makes of a server that says this and then closes, and what it had sent.
    async fn hear(response: &str) -> (Result<Response>, String) {
        let (client, mut server) = tokio::io::duplex(ROOM);
        server.write_all(response.as_bytes()).await.unwrap();
        server.shutdown().await.unwrap();
        let mut connection = Connection::over(client, "tutor:80");
        let heard = connection.post("/api/search", "{}").await;
        drop(connection);
        let mut sent = String::new();
        server.read_to_string(&mut sent).await.unwrap();
        (heard, sent)
    }

    fn found(body: &str, stays_open: bool) -> Response {
        Response { status: 200, body: body.into(), stays_open }
    }

    #[tokio::test]
    async fn a_request_is_written_as_servers_expect_it() {
        let (_, sent) = hear("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let expected = "POST /api/search HTTP/1.1\r\nHost: tutor:80\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(sent, expected);
    }

    #[tokio::test]
    async fn a_body_is_read_by_its_length() {
        let (heard, _) = hear("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more").await;
        assert_eq!(heard.unwrap(), found("hello", true));
    }

    #[tokio::test]
    async fn a_body_is_read_by_its_chunks() {
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;x=y\r\nhello\r\nA\r\n, students\r\n0\r\nx: y\r\n\r\n";
        assert_eq!(hear(chunks).await.0.unwrap(), found("hello, students", true));
    }

    #[tokio::test]
    async fn a_body_without_a_length_goes_on_until_the_connection_ends() {
        assert_eq!(hear("HTTP/1.1 200 OK\r\n\r\nhello").await.0.unwrap(), found("hello", false));
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closes_is_not_used_again() {
        let (heard, _) = hear("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").await;
        assert_eq!(heard.unwrap(), found("hello", false));
    }

    #[tokio::test]
    async fn what_is_no_http_or_too_large_or_cut_off_is_an_error() {
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX_BODY_BYTES + 1);
        let bad = ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", huge.as_str()];
        for response in bad {
            assert!(hear(response).await.0.is_err(), "{response:?} was accepted");
        }
    }
}
