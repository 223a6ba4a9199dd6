//! A pull's events for people: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::progress::PullEvent;

/// Shows events on the standard error stream.
pub(super) enum Reporter {
    /// On a terminal.
    Bar(Bar),
    /// In a log.
    Lines(Lines),
}

impl Reporter {
    pub(super) fn new() -> Self {
        if io::stderr().is_terminal() { Self::Bar(Bar::default()) } else { Self::Lines(Lines::default()) }
    }

    pub(super) fn show(&mut self, event: &PullEvent<'_>) {
        let line = match self {
            Self::Bar(bar) => bar.show(event),
            Self::Lines(lines) => lines.show(event),
        };
        if let Some(line) = line {
            // Nobody to read it is no reason to stop.
            writeln!(io::stderr(), "{line}").ok();
        }
    }
}

/// A bar for the download that is going on.
#[derive(Default)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
}

// The name is cut where the line would not fit a terminal of 80 columns.
const BAR: &str = "{msg:32!} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}";
const SPINNER: &str = "{msg:32!} {spinner} {decimal_bytes} {decimal_bytes_per_sec}";

impl Bar {
    fn show(&mut self, event: &PullEvent<'_>) -> Option<String> {
        match event {
            PullEvent::Advanced { done_bytes } => {
                self.bar.iter().for_each(|bar| bar.set_position(*done_bytes));
                return None;
            }
            PullEvent::Started { label, done_bytes, total_bytes } => {
                self.clear();
                self.bar = Some(bar(label, *done_bytes, *total_bytes));
                return None;
            }
            _ => self.clear(),
        }
        line(event)
    }

    fn clear(&mut self) {
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn bar(label: &str, done_bytes: u64, total_bytes: Option<u64>) -> ProgressBar {
    let bar = total_bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if total_bytes.is_some() { BAR } else { SPINNER };
    // Both templates are constants that a test reads.
    bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
    bar.set_message(label.rsplit('/').next().unwrap_or(label).to_owned());
    bar.set_position(done_bytes);
    bar.reset_eta();
    bar
}

/// A line for every file and every tenth of it.
#[derive(Default)]
pub(super) struct Lines {
    label: String,
    total_bytes: u64,
    tenths: u64,
}

impl Lines {
    fn show(&mut self, event: &PullEvent<'_>) -> Option<String> {
        match event {
            PullEvent::Started { label, done_bytes, total_bytes } => {
                let total_bytes = total_bytes.unwrap_or(0);
                let tenths = tenths(*done_bytes, total_bytes);
                *self = Self { label: (*label).to_owned(), total_bytes, tenths };
                line(event)
            }
            PullEvent::Advanced { done_bytes } => {
                let tenths = tenths(*done_bytes, self.total_bytes);
                let is_news = tenths > self.tenths;
                self.tenths = tenths;
                is_news.then(|| format!("{}: {} %", self.label, tenths * 10))
            }
            other => line(other),
        }
    }
}

/// Whole tenths done; none of an unknown total.
fn tenths(done_bytes: u64, total_bytes: u64) -> u64 {
    (done_bytes * 10).checked_div(total_bytes).unwrap_or(0)
}

fn line(event: &PullEvent<'_>) -> Option<String> {
    Some(match event {
        PullEvent::Waiting { lock } => format!("another pull is at work, waiting for it to end ({})", lock.display()),
        PullEvent::Present { label } => format!("{label}: already there"),
        PullEvent::Cached { label } => format!("{label}: from the cache"),
        PullEvent::Started { label, done_bytes, total_bytes } => started(label, *done_bytes, *total_bytes),
        PullEvent::Advanced { .. } => return None,
        PullEvent::Retrying { label, reason, pause } => format!("{label}: {reason}, trying again {}", after(*pause)),
        PullEvent::Discarded { label } => format!("{label}: what an earlier pull left was wrong, beginning anew"),
        PullEvent::Unpacking { label } => format!("{label}: unpacking"),
        PullEvent::Ready { label, bytes, .. } => format!("{label}: ready, {}", size(*bytes)),
    })
}

fn started(label: &str, done_bytes: u64, total_bytes: Option<u64>) -> String {
    let total = total_bytes.map(|total| format!(" {}", size(total))).unwrap_or_default();
    match done_bytes {
        0 => format!("{label}: downloading{total}"),
        done => format!("{label}: downloading{total}, going on after {}", size(done)),
    }
}

fn after(pause: Duration) -> String {
    if pause.is_zero() { "now".to_owned() } else { format!("in {} s", pause.as_secs_f32().ceil()) }
}

/// A length for people, in decimal units as disks and downloads are sold.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000_u64)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        // One digit after the point is all that is shown, so rounding in between does no harm.
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_line_for_each_tenth_and_none_between() {
        let mut lines = Lines::default();
        let started = PullEvent::Started { label: "m/f", done_bytes: 250, total_bytes: Some(1000) };
        assert_eq!(lines.show(&started).as_deref(), Some("m/f: downloading 1.0 kB, going on after 250 B"));
        let mut told = |done_bytes| lines.show(&PullEvent::Advanced { done_bytes });
        assert_eq!(told(299), None);
        assert_eq!(told(300).as_deref(), Some("m/f: 30 %"));
        assert_eq!(told(310), None);
        assert_eq!(told(1000).as_deref(), Some("m/f: 100 %"));
    }

    #[test]
    fn a_download_of_unknown_length_has_no_tenths() {
        let mut lines = Lines::default();
        lines.show(&PullEvent::Started { label: "m/f", done_bytes: 0, total_bytes: None });
        assert_eq!(lines.show(&PullEvent::Advanced { done_bytes: 1000 }), None);
    }

    #[test]
    fn the_bar_templates_are_valid() {
        bar("m/f", 0, None);
        bar("m/f", 1, Some(2));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [0, 999, 466_247, 98_362_432, 4_700_000_000].map(size),
            ["0 B", "999 B", "466.2 kB", "98.4 MB", "4.7 GB"]
        );
    }
}
