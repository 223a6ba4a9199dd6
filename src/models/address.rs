//! Web addresses: joined, escaped, and shown without their secrets.

/// What `reference`, found on the page `base`, stands for (RFC 3986, section 5.2, without a query of its own).
pub(super) fn join(base: &str, reference: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if reference.contains("://") {
        return reference.to_owned();
    }
    if let Some(other) = reference.strip_prefix("//") {
        return format!("{scheme}://{other}");
    }
    if let Some(absolute) = reference.strip_prefix('/') {
        return format!("{scheme}://{authority}/{absolute}");
    }
    let mut segments: Vec<_> = path.split('/').collect();
    segments.pop();
    for segment in reference.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("{scheme}://{authority}/{}", segments.join("/"))
}

/// A path with everything escaped that has a meaning in an address.
pub(super) fn escape_path(path: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Host and port alone: an address may carry a password, and signed ones a key.
pub(super) fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_may_give_absolute_and_relative_addresses() {
        let page = "https://user:word@mirror.example/pypi/simple/pack/";
        assert_eq!(join(page, "https://files.example/a.whl"), "https://files.example/a.whl");
        assert_eq!(join(page, "//files.example/a.whl"), "https://files.example/a.whl");
        assert_eq!(join(page, "/files/a.whl"), "https://user:word@mirror.example/files/a.whl");
        assert_eq!(join(page, "../../files/a.whl"), "https://user:word@mirror.example/pypi/files/a.whl");
        assert_eq!(join(page, "a.whl"), "https://user:word@mirror.example/pypi/simple/pack/a.whl");
    }

    #[test]
    fn a_shown_host_has_neither_password_nor_key() {
        assert_eq!(host("https://user:word@mirror.example:8443/a?key=1"), "mirror.example:8443");
        assert_eq!(host("https://mirror.example?key=1"), "mirror.example");
    }

    #[test]
    fn what_has_a_meaning_in_an_address_is_escaped() {
        assert_eq!(escape_path("onnx/a+b c.onnx"), "onnx/a%2Bb%20c.onnx");
    }
}
