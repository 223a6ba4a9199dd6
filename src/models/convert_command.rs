//! `mentor models convert`, and what `mentor models list` says of its choices.

use std::io::{self, Write};
use std::path::Path;

use mentor_engines::llama::ChooseEvent;

use super::command::{Outcome, lines_of_json};
use super::conversion::{CandidateFigures, Conversion, WeightChoice};
use super::convert::{ConvertEvent, ConvertReport, ConvertRequest, ConvertState, LlamaWeights};
use super::dir::{ModelRow, ModelsDir};
use super::report::size;
use crate::config::Config;

/// The command's flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvertHow {
    pub(super) weights: Option<WeightChoice>,
    pub(super) force: bool,
    pub(super) is_setup: bool,
    pub(super) as_json: bool,
}

/// Converts the configured generator.
pub(super) fn convert(dir: &ModelsDir, config: &Config, how: ConvertHow) -> Outcome {
    let request = ConvertRequest {
        llm: (!config.llm.is_empty()).then_some(&*config.llm),
        weights: how.weights,
        force: how.force,
        is_setup: how.is_setup,
        device: config.generator_device(),
        threads: threads(config),
    };
    let mut tell = |event: ConvertEvent<'_>| {
        // Nobody to read it is no reason to stop.
        writeln!(io::stderr(), "{}", line(&event)).ok();
    };
    match dir.convert(&request, &LlamaWeights, &mut tell) {
        Ok(report) if how.as_json => Ok((lines_of_json(&report), 0)),
        Ok(report) if how.is_setup && report.state != ConvertState::Made => Ok((String::new(), 0)),
        Ok(report) => Ok((summary(&report), 0)),
        Err(error) if how.is_setup => {
            writeln!(io::stderr(), "warning: the generator's weights stay as shipped: {error}").ok();
            Ok((String::new(), 0))
        }
        Err(error) => Err(error),
    }
}

/// As the generator has them.
fn threads(config: &Config) -> usize {
    match config.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

fn line(event: &ConvertEvent<'_>) -> String {
    match event {
        ConvertEvent::Waiting => "another conversion is at work, waiting for it to end".to_owned(),
        ConvertEvent::Started { name } => format!("{name}: looking for the weights that are fastest on this machine"),
        ConvertEvent::Step(ChooseEvent::Rewriting(weights)) => format!("{weights}: writing"),
        ConvertEvent::Step(ChooseEvent::Measuring(name)) => format!("{name}: measuring"),
        ConvertEvent::Step(ChooseEvent::Measured(candidate)) => figures(&(*candidate).into()),
        ConvertEvent::Step(ChooseEvent::LeftOut(weights, why)) => format!("{weights}: left out, {why}"),
    }
}

/// One line of figures.
fn figures(of: &CandidateFigures) -> String {
    format!(
        "{}: {}, perplexity {:.2}, same next token at {:.1} %, reads {:.0} and writes {:.0} tokens/s, a turn in {:.1} s",
        of.type_name,
        size(of.bytes),
        of.perplexity,
        of.agreement * 100.0,
        of.prefill_tokens_per_s,
        of.decode_tokens_per_s,
        of.turn_s
    )
}

/// What was chosen, or why nothing was.
fn summary(report: &ConvertReport) -> String {
    let chosen = match &report.conversion {
        Some(conversion) => choice(conversion),
        None => format!("as shipped: {}", report.reason),
    };
    format!("{}: {chosen}\n{}\n", report.model, report.path.display())
}

/// `Q8_0 in place of Q4_1: WHY`.
fn choice(conversion: &Conversion) -> String {
    let Conversion { chosen, reason, source, result, .. } = conversion;
    match result {
        Some(_) => format!("{chosen} in place of {}: {reason}", source.type_name),
        None => format!("{chosen} as shipped: {reason}"),
    }
}

/// All choices with their figures, for the end of a list; nothing when there are none.
pub(super) fn choices(dir: &ModelsDir, rows: &[ModelRow]) -> String {
    let models = rows.iter().filter_map(|row| Some((row.name.clone(), row.conversion.clone()?)));
    let own = dir.own_conversions().into_iter().map(|(source, record)| (source.name, record));
    let lines: String = models.chain(own).map(|(name, record)| paragraph(&name, &record)).collect();
    if lines.is_empty() { lines } else { format!("\nWeights on the CPU (`mentor models convert`):\n{lines}") }
}

fn paragraph(name: &str, record: &Conversion) -> String {
    let name = Path::new(name).file_name().map_or(name.into(), |name| name.to_string_lossy());
    let threads = if record.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", record.threads) };
    let gain = record.compared().filter(|(_, chosen)| chosen.turn_s > 0.0).map(|(shipped, chosen)| {
        let gain = shipped.turn_s / chosen.turn_s;
        format!("; {gain:.1} times as fast as shipped on {}, {threads}, {}", record.cpu, record.date)
    });
    let figures: String = record.candidates.iter().map(|of| format!("    {}\n", figures(of))).collect();
    format!("  {name}: {}{}\n{figures}", choice(record), gain.unwrap_or_default())
}
