//! Fonts as pdf-extract can read them.
//!
//! pdf-extract 0.12 panics on, or misreads, much that is legal in a font dictionary: `StandardEncoding` by name,
//! indirect or missing widths, width ranges of composite fonts, the matrix of Type 3 fonts, a character that is
//! missing from the Unicode map. So each font is copied into a dictionary that holds only what pdf-extract reads, in
//! the one form it reads without fault.

use pdf_extract::{Dictionary, Document, Object, Stream};

use super::unpack::{unpack, unpack_object};
use super::{standard_encoding, unicode_map};

/// Codes of a composite font: two bytes.
const MAX_CID: i64 = 0xFFFF;
/// Stands for an embedded font's name; pdf-extract treats some names specially.
const EMBEDDED: &str = "Embedded";
/// Entries of a list of differences that only corrects a few codes; looking up names is slow.
const FEW_DIFFERENCES: usize = 16;
const DIFFERENCES: &[u8] = b"Differences";
const BASE_ENCODING: &[u8] = b"BaseEncoding";

/// A font that stands in where a page shows text without choosing one.
pub(super) fn default_font() -> Dictionary {
    let mut font = Dictionary::new();
    font.set("Subtype", name("Type1"));
    font.set("BaseFont", name("Helvetica"));
    font.set("Encoding", name("WinAnsiEncoding"));
    font
}

/// The copy of `font` that pdf-extract gets. Every stream in it is decoded and stands in the dictionary itself.
pub(super) fn mended(document: &Document, font: &Dictionary) -> Dictionary {
    match entry(document, font, b"Subtype").and_then(|subtype| subtype.as_name().ok()) {
        Some(b"Type0") => composite(document, font),
        Some(b"Type3") => type3(document, font),
        Some(b"TrueType") => simple(document, font, "TrueType"),
        _ => simple(document, font, "Type1"),
    }
}

/// Removes the embedded font program, which is only read for its encoding, for a second try after a failure.
pub(super) fn without_program(font: &mut Dictionary) {
    font.remove(b"FontDescriptor");
    if !font.has(b"Encoding") {
        font.set("Encoding", encoding_dictionary(Dictionary::new(), Vec::new()));
    }
}

fn simple(document: &Document, font: &Dictionary, subtype: &str) -> Dictionary {
    let mut copy = Dictionary::new();
    copy.set("Subtype", name(subtype));
    copy_widths(document, font, &mut copy);
    let descriptor = entry(document, font, b"FontDescriptor").and_then(|object| object.as_dict().ok());
    if let Some(width) = descriptor.and_then(|descriptor| number(entry(document, descriptor, b"MissingWidth")?)) {
        copy.set("MissingWidth", real(width));
    }
    let has_map = copy_unicode_map(document, font, &mut copy);
    let encoding = encoding(document, font, subtype);
    let program = descriptor.and_then(|descriptor| program(document, descriptor, has_map, encoding.as_ref()));
    match (encoding, &program) {
        (Some(encoding), _) => copy.set("Encoding", encoding),
        (None, Some(_)) => {}
        (None, None) => copy.set("Encoding", encoding_dictionary(Dictionary::new(), Vec::new())),
    }
    if let Some(program) = program {
        copy.set("FontDescriptor", program);
    }
    copy
}

/// Widths with consistent bounds, and a name under which pdf-extract finds metrics where there are none.
fn copy_widths(document: &Document, font: &Dictionary, copy: &mut Dictionary) {
    let widths = widths(document, font);
    if widths.is_empty() {
        let base = entry(document, font, b"BaseFont").and_then(|base| base.as_name().ok()).unwrap_or_default();
        copy.set("BaseFont", name(standard_font(&String::from_utf8_lossy(base))));
        return;
    }
    let first = integer(document, font, b"FirstChar").unwrap_or(0);
    copy.set("BaseFont", name(EMBEDDED));
    copy.set("FirstChar", first);
    copy.set("LastChar", first + i64::try_from(widths.len()).unwrap_or(0) - 1);
    copy.set("Widths", widths.into_iter().map(real).collect::<Vec<_>>());
}

/// The standard font whose metrics come nearest to a font that brings none.
fn standard_font(base: &str) -> &'static str {
    let has = |part: &str| base.to_ascii_lowercase().contains(part);
    match base {
        _ if has("courier") || has("mono") || has("consol") => "Courier",
        _ if has("zapf") || has("dingbats") => "ZapfDingbats",
        "Symbol" => "Symbol",
        _ if has("times") || has("roman") || has("serif") => "Times-Roman",
        _ if has("bold") => "Helvetica-Bold",
        _ => "Helvetica",
    }
}

/// The embedded program, where its built-in encoding is needed to know what the codes mean.
fn program(document: &Document, descriptor: &Dictionary, has_map: bool, encoding: Option<&Object>) -> Option<Object> {
    if has_map || matches!(encoding, Some(Object::Name(_))) {
        return None;
    }
    let mut copy = Dictionary::new();
    if encoding.is_none() {
        copy_stream(document, descriptor, b"FontFile", &mut copy);
    }
    let compact = entry(document, descriptor, b"FontFile3").and_then(|program| program.as_stream().ok());
    if compact.is_some_and(|stream| stream.dict.get(b"Subtype").and_then(Object::as_name).is_ok()) {
        copy_stream(document, descriptor, b"FontFile3", &mut copy);
    }
    (!copy.is_empty()).then_some(Object::Dictionary(copy))
}

fn encoding(document: &Document, font: &Dictionary, subtype: &str) -> Option<Object> {
    match entry(document, font, b"Encoding") {
        Some(Object::Name(base)) if is_table(base) => Some(Object::Name(base.clone())),
        Some(Object::Name(base)) if base == b"StandardEncoding" => Some(standard(Vec::new())),
        Some(Object::Dictionary(dictionary)) => Some(encoding_from(document, dictionary)),
        _ if subtype == "TrueType" => Some(name("WinAnsiEncoding")),
        _ => None,
    }
}

fn encoding_from(document: &Document, dictionary: &Dictionary) -> Object {
    let differences = differences(document, dictionary);
    match entry(document, dictionary, BASE_ENCODING) {
        Some(Object::Name(base)) if is_table(base) => {
            let mut encoding = Dictionary::new();
            encoding.set(BASE_ENCODING, Object::Name(base.clone()));
            encoding_dictionary(encoding, differences)
        }
        // An embedded font lists every code it uses; only others fall back to the standard table.
        _ if differences.len() > FEW_DIFFERENCES => encoding_dictionary(Dictionary::new(), differences),
        _ => standard(differences),
    }
}

/// The tables that pdf-extract has.
fn is_table(base: &[u8]) -> bool {
    matches!(base, b"MacRomanEncoding" | b"MacExpertEncoding" | b"WinAnsiEncoding")
}

fn standard(differences: Vec<Object>) -> Object {
    let mut all = Vec::new();
    for &(code, glyphs) in standard_encoding::RUNS {
        all.push(Object::Integer(code));
        all.extend(glyphs.split(' ').map(name));
    }
    all.extend(differences);
    encoding_dictionary(Dictionary::new(), all)
}

fn encoding_dictionary(mut encoding: Dictionary, differences: Vec<Object>) -> Object {
    encoding.set(DIFFERENCES, differences);
    Object::Dictionary(encoding)
}

/// Codes and names in turn, without codes beyond one byte.
fn differences(document: &Document, encoding: &Dictionary) -> Vec<Object> {
    let mut clean = Vec::new();
    let mut code = 0;
    let listed = entry(document, encoding, DIFFERENCES).and_then(|listed| listed.as_array().ok());
    for item in listed.into_iter().flatten() {
        match resolved(document, item) {
            Some(Object::Integer(next)) => code = *next,
            Some(Object::Name(glyph)) => {
                if (0..256).contains(&code) {
                    clean.push(Object::Integer(code));
                    clean.push(Object::Name(glyph.clone()));
                }
                code += 1;
            }
            _ => {}
        }
    }
    clean
}

/// Type 3 widths are in the font's own unit; pdf-extract takes them for thousandths.
fn type3(document: &Document, font: &Dictionary) -> Dictionary {
    let matrix = numbers(document, entry(document, font, b"FontMatrix"));
    let scale = matrix.first().copied().filter(|scale| scale.is_finite()).unwrap_or(0.001).abs() * 1000.0;
    let first = integer(document, font, b"FirstChar").and_then(|first| usize::try_from(first).ok()).unwrap_or(0);
    let mut by_code = vec![0.0; 256];
    for (slot, width) in by_code.iter_mut().skip(first).zip(widths(document, font)) {
        *slot = width * scale;
    }
    let mut copy = Dictionary::new();
    copy.set("Subtype", name("Type3"));
    copy.set("FirstChar", 0);
    copy.set("LastChar", 255);
    copy.set("Widths", by_code.into_iter().map(real).collect::<Vec<_>>());
    copy_unicode_map(document, font, &mut copy);
    copy.set("Encoding", encoding(document, font, "Type3").unwrap_or_else(|| standard(Vec::new())));
    copy
}

fn composite(document: &Document, font: &Dictionary) -> Dictionary {
    let mut copy = Dictionary::new();
    copy.set("Subtype", name("Type0"));
    copy.set("BaseFont", name(EMBEDDED));
    copy_unicode_map(document, font, &mut copy);
    if !copy_stream(document, font, b"Encoding", &mut copy) {
        let encoding = entry(document, font, b"Encoding").and_then(|object| object.as_name().ok());
        copy.set("Encoding", Object::Name(encoding.unwrap_or(b"Identity-H").to_vec()));
    }
    let descendants = entry(document, font, b"DescendantFonts").and_then(|fonts| fonts.as_array().ok());
    let descendant = descendants.and_then(|fonts| resolved(document, fonts.first()?)?.as_dict().ok());
    let empty = Dictionary::new();
    let descendant = descendant.unwrap_or(&empty);
    let mut cid_font = Dictionary::new();
    cid_font.set("FontDescriptor", Dictionary::new());
    cid_font.set("DW", integer(document, descendant, b"DW").unwrap_or(1000));
    cid_font.set("W", composite_widths(document, descendant));
    copy.set("DescendantFonts", vec![Object::Dictionary(cid_font)]);
    copy
}

/// `first [w ...]` and `first last w`, all in the first form: pdf-extract skips the second.
fn composite_widths(document: &Document, cid_font: &Dictionary) -> Vec<Object> {
    let mut clean = Vec::new();
    let Some(listed) = entry(document, cid_font, b"W").and_then(|listed| listed.as_array().ok()) else {
        return clean;
    };
    let mut items = listed.iter().filter_map(|item| resolved(document, item));
    while let (Some(first), Some(second)) = (items.next(), items.next()) {
        let Some(first) = number(first).filter(|first| (0.0..=MAX_CID as f64).contains(first)) else { continue };
        let first = first as i64;
        let widths = if let Object::Array(_) = second {
            numbers(document, Some(second))
        } else {
            let last = number(second).map_or(first, |last| (last as i64).clamp(first, MAX_CID));
            let width = items.next().and_then(number).unwrap_or(1000.0);
            vec![width; usize::try_from(last - first + 1).unwrap_or(0)]
        };
        clean.push(Object::Integer(first));
        clean.push(Object::Array(widths.into_iter().map(real).collect()));
    }
    clean
}

fn widths(document: &Document, font: &Dictionary) -> Vec<f64> {
    let mut widths = numbers(document, entry(document, font, b"Widths"));
    widths.truncate(256);
    widths
}

/// Copies the map from codes to Unicode, and says whether there was one.
fn copy_unicode_map(document: &Document, font: &Dictionary, copy: &mut Dictionary) -> bool {
    let map = entry(document, font, b"ToUnicode").and_then(unpack_object);
    let Some(map) = map.and_then(|map| unicode_map::rewritten(&map)) else { return false };
    copy.set("ToUnicode", Stream::new(Dictionary::new(), map));
    true
}

/// Copies a stream, decoded, and says whether there was one.
fn copy_stream(document: &Document, from: &Dictionary, key: &[u8], to: &mut Dictionary) -> bool {
    let Some(Object::Stream(stream)) = entry(document, from, key) else { return false };
    let Ok(content) = unpack(stream) else { return false };
    let mut dictionary = Dictionary::new();
    if let Ok(subtype) = stream.dict.get(b"Subtype") {
        dictionary.set("Subtype", subtype.clone());
    }
    to.set(key, Stream::new(dictionary, content));
    true
}

/// The value of a key, references followed.
pub(super) fn entry<'d>(document: &'d Document, dictionary: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
    dictionary.get(key).ok().and_then(|object| resolved(document, object))
}

fn resolved<'d>(document: &'d Document, object: &'d Object) -> Option<&'d Object> {
    document.dereference(object).ok().map(|(_, object)| object)
}

fn integer(document: &Document, dictionary: &Dictionary, key: &[u8]) -> Option<i64> {
    entry(document, dictionary, key).and_then(number).map(|number| number as i64)
}

fn numbers(document: &Document, array: Option<&Object>) -> Vec<f64> {
    let array = array.and_then(|array| array.as_array().ok());
    array.into_iter().flatten().map(|item| resolved(document, item).and_then(number).unwrap_or(0.0)).collect()
}

fn number(object: &Object) -> Option<f64> {
    match object {
        Object::Integer(value) => Some(*value as f64),
        Object::Real(value) => Some(f64::from(*value)),
        _ => None,
    }
}

fn real(value: f64) -> Object {
    Object::Real(value as f32)
}

fn name(text: &str) -> Object {
    Object::Name(text.as_bytes().to_vec())
}
