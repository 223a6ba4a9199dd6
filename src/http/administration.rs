//! Who may change the course materials: for as long as there are no keys, whoever sits at the machine itself.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, ResponseError as _};
use mentor_actors::domain::{ErrorCode, TurnError};

use super::ApiError;

/// Headers by which a proxy tells for whom it asks: its own address says nothing then.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Answers 403 to everybody who may not administer.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if let Err(error) = check(request.request()) {
        return Ok(request.into_response(ApiError::from(error).error_response()));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Whether the caller may administer.
///
/// # Errors
/// `forbidden`, with what is in the way.
pub fn check(request: &HttpRequest) -> Result<(), TurnError> {
    check_local(request.peer_addr().map(|address| address.ip()), request.headers())
}

/// The caller must be this machine, and must mean it. A web page of somebody else's that is open in a browser here comes from this
/// machine too: it is told by its origin, and, where it made its own name point here (DNS rebinding), by the host it asks for.
fn check_local(peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), TurnError> {
    if !peer.is_some_and(|ip| ip.to_canonical().is_loopback()) {
        return Err(forbidden("the course materials can be changed from the server's own machine alone"));
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err(forbidden("the course materials cannot be changed through a proxy"));
    }
    let host = only(headers, HOST.as_str()).filter(|host| is_loopback_name(host));
    let Some(host) = host else {
        return Err(forbidden("the course materials can be changed at http://127.0.0.1 or http://localhost alone"));
    };
    let is_same = |origin: String| origin.eq_ignore_ascii_case(&format!("http://{host}"));
    if headers.contains_key(ORIGIN) && !only(headers, ORIGIN.as_str()).is_some_and(is_same) {
        return Err(forbidden("another site's page may not change the course materials"));
    }
    Ok(())
}

/// A header that comes exactly once.
fn only(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?.to_owned();
    values.next().is_none().then_some(value)
}

/// Whether `host`, with or without a port, can mean nothing but this machine.
fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((ip, port)) => (ip, port.strip_prefix(':').unwrap_or(port)),
            None => return false,
        },
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    is_port && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

fn forbidden(reason: &str) -> TurnError {
    TurnError::new(ErrorCode::Forbidden, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    /// Whether a request from there with these headers is let through.
    fn may(peer: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = TestRequest::default().peer_addr(format!("{peer}:50000").parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        check(&request.to_http_request()).is_ok()
    }

    #[test]
    fn the_machine_itself_may_under_each_of_its_names() {
        for host in ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "127.0.0.1", "[::1]:8000", "[::1]", "127.8.8.8:1"]
        {
            assert!(may("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(may("[::1]", &[("host", "[::1]:8000")]));
        assert!(may("[::ffff:127.0.0.1]", &[("host", "localhost:8000")]));
    }

    #[test]
    fn other_machines_may_not_whatever_they_say() {
        for peer in ["192.168.0.7", "8.8.8.8", "[2001:db8::1]", "[::ffff:192.168.0.7]"] {
            assert!(!may(peer, &[("host", "localhost:8000")]), "{peer}");
        }
        assert!(check(&TestRequest::default().insert_header(("host", "localhost")).to_http_request()).is_err());
    }

    #[test]
    fn a_name_that_was_made_to_point_here_may_not() {
        for host in [
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.0.7:8000",
            "[::1",
            "",
            "localhost:80x",
            "127.0.0.1@evil",
        ] {
            assert!(!may("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(!may("127.0.0.1", &[]));
        assert!(!may("127.0.0.1", &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn the_page_itself_may_and_another_sites_page_may_not() {
        let from = |origin: &str| may("127.0.0.1", &[("host", "localhost:8000"), ("origin", origin)]);
        assert!(from("http://localhost:8000") && from("HTTP://LOCALHOST:8000"));
        for origin in [
            "http://evil.example",
            "null",
            "",
            "http://localhost:9000",
            "http://127.0.0.1:8000",
            "https://localhost:8000",
            "http://localhost",
        ] {
            assert!(!from(origin), "{origin}");
        }
    }

    #[test]
    fn who_comes_through_a_proxy_may_not() {
        for header in FORWARDED {
            assert!(!may("127.0.0.1", &[("host", "localhost"), (header, "127.0.0.1")]), "{header}");
        }
    }
}
