//! What pdf-extract gets to see: a document of one page that holds nothing but text operators and mended fonts.

use std::collections::HashMap;

use pdf_extract::content::Content;
use pdf_extract::{Dictionary, Document, Error, Object, ObjectId, Stream, output_doc_page};

use super::fonts;
use super::lines::{Line, LineCollector};
use super::operators::FontShelf;

const CATALOG: ObjectId = (1, 0);
const PAGE_TREE: ObjectId = (2, 0);
const PAGE: ObjectId = (3, 0);
const CONTENT: ObjectId = (4, 0);
const FIRST_FONT: u32 = 5;

/// A document of one page at a time.
pub(super) struct Stage {
    document: Document,
    /// Fonts that stand as objects of their own in the file, by their id there.
    placed: HashMap<ObjectId, ObjectId>,
    /// Fonts of the page on the stage.
    on_page: Dictionary,
    /// Objects that leave with the page: fonts that stand in its resources, not as objects of their own.
    passing: Vec<ObjectId>,
    programs: Programs,
}

/// What becomes of the programs embedded in fonts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Programs {
    Kept,
    /// For a second try: some are beyond pdf-extract, and most pages can be read without them.
    Dropped,
}

/// What a page showed.
pub(super) struct Performance {
    /// Its lines, in the order in which it draws them.
    pub lines: Vec<Line>,
    /// Glyphs of which the fonts do not say what they mean.
    pub unmapped_glyphs: usize,
}

impl Stage {
    pub fn new() -> Self {
        let mut document = Document::new();
        let mut catalog = Dictionary::new();
        catalog.set("Pages", PAGE_TREE);
        let mut tree = Dictionary::new();
        tree.set("Kids", vec![Object::Reference(PAGE)]);
        document.objects.insert(CATALOG, catalog.into());
        document.objects.insert(PAGE_TREE, tree.into());
        document.trailer.set("Root", CATALOG);
        document.max_id = FIRST_FONT - 1;
        let (placed, on_page, passing) = (HashMap::new(), Dictionary::new(), Vec::new());
        Self { document, placed, on_page, passing, programs: Programs::Kept }
    }

    /// Clears the stage for the fonts of another page.
    pub fn begin_page(&mut self) {
        self.on_page = Dictionary::new();
        for id in self.passing.drain(..) {
            self.document.objects.remove(&id);
        }
    }

    /// Shows the page whose fonts were placed since [`Self::begin_page`].
    ///
    /// # Errors
    /// Why it cannot be shown, for people. May panic where pdf-extract does.
    pub fn perform(&mut self, content: &Content) -> Result<Performance, String> {
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
        let default = self.place_passing(fonts::default_font());
        let mut encoded = b"/".to_vec();
        encoded.extend_from_slice(&default);
        encoded.extend_from_slice(b" 1 Tf\n");
        encoded.extend(content.encode()?);
        Ok(encoded)
    }

    fn place_passing(&mut self, font: Dictionary) -> Vec<u8> {
        let id = self.document.add_object(font);
        self.passing.push(id);
        self.show(id)
    }

    fn show(&mut self, id: ObjectId) -> Vec<u8> {
        let name = format!("F{}", id.0).into_bytes();
        self.on_page.set(name.clone(), id);
        name
    }

    /// Removes every font; those of the next pages are placed afresh, with their programs or without.
    pub fn clear_fonts(&mut self, programs: Programs) {
        for id in self.placed.drain().map(|(_, placed)| placed) {
            self.document.objects.remove(&id);
        }
        self.programs = programs;
    }

    fn mended(&self, document: &Document, font: &Dictionary) -> Dictionary {
        let mut font = fonts::mended(document, font);
        if self.programs == Programs::Dropped {
            fonts::without_program(&mut font);
        }
        font
    }
}

impl FontShelf for Stage {
    fn place(&mut self, document: &Document, font: &Object) -> Vec<u8> {
        let Ok((id, Object::Dictionary(font))) = document.dereference(font) else {
            return self.place_passing(fonts::default_font());
        };
        let Some(id) = id else { return self.place_passing(self.mended(document, font)) };
        let placed = match self.placed.get(&id) {
            Some(placed) => *placed,
            None => {
                let placed = self.document.add_object(self.mended(document, font));
                self.placed.insert(id, placed);
                placed
            }
        };
        self.show(placed)
    }
}
