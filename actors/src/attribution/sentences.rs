//! Cuts an answer into its sentences with their places, and a passage into the sentences it may be quoted by.
//!
//! An answer is Markdown that a model wrote: a line ends a sentence, fenced code is one unit, headings are left out. A passage
//! is text from a page, whose lines end anywhere: only an empty line or the beginning of a list item ends a sentence there.

use crate::domain::CharSpan;

/// What stands before a full stop without ending a sentence. In lower case.
const ABBREVIATIONS: &[&str] = &[
    "al", "approx", "ca", "cf", "ch", "dr", "e.g", "eq", "fig", "figs", "i.e", "mr", "mrs", "ms", "pp", "prof", "resp",
    "sec", "st", "vol", "vs",
];

/// Abbreviations only before a number: "no. 5", "p. 7".
const BEFORE_NUMBERS: &[&str] = &["no", "nos", "p"];

/// A part of an answer that is judged by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sentence<'a> {
    /// Which characters of the answer.
    pub span: CharSpan,
    /// The same as text.
    pub text: &'a str,
    /// Whether it is a block of code.
    pub is_code: bool,
}

/// The sentences of an answer in order, without headings, list markers and the fences of code.
pub(super) fn of_answer(answer: &str) -> Vec<Sentence<'_>> {
    let mut found = Vec::new();
    let mut code: Option<(usize, usize)> = None;
    let mut at = 0;
    for line in answer.split_inclusive('\n') {
        let end = at + line.len();
        if line.trim_start().starts_with("```") {
            match code.take() {
                Some((start, end)) => push(&mut found, answer, start, end, true),
                None => code = Some((end, end)),
            }
        } else if let Some((_, code_end)) = &mut code {
            *code_end = end;
        } else if !line.trim_start().starts_with('#') {
            let start = at + marker_length(line);
            cut(&answer[start..end], |from, to| push(&mut found, answer, start + from, start + to, false));
        }
        at = end;
    }
    if let Some((start, end)) = code {
        push(&mut found, answer, start, end, true);
    }
    with_character_spans(answer, found)
}

/// The sentences of a passage.
pub(super) fn of_passage(passage: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in passage.split_inclusive('\n') {
        let begins = line.trim().is_empty() || marker_length(line) > line.len() - line.trim_start().len();
        if begins && at > start {
            push_all(&mut found, &passage[start..at]);
            start = at;
        }
        at += line.len();
    }
    push_all(&mut found, &passage[start..]);
    found
}

/// Bytes of a passage that are compared as one sentence; tables and lists of words may have no full stop at all.
const LONGEST_BYTES: usize = 600;

fn push_all<'a>(found: &mut Vec<&'a str>, paragraph: &'a str) {
    cut(paragraph, |from, to| {
        let mut rest = paragraph[from..to].trim();
        while rest.len() > LONGEST_BYTES {
            let longest = rest.floor_char_boundary(LONGEST_BYTES);
            let (sentence, more) = rest.split_at(rest[..longest].rfind(char::is_whitespace).unwrap_or(longest));
            found.push(sentence);
            rest = more.trim_start();
        }
        if !rest.is_empty() {
            found.push(rest);
        }
    });
}

/// Bytes of white space and list, quote or heading markers that a line begins with.
fn marker_length(line: &str) -> usize {
    let rest = line.trim_start();
    let indent = line.len() - rest.len();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let marker = if (1..=3).contains(&digits) && rest[digits..].starts_with(['.', ')']) {
        digits + 1
    } else {
        rest.len() - rest.trim_start_matches(['-', '*', '+', '•', '>', '#']).len()
    };
    // "**bold**" and "-1" are no markers: those stand before a space.
    let is_marker = marker > 0 && rest[marker..].starts_with([' ', '\t']);
    if is_marker { indent + marker } else { indent }
}

/// Calls `sentence` with the bytes of each sentence of a paragraph.
fn cut(paragraph: &str, mut sentence: impl FnMut(usize, usize)) {
    let mut start = 0;
    let mut in_code = false;
    for (at, character) in paragraph.char_indices() {
        in_code ^= character == '`';
        let is_wide = matches!(character, '。' | '！' | '？');
        if !(is_wide || matches!(character, '.' | '!' | '?')) || in_code {
            continue;
        }
        let rest = &paragraph[at + character.len_utf8()..];
        let closers = rest.len() - rest.trim_start_matches(['"', '\'', ')', ']', '}', '*', '_', '”', '’', '」']).len();
        let after = &rest[closers..];
        let is_end = character != '.' || ends_sentence(&paragraph[start..at], after);
        if is_wide || after.starts_with(char::is_whitespace) && is_end {
            let end = paragraph.len() - after.len();
            sentence(start, end);
            start = end;
        }
    }
    sentence(start, paragraph.len());
}

/// Whether a full stop between these two ends a sentence.
fn ends_sentence(before: &str, after: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let lower = word.to_lowercase();
    let next = after.trim_start().chars().next();
    let is_initial =
        word.chars().count() == 1 && word.chars().all(char::is_uppercase) && next.is_some_and(char::is_uppercase);
    let is_abbreviation = ABBREVIATIONS.contains(&lower.as_str())
        || BEFORE_NUMBERS.contains(&lower.as_str()) && next.is_some_and(|c| c.is_ascii_digit());
    !(is_abbreviation || is_initial && before.len() > word.len() || next.is_some_and(char::is_lowercase))
}

/// A found sentence before its characters are counted: bytes, and whether it is code.
type Found = (usize, usize, bool);

fn push(found: &mut Vec<Found>, answer: &str, start: usize, end: usize, is_code: bool) {
    let raw = &answer[start..end];
    let trimmed = raw.trim();
    if !trimmed.is_empty() {
        let start = start + raw.len() - raw.trim_start().len();
        found.push((start, start + trimmed.len(), is_code));
    }
}

fn with_character_spans(answer: &str, found: Vec<Found>) -> Vec<Sentence<'_>> {
    let (mut byte, mut character) = (0, 0);
    let mut characters_until = |to: usize| {
        character += answer[byte..to].chars().count();
        byte = to;
        character
    };
    let sentence = |(start, end, is_code)| {
        let span = CharSpan { start: characters_until(start), end: characters_until(end) };
        Sentence { span, text: &answer[start..end], is_code }
    };
    found.into_iter().map(sentence).collect()
}

/// Words that join two clauses, each of which claims something.
const CONJUNCTIONS: &[&str] = &["and", "but", "while", "whereas", "although"];

/// The parts of a sentence that may be clauses, as bytes: cut at `;` and before conjunctions.
pub(super) fn clauses(sentence: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, character) in sentence.char_indices().filter(|(_, character)| matches!(character, ';' | ' ')) {
        let next = sentence[at + 1..].split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        if character == ';' || CONJUNCTIONS.contains(&next) {
            found.push((start, at + 1));
            start = at + 1;
        }
    }
    found.push((start, sentence.len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(answer: &str) -> Vec<&str> {
        of_answer(answer).iter().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn decimals_abbreviations_and_initials_do_not_end_a_sentence() {
        let answer = "It takes 3.5 steps, e.g. with a list. D. E. Knuth shows it in Fig. 2 and in no. 5. The answer is no. Done.";
        let expected = [
            "It takes 3.5 steps, e.g. with a list.",
            "D. E. Knuth shows it in Fig. 2 and in no. 5.",
            "The answer is no.",
            "Done.",
        ];
        assert_eq!(texts(answer), expected);
    }

    #[test]
    fn list_markers_headings_and_fences_are_no_part_of_a_sentence() {
        let answer = "# Heaps\n\n1. Insert it.\n2) Sift *up*.\n- **Shape.** It is complete.\n```python\nx = 1. + 2\ny = x\n```\nEnd";
        let expected = ["Insert it.", "Sift *up*.", "**Shape.**", "It is complete.", "x = 1. + 2\ny = x", "End"];
        assert_eq!(texts(answer), expected);
        assert!(of_answer(answer)[4].is_code);
        assert_eq!(texts("so:\n```\nleft open")[1], "left open");
    }

    #[test]
    fn code_within_a_sentence_is_not_cut() {
        assert_eq!(texts("Call `list. pop` now. Then stop.").len(), 2);
    }

    #[test]
    fn spans_count_characters_and_not_bytes() {
        let answer = "Größe zählt überall mehr. Tail words here matter.";
        let spans: Vec<CharSpan> = of_answer(answer).into_iter().map(|sentence| sentence.span).collect();
        assert_eq!(spans, [CharSpan { start: 0, end: 25 }, CharSpan { start: 26, end: 49 }]);
    }

    #[test]
    fn sentences_of_chinese_and_japanese_need_no_space_between_them() {
        assert_eq!(texts("堆是一棵树。它存放在数组里！"), ["堆是一棵树。", "它存放在数组里！"]);
    }

    #[test]
    fn every_span_cuts_its_own_text_out_of_any_answer() {
        const ALPHABET: &[char] =
            &['a', 'Z', '.', '!', ' ', '\n', '-', '1', '`', '#', '|', 'é', '。', ')', '*', '𝑥', '"', ';'];
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ALPHABET[usize::try_from(state >> 33).unwrap() % ALPHABET.len()]
        };
        for _ in 0..5_000 {
            let answer: String = (0..40).map(|_| next()).collect();
            let mut before = 0;
            for Sentence { span, text, .. } in of_answer(&answer) {
                let cut: String = answer.chars().skip(span.start).take(span.end - span.start).collect();
                assert_eq!(cut, text, "{answer:?}");
                assert!(before <= span.start && span.start < span.end, "{answer:?}");
                before = span.end;
            }
        }
    }

    #[test]
    fn a_passage_may_break_its_lines_anywhere() {
        let passage = "A heap is a tree that\nis complete. It is\nstored in an array.\n- insert\n- remove\n\nNext";
        let expected =
            ["A heap is a tree that\nis complete.", "It is\nstored in an array.", "- insert", "- remove", "Next"];
        assert_eq!(of_passage(passage), expected);
    }

    #[test]
    fn a_passage_without_full_stops_is_cut_between_words() {
        let table = "größe ".repeat(300);
        let sentences = of_passage(&table);
        assert!(sentences.iter().all(|sentence| sentence.len() <= LONGEST_BYTES && sentence.starts_with("größe")));
        assert_eq!(sentences.iter().map(|sentence| sentence.split(' ').count()).sum::<usize>(), 300);
    }

    #[test]
    fn clauses_are_cut_at_semicolons_and_conjunctions() {
        let sentence = "A is big, and B, being small, is not;C is handy but blue.";
        let parts: Vec<&str> = clauses(sentence).into_iter().map(|(start, end)| &sentence[start..end]).collect();
        assert_eq!(parts, ["A is big, ", "and B, being small, is not;", "C is handy ", "but blue."]);
    }
}
