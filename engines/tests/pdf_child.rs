//! PDF files through a real child process: good ones, odd ones, and ones made to do harm. Whatever the file, the parent
//! lives and has a reason.

#![cfg(feature = "pdf")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mentor_actors::domain::{DocumentContent, DocumentKind, PageText};
use mentor_actors::ports::Extractor;
use mentor_engines::extract::FileExtractor;
use mentor_engines::extract::pdf::{PdfExtractor, PdfLimits};
use tempfile::TempDir;

/// The example program that `cargo test` builds with the tests: beside them, or in the target folder where crates are built in
/// another one.
fn child_program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let beside = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
    let profile = beside.file_name().expect("the folder of a profile has a name");
    let apart = std::env::var_os("CARGO_TARGET_DIR").map(|target| Path::new(&target).join(profile));
    let name = format!("pdf_child{}", std::env::consts::EXE_SUFFIX);
    let programs = apart.iter().map(PathBuf::as_path).chain([beside]).map(|folder| folder.join("examples").join(&name));
    let program = programs.into_iter().find(|program| program.exists());
    program.expect("the example pdf_child is built: `cargo build --examples` does it")
}

fn extractor(limits: PdfLimits) -> PdfExtractor {
    PdfExtractor { program: child_program(), arguments: Vec::new(), limits }
}

/// Small enough that a bomb goes off quickly.
fn tight() -> PdfLimits {
    PdfLimits { memory_bytes: 256 << 20, page_time: Duration::from_secs(10), ..PdfLimits::default() }
}

struct File {
    _folder: TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("file.pdf");
    fs::write(&path, bytes).expect("the folder is ours");
    File { _folder: folder, path }
}

fn read(bytes: &[u8]) -> DocumentContent {
    extractor(tight()).extract(&file(bytes).path).expect("the file can be read")
}

fn refusal(bytes: &[u8]) -> String {
    extractor(tight()).extract(&file(bytes).path).expect_err("the file must be refused").to_string()
}

fn texts(content: &DocumentContent) -> Vec<Result<&str, &str>> {
    content.pages.iter().map(|page| page.text.as_deref().map_err(String::as_str)).collect()
}

/// Writes PDF files object by object, with a correct table of their places.
#[derive(Default)]
struct Pdf {
    objects: Vec<Vec<u8>>,
    trailer: String,
}

impl Pdf {
    /// Objects 1 and 2 are the catalog and the page tree, 3 a font.
    fn with_pages(contents: &[&str]) -> Self {
        let mut pdf = Self::default();
        let kids: Vec<_> = (0..contents.len()).map(|page| format!("{} 0 R", 4 + 2 * page)).collect();
        pdf.add("<< /Type /Catalog /Pages 2 0 R >>");
        pdf.add(&format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), kids.len()));
        pdf.add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>");
        for content in contents {
            let id = pdf.objects.len() + 1;
            pdf.add(&page(id + 1));
            pdf.add_stream("", content.as_bytes());
        }
        pdf
    }

    fn add(&mut self, object: &str) {
        self.objects.push(object.as_bytes().to_vec());
    }

    fn add_stream(&mut self, entries: &str, content: &[u8]) {
        let mut object = format!("<< /Length {} {entries} >>\nstream\n", content.len()).into_bytes();
        object.extend_from_slice(content);
        object.extend_from_slice(b"\nendstream");
        self.objects.push(object);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"%PDF-1.5\n".to_vec();
        let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", self.objects.len() + 1);
        for (index, object) in self.objects.iter().enumerate() {
            table.push_str(&format!("{:010} 00000 n \n", bytes.len()));
            bytes.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
            bytes.extend_from_slice(object);
            bytes.extend_from_slice(b"\nendobj\n");
        }
        let (start, size, more) = (bytes.len(), self.objects.len() + 1, &self.trailer);
        write!(bytes, "{table}trailer\n<< /Size {size} /Root 1 0 R {more} >>\nstartxref\n{start}\n%%EOF\n")
            .expect("memory takes everything");
        bytes
    }
}

fn page(content: usize) -> String {
    let resources = "<< /Font << /F1 3 0 R >> /XObject << /X 6 0 R >> >>";
    format!("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources {resources} /Contents {content} 0 R >>")
}

/// A page with each line at its height.
fn lines(lines: &[&str]) -> String {
    let show = |(row, line): (usize, &&str)| format!("BT /F1 10 Tf 50 {} Td ({line}) Tj ET\n", 700 - 12 * row);
    lines.iter().enumerate().map(show).collect()
}

/// A zlib stream of zeros: stored blocks would be as long as they say, so one fixed-code block repeats a run of 258.
fn zeros_deflated(runs: usize) -> Vec<u8> {
    struct Bits(Vec<u8>, u32, u32);
    impl Bits {
        fn put(&mut self, value: u32, bits: u32) {
            self.1 |= value << self.2;
            self.2 += bits;
            while self.2 >= 8 {
                self.0.push(self.1.to_le_bytes()[0]);
                self.1 >>= 8;
                self.2 -= 8;
            }
        }
    }
    let mut bits = Bits(vec![0x78, 0x9C], 0, 0);
    bits.put(0b011, 3); // The last block, with fixed codes.
    bits.put(0b0000_1100, 8); // The literal 0, its code 00110000 with the first bit first.
    for _ in 0..runs {
        bits.put(0b1010_0011, 8); // Length 258 (symbol 285, code 11000101).
        bits.put(0, 5); // Distance 1.
    }
    bits.put(0, 7 + 7); // End of block, and up to a whole byte.
    bits.0
}

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
fn a_page_that_is_only_an_image_says_so() {
    let mut pdf = Pdf::with_pages(&["/X Do"]);
    pdf.add_stream("/Type /XObject /Subtype /Image /Width 1 /Height 1", b"\0");
    assert_eq!(texts(&read(&pdf.bytes())), [Err("no text on this page, only an image (scanned?)")]);
}

#[test]
fn a_font_without_a_unicode_map_is_the_reason_for_an_empty_page() {
    let mut pdf = Pdf::with_pages(&["BT /F1 10 Tf 50 700 Td <00010002> Tj ET"]);
    pdf.objects[2] =
        b"<< /Type /Font /Subtype /Type0 /Encoding /Identity-H /DescendantFonts [<< /Subtype /CIDFontType2 >>] >>"
            .to_vec();
    let content = read(&pdf.bytes());
    let reason = "the page's fonts do not say which letters they show (try text recognition)";
    assert_eq!(texts(&content), [Err(reason)]);
}

#[test]
fn what_is_no_pdf_is_refused_before_any_child_starts() {
    assert_eq!(refusal(b"hello"), "not a PDF file");
    let files = FileExtractor::new(1 << 20).with_pdf(extractor(tight()));
    assert_eq!(files.extract(&file(b"").path).expect_err("refused").to_string(), "the file is empty");
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

#[test]
fn a_page_that_unpacks_to_gigabytes_fails_alone() {
    let mut pdf = Pdf::with_pages(&[&lines(&["before"]), "", &lines(&["behind"])]);
    let bomb = zeros_deflated(8_000_000);
    let mut object = format!("<< /Length {} /Filter /FlateDecode >>\nstream\n", bomb.len()).into_bytes();
    object.extend_from_slice(&bomb);
    object.extend_from_slice(b"\nendstream");
    pdf.objects[6] = object;
    let content = read(&pdf.bytes());
    let texts = texts(&content);
    assert_eq!((texts[0], texts[2]), (Ok("before"), Ok("behind")));
    assert_eq!(texts[1], Err("the PDF reader crashed (out of memory, or nested too deeply)"));
}

#[test]
fn a_child_that_says_nothing_is_stopped_in_time_even_if_another_process_holds_its_output() {
    let limits = PdfLimits { page_time: Duration::from_millis(200), ..tight() };
    let silent =
        PdfExtractor { program: "/bin/sh".into(), arguments: vec!["-c".into(), "sleep 20; true".into()], limits };
    let started = Instant::now();
    let reason = silent.extract(&file(&Pdf::with_pages(&[""]).bytes()).path).expect_err("must be stopped").to_string();
    assert_eq!(reason, "opening the file took too long (damaged, or made to do so)");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_child_that_writes_nonsense_or_is_missing_is_an_error_and_no_more() {
    let bytes = Pdf::with_pages(&[""]).bytes();
    let run = |program: &str, arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let extractor = PdfExtractor { program: program.into(), arguments, limits: tight() };
        extractor.extract(&file(&bytes).path).expect_err("no child, no text").to_string()
    };
    assert_eq!(run("/bin/echo", &["nonsense"]), "the PDF reader wrote something that is no page");
    assert_eq!(run("/bin/false", &[]), "the PDF reader failed");
    assert_eq!(run("/nowhere/at/all", &[]), "the PDF reader cannot be started: entity not found");
}

#[test]
fn more_pages_or_text_than_allowed_are_refused_or_reported() {
    let bytes = Pdf::with_pages(&["", "", ""]).bytes();
    let few = PdfLimits { max_pages: 2, ..tight() };
    let reason = extractor(few).extract(&file(&bytes).path).expect_err("too many pages").to_string();
    assert_eq!(reason, "the file has 3 pages, more than the 2 that are allowed");
    let little = PdfLimits { max_output_bytes: 60, ..tight() };
    let pages = Pdf::with_pages(&[&lines(&["one"]), &lines(&["a longer line than fits"])]).bytes();
    let content = extractor(little).extract(&file(&pages).path).expect("the first page fits");
    assert_eq!(texts(&content), [Ok("one"), Err("the file holds more text than a book can")]);
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
        // Any outcome is right that is an outcome.
        if let Err(reason) = extractor(tight()).extract(&file(&bad).path) {
            assert!(!reason.to_string().contains('\n'));
        }
    }
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
        let content = extractor(PdfLimits::default()).extract(&book).expect("a book can be read");
        let failed: Vec<_> = content.pages.iter().filter(|page| page.text.is_err()).collect();
        assert!(failed.is_empty(), "{}: {failed:?}", book.display());
    }
}
