//! What the environment says about fetching.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use mentor_engines::Secret;

/// Where files are fetched from and kept on the way. Read once, passed on: tests use their own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `MENTOR_CACHE_DIR`, else `$XDG_CACHE_HOME/mentor`, else `~/.cache/mentor`; none when none of them is set.
    pub cache_dir: Option<PathBuf>,
    /// `PIP_INDEX_URL`, without a slash at the end.
    pub pypi_index: String,
    /// `HF_ENDPOINT`, without a slash at the end.
    pub hf_endpoint: String,
    /// `HF_TOKEN`, sent to `hf_endpoint` alone; empty for none.
    pub hf_token: Secret,
    /// `ORT_DYLIB_PATH`: a runtime library to use instead of ours.
    pub ort_dylib: Option<PathBuf>,
    /// How long to wait before the second try; doubled each time.
    pub first_pause: Duration,
}

const PYPI: &str = "https://pypi.org/simple";
const HUGGING_FACE: &str = "https://huggingface.co";

impl Settings {
    /// What the environment says; an empty variable counts as one that is not set.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(|name| env::var(name).ok())
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let base = |name: &str, or: &str| get(name).unwrap_or_else(|| or.to_owned()).trim_end_matches('/').to_owned();
        let xdg = get("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || get("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Self {
            cache_dir: get("MENTOR_CACHE_DIR").map(PathBuf::from).or_else(|| Some(xdg.or_else(home)?.join("mentor"))),
            pypi_index: base("PIP_INDEX_URL", PYPI),
            hf_endpoint: base("HF_ENDPOINT", HUGGING_FACE),
            hf_token: get("HF_TOKEN").and_then(|token| token.parse().ok()).unwrap_or_default(),
            ort_dylib: get("ORT_DYLIB_PATH").map(PathBuf::from),
            first_pause: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::from_lookup(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_the_most_specific_variable_says() {
        let home = ("HOME", "/home/a");
        let xdg = ("XDG_CACHE_HOME", "/var/cache/a");
        let cache = |variables: &[(&str, &str)]| settings(variables).cache_dir;
        assert_eq!(cache(&[home, xdg, ("MENTOR_CACHE_DIR", "here")]), Some("here".into()));
        assert_eq!(cache(&[home, xdg]), Some("/var/cache/a/mentor".into()));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "relative")]), Some("/home/a/.cache/mentor".into()));
        assert_eq!(cache(&[]), None);
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let shown = format!("{:?}", settings(&[("HF_TOKEN", "hf_abc")]));
        assert!(shown.contains("[redacted]") && !shown.contains("hf_abc"));
    }
}
