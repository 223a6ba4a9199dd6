//! Where the server is.

use std::fmt;

/// The address of a server, without the path of any call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    authority: String,
    /// What stands before every path where a proxy wants it: empty, or `/` and a name.
    prefix: String,
}

impl Address {
    /// Reads `ws://host[:port][/prefix]`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn web_socket(url: &str) -> Result<Self, String> {
        Self::parse(url, "ws")
    }

    /// Reads `http://host[:port][/prefix]`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn http(url: &str) -> Result<Self, String> {
        Self::parse(url, "http")
    }

    fn parse(url: &str, scheme: &'static str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            return Err(format!("{url:?} does not begin with {scheme}:// (TLS is not supported)"));
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let strange = |c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '@');
        match with_port(authority) {
            Some(authority) if !rest.contains(strange) => {
                Ok(Self { scheme, authority, prefix: prefix.trim_end_matches('/').to_owned() })
            }
            _ => Err(format!("{url:?} is not {scheme}://host[:port][/prefix]")),
        }
    }

    /// Host and port, as a `Host` header and `TcpStream::connect` take them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The target of a request for a path.
    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The whole URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// Adds the port 80 where there is none; `None` when there is no host, or what follows it is no port.
fn with_port(authority: &str) -> Option<String> {
    // The colons of an IPv6 address stand in brackets.
    let host_end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    match port.strip_prefix(':') {
        _ if host.is_empty() => None,
        None if port.is_empty() => Some(format!("{authority}:80")),
        Some(digits) if digits.parse::<u16>().is_ok() => Some(authority.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_behind_host_port_and_prefix() {
        let plain = Address::web_socket("ws://127.0.0.1:8000").unwrap();
        assert_eq!(plain.url("/api"), "ws://127.0.0.1:8000/api");
        let proxied = Address::http("http://[::1]:81/tutor/").unwrap();
        assert_eq!((proxied.authority(), proxied.target("/api").as_str()), ("[::1]:81", "/tutor/api"));
    }

    #[test]
    fn the_port_is_80_where_there_is_none() {
        assert_eq!(Address::http("http://tutor").unwrap().authority(), "tutor:80");
        assert_eq!(Address::http("http://[::1]").unwrap().authority(), "[::1]:80");
    }

    #[test]
    fn another_scheme_and_a_malformed_address_are_refused() {
        for bad in
            ["https://x", "ws://x", "http://", "http://x:y", "http://:80", "http://x/?q", "http://a b", "http://::1"]
        {
            assert!(Address::http(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
