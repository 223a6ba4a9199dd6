//! Weights made for the machine, with the real generator.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Workplace;

/// A working folder with a copy of the default generator as a file of one's own, and a models folder of its own.
struct Scene {
    workplace: Workplace,
    file: PathBuf,
}

impl Scene {
    fn new() -> Option<Self> {
        let workplace = Workplace::new()?;
        let shipped = workplace.expect(0, &["models", "list", "--json"]);
        let rows: Value = serde_json::from_str(&shipped).unwrap();
        let is_generator = |row: &&Value| row["kind"] == "generator" && row["default"] == true;
        let row = rows.as_array().unwrap().iter().find(is_generator).unwrap();
        if row["state"] != "ready" {
            eprintln!("skipped: no generator (run `mentor models pull`)");
            return None;
        }
        let gguf = |path: &Path| path.to_string_lossy().ends_with(".Q4_1.gguf");
        let mut files = std::fs::read_dir(row["path"].as_str().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let file = workplace.path("my.gguf");
        std::fs::copy(files.find(|path| gguf(path)).unwrap(), &file).unwrap();
        Some(Self { workplace, file })
    }

    /// The arguments, with the file and the folder for results. One thread: tests run side by side.
    fn arguments<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [&["models"], words, &["--llm", "my.gguf", "--models-dir", "own", "--threads", "1"]].concat()
    }

    fn convert(&self) -> Value {
        let arguments = self.arguments(&["convert", "--type", "q8_0", "--json"]);
        serde_json::from_str(&self.workplace.expect(0, &arguments)).unwrap()
    }
}

#[test]
fn the_generator_is_rewritten_once_keeps_its_quality_and_is_mended() {
    let Some(scene) = Scene::new() else { return };
    let made = scene.convert();
    assert_eq!(made["state"], "made", "{made}");
    let conversion = &made["conversion"];
    assert_eq!((conversion["source"]["type"].as_str(), conversion["chosen"].as_str()), (Some("Q4_1"), Some("Q8_0")));
    let figure = |candidate: usize, name: &str| conversion["candidate"][candidate][name].as_f64().unwrap();
    let ratio = figure(1, "perplexity") / figure(0, "perplexity");
    assert!((0.98..=1.02).contains(&ratio), "perplexity changed by a factor of {ratio}");
    assert!(figure(1, "agreement") > 0.9 && figure(0, "agreement") == 1.0, "{conversion}");
    assert!(figure(1, "prefill_tokens_per_s") > 0.0 && figure(1, "decode_tokens_per_s") > 0.0, "{conversion}");

    let path = Path::new(made["path"].as_str().unwrap());
    let result = scene.workplace.folder.path().join(path);
    assert!(result.with_file_name("converted.toml").is_file());
    let modified = std::fs::metadata(&result).unwrap().modified().unwrap();
    assert_eq!(scene.convert()["state"], "current");
    assert_eq!(std::fs::metadata(&result).unwrap().modified().unwrap(), modified);
    assert!(scene.workplace.expect(0, &scene.arguments(&["list"])).contains("Q8_0 in place of Q4_1"));

    let mut bytes = std::fs::read(&result).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&result, &bytes).unwrap();
    let said = scene.workplace.expect(2, &scene.arguments(&["verify"]));
    assert!(said.contains("my.Q8_0.gguf is damaged") && said.contains("mentor models convert"), "{said}");
    assert_eq!(scene.convert()["state"], "made");
    bytes[middle] ^= 1;
    assert!(std::fs::read(&result).unwrap() == bytes, "the same source makes the same bytes");
}

#[test]
fn a_file_that_is_no_model_is_one_clear_line() {
    let Some(scene) = Scene::new() else { return };
    std::fs::write(&scene.file, "PK").unwrap();
    let line = scene.workplace.expect_error(&scene.arguments(&["convert"]));
    assert!(line.ends_with("my.gguf is not a GGUF file"), "{line}");
    let half = [&b"GGUF\x03\0\0\0"[..], &[0xFF; 64]].concat();
    std::fs::write(&scene.file, half).unwrap();
    let line = scene.workplace.expect_error(&scene.arguments(&["convert"]));
    assert!(line.contains("my.gguf: llama.cpp cannot read it: "), "{line}");
}
