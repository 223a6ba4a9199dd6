//! `mentor.toml`, and values given by name.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::config::{Config, ConfigLayer};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder can be made"));

/// A file, whose lines are also given one by one. What is understood is written so that it means the same.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match load(text) {
        Ok(config) => {
            let _settings = config.guard();
            let written = || config.to_toml().expect("every value has a form");
            let again = load(&without_key(&written())).expect("what is written can be read");
            assert_eq!(without_key(&again.to_toml().expect("every value has a form")), without_key(&written()));
        }
        Err(error) => assert!(!format!("{error:#}").contains('\n'), "an error is one line: {error:#}"),
    }
    let changes: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(changed) = Config::default().changed(&changes) {
        assert!(changed.changed(&[]).is_ok(), "what was checked is valid");
    }
}

/// A key is never written, and what stands in its place is refused.
fn without_key(written: &str) -> String {
    written.lines().filter(|line| !line.starts_with("llm_api_key ")).map(|line| format!("{line}\n")).collect()
}

fn load(text: &str) -> anyhow::Result<Config> {
    let file: PathBuf = FOLDER.path().join("mentor.toml");
    std::fs::write(&file, text).expect("the folder can be written");
    Config::load(Some(&file), ConfigLayer::default())
}
