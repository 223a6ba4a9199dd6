//! XML as a flat sequence of what opens, what closes and what stands between, names without their prefixes.
//!
//! quick-xml expands no entities but the five of XML itself, so what a document declares of its own (the "billion laughs") is
//! nothing here; nor does it look anything up outside.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::QName;
use quick_xml::reader::Reader;

/// A step of the sequence.
pub(super) enum Node<'x> {
    /// An element opens; one without content closes at once.
    Open(Element<'x>),
    /// The element of that name closes.
    Close(String),
    /// Text, in pieces as it comes.
    Text(Cow<'x, str>),
}

/// An element as it opens.
pub(super) struct Element<'x>(BytesStart<'x>);

impl Element<'_> {
    /// Its name without prefix.
    pub fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// An attribute by its name without prefix; `None` when there is none, or it is malformed.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.first(|key| key.local_name().into_inner() == name)
    }

    /// An attribute by its name with the prefix that every writer uses, where two differ by it alone.
    pub fn prefixed_attribute(&self, name: &str) -> Option<String> {
        self.first(|key| key.as_ref() == name)
    }

    fn first(&self, is_meant: impl Fn(QName) -> bool) -> Option<String> {
        let mut attributes = self.0.attributes();
        // The check for duplicates would take the square of their number.
        let found = attributes.with_checks(false).flatten().find(|attribute| is_meant(attribute.key))?;
        found.normalized_value(XmlVersion::Implicit1_0).ok().map(Cow::into_owned)
    }
}

/// A document, step by step.
pub(super) struct Xml<'x> {
    reader: Reader<&'x [u8]>,
}

impl<'x> Xml<'x> {
    pub fn new(text: &'x str) -> Self {
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        config.allow_unmatched_ends = true;
        config.check_end_names = false;
        Self { reader }
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// That it is no XML from here on.
    pub fn next(&mut self) -> Result<Option<Node<'x>>, String> {
        loop {
            let event = self.reader.read_event().map_err(|_| "its XML is damaged".to_owned())?;
            return Ok(Some(match event {
                Event::Start(start) | Event::Empty(start) => Node::Open(Element(start)),
                Event::End(end) => Node::Close(end.local_name().into_inner().to_owned()),
                Event::Text(text) => Node::Text(text.xml10_content()),
                Event::CData(text) => Node::Text(text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().ok().flatten().map(|c| Cow::Owned(c.to_string()));
                    match character.or_else(|| resolve_predefined_entity(&reference.xml10_content()).map(Cow::Borrowed))
                    {
                        Some(text) => Node::Text(text),
                        None => continue,
                    }
                }
                Event::Eof => return Ok(None),
                _ => continue,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(xml: &str) -> String {
        let (mut steps, mut flat) = (Xml::new(xml), String::new());
        while let Some(node) = steps.next().expect("it is XML") {
            match node {
                Node::Open(element) => flat.push_str(&format!("<{}>", element.name())),
                Node::Close(name) => flat.push_str(&format!("</{name}>")),
                Node::Text(text) => flat.push_str(&text),
            }
        }
        flat
    }

    #[test]
    fn prefixes_vanish_and_entities_of_xml_itself_are_resolved() {
        assert_eq!(flat("<w:p a='1'><w:t>a &lt; &#246;</w:t><w:br/></w:p>"), "<p><t>a < ö</t><br></br></p>");
    }

    #[test]
    fn entities_that_a_document_declares_are_nothing() {
        let xml = "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]><x>so &b; far</x>";
        assert_eq!(flat(xml), "<x>so  far</x>");
    }

    #[test]
    fn attributes_are_found_without_or_with_their_prefix() {
        let mut xml = Xml::new("<s id='256' r:id='rId&quot;'/>");
        let Ok(Some(Node::Open(element))) = xml.next() else { panic!("an element") };
        assert_eq!(
            (element.attribute("id"), element.prefixed_attribute("r:id")),
            (Some("256".into()), Some("rId\"".into()))
        );
    }
}
