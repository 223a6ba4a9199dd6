//! Addresses and sums of files on Hugging Face.

use super::address;
use super::digest::Sha256Sum;
use super::error::{Failure, ModelsError};
use super::http::{Client, header};

/// The address that leads to a file, by redirects.
pub(super) fn url(endpoint: &str, owner: &str, repo: &str, revision: &str, file: &str) -> String {
    format!("{endpoint}/{owner}/{repo}/resolve/{revision}/{}", address::escape_path(file))
}

/// How often a renamed repository may have been renamed.
const RENAMES: usize = 3;

/// The SHA-256 the hub states for a large file. None for small files, which the hub knows by another sum, and for
/// mirrors that do not pass it on.
pub(super) fn stated_sum(
    client: &Client,
    label: &str,
    url: &str,
    authorization: Option<&str>,
) -> Result<Option<Sha256Sum>, Failure> {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    let mut url = url.to_owned();
    for _ in 0..=RENAMES {
        let reply = match client.head(label, &url, &headers) {
            Err(Failure::Fatal(ModelsError::Refused { status: 405 | 501, .. })) => return Ok(None),
            reply => reply?,
        };
        if let Some(tag) = header(&reply, "x-linked-etag") {
            return Ok(tag.trim_matches('"').parse().ok());
        }
        // The file itself is elsewhere, but a renamed repository is on the same host.
        match header(&reply, "location") {
            Some(path) if path.starts_with('/') && !path.starts_with("//") => url = address::join(&url, path),
            _ => return Ok(None),
        }
    }
    Ok(None)
}
