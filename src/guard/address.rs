//! Whose address a request comes from, also behind a proxy that is trusted to say so.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// In which header the proxies say whom they ask for. Only that one is believed: a client can send the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For: 203.0.113.7, 10.0.0.2`.
    XForwardedFor,
    /// `Forwarded: for=203.0.113.7, for=10.0.0.2` (RFC 7239).
    Forwarded,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl ProxyHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => FORWARDED,
        }
    }
}

/// Whether a proxy has passed the request on, as far as it says.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED)
}

/// The proxies that are believed.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// Where they are.
    pub networks: Vec<IpNet>,
    /// How they say it.
    pub header: ProxyHeader,
}

impl Proxies {
    /// Whether a proxy that is believed is at that address.
    #[must_use]
    pub fn are_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request: the peer, or behind proxies the last address that none of them has.
    ///
    /// Every proxy adds whom it was asked by at the end, so what stands before the first address that is not a proxy's may have
    /// been made up.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.are_at(client) {
            return client;
        }
        let lines: Vec<&str> = headers.get_all(self.header.name()).filter_map(|line| line.to_str().ok()).collect();
        for hop in lines.iter().flat_map(|line| line.split(',')).rev() {
            // What is no address (`unknown`, a name, garbage) ends the chain: the proxy that wrote it is all that is known.
            let Some(address) = self.hop(hop) else { return client };
            client = address.to_canonical();
            if !self.are_at(client) {
                return client;
            }
        }
        client
    }

    fn hop(&self, text: &str) -> Option<IpAddr> {
        match self.header {
            ProxyHeader::XForwardedFor => parse_hop(text),
            ProxyHeader::Forwarded => text.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then(|| parse_hop(value))?
            }),
        }
    }
}

/// An address with or without a port, brackets and quotes.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip())).or_else(bare)
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 host can take any address of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressGroup(IpAddr);

impl std::fmt::Display for AddressGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<IpAddr> for AddressGroup {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn client(header: ProxyHeader, peer: &str, name: HeaderName, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "fd00::/8", "::1/128"].map(|network| network.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_str(line).unwrap());
        }
        Proxies { networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        let client = |peer, lines: &[&str]| client(ProxyHeader::XForwardedFor, peer, X_FORWARDED_FOR, lines);
        assert_eq!(client("10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, 203.0.113.7, 10.0.0.2"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "203.0.113.7:4711"]), "203.0.113.7");
        assert_eq!(client("::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["10.0.0.9"]), "10.0.0.9");
    }

    #[test]
    fn nobody_but_a_proxy_is_believed_and_garbage_ends_the_chain() {
        let client = |peer, lines: &[&str]| client(ProxyHeader::XForwardedFor, peer, X_FORWARDED_FOR, lines);
        assert_eq!(client("198.51.100.1", &["203.0.113.7"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.7, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.7, , 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_configured_and_only_then() {
        let read = |peer, lines: &[&str]| client(ProxyHeader::Forwarded, peer, FORWARDED, lines);
        assert_eq!(read("10.0.0.1", &["for=1.2.3.4, For=\"[2001:db8::7]:4711\";proto=https"]), "2001:db8::7");
        assert_eq!(read("10.0.0.1", &["proto=https;for=203.0.113.7;by=10.0.0.1"]), "203.0.113.7");
        assert_eq!(read("10.0.0.1", &["for=203.0.113.7, for=_hidden"]), "10.0.0.1");
        assert_eq!(client(ProxyHeader::Forwarded, "10.0.0.1", X_FORWARDED_FOR, &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(client(ProxyHeader::XForwardedFor, "10.0.0.1", FORWARDED, &["for=1.2.3.4"]), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_host_is_one_client_under_all_its_addresses() {
        let group = |text: &str| AddressGroup::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::9"));
        assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
        assert_eq!(group("::ffff:203.0.113.7"), group("203.0.113.7"));
        assert_ne!(group("203.0.113.7"), group("203.0.113.8"));
    }
}
