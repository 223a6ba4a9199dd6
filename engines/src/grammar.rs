//! Whether a grammar from a client can be given to llama.cpp, here or behind a remote llama-server (pure).
//!
//! llama.cpp's own reader is meant for grammars that one writes oneself: `"a"{5,3}` makes it allocate until the process is
//! killed, deep brackets exhaust its stack, what it cannot read it prints, and a recursive rule that is ambiguous doubles the
//! work with every character. So this reads GBNF first (grammars/README.md of llama.cpp) and lets through what is bounded:
//! no recursion other than by `*`, `+` and `{m,n}`, and few parts with everything written out.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::str::Chars;

/// Most characters, sets and references with all references and repetitions written out: so many places in the grammar can be
/// possible at once, and each is held against the whole vocabulary.
const MAX_PARTS: usize = 2_000;
/// Brackets within brackets, and repetitions of repetitions.
const MAX_NESTING: usize = 32;
/// Parts within parts, through all rules: readers of grammars go down on their stack, llama.cpp's too.
const MAX_DEPTH: usize = 500;
/// Rules; they may refer to each other in a chain.
const MAX_RULES: usize = 200;
/// Where an answer begins.
const ROOT: &str = "root";

/// Something in a rule.
enum Part {
    /// So many characters or ranges of them.
    Text(usize),
    Rule(String),
    Group(Vec<Part>),
    /// Written out so many times.
    Repeated(Box<Part>, usize),
}

/// # Errors
/// What is wrong with the grammar, as half a sentence with its line.
pub(crate) fn check_grammar(grammar: &str) -> Result<(), String> {
    let rules = Reader::new(grammar).rules()?;
    if !rules.contains_key(ROOT) {
        return Err(format!("it has no rule \"{ROOT}\""));
    }
    let mut sizes = Sizes { rules: &rules, known: HashMap::new(), open: HashSet::new(), depth: 0 };
    for name in rules.keys() {
        sizes.of_rule(name)?;
    }
    Ok(())
}

/// Counts the parts of rules.
struct Sizes<'a> {
    rules: &'a HashMap<String, Vec<Part>>,
    known: HashMap<&'a str, usize>,
    /// Rules that are being counted: a reference to one of them is a recursion.
    open: HashSet<&'a str>,
    depth: usize,
}

impl<'a> Sizes<'a> {
    fn of_rule(&mut self, name: &'a str) -> Result<usize, String> {
        if let Some(size) = self.known.get(name) {
            return Ok(*size);
        }
        let parts = self.rules.get(name).ok_or_else(|| format!("there is no rule \"{name}\""))?;
        if !self.open.insert(name) {
            return Err(format!("the rule \"{name}\" refers to itself: use *, + or {{m,n}} instead"));
        }
        let size = self.of_all(name, parts)?;
        self.open.remove(name);
        self.known.insert(name, size);
        Ok(size)
    }

    fn of_all(&mut self, name: &'a str, parts: &'a [Part]) -> Result<usize, String> {
        parts.iter().try_fold(1, |sum, part| within(name, self.of(name, part)?.saturating_add(sum)))
    }

    /// The parts of a part of the rule `name`. What is in it is held against the limit first: nothing outgrows a number.
    fn of(&mut self, name: &'a str, part: &'a Part) -> Result<usize, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("the rule \"{name}\" is in more than {MAX_DEPTH} others and brackets"));
        }
        self.depth += 1;
        let size = match part {
            Part::Text(size) => within(name, *size),
            Part::Rule(other) => self.of_rule(other),
            Part::Group(parts) => self.of_all(name, parts),
            Part::Repeated(part, times) => {
                let once = self.of(name, part)?.saturating_add(1);
                within(name, once.saturating_mul(*times))
            }
        };
        self.depth -= 1;
        size
    }
}

fn within(name: &str, size: usize) -> Result<usize, String> {
    if size > MAX_PARTS {
        return Err(format!("the rule \"{name}\" has {size} parts or more when written out, {MAX_PARTS} are allowed"));
    }
    Ok(size)
}

/// Reads GBNF.
struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    nesting: usize,
}

impl<'a> Reader<'a> {
    fn new(grammar: &'a str) -> Self {
        Self { chars: grammar.chars().peekable(), line: 1, nesting: 0 }
    }

    fn rules(mut self) -> Result<HashMap<String, Vec<Part>>, String> {
        let mut rules = HashMap::new();
        self.skip_space(true);
        while self.chars.peek().is_some() {
            let name = self.name();
            self.skip_space(false);
            for expected in "::=".chars() {
                self.expect(expected)?;
            }
            self.skip_space(true);
            let parts = self.alternatives()?;
            if !matches!(self.chars.peek(), None | Some('\r' | '\n')) {
                return Err(self.unexpected());
            }
            if rules.len() == MAX_RULES {
                return Err(format!("it has more than {MAX_RULES} rules"));
            }
            if name.is_empty() || rules.insert(name.clone(), parts).is_some() {
                return Err(self.wrong(&format!("the rule \"{name}\" has no name of its own")));
            }
            self.skip_space(true);
        }
        Ok(rules)
    }

    /// All alternatives in one list: only their number and size count.
    fn alternatives(&mut self) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        loop {
            match self.chars.peek() {
                Some('|') => {
                    self.next();
                    parts.push(Part::Text(1));
                    self.skip_space(true);
                }
                None | Some(')' | '\r' | '\n') => return Ok(parts),
                Some(_) => parts.push(self.repeated()?),
            }
        }
    }

    /// One part with what repeats it.
    fn repeated(&mut self) -> Result<Part, String> {
        let mut part = self.part()?;
        for _ in 0..=MAX_NESTING {
            self.skip_space(self.nesting > 0);
            let times = match self.chars.peek() {
                // `x+` is `x x*`.
                Some('+') => 2,
                Some('*' | '?') => 1,
                Some('{') => {
                    part = Part::Repeated(Box::new(part), self.times()?);
                    continue;
                }
                _ => return Ok(part),
            };
            self.next();
            part = Part::Repeated(Box::new(part), times);
        }
        Err(self.wrong(&format!("a part is repeated more than {MAX_NESTING} times over")))
    }

    fn part(&mut self) -> Result<Part, String> {
        match self.chars.peek() {
            Some('"') => self.text('"'),
            Some('[') => self.text(']'),
            Some('.') => {
                self.next();
                Ok(Part::Text(1))
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
        let mut parts = Vec::new();
        self.skip_space(true);
        while self.chars.peek() != Some(&')') {
            parts.append(&mut self.alternatives()?);
            if self.chars.peek() != Some(&')') {
                return Err(self.unexpected());
            }
        }
        self.next();
        self.nesting -= 1;
        Ok(Part::Group(parts))
    }

    /// A literal or a set, up to the character that closes it.
    fn text(&mut self, end: char) -> Result<Part, String> {
        self.next();
        let mut size = 0;
        loop {
            match self.next() {
                None | Some('\n' | '\0') => return Err(self.unexpected()),
                Some(c) if c == end && size > 0 => return Ok(Part::Text(size)),
                Some(c) if c == end => return Err(self.wrong("a text or a set is empty")),
                Some('\\') => self.escape()?,
                Some(_) => {}
            }
            size += 1;
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let digits = match self.next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('t' | 'r' | 'n' | '\\' | '"' | '[' | ']') => 0,
            _ => return Err(self.wrong("there is an unknown escape")),
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16)).ok_or_else(|| self.wrong("an escape is too short"))?;
            code = code * 16 + digit;
        }
        if digits > 0 && char::from_u32(code).is_none_or(|c| c == '\0') {
            return Err(self.wrong("an escape is no character"));
        }
        Ok(())
    }

    /// `{3}`, `{3,}`, `{3,5}`: how often the part is written out.
    fn times(&mut self) -> Result<usize, String> {
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
            Some(most) => Ok(most),
            None => Ok(least + 1),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(grammar: &str) -> String {
        check_grammar(grammar).expect_err(grammar)
    }

    #[test]
    fn usual_grammars_pass() {
        for grammar in [
            r#"root ::= "yes" | "no""#,
            "# a list\nroot ::= item{2,5}\nitem ::= \"- \" [^\\n]{1,80} \"\\n\" # one of them\n",
            "root ::= (\"a\"\n  | \"b\" # or so\n)+ .?\n",
            "root ::=\n  \"{\" ws \"\\\"answer\\\":\" ws [a-zA-Z\\u00e4]* \"}\"\r\nws ::= [ \\t]*\r\n",
            "root ::= (\"1\" | ) \"2\" |\n \"3\"",
        ] {
            assert_eq!(check_grammar(grammar), Ok(()), "{grammar}");
        }
    }

    #[test]
    fn what_makes_llama_cpp_allocate_without_end_is_refused() {
        assert_eq!(refused("root ::= \"a\"{5,3}"), "{5,3} is no number of times (line 1)");
        assert!(refused("root ::= \"a\"{0}").contains("{0,0}"));
        assert!(refused("root ::= \"a\"{99999999999999999999}").contains("no number of times up to"));
    }

    #[test]
    fn brackets_have_a_depth() {
        assert_eq!(check_grammar(&format!("root ::= {}\"a\"{}", "(".repeat(32), ")".repeat(32))), Ok(()));
        assert!(refused(&format!("root ::= {}", "(".repeat(8_000))).contains("more than 32 deep"));
    }

    #[test]
    fn nothing_is_so_deep_that_a_stack_ends() {
        assert!(refused(&format!("root ::= \"a\"{}", "?".repeat(8_000))).contains("more than 32 times over"));
        let bracketed = |n: usize| format!("r{n} ::= {}r{}{}\n", "(".repeat(30), n - 1, ")?".repeat(30));
        let chain: String = (1..60).map(bracketed).collect();
        assert!(refused(&format!("root ::= r59\nr0 ::= \"x\"\n{chain}")).contains("more than 500 others"));
    }

    #[test]
    fn recursion_is_refused_also_around_corners() {
        assert!(refused("root ::= \"a\" root | \"b\"").contains("refers to itself"));
        assert!(refused("root ::= a\na ::= \"x\" b\nb ::= a?").contains("refers to itself"));
    }

    #[test]
    fn a_grammar_that_grows_when_written_out_is_refused() {
        let doubling: String = (1..40).map(|n| format!("r{n} ::= r{} r{}\n", n - 1, n - 1)).collect();
        assert!(refused(&format!("root ::= r39\nr0 ::= \"x\"\n{doubling}")).contains("2000 are allowed"));
        assert!(refused("root ::= (([a-z]{1,30}){1,30}){1,30}").contains("or more when written out"));
    }

    #[test]
    fn no_repetition_of_repetitions_is_so_large_that_it_counts_as_small() {
        // As written out it has 2^64 - 1 parts, and one more is none.
        let largest = r#"root ::= (((((((((("a"?){1000}){666}){500}){400}){333}){285}){250}){222}){200})"#;
        assert!(refused(largest).contains("2000 are allowed"));
        let deepest = format!("root ::= {}\"a\"{}", "(".repeat(32), "){2000}".repeat(32));
        assert!(refused(&deepest).contains("2000 are allowed"));
        let chain: String = (1..150).map(|n| format!("r{n} ::= r{}{{2000}}\n", n - 1)).collect();
        assert!(refused(&format!("root ::= r149\nr0 ::= \"x\"\n{chain}")).contains("2000 are allowed"));
    }

    #[test]
    fn what_is_no_grammar_is_told_with_its_line() {
        assert_eq!(refused("root ::= \"a\"\nb := \"c\""), "'=' is not expected there (line 2)");
        assert_eq!(refused("root ::= ("), "it ends too early (line 1)");
        assert_eq!(refused("root ::= \"a"), "it ends too early (line 1)");
        assert_eq!(refused("a ::= \"x\""), "it has no rule \"root\"");
        assert_eq!(refused("root ::= b"), "there is no rule \"b\"");
        assert_eq!(refused("root ::= \"a\"\nroot ::= \"b\""), "the rule \"root\" has no name of its own (line 2)");
        for wrong in
            ["", "root ::= *", "root ::= \"\"*", "root ::= []", "root ::= <[7]>", "root ::= \"\\q\"", "root ::= \"a\")"]
        {
            refused(wrong);
        }
    }
}
