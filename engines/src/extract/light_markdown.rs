//! Light Markdown, written by the names of HTML elements: `# heading` lines, blank lines between blocks, a line for each item and
//! row, listings fenced. One chunker then finds the headings of every format.

const FENCE: &str = "```";

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "main"
            | "aside"
            | "header"
            | "footer"
            | "ul"
            | "ol"
            | "dl"
            | "dt"
            | "dd"
            | "table"
            | "caption"
            | "blockquote"
            | "figure"
            | "figcaption"
            | "address"
            | "details"
            | "summary"
            | "form"
            | "fieldset"
            | "hr"
            | "body"
    )
}

fn heading_level(name: &str) -> Option<usize> {
    let level = name.strip_prefix('h')?.parse().ok()?;
    (1..=6).contains(&level).then_some(level)
}

/// White space that is owed before the next text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    #[default]
    Nothing,
    Space,
    Newline,
    BlankLine,
}

/// Writes Markdown as elements open and close.
#[derive(Debug, Default)]
pub(super) struct LightMarkdown {
    markdown: String,
    owed: Owed,
    in_heading: bool,
    /// Listings do not nest in valid HTML, but in some that is written.
    listings: usize,
}

impl LightMarkdown {
    /// An element begins.
    pub fn open(&mut self, name: &str) {
        if let Some(level) = heading_level(name) {
            self.owe(Owed::BlankLine);
            self.mark(&format!("{} ", "#".repeat(level)));
            self.in_heading = true;
            return;
        }
        match name {
            "pre" => self.open_listing(),
            "br" if self.listings > 0 => self.markdown.push('\n'),
            "br" | "tr" => self.owe(Owed::Newline),
            "li" => {
                self.owe(Owed::Newline);
                self.mark("- ");
            }
            "td" | "th" if self.owed < Owed::Newline && !self.at_line_start() => {
                self.owed = Owed::Space;
                self.mark("| ");
            }
            _ if is_block(name) => self.owe(Owed::BlankLine),
            _ => {}
        }
    }

    /// An element ends.
    pub fn close(&mut self, name: &str) {
        if heading_level(name).is_some() {
            self.in_heading = false;
            self.owe(Owed::BlankLine);
        } else if name == "pre" {
            self.close_listing();
        } else if is_block(name) {
            self.owe(Owed::BlankLine);
        } else if matches!(name, "li" | "tr") {
            self.owe(Owed::Newline);
        }
    }

    fn open_listing(&mut self) {
        self.owe(Owed::BlankLine);
        if self.listings == 0 {
            self.mark(FENCE);
            self.markdown.push('\n');
        }
        self.owed = Owed::Nothing;
        self.listings += 1;
    }

    fn close_listing(&mut self) {
        self.listings = self.listings.saturating_sub(1);
        if self.listings == 0 {
            if !self.at_line_start() {
                self.markdown.push('\n');
            }
            self.markdown.push_str(FENCE);
            self.owe(Owed::BlankLine);
        }
    }

    /// Text of the element that is open.
    pub fn text(&mut self, text: &str) {
        if self.listings > 0 {
            self.markdown.push_str(text);
            return;
        }
        if text.starts_with(char::is_whitespace) {
            self.owe(Owed::Space);
        }
        let mut words = text.split_whitespace();
        if let Some(first) = words.next() {
            self.settle();
            if first.starts_with('#') && self.at_line_start() {
                self.markdown.push('\\');
            }
            self.markdown.push_str(first);
            for word in words {
                self.markdown.push(' ');
                self.markdown.push_str(word);
            }
            self.owed = if text.ends_with(char::is_whitespace) { Owed::Space } else { Owed::Nothing };
        }
    }

    /// Writes a mark that belongs to the text after it.
    fn mark(&mut self, mark: &str) {
        self.settle();
        self.markdown.push_str(mark);
    }

    fn owe(&mut self, owed: Owed) {
        // A heading is one line, whatever stands in it.
        let owed = if self.in_heading { owed.min(Owed::Space) } else { owed };
        self.owed = self.owed.max(owed);
    }

    fn settle(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        if self.markdown.is_empty() {
            return;
        }
        match owed {
            Owed::Nothing => {}
            Owed::Space if self.markdown.ends_with([' ', '\n']) => {}
            Owed::Space => self.markdown.push(' '),
            Owed::Newline => self.end_line("\n"),
            Owed::BlankLine => self.end_line("\n\n"),
        }
    }

    fn end_line(&mut self, end: &str) {
        self.markdown.truncate(self.markdown.trim_end_matches(' ').len());
        self.markdown.push_str(end);
    }

    fn at_line_start(&self) -> bool {
        self.markdown.is_empty() || self.markdown.ends_with('\n')
    }

    /// What was written.
    pub fn finish(mut self) -> String {
        self.markdown.truncate(self.markdown.trim_end().len());
        self.markdown
    }
}
