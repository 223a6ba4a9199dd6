//! Sections of a text: by its headings in Markdown, or as the document names them.

use std::ops::Range;

use mentor_actors::domain::SectionStart;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Longest title kept, in characters.
const MAX_TITLE_CHARS: usize = 200;

/// A part of a text under one heading, the heading included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// The nearest heading; `None` before the first.
    pub title: Option<String>,
}

/// The sections in order; together they are the whole text. A heading with nothing under it but the next heading
/// belongs to that one's section.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section { range: 0..0, title: None }];
    // Where the text under the last heading begins.
    let mut body = 0;
    for (heading, title) in headings(text) {
        // Never empty: it starts with one section, and each step leaves one more or as many.
        let last = sections.last_mut().expect("there is always a section");
        last.range.end = heading.start;
        if text[body..heading.start].trim().is_empty() {
            last.title = title;
        } else {
            sections.push(Section { range: heading.start..heading.start, title });
        }
        body = heading.end;
    }
    sections.last_mut().expect("there is always a section").range.end = text.len();
    sections
}

/// The sections that begin at the given places; together they are the whole text.
pub(super) fn named(text: &str, starts: &[SectionStart]) -> Vec<Section> {
    let mut sections = vec![Section { range: 0..0, title: None }];
    for start in starts {
        // Never empty: it starts with one section, and each step leaves one more or as many.
        let last = sections.last_mut().expect("there is always a section");
        let byte = text.floor_char_boundary(start.byte).max(last.range.start);
        last.range.end = byte;
        let title = shortened(&start.title);
        if text[last.range.clone()].trim().is_empty() {
            last.title = title;
        } else {
            sections.push(Section { range: byte..byte, title });
        }
    }
    sections.last_mut().expect("there is always a section").range.end = text.len();
    sections
}

fn headings(text: &str) -> Vec<(Range<usize>, Option<String>)> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS | Options::ENABLE_FOOTNOTES;
    let mut headings = Vec::new();
    let mut open: Option<(Range<usize>, String)> = None;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => open = Some((range, String::new())),
            Event::End(TagEnd::Heading(_)) => {
                headings.extend(open.take().map(|(range, title)| (range, shortened(&title))));
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some((_, title)) = &mut open {
                    title.push_str(&part);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some((_, title)) = &mut open {
                    title.push(' ');
                }
            }
            _ => {}
        }
    }
    headings
}

fn shortened(title: &str) -> Option<String> {
    let title = title.trim();
    (!title.is_empty()).then(|| title.chars().take(MAX_TITLE_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titled(text: &str) -> Vec<(Option<&str>, String)> {
        let sections = sections(text);
        assert_eq!(sections.iter().map(|section| &text[section.range.clone()]).collect::<String>(), text);
        let part = |section: &Section| text[section.range.clone()].to_owned();
        let known = |title: &str| ["One", "Two code", "Setext", "Deep"].into_iter().find(|known| *known == title);
        sections.iter().map(|section| (section.title.as_deref().and_then(known), part(section))).collect()
    }

    #[test]
    fn each_heading_begins_a_section_that_has_its_text_without_marks() {
        let text = "intro\n\n# One\ntext\n\n## *Two* `code`\nmore\n\nSetext\n------\nlast";
        assert_eq!(
            titled(text),
            [
                (None, "intro\n\n".into()),
                (Some("One"), "# One\ntext\n\n".into()),
                (Some("Two code"), "## *Two* `code`\nmore\n\n".into()),
                (Some("Setext"), "Setext\n------\nlast".into()),
            ]
        );
    }

    #[test]
    fn a_heading_without_text_joins_the_one_below() {
        assert_eq!(titled("# One\n\n## Deep\n\ntext"), [(Some("Deep"), "# One\n\n## Deep\n\ntext".into())]);
    }

    #[test]
    fn a_comment_in_a_listing_is_no_heading() {
        assert_eq!(titled("# One\n\n```\n# comment\n```\n").len(), 1);
    }

    #[test]
    fn an_empty_text_is_one_empty_section() {
        assert_eq!(titled(""), [(None, String::new())]);
    }
}
