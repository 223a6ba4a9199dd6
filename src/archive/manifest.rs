//! What an archive holds.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use mentor_engines::StoreIdentity;
use serde::{Deserialize, Serialize};

/// Version of the archive's form: 2 where it holds conversations, which a program that knows 1 alone cannot restore.
const FORMAT: u32 = 2;
const FORMAT_WITHOUT_CONVERSATIONS: u32 = 1;
/// A store's files begin so.
const STORE: &str = "corpus.lance/";
/// The file of the conversations.
pub(crate) const CONVERSATIONS: &str = "conversations.sqlite";
/// Most files of an archive. A million passages in fragments of ten rows would be fewer.
const MAX_FILES: usize = 100_000;

/// The list of an archive's files, and what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    format: u32,
    /// The program that wrote it.
    pub(crate) program: String,
    /// Version of the dataset.
    pub(crate) dataset_version: u64,
    pub(crate) documents: u64,
    pub(crate) chunks: u64,
    /// What the store knows of its embedder.
    pub(crate) identity: StoreIdentity,
    /// How many conversations it holds; `None` when they were left out, or there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversations: Option<u64>,
    pub(crate) files: Vec<Member>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Relative to the data folder, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
}

impl Contents {
    pub(crate) fn new(dataset_version: u64, documents: u64, chunks: u64, identity: StoreIdentity) -> Self {
        let program = concat!("mentor ", env!("CARGO_PKG_VERSION")).to_owned();
        let (format, conversations, files) = (FORMAT_WITHOUT_CONVERSATIONS, None, Vec::new());
        Self { format, program, dataset_version, documents, chunks, identity, conversations, files }
    }

    /// The same with so many conversations.
    pub(crate) fn with_conversations(self, conversations: u64) -> Self {
        Self { format: FORMAT, conversations: Some(conversations), ..self }
    }

    /// Forgets that there are conversations, so that they are not unpacked.
    pub(crate) fn leave_conversations_out(&mut self) {
        self.conversations = None;
        self.files.retain(|member| member.path != CONVERSATIONS);
    }

    pub(super) fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Reads a list and checks that each of its paths stays below the folder it is unpacked into.
    pub(super) fn from_json(text: &[u8]) -> anyhow::Result<Self> {
        let contents: Self = serde_json::from_slice(text).context("its list of files is unreadable")?;
        if !(FORMAT_WITHOUT_CONVERSATIONS..=FORMAT).contains(&contents.format) {
            bail!("it has format {}, and this program reads formats up to {FORMAT}", contents.format);
        }
        if contents.files.len() > MAX_FILES {
            bail!("it lists {} files, and {MAX_FILES} are allowed", contents.files.len());
        }
        if let Some(member) = contents.files.iter().find(|member| !is_safe(&member.path)) {
            bail!("it lists {:?}, which is no file of a store", member.path);
        }
        if contents.conversations.is_some() != contents.files.iter().any(|member| member.path == CONVERSATIONS) {
            bail!("it does not hold the conversations that it lists, or lists none that it holds");
        }
        Ok(contents)
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// When they are more than there are numbers.
    pub(crate) fn bytes(&self) -> anyhow::Result<u64> {
        let sum = self.files.iter().try_fold(0_u64, |sum, member| sum.checked_add(member.bytes));
        sum.context("the sizes it lists are impossible")
    }

    /// The files by path.
    pub(super) fn by_path(&self) -> anyhow::Result<BTreeMap<&str, &Member>> {
        let members: BTreeMap<&str, &Member> = self.files.iter().map(|member| (member.path.as_str(), member)).collect();
        if members.len() != self.files.len() {
            bail!("it lists a file twice");
        }
        Ok(members)
    }
}

/// Whether a path is the conversations', or below the store's folder, and means the same on every system.
fn is_safe(path: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !part.is_empty() && !part.bytes().all(|byte| byte == b'.') && part.chars().all(allowed)
    };
    path == CONVERSATIONS || path.strip_prefix(STORE).is_some_and(|rest| rest.split('/').all(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_store_are_safe() {
        for path in [
            "conversations.sqlite",
            "corpus.lance/data/a-1.lance",
            "corpus.lance/_versions/18446744073709551612.manifest",
        ] {
            assert!(is_safe(path), "{path}");
        }
        let unsafe_paths = [
            "corpus.lance",
            "corpus.lance/",
            "corpus.lance/../writer.lock",
            "corpus.lance/data/../../x",
            "corpus.lance//x",
            "corpus.lance/./x",
            "/etc/passwd",
            "../corpus.lance/x",
            "writer.lock",
            "conversations.sqlite/x",
            "x/conversations.sqlite",
            "corpus.lance/C:\\x",
            "corpus.lance/a\0b",
        ];
        for path in unsafe_paths {
            assert!(!is_safe(path), "{path:?}");
        }
    }
}
