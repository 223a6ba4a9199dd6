//! Limits on what comes before a request's body. The HTTP parser has its own, of 96 fields and 128 KiB.

use actix_web::http::Uri;
use actix_web::http::header::HeaderMap;
use mentor_actors::domain::{ErrorCode, TurnError};

/// Most fields: browsers behind two proxies send about 30.
const MAX_FIELDS: usize = 64;

/// Most bytes of names and values together: what other servers take in one field alone.
const MAX_BYTES: usize = 16 * 1024;

/// Longest address: an id of 128 characters, each of them escaped, several times over.
const MAX_ADDRESS_BYTES: usize = 2 * 1024;

/// Whether a request's head is of a reasonable size.
///
/// # Errors
/// `too_large`, with the figures.
pub fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), TurnError> {
    let address = uri.path().len() + uri.query().map_or(0, str::len);
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let sizes = [
        ("bytes of address", address, MAX_ADDRESS_BYTES),
        ("header fields", headers.len(), MAX_FIELDS),
        ("bytes of header fields", bytes, MAX_BYTES),
    ];
    match sizes.iter().find(|(_, size, most)| size > most) {
        Some((what, size, most)) => {
            Err(TurnError::new(ErrorCode::TooLarge, format!("the request has {size} {what}, {most} are allowed")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn checked(address: &str, fields: usize, bytes: usize) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for _ in 0..fields {
            headers.append(HeaderName::from_static("x"), HeaderValue::from_str(&"y".repeat(bytes)).unwrap());
        }
        check(&address.parse().unwrap(), &headers).map_err(|error| error.message)
    }

    #[test]
    fn a_large_head_is_refused_with_its_size() {
        assert_eq!(checked("/", 64, 1), Ok(()));
        assert_eq!(checked("/", 65, 1).unwrap_err(), "the request has 65 header fields, 64 are allowed");
        assert!(checked("/", 2, 8_192).unwrap_err().contains("16386 bytes of header fields"));
        assert_eq!(checked(&format!("/{}", "x".repeat(2_047)), 1, 1), Ok(()));
        assert!(checked(&format!("/?{}", "x".repeat(2_048)), 1, 1).unwrap_err().contains("2049 bytes of address"));
    }
}
