//! Where the sections of an outline begin in the text of their pages.

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
    let lines = Lines::of(text);
    // The first line that may begin the next section.
    let mut from = 0;
    for bookmark in on_page {
        match lines.heading(from, inner_title(bookmark)) {
            Some(line) => {
                let byte = lines.start(line);
                let at = if is_running_title(&text[..byte]) { 0 } else { byte };
                starts.retain(|start| start.byte < at);
                starts.push(start(at, bookmark));
                from = line + 1;
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

fn inner_title(bookmark: &Bookmark) -> &str {
    bookmark.titles.last().map_or("", String::as_str)
}

fn is_running_title(above: &str) -> bool {
    above.len() <= RUNNING_TITLE_BYTES && above.trim().lines().count() <= 1
}

/// A page's lines as headings are compared: letters and digits only, in lower case, without a number before them.
struct Lines(Vec<(usize, String)>);

impl Lines {
    fn of(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut byte = 0;
        for line in text.split_inclusive('\n') {
            let letters = letters(line);
            if !letters.is_empty() {
                lines.push((byte, letters));
            }
            byte += line.len();
        }
        Self(lines)
    }

    fn start(&self, line: usize) -> usize {
        self.0[line].0
    }

    /// The line from `from` on at which a heading of this title begins. Of several the last: a page's running title and a table of
    /// contents stand before.
    fn heading(&self, from: usize, title: &str) -> Option<usize> {
        let title = letters(title);
        (from..self.0.len()).rev().find(|line| self.is_heading(*line, &title))
    }

    fn is_heading(&self, line: usize, title: &str) -> bool {
        let mut joined = String::new();
        self.0[line..].iter().take(MAX_HEADING_LINES).any(|(_, letters)| {
            joined.push_str(letters);
            is_title(&joined, title)
        })
    }
}

/// Whether a heading says a title, one of them or both with a number ("7.2", "Chapter 7").
fn is_title(heading: &str, title: &str) -> bool {
    let plain = |text: &str| unnumbered(text).to_owned();
    !plain(title).is_empty() && plain(heading) == plain(title)
}

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
    fn a_section_whose_heading_is_not_found_begins_with_its_page() {
        assert_eq!(found(6, "Graphs and more"), [pair("Chapter 8", "Graphs and more")]);
    }
}
