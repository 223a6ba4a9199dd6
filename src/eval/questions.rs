//! The file of questions: one JSON object a line.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// Kind of a question that goes on from another one.
pub const FOLLOW_UP: &str = "follow_up";
/// Kind of a question that the materials do not answer.
pub const UNANSWERABLE: &str = "unanswerable";

/// One question of the file. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Question {
    /// Its name, once in the file.
    pub id: String,
    /// What sort of question it is: `follow_up`, `unanswerable`, or any other word to count by.
    pub kind: String,
    /// As a student asks it.
    pub question: String,
    /// Id of the question before it.
    pub follow_up_to: Option<String>,
    /// Where it is answered: any of these will do.
    #[serde(default)]
    pub sources: Vec<Gold>,
    /// Words of the first source that answer it.
    pub quote: Option<String>,
    /// What a good answer says.
    #[serde(default)]
    pub answer_points: Vec<String>,
}

/// A place that answers a question.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Gold {
    /// File name without folders.
    pub file: String,
    /// Its pages, from 1; for documents that have pages.
    #[serde(default)]
    pub pages: Vec<u32>,
    /// The heading it stands under; for documents without pages.
    pub section: Option<String>,
    /// Words that stand there; for documents without pages. The question's own `quote` counts for the first source.
    pub quote: Option<String>,
}

impl Question {
    /// Whether the materials answer it.
    #[must_use]
    pub fn is_answerable(&self) -> bool {
        self.kind != UNANSWERABLE
    }
}

/// Reads a file of questions.
///
/// # Errors
/// A file that cannot be read; a line that is no question, an id that is there twice, or a follow-up to no earlier question,
/// named by its number.
pub fn read_questions(path: &Path) -> anyhow::Result<Vec<Question>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_questions(&text).with_context(|| path.display().to_string())
}

fn parse_questions(text: &str) -> anyhow::Result<Vec<Question>> {
    let mut questions: Vec<Question> = Vec::new();
    let mut ids = HashSet::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let question: Question = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
        if let Some(before) = question.follow_up_to.as_ref().filter(|before| !ids.contains(*before)) {
            bail!("line {number}: follow_up_to names {before:?}, which is no earlier question");
        }
        if question.is_answerable() && question.sources.is_empty() {
            bail!(
                "line {number}: a question of the kind {:?} needs sources; only {UNANSWERABLE:?} has none",
                question.kind
            );
        }
        if !ids.insert(question.id.clone()) {
            bail!("line {number}: the id {:?} is there twice", question.id);
        }
        questions.push(question);
    }
    if questions.is_empty() {
        bail!("no questions");
    }
    Ok(questions)
}

/// The questions before a follow-up, oldest first.
#[must_use]
pub fn history<'a>(question: &Question, all: &'a [Question]) -> Vec<&'a Question> {
    let by_id: HashMap<&str, &Question> = all.iter().map(|question| (question.id.as_str(), question)).collect();
    let mut before = Vec::new();
    let mut at = question.follow_up_to.as_deref();
    // A file that was read has no circles; a chain can't be longer than it anyway.
    while let Some(earlier) = at.and_then(|id| by_id.get(id)).filter(|_| before.len() < all.len()) {
        before.push(*earlier);
        at = earlier.follow_up_to.as_deref();
    }
    before.reverse();
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, before: Option<&str>) -> String {
        let sources = [serde_json::json!({"file": "heaps.md"})];
        serde_json::json!({"id": id, "kind": "factual", "question": id, "follow_up_to": before, "sources": sources})
            .to_string()
    }

    fn wrong(lines: &[String]) -> String {
        format!("{:#}", parse_questions(&lines.join("\n")).unwrap_err())
    }

    #[test]
    fn the_history_of_a_follow_up_is_the_chain_before_it() {
        let lines = [line("a", None), line("b", Some("a")), line("other", None), line("c", Some("b"))];
        let all = parse_questions(&lines.join("\n\n")).unwrap();
        let ids: Vec<&str> = history(&all[3], &all).iter().map(|question| question.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(history(&all[2], &all).is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        assert!(wrong(&[]).contains("no questions"));
        assert!(wrong(&[line("a", None), line("a", None)]).contains("line 2: the id \"a\" is there twice"));
        assert!(wrong(&[line("a", Some("b")), line("b", None)]).contains("line 1: follow_up_to names \"b\""));
        assert!(wrong(&[line("a", None), "{\"id\":1}".into()]).contains("line 2"));
        let placeless = serde_json::json!({"id": "a", "kind": "code", "question": "?"}).to_string();
        assert!(wrong(&[placeless]).contains("needs sources"));
    }
}
