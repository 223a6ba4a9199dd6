//! What is printed: a table for people, the same figures as JSON for programs, and for scenarios a page with plots.

mod ask;
mod page;
mod plot;
mod run;
mod search;
mod trouble;

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use crate::spread::Summary;

pub use ask::AskReport;
pub use page::page;
pub use run::RunReport;
pub use search::{SearchReport, SearchSetup, SearchTally};
pub use trouble::Trouble;

/// Said in every report, because it decides what the figures mean.
const CLOSED_LOOP: &str = "closed loop: each asks again only when its last question has ended, so a slow server is \
    asked less, and waits are milder than those of clients who come when they like";

fn counts<K: Display, N: Display>(counts: &BTreeMap<K, N>) -> String {
    if counts.is_empty() {
        return "none".into();
    }
    counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

fn header(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let [mean, min, p5, p50, p95, p99, max] = ["mean", "min", "p5", "p50", "p95", "p99", "max"];
    writeln!(f, "{:24}{:>7}{mean:>10}{min:>10}{p5:>10}{p50:>10}{p95:>10}{p99:>10}{max:>10}", "", "n")
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, summary: Option<&Summary>) -> fmt::Result {
    let Some(Summary { count, mean, min, p5, p50, p95, p99, max }) = summary else {
        return writeln!(f, "{what:24}{:>7}", 0);
    };
    writeln!(f, "{what:24}{count:>7}{mean:>10.1}{min:>10.1}{p5:>10.1}{p50:>10.1}{p95:>10.1}{p99:>10.1}{max:>10.1}")
}
