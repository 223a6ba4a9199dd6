//! Where the server is, without anything secret in it: addresses stand in errors and logs.

use std::fmt;

use reqwest::Url;
use thiserror::Error;

/// Why an address was refused. No message repeats it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not an http or https address.
    #[error("the address of a remote server must look like http://host:port")]
    NotHttp,
    /// A user or password in it would be in logs.
    #[error("the address of a remote server must not hold a user or password: put the key into llm_api_key")]
    Credentials,
    /// Keys are put there too, and paths could not be added behind it.
    #[error("the address of a remote server must not hold a query or fragment")]
    Query,
}

/// Scheme, host, port, and what stands before `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Without a slash at its end.
    base: String,
    is_https: bool,
    is_loopback: bool,
}

impl ServerAddress {
    /// Whether a setting means a server rather than a file or a name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        begins("http://") || begins("https://")
    }

    /// Reads an address; `/v1` at its end may be there or not.
    ///
    /// # Errors
    /// What is not an address, and one that holds more than a place.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if !Self::is_meant(text) {
            return Err(AddressError::NotHttp);
        }
        let url = Url::parse(text).map_err(|_| AddressError::NotHttp)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query);
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/');
        let base = format!("{}{path}", url.origin().ascii_serialization());
        Ok(Self { base, is_https: url.scheme() == "https", is_loopback: url.host_str().is_some_and(is_loopback) })
    }

    /// The address of an interface below `/v1/`.
    pub(super) fn endpoint(&self, name: &str) -> String {
        format!("{}/v1/{name}", self.base)
    }

    pub(super) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether the server is on this machine, where no proxy is asked.
    pub(super) fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> String {
        ServerAddress::parse(text).unwrap().endpoint("models")
    }

    #[test]
    fn v1_may_be_there_or_not() {
        for text in ["http://gpu:8000", "http://gpu:8000/", "http://gpu:8000/v1", "HTTP://gpu:8000/v1/"] {
            assert_eq!(endpoint(text), "http://gpu:8000/v1/models", "{text}");
        }
        assert_eq!(endpoint("https://example.org/llm/v1"), "https://example.org/llm/v1/models");
    }

    #[test]
    fn an_address_with_something_secret_is_refused_without_repeating_it() {
        for text in ["http://me:hunter2@gpu", "http://hunter2@gpu", "http://gpu/?key=hunter2", "http://gpu/#hunter2"] {
            let error = ServerAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains("must not hold") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "gpu:8000", "ftp://gpu", "http://", "http:gpu", "http://gpu:port"] {
            assert_eq!(ServerAddress::parse(text), Err(AddressError::NotHttp), "{text}");
        }
    }

    #[test]
    fn files_and_names_are_no_servers() {
        assert!(ServerAddress::is_meant("http://gpu") && ServerAddress::is_meant("HTTPS://gpu"));
        assert!(
            !ServerAddress::is_meant("models/http.gguf")
                && !ServerAddress::is_meant("")
                && !ServerAddress::is_meant("é")
        );
    }

    #[test]
    fn this_machine_is_known_by_name_and_number() {
        let loopback = |text| ServerAddress::parse(text).unwrap().is_loopback();
        assert!(loopback("http://127.0.0.1:80") && loopback("http://localhost") && loopback("http://[::1]:80"));
        assert!(!loopback("http://10.0.0.1") && !loopback("http://localhost.example.org"));
    }
}
