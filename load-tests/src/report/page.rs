//! The report as one page: tables and plots, readable without a network.

use super::plot::{of_curve, of_series};
use super::run::RunReport;
use crate::spread::Summary;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2733}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}code{background:#f0f3f6;padding:.1em .3em;overflow-wrap:anywhere}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .7rem;text-align:right;
border-bottom:1px solid #d7dee5}td:first-child,th:first-child{text-align:left}.missed{color:#b3261e;font-weight:600}
.kept{color:#1b6b3a}.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:29rem;max-width:100%}
figcaption{font-weight:600}svg{width:100%;height:auto}svg text{font-size:11px;fill:#5b6b7a}
polyline{fill:none;stroke:#2563a8;stroke-width:1.5}.grid{stroke:#e3e9ee}";

/// The page.
pub fn page(report: &RunReport) -> String {
    let title =
        format!("mentor-load {}: {}", report.scenario, if report.exit_code() == 0 { "passed" } else { "FAILED" });
    let notes: String = report.notes.iter().map(|note| format!("<p>{}</p>", escaped(note))).collect();
    let plots: String = report.curves.iter().map(of_curve).chain(report.series.iter().map(of_series)).collect();
    let sections = [
        limits(report),
        format!("<h2>Distributions</h2>{}", spreads(report)),
        format!("<h2>Counts and values</h2>{}", figures(report)),
        trouble(report),
        format!("<h2>Plots</h2><div class=\"plots\">{plots}</div>"),
    ]
    .concat();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1><p><code>{}</code>, {:.1} s</p><p>{}</p>{notes}{sections}</html>\n",
        escaped(&report.command),
        report.seconds,
        escaped(&report.place()),
    )
}

fn limits(report: &RunReport) -> String {
    let line = |verdict: &crate::limits::Verdict| {
        let class = if verdict.kept { "kept" } else { "missed" };
        format!("<p class=\"{class}\">{}</p>", escaped(&verdict.to_string()))
    };
    if report.limits.is_empty() {
        return String::new();
    }
    format!("<h2>Limits</h2>{}", report.limits.iter().map(line).collect::<String>())
}

fn spreads(report: &RunReport) -> String {
    let row = |(name, summary): (&&str, &Summary)| {
        let Summary { count, mean, min, p5, p50, p95, p99, max } = summary;
        let values: String = [mean, min, p5, p50, p95, p99, max].map(|value| format!("<td>{value:.1}</td>")).concat();
        format!("<tr><td>{name}</td><td>{count}</td>{values}</tr>")
    };
    let heads = ["", "n", "mean", "min", "p5", "p50", "p95", "p99", "max"].map(|head| format!("<th>{head}</th>"));
    format!("<table><tr>{}</tr>{}</table>", heads.concat(), report.spreads.iter().map(row).collect::<String>())
}

fn figures(report: &RunReport) -> String {
    let counts = report.counts.iter().map(|(name, count)| (*name, count.to_string()));
    let values = report.values.iter().map(|(name, value)| (*name, format!("{value:.3}")));
    let rows = counts.chain(values).map(|(name, value)| format!("<tr><td>{name}</td><td>{value}</td></tr>"));
    format!("<table>{}</table>", rows.collect::<String>())
}

fn trouble(report: &RunReport) -> String {
    let lines: String = report.trouble.to_string().lines().map(|line| format!("<p>{}</p>", escaped(line))).collect();
    format!("<h2>What did not work</h2>{lines}")
}

/// Text that came from a server or a command line is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_no_markup() {
        assert_eq!(escaped("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
