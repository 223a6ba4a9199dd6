//! The report of `ask`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::time::Duration;

use serde::Serialize;

use super::{CLOSED_LOOP, Trouble, counts, header, per_second, row};
use crate::clock::Measured;
use crate::conversation::{Ending, Outcome, Plan};
use crate::spread::{Spread, Summary};

/// The report of `ask`. Times are those of the client, in milliseconds; tokens are counted by the server.
#[derive(Debug, Serialize)]
pub struct AskReport {
    command: &'static str,
    /// How the load was made.
    load: &'static str,
    url: String,
    /// Generators, as the server names them.
    models: BTreeSet<String>,
    conversations: usize,
    turns_per_conversation: usize,
    max_tokens: Option<usize>,
    seed: Option<u32>,
    /// Different questions that the turns had to share.
    questions: usize,
    /// From the first question to the last conversation's end; connecting is not in it.
    seconds: f64,
    turns_asked: usize,
    turns_not_asked: usize,
    /// Turns that ended with `complete`.
    pub turns_completed: usize,
    finish_reasons: BTreeMap<String, usize>,
    connect_ms: Option<Summary>,
    /// Of generated answers only, as the next two.
    first_token_ms: Option<Summary>,
    total_ms: Option<Summary>,
    /// Of each answer by itself, while it was written.
    tokens_per_second: Option<Summary>,
    /// Time to the end of questions that were refused without asking the generator.
    refused_ms: Option<Summary>,
    completion_tokens: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    /// Answer tokens of all conversations together, over the whole time.
    tokens_per_second_together: f64,
    /// What did not work.
    #[serde(flatten)]
    pub trouble: Trouble,
}

impl AskReport {
    /// Sums up a run that took that long.
    pub fn new(plan: &Plan, took: Duration, outcomes: &[Outcome]) -> Self {
        let planned = plan.conversations * plan.turns;
        let mut sums = AskSums::default();
        outcomes.iter().for_each(|outcome| sums.add(outcome));
        let seconds = took.as_secs_f64();
        Self {
            command: "ask",
            load: CLOSED_LOOP,
            url: plan.address.to_string(),
            models: outcomes.iter().filter_map(|outcome| outcome.model.clone()).collect(),
            conversations: plan.conversations,
            turns_per_conversation: plan.turns,
            max_tokens: plan.options.max_tokens,
            seed: plan.options.seed,
            questions: planned.min(plan.questions.count()),
            seconds,
            turns_asked: sums.asked,
            turns_not_asked: planned - sums.asked, // a conversation asks at most its turns
            turns_completed: sums.finish_reasons.values().sum(),
            finish_reasons: sums.finish_reasons,
            connect_ms: sums.connect.summary(),
            first_token_ms: sums.first_token.summary(),
            total_ms: sums.total.summary(),
            tokens_per_second: sums.tokens_per_second.summary(),
            refused_ms: sums.refused.summary(),
            completion_tokens: sums.completion_tokens,
            prompt_tokens: sums.prompt_tokens,
            cached_tokens: sums.cached_tokens,
            tokens_per_second_together: per_second(sums.completion_tokens as f64, seconds),
            trouble: sums.trouble,
        }
    }
}

/// The outcomes of all conversations, added up.
#[derive(Default)]
struct AskSums {
    asked: usize,
    finish_reasons: BTreeMap<String, usize>,
    connect: Spread,
    first_token: Spread,
    total: Spread,
    tokens_per_second: Spread,
    refused: Spread,
    completion_tokens: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    trouble: Trouble,
}

impl AskSums {
    fn add(&mut self, outcome: &Outcome) {
        outcome.connect.into_iter().for_each(|time| self.connect.record_ms(time));
        outcome.failures.iter().for_each(|failure| self.trouble.add_failure(failure));
        outcome.violations.iter().for_each(|violation| self.trouble.add_violation(violation));
        self.asked += outcome.endings.len();
        for ending in &outcome.endings {
            match ending {
                Ending::Completed(measured) => self.add_completed(measured),
                Ending::Failed(failure) | Ending::Lost(failure) => self.trouble.add_failure(failure),
            }
        }
    }

    fn add_completed(&mut self, measured: &Measured) {
        *self.finish_reasons.entry(measured.finish_reason.clone()).or_default() += 1;
        self.completion_tokens += measured.usage.completion_tokens;
        self.prompt_tokens += measured.usage.prompt_tokens;
        self.cached_tokens += measured.usage.cached_tokens;
        match measured.finish_reason.as_str() {
            "stop" | "length" => self.add_generated(measured),
            "refused" => self.refused.record_ms(measured.total),
            // An answer that was cut short, by nobody here, says nothing about speed.
            _ => {}
        }
    }

    fn add_generated(&mut self, measured: &Measured) {
        self.total.record_ms(measured.total);
        measured.first_token.into_iter().for_each(|time| self.first_token.record_ms(time));
        measured.tokens_per_second.into_iter().for_each(|speed| self.tokens_per_second.record(speed));
    }
}

impl Display for AskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models = self.models.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (conversations, turns) = (self.conversations, self.turns_per_conversation);
        writeln!(f, "{conversations} conversations of {turns} turns, {} different questions", self.questions)?;
        writeln!(f, "server {}, model {}", self.url, if models.is_empty() { "unknown" } else { &models })?;
        writeln!(f, "{CLOSED_LOOP}")?;
        let (asked, missing, completed) = (self.turns_asked, self.turns_not_asked, self.turns_completed);
        writeln!(f, "turns: {asked} asked in {:.1} s, {completed} completed, {missing} not asked", self.seconds)?;
        writeln!(f, "finish reasons: {}", counts(&self.finish_reasons))?;
        header(f)?;
        row(f, "until ready, ms", self.connect_ms.as_ref())?;
        row(f, "time to first token, ms", self.first_token_ms.as_ref())?;
        row(f, "total time, ms", self.total_ms.as_ref())?;
        row(f, "tokens/s of one answer", self.tokens_per_second.as_ref())?;
        row(f, "refused, total time, ms", self.refused_ms.as_ref())?;
        let (tokens, speed) = (self.completion_tokens, self.tokens_per_second_together);
        writeln!(f, "answers: {tokens} tokens, {speed:.1} tokens/s of all conversations together")?;
        writeln!(f, "prompts: {} tokens, {} of them from the server's cache", self.prompt_tokens, self.cached_tokens)?;
        write!(f, "{}", self.trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::check::{Rule, Violation};
    use crate::frame::{AskOptions, Usage};
    use crate::questions::Questions;

    const DEADLINE: Duration = Duration::from_secs(1);

    fn plan() -> Plan {
        Plan {
            address: Address::web_socket("ws://tutor:8000").unwrap(),
            run_id: "load".into(),
            questions: Questions::parse("a\nb\nc").unwrap(),
            conversations: 2,
            turns: 2,
            options: AskOptions::default(),
            connect_deadline: DEADLINE,
            turn_deadline: DEADLINE,
        }
    }

    fn completed(finish_reason: &str, total_ms: u64) -> Ending {
        Ending::Completed(Measured {
            finish_reason: finish_reason.into(),
            usage: Usage { prompt_tokens: 100, cached_tokens: 40, completion_tokens: 20 },
            first_token: Some(Duration::from_millis(10)),
            total: Duration::from_millis(total_ms),
            tokens_per_second: Some(50.0),
        })
    }

    fn violation() -> Violation {
        Violation { rule: Rule::OneEnd, detail: "it ended twice".into() }
    }

    #[test]
    fn a_refusal_does_not_count_as_a_fast_answer() {
        let outcome = Outcome { endings: vec![completed("stop", 500), completed("refused", 1)], ..Outcome::default() };
        let report = AskReport::new(&plan(), Duration::from_secs(2), &[outcome]);
        let total = report.total_ms.unwrap();
        assert_eq!((total.count, report.refused_ms.unwrap().count), (1, 1));
        assert!(total.min > 499.0);
        assert_eq!((report.turns_completed, report.turns_not_asked, report.questions), (2, 2, 3));
        assert_eq!((report.completion_tokens, report.tokens_per_second_together), (40, 20.0));
    }

    #[test]
    fn the_table_and_the_json_say_how_the_load_was_made() {
        let outcome =
            Outcome { endings: vec![completed("stop", 500)], violations: vec![violation()], ..Outcome::default() };
        let report = AskReport::new(&plan(), DEADLINE, &[outcome]);
        let table = report.to_string();
        assert!(table.contains("closed loop") && table.contains("one_end: it ended twice"), "{table}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["load"].as_str().unwrap().starts_with("closed loop"));
        assert_eq!(json["rules_broken"]["one_end"], 1);
        assert_eq!(json["total_ms"]["count"], 1);
    }
}
