//! Whether a grammar from a client can be given to llama.cpp, here or behind a remote llama-server (pure).
//!
//! llama.cpp's own reader is meant for grammars that one writes oneself: `"a"{5,3}` makes it allocate until the process is
//! killed, deep brackets exhaust its stack, what it cannot read it prints, and where a text can be read in many ways it follows
//! each of them. So this reads GBNF first (grammars/README.md of llama.cpp) and lets through what is bounded: no recursion other
//! than by `*`, `+` and `{m,n}`, few parts with everything written out, and few [`readings`] of the same text.

mod characters;
mod reader;
mod readings;

use std::collections::{HashMap, HashSet};

use characters::Characters;
use reader::Reader;

/// Most characters, sets and references with all references and repetitions written out.
const MAX_PARTS: usize = 2_000;
/// Brackets within brackets, and repetitions of repetitions.
const MAX_NESTING: usize = 32;
/// Parts within parts, through all rules: readers of grammars go down on their stack, llama.cpp's too.
const MAX_DEPTH: usize = 500;
/// Rules; they may refer to each other in a chain.
const MAX_RULES: usize = 200;
/// Where an answer begins.
const ROOT: &str = "root";

/// What a rule or a group can be.
type Alternatives = Vec<Vec<Part>>;

/// Something in a rule.
enum Part {
    /// Characters one after the other, each of its set, with what they count for.
    Text {
        characters: Vec<Characters>,
        size: usize,
    },
    Rule(String),
    Group(Alternatives),
    /// So many times, without an end where there is no `most`.
    Repeated {
        part: Box<Part>,
        least: usize,
        most: Option<usize>,
    },
}

/// # Errors
/// What is wrong with the grammar, as half a sentence with its line.
pub(crate) fn check_grammar(grammar: &str) -> Result<(), String> {
    let rules = Reader::new(grammar).rules()?;
    if !rules.contains_key(ROOT) {
        return Err(format!("it has no rule \"{ROOT}\""));
    }
    let mut sizes = Sizes { rules: &rules, known: HashMap::new(), open: HashSet::new(), depth: 0 };
    // In an order of their own: what is wrong is said of the same rule each time.
    let mut names: Vec<&String> = rules.keys().collect();
    names.sort_unstable();
    for name in names {
        sizes.of_rule(name)?;
    }
    readings::check(&rules, sizes.of_rule(ROOT)?.parts)
}

/// How large a rule or a part is.
#[derive(Clone, Copy)]
struct Size {
    /// Its parts, with everything written out.
    parts: usize,
    /// Parts within parts.
    depth: usize,
}

/// Measures rules.
struct Sizes<'a> {
    rules: &'a HashMap<String, Alternatives>,
    known: HashMap<&'a str, Size>,
    /// Rules that are being measured: a reference to one of them is a recursion.
    open: HashSet<&'a str>,
    /// How deep the part that is looked at stands below the rule that was begun with.
    depth: usize,
}

impl<'a> Sizes<'a> {
    fn of_rule(&mut self, name: &'a str) -> Result<Size, String> {
        if let Some(size) = self.known.get(name) {
            return Ok(*size);
        }
        let alternatives = self.rules.get(name).ok_or_else(|| format!("there is no rule \"{name}\""))?;
        if !self.open.insert(name) {
            return Err(format!("the rule \"{name}\" refers to itself: use *, + or {{m,n}} instead"));
        }
        let size = self.of_all(name, alternatives)?;
        self.open.remove(name);
        self.known.insert(name, size);
        Ok(size)
    }

    /// Each alternative counts for one more.
    fn of_all(&mut self, name: &'a str, alternatives: &'a Alternatives) -> Result<Size, String> {
        let none = Size { parts: alternatives.len(), depth: 0 };
        alternatives.iter().flatten().try_fold(none, |sum, part| {
            let Size { parts, depth } = self.of(name, part)?;
            within(name, Size { parts: parts.saturating_add(sum.parts), depth: depth.max(sum.depth) })
        })
    }

    /// The size of a part of the rule `name`. What is in it is held against the limits first: nothing outgrows a number, or the stack.
    fn of(&mut self, name: &'a str, part: &'a Part) -> Result<Size, String> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep(name));
        }
        self.depth += 1;
        let size = match part {
            Part::Text { size, .. } => Size { parts: *size, depth: 0 },
            Part::Rule(other) => self.of_rule(other)?,
            Part::Group(alternatives) => self.of_all(name, alternatives)?,
            Part::Repeated { part, least, most } => {
                let once = self.of(name, part)?;
                // `x{2,}` is `x x x*`.
                let times = most.unwrap_or(least + 1);
                Size { parts: once.parts.saturating_add(1).saturating_mul(times), ..once }
            }
        };
        self.depth -= 1;
        within(name, Size { depth: size.depth + 1, ..size })
    }
}

fn within(name: &str, size: Size) -> Result<Size, String> {
    if size.depth > MAX_DEPTH {
        return Err(too_deep(name));
    }
    if size.parts > MAX_PARTS {
        let parts = size.parts;
        return Err(format!("the rule \"{name}\" has {parts} parts or more when written out, {MAX_PARTS} are allowed"));
    }
    Ok(size)
}

fn too_deep(name: &str) -> String {
    format!("parts of the rule \"{name}\" are in more than {MAX_DEPTH} others and brackets")
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
            r#"root ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" ["\\bfnrt])* "\"""#,
            r#"root ::= [a\-z] [-az] [a-] "\-""#,
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
        assert_eq!(
            check_grammar(&format!("root ::= r7\nr0 ::= \"x\"\n{}", (1..8).map(bracketed).collect::<String>())),
            Ok(())
        );
        // However the rules are called, and whichever is looked at first.
        assert!(
            refused(&format!("root ::= r9\nr0 ::= \"x\"\n{}", (1..10).map(bracketed).collect::<String>()))
                .contains("500")
        );
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
        for wrong in [
            "",
            "root ::= *",
            "root ::= <[7]>",
            "root ::= \"\\q\"",
            "root ::= \"\\uD800\"",
            "root ::= [a-",
            "root ::= \"a\")",
        ] {
            refused(wrong);
        }
    }

    #[test]
    fn nothing_is_no_text_and_no_set() {
        assert_eq!(refused("root ::= \"\"*"), "a text is empty (line 1)");
        assert_eq!(refused("root ::= []"), "a set is empty (line 1)");
        assert_eq!(refused("root ::= \"a\"\n  | [^]"), "'|' is not expected there (line 2)");
        assert_eq!(refused("root ::= \"a\" | [^]"), "a set is empty (line 1)");
    }
}
