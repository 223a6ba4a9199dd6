//! The words of a sentence as attribution compares them: stems, numbers, names, and what a negation governs.

use super::lexicon::{ENDINGS, LIGHT_WORDS, NEGATORS, NUMBER_WORDS, PART_BEGINNINGS, SOFTENERS, STOP_WORDS};

/// How many content words after it a negator governs.
const NEGATED_WORDS: usize = 2;

/// What a word is to attribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordKind {
    /// Not compared, though its order may matter.
    Stop,
    /// Compared, but cheap to miss.
    Light,
    /// Compared.
    Content,
    /// Must stand in the source. Its stem is the number in digits.
    Number,
    /// Something with an underscore, letters and digits, or capitals inside: must stand in the source.
    Identifier,
    /// Capitalised within a sentence: must stand in the source.
    Name,
}

/// A word of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// In lower case, as it was written.
    pub lower: String,
    /// What is compared.
    pub stem: String,
    pub kind: WordKind,
    /// The negator before it that governs it, by its number in the text.
    pub negated_by: Option<usize>,
    /// Number of the part of the text it stands in, between punctuation marks and conjunctions.
    pub part: usize,
    /// Number of the sentence of the text it stands in.
    pub sentence: usize,
}

impl Word {
    /// Whether it is compared at all.
    pub fn is_content(&self) -> bool {
        self.kind != WordKind::Stop
    }
}

/// The words of a text, in order. Numbers in brackets, as models write citations, are left out.
pub(super) fn words(text: &str) -> Vec<Word> {
    let text = plain(text);
    let mut found: Vec<Word> = Vec::new();
    let (mut negators, mut negated_left) = (0, 0);
    let mut begins = true;
    let (mut part, mut sentence) = (0, 0);
    let mut rest = text.as_str();
    while let Some(start) = rest.find(is_word_char) {
        let gap = &rest[..start];
        let ends_scope = gap.contains([',', ';', ':', '.', '!', '?', '(', ')']);
        begins |= gap.contains(['.', '!', '?', ':', '"', '“', '|']);
        sentence += usize::from(gap.contains(['.', '!', '?']));
        rest = &rest[start..];
        let raw = &rest[..word_length(rest)];
        rest = &rest[raw.len()..];
        let lower = raw.to_lowercase().replace('’', "'");
        if ends_scope || PART_BEGINNINGS.contains(&lower.as_str()) {
            part += 1;
            negated_left = 0;
        }
        let negates = NEGATORS.contains(&lower.as_str()) || lower.ends_with("n't");
        if negates {
            negators += 1;
            negated_left = NEGATED_WORDS;
        } else if SOFTENERS.contains(&lower.as_str()) && found.last().is_some_and(is_negator) {
            negated_left = 0;
        }
        let mut word = word_of(raw, lower, begins);
        (word.part, word.sentence) = (part, sentence);
        begins = false;
        if !negates && word.is_content() && negated_left > 0 {
            negated_left -= 1;
            word.negated_by = Some(negators);
        }
        found.push(word);
    }
    found
}

/// Whether the word takes back what follows.
pub(super) fn is_negator(word: &Word) -> bool {
    NEGATORS.contains(&word.lower.as_str()) || word.lower.ends_with("n't")
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Bytes of the word at the beginning of `text`; a number keeps its points and commas, a word its apostrophe.
fn word_length(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        let joins = match character {
            '.' | ',' => before.is_ascii_digit() && next.is_some_and(|c| c.is_ascii_digit()),
            '\'' | '’' => before.is_alphabetic() && next.is_some_and(char::is_alphabetic),
            _ => is_word_char(character),
        };
        if !joins {
            return at;
        }
        before = character;
    }
    text.len()
}

fn word_of(raw: &str, lower: String, begins: bool) -> Word {
    let base = lower.strip_suffix("'s").unwrap_or(&lower).to_owned();
    if raw.starts_with(|c: char| c.is_ascii_digit()) && raw.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',')
    {
        return Word { stem: number(raw), lower, kind: WordKind::Number, negated_by: None, part: 0, sentence: 0 };
    }
    if let Some((_, digits)) = NUMBER_WORDS.iter().find(|(word, _)| *word == base) {
        // Small and spelt out, it counts as a word: "the two ends" need not be so in the source.
        let kind = if base == "two" { WordKind::Light } else { WordKind::Number };
        return Word { stem: (*digits).to_owned(), lower, kind, negated_by: None, part: 0, sentence: 0 };
    }
    let kind = if STOP_WORDS.contains(&base.as_str()) || NEGATORS.contains(&base.as_str()) || base.ends_with("n't") {
        WordKind::Stop
    } else if is_identifier(raw) {
        WordKind::Identifier
    } else if !begins && raw.starts_with(char::is_uppercase) && raw.chars().count() > 1 {
        WordKind::Name
    } else if LIGHT_WORDS.contains(&base.as_str()) || LIGHT_WORDS.contains(&stem(&base).as_str()) {
        WordKind::Light
    } else {
        WordKind::Content
    };
    let stem = if kind == WordKind::Identifier { base } else { stem(&base) };
    Word { stem, lower, kind, negated_by: None, part: 0, sentence: 0 }
}

fn is_identifier(raw: &str) -> bool {
    let has = |test: fn(char) -> bool| raw.chars().any(test);
    let capital_inside = raw.chars().zip(raw.chars().skip(1)).any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    raw.contains('_') || has(|c| c.is_ascii_digit()) && has(char::is_alphabetic) || capital_inside
}

/// The number without separators of thousands and without zeros behind its point.
fn number(raw: &str) -> String {
    let groups: Vec<&str> = raw.split(',').collect();
    let grouped = groups.iter().skip(1).all(|group| group.split('.').next().is_some_and(|digits| digits.len() == 3));
    let plain = if grouped { groups.concat() } else { raw.replace(',', ".") };
    if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.').to_owned() } else { plain }
}

/// Without citations in brackets, and with digits above or below the line as ordinary ones.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let inside = &rest[open + 1..];
        let digits = inside.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',' || c == ' ');
        plain.push_str(&rest[..open]);
        // "a[1]" is code and "text [1]" a citation.
        let is_citation =
            digits.len() < inside.len() && digits.starts_with(']') && !rest[..open].ends_with(is_word_char);
        rest = if is_citation { &digits[1..] } else { inside };
        plain.push(' ');
    }
    plain.push_str(rest);
    let mut out = String::with_capacity(plain.len());
    for character in plain.chars() {
        match script_digit(character) {
            Some(digit) => out.extend([' ', digit]),
            None => out.push(character),
        }
    }
    out
}

fn script_digit(character: char) -> Option<char> {
    let digit = match character {
        '¹' => 1,
        '²' => 2,
        '³' => 3,
        '⁰' | '⁴'..='⁹' => u32::from(character) - 0x2070,
        '₀'..='₉' => u32::from(character) - 0x2080,
        _ => return None,
    };
    char::from_digit(digit, 10)
}

/// A crude English stem, so that "recursion" meets "recursive" and "copies" meets "copied".
pub(super) fn stem(word: &str) -> String {
    if word.chars().count() <= 3 || !word.is_ascii() {
        return word.to_owned();
    }
    let mut stem = inflection(word);
    for ending in ENDINGS {
        if let Some(short) = stem.strip_suffix(ending)
            && short.len() >= 4
        {
            stem = short.to_owned();
            break;
        }
    }
    let stem = undoubled(stem.trim_end_matches('e'));
    // "copy" is "copi", as "copies" is.
    stem.strip_suffix('y').map_or_else(|| stem.to_owned(), |short| format!("{short}i"))
}

/// Without the endings of plurals and of verbs.
fn inflection(word: &str) -> String {
    if let Some(short) = word.strip_suffix("ies").or_else(|| word.strip_suffix("ied")) {
        return format!("{short}i");
    }
    if let Some(short) = word.strip_suffix("sses") {
        return format!("{short}ss");
    }
    let word = match word.strip_suffix('s') {
        Some(short) if !short.ends_with(['s', 'u', 'i']) => short,
        _ => word,
    };
    for ending in ["ing", "ed"] {
        if let Some(short) = word.strip_suffix(ending)
            && short.len() >= 3
            && short.contains(['a', 'e', 'i', 'o', 'u', 'y'])
        {
            return undoubled(short).to_owned();
        }
    }
    word.to_owned()
}

/// "stopp" is "stop".
fn undoubled(word: &str) -> &str {
    let mut last = word.chars().rev();
    let doubled = last.next().is_some_and(|a| last.next() == Some(a) && !matches!(a, 'a' | 'e' | 'i' | 'o' | 'u'));
    if doubled && word.len() > 3 { &word[..word.len() - 1] } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(text: &str, wanted: &str) -> WordKind {
        words(text).into_iter().find(|word| word.lower == wanted).unwrap().kind
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        let families: [&[&str]; 7] = [
            &["copy", "copies", "copied", "copying"],
            &["recursion", "recursive", "recursively"],
            &["insert", "insertion", "inserted", "inserting"],
            &["stop", "stopped", "stopping", "stops"],
            &["halve", "halved", "halving"],
            &["large", "larger", "largest"],
            &["dictionary", "dictionaries"],
        ];
        for family in families {
            let stems: Vec<String> = family.iter().map(|word| stem(word)).collect();
            assert!(stems.iter().all(|other| *other == stems[0]), "{family:?}: {stems:?}");
        }
    }

    #[test]
    fn numbers_are_one_however_they_are_written() {
        let numbers = |text: &str| -> Vec<String> {
            words(text).into_iter().filter(|word| word.kind == WordKind::Number).map(|word| word.stem).collect()
        };
        assert_eq!(
            numbers("2,692,537 and 2692537, three or 3, 1.50 or 1.5."),
            ["2692537", "2692537", "3", "3", "1.5", "1.5"]
        );
        assert!(numbers("It is so [1] and [2, 3].").is_empty());
        assert_eq!(numbers("n² and 2^10"), ["2", "2", "10"]);
    }

    #[test]
    fn names_and_identifiers_are_told_from_words() {
        assert_eq!(kind_of("Then Knuth spoke.", "knuth"), WordKind::Name);
        assert_eq!(kind_of("Then Knuth spoke.", "then"), WordKind::Stop);
        assert_eq!(kind_of("Sorting is easy. Sorting is fun.", "sorting"), WordKind::Content);
        assert_eq!(kind_of("call decrease_key now", "decrease_key"), WordKind::Identifier);
        assert_eq!(kind_of("a HashMap holds", "hashmap"), WordKind::Identifier);
    }

    #[test]
    fn a_negation_governs_the_words_after_it_up_to_the_end_of_its_clause() {
        let negated = |text: &str| -> Vec<String> {
            words(text).into_iter().filter(|word| word.negated_by.is_some()).map(|word| word.lower).collect()
        };
        assert_eq!(negated("The sort is not stable, and fast."), ["stable"]);
        assert_eq!(negated("It doesn't copy the array."), ["copy", "array"]);
        assert!(negated("Not only heaps and no more than trees.").is_empty());
    }
}
