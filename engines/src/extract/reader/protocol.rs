//! What the parent and the child of the document reader say to each other: one argument down, one JSON line a page up.

use serde::{Deserialize, Serialize};

/// The child's only argument, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Orders {
    /// What the file is.
    pub media_type: String,
    /// 1-based page to begin with; the pages before it are done.
    pub first_page: u32,
    /// Memory the child may take on top of what the program has mapped when it starts.
    pub memory_bytes: u64,
    /// Processor time after which the kernel ends the child.
    pub cpu_seconds: u64,
    /// Stack of the thread that reads the file.
    pub stack_bytes: usize,
}

/// An entry of a file's outline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::extract) struct Bookmark {
    /// 1-based page on which its section begins.
    pub page: u32,
    /// Its title, the titles it stands under before it; never empty.
    pub titles: Vec<String>,
}

/// One line of the child's output. `Pages` comes first, then one line for each page in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    /// How many pages the file has, and its outline by page.
    Pages { pages: u32, outline: Vec<Bookmark> },
    /// A page's text; empty for a blank page.
    Text { page: u32, text: String },
    /// Why a page gave no text, and whether text recognition might find some.
    PageError { page: u32, error: String, recognisable: bool },
    /// Why the file cannot be read at all; nothing follows.
    FileError { error: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_survives_the_pipe() {
        let lines = [
            Line::Pages { pages: 3, outline: vec![Bookmark { page: 2, titles: vec!["One".into(), "1.1".into()] }] },
            Line::Text { page: 1, text: "a\nb".into() },
            Line::PageError { page: 2, error: "no".into(), recognisable: true },
            Line::FileError { error: "no".into() },
        ];
        for line in lines {
            let json = serde_json::to_string(&line).expect("a line is plain data");
            assert!(!json.contains('\n'));
            assert_eq!(serde_json::from_str::<Line>(&json).expect("what was written can be read"), line);
        }
    }
}
