//! Notices that an answer goes round in circles, which small models do.
//!
//! What was written cannot be taken back, so all that is left is to end the answer. Penalties in the sampler come first;
//! this is the net under them.

/// Longest cycle of tokens that is looked for.
const MAX_PERIOD: usize = 64;
/// How often a cycle must have been gone through.
const CYCLES: usize = 4;
/// Shortest tail made of cycles, so that rulers, ellipses and rows of zeros are allowed.
const MIN_CYCLED_TOKENS: usize = 32;
/// How often in a row the same statement ends the answer.
const SAME_IN_A_ROW: usize = 3;
/// How often in the whole answer it does, where it is a sentence of its own and no code: programs say `return false` again and
/// again, and lists have items that are alike.
const SAME_IN_ALL: usize = 4;
/// Shorter statements may be repeated: table rows, brackets, "yes".
const MIN_STATEMENT_CHARS: usize = 12;
/// What lines that begin and end code begin with.
const FENCES: [&str; 2] = ["```", "~~~"];

/// Watches one answer. `T` is a token.
#[derive(Debug)]
pub struct LoopDetector<T> {
    tokens: Vec<T>,
    line: String,
    /// Whether `line` begins where a line of the answer does, and not behind a sentence.
    begins_line: bool,
    in_code: bool,
    statements: Vec<Statement>,
}

/// A sentence, or a line that is none.
#[derive(Debug)]
struct Statement {
    text: String,
    is_prose: bool,
}

impl<T: PartialEq + Copy> Default for LoopDetector<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: PartialEq + Copy> LoopDetector<T> {
    /// Nothing was said yet.
    #[must_use]
    pub fn new() -> Self {
        let (tokens, line, statements) = (Vec::new(), String::new(), Vec::new());
        Self { tokens, line, begins_line: true, in_code: false, statements }
    }

    /// Adds a token and the text it brought (empty while a character is incomplete). True when the answer repeats itself.
    pub fn push(&mut self, token: T, text: &str) -> bool {
        self.tokens.push(token);
        let mut repeated = false;
        for c in text.chars() {
            let sentence_ended = c.is_whitespace() && self.line.ends_with(['.', '!', '?']);
            if c == '\n' || sentence_ended {
                repeated |= self.end_statement();
                self.begins_line = c == '\n';
            } else {
                self.line.push(c);
            }
        }
        repeated || ends_in_cycle(&self.tokens)
    }

    fn end_statement(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        if self.begins_line && FENCES.iter().any(|fence| line.trim_start().starts_with(fence)) {
            self.in_code = !self.in_code;
            return false;
        }
        let is_prose = !self.in_code && line.trim_end().ends_with(['.', '!', '?']);
        let text = normalise(&line);
        if text.is_empty() {
            return false;
        }
        // A short one counts as something else between two that are the same.
        let is_short = text.chars().count() < MIN_STATEMENT_CHARS;
        self.statements.push(Statement { text, is_prose });
        !is_short && says_the_same(&self.statements)
    }
}

/// Lower case, single spaces, and nothing before the first letter: "2. The  Heap" is "the heap".
fn normalise(statement: &str) -> String {
    let words = statement.trim_start_matches(|c: char| !c.is_alphabetic());
    words.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

fn says_the_same(statements: &[Statement]) -> bool {
    let Some(last) = statements.last() else {
        return false;
    };
    let same = |statement: &&Statement| statement.text == last.text;
    let in_a_row = statements.iter().rev().take_while(same).count();
    let in_prose = statements.iter().filter(same).filter(|statement| statement.is_prose).count();
    in_a_row >= SAME_IN_A_ROW || (last.is_prose && in_prose >= SAME_IN_ALL)
}

/// Whether the tail is one cycle of at most [`MAX_PERIOD`] tokens, gone through often enough.
fn ends_in_cycle<T: PartialEq>(tokens: &[T]) -> bool {
    (1..=MAX_PERIOD).any(|period| {
        let tail = (period * CYCLES).max(MIN_CYCLED_TOKENS);
        tokens.len() >= tail && is_periodic(&tokens[tokens.len() - tail..], period)
    })
}

fn is_periodic<T: PartialEq>(tokens: &[T], period: usize) -> bool {
    tokens.iter().zip(&tokens[period..]).all(|(earlier, later)| earlier == later)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of characters after which the text, fed character by character, is found to repeat itself.
    fn stops_after(text: &str) -> Option<usize> {
        let mut detector = LoopDetector::new();
        text.chars().position(|c| detector.push(c, &c.to_string())).map(|position| position + 1)
    }

    /// The same with every token different from all others, so that only statements count.
    fn statements_stop(text: &str) -> bool {
        let mut detector = LoopDetector::new();
        text.split_inclusive(' ').enumerate().any(|(token, word)| detector.push(token, word))
    }

    #[test]
    fn ordinary_prose_goes_on() {
        let prose = "A heap is a tree that keeps its smallest value on top. Inserting takes logarithmic time. So does \
                     removing the minimum. A stack is simpler: it gives back what was pushed last.\n\n- push(x)\n- pop()\n";
        assert_eq!(stops_after(prose), None);
    }

    #[test]
    fn the_same_sentence_three_times_in_a_row_ends_the_answer() {
        assert!(statements_stop("The heap is a tree. The heap is a tree. The heap is a tree. And"));
        assert!(!statements_stop("The heap is a tree. The heap is a tree. The list is not. And"));
    }

    #[test]
    fn the_same_line_under_different_numbers_ends_the_answer() {
        assert!(statements_stop("1. The kernel of it\n2. The kernel of it\n3. the  kernel of it\n and"));
    }

    #[test]
    fn a_sentence_that_keeps_coming_back_ends_the_answer() {
        let verse = |n: usize| format!("This sentence is number {n}. The heap is a tree. ");
        assert!(statements_stop(&(0..4).map(verse).collect::<String>()));
        assert!(!statements_stop(&(0..3).map(verse).collect::<String>()));
    }

    #[test]
    fn code_and_lists_may_say_the_same_again_and_again() {
        let check = |n: usize| format!("    if x == {n}:\n        return false\n");
        let checks: String = (0..9).map(check).collect();
        assert!(!statements_stop(&format!("Compare all of them:\n```python\n{checks}```\nThat is all.\n")));
        assert!(!statements_stop(&checks), "a model may forget the fence");
        let sentence_in_code = "# This is a sentence.\nx = 1\n# That is too.\n".repeat(5);
        assert!(!statements_stop(&format!("~~~\n{sentence_in_code}~~~\n")));
        let item = |n: usize| format!("- step {n}\n- compare with the parent\n");
        assert!(!statements_stop(&(0..9).map(item).collect::<String>()));
    }

    #[test]
    fn after_code_sentences_count_again_and_in_it_lines_in_a_row_do() {
        let verse = |n: usize| format!("This sentence is number {n}. The heap is a tree. ");
        let verses: String = (0..4).map(verse).collect();
        assert!(statements_stop(&format!("```\nreturn false\n```\n{verses}")));
        assert!(statements_stop("```\n    return false\n    return false\n    return false\n"));
    }

    #[test]
    fn a_cycle_of_tokens_ends_the_answer_at_its_fourth_time() {
        let cycle = "abcdefghij";
        assert_eq!(stops_after(&cycle.repeat(6)), Some(40));
        let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-+";
        assert_eq!(stops_after(&long.repeat(5)), Some(4 * long.len()));
    }

    #[test]
    fn short_runs_are_allowed() {
        assert_eq!(stops_after("1000000000000 | --- | --- | --- | and so on ........"), None);
        assert_eq!(stops_after(&".".repeat(40)), Some(32));
    }

    #[test]
    fn short_lines_may_be_the_same() {
        assert_eq!(stops_after("}\n}\n}\n}\nyes\nyes\nyes\n"), None);
    }
}
