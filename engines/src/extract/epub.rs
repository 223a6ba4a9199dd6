//! Electronic books: the chapters of the spine, in order, as light Markdown.

use super::archive::{Archive, resolve};
use super::html;
use super::reader::{NoText, Pages};
use super::xml::{Node, Xml};

/// Where every book says what it is made of.
const CONTAINER: &str = "META-INF/container.xml";
/// Where a book says which of its parts are encrypted.
const ENCRYPTION: &str = "META-INF/encryption.xml";

/// An open book.
pub(super) struct Chapters {
    archive: Archive,
    /// Names of the parts in the order in which they are read.
    chapters: Vec<String>,
}

impl Chapters {
    /// # Errors
    /// Why the file as a whole cannot be read, for people.
    pub fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let mut archive = Archive::open(bytes)?;
        let package = root_file(&archive.required_text(CONTAINER)?)?;
        let chapters = spine(&archive.required_text(&package)?, &package)?;
        if chapters.is_empty() {
            return Err("the book has no chapters, or is damaged".to_owned());
        }
        let encrypted = archive.text(ENCRYPTION)?.map_or(Ok(Vec::new()), |xml| encrypted_parts(&xml))?;
        if chapters.iter().any(|chapter| encrypted.contains(chapter)) {
            return Err("the book is copy-protected (DRM) and cannot be read".to_owned());
        }
        Ok(Self { archive, chapters })
    }
}

impl Pages for Chapters {
    fn count(&self) -> u32 {
        u32::try_from(self.chapters.len()).unwrap_or(u32::MAX)
    }

    fn page(&mut self, number: u32) -> Result<String, NoText> {
        let index = (number as usize).checked_sub(1);
        let part = index.and_then(|index| self.chapters.get(index)).ok_or("there is no such chapter")?;
        let source = self.archive.required_text(part)?;
        Ok(html::markdown_of(&with_end_tags(&source))?)
    }
}

fn root_file(container: &str) -> Result<String, String> {
    let mut xml = Xml::new(container);
    while let Some(node) = xml.next()? {
        if let Node::Open(element) = node
            && element.name() == "rootfile"
            && let Some(path) = element.attribute("full-path")
        {
            return Ok(resolve("", &path));
        }
    }
    Err("the book does not say what it is made of".to_owned())
}

/// The parts that are read one after the other. Their own table of contents is left out: it only repeats their headings.
fn spine(xml: &str, package: &str) -> Result<Vec<String>, String> {
    let (mut xml, mut manifest, mut order) = (Xml::new(xml), std::collections::HashMap::new(), Vec::new());
    while let Some(node) = xml.next()? {
        let Node::Open(element) = node else { continue };
        match element.name() {
            "item" => {
                let is_page = element.attribute("media-type").is_some_and(|kind| kind.contains("html"));
                let is_contents =
                    element.attribute("properties").is_some_and(|all| all.split(' ').any(|one| one == "nav"));
                if let (Some(id), Some(reference), true) =
                    (element.attribute("id"), element.attribute("href"), is_page && !is_contents)
                {
                    manifest.insert(id, resolve(package, &percent_decoded(&reference)));
                }
            }
            "itemref" => order.extend(element.attribute("idref")),
            _ => {}
        }
    }
    Ok(order.iter().filter_map(|id| manifest.get(id)).cloned().collect())
}

fn encrypted_parts(xml: &str) -> Result<Vec<String>, String> {
    let (mut xml, mut parts) = (Xml::new(xml), Vec::new());
    while let Some(node) = xml.next()? {
        if let Node::Open(element) = node
            && element.name() == "CipherReference"
        {
            parts.extend(element.attribute("URI").map(|part| resolve("", &percent_decoded(&part))));
        }
    }
    Ok(parts)
}

/// `%20` and its like as the bytes they stand for.
fn percent_decoded(reference: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = reference.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// XHTML as HTML: elements that close themselves get an end tag. An HTML parser would take `<title/>` or `<script/>` for the
/// beginning of one that never ends.
fn with_end_tags(xhtml: &str) -> String {
    let mut html = String::with_capacity(xhtml.len());
    let mut rest = xhtml;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        html.push_str(before);
        rest = tag;
        // Declarations of a document type may hold others, with entities that nothing here expands.
        let end = if tag.starts_with("<!DOCTYPE") { end_of_type(tag) } else { tag.find('>') };
        let Some(end) = end else { break };
        if tag.starts_with("<!") && !tag.starts_with("<!--") {
            rest = &tag[end + 1..];
            continue;
        }
        let (inside, after) = (&tag[1..end], &tag[end + 1..]);
        let name: &str = inside.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        match inside.strip_suffix('/') {
            Some(open) if !name.is_empty() && !is_void(name) => html.push_str(&format!("<{open}></{name}>")),
            _ => html.push_str(&tag[..=end]),
        }
        rest = after;
    }
    html.push_str(rest);
    html
}

fn end_of_type(declaration: &str) -> Option<usize> {
    let end = declaration.find('>')?;
    match declaration.find('[').filter(|subset| *subset < end) {
        Some(subset) => declaration[subset..].find("]>").map(|length| subset + length + 1),
        None => Some(end),
    }
}

/// Elements that have no end tag in HTML.
fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "source"
            | "track"
            | "wbr"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spine_gives_the_order_and_the_table_of_contents_is_left_out() {
        let package = "<package><manifest>
            <item id='b' href='two%20b.xhtml' media-type='application/xhtml+xml'/>
            <item id='nav' href='nav.xhtml' media-type='application/xhtml+xml' properties='nav'/>
            <item id='a' href='../one.html' media-type='text/html'/>
            <item id='css' href='s.css' media-type='text/css'/></manifest>
            <spine><itemref idref='nav'/><itemref idref='a'/><itemref idref='b'/><itemref idref='css'/></spine></package>";
        assert_eq!(spine(package, "OEBPS/content.opf"), Ok(vec!["one.html".into(), "OEBPS/two b.xhtml".into()]));
    }

    #[test]
    fn elements_that_close_themselves_end_as_html() {
        let page = "<head><title/><script src='x'/></head><p>a<br/>b<a id=\"x\"/> c</p>";
        assert_eq!(
            with_end_tags(page),
            "<head><title></title><script src='x'></script></head><p>a<br/>b<a id=\"x\"></a> c</p>"
        );
        assert_eq!(html::markdown_of(&with_end_tags(page)).as_deref(), Ok("a\nb c"));
    }
}
