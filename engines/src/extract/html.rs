//! HTML files, as light Markdown: `# heading` lines, blank lines between blocks, listings fenced.

use std::cell::Cell;

use encoding_rs::Encoding;
use html5ever::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts, TreeSink};
use scraper::{Html, HtmlTreeSink, Node};

use super::encoding;
use super::light_markdown::LightMarkdown;

/// A declaration of the encoding must stand within so many bytes.
const DECLARATION_BYTES: usize = 1024;
/// Elements that may be open at once. The parser's work grows with the square of it; browsers stop at 512.
const MAX_OPEN_ELEMENTS: usize = 5_000;

/// The readable text of a page: no scripts, styles, navigation or controls.
///
/// # Errors
/// That the bytes are not text, or the elements are nested as in no page made to be read.
pub(super) fn read(bytes: &[u8]) -> Result<String, String> {
    let source = encoding::decode(bytes, declared_encoding(bytes)).map_err(|error| error.to_string())?;
    markdown_of(&source)
}

/// The same for a page that is decoded already.
///
/// # Errors
/// That the elements are nested as in no page made to be read.
pub(super) fn markdown_of(source: &str) -> Result<String, String> {
    parse(source)
        .map(|html| to_markdown(&html))
        .ok_or_else(|| "the elements of the page are nested too deeply".to_owned())
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

/// The tree of a page; `None` when its elements are nested too deeply.
fn parse(source: &str) -> Option<Html> {
    let builder = TreeBuilder::new(HtmlTreeSink::new(Html::new_document()), TreeBuilderOpts::default());
    let watched = Watched { builder, open: Cell::new(0), is_too_deep: Cell::new(false) };
    let (tokenizer, input) = (Tokenizer::new(watched, TokenizerOpts::default()), BufferQueue::default());
    input.push_back(StrTendril::from(source));
    // It stops behind every script, for those who would run it.
    while let TokenizerResult::Script(_) = tokenizer.feed(&input) {}
    tokenizer.end();
    let Watched { builder, is_too_deep, .. } = tokenizer.sink;
    (!is_too_deep.get()).then(|| builder.sink.finish())
}

type Handle = <HtmlTreeSink as TreeSink>::Handle;

/// Builds the tree until the nesting, estimated from the tags, is too deep; passes over the rest.
struct Watched {
    builder: TreeBuilder<Handle, HtmlTreeSink>,
    open: Cell<usize>,
    is_too_deep: Cell<bool>,
}

impl Watched {
    fn count(&self, tag: &Tag) {
        // Only drawings and formulas have elements that the slash of `<circle/>` closes.
        let is_closed = tag.self_closing && self.adjusted_current_node_present_but_not_in_html_namespace();
        if is_closed || closes_itself(&tag.name) {
            return;
        }
        match tag.kind {
            TagKind::StartTag => self.open.update(|open| open + 1),
            TagKind::EndTag => self.open.update(|open| open.saturating_sub(1)),
        }
        self.is_too_deep.set(self.open.get() > MAX_OPEN_ELEMENTS);
    }
}

impl TokenSink for Watched {
    type Handle = Handle;

    fn process_token(&self, token: Token, line_number: u64) -> TokenSinkResult<Handle> {
        if self.is_too_deep.get() {
            return TokenSinkResult::Continue;
        }
        if let Token::TagToken(tag) = &token {
            self.count(tag);
        }
        self.builder.process_token(token, line_number)
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
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
fn to_markdown(html: &Html) -> String {
    let mut writer = LightMarkdown::default();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn to_markdown(html: &str) -> String {
        markdown_of(html).expect("it is not nested deeply")
    }

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
        let refusal = read(page(100_000).as_bytes()).expect_err("nested too deeply");
        assert_eq!(refusal, "the elements of the page are nested too deeply");
    }

    #[test]
    fn many_elements_that_close_themselves_are_not_nested() {
        assert!(markdown_of(&"<p>a<br>b<li>c".repeat(10_000)).is_ok());
    }

    #[test]
    fn what_only_looks_like_tags_or_closes_itself_is_not_nested() {
        let many = |what: &str| what.repeat(MAX_OPEN_ELEMENTS + 1);
        let script = format!("<p>x</p><script>{}</script>", many("i<n;"));
        let style = format!("<p>x</p><style>{}</style>", many("a<b{}"));
        let comment = format!("<p>x</p><!-- {} -->", many("<div>"));
        let drawing = format!("<p>x</p><svg><title>t</title>{}</svg>", many("<circle r='1'/>"));
        let attribute = format!("<p>x</p><a title='{}'></a>", many("<b>"));
        for page in [script, style, comment, drawing, attribute] {
            assert_eq!(read(page.as_bytes()).as_deref(), Ok("x"), "{}", &page[..40]);
        }
        // In HTML itself the slash closes nothing.
        assert!(read(many("<div/>").as_bytes()).is_err());
        assert!(read(many("<svg><p><b/>").as_bytes()).is_err());
    }

    #[test]
    fn a_declared_encoding_is_used() {
        assert_eq!(read(b"<meta charset=\"iso-8859-7\"><p>\xE1\xE2</p>").as_deref(), Ok("αβ"));
    }
}
