//! An opened PDF file, read page by page.

use std::collections::HashSet;

use pdf_extract::content::Content;
use pdf_extract::{Dictionary, Document, Error, Object, ObjectId};

use super::fonts::entry;
use super::operators::{Reduced, reduce};
use super::stage::{Programs, Stage};
use super::unpack::{Packed, unpack};
use super::{outline, paragraphs};
use crate::extract::reader::{Bookmark, NoText, Pages, quiet};

/// Ancestors of a page that are asked for what it inherits; also what ends a page tree that is its own ancestor.
const MAX_TREE_DEPTH: usize = 64;
const HEADER: &[u8] = b"%PDF-";
/// Readers accept the header anywhere in the first kilobyte.
const HEADER_BYTES: usize = 1024;
/// Part of a page that pictures cover when it is a scan; the sum of strips and tiles.
const SCAN_COVERS: f64 = 0.5;
/// Letters that a scanner, a program or a shop may have stamped on a scan; a page with more has text of its own.
const STAMP_LETTERS: usize = 25;
/// Part of a page below which pictures are ornaments.
const ORNAMENT_COVERS: f64 = 0.02;
/// Shapes on a page without text from which on they may be letters.
const MANY_SHAPES: usize = 100;
/// Most that a page is drawn by; a dense one has 100 KB, a detailed map some MB.
const MAX_CONTENT_BYTES: usize = 64 << 20;
const TOO_LARGE: &str = "the page unpacks to more than a page can hold";
const UNKNOWN_PACKING: &str = "no text: the page is packed in a way that cannot be read";
/// Area of a page that does not say how large it is, in points: US letter.
const USUAL_AREA: f64 = 612.0 * 792.0;

/// A file that could be opened: its pages, and the stage on which pdf-extract sees them one at a time.
pub(in crate::extract) struct Book {
    document: Document,
    pages: Vec<ObjectId>,
    outline: Vec<Bookmark>,
    stage: Stage,
}

impl Book {
    /// Opens a file's bytes, decrypted with the empty user password as readers do.
    ///
    /// # Errors
    /// Why the file as a whole cannot be read, for people.
    pub fn open(bytes: Vec<u8>) -> Result<Self, String> {
        if !bytes[..bytes.len().min(HEADER_BYTES)].windows(HEADER.len()).any(|window| window == HEADER) {
            return Err("not a PDF file".to_owned());
        }
        let document = Document::load_mem(&bytes).map_err(|error| refusal(&error))?;
        if document.is_encrypted() {
            return Err("the file is encrypted: save a copy without a password".to_owned());
        }
        let pages = pages_of(&document);
        if pages.is_empty() {
            return Err("the file has no pages, or is damaged".to_owned());
        }
        // A book without its outline is still a book.
        let outline = quiet(|| outline::bookmarks(&document, &pages)).unwrap_or_default();
        Ok(Self { document, pages, outline, stage: Stage::new() })
    }

    fn read(&mut self, number: u32) -> Result<String, NoText> {
        let index = (number as usize).checked_sub(1).ok_or("pages are counted from 1")?;
        let id = *self.pages.get(index).ok_or("there is no such page")?;
        let page = self.document.get_dictionary(id).map_err(|_| "the page is damaged")?;
        let content = self.content(id)?;
        let empty = Dictionary::new();
        let resources =
            inherited(&self.document, page, b"Resources").and_then(|own| own.as_dict().ok()).unwrap_or(&empty);
        self.stage.begin_page();
        let mut reduced = reduce(&self.document, &content, resources, &mut self.stage);
        let covered = reduced.image_area / area(&self.document, page);
        if !reduced.shows_text {
            return without_text(&reduced, covered);
        }
        let performance = self.stage.perform(&Content { operations: std::mem::take(&mut reduced.operations) })?;
        let text = paragraphs::join(&performance.lines);
        let letters = text.chars().filter(|c| c.is_alphanumeric()).count();
        let is_scan = covered >= SCAN_COVERS;
        if letters >= STAMP_LETTERS || (letters > 0 && !is_scan) {
            Ok(text)
        } else if letters == 0 && performance.unmapped_glyphs > 0 {
            Err(recognisable("no text: the page's fonts do not say which letters they show"))
        } else {
            without_text(&reduced, covered)
        }
    }
}

impl Book {
    /// What the page is drawn by, unpacked.
    fn content(&self, page: ObjectId) -> Result<Vec<u8>, NoText> {
        let mut content = Vec::new();
        for id in self.document.get_page_contents(page) {
            let Ok(stream) = self.document.get_object(id).and_then(Object::as_stream) else { continue };
            let unpacked = unpack(stream).map_err(|packed| match packed {
                Packed::TooLarge => TOO_LARGE.into(),
                Packed::Unknown => recognisable(UNKNOWN_PACKING),
            })?;
            if content.len() + unpacked.len() > MAX_CONTENT_BYTES {
                return Err(TOO_LARGE.into());
            }
            content.extend(unpacked);
            content.push(b'\n');
        }
        Ok(content)
    }
}

impl Pages for Book {
    fn count(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    fn take_outline(&mut self) -> Vec<Bookmark> {
        std::mem::take(&mut self.outline)
    }

    /// A page at which pdf-extract panics is tried again without its font programs.
    fn page(&mut self, number: u32) -> Result<String, NoText> {
        match quiet(|| self.read(number)) {
            Ok(result) => result,
            Err(panic) => {
                let undecodable = format!("the page cannot be decoded ({panic})");
                self.stage.clear_fonts(Programs::Dropped);
                let second = quiet(|| self.read(number)).unwrap_or_else(|_| Err(recognisable(&undecodable)));
                self.stage.clear_fonts(Programs::Kept);
                second
            }
        }
    }
}

/// A page that shows no text, or hardly any: a scan, letters drawn as shapes, or blank.
fn without_text(page: &Reduced, covered: f64) -> Result<String, NoText> {
    if page.lacks_form {
        Err(recognisable(UNKNOWN_PACKING))
    } else if covered >= ORNAMENT_COVERS {
        Err(recognisable("no text: the page looks scanned"))
    } else if page.shapes >= MANY_SHAPES {
        Err(recognisable("no text: the page is a drawing, or its letters are"))
    } else {
        Ok(String::new())
    }
}

fn recognisable(reason: &str) -> NoText {
    NoText { reason: reason.to_owned(), recognisable: true }
}

/// Of a page, in the units of its content.
fn area(document: &Document, page: &Dictionary) -> f64 {
    let corners = inherited(document, page, b"MediaBox").and_then(|corners| corners.as_array().ok());
    let corner = |corner: &Object| document.dereference(corner).ok().and_then(|(_, corner)| corner.as_float().ok());
    let corners: Vec<f64> = corners.into_iter().flatten().filter_map(corner).map(f64::from).collect();
    match corners[..] {
        [left, bottom, right, top] if left != right && bottom != top => ((right - left) * (top - bottom)).abs(),
        _ => USUAL_AREA,
    }
}

/// The pages in order. lopdf's own walk loses every page of a tree that contains itself, and nodes without a type.
fn pages_of(document: &Document) -> Vec<ObjectId> {
    let root = document.catalog().and_then(|catalog| catalog.get(b"Pages")).and_then(Object::as_reference);
    let mut open: Vec<ObjectId> = root.into_iter().collect();
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let mut pages = Vec::new();
    while let Some(id) = open.pop() {
        let Some(node) = document.get_dictionary(id).ok().filter(|_| seen.insert(id)) else { continue };
        match entry(document, node, b"Kids").and_then(|kids| kids.as_array().ok()) {
            Some(kids) => open.extend(kids.iter().rev().filter_map(|kid| kid.as_reference().ok())),
            None if node.has_type(b"Pages") => {}
            None => pages.push(id),
        }
    }
    pages
}

/// What a page has under `key`, or the nearest ancestor.
fn inherited<'d>(document: &'d Document, page: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
    let mut node = page;
    for _ in 0..MAX_TREE_DEPTH {
        if let Some(found) = entry(document, node, key) {
            return Some(found);
        }
        node = entry(document, node, b"Parent")?.as_dict().ok()?;
    }
    None
}

fn refusal(error: &Error) -> String {
    match error {
        Error::Decryption(_) | Error::UnsupportedSecurityHandler(_) | Error::InvalidPassword => {
            "the file is encrypted: save a copy without a password".to_owned()
        }
        Error::Parse(_) | Error::Xref(_) | Error::InvalidOffset(_) | Error::MissingXrefEntry => {
            "the file is damaged or cut off: its table of contents for readers (xref) cannot be found".to_owned()
        }
        _ => "the file is damaged".to_owned(),
    }
}
