//! HTML files, as light Markdown: `# heading` lines, blank lines between blocks, listings fenced.

use encoding_rs::Encoding;
use mentor_actors::domain::{DocumentContent, DocumentKind, EngineError};
use scraper::{Html, Node};

use super::{encoding, file};

/// A declaration of the encoding must stand within so many bytes.
const DECLARATION_BYTES: usize = 1024;
const FENCE: &str = "```";
/// Elements that may be open at once. The parser's work grows with the square of it; browsers stop at 512.
const MAX_OPEN_ELEMENTS: usize = 5_000;

/// The readable text of a page: no scripts, styles, navigation or controls.
///
/// # Errors
/// [`EngineError::Failed`] when the bytes are not text, or the elements are nested as in no page made to be read.
pub fn extract(bytes: &[u8]) -> Result<DocumentContent, EngineError> {
    let source = encoding::decode(bytes, declared_encoding(bytes))?;
    if most_open_elements(&source) > MAX_OPEN_ELEMENTS {
        return Err(EngineError::Failed("the elements of the page are nested too deeply".to_owned()));
    }
    Ok(file::without_pages(DocumentKind::Html, to_markdown(&source)))
}

/// What `<meta charset=...>` or its older form says.
fn declared_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    const KEY: &[u8] = b"charset=";
    let start = bytes[..bytes.len().min(DECLARATION_BYTES)].to_ascii_lowercase();
    let value = start.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let label = start[value..].trim_ascii_start();
    let label = label.strip_prefix(b"\"").or_else(|| label.strip_prefix(b"'")).unwrap_or(label);
    let end = label.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"-_:".contains(byte))?;
    Encoding::for_label(&label[..end])
}

/// An upper estimate of the nesting, from the tags alone.
fn most_open_elements(source: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for tag in source.split('<').skip(1) {
        let (closing, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let length = tag.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if length == 0 || closes_itself(&tag[..length].to_ascii_lowercase()) {
            continue;
        }
        open = if closing { open.saturating_sub(1) } else { open + 1 };
        most = most.max(open);
    }
    most
}

/// Elements that are empty, or end where the next of their kind begins.
fn closes_itself(name: &str) -> bool {
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
            | "p"
            | "li"
            | "dt"
            | "dd"
            | "tr"
            | "td"
            | "th"
            | "thead"
            | "tbody"
            | "tfoot"
            | "option"
            | "path"
    )
}

/// Walks the tree with a stack of its own: documents nest deeper than a thread's stack.
fn to_markdown(source: &str) -> String {
    let html = Html::parse_document(source);
    let mut writer = Writer::default();
    let mut open = vec![(html.tree.root(), false)];
    while let Some((node, seen)) = open.pop() {
        match node.value() {
            Node::Element(element) if seen => writer.close(element.name()),
            Node::Element(element) if is_unread(element.name()) || element.attr("hidden").is_some() => {}
            Node::Element(element) => {
                writer.open(element.name());
                open.push((node, true));
                open.extend(node.children().rev().map(|child| (child, false)));
            }
            Node::Text(text) => writer.text(text),
            _ => open.extend(node.children().rev().map(|child| (child, false))),
        }
    }
    writer.finish()
}

fn is_unread(name: &str) -> bool {
    matches!(
        name,
        "head"
            | "script"
            | "style"
            | "nav"
            | "noscript"
            | "template"
            | "iframe"
            | "object"
            | "svg"
            | "canvas"
            | "audio"
            | "video"
            | "button"
            | "select"
            | "textarea"
            | "datalist"
    )
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "main"
            | "aside"
            | "header"
            | "footer"
            | "ul"
            | "ol"
            | "dl"
            | "dt"
            | "dd"
            | "table"
            | "caption"
            | "blockquote"
            | "figure"
            | "figcaption"
            | "address"
            | "details"
            | "summary"
            | "form"
            | "fieldset"
            | "hr"
            | "body"
    )
}

fn heading_level(name: &str) -> Option<usize> {
    let level = name.strip_prefix('h')?.parse().ok()?;
    (1..=6).contains(&level).then_some(level)
}

/// White space that is owed before the next text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    #[default]
    Nothing,
    Space,
    Newline,
    BlankLine,
}

#[derive(Debug, Default)]
struct Writer {
    markdown: String,
    owed: Owed,
    in_heading: bool,
    /// Listings do not nest in valid HTML, but in some that is written.
    listings: usize,
}

impl Writer {
    fn open(&mut self, name: &str) {
        if let Some(level) = heading_level(name) {
            self.owe(Owed::BlankLine);
            self.mark(&format!("{} ", "#".repeat(level)));
            self.in_heading = true;
            return;
        }
        match name {
            "pre" => self.open_listing(),
            "br" if self.listings > 0 => self.markdown.push('\n'),
            "br" | "tr" => self.owe(Owed::Newline),
            "li" => {
                self.owe(Owed::Newline);
                self.mark("- ");
            }
            "td" | "th" if self.owed < Owed::Newline && !self.at_line_start() => {
                self.owed = Owed::Space;
                self.mark("| ");
            }
            _ if is_block(name) => self.owe(Owed::BlankLine),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if heading_level(name).is_some() {
            self.in_heading = false;
            self.owe(Owed::BlankLine);
        } else if name == "pre" {
            self.close_listing();
        } else if is_block(name) {
            self.owe(Owed::BlankLine);
        } else if matches!(name, "li" | "tr") {
            self.owe(Owed::Newline);
        }
    }

    fn open_listing(&mut self) {
        self.owe(Owed::BlankLine);
        if self.listings == 0 {
            self.mark(FENCE);
            self.markdown.push('\n');
        }
        self.owed = Owed::Nothing;
        self.listings += 1;
    }

    fn close_listing(&mut self) {
        self.listings = self.listings.saturating_sub(1);
        if self.listings == 0 {
            if !self.at_line_start() {
                self.markdown.push('\n');
            }
            self.markdown.push_str(FENCE);
            self.owe(Owed::BlankLine);
        }
    }

    fn text(&mut self, text: &str) {
        if self.listings > 0 {
            self.markdown.push_str(text);
            return;
        }
        if text.starts_with(char::is_whitespace) {
            self.owe(Owed::Space);
        }
        let mut words = text.split_whitespace();
        if let Some(first) = words.next() {
            self.settle();
            if first.starts_with('#') && self.at_line_start() {
                self.markdown.push('\\');
            }
            self.markdown.push_str(first);
            for word in words {
                self.markdown.push(' ');
                self.markdown.push_str(word);
            }
            self.owed = if text.ends_with(char::is_whitespace) { Owed::Space } else { Owed::Nothing };
        }
    }

    /// Writes a mark that belongs to the text after it.
    fn mark(&mut self, mark: &str) {
        self.settle();
        self.markdown.push_str(mark);
    }

    fn owe(&mut self, owed: Owed) {
        // A heading is one line, whatever stands in it.
        let owed = if self.in_heading { owed.min(Owed::Space) } else { owed };
        self.owed = self.owed.max(owed);
    }

    fn settle(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        if self.markdown.is_empty() {
            return;
        }
        match owed {
            Owed::Nothing => {}
            Owed::Space if self.markdown.ends_with([' ', '\n']) => {}
            Owed::Space => self.markdown.push(' '),
            Owed::Newline => self.end_line("\n"),
            Owed::BlankLine => self.end_line("\n\n"),
        }
    }

    fn end_line(&mut self, end: &str) {
        self.markdown.truncate(self.markdown.trim_end_matches(' ').len());
        self.markdown.push_str(end);
    }

    fn at_line_start(&self) -> bool {
        self.markdown.is_empty() || self.markdown.ends_with('\n')
    }

    fn finish(mut self) -> String {
        self.markdown.truncate(self.markdown.trim_end().len());
        self.markdown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_paragraphs_become_markdown() {
        let html = "<html><head><title>t</title></head><body><h1>One <em>big</em><br>thing</h1><p>First\n  line</p><p>Second</p></body>";
        assert_eq!(to_markdown(html), "# One big thing\n\nFirst line\n\nSecond");
    }

    #[test]
    fn scripts_styles_and_navigation_are_dropped() {
        let html = "<style>a{}</style><script>x()</script><nav><a>home</a></nav><main>kept<p hidden>not</p></main>";
        assert_eq!(to_markdown(html), "kept");
    }

    #[test]
    fn listings_keep_their_lines_and_are_fenced() {
        let html = "<p>See</p><pre><code># a comment\n  if x:\n    y</code></pre><p>Done</p>";
        assert_eq!(to_markdown(html), "See\n\n```\n# a comment\n  if x:\n    y\n```\n\nDone");
    }

    #[test]
    fn entities_are_resolved_and_inline_elements_keep_their_spaces() {
        assert_eq!(to_markdown("<p>a&nbsp;&lt; <b>b</b>&amp;<i> c</i></p>"), "a < b& c");
    }

    #[test]
    fn lists_and_tables_have_a_line_for_each_item_and_row() {
        let html = "<ul><li>one</li><li>two</li></ul><table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>";
        assert_eq!(to_markdown(html), "- one\n- two\n\na | b\nc");
    }

    #[test]
    fn text_that_looks_like_a_heading_is_escaped() {
        assert_eq!(to_markdown("<p># not a heading</p>"), "\\# not a heading");
    }

    #[test]
    fn deep_nesting_is_read_up_to_a_bound_and_refused_beyond() {
        let page = |depth| format!("{}deep{}", "<div>".repeat(depth), "</div>".repeat(depth));
        assert_eq!(to_markdown(&page(2_000)), "deep");
        let refusal = extract(page(100_000).as_bytes()).expect_err("nested too deeply");
        assert_eq!(refusal.to_string(), "the elements of the page are nested too deeply");
    }

    #[test]
    fn many_elements_that_close_themselves_are_not_nested() {
        assert_eq!(most_open_elements(&"<p>a<br>b<li>c".repeat(10_000)), 0);
    }

    #[test]
    fn a_declared_encoding_is_used() {
        let page = extract(b"<meta charset=\"iso-8859-7\"><p>\xE1\xE2</p>").expect("text");
        assert_eq!(page.pages[0].text.as_deref(), Ok("αβ"));
    }
}
