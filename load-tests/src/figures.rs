//! What a scenario measures: distributions, counts and values under names, gathered from all its clients while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::check::Violation;
use crate::failure::Failure;
use crate::report::Trouble;
use crate::spread::{Spread, Summary};

/// All figures of a run so far. Names end with their unit: `_ms`, `_mib`, `_percent`; a plain name is a count.
#[derive(Debug, Default)]
pub struct Figures(Mutex<Table>);

/// The figures themselves.
#[derive(Debug, Default)]
pub struct Table {
    /// Distributions.
    pub spreads: BTreeMap<&'static str, Spread>,
    /// What was counted.
    pub counts: BTreeMap<&'static str, u64>,
    /// What was reckoned.
    pub values: BTreeMap<&'static str, f64>,
    /// Generators, as the server names them.
    pub models: BTreeSet<String>,
    /// What did not work.
    pub trouble: Trouble,
    /// Lines for people: what was left out and why, what happened when.
    pub notes: Vec<String>,
    /// Values of one distribution since they were last taken.
    window: Spread,
}

impl Figures {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each change is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a time to a distribution.
    pub fn time(&self, name: &'static str, time: Duration) {
        self.lock().spreads.entry(name).or_default().record_ms(time);
    }

    /// The same, of the distribution that is plotted over time.
    pub fn watched_time(&self, name: &'static str, time: Duration) {
        let mut table = self.lock();
        table.spreads.entry(name).or_default().record_ms(time);
        table.window.record_ms(time);
    }

    /// What was watched since the last call.
    pub fn take_window(&self) -> Option<Summary> {
        std::mem::take(&mut self.lock().window).summary()
    }

    /// A distribution so far.
    pub fn summary(&self, name: &str) -> Option<Summary> {
        self.lock().spreads.get(name).and_then(Spread::summary)
    }

    /// Counts something.
    pub fn count(&self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts several at once; 0 makes the name known.
    pub fn add(&self, name: &'static str, amount: u64) {
        *self.lock().counts.entry(name).or_default() += amount;
    }

    /// A count so far.
    pub fn counted(&self, name: &str) -> u64 {
        self.lock().counts.get(name).copied().unwrap_or_default()
    }

    /// Sets a value.
    pub fn set(&self, name: &'static str, value: f64) {
        self.lock().values.insert(name, value);
    }

    /// Sets a value unless it was larger before.
    pub fn raise(&self, name: &'static str, value: f64) {
        let mut table = self.lock();
        let highest = table.values.entry(name).or_insert(value);
        *highest = highest.max(value);
    }

    /// The server's generator has this name.
    pub fn model(&self, name: Option<String>) {
        self.lock().models.extend(name);
    }

    /// Something failed.
    pub fn failed(&self, failure: &Failure) {
        self.lock().trouble.add_failure(failure);
    }

    /// Rules were broken.
    pub fn broken(&self, violations: &[Violation]) {
        let mut table = self.lock();
        violations.iter().for_each(|violation| table.trouble.add_violation(violation));
    }

    /// Something that a reader of the report should know.
    pub fn note(&self, text: impl Into<String>) {
        self.lock().notes.push(text.into());
    }

    /// Everything, once no client measures any more.
    pub fn take(&self) -> Table {
        std::mem::take(&mut self.lock())
    }
}

impl Table {
    /// A figure by its name: a count, a value, `errors`, `errors.<code>`, `rules_broken`, or a distribution with `.p99` and the
    /// like behind it.
    pub fn figure(&self, name: &str) -> Option<f64> {
        if let Some(code) = name.strip_prefix("errors.") {
            return Some(self.trouble.errors.get(code).copied().unwrap_or_default() as f64);
        }
        match name {
            "errors" => return Some(self.trouble.errors.values().sum::<usize>() as f64),
            "rules_broken" => return Some(self.trouble.rules_broken.values().sum::<usize>() as f64),
            _ => {}
        }
        if let Some(value) = self.values.get(name) {
            return Some(*value);
        }
        if let Some(count) = self.counts.get(name) {
            return Some(*count as f64);
        }
        let (spread, part) = name.rsplit_once('.')?;
        let Summary { count, mean, min, p5, p50, p95, p99, max } = self.spreads.get(spread)?.summary()?;
        Some(match part {
            "count" => count as f64,
            "mean" => mean,
            "min" => min,
            "p5" => p5,
            "p50" => p50,
            "p95" => p95,
            "p99" => p99,
            "max" => max,
            _ => return None,
        })
    }

    /// The names that [`Self::figure`] knows, but those of parts of a distribution.
    pub fn names(&self) -> Vec<&'static str> {
        let of_run = ["errors", "rules_broken"];
        self.spreads.keys().chain(self.counts.keys()).chain(self.values.keys()).chain(&of_run).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_name() {
        let figures = Figures::default();
        figures.add("turns", 2);
        figures.set("growth_mib", 1.5);
        (1..=100).for_each(|ms| figures.watched_time("delay_ms", Duration::from_millis(ms)));
        figures.failed(&Failure::new("overloaded", "full"));
        assert_eq!(figures.take_window().map(|window| window.count), Some(100));
        assert_eq!(figures.take_window(), None);
        let table = figures.take();
        assert_eq!((table.figure("turns"), table.figure("growth_mib")), (Some(2.0), Some(1.5)));
        assert!((98.0..100.5).contains(&table.figure("delay_ms.p99").unwrap()));
        assert_eq!((table.figure("errors.overloaded"), table.figure("errors.internal")), (Some(1.0), Some(0.0)));
        assert_eq!((table.figure("delay_ms.p42"), table.figure("nothing")), (None, None));
    }
}
