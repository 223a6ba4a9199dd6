//! What the tests share: the reader's program, files, and writers of documents.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::{DocumentContent, DocumentKind};
use mentor_engines::extract::reader::{DocumentReader, ReaderLimits};
use tempfile::TempDir;

/// The example program that `cargo test` builds with the tests: beside them, or in the target folder where crates are built in
/// another one.
pub fn reader_program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let beside = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
    let profile = beside.file_name().expect("the folder of a profile has a name");
    let apart = std::env::var_os("CARGO_TARGET_DIR").map(|target| Path::new(&target).join(profile));
    let name = format!("document_reader{}", std::env::consts::EXE_SUFFIX);
    let programs = apart.iter().map(PathBuf::as_path).chain([beside]).map(|folder| folder.join("examples").join(&name));
    let program = programs.into_iter().find(|program| program.exists());
    program.expect("the example document_reader is built: `cargo build --examples` does it")
}

pub fn reader(limits: ReaderLimits) -> DocumentReader {
    DocumentReader {
        program: reader_program(),
        arguments: Vec::new(),
        limits,
        recognition: None,
        cancel: CancelToken::default(),
    }
}

/// Small enough that a bomb goes off quickly.
pub fn tight() -> ReaderLimits {
    ReaderLimits { memory_bytes: 512 << 20, page_time: Duration::from_secs(10), ..ReaderLimits::default() }
}

pub struct File {
    _folder: TempDir,
    pub path: PathBuf,
}

pub fn file(bytes: &[u8]) -> File {
    file_named("file", bytes)
}

pub fn file_named(name: &str, bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("the folder is ours");
    File { _folder: folder, path }
}

/// Of a PDF file.
pub fn read(bytes: &[u8]) -> DocumentContent {
    read_as(DocumentKind::Pdf, bytes)
}

pub fn read_as(kind: DocumentKind, bytes: &[u8]) -> DocumentContent {
    reader(tight()).read(kind, &file(bytes).path).expect("the file can be read")
}

/// Of a PDF file.
pub fn refusal(bytes: &[u8]) -> String {
    refusal_as(DocumentKind::Pdf, bytes)
}

pub fn refusal_as(kind: DocumentKind, bytes: &[u8]) -> String {
    reader(tight()).read(kind, &file(bytes).path).expect_err("the file must be refused").to_string()
}

pub fn texts(content: &DocumentContent) -> Vec<Result<&str, &str>> {
    content.pages.iter().map(|page| page.text.as_deref().map_err(String::as_str)).collect()
}

/// Writes PDF files object by object, with a correct table of their places.
#[derive(Default)]
pub struct Pdf {
    pub objects: Vec<Vec<u8>>,
    pub trailer: String,
}

impl Pdf {
    /// Objects 1 and 2 are the catalog and the page tree, 3 a font.
    pub fn with_pages(contents: &[&str]) -> Self {
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

    pub fn add(&mut self, object: &str) {
        self.objects.push(object.as_bytes().to_vec());
    }

    pub fn add_stream(&mut self, entries: &str, content: &[u8]) {
        let mut object = format!("<< /Length {} {entries} >>\nstream\n", content.len()).into_bytes();
        object.extend_from_slice(content);
        object.extend_from_slice(b"\nendstream");
        self.objects.push(object);
    }

    pub fn bytes(&self) -> Vec<u8> {
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

pub fn page(content: usize) -> String {
    let resources = "<< /Font << /F1 3 0 R >> /XObject << /X 6 0 R >> >>";
    format!("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources {resources} /Contents {content} 0 R >>")
}

/// A page with each line at its height.
pub fn lines(lines: &[&str]) -> String {
    let show = |(row, line): (usize, &&str)| format!("BT /F1 10 Tf 50 {} Td ({line}) Tj ET\n", 700 - 12 * row);
    lines.iter().enumerate().map(show).collect()
}

/// A zlib stream of zeros: stored blocks would be as long as they say, so one fixed-code block repeats a run of 258.
pub fn zeros_deflated(runs: usize) -> Vec<u8> {
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

/// A ZIP archive of these parts, all deflated.
pub fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("memory takes everything");
        zip.write_all(content).expect("memory takes everything");
    }
    zip.finish().expect("memory takes everything").into_inner()
}
