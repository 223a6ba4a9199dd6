//! Lines into text: which line goes on in the next, and where a paragraph ends.
//!
//! A line runs on when the next line's first word would not have fitted behind it. What remains apart stands on a line
//! of its own: code, list items, table rows. Larger gaps than usual, and other sizes, make a blank line.

use super::lines::Line;

/// Stands where a word was divided at the end of a line, until [`super::hyphens`] decides whether the hyphen stays.
pub(in crate::extract) const DIVIDED: char = '\u{AD}';
/// Distance of baselines in font sizes, where the page itself does not tell.
const USUAL_LEADING: f64 = 1.2;
/// A gap this many times the usual one ends a paragraph.
const PARAGRAPH_GAP: f64 = 1.25;
/// Sizes that differ by more belong to different paragraphs: headings, captions.
const OTHER_SIZE: f64 = 0.12;
/// An indented first line begins at least this many font sizes further right.
const INDENT: f64 = 0.8;
/// A block below this part of the page's width is a list of short lines, not running text.
const NARROW: f64 = 0.35;
/// In shorter lines any font looks like a typewriter's.
const MIN_CODE_BYTES: usize = 8;
/// Deepest indentation of code that is kept, in characters.
const MAX_INDENT: usize = 40;

/// The text of a page.
pub(super) fn join(lines: &[Line]) -> String {
    let leading = usual_leading(lines);
    let page = extent(lines);
    let mut text = String::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let (block, after) = rest.split_at(block_length(rest, leading));
        append_block(&mut text, block, page);
        rest = after;
    }
    text
}

fn same_pitch(a: &Line, b: &Line) -> bool {
    match (a.pitch, b.pitch) {
        (Some(a), Some(b)) => (a - b).abs() < 0.01 * a,
        (a, b) => a.is_some() == b.is_some(),
    }
}

/// How many lines from the first one on belong together; at least one.
fn block_length(lines: &[Line], leading: f64) -> usize {
    1 + lines.windows(2).take_while(|pair| !starts_block(&pair[0], &pair[1], leading)).count()
}

fn append_block(text: &mut String, block: &[Line], page: (f64, f64)) {
    let margin = margin(block, page);
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    for (index, line) in block.iter().enumerate() {
        if index > 0 && runs_on(&block[index - 1], line, margin) {
            run_on(text, &line.text);
            continue;
        }
        if index > 0 {
            text.push('\n');
        }
        text.extend(std::iter::repeat_n(' ', indentation(line, block)));
        text.push_str(&line.text);
    }
}

/// Continues a line: a divided word is marked, a dash takes no space, anything else takes one.
fn run_on(text: &mut String, next: &str) {
    let continues_word = next.starts_with(|c: char| c.is_lowercase());
    let mut last = text.chars().rev();
    match (last.next(), last.next()) {
        (Some('-'), Some(before)) if before.is_alphabetic() && continues_word => {
            text.pop();
            text.push(DIVIDED);
        }
        (Some('-'), Some(before)) if before.is_alphanumeric() && next.starts_with(char::is_alphanumeric) => {}
        (Some('—' | '/'), Some(before)) if before.is_alphanumeric() => {}
        _ => text.push(' '),
    }
    text.push_str(next);
}

/// The (lower) median distance of neighbouring lines of one size, in font sizes.
fn usual_leading(lines: &[Line]) -> f64 {
    let mut leadings: Vec<f64> = lines
        .windows(2)
        .filter(|pair| same_size(&pair[0], &pair[1]))
        .map(|pair| (pair[0].baseline - pair[1].baseline) / pair[1].size)
        .filter(|leading| (0.8..2.5).contains(leading))
        .collect();
    leadings.sort_by(f64::total_cmp);
    leadings.get(leadings.len().saturating_sub(1) / 2).copied().unwrap_or(USUAL_LEADING)
}

fn same_size(a: &Line, b: &Line) -> bool {
    (a.size - b.size).abs() <= OTHER_SIZE * a.size.max(b.size)
}

/// Whether `line` cannot belong to the paragraph, list or listing of the line before.
fn starts_block(before: &Line, line: &Line, leading: f64) -> bool {
    let drop = before.baseline - line.baseline;
    let turned = before.direction.0 * line.direction.0 + before.direction.1 * line.direction.1 < 0.99;
    turned
        || drop < -0.5 * line.size
        || drop > PARAGRAPH_GAP * leading * before.size.max(line.size)
        || !same_pitch(before, line)
        || (!same_size(before, line) && drop > 0.5 * line.size)
}

/// Left and right edge of some lines.
fn extent(lines: &[Line]) -> (f64, f64) {
    lines.iter().fold((f64::MAX, f64::MIN), |(left, right), line| (left.min(line.left), right.max(line.right)))
}

/// How far to the right a line of the block could have gone; without bound where all of its lines are short.
fn margin(block: &[Line], page: (f64, f64)) -> f64 {
    let (left, right) = extent(block);
    let reaching = block.iter().filter(|line| line.right > right - line.size).count();
    match reaching {
        _ if right - left < NARROW * (page.1 - page.0) => f64::MAX,
        0 | 1 => right.max(page.1 - 3.0 * block[0].size),
        _ => right,
    }
}

/// Whether `before` was broken only because it was full.
fn runs_on(before: &Line, line: &Line, margin: f64) -> bool {
    let same_row = (before.baseline - line.baseline).abs() < 0.5 * line.size;
    let apart = line.left > before.right || line.right < before.left;
    let indented = line.left > before.left + INDENT * line.size && ends_sentence(&before.text);
    let in_table = before.column_gaps + line.column_gaps > 0;
    if line.pitch.is_some() || same_row || apart || indented || in_table || begins_item(&line.text) {
        return false;
    }
    let space = 0.2 * line.size;
    let full = before.right + space + line.first_word > margin - 0.1 * line.size;
    let divided = before.text.ends_with('-') && line.text.starts_with(char::is_lowercase);
    full || divided
}

fn ends_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '”', '’', ')']).ends_with(['.', '!', '?', ':'])
}

fn begins_item(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(mark, _)| is_item_mark(mark))
}

/// Whether a word is a bullet or the number of a list item.
pub(super) fn is_item_mark(mark: &str) -> bool {
    let number = mark.trim_start_matches('(').trim_end_matches(['.', ')']);
    let numbered = number.len() < mark.len() && mark.len() <= 5;
    matches!(mark, "•" | "◦" | "▪" | "●" | "○" | "■" | "–" | "-" | "*" | "►" | "»")
        || (numbered && (number.chars().all(|c| c.is_ascii_digit()) || number.len() == 1))
}

/// Spaces before a line of code.
fn indentation(line: &Line, block: &[Line]) -> usize {
    let is_code = block.iter().any(|line| line.text.len() >= MIN_CODE_BYTES);
    let Some(pitch) = line.pitch.filter(|_| is_code) else { return 0 };
    let left = block.iter().map(|line| line.left).fold(f64::MAX, f64::min);
    let columns = ((line.left - left) / pitch).round();
    // Not negative: `left` is the block's least.
    (columns as usize).min(MAX_INDENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of ten-point type whose letters are five units wide.
    fn line(row: f64, left: f64, text: &str) -> Line {
        let width = |text: &str| 5.0 * text.chars().count() as f64;
        Line {
            text: text.to_owned(),
            left,
            right: left + width(text),
            baseline: 700.0 - 12.0 * row,
            size: 10.0,
            first_word: width(text.split(' ').next().unwrap_or_default()),
            column_gaps: 0,
            pitch: None,
            direction: (1.0, 0.0),
        }
    }

    fn code(row: f64, left: f64, text: &str) -> Line {
        Line { pitch: Some(5.0), ..line(row, left, text) }
    }

    #[test]
    fn full_lines_run_on_and_short_ones_stand_alone() {
        let page = [
            line(0.0, 0.0, "a full line of"),
            line(1.0, 0.0, "words and then"),
            line(2.0, 0.0, "short"),
            line(3.0, 0.0, "one more"),
        ];
        assert_eq!(join(&page), "a full line of words and then short\none more");
    }

    #[test]
    fn a_wide_gap_or_another_size_makes_a_paragraph() {
        let heading = Line { size: 16.0, ..line(3.0, 0.0, "Heading") };
        let (first, second) = (line(0.0, 0.0, "alpha beta gamma"), line(1.0, 0.0, "delta."));
        let page = [first, second, heading, line(5.0, 0.0, "text of it now"), line(7.0, 0.0, "next")];
        assert_eq!(join(&page), "alpha beta gamma delta.\n\nHeading\n\ntext of it now\n\nnext");
    }

    #[test]
    fn short_lines_of_like_length_are_a_list() {
        let wide = line(0.0, 0.0, "a line as wide as the page of this test can be");
        let page = [wide, line(3.0, 0.0, "Alice"), line(4.0, 0.0, "Robert"), line(5.0, 0.0, "Carol")];
        assert!(join(&page).ends_with("\n\nAlice\nRobert\nCarol"));
    }

    #[test]
    fn items_begin_lines_and_run_on_themselves() {
        let page = [line(0.0, 0.0, "• the first item is"), line(1.0, 10.0, "long enough"), line(2.0, 0.0, "• second")];
        assert_eq!(join(&page), "• the first item is long enough\n• second");
    }

    #[test]
    fn code_keeps_its_lines_and_indentation() {
        let page = [code(0.0, 50.0, "while True:"), code(1.0, 70.0, "x = x + 1"), code(2.0, 50.0, "print(x)")];
        assert_eq!(join(&page), "while True:\n    x = x + 1\nprint(x)");
    }

    #[test]
    fn rows_of_a_table_stand_alone() {
        let row = |row, text| Line { column_gaps: 2, ..line(row, 0.0, text) };
        assert_eq!(
            join(&[row(0.0, "1 Tanya Dickson"), row(1.0, "2 Heidi Herring")]),
            "1 Tanya Dickson\n2 Heidi Herring"
        );
    }

    #[test]
    fn a_divided_word_is_marked_and_a_dash_takes_no_space() {
        let page = [
            line(0.0, 0.0, "he wants to de-"),
            line(1.0, 0.0, "lete it all now"),
            line(2.0, 0.0, "and — he said—"),
            line(3.0, 0.0, "for good"),
        ];
        assert_eq!(join(&page), "he wants to de\u{AD}lete it all now and — he said—for good");
    }
}
