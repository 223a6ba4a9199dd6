//! What did not work: errors and broken rules, counted apart.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use super::counts;
use crate::check::Violation;
use crate::failure::Failure;

/// What did not work.
#[derive(Debug, Default, Serialize)]
pub struct Trouble {
    /// Errors by their code.
    pub errors: BTreeMap<String, usize>,
    /// Rules of the protocol that were broken, and how often.
    pub rules_broken: BTreeMap<&'static str, usize>,
    /// The first case of each.
    pub examples: Vec<String>,
}

impl Trouble {
    /// Counts a failure.
    pub fn add_failure(&mut self, failure: &Failure) {
        let count = self.errors.entry(failure.code.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.examples.push(format!("{}: {}", failure.code, failure.detail));
        }
    }

    /// Counts a rule that was broken.
    pub fn add_violation(&mut self, violation: &Violation) {
        let count = self.rules_broken.entry(violation.rule.as_str()).or_default();
        *count += 1;
        if *count == 1 {
            self.examples.push(violation.to_string());
        }
    }

    /// 1 when a rule was broken, 2 when nothing was answered at all, 0 otherwise.
    pub fn exit_code(&self, completed: usize) -> u8 {
        match (self.rules_broken.is_empty(), completed) {
            (false, _) => 1,
            (true, 0) => 2,
            (true, _) => 0,
        }
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "errors: {}", counts(&self.errors))?;
        writeln!(f, "rules of the protocol that were broken: {}", counts(&self.rules_broken))?;
        self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Rule;

    #[test]
    fn errors_are_counted_by_code_with_one_example_each() {
        let mut trouble = Trouble::default();
        trouble.add_failure(&Failure::new("overloaded", "first"));
        trouble.add_failure(&Failure::new("overloaded", "second"));
        assert_eq!(trouble.errors["overloaded"], 2);
        assert_eq!(trouble.examples, ["overloaded: first"]);
    }

    #[test]
    fn the_exit_code_tells_broken_rules_from_no_answers() {
        let mut trouble = Trouble::default();
        assert_eq!((trouble.exit_code(1), trouble.exit_code(0)), (0, 2));
        trouble.add_violation(&Violation { rule: Rule::OneEnd, detail: "it ended twice".into() });
        assert_eq!((trouble.exit_code(1), trouble.exit_code(0)), (1, 1));
    }
}
