//! Where the sections of an outline begin in the text of their pages.

use std::collections::HashMap;

use mentor_actors::domain::SectionStart;

use crate::extract::reader::Bookmark;

/// Lines that a heading may be broken into.
const MAX_HEADING_LINES: usize = 3;
/// Longest text above a page's first heading that is only a running title, in bytes.
const RUNNING_TITLE_BYTES: usize = 100;
/// Between titles, outermost first.
const WITHIN: &str = " > ";

/// The sections on a page: the one that runs on from before, and those that begin there. `outline` is sorted by page.
pub(in crate::extract) fn of_page(outline: &[Bookmark], page: u32, text: &str) -> Vec<SectionStart> {
    let before = outline.partition_point(|bookmark| bookmark.page < page);
    let on_page = outline[before..].iter().take_while(|bookmark| bookmark.page == page);
    let mut starts: Vec<SectionStart> = outline[..before].last().map(|running| start(0, running)).into_iter().collect();
    let on_page: Vec<(&Bookmark, String)> = on_page.map(|bookmark| (bookmark, plain_title(bookmark))).collect();
    let headings = headings(text, on_page.iter().map(|(_, title)| title.as_str()));
    // Where the next section may begin.
    let mut from = 0;
    for (bookmark, title) in &on_page {
        match headings.get(title.as_str()).copied().flatten().filter(|byte| *byte >= from) {
            Some(byte) => {
                let at = if is_running_title(&text[..byte]) { 0 } else { byte };
                starts.truncate(starts.partition_point(|start| start.byte < at));
                starts.push(start(at, bookmark));
                from = byte + 1;
            }
            // Its heading looks otherwise; a section that was found is not given up for it.
            None if from == 0 => starts = vec![start(0, bookmark)],
            None => {}
        }
    }
    starts
}

fn start(byte: usize, bookmark: &Bookmark) -> SectionStart {
    SectionStart { byte, title: bookmark.titles.join(WITHIN) }
}

/// A bookmark's own title as [`headings`] compares it.
fn plain_title(bookmark: &Bookmark) -> String {
    unnumbered(&letters(bookmark.titles.last().map_or("", String::as_str))).to_owned()
}

fn is_running_title(above: &str) -> bool {
    above.len() <= RUNNING_TITLE_BYTES && above.trim().lines().count() <= 1
}

/// Where in a page's text a heading of each title begins, if any does. Of several the last: a page's running title and a table of
/// contents stand before. A heading says a title, one of them or both with a number ("7.2", "Chapter 7").
fn headings<'t>(text: &str, titles: impl Iterator<Item = &'t str>) -> HashMap<&'t str, Option<usize>> {
    let mut headings: HashMap<&str, Option<usize>> = titles.map(|title| (title, None)).collect();
    if headings.is_empty() {
        return headings;
    }
    let lines = lines(text);
    for (line, (byte, _)) in lines.iter().enumerate() {
        let mut joined = String::new();
        for (_, letters) in lines[line..].iter().take(MAX_HEADING_LINES) {
            joined.push_str(letters);
            if let Some(heading) = headings.get_mut(unnumbered(&joined)) {
                *heading = Some(*byte);
            }
        }
    }
    headings
}

/// A page's lines as headings are compared, with their places: letters and digits only, in lower case. None is empty.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut byte = 0;
    for line in text.split_inclusive('\n') {
        let letters = letters(line);
        if !letters.is_empty() {
            lines.push((byte, letters));
        }
        byte += line.len();
    }
    lines
}

/// Without the number before it.
fn unnumbered(letters: &str) -> &str {
    let word = ["chapter", "section", "appendix", "part"].into_iter().find_map(|word| letters.strip_prefix(word));
    let after = word.unwrap_or(letters).trim_start_matches(|c: char| c.is_ascii_digit());
    // "Part" alone is a title, and so is "2001".
    if after.is_empty() || after.len() == word.unwrap_or("").len() { letters } else { after }
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bookmark(page: u32, titles: &[&str]) -> Bookmark {
        Bookmark { page, titles: titles.iter().map(|title| (*title).to_owned()).collect() }
    }

    fn outline() -> Vec<Bookmark> {
        vec![
            bookmark(1, &["Preface"]),
            bookmark(4, &["Chapter 7 Heaps"]),
            bookmark(4, &["Chapter 7 Heaps", "Binary heaps"]),
            bookmark(4, &["Chapter 7 Heaps", "Heaps of other shapes"]),
            bookmark(6, &["Chapter 8"]),
        ]
    }

    /// Sections with the text that begins each.
    fn found(page: u32, text: &str) -> Vec<(String, String)> {
        let starts = of_page(&outline(), page, text);
        let first = |byte: usize| text[byte..].lines().next().unwrap_or_default().to_owned();
        starts.into_iter().map(|start| (start.title, first(start.byte))).collect()
    }

    fn pair(title: &str, line: &str) -> (String, String) {
        (title.to_owned(), line.to_owned())
    }

    #[test]
    fn sections_begin_at_their_headings_numbered_broken_or_in_capitals() {
        let text = "It ends here, after a long last sentence of the preface.\n\nSo.\n\n7 HEAPS\nA heap.\n\n7.1 Binary heaps\n\
                    Two children.\n\n7.2 Heaps of\nother shapes\nMore.";
        let expected = [
            pair("Preface", "It ends here, after a long last sentence of the preface."),
            pair("Chapter 7 Heaps", "7 HEAPS"),
            pair("Chapter 7 Heaps > Binary heaps", "7.1 Binary heaps"),
            pair("Chapter 7 Heaps > Heaps of other shapes", "7.2 Heaps of"),
        ];
        assert_eq!(found(4, text), expected);
    }

    #[test]
    fn a_page_without_a_heading_belongs_to_the_section_before_it() {
        assert_eq!(found(5, "text"), [pair("Chapter 7 Heaps > Heaps of other shapes", "text")]);
        assert_eq!(of_page(&outline()[1..], 1, "text"), []);
    }

    #[test]
    fn a_running_title_is_no_heading_and_no_section_of_its_own() {
        let text = "120 BINARY HEAPS\n\nThe end.\n\nBinary heaps\nTwo.\n";
        assert_eq!(found(4, text)[1], pair("Chapter 7 Heaps > Binary heaps", "Binary heaps"));
        assert_eq!(found(6, "CHAPTER 8\n8\nGraphs"), [pair("Chapter 8", "CHAPTER 8")]);
        assert_eq!(found(4, "101\n\n7 Heaps\nText")[0], pair("Chapter 7 Heaps", "101"));
    }

    #[test]
    fn many_sections_on_a_page_of_many_lines_take_no_longer_than_a_book() {
        let outline: Vec<_> = (0..10_000).map(|number| bookmark(1, &[&format!("x{number}y")])).collect();
        let text: String = (0..20_000).map(|line| format!("x{}y\n", line / 2)).collect();
        let started = std::time::Instant::now();
        assert_eq!(of_page(&outline, 1, &text).len(), 10_000);
        assert!(started.elapsed().as_secs() < 5, "they took {:?}", started.elapsed());
    }

    #[test]
    fn a_section_whose_heading_is_not_found_begins_with_its_page() {
        assert_eq!(found(6, "Graphs and more"), [pair("Chapter 8", "Graphs and more")]);
    }
}
