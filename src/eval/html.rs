//! The result as one HTML page: plots, tables and the questions that failed. It needs no other file and runs no script;
//! everything that comes from questions, documents or the configuration is escaped.

use std::fmt::{self, Write as _};

use super::compare::Comparison;
use super::figures::{CUTOFFS, Figures};
use super::judge::Outcome;
use super::questions::UNANSWERABLE;
use super::report::{Report, Run, answer_rows, place, refusal_line, tested};

/// A hit further down than this is a failure.
const SEEN: usize = 5;

const STYLE: &str = "
:root { --page: #fff; --text: #1d2025; --muted: #585e68; --line: #d5d7db; --first: #1d5ca8; --second: #b35900; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14161a; --text: #e7e8ea; --muted: #a6abb4; --line: #3a3f47; --first: #8dbaf5; --second: #f0a35e; }
}
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .text td { text-align: left; vertical-align: top; }
.wide { overflow-x: auto; } .muted, svg text { color: var(--muted); fill: var(--muted); font-size: .85rem; }
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0; } svg .axis { stroke: var(--line); }
svg .run0 { fill: var(--first); } svg .run1 { fill: var(--second); }
svg polyline { fill: none !important; stroke-width: 2.5; } svg polyline.run0 { stroke: var(--first); } svg polyline.run1 { stroke: var(--second); stroke-dasharray: 7 4; }
.key0 { color: var(--first); } .key1 { color: var(--second); }
";

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut html = String::new();
    // Writing to a string can't fail.
    let _written = write_page(&mut html, report);
    html
}

fn write_page(html: &mut String, report: &Report) -> fmt::Result {
    write!(html, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Evaluation</title>")?;
    write!(
        html,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body>"
    )?;
    let questions = report.first.outcomes.len();
    writeln!(html, "<h1>Evaluation on {questions} questions</h1>")?;
    write_names(html, report)?;
    writeln!(html, "<h2>Recall by number of passages</h2>")?;
    recall_plot(html, report)?;
    writeln!(html, "<h2>Recall at {SEEN} by kind</h2>")?;
    kind_plot(html, report)?;
    for (number, run) in report.runs().enumerate() {
        writeln!(html, "<h2>Figures: <span class=\"key{number}\">{}</span></h2>", escape(&run.name))?;
        run_tables(html, run)?;
    }
    if let Some((_, comparison)) = &report.second {
        comparison_tables(html, comparison)?;
    }
    for run in report.runs() {
        failures(html, run)?;
    }
    writeln!(html, "</body></html>")
}

fn write_names(html: &mut String, report: &Report) -> fmt::Result {
    write!(html, "<p>")?;
    for (number, run) in report.runs().enumerate() {
        write!(html, "<span class=\"key{number}\">■ {}</span> ", escape(&run.name))?;
    }
    writeln!(html, "</p>")
}

const PLOT_WIDTH: f64 = 640.0;
const PLOT_HEIGHT: f64 = 260.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 14.0;

/// Height of a share between 0 and 1 in the plot.
fn y_of(share: f64) -> f64 {
    TOP + (1.0 - share) * (PLOT_HEIGHT - TOP - BOTTOM)
}

fn begin_plot(html: &mut String, label: &str) -> fmt::Result {
    write!(
        html,
        "<svg viewBox=\"0 0 {PLOT_WIDTH} {PLOT_HEIGHT}\" width=\"{PLOT_WIDTH}\" role=\"img\" aria-label=\"{label}\">"
    )?;
    for quarter in 0..=4_u8 {
        let share = f64::from(quarter) / 4.0;
        let y = y_of(share);
        write!(html, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{PLOT_WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>")?;
        write!(html, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{share:.2}</text>", LEFT - 6.0, y + 4.0)?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // a few points
fn recall_plot(html: &mut String, report: &Report) -> fmt::Result {
    begin_plot(html, "Recall over the first passages")?;
    let step = (PLOT_WIDTH - LEFT - 60.0) / (CUTOFFS.len() - 1) as f64;
    let x_of = |index: usize| LEFT + 30.0 + step * index as f64;
    for (index, k) in CUTOFFS.iter().enumerate() {
        write!(
            html,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">first {k}</text>",
            x_of(index),
            PLOT_HEIGHT - 12.0
        )?;
    }
    for (number, run) in report.runs().enumerate() {
        let recall: Vec<f64> = run.summary.answerable.recall.values().copied().collect();
        let points: Vec<String> =
            recall.iter().enumerate().map(|(index, share)| format!("{:.1},{:.1}", x_of(index), y_of(*share))).collect();
        write!(html, "<polyline class=\"run{number}\" points=\"{}\"/>", points.join(" "))?;
        for (index, share) in recall.iter().enumerate() {
            let (x, y) = (x_of(index), y_of(*share));
            write!(
                html,
                "<circle class=\"run{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{share:.3}</title></circle>"
            )?;
        }
    }
    writeln!(html, "</svg>")
}

#[allow(clippy::cast_precision_loss)] // a few kinds
fn kind_plot(html: &mut String, report: &Report) -> fmt::Result {
    begin_plot(html, "Recall at 5 by kind of question")?;
    let kinds = &report.first.summary.by_kind;
    let runs = report.runs().count() as f64;
    let step = (PLOT_WIDTH - LEFT) / kinds.len().max(1) as f64;
    let width = (step * 0.7 / runs).min(60.0);
    for (index, (kind, figures)) in kinds.iter().enumerate() {
        let middle = LEFT + step * (index as f64 + 0.5);
        let name = escape(&format!("{kind} ({})", figures.questions));
        write!(html, "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>", PLOT_HEIGHT - 12.0)?;
        for (number, run) in report.runs().enumerate() {
            let share =
                run.summary.by_kind.get(kind).and_then(|figures| figures.recall.get(&SEEN)).copied().unwrap_or(0.0);
            let x = middle - width * runs / 2.0 + width * number as f64;
            let (y, height) = (y_of(share), y_of(0.0) - y_of(share));
            write!(
                html,
                "<rect class=\"run{number}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\">",
                width - 2.0
            )?;
            write!(html, "<title>{}: {share:.3}</title></rect>", escape(&run.name))?;
        }
    }
    writeln!(html, "</svg>")
}

fn run_tables(html: &mut String, run: &Run) -> fmt::Result {
    let summary = &run.summary;
    write!(html, "<div class=\"wide\"><table><tr><th></th><th>questions</th>")?;
    CUTOFFS.iter().try_for_each(|k| write!(html, "<th>recall@{k}</th>"))?;
    writeln!(html, "<th>MRR</th><th>nDCG@10</th></tr>")?;
    figures_row(html, "answerable", &summary.answerable)?;
    figures_row(html, "without follow-ups", &summary.without_follow_ups)?;
    summary.by_kind.iter().try_for_each(|(kind, figures)| figures_row(html, kind, figures))?;
    writeln!(html, "</table></div><p>{}.</p>", escape(&refusal_line(&summary.refusals)))?;
    let latency = summary.latency_ms;
    writeln!(
        html,
        "<p>Embed and search: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms.</p>",
        latency.p50, latency.p95, latency.p99
    )?;
    if let Some(figures) = &run.answer_figures {
        write!(html, "<table>")?;
        for (name, value) in answer_rows(figures) {
            write!(html, "<tr><td>{name}</td><td>{value}</td></tr>")?;
        }
        writeln!(html, "</table>")?;
    }
    Ok(())
}

fn figures_row(html: &mut String, name: &str, figures: &Figures) -> fmt::Result {
    write!(html, "<tr><td>{}</td><td>{}</td>", escape(name), figures.questions)?;
    figures.recall.values().try_for_each(|recall| write!(html, "<td>{recall:.3}</td>"))?;
    writeln!(html, "<td>{:.3}</td><td>{:.3}</td></tr>", figures.mrr, figures.ndcg)
}

fn comparison_tables(html: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(
        html,
        "<h2>Difference</h2><table><tr><th></th><th>first</th><th>second</th><th>difference</th><th>p</th></tr>"
    )?;
    for (name, tested) in tested(comparison) {
        writeln!(
            html,
            "<tr><td>{name}</td><td>{:.3}</td><td>{:.3}</td><td>{:+.3}</td><td>{:.4}</td></tr>",
            tested.first, tested.second, tested.difference, tested.p_value
        )?;
    }
    writeln!(html, "</table><p class=\"muted\">p: paired randomisation test, two-sided.</p>")?;
    if comparison.changed.is_empty() {
        return writeln!(html, "<p>The first hit of every question stands at the same place.</p>");
    }
    writeln!(html, "<table class=\"text\"><tr><th>id</th><th>question</th><th>first</th><th>second</th></tr>")?;
    for changed in &comparison.changed {
        let (id, question) = (escape(&changed.id), escape(&changed.question));
        let (first, second) = (place(changed.first), place(changed.second));
        writeln!(html, "<tr><td>{id}</td><td>{question}</td><td>{first}</td><td>{second}</td></tr>")?;
    }
    writeln!(html, "</table>")
}

/// Questions without a hit among the passages that an answer is made from, and those that were refused or kept wrongly.
fn failures(html: &mut String, run: &Run) -> fmt::Result {
    let min_score = run.summary.refusals.min_score;
    let missed: Vec<&Outcome> =
        run.outcomes.iter().filter(|outcome| outcome.kind != UNANSWERABLE && !outcome.is_hit(SEEN)).collect();
    let misjudged: Vec<&Outcome> = run
        .outcomes
        .iter()
        .filter(|outcome| (outcome.kind == UNANSWERABLE) == (outcome.relevance >= min_score))
        .collect();
    writeln!(html, "<h2>Not in the first {SEEN}: {} ({})</h2>", escape(&run.name), missed.len())?;
    outcome_table(html, &missed)?;
    writeln!(html, "<h2>Refused or answered wrongly: {} ({})</h2>", escape(&run.name), misjudged.len())?;
    outcome_table(html, &misjudged)
}

fn outcome_table(html: &mut String, outcomes: &[&Outcome]) -> fmt::Result {
    if outcomes.is_empty() {
        return writeln!(html, "<p>None.</p>");
    }
    writeln!(
        html,
        "<table class=\"text\"><tr><th>id</th><th>kind</th><th>question</th><th>hit</th><th>wanted</th><th>found first</th></tr>"
    )?;
    for outcome in outcomes {
        let first = outcome.first.as_ref().map_or_else(String::new, |found| {
            format!(
                "{} ({:.2})<br><span class=\"muted\">{}</span>",
                escape(&found.place),
                outcome.relevance,
                escape(&found.text)
            )
        });
        writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{first}</td></tr>",
            escape(&outcome.id),
            escape(&outcome.kind),
            escape(&outcome.question),
            place(outcome.rank),
            escape(&outcome.wanted.join("; "))
        )?;
    }
    writeln!(html, "</table>")
}

/// Text as it may stand in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() && !control.is_whitespace() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::outcome;
    use super::super::judge::First;
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        const EVIL: &str = "</svg><script>alert('x')</script>\"&\u{0}";
        let first = Some(First { place: EVIL.into(), text: EVIL.into() });
        let wanted = vec![EVIL.into()];
        let hostile = Outcome { id: EVIL.into(), question: EVIL.into(), wanted, first, ..outcome(EVIL, None, 0.1) };
        let other = Outcome { rank: Some(1), ..hostile.clone() };
        let run = |outcome| Run::new(EVIL.into(), 0.5, vec![outcome], Vec::new());
        let html = page(&Report::new(run(hostile), Some(run(other))));
        assert!(!html.contains("<script") && !html.contains('\u{0}'));
        assert_eq!(html.matches("</svg>").count(), 2);
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    }

    #[test]
    fn the_page_has_both_plots_and_names_what_failed() {
        let html = page(&report());
        assert_eq!(html.matches("<polyline").count(), 2, "a line for each configuration");
        assert_eq!(html.matches("<rect").count(), 2);
        assert!(html.contains("<td>4</td><td>1</td>"), "the question that changed");
        assert!(!html.contains("http"), "no request to anywhere");
        let missing = Run::new("x".into(), 0.5, vec![outcome("factual", None, 0.9)], Vec::new());
        assert!(page(&Report::new(missing, None)).contains("not found"));
    }
}
