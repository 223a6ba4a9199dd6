//! A page reduced to the operators that place text.
//!
//! pdf-extract 0.12 panics on much that has nothing to do with text (a curve without a start, an unknown colour
//! space), reads images as if they were text, places forms wrongly and does not know the operators `'` and `"`. So it
//! only ever sees what this module writes: text operators with checked operands, forms unfolded in place.

use pdf_extract::content::{Content, Operation};
use pdf_extract::{Dictionary, Document, Object};

use super::fonts::entry;
use super::unpack::unpack;

/// Forms within forms; also what ends a form that draws itself.
const MAX_FORM_DEPTH: usize = 12;
/// Operators of one page, forms unfolded. A dense page of a book has about 10,000.
const MAX_OPERATIONS: usize = 2_000_000;

/// Where fonts are put so that pdf-extract finds them; returns the name they have there.
pub(super) trait FontShelf {
    /// Takes a font as the resources name it: a reference or a dictionary.
    fn place(&mut self, document: &Document, font: &Object) -> Vec<u8>;
}

/// What is left of a page.
#[derive(Debug, Default)]
pub(super) struct Reduced {
    /// Text operators in order.
    pub operations: Vec<Operation>,
    /// Whether the page shows any string.
    pub shows_text: bool,
    /// Area of the images it draws, each counted whole, in square units of the page.
    pub image_area: f64,
    /// Shapes that it fills or strokes.
    pub shapes: usize,
    /// Whether a part of it could not be unpacked.
    pub lacks_form: bool,
}

/// Reduces one page's content.
pub(super) fn reduce(
    document: &Document,
    content: &[u8],
    resources: &Dictionary,
    shelf: &mut dyn FontShelf,
) -> Reduced {
    let mut reducer = Reducer { document, shelf, page: Reduced::default(), scale: 1.0 };
    reducer.stream(content, resources, 0);
    reducer.page
}

struct Reducer<'d, 's> {
    document: &'d Document,
    shelf: &'s mut dyn FontShelf,
    page: Reduced,
    /// Area on the page of a unit square of the content.
    scale: f64,
}

impl Reducer<'_, '_> {
    fn stream(&mut self, content: &[u8], resources: &Dictionary, depth: usize) {
        let Ok(content) = Content::decode(content) else { return };
        let mut saved = Vec::new();
        for operation in &content.operations {
            if self.page.operations.len() >= MAX_OPERATIONS {
                break;
            }
            match operation.operator.as_str() {
                "q" => saved.push(self.scale),
                "Q" => match saved.pop() {
                    Some(scale) => self.scale = scale,
                    None => continue,
                },
                _ => {}
            }
            self.operation(operation, resources, depth);
        }
        for _ in saved {
            self.push("Q", Vec::new());
        }
    }

    fn operation(&mut self, operation: &Operation, resources: &Dictionary, depth: usize) {
        let operands = operation.operands.as_slice();
        match operation.operator.as_str() {
            operator @ ("q" | "Q" | "BT" | "ET" | "T*") => self.push(operator, Vec::new()),
            "cm" => self.transform(operands),
            "Tm" => self.push_numbers("Tm", operands, 6),
            operator @ ("Td" | "TD") => self.push_numbers(operator, operands, 2),
            operator @ ("Tc" | "Tw" | "Tz" | "TL" | "Ts") => self.push_numbers(operator, operands, 1),
            "Tf" => self.font(operands, resources),
            "Tj" => self.show(operands.last()),
            "'" => self.next_line_and_show(operands.last()),
            "\"" => {
                if let [word, character, text] = operands {
                    self.push_numbers("Tw", std::slice::from_ref(word), 1);
                    self.push_numbers("Tc", std::slice::from_ref(character), 1);
                    self.next_line_and_show(Some(text));
                }
            }
            "TJ" => self.show_spaced(operands.last()),
            "Do" => self.external(operands, resources, depth),
            "BI" => self.page.image_area += self.scale,
            "f" | "F" | "f*" | "B" | "B*" | "b" | "b*" | "S" | "s" | "sh" => self.page.shapes += 1,
            _ => {}
        }
    }

    fn push(&mut self, operator: &str, operands: Vec<Object>) {
        self.page.operations.push(Operation::new(operator, operands));
    }

    fn push_numbers(&mut self, operator: &str, operands: &[Object], count: usize) {
        if operands.len() == count && operands.iter().all(is_number) {
            self.push(operator, operands.to_vec());
        }
    }

    fn transform(&mut self, matrix: &[Object]) {
        self.push_numbers("cm", matrix, 6);
        if let [a, b, c, d, _, _] = matrix {
            let [a, b, c, d] = [a, b, c, d].map(|number| f64::from(number.as_float().unwrap_or_default()));
            self.scale *= (a * d - b * c).abs();
        }
    }

    fn font(&mut self, operands: &[Object], resources: &Dictionary) {
        let [Object::Name(name), size] = operands else { return };
        let fonts = entry(self.document, resources, b"Font").and_then(|fonts| fonts.as_dict().ok());
        let Some(font) = fonts.and_then(|fonts| fonts.get(name).ok()) else { return };
        if is_number(size) {
            let placed = self.shelf.place(self.document, font);
            self.push("Tf", vec![Object::Name(placed), size.clone()]);
        }
    }

    fn next_line_and_show(&mut self, text: Option<&Object>) {
        self.push("T*", Vec::new());
        self.show(text);
    }

    fn show(&mut self, text: Option<&Object>) {
        if let Some(text @ Object::String(..)) = text {
            self.page.shows_text = true;
            self.push("Tj", vec![text.clone()]);
        }
    }

    fn show_spaced(&mut self, items: Option<&Object>) {
        let Some(Object::Array(items)) = items else { return };
        let is_text = |item: &&Object| matches!(item, Object::String(..));
        let clean: Vec<_> = items.iter().filter(|item| is_text(item) || is_number(item)).cloned().collect();
        self.page.shows_text |= clean.iter().any(|item| is_text(&item));
        self.push("TJ", vec![Object::Array(clean)]);
    }

    fn external(&mut self, operands: &[Object], resources: &Dictionary, depth: usize) {
        let Some(Object::Name(name)) = operands.first() else { return };
        let externals = entry(self.document, resources, b"XObject").and_then(|externals| externals.as_dict().ok());
        let external = externals.and_then(|externals| entry(self.document, externals, name));
        let Some(Object::Stream(stream)) = external else { return };
        if stream.dict.get(b"Subtype").and_then(Object::as_name).ok() != Some(b"Form") {
            self.page.image_area += self.scale;
            return;
        }
        if depth >= MAX_FORM_DEPTH {
            return;
        }
        let Ok(content) = unpack(stream) else {
            self.page.lacks_form = true;
            return;
        };
        let own = entry(self.document, &stream.dict, b"Resources").and_then(|own| own.as_dict().ok());
        let scale = self.scale;
        self.push("q", Vec::new());
        if let Some(matrix) = entry(self.document, &stream.dict, b"Matrix").and_then(|matrix| matrix.as_array().ok()) {
            self.transform(matrix);
        }
        self.stream(&content, own.unwrap_or(resources), depth + 1);
        self.push("Q", Vec::new());
        self.scale = scale;
    }
}

fn is_number(object: &Object) -> bool {
    match object {
        Object::Integer(_) => true,
        Object::Real(value) => value.is_finite(),
        _ => false,
    }
}
