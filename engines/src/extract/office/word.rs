//! Word processor's documents (.docx), as light Markdown: headings by their styles, items, rows of tables, notes at the end.

use std::collections::HashMap;

use super::check_beginning;
use super::relations::{main_part, relations};
use crate::extract::archive::Archive;
use crate::extract::light_markdown::LightMarkdown;
use crate::extract::xml::{Element, Node, Xml};

/// Styles that a style may be based on, one upon another; also what ends a circle of them.
const MAX_STYLE_DEPTH: usize = 12;
/// Level of text that is no heading, as Word counts from 0.
const BODY_LEVEL: usize = 9;

/// The text of a document.
///
/// # Errors
/// Why it cannot be read, for people.
pub(in crate::extract) fn read(bytes: Vec<u8>) -> Result<String, String> {
    check_beginning(&bytes)?;
    let mut archive = Archive::open(bytes)?;
    let main = main_part(&mut archive, "word/document.xml")?;
    let document = archive.required_text(&main)?;
    let (mut styles, mut notes) = (Styles::default(), Vec::new());
    for relation in relations(&mut archive, &main)? {
        match relation.kind.as_str() {
            "styles" => styles = Styles::read(&archive.text(&relation.target)?.unwrap_or_default())?,
            "footnotes" | "endnotes" => notes.extend(archive.text(&relation.target)?),
            _ => {}
        }
    }
    let mut body = Body {
        styles: &styles,
        markdown: LightMarkdown::default(),
        paragraph: None,
        in_listing: false,
        cells: 0,
        skipped: 0,
    };
    body.read(&document)?;
    for notes in notes {
        body.read(&notes)?;
    }
    Ok(body.markdown.finish())
}

/// What a paragraph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Heading(usize),
    Item,
    /// A line of a listing.
    Code,
    Text,
}

impl Block {
    /// Its name in HTML.
    fn element(self) -> String {
        match self {
            Self::Code => "pre".to_owned(),
            Self::Heading(level) => format!("h{}", (level + 1).min(6)),
            Self::Item => "li".to_owned(),
            Self::Text => "p".to_owned(),
        }
    }
}

/// The styles of paragraphs, by their ids.
#[derive(Debug, Default)]
struct Styles(HashMap<String, Style>);

#[derive(Debug, Default, Clone)]
struct Style {
    name: String,
    based_on: Option<String>,
    level: Option<usize>,
    is_item: bool,
}

impl Styles {
    fn read(xml: &str) -> Result<Self, String> {
        let (mut xml, mut styles) = (Xml::new(xml), HashMap::new());
        let mut open: Option<(String, Style)> = None;
        while let Some(node) = xml.next()? {
            match (node, &mut open) {
                (Node::Open(element), _) if element.name() == "style" => {
                    open = element.attribute("styleId").map(|id| (id, Style::default()));
                }
                (Node::Open(element), Some((_, style))) => match element.name() {
                    "name" => style.name = element.attribute("val").unwrap_or_default().to_lowercase(),
                    "basedOn" => style.based_on = element.attribute("val"),
                    "outlineLvl" => style.level = level(&element),
                    "numPr" => style.is_item = true,
                    _ => {}
                },
                (Node::Close(name), _) if name == "style" => styles.extend(open.take()),
                _ => {}
            }
        }
        Ok(Self(styles))
    }

    fn block(&self, id: &str) -> Block {
        let (mut is_item, mut is_code) = (false, false);
        let mut next = Some(id);
        for _ in 0..MAX_STYLE_DEPTH {
            let Some(style) = next.and_then(|id| self.0.get(id)) else { break };
            // The built-in headings go by these names in every language.
            let named =
                style.name.strip_prefix("heading ").and_then(|level| level.parse::<usize>().ok()?.checked_sub(1));
            let named = named.or_else(|| (style.name == "title").then_some(0));
            if let Some(level) = named.or(style.level) {
                return if level < BODY_LEVEL { Block::Heading(level) } else { Block::Text };
            }
            is_code |= ["code", "preformatted", "listing"].iter().any(|word| style.name.contains(word));
            is_item |= style.is_item || style.name.starts_with("list");
            next = style.based_on.as_deref();
        }
        match (is_code, is_item) {
            (true, _) => Block::Code,
            (_, true) => Block::Item,
            _ => Block::Text,
        }
    }
}

fn level(element: &Element) -> Option<usize> {
    element.attribute("val")?.parse().ok()
}

/// A paragraph whose properties are known as far as they were read.
#[derive(Debug)]
struct Paragraph {
    block: Block,
    /// The element that was opened for it: none before its first text.
    element: Option<String>,
}

struct Body<'s> {
    styles: &'s Styles,
    markdown: LightMarkdown,
    paragraph: Option<Paragraph>,
    /// Whether the last paragraph was a line of a listing.
    in_listing: bool,
    /// Cells of tables that are open, one in another.
    cells: usize,
    /// Elements that are open in one that is not read.
    skipped: usize,
}

impl Body<'_> {
    fn read(&mut self, xml: &str) -> Result<(), String> {
        let mut xml = Xml::new(xml);
        let mut in_text = false;
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(element) if self.skipped > 0 || is_unread(&element) => {
                    drop(element);
                    self.skipped += 1;
                }
                Node::Close(_) if self.skipped > 0 => self.skipped -= 1,
                Node::Open(element) => {
                    in_text = element.name() == "t";
                    self.open(&element);
                }
                Node::Close(name) => {
                    in_text = false;
                    self.close(&name);
                }
                Node::Text(text) if in_text && self.skipped == 0 => self.text(&text),
                Node::Text(_) => {}
            }
        }
        self.end_paragraph();
        self.end_listing();
        Ok(())
    }

    fn open(&mut self, element: &Element) {
        match element.name() {
            "p" => {
                // A text box stands within a paragraph, with paragraphs of its own.
                self.end_paragraph();
                self.paragraph = Some(Paragraph { block: Block::Text, element: None });
            }
            "pStyle" => {
                let block = self.styles.block(&element.attribute("val").unwrap_or_default());
                self.decide(|_| block);
            }
            "outlineLvl" => {
                if let Some(level) = level(element).filter(|level| *level < BODY_LEVEL) {
                    self.decide(|_| Block::Heading(level));
                }
            }
            // Headings are numbered too.
            "numId" if element.attribute("val").is_some_and(|id| id != "0") => {
                self.decide(|block| if block == Block::Text { Block::Item } else { block });
            }
            "tbl" => {
                self.end_paragraph();
                self.end_listing();
                self.markdown.open("table");
            }
            "tr" => self.markdown.open("tr"),
            "tc" => {
                self.markdown.open("td");
                self.cells += 1;
            }
            "tab" | "ptab" => self.text(" "),
            "br" | "cr" if self.cells == 0 => self.markdown.open("br"),
            "br" | "cr" => self.text(" "),
            "noBreakHyphen" => self.text("-"),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "p" => {
                self.end_paragraph();
                if self.cells > 0 {
                    self.markdown.text(" ");
                }
            }
            "tc" => self.cells = self.cells.saturating_sub(1),
            "tr" => self.markdown.close("tr"),
            "tbl" => self.markdown.close("table"),
            _ => {}
        }
    }

    fn decide(&mut self, change: impl FnOnce(Block) -> Block) {
        if let Some(paragraph) = &mut self.paragraph {
            paragraph.block = change(paragraph.block);
        }
    }

    /// A cell is one line, whatever stands in it.
    fn text(&mut self, text: &str) {
        let is_new = |paragraph: &&mut Paragraph| paragraph.element.is_none();
        if let Some(paragraph) = self.paragraph.as_mut().filter(is_new).filter(|_| self.cells == 0) {
            if text.trim().is_empty() && paragraph.block != Block::Code {
                return;
            }
            let element = paragraph.block.element();
            paragraph.element = Some(element.clone());
            if self.in_listing && element == "pre" {
                self.markdown.text("\n");
            } else {
                self.end_listing();
                self.in_listing = element == "pre";
                self.markdown.open(&element);
            }
        }
        self.markdown.text(text);
    }

    fn end_paragraph(&mut self) {
        // The next paragraph may be the listing's next line.
        if let Some(element) =
            self.paragraph.take().and_then(|paragraph| paragraph.element).filter(|element| element != "pre")
        {
            self.markdown.close(&element);
        }
    }

    fn end_listing(&mut self) {
        if std::mem::take(&mut self.in_listing) {
            self.markdown.close("pre");
        }
    }
}

/// What was deleted or moved away, the second copy of a text box for older programs, and the separator of notes. Tab stops are
/// no tabs.
fn is_unread(element: &Element) -> bool {
    match element.name() {
        "moveFrom" | "Fallback" | "tabs" | "rubyPr" => true,
        "footnote" | "endnote" => element.attribute("type").is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &str) -> String {
        let styles = "<styles>\
            <style styleId='berschrift2'><name val='heading 2'/></style>\
            <style styleId='Chapter'><name val='My chapter'/><basedOn val='Loop'/><pPr><outlineLvl val='0'/></pPr></style>\
            <style styleId='Own'><basedOn val='Chapter'/></style>\
            <style styleId='Loop'><basedOn val='Loop'/></style>\
            <style styleId='Mono'><name val='Preformatted Text'/></style>\
            <style styleId='Dots'><name val='List Bullet'/></style></styles>";
        let styles = Styles::read(styles).expect("it is XML");
        let mut body = Body {
            styles: &styles,
            markdown: LightMarkdown::default(),
            paragraph: None,
            in_listing: false,
            cells: 0,
            skipped: 0,
        };
        body.read(document).expect("it is XML");
        body.markdown.finish()
    }

    fn paragraph(style: &str, content: &str) -> String {
        format!("<p><pPr><pStyle val='{style}'/></pPr><r><t>{content}</t></r></p>")
    }

    #[test]
    fn headings_are_known_by_their_style_in_any_language_or_by_what_it_is_based_on() {
        let document = paragraph("Own", "One") + &paragraph("berschrift2", "Two") + &paragraph("Loop", "text");
        assert_eq!(text(&document), "# One\n\n## Two\n\ntext");
    }

    #[test]
    fn items_are_lines_and_runs_are_joined() {
        let numbered =
            "<p><pPr><numPr><numId val='3'/></numPr></pPr><r><t>sec</t></r><r><t xml:space='preserve'>ond </t></r></p>";
        let document =
            format!("{}{numbered}<p><r><t># not a heading</t><br/><t>line</t></r></p>", paragraph("Dots", "first"));
        assert_eq!(text(&document), "- first\n- second\n\n\\# not a heading\nline");
    }

    #[test]
    fn lines_of_code_are_one_listing_with_their_indentation() {
        let document = paragraph("Mono", "if x:")
            + &paragraph("Mono", "    y()")
            + &paragraph("", "text")
            + &paragraph("Mono", "z");
        assert_eq!(text(&document), "```\nif x:\n    y()\n```\n\ntext\n\n```\nz\n```");
    }

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let cell = |content: &str| format!("<tc>{}</tc>", paragraph("", content) + &paragraph("", "more"));
        let document =
            format!("<p><r><t>before</t></r></p><tbl><tr>{}{}</tr><tr>{}</tr></tbl>", cell("a"), cell("b"), cell("c"));
        assert_eq!(text(&document), "before\n\na more | b more\nc more");
    }

    #[test]
    fn deleted_text_fields_and_second_copies_are_not_read() {
        let document = "<p><r><t>kept</t><delText>deleted</delText><instrText>PAGE</instrText></r>\
            <moveFrom><r><t>moved</t></r></moveFrom><AlternateContent><Choice><t> box</t></Choice>\
            <Fallback><p><t>box</t></p></Fallback></AlternateContent></p>";
        assert_eq!(text(document), "kept box");
    }
}
