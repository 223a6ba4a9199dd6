//! Slides (.pptx), each as a page of light Markdown: its title as heading, items as lines, rows of tables, the speaker's notes.

use super::check_beginning;
use super::relations::{Relation, main_part, relations};
use crate::extract::archive::Archive;
use crate::extract::light_markdown::LightMarkdown;
use crate::extract::reader::{NoText, Pages};
use crate::extract::xml::{Node, Xml};

/// An open presentation.
pub(in crate::extract) struct Slides {
    archive: Archive,
    /// Names of the parts in the order in which they are shown.
    slides: Vec<String>,
}

impl Slides {
    /// # Errors
    /// Why the file as a whole cannot be read, for people.
    pub fn open(bytes: Vec<u8>) -> Result<Self, String> {
        check_beginning(&bytes)?;
        let mut archive = Archive::open(bytes)?;
        let main = main_part(&mut archive, "ppt/presentation.xml")?;
        let order = order(&archive.required_text(&main)?)?;
        let relations = relations(&mut archive, &main)?;
        let target = |id: &String| Some(relations.iter().find(|relation| relation.id == *id)?.target.clone());
        let slides: Vec<String> = order.iter().filter_map(target).collect();
        if slides.is_empty() {
            return Err("the file has no slides, or is damaged".to_owned());
        }
        Ok(Self { archive, slides })
    }

    fn read(&mut self, part: &str) -> Result<String, NoText> {
        let slide = Shapes::read(&self.archive.required_text(part)?)?;
        let relations = relations(&mut self.archive, part)?;
        let mut markdown = LightMarkdown::default();
        block(&mut markdown, "h1", &slide.title.join(" "));
        lines(&mut markdown, &slide.body);
        // Diagrams hold their text in a part of their own.
        for diagram in self.parts(&relations, "diagramData")? {
            lines(&mut markdown, &diagram.body);
        }
        for notes in self.parts(&relations, "notesSlide")? {
            lines(&mut markdown, &notes.body);
        }
        let text = markdown.finish();
        if text.is_empty() && slide.pictures > 0 {
            return Err("no text: the slide holds only pictures".into());
        }
        Ok(text)
    }

    fn parts(&mut self, relations: &[Relation], kind: &str) -> Result<Vec<Shapes>, String> {
        let mut parts = Vec::new();
        for relation in relations.iter().filter(|relation| relation.kind == kind) {
            if let Some(xml) = self.archive.text(&relation.target)? {
                parts.push(Shapes::read(&xml)?);
            }
        }
        Ok(parts)
    }
}

impl Pages for Slides {
    fn count(&self) -> u32 {
        u32::try_from(self.slides.len()).unwrap_or(u32::MAX)
    }

    fn page(&mut self, number: u32) -> Result<String, NoText> {
        let index = (number as usize).checked_sub(1);
        let part = index.and_then(|index| self.slides.get(index)).ok_or("there is no such slide")?.clone();
        self.read(&part)
    }
}

/// The ids of the slides in order.
fn order(xml: &str) -> Result<Vec<String>, String> {
    let (mut xml, mut ids) = (Xml::new(xml), Vec::new());
    while let Some(node) = xml.next()? {
        if let Node::Open(element) = node
            && element.name() == "sldId"
        {
            ids.extend(element.prefixed_attribute("r:id"));
        }
    }
    Ok(ids)
}

fn block(markdown: &mut LightMarkdown, element: &str, text: &str) {
    if !text.trim().is_empty() {
        markdown.open(element);
        markdown.text(text);
        markdown.close(element);
    }
}

/// A paragraph a line; those of one shape stay together.
fn lines(markdown: &mut LightMarkdown, shapes: &[Vec<String>]) {
    for shape in shapes {
        markdown.open("div");
        for line in shape {
            markdown.open("tr");
            markdown.text(line);
            markdown.close("tr");
        }
        markdown.close("div");
    }
}

/// What stands on a slide.
#[derive(Debug, Default)]
struct Shapes {
    title: Vec<String>,
    /// Lines by shape.
    body: Vec<Vec<String>>,
    pictures: usize,
    /// The shape that is open.
    shape: Shape,
    line: String,
    /// A row of a table is one line.
    in_row: bool,
}

#[derive(Debug, Default)]
struct Shape {
    place: Place,
    lines: Vec<String>,
}

/// What the layout has a shape for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    Title,
    #[default]
    Body,
    /// Number, date, footer: the same on every slide.
    Margin,
}

impl Shapes {
    fn read(xml: &str) -> Result<Self, String> {
        let (mut xml, mut slide) = (Xml::new(xml), Self::default());
        let mut in_text = false;
        // A second copy of what older programs cannot show.
        let mut skipped = 0_usize;
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(element) if skipped > 0 || element.name() == "Fallback" => {
                    drop(element);
                    skipped += 1;
                }
                Node::Close(_) if skipped > 0 => skipped -= 1,
                Node::Open(element) => {
                    in_text = element.name() == "t";
                    match element.name() {
                        "sp" | "graphicFrame" | "pt" => slide.end_shape(),
                        "pic" => slide.pictures += 1,
                        "ph" => slide.shape.place = place(element.attribute("type").as_deref()),
                        "br" => slide.line.push(' '),
                        "tr" => slide.in_row = true,
                        _ => {}
                    }
                }
                Node::Close(name) => {
                    in_text = false;
                    slide.close(&name);
                }
                Node::Text(text) if in_text && skipped == 0 => slide.line.push_str(&text),
                Node::Text(_) => {}
            }
        }
        slide.end_shape();
        Ok(slide)
    }

    fn close(&mut self, name: &str) {
        match name {
            "tc" => self.line.push_str("| "),
            "tr" => {
                self.line.truncate(self.line.trim_end_matches([' ', '|']).len());
                self.in_row = false;
                self.end_line();
            }
            "p" if self.in_row => self.line.push(' '),
            "p" => self.end_line(),
            "sp" | "graphicFrame" | "pt" => self.end_shape(),
            _ => {}
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim().is_empty() {
            self.shape.lines.push(line.trim().to_owned());
        }
    }

    fn end_shape(&mut self) {
        self.end_line();
        let Shape { place, lines } = std::mem::take(&mut self.shape);
        match place {
            Place::Title => self.title.extend(lines),
            Place::Body if !lines.is_empty() => self.body.push(lines),
            Place::Body | Place::Margin => {}
        }
    }
}

fn place(kind: Option<&str>) -> Place {
    match kind {
        Some("title" | "ctrTitle") => Place::Title,
        Some("sldNum" | "dt" | "ftr" | "hdr" | "sldImg") => Place::Margin,
        _ => Place::Body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(place: &str, lines: &[&str]) -> String {
        let paragraph = |line: &&str| format!("<a:p><a:r><a:t>{line}</a:t></a:r></a:p>");
        let lines: String = lines.iter().map(paragraph).collect();
        format!("<p:sp><p:nvPr><p:ph type='{place}'/></p:nvPr><p:txBody>{lines}</p:txBody></p:sp>")
    }

    #[test]
    fn the_title_is_found_wherever_it_stands_and_margins_are_left_out() {
        let xml = format!(
            "<x>{}{}{}</x>",
            shape("body", &["one", "two"]),
            shape("title", &["The title"]),
            shape("sldNum", &["7"])
        );
        let slide = Shapes::read(&xml).expect("it is XML");
        assert_eq!(
            (slide.title, slide.body),
            (vec!["The title".to_owned()], vec![vec!["one".to_owned(), "two".to_owned()]])
        );
    }

    #[test]
    fn a_row_of_a_table_is_a_line() {
        let cell = |text: &str| format!("<a:tc><a:p><a:t>{text}</a:t></a:p></a:tc>");
        let row = |a: &str, b: &str| format!("<a:tr>{}{}</a:tr>", cell(a), cell(b));
        let xml = format!("<p:graphicFrame>{}{}</p:graphicFrame>", row("a", "b"), row("c", "d"));
        assert_eq!(Shapes::read(&xml).expect("it is XML").body, [["a | b", "c | d"]]);
    }
}
