//! PDF files: good and odd ones.

use std::fs;

use mentor_actors::domain::{DocumentContent, DocumentKind, PageText};
use mentor_actors::ports::Extractor;
use mentor_engines::extract::FileExtractor;
use mentor_engines::extract::reader::ReaderLimits;

use super::support::*;

#[test]
fn a_file_is_read_page_by_page_with_words_lines_and_paragraphs() {
    let first = lines(&["Chapter one has a long line that goes on", "in the next line.", "", "", "Second paragraph."]);
    let content = read(&Pdf::with_pages(&[&first, "", &lines(&["Page three."])]).bytes());
    assert_eq!(content.kind, DocumentKind::Pdf);
    let pages: Vec<_> = content.pages.iter().map(|page| page.page).collect();
    assert_eq!(pages, [Some(1), Some(2), Some(3)]);
    let first = "Chapter one has a long line that goes on in the next line.\n\nSecond paragraph.";
    assert_eq!(texts(&content), [Ok(first), Ok(""), Ok("Page three.")]);
}

#[test]
fn divided_words_and_compounds_are_told_apart() {
    let page = lines(&[
        "We write floating-point here and de-",
        "lete a line; then a floating-",
        "point number follows it all.",
    ]);
    let text = "We write floating-point here and delete a line; then a floating-point number follows it all.";
    assert_eq!(texts(&read(&Pdf::with_pages(&[&page]).bytes())), [Ok(text)]);
}

#[test]
fn ligatures_and_odd_characters_become_letters() {
    let mut pdf = Pdf::with_pages(&["BT /F1 10 Tf 50 700 Td (e\\001cient \\002le\\003 x) Tj ET"]);
    let differences = "/Differences [1 /ffi /fi /softhyphen]";
    let widths = "/FirstChar 0 /LastChar 127 /Widths [";
    pdf.objects[2] = format!(
        "<< /Type /Font /Subtype /Type1 /BaseFont /X {widths}{}] /Encoding << {differences} >> >>",
        "500 ".repeat(128)
    )
    .into_bytes();
    assert_eq!(texts(&read(&pdf.bytes())), [Ok("efficient file- x")]);
}

#[test]
fn words_are_told_by_gaps_where_a_page_has_no_spaces() {
    let page = "BT /F1 10 Tf 50 700 Td [(Two) -300 (wor) 20 (ds)] TJ ET";
    assert_eq!(texts(&read(&Pdf::with_pages(&[page]).bytes())), [Ok("Two words")]);
}

#[test]
fn the_quote_operators_and_forms_are_read_too() {
    let mut pdf =
        Pdf::with_pages(&["BT /F1 10 Tf 12 TL 50 700 Td (One) Tj (Two) ' 0 0 (Three) \" ET 1 0 0 1 0 -200 cm /X Do"]);
    let form = "/Type /XObject /Subtype /Form /Resources << /Font << /F1 3 0 R >> >>";
    pdf.add_stream(form, b"BT /F1 10 Tf 50 700 Td (A form with a line of some width) Tj ET");
    assert_eq!(texts(&read(&pdf.bytes())), [Ok("One\nTwo\nThree\n\nA form with a line of some width")]);
}

#[test]
fn operators_without_their_operands_and_unknown_fonts_do_no_harm() {
    let page = "Tf Tj TJ () Tj cm /No gs /No cs v y Do (a) (b) Td Q Q BT /Nope 10 Tf 50 700 Td (kept) Tj ET q q";
    assert_eq!(texts(&read(&Pdf::with_pages(&[page]).bytes())), [Ok("kept")]);
}

/// Sections of each page: the title, and the line that begins it.
fn sections(content: &DocumentContent) -> Vec<Vec<(&str, &str)>> {
    content.pages.iter().map(sections_of).collect()
}

fn sections_of(page: &PageText) -> Vec<(&str, &str)> {
    let text = page.text.as_deref().unwrap_or_default();
    let line = |byte: usize| text[byte..].lines().next().unwrap_or_default();
    page.sections.iter().map(|start| (start.title.as_str(), line(start.byte))).collect()
}

#[test]
fn the_outline_s_titles_are_found_on_their_pages() {
    let mut pdf = Pdf::with_pages(&[
        &lines(&["Heaps", "", "", "A heap is a tree.", "", "", "1.1 Binary heaps", "", "", "Two children."]),
        &lines(&["And so on."]),
        &lines(&["About sorting."]),
    ]);
    let first = pdf.objects.len() + 1;
    pdf.objects[0] = format!(
        "<< /Type /Catalog /Pages 2 0 R /Outlines {first} 0 R /Dests << /binary [4 0 R /XYZ 0 500 0] >> \
         /Names << /Dests << /Names [(sorting) << /D [8 0 R /Fit] >>] >> >> >>"
    )
    .into_bytes();
    pdf.add(&format!("<< /First {} 0 R >>", first + 1));
    pdf.add(&format!("<< /Title (Heaps) /Dest [4 0 R /Fit] /First {} 0 R /Next {} 0 R >>", first + 2, first + 3));
    pdf.add(&format!("<< /Title (Binary heaps) /Dest /binary /Next {} 0 R >>", first + 1));
    pdf.add("<< /Title <FEFF0053006F0072007400E9> /A << /S /GoTo /D (sorting) >> >>");
    let expected = [
        vec![("Heaps", "Heaps"), ("Heaps > Binary heaps", "1.1 Binary heaps")],
        vec![("Heaps > Binary heaps", "And so on.")],
        vec![("Sorté", "About sorting.")],
    ];
    assert_eq!(sections(&read(&pdf.bytes())), expected);
}

#[test]
fn scans_are_told_from_pages_with_pictures_and_from_blank_ones() {
    let scan = "q 590 0 0 780 0 0 cm /X Do Q";
    let stamp = lines(&["Scanned by a machine"]);
    let text = lines(&["A page of text may well stand on a picture of its own size."]);
    let mut pdf = Pdf::with_pages(&[
        scan,
        "q 590 0 0 390 0 0 cm 1 0 0 1 0 1 cm /X Do Q q 590 0 0 390 0 0 cm /X Do Q",
        &format!("{scan} {stamp}"),
        &format!("{scan} {text}"),
        &format!("q 90 0 0 80 0 0 cm /X Do Q {}", lines(&["Figure 1"])),
        "q 30 0 0 30 0 0 cm /X Do Q",
        "",
        &"0 0 m 9 9 l S ".repeat(200),
    ]);
    let image = pdf.objects.len() + 1;
    pdf.add_stream("/Type /XObject /Subtype /Image /Width 1 /Height 1", b"\0");
    for object in &mut pdf.objects {
        let named = String::from_utf8_lossy(object).replace("/X 6 0 R", &format!("/X {image} 0 R"));
        *object = named.into_bytes();
    }
    let scanned = Err("no text: the page looks scanned");
    let expected = [
        scanned,
        scanned,
        scanned,
        Ok("A page of text may well stand on a picture of its own size."),
        Ok("Figure 1"),
        Ok(""),
        Ok(""),
        Err("no text: the page is a drawing, or its letters are"),
    ];
    assert_eq!(texts(&read(&pdf.bytes())), expected);
}

#[test]
fn a_font_without_a_unicode_map_is_the_reason_for_an_empty_page() {
    let mut pdf = Pdf::with_pages(&["BT /F1 10 Tf 50 700 Td <00010002> Tj ET"]);
    pdf.objects[2] =
        b"<< /Type /Font /Subtype /Type0 /Encoding /Identity-H /DescendantFonts [<< /Subtype /CIDFontType2 >>] >>"
            .to_vec();
    let content = read(&pdf.bytes());
    let reason = "no text: the page's fonts do not say which letters they show";
    assert_eq!(texts(&content), [Err(reason)]);
}

#[test]
fn a_page_with_a_font_that_cannot_be_read_takes_nothing_from_the_others() {
    let good = "BT /F1 10 Tf 50 700 Td (AAA) Tj ET";
    let bad = "BT /F1 10 Tf 50 700 Td (AAA) Tj /F2 10 Tf (BBB) Tj ET";
    let mut pdf = Pdf::with_pages(&[good, bad, good]);
    let program = pdf.objects.len() + 1;
    pdf.add_stream("", b"/Encoding 256 array\ndup 65 /alpha put\nreadonly def\n");
    pdf.add_stream("/Subtype /Type1C", b"none");
    let font = |program: &str| format!("<< /Type /Font /Subtype /Type1 /FontDescriptor << {program} 0 R >> >>");
    let unreadable = font(&format!("/FontFile3 {}", program + 1));
    pdf.objects[2] = font(&format!("/FontFile {program}")).into_bytes();
    pdf.add(&unreadable);
    for inline in [false, true] {
        let second = if inline { unreadable.clone() } else { format!("{} 0 R", program + 2) };
        let fonts = format!("/Font << /F1 3 0 R /F2 {second} >>");
        pdf.objects[5] = page(7).replace("/Font << /F1 3 0 R >>", &fonts).into_bytes();
        assert_eq!(texts(&read(&pdf.bytes())), [Ok("ααα"), Ok("AAABBB"), Ok("ααα")]);
    }
}

#[test]
fn what_is_no_pdf_is_refused() {
    assert_eq!(refusal(b"hello"), "not a PDF file");
    let files = FileExtractor::new(1 << 20).with_reader(reader(tight()));
    assert_eq!(files.extract(&file_named("a.pdf", b"").path).expect_err("refused").to_string(), "the file is empty");
}

/// With real books: `MENTOR_TEST_BOOKS=FOLDER cargo test`.
#[test]
fn every_page_of_the_books_is_read() {
    let Some(folder) = std::env::var_os("MENTOR_TEST_BOOKS") else {
        eprintln!("skipped: MENTOR_TEST_BOOKS names no folder with PDF files");
        return;
    };
    let books = fs::read_dir(folder).expect("MENTOR_TEST_BOOKS is a folder").filter_map(Result::ok);
    for book in books.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pdf")) {
        let content = reader(ReaderLimits::default()).read(DocumentKind::Pdf, &book).expect("a book can be read");
        let failed: Vec<_> = content.pages.iter().filter(|page| page.text.is_err()).collect();
        assert!(failed.is_empty(), "{}: {failed:?}", book.display());
    }
}
