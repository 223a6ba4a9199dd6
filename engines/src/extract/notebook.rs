//! Jupyter notebooks, as Markdown: text as it is, code fenced, and what a cell printed, where that is short text.

use serde::{Deserialize, Deserializer};

/// Longest output of a cell that is kept, in characters; the rest of a table or a log teaches nothing.
const MAX_OUTPUT_CHARS: usize = 500;
/// Backticks around code that holds fewer itself.
const LEAST_FENCE: usize = 3;

/// Some programs write `null` where they have nothing.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Notebook {
    #[serde(deserialize_with = "or_default")]
    cells: Vec<Cell>,
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    /// Where format 3, of 2015 and before, had its cells.
    #[serde(deserialize_with = "or_default")]
    worksheets: Vec<Worksheet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Worksheet {
    #[serde(deserialize_with = "or_default")]
    cells: Vec<Cell>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "or_default")]
    language_info: Language,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Language {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cell {
    #[serde(deserialize_with = "or_default")]
    cell_type: String,
    #[serde(deserialize_with = "or_default")]
    source: Text,
    /// The source of code in format 3.
    #[serde(deserialize_with = "or_default")]
    input: Text,
    /// Of a heading in format 3.
    level: Option<usize>,
    #[serde(deserialize_with = "or_default")]
    outputs: Vec<Output>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output {
    /// What was printed.
    #[serde(deserialize_with = "or_default")]
    text: Text,
    #[serde(deserialize_with = "or_default")]
    data: Data,
    ename: Option<String>,
    evalue: Option<String>,
}

/// Pictures and widgets are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "text/plain", deserialize_with = "or_default")]
    plain: Text,
}

/// Text, whole or by lines.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Lines(Vec<String>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Whole(String::new())
    }
}

impl Text {
    fn joined(&self) -> String {
        match self {
            Self::Whole(text) => text.clone(),
            Self::Lines(lines) => lines.concat(),
        }
    }
}

/// The text of a notebook.
///
/// # Errors
/// Why it cannot be read, for people.
pub(super) fn read(bytes: &[u8]) -> Result<String, String> {
    let notebook: Notebook = serde_json::from_slice(bytes)
        .map_err(|error| format!("not a notebook, or damaged (line {}, column {})", error.line(), error.column()))?;
    let language = &notebook.metadata.language_info.name;
    let cells = notebook.cells.iter().chain(notebook.worksheets.iter().flat_map(|sheet| &sheet.cells));
    let texts: Vec<String> = cells.map(|cell| text_of(cell, language)).filter(|text| !text.is_empty()).collect();
    Ok(texts.join("\n\n"))
}

fn text_of(cell: &Cell, language: &str) -> String {
    let source = cell.source.joined();
    let source = source.trim_end();
    match cell.cell_type.as_str() {
        "code" => {
            let input = cell.input.joined();
            let code = if source.is_empty() { input.trim_end() } else { source };
            let outputs = cell.outputs.iter().map(output_text).filter(|text| !text.is_empty());
            let outputs = outputs.map(|text| format!("Output:\n{}", fenced(&text, "")));
            let code = (!code.is_empty()).then(|| fenced(code, language));
            code.into_iter().chain(outputs).collect::<Vec<_>>().join("\n\n")
        }
        "heading" => format!("{} {source}", "#".repeat(cell.level.unwrap_or(1).clamp(1, 6))),
        _ => source.to_owned(),
    }
}

fn output_text(output: &Output) -> String {
    let text = match (&output.ename, &output.evalue) {
        (Some(name), Some(value)) => format!("{name}: {value}"),
        _ => format!("{}{}", output.text.joined(), output.data.plain.joined()),
    };
    let text = text.trim();
    match text.char_indices().nth(MAX_OUTPUT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn fenced(code: &str, language: &str) -> String {
    let fence = "`".repeat((longest_run(code, '`') + 1).max(LEAST_FENCE));
    format!("{fence}{language}\n{code}\n{fence}")
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_code_and_short_output_become_markdown() {
        let notebook = r##"{"nbformat": 4, "metadata": {"language_info": {"name": "python"}}, "cells": [
            {"cell_type": "markdown", "source": ["# Heaps\n", "A heap."]},
            {"cell_type": "code", "source": "print('```')", "execution_count": 1, "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["two\n", "lines\n"]},
                {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": ["\u001b[31mlong"]}]},
            {"cell_type": "code", "source": [], "outputs": []}]}"##;
        let expected = "# Heaps\nA heap.\n\n````python\nprint('```')\n````\n\nOutput:\n```\ntwo\nlines\n```\n\n\
                        Output:\n```\n<Figure>\n```\n\nOutput:\n```\nKeyError: 'x'\n```";
        assert_eq!(read(notebook.as_bytes()).as_deref(), Ok(expected));
    }

    #[test]
    fn what_is_null_is_nothing() {
        let notebook = r##"{"metadata": null, "worksheets": null, "cells": [
            {"cell_type": "code", "source": "x", "outputs": null},
            {"cell_type": "code", "source": null, "outputs": [{"text": null, "data": null},
                {"data": {"text/plain": null}}, {"text": "out", "data": {}}]}]}"##;
        assert_eq!(read(notebook.as_bytes()).as_deref(), Ok("```\nx\n```\n\nOutput:\n```\nout\n```"));
    }

    #[test]
    fn notebooks_of_format_three_are_read_too() {
        let notebook = r#"{"nbformat": 3, "worksheets": [{"cells": [
            {"cell_type": "heading", "level": 2, "source": ["Old"]}, {"cell_type": "code", "input": ["x = 1"]}]}]}"#;
        assert_eq!(read(notebook.as_bytes()).as_deref(), Ok("## Old\n\n```\nx = 1\n```"));
    }

    #[test]
    fn long_output_is_cut_and_what_is_no_notebook_is_refused() {
        let output = Output { text: Text::Whole("é".repeat(600)), ..Output::default() };
        assert_eq!(output_text(&output).chars().count(), MAX_OUTPUT_CHARS + 3);
        assert_eq!(read(b"{\"cells\": 3}").unwrap_err(), "not a notebook, or damaged (line 1, column 11)");
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }
}
