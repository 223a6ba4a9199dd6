//! The outline ("bookmarks") of a PDF file: which section begins on which page.
//!
//! Read with bounds of its own: lopdf's reader of outlines follows references in circles.

use std::collections::{HashMap, HashSet};

use pdf_extract::{Dictionary, Document, Object, ObjectId, decode_text_string};

use super::characters::legible;
use super::fonts::entry;
use crate::extract::reader::Bookmark;

/// Entries of an outline that are read; a large book has some hundred.
const MAX_ENTRIES: usize = 10_000;
/// Levels of an outline that are read.
const MAX_DEPTH: usize = 8;
/// Longest title that is kept, in characters.
const MAX_TITLE_CHARS: usize = 150;
/// Nodes of the tree of named places that are looked at.
const MAX_NAME_NODES: usize = 100_000;

/// The outline's entries by page, in order; empty where there is none, or none that leads to a page. `pages` are the file's
/// pages in order.
pub(super) fn bookmarks(document: &Document, pages: &[ObjectId]) -> Vec<Bookmark> {
    let Some(outlines) = catalog_entry(document, b"Outlines") else { return Vec::new() };
    let places = Places {
        document,
        numbers: (1..).zip(pages).map(|(number, id)| (*id, number)).collect(),
        named: named_places(document),
    };
    let mut bookmarks = entries(&places, outlines);
    leave_out_book_title(&mut bookmarks);
    bookmarks.sort_by_key(|bookmark| bookmark.page);
    bookmarks
}

fn catalog_entry<'d>(document: &'d Document, key: &[u8]) -> Option<&'d Dictionary> {
    entry(document, document.catalog().ok()?, key)?.as_dict().ok()
}

/// Walks the tree without recursion, each node once.
fn entries(places: &Places, outlines: &Dictionary) -> Vec<Bookmark> {
    let mut bookmarks = Vec::new();
    let mut seen = HashSet::new();
    let first = |node: &Dictionary| node.get(b"First").and_then(Object::as_reference).ok();
    let mut open: Vec<(ObjectId, Vec<String>)> = first(outlines).map(|id| (id, Vec::new())).into_iter().collect();
    while let Some((id, around)) = open.pop() {
        let Ok(node) = places.document.get_dictionary(id) else { continue };
        if seen.len() >= MAX_ENTRIES || !seen.insert(id) {
            continue;
        }
        if let Ok(next) = node.get(b"Next").and_then(Object::as_reference) {
            open.push((next, around.clone()));
        }
        let mut titles = around;
        titles.extend(title(places.document, node));
        if let Some(child) = first(node).filter(|_| titles.len() < MAX_DEPTH) {
            open.push((child, titles.clone()));
        }
        if let Some(page) = places.page_of(node).filter(|_| !titles.is_empty()) {
            bookmarks.push(Bookmark { page, titles });
        }
    }
    bookmarks
}

fn title(document: &Document, node: &Dictionary) -> Option<String> {
    let title = decode_text_string(entry(document, node, b"Title")?).ok()?;
    let title = legible(&title).split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then(|| title.chars().take(MAX_TITLE_CHARS).collect())
}

/// An outline whose only outermost entry is the book itself says nothing with it.
fn leave_out_book_title(bookmarks: &mut [Bookmark]) {
    let Some(book) = bookmarks.first().map(|first| first.titles[0].clone()) else { return };
    let inner = bookmarks.iter().filter(|bookmark| bookmark.titles.len() > 1).count();
    if inner + 1 == bookmarks.len() && inner > 0 && bookmarks.iter().all(|bookmark| bookmark.titles[0] == book) {
        for bookmark in bookmarks.iter_mut().filter(|bookmark| bookmark.titles.len() > 1) {
            bookmark.titles.remove(0);
        }
    }
}

/// Where entries of an outline lead.
struct Places<'d> {
    document: &'d Document,
    numbers: HashMap<ObjectId, u32>,
    named: HashMap<&'d [u8], &'d Object>,
}

impl Places<'_> {
    /// The 1-based page that an entry leads to, by its destination or its action.
    fn page_of(&self, node: &Dictionary) -> Option<u32> {
        if let Some(destination) = entry(self.document, node, b"Dest") {
            return self.page(destination);
        }
        let action = entry(self.document, node, b"A")?.as_dict().ok()?;
        let goes = entry(self.document, action, b"S")?.as_name().ok()? == b"GoTo";
        self.page(entry(self.document, action, b"D").filter(|_| goes)?)
    }

    fn page(&self, destination: &Object) -> Option<u32> {
        let destination = match destination {
            Object::String(name, _) | Object::Name(name) => self.named.get(name.as_slice())?,
            explicit => explicit,
        };
        let destination = self.document.dereference(destination).ok()?.1;
        let destination = match destination {
            Object::Dictionary(dictionary) => entry(self.document, dictionary, b"D")?,
            array => array,
        };
        match destination.as_array().ok()?.first()? {
            Object::Reference(id) => self.numbers.get(id).copied(),
            // Some writers count pages from 0, as is meant for other files.
            Object::Integer(index) => {
                let number = u32::try_from(*index).ok()?.checked_add(1)?;
                (number as usize <= self.numbers.len()).then_some(number)
            }
            _ => None,
        }
    }
}

/// Both kinds of named places: the catalog's dictionary, and its tree of names.
fn named_places(document: &Document) -> HashMap<&[u8], &Object> {
    let old = catalog_entry(document, b"Dests").into_iter().flat_map(Dictionary::iter);
    let mut named: HashMap<&[u8], &Object> = old.map(|(name, place)| (name.as_slice(), place)).collect();
    let root = catalog_entry(document, b"Names").and_then(|names| entry(document, names, b"Dests")?.as_dict().ok());
    let mut open: Vec<&Dictionary> = root.into_iter().collect();
    let mut seen = HashSet::new();
    while let Some(node) = open.pop() {
        let pairs = entry(document, node, b"Names").and_then(|names| names.as_array().ok());
        for pair in pairs.into_iter().flat_map(|pairs| pairs.chunks_exact(2)) {
            if let Ok(name) = pair[0].as_str() {
                named.insert(name, &pair[1]);
            }
        }
        let kids = entry(document, node, b"Kids").and_then(|kids| kids.as_array().ok());
        let new = kids.into_iter().flatten().filter_map(|kid| kid.as_reference().ok()).filter(|id| seen.insert(*id));
        open.extend(new.filter_map(|id| document.get_dictionary(id).ok()));
        if seen.len() + named.len() > MAX_NAME_NODES {
            break;
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bookmark(page: u32, titles: &[&str]) -> Bookmark {
        Bookmark { page, titles: titles.iter().map(|title| (*title).to_owned()).collect() }
    }

    #[test]
    fn the_title_of_the_book_is_left_out_only_where_everything_stands_under_it() {
        let mut all =
            [bookmark(1, &["Book"]), bookmark(2, &["Book", "Heaps"]), bookmark(3, &["Book", "Heaps", "d-ary"])];
        leave_out_book_title(&mut all);
        assert_eq!(all, [bookmark(1, &["Book"]), bookmark(2, &["Heaps"]), bookmark(3, &["Heaps", "d-ary"])]);
        let chapters = [bookmark(1, &["One"]), bookmark(2, &["Two"]), bookmark(3, &["Two", "Part"])];
        let mut same = chapters.clone();
        leave_out_book_title(&mut same);
        assert_eq!(same, chapters);
    }
}
