//! An opened PDF file, read page by page.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::content::Content;
use pdf_extract::{Dictionary, Document, Error, Object, ObjectId, Stream, output_doc_page};

use super::fonts::{self, entry};
use super::lines::LineCollector;
use super::operators::{FontShelf, reduce};
use super::paragraphs;

/// Ancestors of a page that are asked for what it inherits; also what ends a page tree that is its own ancestor.
const MAX_TREE_DEPTH: usize = 64;
const CATALOG: ObjectId = (1, 0);
const PAGE_TREE: ObjectId = (2, 0);
const PAGE: ObjectId = (3, 0);
const CONTENT: ObjectId = (4, 0);
const FIRST_FONT: u32 = 5;
/// Longest reason taken over from another crate, in characters.
const MAX_REASON_CHARS: usize = 120;

/// A file that could be opened: its pages, and the stage on which pdf-extract sees them one at a time.
pub(super) struct Book {
    document: Document,
    pages: Vec<ObjectId>,
    stage: Stage,
}

impl Book {
    /// Opens a file's bytes, decrypted with the empty user password as readers do.
    ///
    /// # Errors
    /// Why the file as a whole cannot be read, for people.
    pub fn open(bytes: &[u8]) -> Result<Self, String> {
        let document = Document::load_mem(bytes).map_err(|error| refusal(&error))?;
        if document.is_encrypted() {
            return Err("the file is encrypted: save a copy without a password".to_owned());
        }
        let pages = pages_of(&document);
        if pages.is_empty() {
            return Err("the file has no pages, or is damaged".to_owned());
        }
        Ok(Self { document, pages, stage: Stage::new() })
    }

    /// How many pages there are.
    pub fn pages(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    /// The text of a page, by its number from 1; empty when the page is blank.
    ///
    /// # Errors
    /// Why the page gives no text, for people. Never panics.
    pub fn page(&mut self, number: u32) -> Result<String, String> {
        match quiet(|| self.read(number)) {
            Ok(result) => result,
            Err(first) => {
                self.stage.drop_font_programs();
                quiet(|| self.read(number)).unwrap_or(Err(first))
            }
        }
    }

    fn read(&mut self, number: u32) -> Result<String, String> {
        let id = *self.pages.get(number as usize - 1).ok_or("there is no such page")?;
        let page = self.document.get_dictionary(id).map_err(|_| "the page is damaged")?;
        let content = self.document.get_page_content(id).map_err(|_| "the content of the page is damaged")?;
        let empty = Dictionary::new();
        let resources = inherited(&self.document, page, b"Resources").unwrap_or(&empty);
        self.stage.begin_page();
        let reduced = reduce(&self.document, &content, resources, &mut self.stage);
        if !reduced.shows_text {
            return without_text(reduced.draws_image);
        }
        let page = self.stage.perform(&Content { operations: reduced.operations })?;
        let text = paragraphs::join(&page.lines);
        if !text.is_empty() {
            Ok(text)
        } else if page.unmapped_glyphs > 0 {
            Err("the page's fonts do not say which letters they show (try text recognition)".to_owned())
        } else {
            without_text(reduced.draws_image)
        }
    }
}

fn without_text(draws_image: bool) -> Result<String, String> {
    if draws_image { Err("no text on this page, only an image (scanned?)".to_owned()) } else { Ok(String::new()) }
}

/// A document of one page that holds nothing but text operators and mended fonts: all that pdf-extract gets to see.
struct Stage {
    document: Document,
    /// Fonts that stand as objects of their own in the file, by their id there.
    placed: HashMap<ObjectId, ObjectId>,
    /// Fonts of the page on the stage.
    on_page: Dictionary,
}

/// What a page showed.
struct Performance {
    lines: Vec<super::lines::Line>,
    unmapped_glyphs: usize,
}

impl Stage {
    fn new() -> Self {
        let mut document = Document::new();
        let mut catalog = Dictionary::new();
        catalog.set("Pages", PAGE_TREE);
        let mut tree = Dictionary::new();
        tree.set("Kids", vec![Object::Reference(PAGE)]);
        document.objects.insert(CATALOG, catalog.into());
        document.objects.insert(PAGE_TREE, tree.into());
        document.trailer.set("Root", CATALOG);
        document.max_id = FIRST_FONT - 1;
        Self { document, placed: HashMap::new(), on_page: Dictionary::new() }
    }

    fn begin_page(&mut self) {
        self.on_page = Dictionary::new();
    }

    fn perform(&mut self, content: &Content) -> Result<Performance, String> {
        let content = self.with_default_font(content).map_err(|_| "the content of the page is damaged")?;
        let mut resources = Dictionary::new();
        resources.set("Font", std::mem::take(&mut self.on_page));
        let mut page = Dictionary::new();
        page.set("Type", Object::Name(b"Page".to_vec()));
        page.set("MediaBox", vec![Object::Integer(0); 4]);
        page.set("Resources", resources);
        page.set("Contents", CONTENT);
        self.document.objects.insert(PAGE, page.into());
        self.document.objects.insert(CONTENT, Stream::new(Dictionary::new(), content).into());
        let mut collector = LineCollector::default();
        output_doc_page(&self.document, &mut collector, 1).map_err(|_| "the page holds more text than a page can")?;
        let unmapped_glyphs = collector.unmapped_glyphs();
        Ok(Performance { lines: collector.finish(), unmapped_glyphs })
    }

    /// pdf-extract panics on text without a font.
    fn with_default_font(&mut self, content: &Content) -> Result<Vec<u8>, Error> {
        let default = self.place_new(fonts::default_font());
        let mut encoded = b"/".to_vec();
        encoded.extend_from_slice(&default);
        encoded.extend_from_slice(b" 1 Tf\n");
        encoded.extend(content.encode()?);
        Ok(encoded)
    }

    fn place_new(&mut self, font: Dictionary) -> Vec<u8> {
        let id = self.document.add_object(font);
        self.show(id)
    }

    fn show(&mut self, id: ObjectId) -> Vec<u8> {
        let name = format!("F{}", id.0).into_bytes();
        self.on_page.set(name.clone(), id);
        name
    }

    fn drop_font_programs(&mut self) {
        for id in self.placed.values() {
            if let Ok(font) = self.document.get_dictionary_mut(*id) {
                fonts::without_program(font);
            }
        }
    }
}

impl FontShelf for Stage {
    fn place(&mut self, document: &Document, font: &Object) -> Vec<u8> {
        let Ok((id, Object::Dictionary(font))) = document.dereference(font) else {
            return self.place_new(fonts::default_font());
        };
        if let Some(placed) = id.and_then(|id| self.placed.get(&id)) {
            return self.show(*placed);
        }
        let placed = self.document.add_object(fonts::mended(document, font));
        if let Some(id) = id {
            self.placed.insert(id, placed);
        }
        self.show(placed)
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

/// A page's own dictionary under `key`, or the nearest ancestor's.
fn inherited<'d>(document: &'d Document, page: &'d Dictionary, key: &[u8]) -> Option<&'d Dictionary> {
    let mut node = page;
    for _ in 0..MAX_TREE_DEPTH {
        if let Some(found) = entry(document, node, key).and_then(|object| object.as_dict().ok()) {
            return Some(found);
        }
        node = entry(document, node, b"Parent")?.as_dict().ok()?;
    }
    None
}

/// Turns a panic into a reason.
fn quiet<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        let line = message.lines().next().unwrap_or_default();
        let short: String = line.chars().filter(|c| !c.is_control()).take(MAX_REASON_CHARS).collect();
        format!("the page cannot be decoded ({short})")
    })
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
