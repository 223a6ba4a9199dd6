//! The file of questions.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// Questions to ask, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions(Vec<String>);

/// A line that is a JSON object; its other fields are none of our business.
#[derive(Deserialize)]
struct Line {
    question: String,
}

impl Questions {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, holds no question, or a line that begins like JSON is not an object with `question`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the questions in {} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("the questions in {}", path.display()))
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// As [`Questions::read`], with the number of the line.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut questions = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            questions.push(question(line).with_context(|| format!("line {}", index + 1))?);
        }
        ensure!(!questions.is_empty(), "there is no question");
        Ok(Self(questions))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The question at an index; they begin again behind the last.
    pub fn get(&self, index: usize) -> &str {
        &self.0[index % self.0.len()] // at least one: `parse` makes no other
    }
}

fn question(line: &str) -> anyhow::Result<String> {
    let text = if line.starts_with('{') { serde_json::from_str::<Line>(line)?.question } else { line.to_owned() };
    ensure!(!text.trim().is_empty(), "the question is empty");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_and_plain_lines_are_questions_and_empty_lines_are_not() {
        let text = "{\"id\": \"D1\", \"question\": \"what is a heap?\"}\n\n  and a stack?  \r\n";
        let questions = Questions::parse(text).unwrap();
        assert_eq!(questions.count(), 2);
        assert_eq!((questions.get(0), questions.get(1)), ("what is a heap?", "and a stack?"));
    }

    #[test]
    fn questions_begin_again_behind_the_last() {
        let questions = Questions::parse("a\nb").unwrap();
        assert_eq!((questions.get(2), questions.get(3)), ("a", "b"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let wrong = |text: &str| format!("{:#}", Questions::parse(text).unwrap_err());
        assert!(wrong("a\n{\"answer\": 1}").contains("line 2: missing field `question`"));
        assert!(wrong("{\"question\": \" \"}").contains("line 1: the question is empty"));
        assert!(wrong("\n\n").contains("there is no question"));
    }
}
