//! An opened PDF file, read page by page.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::content::Content;
use pdf_extract::{Dictionary, Document, Error, Object, ObjectId};

use super::fonts::entry;
use super::operators::reduce;
use super::protocol::Bookmark;
use super::stage::Stage;
use super::{outline, paragraphs};

/// Ancestors of a page that are asked for what it inherits; also what ends a page tree that is its own ancestor.
const MAX_TREE_DEPTH: usize = 64;
/// Longest reason taken over from another crate, in characters.
const MAX_REASON_CHARS: usize = 120;

/// A file that could be opened: its pages, and the stage on which pdf-extract sees them one at a time.
pub(super) struct Book {
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
    pub fn open(bytes: &[u8]) -> Result<Self, String> {
        let document = Document::load_mem(bytes).map_err(|error| refusal(&error))?;
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

    /// How many pages there are.
    pub fn pages(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    /// Takes the outline out, by page.
    pub fn take_outline(&mut self) -> Vec<Bookmark> {
        std::mem::take(&mut self.outline)
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
        let index = (number as usize).checked_sub(1).ok_or("pages are counted from 1")?;
        let id = *self.pages.get(index).ok_or("there is no such page")?;
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
