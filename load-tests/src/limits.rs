//! Limits on figures: a run that misses one fails.

use std::str::FromStr;

use serde::Serialize;

use crate::figures::Table;

/// A figure and a value, as the command line has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    name: String,
    value: f64,
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not FIGURE=NUMBER");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let value: f64 = value.trim().parse().map_err(|_| wrong())?;
        if name.trim().is_empty() || !value.is_finite() {
            return Err(wrong());
        }
        Ok(Self { name: name.trim().to_owned(), value })
    }
}

/// On which side of the limit a figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Not above it.
    AtMost,
    /// Not below it.
    AtLeast,
}

/// What became of a limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Of which figure.
    pub figure: String,
    /// Which side.
    pub side: Side,
    /// The limit.
    pub limit: f64,
    /// The figure; `None` when the run has none of that name, which misses the limit.
    pub value: Option<f64>,
    /// Whether it was kept.
    pub kept: bool,
}

/// Holds figures against limits.
pub fn judge(limits: &[Limit], side: Side, figures: &Table) -> Vec<Verdict> {
    let verdict = |limit: &Limit| {
        let value = figures.figure(&limit.name);
        let kept = value.is_some_and(|value| match side {
            Side::AtMost => value <= limit.value,
            Side::AtLeast => value >= limit.value,
        });
        Verdict { figure: limit.name.clone(), side, limit: limit.value, value, kept }
    };
    limits.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_beyond_its_limit_or_without_a_value_misses_it() {
        let mut table = Table::default();
        table.values.insert("growth_mib", 3.0);
        let kept = |limit: &str, side| judge(&[limit.parse().unwrap()], side, &table)[0].kept;
        assert!(kept("growth_mib=3", Side::AtMost) && kept("growth_mib=3", Side::AtLeast));
        assert!(!kept("growth_mib=2.9", Side::AtMost) && !kept("growth_mib=3.1", Side::AtLeast));
        assert!(!kept("grwoth_mib=9", Side::AtMost), "a name that is wrong must not look like success");
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for bad in ["growth_mib", "=3", "a=b", "a=NaN"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }
}
