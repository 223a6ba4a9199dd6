//! HTTP to the server.

use std::error::Error as _;
use std::time::Duration;

use mentor_actors::domain::EngineError;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use tokio::time::timeout;

use super::address::ServerAddress;
use super::config::RemoteConfig;
use super::failure::{ErrorBody, RemoteFailure};
use super::models::ModelList;
use super::stream::AnswerStream;

/// Longest list of models, in bytes.
const LARGEST_LIST: usize = 4 << 20;
/// How much of an error is read to find its code, and for how long.
const LARGEST_ERROR: usize = 64 << 10;
const ERROR_TIME: Duration = Duration::from_secs(2);

/// A server's interface; clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    address: ServerAddress,
}

impl Client {
    /// # Errors
    /// [`EngineError::Load`] for a key that no header can hold, and when TLS cannot be set up.
    pub(super) fn new(config: &RemoteConfig) -> Result<Self, EngineError> {
        let address = config.address.clone();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mentor/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(config)?)
            .connect_timeout(config.connect_timeout)
            // The key goes to no other server, and a POST would come back as a GET.
            .redirect(Policy::none())
            // Compression would hold tokens back.
            .no_gzip()
            .pool_max_idle_per_host(config.parallel)
            // Plain HTTP works where no certificates are installed.
            .tls_built_in_root_certs(address.is_https());
        if address.is_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| EngineError::Load(format!("no HTTP client: {}", cause(&error))))?;
        Ok(Self { http, address })
    }

    /// The models the server lists; none when it has no such interface.
    pub(super) async fn models(&self) -> Result<ModelList, RemoteFailure> {
        match send(self.http.get(self.address.endpoint("models"))).await {
            Ok(response) => {
                let body = read_body(response, LARGEST_LIST).await?;
                serde_json::from_slice(&body).map_err(|_| RemoteFailure::Garbage("no list of models".into()))
            }
            Err(RemoteFailure::Status { status: 404 | 405 | 501, .. }) => Ok(ModelList::default()),
            Err(failure) => Err(failure),
        }
    }

    /// Asks for an answer, and returns when it begins to come.
    pub(super) async fn ask(&self, body: Vec<u8>) -> Result<AnswerStream, RemoteFailure> {
        let request = self.http.post(self.address.endpoint("chat/completions"));
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "text/event-stream").body(body);
        AnswerStream::new(send(request).await?)
    }
}

fn headers(config: &RemoteConfig) -> Result<HeaderMap, EngineError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = config.api_key.reveal() {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| EngineError::Load("the API key holds characters that no HTTP header may have".into()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

async fn send(request: RequestBuilder) -> Result<Response, RemoteFailure> {
    let response = request.send().await.map_err(|error| transport_failure(&error))?;
    if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
}

async fn refusal(response: Response) -> RemoteFailure {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
    let body = timeout(ERROR_TIME, read_body(response, LARGEST_ERROR)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    tracing::trace!(status, body = %String::from_utf8_lossy(&body), "the remote server refused");
    RemoteFailure::Status { status, code: ErrorBody::read(&body), retry_after }
}

/// A header's number of seconds; its other form, a date, is treated as if it was not there.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, RemoteFailure> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| transport_failure(&error))? {
        if body.len() + bytes.len() > limit {
            return Err(RemoteFailure::Garbage(format!("more than {limit} bytes")));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

pub(super) fn transport_failure(error: &reqwest::Error) -> RemoteFailure {
    if error.is_connect() { RemoteFailure::Connect(cause(error)) } else { RemoteFailure::Lost(cause(error)) }
}

/// The innermost reason, which names no address.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(inner) = innermost.and_then(|error| error.source()) {
        innermost = Some(inner);
    }
    innermost.map_or_else(|| "unknown reason".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn config(key: &str) -> RemoteConfig {
        let address = ServerAddress::parse("http://127.0.0.1:1").unwrap();
        RemoteConfig { api_key: key.parse::<Secret>().unwrap(), ..RemoteConfig::new(address) }
    }

    #[test]
    fn the_key_is_not_in_the_client_s_debug_form() {
        let client = Client::new(&config("hunter2")).unwrap();
        assert!(!format!("{client:?} {:?}", config("hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_refused_without_repeating_it() {
        let error = Client::new(&config("hunter2\nX-Other: 1")).unwrap_err().to_string();
        assert!(error.contains("API key") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn only_seconds_are_read_from_retry_after() {
        let parsed = |text| seconds(&HeaderValue::from_static(text));
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        assert_eq!((parsed("-1"), parsed("Fri, 31 Dec 1999 23:59:59 GMT")), (None, None));
    }
}
