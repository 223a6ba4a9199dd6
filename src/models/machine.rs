//! What this machine is, as far as the choice of weights depends on it.

use std::env::consts::ARCH;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use mentor_engines::main_memory;

/// Features of processors that matrix kernels are written for, as Linux calls them on x86-64 and on 64-bit ARM.
const FEATURES: [&str; 14] = [
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
];

/// A processor and its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// The processor's name.
    pub(super) cpu: String,
    /// Those of its features that matter here.
    pub(super) features: Vec<String>,
    /// What may be used of the main memory, where the system says.
    pub(super) memory_bytes: Option<u64>,
}

impl Machine {
    /// The one this runs on.
    pub(super) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cpu: entry(&cpuinfo, &["model name"]).unwrap_or(ARCH).to_owned(),
            features: features(&cpuinfo),
            memory_bytes: main_memory::free_bytes(),
        }
    }
}

/// The value of the first line with one of these keys.
fn entry<'t>(text: &'t str, keys: &[&str]) -> Option<&'t str> {
    let mut entries = text.lines().filter_map(|line| line.split_once(':'));
    entries.find(|(key, _)| keys.contains(&key.trim())).map(|(_, value)| value.trim())
}

fn features(cpuinfo: &str) -> Vec<String> {
    let words: Vec<_> = entry(cpuinfo, &["flags", "Features"]).unwrap_or_default().split_whitespace().collect();
    FEATURES.into_iter().filter(|feature| words.contains(feature)).map(str::to_owned).collect()
}

/// Today's date in UTC, as `2026-05-01`.
pub(super) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    crate::calendar::date(since.as_secs() / 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_known_by_its_name_and_what_matters_of_its_features() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu avx2 sse avx fma\n";
        assert_eq!(entry(cpuinfo, &["model name"]), Some("Some CPU @ 2.0GHz"));
        assert_eq!(features(cpuinfo), ["avx", "avx2", "fma"]);
        assert!(features("").is_empty());
    }
}
