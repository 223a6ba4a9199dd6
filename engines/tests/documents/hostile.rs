//! Files made to do harm. Whatever the file, the parent lives and has a reason in time, and the next file is read.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use mentor_actors::domain::{DocumentContent, DocumentKind};
use mentor_actors::ports::Extractor;
use mentor_engines::extract::FileExtractor;
use mentor_engines::extract::reader::ReaderLimits;

use super::support::*;

/// What any file may take until there is text or a reason.
const IN_TIME: Duration = Duration::from_secs(25);

/// Reads a file, and a good one after it.
fn outcome(kind: DocumentKind, bytes: &[u8]) -> Result<DocumentContent, String> {
    let started = Instant::now();
    // The times are those that are shipped; with less memory a bomb goes off sooner.
    let limits = ReaderLimits { memory_bytes: tight().memory_bytes, ..ReaderLimits::default() };
    let outcome = reader(limits).read(kind, &file(bytes).path);
    assert!(started.elapsed() < IN_TIME, "took {:?}", started.elapsed());
    assert_eq!(texts(&read(&Pdf::with_pages(&[&lines(&["the next"])]).bytes())), [Ok("the next")]);
    outcome.map_err(|error| {
        let reason = error.to_string();
        assert!(!reason.is_empty() && reason.len() < 200 && !reason.contains('\n'), "no reason for people: {reason:?}");
        reason
    })
}

/// The same for a PDF file of which any outcome is right that is one.
fn survives(pdf: &Pdf) {
    if let Ok(content) = outcome(DocumentKind::Pdf, &pdf.bytes()) {
        assert!(!content.pages.is_empty());
    }
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// An object that is a stream with these entries.
fn stream(entries: &str, content: &[u8]) -> Vec<u8> {
    let mut object = format!("<< /Length {} {entries} >>\nstream\n", content.len()).into_bytes();
    object.extend_from_slice(content);
    object.extend_from_slice(b"\nendstream");
    object
}

#[test]
fn a_truncated_file_is_refused_with_a_reason() {
    let bytes = Pdf::with_pages(&[&lines(&["text"])]).bytes();
    for length in [10, bytes.len() / 2, bytes.len() - 20] {
        let reason = refusal(&bytes[..length]);
        assert!(reason.contains("damaged"), "{reason}");
    }
}

#[test]
fn an_encrypted_file_is_refused_with_what_to_do() {
    let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
    let (owner, user) = ("41".repeat(32), "42".repeat(32));
    pdf.trailer = format!("/Encrypt {} 0 R /ID [<00> <00>]", pdf.objects.len() + 1);
    pdf.add(&format!("<< /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <{owner}> /U <{user}> >>"));
    assert_eq!(refusal(&pdf.bytes()), "the file is encrypted: save a copy without a password");
}

#[test]
fn a_file_without_pages_is_refused() {
    assert_eq!(refusal(&Pdf::with_pages(&[]).bytes()), "the file has no pages, or is damaged");
}

#[test]
fn a_page_tree_that_contains_itself_ends() {
    let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
    pdf.objects[1] = b"<< /Type /Pages /Parent 2 0 R /Kids [2 0 R 4 0 R 2 0 R 4 0 R] /Count 3 >>".to_vec();
    assert_eq!(texts(&read(&pdf.bytes())), [Ok("text")]);
}

#[test]
fn a_form_that_draws_itself_ends() {
    let mut pdf = Pdf::with_pages(&["/X Do BT /F1 10 Tf 50 700 Td (after) Tj ET"]);
    pdf.add_stream("/Subtype /Form /Resources << /XObject << /X 6 0 R >> >>", b"/X Do /X Do");
    assert_eq!(texts(&read(&pdf.bytes())), [Ok("after")]);
}

const CRASHED: &str = "the document reader crashed (out of memory, or nested too deeply)";

#[test]
fn a_page_that_unpacks_to_gigabytes_fails_alone() {
    let bomb = zeros_deflated(8_000_000);
    let twice = deflated(&zeros_deflated(1_000_000));
    let mut pdf = Pdf::with_pages(&[&lines(&["before"]), "", "", "", &lines(&["behind"])]);
    pdf.objects[6] = stream("/Filter /FlateDecode", &bomb);
    pdf.objects[8] = stream("/Filter [/FlateDecode /FlateDecode]", &deflated(&bomb));
    pdf.objects[10] = stream("/Filter [/FlateDecode /FlateDecode]", &twice);
    let content = outcome(DocumentKind::Pdf, &pdf.bytes()).expect("two pages are good");
    let texts = texts(&content);
    assert_eq!((texts[0], texts[4]), (Ok("before"), Ok("behind")));
    for text in &texts[1..4] {
        let reason = text.expect_err("a bomb is no page");
        assert!(reason == CRASHED || reason == "the page unpacks to more than a page can hold", "{reason}");
    }
}

#[test]
fn bombs_where_the_file_keeps_its_objects_and_fonts_are_survived() {
    let bomb = zeros_deflated(8_000_000);
    // A table of contents and a container of objects, both needed to open the file.
    for entries in ["/Type /XRef /W [1 2 1] /Size 100", "/Type /ObjStm /N 5 /First 30"] {
        let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
        pdf.objects.push(stream(&format!("{entries} /Filter /FlateDecode"), &bomb));
        survives(&pdf);
    }
    let mut pdf = Pdf::with_pages(&[&lines(&["text"]), &lines(&["more"])]);
    pdf.objects[2] =
        b"<< /Type /Font /Subtype /Type1 /BaseFont /X /ToUnicode 8 0 R /FontDescriptor << /FontFile 8 0 R >> >>"
            .to_vec();
    pdf.objects.push(stream("/Filter /FlateDecode", &bomb));
    survives(&pdf);
}

#[test]
fn deep_nesting_is_survived_wherever_it_stands() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    for content in [deep("[", "]"), deep("<</A", ">>"), deep("(", ")"), deep("q ", "Q "), deep("BT ", "ET ")] {
        survives(&Pdf::with_pages(&[&content, &lines(&["text"])]));
    }
    let mut objects = Pdf::with_pages(&[&lines(&["text"])]);
    objects.add(&deep("[", "]"));
    objects.objects[2] = deep("<< /Type /Font /A ", " >>").into_bytes();
    survives(&objects);
    // A page tree and an outline a hundred thousand levels deep.
    let mut tree = Pdf::with_pages(&[&lines(&["text"])]);
    let first = tree.objects.len() + 1;
    tree.objects[1] = format!("<< /Type /Pages /Kids [{first} 0 R] /Count 1 >>").into_bytes();
    for level in 0..100_000 {
        tree.add(&format!(
            "<< /Type /Pages /Parent {} 0 R /Kids [{} 0 R] /Count 1 >>",
            first + level - 1,
            first + level + 1
        ));
    }
    tree.add(&page(5));
    survives(&tree);
    let mut outline = Pdf::with_pages(&[&lines(&["text"])]);
    let first = outline.objects.len() + 1;
    outline.objects[0] = format!("<< /Type /Catalog /Pages 2 0 R /Outlines {first} 0 R >>").into_bytes();
    for level in 0..100_000 {
        outline.add(&format!("<< /Title (level) /Dest [4 0 R /Fit] /First {} 0 R >>", first + level + 1));
    }
    let content = outcome(DocumentKind::Pdf, &outline.bytes()).expect("the page is good");
    assert_eq!(texts(&content), [Ok("text")]);
}

#[test]
fn circles_end_in_outlines_names_inheritance_lengths_fonts_and_tables() {
    let circle = |change: &dyn Fn(&mut Pdf)| {
        let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
        change(&mut pdf);
        survives(&pdf);
    };
    circle(&|pdf| {
        pdf.objects[0] = b"<< /Type /Catalog /Pages 2 0 R /Outlines 6 0 R /Names << /Dests 7 0 R >> >>".to_vec();
        pdf.add("<< /Title (a) /First 6 0 R /Next 6 0 R /Parent 6 0 R /Dest (x) >>");
        pdf.add("<< /Kids [7 0 R 7 0 R] /Names [(x) 7 0 R] /D 7 0 R >>");
    });
    circle(&|pdf| {
        pdf.objects[3] = b"<< /Type /Page /Parent 4 0 R /Contents 5 0 R >>".to_vec();
    });
    circle(&|pdf| pdf.objects[4] = b"<< /Length 5 0 R >>\nstream\nBT ET\nendstream".to_vec());
    circle(&|pdf| pdf.objects[2] = b"3 0 R".to_vec());
    circle(&|pdf| {
        pdf.objects[2] =
            b"<< /Type /Font /Subtype /Type0 /DescendantFonts [3 0 R] /Encoding 3 0 R /W [0 3 0 R] >>".to_vec();
    });
    circle(&|pdf| pdf.trailer = "/Prev 9 /XRefStm 9".to_owned());
    let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
    let start = String::from_utf8_lossy(&pdf.bytes()).rfind("xref\n0").expect("it has a table");
    pdf.trailer = format!("/Prev {start:010}");
    survives(&pdf);
}

#[test]
fn a_hundred_thousand_pages_are_refused_with_their_number() {
    let mut pdf = Pdf::with_pages(&[]);
    let kids: String = (4..100_004).map(|id| format!("{id} 0 R ")).collect();
    pdf.objects[1] = format!("<< /Type /Pages /Kids [{kids}] /Count 100000 >>").into_bytes();
    for _ in 0..100_000 {
        pdf.add("<< /Type /Page /Parent 2 0 R >>");
    }
    let reason = outcome(DocumentKind::Pdf, &pdf.bytes()).expect_err("too many");
    assert_eq!(reason, "the file has 100000 pages, more than the 20000 that are allowed");
}

#[test]
fn lengths_and_counts_that_lie_are_survived() {
    for length in ["1073741824", "-1", "99999999999999999999"] {
        let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
        let object = String::from_utf8_lossy(&pdf.objects[4]).into_owned();
        let (_, rest) = object.split_once(" >>").or_else(|| object.split_once(">>")).expect("a dictionary");
        pdf.objects[4] = format!("<< /Length {length} >>{rest}").into_bytes();
        survives(&pdf);
    }
    let mut pdf = Pdf::with_pages(&[&lines(&["text"])]);
    pdf.objects[1] = b"<< /Type /Pages /Kids [4 0 R] /Count 4294967295 >>".to_vec();
    assert_eq!(texts(&outcome(DocumentKind::Pdf, &pdf.bytes()).expect("one page")), [Ok("text")]);
    let sizes = String::from_utf8(Pdf::with_pages(&[&lines(&["text"])]).bytes()).expect("ASCII");
    for (from, to) in
        [("/Size 6", "/Size 4294967295"), ("xref\n0 6", "xref\n0 4294967295"), ("startxref\n", "startxref\n9")]
    {
        let _any = outcome(DocumentKind::Pdf, sizes.replace(from, to).as_bytes());
    }
}

/// A document of that kind whose main part is `main`.
fn office(kind: DocumentKind, main: &[u8], more: &[(&str, &[u8])]) -> Vec<u8> {
    const SPINE: &[u8] =
        b"<package><manifest><item id='a' href='a.xhtml' media-type='application/xhtml+xml'/></manifest>\
        <spine><itemref idref='a'/></spine></package>";
    let parts: &[(&str, &[u8])] = match kind {
        DocumentKind::Word => &[("word/document.xml", main)],
        DocumentKind::Presentation => &[
            ("ppt/presentation.xml", b"<p><sldId id='256' r:id='r1'/></p>"),
            (
                "ppt/_rels/presentation.xml.rels",
                b"<R><Relationship Id='r1' Type='x/slide' Target='slides/slide1.xml'/></R>",
            ),
            ("ppt/slides/slide1.xml", main),
        ],
        _ => &[
            ("META-INF/container.xml", b"<c><rootfile full-path='content.opf'/></c>"),
            ("content.opf", SPINE),
            ("a.xhtml", main),
        ],
    };
    archive(&[parts, more].concat())
}

const ARCHIVES: [DocumentKind; 3] = [DocumentKind::Word, DocumentKind::Presentation, DocumentKind::Epub];

/// Why a document has no text, be it the reason of its only slide.
fn reason_of(outcome: Result<DocumentContent, String>) -> String {
    match outcome {
        Ok(content) => content.pages[0].text.clone().expect_err("it must not be read"),
        Err(reason) => reason,
    }
}

#[test]
fn a_part_that_unpacks_to_gigabytes_is_refused_with_its_name() {
    let zeros = vec![b' '; 65 << 20];
    for kind in ARCHIVES {
        let reason = reason_of(outcome(kind, &office(kind, &zeros, &[])));
        assert!(reason.ends_with("unpacks to more than 64 MiB"), "{reason}");
    }
}

#[test]
fn many_parts_that_are_large_together_are_refused() {
    let footnotes = vec![b' '; 60 << 20];
    let relation = |id: usize| format!("<Relationship Id='r{id}' Type='x/footnotes' Target='notes.xml'/>");
    let relations = format!("<R>{}</R>", (0..100).map(relation).collect::<String>());
    let more: [(&str, &[u8]); 2] =
        [("word/_rels/document.xml.rels", relations.as_bytes()), ("word/notes.xml", &footnotes)];
    let reason = outcome(DocumentKind::Word, &office(DocumentKind::Word, b"<p/>", &more)).expect_err("too much");
    assert!(reason.starts_with("part word/notes.xml unpacks to more than"), "{reason}");
}

#[test]
fn parts_that_point_outside_of_the_archive_reach_nothing() {
    let outside = "../../../../../../etc/passwd";
    let relations = format!(
        "<R><Relationship Id='r1' Type='x/footnotes' Target='{outside}'/>\
         <Relationship Id='r2' Type='x/footnotes' Target='file:///etc/passwd' TargetMode='External'/></R>"
    );
    let text = b"<p><t>text</t></p>";
    let more: [(&str, &[u8]); 3] = [
        ("word/_rels/document.xml.rels", relations.as_bytes()),
        (outside, b"<p><t>from a part of that name, not from the disk</t></p>"),
        ("/etc/shadow", b"x"),
    ];
    let content = outcome(DocumentKind::Word, &office(DocumentKind::Word, text, &more)).expect("the document is good");
    assert_eq!(texts(&content), [Ok("text")]);
    let entity = b"<!DOCTYPE p [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><p><t>so: &x;</t></p>";
    let content = outcome(DocumentKind::Word, &office(DocumentKind::Word, entity, &[])).expect("the document is good");
    assert_eq!(texts(&content), [Ok("so:")]);
}

#[test]
fn a_billion_laughs_are_none() {
    let mut laughs = "<!DOCTYPE x [<!ENTITY a0 'ha'>".to_owned();
    for level in 1..30 {
        laughs.push_str(&format!("<!ENTITY a{level} '{}'>", format!("&a{};", level - 1).repeat(10)));
    }
    laughs.push_str("]><p><t>no &a29; laughing</t></p>");
    for kind in ARCHIVES {
        let content = outcome(kind, &office(kind, laughs.as_bytes(), &[])).expect("nothing is expanded");
        let text = content.pages[0].text.as_deref().expect("it has text");
        assert!(text.starts_with("no ") && text.ends_with("laughing") && text.len() < 10_000, "{} bytes", text.len());
    }
}

#[test]
fn elements_nested_without_end_are_survived() {
    let deep = format!("{}<t>text</t>", "<p>".repeat(2_000_000));
    for kind in ARCHIVES {
        let _any = outcome(kind, &office(kind, deep.as_bytes(), &[]));
    }
    let attributes: String = (0..400_000).map(|number| format!(" a{number}='x'")).collect();
    let wide = format!("<pStyle{attributes}/><p><t>text</t></p>");
    assert_eq!(
        texts(&outcome(DocumentKind::Word, &office(DocumentKind::Word, wide.as_bytes(), &[])).expect("it is read")),
        [Ok("text")]
    );
    let divs = "<div>".repeat(1_000_000);
    assert_eq!(
        outcome(DocumentKind::Html, divs.as_bytes()).expect_err("too deep"),
        "the elements of the page are nested too deeply"
    );
    let lists = format!("{{\"cells\": {}", "[".repeat(1_000_000));
    assert!(outcome(DocumentKind::Notebook, lists.as_bytes()).expect_err("too deep").starts_with("not a notebook"));
}

#[test]
fn cut_off_and_damaged_archives_are_refused() {
    let good = office(DocumentKind::Word, b"<p><t>text</t></p>", &[]);
    for length in [4, good.len() / 2, good.len() - 10] {
        let reason = outcome(DocumentKind::Word, &good[..length]).expect_err("it is cut off");
        assert_eq!(reason, "the file is damaged or cut off: it is no ZIP archive");
    }
    let mut seed = 3_u64;
    for round in 0..30 {
        let kind = ARCHIVES[round % ARCHIVES.len()];
        let mut bad = office(kind, b"<p><t>text</t></p>", &[]);
        for _ in 0..6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % bad.len();
            bad[at] = (seed >> 20).to_le_bytes()[0];
        }
        let _any = outcome(kind, &bad);
    }
}

#[test]
fn a_document_with_a_password_says_what_to_do() {
    let encrypted = [b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".as_slice(), &[0; 600]].concat();
    for kind in [DocumentKind::Word, DocumentKind::Presentation] {
        let reason = outcome(kind, &encrypted).expect_err("it cannot be read");
        assert_eq!(
            reason,
            "the file has a password or is in an older format: save a copy without, as .docx, .pptx or PDF"
        );
    }
}

/// Read in the program itself.
#[test]
fn a_line_of_a_hundred_megabytes_and_bytes_that_are_no_text_are_no_harm() {
    let files = FileExtractor::new(512 << 20).with_reader(reader(tight()));
    let large = file_named("large.txt", &b"word ".repeat(20 << 20));
    let started = Instant::now();
    let reason = files.extract(&large.path).expect_err("too much for one text").to_string();
    assert_eq!(reason, "the file has 100 MiB of text, more than the 32 MiB that are allowed");
    assert!(started.elapsed() < IN_TIME);
    fs::write(&large.path, b"caf\xE9, \xC3\x28 \xFF\xFE and on").expect("the folder is ours");
    let content = files.extract(&large.path).expect("every byte means something in windows-1252");
    assert_eq!(texts(&content), [Ok("café, Ã( ÿþ and on")]);
}

#[test]
fn random_damage_never_reaches_the_parent() {
    let good = Pdf::with_pages(&[&lines(&["one (two)", "three"]), &lines(&["four"])]).bytes();
    let mut seed = 7_u64;
    for _ in 0..40 {
        let mut bad = good.clone();
        for _ in 0..8 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = 9 + (seed >> 33) as usize % (bad.len() - 9);
            bad[at] = (seed >> 20).to_le_bytes()[0];
        }
        let _any = outcome(DocumentKind::Pdf, &bad);
    }
}
