//! Glyphs into lines: where words end and where lines end, from the glyphs' places alone.

use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

/// Widest gap inside a word, in font sizes. Word spaces are 0.2 to 0.35, kerning and letter spacing below 0.1.
const WORD_GAP: f64 = 0.10;
/// How far a glyph may step back and still continue its line (kerning, accents), in font sizes.
const STEP_BACK: f64 = 0.9;
/// How far a glyph may be above or below its line (superscripts), in font sizes.
const BASELINE_DRIFT: f64 = 0.5;
/// The same for a glyph that touches the one before it: roots and large brackets hang from their upper edge.
const TOUCHING_DRIFT: f64 = 0.95;
/// How close glyphs are that touch, in font sizes.
const TOUCH: f64 = 0.4;
/// A gap between columns of a table, in font sizes; the widest word space of a justified line is about one.
const COLUMN_GAP: f64 = 1.5;
/// Glyphs at one place, closer than this in font sizes, are one glyph printed twice to look bold.
const OVERPRINT: f64 = 0.12;
/// Glyphs of one page; a page in six-point type has about 10,000.
const MAX_GLYPHS: usize = 1_000_000;

/// A line of text as it stands on the page. Lengths are in units of the page, along and across the line's direction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Its words, one space between them.
    pub text: String,
    /// Where the first visible glyph begins.
    pub left: f64,
    /// Where the last visible glyph ends.
    pub right: f64,
    /// Height of the baseline; grows upwards.
    pub baseline: f64,
    /// Font size of its largest glyph.
    pub size: f64,
    /// Width of the first word.
    pub first_word: f64,
    /// Gaps too wide for word spaces: a row of a table. The gap behind the mark of a list item does not count.
    pub column_gaps: usize,
    /// Advance of every glyph, where they all have the same: a typewriter font.
    pub pitch: Option<f64>,
    /// Unit vector of the writing direction.
    pub direction: (f64, f64),
}

#[derive(Debug, Clone, Copy)]
struct Glyph<'t> {
    text: &'t str,
    along: f64,
    across: f64,
    advance: f64,
    /// Advance without letter spacing, to tell typewriter fonts.
    width: f64,
    size: f64,
    direction: (f64, f64),
}

impl<'t> Glyph<'t> {
    fn new(trm: &Transform, width: f64, spacing: f64, font_size: f64, text: &'t str) -> Option<Self> {
        let stretch = trm.m11.hypot(trm.m12);
        let direction = (trm.m11 / stretch, trm.m12 / stretch);
        let sign = font_size.signum();
        let direction = (direction.0 * sign, direction.1 * sign);
        let glyph = Self {
            text,
            along: trm.m31 * direction.0 + trm.m32 * direction.1,
            across: trm.m32 * direction.0 - trm.m31 * direction.1,
            advance: (width * font_size.abs() + spacing) * stretch,
            width: width * font_size.abs() * stretch,
            size: font_size.abs() * trm.m21.hypot(trm.m22),
            direction,
        };
        let sane = [glyph.along, glyph.across, glyph.advance, glyph.size, direction.0].iter().all(|x| x.is_finite());
        (sane && glyph.size > 0.0).then_some(glyph)
    }

    fn is_space(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

/// A line that may still grow.
#[derive(Debug)]
struct OpenLine {
    line: Line,
    /// Where the last glyph, visible or not, ended.
    end: f64,
    /// A space was drawn since the last visible glyph.
    space: bool,
    in_first_word: bool,
    even_pitch: bool,
    glyphs: Vec<(f64, String)>,
}

impl OpenLine {
    fn new(glyph: &Glyph) -> Self {
        let line = Line {
            text: String::new(),
            left: glyph.along,
            right: glyph.along,
            baseline: glyph.across,
            size: glyph.size,
            first_word: 0.0,
            column_gaps: 0,
            pitch: Some(glyph.width),
            direction: glyph.direction,
        };
        Self { line, end: glyph.along, space: false, in_first_word: true, even_pitch: true, glyphs: Vec::new() }
    }

    fn continues_with(&self, glyph: &Glyph) -> bool {
        let (ours, theirs) = (self.line.direction, glyph.direction);
        let size = self.line.size.max(glyph.size);
        let (step, drift) = (glyph.along - self.end, (glyph.across - self.line.baseline).abs());
        let level = drift < BASELINE_DRIFT * size && step > -STEP_BACK * size;
        let touching = drift < TOUCHING_DRIFT * size && step.abs() < TOUCH * size && !self.space;
        ours.0 * theirs.0 + ours.1 * theirs.1 > 0.99 && (level || touching)
    }

    fn has_printed(&self, glyph: &Glyph) -> bool {
        let (near, level) = (OVERPRINT * glyph.size, glyph.across - self.line.baseline);
        level.abs() < near
            && glyph.along < self.line.right
            && self.glyphs.iter().any(|(along, text)| (along - glyph.along).abs() < near && text == glyph.text)
    }

    fn push(&mut self, glyph: &Glyph) {
        let end = glyph.along + glyph.advance;
        if glyph.is_space() {
            self.space = true;
            self.end = end;
            return;
        }
        if self.glyphs.len() == 1 {
            // A line that begins with a raised sign stands where its letters stand.
            self.line.baseline = glyph.across;
        }
        if !self.puts_under_accent(glyph) {
            self.separate(glyph);
            self.line.text.push_str(glyph.text);
        }
        self.space = false;
        self.line.size = self.line.size.max(glyph.size);
        self.line.right = self.line.right.max(glyph.along + glyph.width);
        self.end = end;
        self.even_pitch &= self.line.pitch.is_some_and(|pitch| (pitch - glyph.width).abs() < 0.01 * glyph.size);
        if self.in_first_word {
            self.line.first_word = self.line.right - self.line.left;
        }
        self.glyphs.push((glyph.along, glyph.text.to_owned()));
    }

    /// The space before a glyph, if any.
    fn separate(&mut self, glyph: &Glyph) {
        if self.line.text.is_empty() {
            self.line.left = glyph.along;
            return;
        }
        let word_gap = WORD_GAP * self.line.size.min(glyph.size);
        if !self.space && glyph.along - self.end <= word_gap {
            return;
        }
        let wide = glyph.along - self.line.right > COLUMN_GAP * self.line.size;
        if wide && !(self.in_first_word && super::paragraphs::is_item_mark(&self.line.text)) {
            self.line.column_gaps += 1;
        }
        self.line.text.push(' ');
        self.in_first_word = false;
    }

    /// TeX draws an accent first and its letter over it; Unicode has them the other way round.
    fn puts_under_accent(&mut self, glyph: &Glyph) -> bool {
        let over =
            glyph.along < self.line.right - OVERPRINT * glyph.size && glyph.text.starts_with(char::is_alphabetic);
        let accent = self.line.text.chars().next_back().and_then(combining);
        let Some(accent) = accent.filter(|_| over && !self.space) else { return false };
        self.line.text.pop();
        self.line.text.push_str(if glyph.text == "ı" { "i" } else { glyph.text });
        self.line.text.push(accent);
        true
    }

    fn close(mut self) -> Option<Line> {
        if !self.even_pitch || self.line.pitch.is_some_and(|pitch| pitch <= 0.0) {
            self.line.pitch = None;
        }
        (!self.line.text.is_empty()).then_some(self.line)
    }
}

/// The combining form of an accent that stands alone.
fn combining(accent: char) -> Option<char> {
    Some(match accent {
        '`' => '\u{300}',
        '´' => '\u{301}',
        'ˆ' | '^' => '\u{302}',
        '˜' | '~' => '\u{303}',
        '¯' => '\u{304}',
        '˘' => '\u{306}',
        '˙' => '\u{307}',
        '¨' => '\u{308}',
        '˚' => '\u{30A}',
        '˝' => '\u{30B}',
        'ˇ' => '\u{30C}',
        '¸' => '\u{327}',
        _ => return None,
    })
}

/// Receives a page from pdf-extract glyph by glyph.
#[derive(Debug, Default)]
pub(super) struct LineCollector {
    lines: Vec<Line>,
    open: Option<OpenLine>,
    glyphs: usize,
    unmapped: usize,
}

impl LineCollector {
    /// Glyphs of which the font does not say what they mean.
    pub fn unmapped_glyphs(&self) -> usize {
        self.unmapped
    }

    /// The lines in the order in which the page draws them.
    pub fn finish(mut self) -> Vec<Line> {
        self.close_line();
        self.lines
    }

    fn close_line(&mut self) {
        self.lines.extend(self.open.take().and_then(OpenLine::close));
    }

    fn push(&mut self, glyph: &Glyph) {
        if self.open.as_ref().is_some_and(|open| open.has_printed(glyph)) {
            return;
        }
        if !self.open.as_ref().is_some_and(|open| open.continues_with(glyph)) {
            self.close_line();
        }
        self.open.get_or_insert_with(|| OpenLine::new(glyph)).push(glyph);
    }
}

impl OutputDev for LineCollector {
    fn begin_page(&mut self, _: u32, _: &MediaBox, _: Option<(f64, f64, f64, f64)>) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        trm: &Transform,
        width: f64,
        spacing: f64,
        font_size: f64,
        text: &str,
    ) -> Result<(), OutputError> {
        self.glyphs += 1;
        if self.glyphs > MAX_GLYPHS {
            return Err(OutputError::FormatError(std::fmt::Error));
        }
        let text = super::characters::legible(text);
        if text.is_empty() {
            self.unmapped += 1;
        } else if let Some(glyph) = Glyph::new(trm, width, spacing, font_size, &text) {
            self.push(&glyph);
        }
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}
