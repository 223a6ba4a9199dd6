//! What the child asks of every format.

use super::protocol::Bookmark;

/// Why a page gives no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::extract) struct NoText {
    /// For people.
    pub reason: String,
    /// Whether there is something on the page that text recognition could read.
    pub recognisable: bool,
}

impl From<String> for NoText {
    fn from(reason: String) -> Self {
        Self { reason, recognisable: false }
    }
}

impl From<&str> for NoText {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// An open document: its pages, slides or chapters, or one part that is the whole of it.
pub(in crate::extract) trait Pages {
    /// How many there are.
    fn count(&self) -> u32;

    /// Takes its outline out, sorted by page.
    fn take_outline(&mut self) -> Vec<Bookmark> {
        Vec::new()
    }

    /// The text of a page, by its number from 1; empty when it is blank.
    ///
    /// # Errors
    /// Why there is none.
    fn page(&mut self, number: u32) -> Result<String, NoText>;
}

/// A document that is one text.
pub(in crate::extract) struct Whole(pub String);

impl Pages for Whole {
    fn count(&self) -> u32 {
        1
    }

    fn page(&mut self, _: u32) -> Result<String, NoText> {
        Ok(std::mem::take(&mut self.0))
    }
}
