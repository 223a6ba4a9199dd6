//! Reads GBNF (pure).

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use super::characters::Characters;
use super::{Alternatives, MAX_NESTING, MAX_PARTS, MAX_RULES, Part};

/// What is left of a grammar.
pub(super) struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    nesting: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(grammar: &'a str) -> Self {
        Self { chars: grammar.chars().peekable(), line: 1, nesting: 0 }
    }

    /// By name.
    pub(super) fn rules(mut self) -> Result<HashMap<String, Alternatives>, String> {
        let mut rules = HashMap::new();
        self.skip_space(true);
        while self.chars.peek().is_some() {
            let name = self.name();
            self.skip_space(false);
            for expected in "::=".chars() {
                self.expect(expected)?;
            }
            self.skip_space(true);
            let alternatives = self.alternatives()?;
            if !matches!(self.chars.peek(), None | Some('\r' | '\n')) {
                return Err(self.unexpected());
            }
            if rules.len() == MAX_RULES {
                return Err(format!("it has more than {MAX_RULES} rules"));
            }
            if name.is_empty() || rules.insert(name.clone(), alternatives).is_some() {
                return Err(self.wrong(&format!("the rule \"{name}\" has no name of its own")));
            }
            self.skip_space(true);
        }
        Ok(rules)
    }

    fn alternatives(&mut self) -> Result<Alternatives, String> {
        let (mut alternatives, mut parts) = (Vec::new(), Vec::new());
        loop {
            match self.chars.peek() {
                Some('|') => {
                    self.next();
                    alternatives.push(std::mem::take(&mut parts));
                    self.skip_space(true);
                }
                None | Some(')' | '\r' | '\n') => {
                    alternatives.push(parts);
                    return Ok(alternatives);
                }
                Some(_) => parts.push(self.repeated()?),
            }
        }
    }

    /// One part with what repeats it.
    fn repeated(&mut self) -> Result<Part, String> {
        let mut part = self.part()?;
        for _ in 0..=MAX_NESTING {
            self.skip_space(self.nesting > 0);
            let (least, most) = match self.chars.peek() {
                Some('+') => (1, None),
                Some('*') => (0, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let (least, most) = self.times()?;
                    part = Part::Repeated { part: Box::new(part), least, most };
                    continue;
                }
                _ => return Ok(part),
            };
            self.next();
            part = Part::Repeated { part: Box::new(part), least, most };
        }
        Err(self.wrong(&format!("a part is repeated more than {MAX_NESTING} times over")))
    }

    fn part(&mut self) -> Result<Part, String> {
        match self.chars.peek() {
            Some('"') => self.text(),
            Some('[') => self.set(),
            Some('.') => {
                self.next();
                Ok(Part::Text { characters: vec![Characters::all()], size: 1 })
            }
            Some('(') => self.group(),
            Some(c) if is_of_name(*c) => Ok(Part::Rule(self.name())),
            _ => Err(self.unexpected()),
        }
    }

    fn group(&mut self) -> Result<Part, String> {
        self.next();
        if self.nesting == MAX_NESTING {
            return Err(self.wrong(&format!("brackets are more than {MAX_NESTING} deep")));
        }
        self.nesting += 1;
        self.skip_space(true);
        let alternatives = self.alternatives()?;
        self.expect(')')?;
        self.nesting -= 1;
        Ok(Part::Group(alternatives))
    }

    /// `"abc"`
    fn text(&mut self) -> Result<Part, String> {
        self.next();
        let mut characters = Vec::new();
        while self.chars.next_if_eq(&'"').is_none() {
            let character = self.character()?;
            characters.push(Characters::of(vec![(character, character)]));
        }
        match characters.len() {
            0 => Err(self.wrong("a text is empty")),
            size => Ok(Part::Text { characters, size }),
        }
    }

    /// `[a-z_]`, `[^a-z]`. A range counts for two, as llama.cpp keeps it.
    fn set(&mut self) -> Result<Part, String> {
        self.next();
        let is_inverse = self.chars.next_if_eq(&'^').is_some();
        let (mut ranges, mut size) = (Vec::new(), 0);
        while self.chars.next_if_eq(&']').is_none() {
            let first = self.character()?;
            let mut last = first;
            if self.goes_on_as_range() {
                self.next();
                last = self.character()?;
                size += 1;
            }
            size += 1;
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err(self.wrong("a set is empty"));
        }
        let named = Characters::of(ranges);
        let characters = if is_inverse { named.inverse() } else { named };
        Ok(Part::Text { characters: vec![characters], size })
    }

    /// A `-` that is not the last of its set.
    fn goes_on_as_range(&self) -> bool {
        let mut ahead = self.chars.clone();
        ahead.next() == Some('-') && ahead.next() != Some(']')
    }

    /// A character of a text or a set, by its number.
    fn character(&mut self) -> Result<u32, String> {
        match self.chars.peek() {
            None | Some('\n' | '\0') => Err(self.unexpected()),
            Some('\\') => self.escape(),
            Some(c) => {
                let character = u32::from(*c);
                self.next();
                Ok(character)
            }
        }
    }

    fn escape(&mut self) -> Result<u32, String> {
        self.next();
        let digits = match self.next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('t') => return Ok(u32::from('\t')),
            Some('r') => return Ok(u32::from('\r')),
            Some('n') => return Ok(u32::from('\n')),
            Some(c @ ('\\' | '"' | '[' | ']' | '-')) => return Ok(u32::from(c)),
            _ => return Err(self.wrong("there is an unknown escape")),
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16)).ok_or_else(|| self.wrong("an escape is too short"))?;
            code = code * 16 + digit;
        }
        char::from_u32(code).map(u32::from).ok_or_else(|| self.wrong("an escape is no character"))
    }

    /// `{3}`, `{3,}`, `{3,5}`: how often the part stands there at least and at most.
    fn times(&mut self) -> Result<(usize, Option<usize>), String> {
        self.next();
        self.skip_space(self.nesting > 0);
        let least = self.number()?;
        self.skip_space(self.nesting > 0);
        let mut most = Some(least);
        if self.chars.peek() == Some(&',') {
            self.next();
            self.skip_space(self.nesting > 0);
            most = self.chars.peek().is_some_and(char::is_ascii_digit).then(|| self.number()).transpose()?;
            self.skip_space(self.nesting > 0);
        }
        self.expect('}')?;
        match most {
            Some(most) if most == 0 || most < least => {
                Err(self.wrong(&format!("{{{least},{most}}} is no number of times")))
            }
            most => Ok((least, most)),
        }
    }

    /// At most [`MAX_PARTS`], as more could not be meant.
    fn number(&mut self) -> Result<usize, String> {
        let mut digits = String::new();
        while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
            digits.push(c);
        }
        let number = digits.parse().ok().filter(|number| *number <= MAX_PARTS);
        number.ok_or_else(|| self.wrong(&format!("\"{digits}\" is no number of times up to {MAX_PARTS}")))
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| is_of_name(*c)) {
            name.push(c);
        }
        name
    }

    /// White space and comments.
    fn skip_space(&mut self, lines: bool) {
        while let Some(c) = self.chars.peek() {
            match c {
                ' ' | '\t' => {}
                '\r' | '\n' if lines => {}
                '#' => {
                    while self.chars.next_if(|c| !matches!(c, '\r' | '\n')).is_some() {}
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        if self.chars.peek() != Some(&expected) {
            return Err(self.unexpected());
        }
        self.next();
        Ok(())
    }

    fn unexpected(&mut self) -> String {
        match self.chars.peek() {
            Some(c) => {
                let reason = format!("'{}' is not expected there", c.escape_default());
                self.wrong(&reason)
            }
            None => self.wrong("it ends too early"),
        }
    }

    fn wrong(&self, reason: &str) -> String {
        format!("{reason} (line {})", self.line)
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
