//! Where a request says that it comes from and goes to: what keeps other sites' pages in a browser from acting here.
//!
//! A page of another site can make a browser send requests here, and by DNS rebinding under a name of its own. So the `Origin`
//! that browsers add must be this server's or a listed one, and without keys the `Host` must be a name of this machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use actix_web::http::Uri;

/// A site as browsers name it, `https://tutor.example:8443`, in lower case and without its scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Whether `host`, as in a `Host` header, is this site's name and port.
    #[must_use]
    pub fn is_at(&self, host: &str) -> bool {
        split_host(host).is_some_and(|(name, port)| {
            name.eq_ignore_ascii_case(&self.host) && port.unwrap_or(default_port(&self.scheme)) == self.port
        })
    }

    /// Whether its pages come over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an origin, like https://tutor.example or http://localhost:3000");
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let (scheme, authority) = (uri.scheme_str().ok_or_else(wrong)?, uri.authority().ok_or_else(wrong)?.as_str());
        let has_path = uri.path() != "/" || uri.query().is_some();
        let (host, port) = split_host(authority).ok_or_else(wrong)?;
        if !["http", "https"].contains(&scheme) || has_path || host.contains(['@', '*']) {
            return Err(wrong());
        }
        let port = port.unwrap_or(default_port(scheme));
        Ok(Self { scheme: scheme.to_owned(), host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{scheme}://{host}")?;
        if *port == default_port(scheme) { Ok(()) } else { write!(f, ":{port}") }
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// Name and port of a `Host` header; a name in brackets is an IPv6 address. `None` when it is neither.
fn split_host(host: &str) -> Option<(&str, Option<u16>)> {
    let name_end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at(name_end);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    (!name.is_empty()).then_some((name, port))
}

/// Whether a `Host` header names this machine: `localhost`, a name below it, or a loopback address.
#[must_use]
pub fn names_this_machine(host: &str) -> bool {
    let Some((name, _)) = split_host(host) else { return false };
    let name = name.to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn a_site_is_at_its_host_with_its_own_port_left_out_or_not() {
        for (site, host) in [
            ("http://localhost:8000", "LOCALHOST:8000"),
            ("https://tutor.example", "tutor.example"),
            ("https://Tutor.example:443/", "tutor.example:443"),
            ("http://tutor.example", "tutor.example:80"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert!(origin(site).is_at(host), "{site} {host}");
        }
        for (site, host) in [
            ("http://localhost:8000", "localhost:8001"),
            ("http://localhost:8000", "localhost"),
            ("https://tutor.example", "tutor.example:80"),
            ("http://evil.example", "tutor.example"),
            ("http://tutor.example.evil", "tutor.example"),
            ("http://x", ""),
            ("http://x", "x:y"),
        ] {
            assert!(!origin(site).is_at(host), "{site} {host}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for wrong in
            ["", "null", "*", "tutor.example", "ftp://x", "http://x/path", "http://x?y", "http://u@x", "http://*.x"]
        {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
        assert_eq!(origin("HTTPS://Tutor.Example:443").to_string(), "https://tutor.example");
    }

    #[test]
    fn names_of_this_machine_are_told_from_names_that_look_like_them() {
        for host in
            ["localhost", "localhost:8000", "LocalHost:1", "x.localhost", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000"]
        {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "localhost:x",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
