//! The report of a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use serde::Serialize;

use super::plot::{Curve, curve_of};
use super::{Trouble, counts, header, row};
use crate::bench::Bench;
use crate::limits::{Side, Verdict, judge};
use crate::sampler::Series;
use crate::spread::Summary;

/// The report of a scenario. Times are those of the clients, in milliseconds.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// Which scenario.
    pub scenario: &'static str,
    /// How to run it again.
    pub command: String,
    url: String,
    /// Generators, as the server names them.
    models: BTreeSet<String>,
    /// How long it took.
    pub seconds: f64,
    /// Distributions by name.
    pub spreads: BTreeMap<&'static str, Summary>,
    /// What was counted.
    pub counts: BTreeMap<&'static str, u64>,
    /// What was reckoned.
    pub values: BTreeMap<&'static str, f64>,
    /// Limits, and whether they were kept.
    pub limits: Vec<Verdict>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What did not work.
    #[serde(flatten)]
    pub trouble: Trouble,
    /// Quantities over time.
    pub series: Vec<Series>,
    /// Distributions in full, for their plots.
    #[serde(skip)]
    pub curves: Vec<Curve>,
    /// Names of figures, for whoever wrote a limit on one that is not there.
    #[serde(skip)]
    known: Vec<&'static str>,
}

impl RunReport {
    /// Sums up a scenario that has ended.
    pub fn new(scenario: &'static str, bench: &Bench, series: Vec<Series>) -> Self {
        let seconds = bench.start.elapsed().as_secs_f64();
        let table = bench.figures.take();
        let common = &bench.common;
        let limits =
            [judge(&common.at_most, Side::AtMost, &table), judge(&common.at_least, Side::AtLeast, &table)].concat();
        Self {
            scenario,
            command: command_line(),
            url: common.url.to_string(),
            seconds,
            limits,
            known: table.names(),
            curves: table.spreads.iter().filter_map(|(name, spread)| curve_of(name, spread)).collect(),
            spreads: table.spreads.iter().filter_map(|(name, spread)| Some((*name, spread.summary()?))).collect(),
            models: table.models,
            counts: table.counts,
            values: table.values,
            notes: table.notes,
            trouble: table.trouble,
            series,
        }
    }

    /// 1 when a rule of the protocol was broken or a limit was missed, 2 when nothing was counted at all, 0 otherwise.
    pub fn exit_code(&self) -> u8 {
        let kept = self.limits.iter().all(|verdict| verdict.kept);
        let happened = self.counts.values().sum::<u64>();
        if kept { self.trouble.exit_code(usize::try_from(happened).unwrap_or(usize::MAX)) } else { 1 }
    }

    /// Where it was measured.
    pub fn place(&self) -> String {
        let models: Vec<&str> = self.models.iter().map(String::as_str).collect();
        format!("server {}, model {}", self.url, if models.is_empty() { "unknown".into() } else { models.join(", ") })
    }
}

/// What this process was told, without secrets: it takes none.
fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("mentor-load {}", arguments.join(" "))
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::AtMost { "at most" } else { "at least" };
        let outcome = if self.kept { "kept" } else { "MISSED" };
        match self.value {
            Some(value) => write!(f, "{outcome}: {} is {value:.3}, {side} {}", self.figure, self.limit),
            None => write!(f, "{outcome}: {} has no value, {side} {}", self.figure, self.limit),
        }
    }
}

impl Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {:.1} s", self.command, self.seconds)?;
        writeln!(f, "{}", self.place())?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        header(f)?;
        self.spreads.iter().try_for_each(|(name, summary)| row(f, name, Some(summary)))?;
        writeln!(f, "counts: {}", counts(&self.counts))?;
        let values: Vec<String> = self.values.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        writeln!(f, "values: {}", if values.is_empty() { "none".into() } else { values.join(", ") })?;
        self.limits.iter().try_for_each(|verdict| writeln!(f, "limit {verdict}"))?;
        if self.limits.iter().any(|verdict| verdict.value.is_none()) {
            writeln!(f, "  figures of this run: {}", self.known.join(", "))?;
        }
        write!(f, "{}", self.trouble)
    }
}
