//! Documents of word processors, slides, books and notebooks, as their programs write them, in small.

use mentor_actors::domain::{DocumentKind, PageText};
use mentor_actors::ports::Extractor;
use mentor_engines::extract::FileExtractor;

use super::support::*;

fn extracted(name: &str, bytes: &[u8]) -> Vec<PageText> {
    let files = FileExtractor::new(64 << 20).with_reader(reader(tight()));
    files.extract(&file_named(name, bytes).path).expect("it can be read").pages
}

fn whole(name: &str, bytes: &[u8]) -> String {
    let [page] = extracted(name, bytes).try_into().expect("it is one text");
    assert_eq!(page.page, None);
    page.text.expect("it has text")
}

#[test]
fn a_word_document_keeps_its_headings_lists_tables_and_notes() {
    let relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relations = format!(
        "<Relationships><Relationship Id='a' Type='{relation}/styles' Target='styles.xml'/>\
         <Relationship Id='b' Type='{relation}/footnotes' Target='footnotes.xml'/></Relationships>"
    );
    let document = "<?xml version='1.0'?><w:document><w:body>\
        <w:p><w:pPr><w:pStyle w:val='H1'/></w:pPr><w:r><w:t>Heaps</w:t></w:r></w:p>\
        <w:p><w:r><w:t>A heap &amp; its </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>order</w:t></w:r><w:r><w:t>.</w:t></w:r></w:p>\
        <w:p><w:pPr><w:numPr><w:numId w:val='1'/></w:numPr></w:pPr><w:r><w:t>push</w:t></w:r></w:p>\
        <w:tbl><w:tr><w:tc><w:p><w:r><w:t>op</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>cost</w:t></w:r></w:p></w:tc></w:tr></w:tbl>\
        </w:body></w:document>";
    let parts: [(&str, &[u8]); 5] = [
        ("[Content_Types].xml", b"<Types/>"),
        ("word/document.xml", document.as_bytes()),
        ("word/_rels/document.xml.rels", relations.as_bytes()),
        ("word/styles.xml", b"<w:styles><w:style w:styleId='H1'><w:name w:val='heading 1'/></w:style></w:styles>"),
        (
            "word/footnotes.xml",
            b"<w:footnotes><w:footnote w:id='2'><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>",
        ),
    ];
    assert_eq!(whole("a.docx", &archive(&parts)), "# Heaps\n\nA heap & its order.\n\n- push\n\nop | cost\n\nA note.");
}

#[test]
fn each_slide_is_a_page_in_the_order_of_the_show() {
    let slide = |title: &str, body: &str| {
        format!(
            "<p:sld><p:sp><p:nvPr><p:ph type='title'/></p:nvPr><a:p><a:r><a:t>{title}</a:t></a:r></a:p></p:sp>\
             <p:sp><p:nvPr><p:ph idx='1'/></p:nvPr><a:p><a:r><a:t>{body}</a:t></a:r></a:p></p:sp></p:sld>"
        )
    };
    let (first, second) = (slide("Stacks", "Last in, first out"), slide("Queues", "First in, first out"));
    let parts: [(&str, &[u8]); 8] = [
        ("ppt/presentation.xml", b"<p:presentation><p:sldId id='256' r:id='b'/><p:sldId id='257' r:id='a'/><p:sldId id='258' r:id='c'/><p:sldId id='259' r:id='d'/></p:presentation>"),
        ("ppt/_rels/presentation.xml.rels", b"<R><Relationship Id='a' Type='x/slide' Target='slides/slide1.xml'/><Relationship Id='b' Type='x/slide' Target='/ppt/slides/slide2.xml'/><Relationship Id='c' Type='x/slide' Target='slides/slide3.xml'/><Relationship Id='d' Type='x/slide' Target='slides/gone.xml'/></R>"),
        ("ppt/slides/slide1.xml", first.as_bytes()),
        ("ppt/slides/slide2.xml", second.as_bytes()),
        ("ppt/slides/slide3.xml", b"<p:sld><p:pic/></p:sld>"),
        ("ppt/slides/_rels/slide1.xml.rels", b"<R><Relationship Id='a' Type='x/notesSlide' Target='../notesSlides/n1.xml'/></R>"),
        ("ppt/notesSlides/n1.xml", b"<p:notes><p:sp><p:nvPr><p:ph type='body'/></p:nvPr><a:p><a:t>Say plates.</a:t></a:p></p:sp></p:notes>"),
        ("docProps/app.xml", b"<x/>"),
    ];
    let pages = extracted("a.pptx", &archive(&parts));
    let found: Vec<_> = pages.iter().map(|page| (page.page, page.text.as_deref().map_err(String::as_str))).collect();
    let expected = [
        (Some(1), Ok("# Queues\n\nFirst in, first out")),
        (Some(2), Ok("# Stacks\n\nLast in, first out\n\nSay plates.")),
        (Some(3), Err("no text: the slide holds only pictures")),
        (Some(4), Err("the file is damaged: it has no part ppt/slides/gone.xml")),
    ];
    assert_eq!(found, expected);
}

fn book(more: &[(&str, &[u8])]) -> Vec<u8> {
    let package = "<package><manifest><item id='one' href='text/one.xhtml' media-type='application/xhtml+xml'/>\
        <item id='two' href='text/two.xhtml' media-type='application/xhtml+xml'/></manifest>\
        <spine><itemref idref='two'/><itemref idref='one'/></spine></package>";
    let parts: [(&str, &[u8]); 4] = [
        ("mimetype", b"application/epub+zip"),
        (
            "META-INF/container.xml",
            b"<container><rootfiles><rootfile full-path='OEBPS/b.opf'/></rootfiles></container>",
        ),
        ("OEBPS/b.opf", package.as_bytes()),
        (
            "OEBPS/text/two.xhtml",
            "<html><head><title/></head><body><h1>Zwei</h1><p>Größe.</p></body></html>".as_bytes(),
        ),
    ];
    archive(&[&parts, more].concat())
}

#[test]
fn the_chapters_of_a_book_are_one_text_in_reading_order() {
    let one: (&str, &[u8]) = ("OEBPS/text/one.xhtml", b"<html><body><h1>Eins</h1><p>Text</p></body></html>");
    assert_eq!(whole("a.epub", &book(&[one])), "# Zwei\n\nGröße.\n\n# Eins\n\nText");
}

#[test]
fn a_chapter_that_is_missing_is_reported_and_the_others_are_kept() {
    let pages = extracted("a.epub", &book(&[]));
    assert_eq!(pages[0].text.as_deref(), Ok("# Zwei\n\nGröße."));
    assert_eq!(pages[1].text, Err("part 2: the file is damaged: it has no part OEBPS/text/one.xhtml".to_owned()));
}

#[test]
fn a_book_with_copy_protection_is_refused() {
    let protection: (&str, &[u8]) =
        ("META-INF/encryption.xml", b"<e><CipherReference URI='OEBPS/text/two.xhtml'/></e>");
    let reason = refusal_as(DocumentKind::Epub, &book(&[protection]));
    assert_eq!(reason, "the book is copy-protected (DRM) and cannot be read");
}

#[test]
fn a_notebook_and_a_web_page_become_markdown() {
    let notebook = br##"{"cells": [{"cell_type": "markdown", "source": "# Sorting"}, {"cell_type": "code", "source": "sorted(x)"}]}"##;
    assert_eq!(whole("a.ipynb", notebook), "# Sorting\n\n```\nsorted(x)\n```");
    assert_eq!(whole("a.html", b"<h2>One</h2><p>Two</p>"), "## One\n\nTwo");
}
