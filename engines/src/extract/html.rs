//! HTML files, as light Markdown: `# heading` lines, blank lines between blocks, listings fenced.

use encoding_rs::Encoding;
use scraper::{Html, Node};

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
    if most_open_elements(source) > MAX_OPEN_ELEMENTS {
        return Err("the elements of the page are nested too deeply".to_owned());
    }
    Ok(to_markdown(source))
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
        assert_eq!(most_open_elements(&"<p>a<br>b<li>c".repeat(10_000)), 0);
    }

    #[test]
    fn a_declared_encoding_is_used() {
        assert_eq!(read(b"<meta charset=\"iso-8859-7\"><p>\xE1\xE2</p>").as_deref(), Ok("αβ"));
    }
}
