//! A text in units that a chunk holds whole: sentences, lines, or pieces of what is longer than a chunk.

use std::ops::Range;

use text_splitter::{ChunkConfig, TextSplitter};

use super::words::WordCounts;

/// Words whose period does not end a sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "e.g", "i.e", "cf", "vs", "fig", "figs", "eq", "eqs", "dr", "mr", "mrs", "ms", "prof", "st", "approx", "ch", "sec",
    "pp", "vol", "al", "no", "viz", "resp",
];
/// Longest paragraph, in bytes, that can be a heading.
const MAX_HEADING_BYTES: usize = 80;
/// Longest piece of text handed to text-splitter at once, whose work grows faster than the text.
const MAX_SPLIT_BYTES: usize = 64 * 1024;

/// How good a place for a cut is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// Between a heading and what it is about.
    Heading,
    /// Inside a sentence.
    Word,
    Sentence,
    Line,
    Paragraph,
}

/// A unit without white space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Bytes of the whole text.
    pub range: Range<usize>,
    /// What it takes up of a chunk, in tokens.
    pub weight: usize,
    /// The place behind it.
    pub cut: Cut,
}

/// The units of `range`, in order, none heavier than `target`; all between them is white space.
pub(super) fn of(text: &str, range: Range<usize>, words: &WordCounts, target: usize) -> Vec<Unit> {
    let splitter = TextSplitter::new(ChunkConfig::new(target).with_sizer(words));
    let mut cutter = Cutter { text, words, target, splitter, units: Vec::new() };
    for paragraph in paragraphs(text, range) {
        cutter.paragraph(paragraph);
    }
    cutter.units
}

struct Cutter<'t, 'w> {
    text: &'t str,
    words: &'w WordCounts<'w>,
    target: usize,
    splitter: TextSplitter<&'w WordCounts<'w>>,
    units: Vec<Unit>,
}

impl Cutter<'_, '_> {
    fn paragraph(&mut self, paragraph: Range<usize>) {
        for line in lines(self.text, paragraph.clone()) {
            for sentence in sentences(self.text, line) {
                self.sentence(sentence);
            }
            self.set_last(Cut::Line);
        }
        let heading = looks_like_heading(&self.text[paragraph]);
        self.set_last(if heading { Cut::Heading } else { Cut::Paragraph });
    }

    fn set_last(&mut self, cut: Cut) {
        if let Some(last) = self.units.last_mut() {
            last.cut = cut;
        }
    }

    /// A unit, or several where it is heavier than a chunk.
    fn sentence(&mut self, range: Range<usize>) {
        let weight = self.words.weight(&self.text[range.clone()]);
        if weight <= self.target {
            self.units.push(Unit { range, weight, cut: Cut::Sentence });
            return;
        }
        for part in parts(self.text, range) {
            self.part(part);
        }
        self.set_last(Cut::Sentence);
    }

    fn part(&mut self, part: Range<usize>) {
        for (offset, piece) in self.splitter.chunk_indices(&self.text[part.clone()]) {
            let start = part.start + offset;
            let range = start..start + piece.len();
            let inside_word = self.text[range.end..part.end].starts_with(|c: char| !c.is_whitespace());
            // Halves of a word may have fewer tokens than the word: they must not come together again.
            let weight = if inside_word { self.target } else { self.words.weight(piece) };
            self.units.push(Unit { range, weight, cut: Cut::Word });
        }
    }
}

/// Cuts of at most [`MAX_SPLIT_BYTES`], after white space where there is any.
fn parts(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = range.start;
    while range.end - start > MAX_SPLIT_BYTES {
        let window = &text[start..text.floor_char_boundary(start + MAX_SPLIT_BYTES)];
        let length = window.rfind(char::is_whitespace).filter(|space| *space > 0).unwrap_or(window.len());
        parts.push(start..start + length);
        start += length;
    }
    parts.push(start..range.end);
    parts
}

fn paragraphs(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut paragraphs: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    let mut start = range.start;
    for line in text[range].split_inclusive('\n') {
        let end = start + line.len();
        let filled = !line.trim().is_empty();
        match paragraphs.last_mut() {
            Some(last) if open && filled => last.end = end,
            _ if filled => paragraphs.push(start..end),
            _ => {}
        }
        open = filled;
        start = end;
    }
    paragraphs
}

/// The lines of a paragraph, without their ends; none is empty.
fn lines(text: &str, paragraph: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut start = paragraph.start;
    text[paragraph].split_inclusive('\n').map(move |line| {
        let trimmed = line.trim_start();
        let from = start + line.len() - trimmed.len();
        start += line.len();
        from..from + trimmed.trim_end().len()
    })
}

/// The sentences of a line, without the spaces between them.
fn sentences(text: &str, line: Range<usize>) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let (content, offset) = (&text[line.clone()], line.start);
    let mut start = 0;
    for (space, _) in content.match_indices(char::is_whitespace) {
        if space < start || !ends_sentence(&content[start..space]) {
            continue;
        }
        let next = content[space..].trim_start();
        if begins_sentence(next) {
            sentences.push(offset + start..offset + space);
            start = content.len() - next.len();
        }
    }
    sentences.push(offset + start..line.end);
    sentences
}

fn ends_sentence(text: &str) -> bool {
    let text = text.trim_end_matches(['"', '\'', '”', '’', ')', ']']);
    if text.ends_with(['!', '?', '。', '！', '？']) {
        return true;
    }
    let Some(text) = text.strip_suffix('.') else { return false };
    let word = text.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    !initial && !ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

fn begins_sentence(text: &str) -> bool {
    text.trim_start_matches(['"', '\'', '“', '‘', '(', '[']).starts_with(|c: char| !c.is_lowercase())
}

fn looks_like_heading(paragraph: &str) -> bool {
    let paragraph = paragraph.trim();
    paragraph.len() <= MAX_HEADING_BYTES
        && !paragraph.contains('\n')
        && paragraph.contains(char::is_alphabetic)
        && !paragraph.ends_with(['.', '!', '?', ';', ','])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<&str> {
        sentences(line, 0..line.len()).into_iter().map(|range| &line[range]).collect()
    }

    #[test]
    fn sentences_end_at_marks_before_a_capital() {
        assert_eq!(split("One thing. Two?  (Three.) four. 5 six."), ["One thing.", "Two?", "(Three.) four.", "5 six."]);
    }

    #[test]
    fn abbreviations_initials_and_numbers_end_no_sentence() {
        let line = "See e.g. Fig. 3 by D. E. Knuth, i.e. version 3.14 of it.";
        assert_eq!(split(line), [line]);
    }

    #[test]
    fn paragraphs_are_separated_by_blank_lines_of_any_kind() {
        let text = "a\nb\n \t\r\nc\n\n\n";
        let found: Vec<_> = paragraphs(text, 0..text.len()).into_iter().map(|range| text[range].trim()).collect();
        assert_eq!(found, ["a\nb", "c"]);
    }
}
