//! HTTP requests, and what their failures mean. The only file that names the HTTP client's types.

use std::io;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Error, Timeout};

use super::address;
use super::error::{Failure, ModelsError};

pub(super) type Reply = Response<Body>;

/// Long enough for a slow mobile line, short enough for somebody who watches.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a server may be silent, before its answer and in the middle of it.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest wait a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Makes requests. Proxies come from the environment, trusted certificates from the system.
pub(super) struct Client {
    agent: Agent,
}

impl Client {
    pub(super) fn new() -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("mentor/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Self { agent: config.into() }
    }

    /// Asks for `url`, following redirects. `what` names it in errors. An answer is 2xx, or 416 to a range.
    pub(super) fn get(&self, what: &str, url: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        let request = headers.iter().fold(self.agent.get(url), |request, (name, value)| request.header(*name, *value));
        // Lengths, ranges and sums are those of the file itself, so nothing may be compressed on the way.
        judge(what, url, request.header("accept-encoding", "identity").call())
    }

    /// Asks for the headers of `url` alone, following no redirect: an answer may be 3xx.
    pub(super) fn head(&self, what: &str, url: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        let request = self.agent.head(url).config().max_redirects(0).build();
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        judge(what, url, request.call())
    }
}

/// A header's text, if it is there and is text.
pub(super) fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.headers().get(name)?.to_str().ok()
}

fn judge(what: &str, url: &str, result: Result<Reply, Error>) -> Result<Reply, Failure> {
    let reply = result.map_err(|error| failure(what, url, error))?;
    let status = reply.status().as_u16();
    let host = address::host(url);
    match status {
        200..=399 | 416 => Ok(reply),
        408 | 425 | 429 | 500.. => {
            Err(Failure::Transient { reason: format!("{host} answers {status}"), gained_bytes: 0, wait: wait(&reply) })
        }
        _ => Err(Failure::Fatal(ModelsError::Refused {
            what: what.to_owned(),
            host: host.to_owned(),
            status,
            hint: hint(status),
        })),
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "not there, or not for everybody: check the name; a private or gated repository needs HF_TOKEN",
        404 | 410 => "not there: check the name",
        407 => "the proxy wants a user and a password: give them in HTTPS_PROXY",
        _ => "not what this program can use",
    }
}

fn wait(reply: &Reply) -> Option<Duration> {
    let seconds = header(reply, "retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

fn failure(what: &str, url: &str, error: Error) -> Failure {
    let what = what.to_owned();
    let host = address::host(url).to_owned();
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => untrusted(what, host, &error),
        Error::Io(error) if was_connected(error.kind()) => Failure::transient(format!("{host}: {error}")),
        Error::Io(error) => Failure::Unreachable { host, reason: error.to_string() },
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            Failure::Unreachable { host, reason: format!("no answer within {} s", CONNECT.as_secs()) }
        }
        Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) => {
            Failure::Unreachable { host, reason: error.to_string() }
        }
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => untrusted(what, host, &error),
        Error::Timeout(_) | Error::Protocol(_) | Error::BodyStalled => Failure::transient(format!("{host}: {error}")),
        // The client's own text may hold the address with a password in it.
        Error::BadUri(_) | Error::Http(_) | Error::RequireHttpsOnly(_) | Error::InvalidProxyUrl => {
            let why = format!("the address, a header or the proxy for {host} is malformed");
            Failure::Fatal(ModelsError::Answer { what, why })
        }
        other => Failure::Fatal(ModelsError::Answer { what, why: format!("{host}: {other}") }),
    }
}

fn untrusted(what: String, host: String, reason: &dyn std::error::Error) -> Failure {
    Failure::Fatal(ModelsError::Untrusted { what, host, reason: reason.to_string() })
}

/// Whether somebody was on the line when it broke.
fn was_connected(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof, WouldBlock,
    };
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | TimedOut | UnexpectedEof | WouldBlock
    )
}
