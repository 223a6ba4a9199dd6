//! What a browser may do with a page: the style and the script it brings, by their hashes, and requests to this server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The policy of everything that is no page: nothing may be loaded or run, framed or sent.
pub const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The policy of a page that we wrote: exactly its `<style>` and `<script>` elements without attributes.
#[must_use]
pub fn of_page(html: &str) -> String {
    let (styles, scripts) = (hashes(html, "<style>", "</style>"), hashes(html, "<script>", "</script>"));
    format!("{NOTHING}; style-src{styles}; script-src{scripts}; connect-src 'self'; img-src data:")
}

fn hashes(html: &str, open: &str, close: &str) -> String {
    let parts = html.split(open).skip(1).filter_map(|rest| rest.split(close).next());
    let sources: String = parts.map(|part| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(part)))).collect();
    if sources.is_empty() { " 'none'".to_owned() } else { sources }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_run_its_own_script_and_no_other() {
        let policy = of_page("<style>a{}</style><script>alert('Hello, world.');</script>");
        // The example of the specification, https://www.w3.org/TR/CSP3/#external-hash.
        assert!(policy.contains("script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        let page = include_str!("../../web/index.html");
        assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1), "none without a hash");
        assert!(of_page("<p>").contains("script-src 'none'"));
    }
}
