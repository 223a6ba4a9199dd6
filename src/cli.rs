//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::Workload;
use crate::config::ConfigLayer;
use crate::models::command::ModelsArgs;

/// A tutor over your own course materials: answers in real time, and shows the page every claim stands on.
#[derive(Debug, Parser)]
#[command(name = "mentor", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Configuration file; `mentor.toml` in the working directory when it is there.
    #[arg(long, env = "MENTOR_CONFIG", global = true, help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Values of the configuration.
    #[command(flatten)]
    pub values: ConfigLayer,
}

const EXAMPLES: &str = "Examples:
  mentor ingest --directory course_materials
  mentor serve
  mentor ask \"How does a hash table resolve collisions?\"

Every configuration key is a flag, a MENTOR_* variable and a key of mentor.toml: `mentor help serve` lists them,
`mentor config` prints the effective values.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the web page, WebSocket, REST and metrics.
    Serve(ServeArgs),
    /// Bring a folder of course materials into the store.
    Ingest(IngestArgs),
    /// Ask one question in the terminal.
    Ask(AskArgs),
    /// Find passages without generating an answer.
    Search(SearchArgs),
    /// Measure retrieval on a file of questions with known pages.
    Eval(EvalArgs),
    /// What the store holds.
    #[command(after_help = "Example:\n  mentor stats --json")]
    Stats(JsonArgs),
    /// Measure how fast it is here.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Models: list, pull, convert, verify, path.
    Models(ModelsArgs),
    /// The effective configuration.
    #[command(after_help = "Example:\n  mentor config --top-k 8 > my-course.toml")]
    Config,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mentor serve --listen 0.0.0.0:8000\n  mentor serve --supervised")]
pub struct ServeArgs {
    /// Keep a parent process that starts the server again when it dies, as some errors of a GPU make it.
    #[arg(long)]
    pub supervised: bool,
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 everything was ingested, 3 some documents or pages had no text (listed), 2 an error.

Examples:
  mentor ingest --directory course_materials
  mentor ingest --directory ~/books --dry-run"
)]
pub struct IngestArgs {
    /// Folder to ingest; the configured `materials_dir` when not given.
    #[arg(long, short)]
    pub directory: Option<PathBuf>,
    /// Empty the store first, also when it was made with another embedder.
    #[arg(long)]
    pub overwrite: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ask`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mentor ask \"What is a B-tree?\" --document databases.pdf")]
pub struct AskArgs {
    /// The question.
    pub question: String,
    /// Only these documents: names or globs.
    #[arg(long = "document")]
    pub documents: Vec<String>,
    /// Print the completion as JSON instead of streaming the answer.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `search`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mentor search \"red-black tree\" --top-k 10 --json")]
pub struct SearchArgs {
    /// What to look for.
    pub query: String,
    /// Only these documents: names or globs.
    #[arg(long = "document")]
    pub documents: Vec<String>,
    /// Print the passages as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each line of the file is a JSON object: id, kind, question, follow_up_to, sources [{file, pages}].

Example:
  mentor eval questions.jsonl"
)]
pub struct EvalArgs {
    /// Questions, one JSON object a line.
    pub questions: PathBuf,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Commands whose output is data.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Prefill and decode rates, times to the first and between tokens.
    Generate(BenchGenerateArgs),
    /// Time from "stop" to a free slot, and what many stopped turns leave behind.
    Cancel(BenchCancelArgs),
}

/// Arguments of `bench generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Measures the configured generator; with `--llm http://...` a server, whose own time and network count then. Quote
ratios of things measured in turn on a quiet machine.

Examples:
  mentor bench generate
  mentor bench generate --conversations 1,8 --workloads quote --json
  mentor bench generate --llm http://127.0.0.1:8080 --table-only"
)]
pub struct BenchGenerateArgs {
    /// Conversations at once.
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16", value_parser = at_least_one)]
    pub conversations: Vec<usize>,
    /// What the conversations are about.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "apart,shared,quote")]
    pub workloads: Vec<Workload>,
    /// Tokens of a prompt, about.
    #[arg(long = "prompt", default_value_t = 600)]
    pub prompt_tokens: usize,
    /// Longest answer, in tokens.
    #[arg(long = "answer", default_value_t = 128)]
    pub answer_tokens: usize,
    /// Rounds of each; medians are printed.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Leave out second turns and the answer beside a long prompt.
    #[arg(long)]
    pub table_only: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench cancel`.
#[derive(Debug, Args)]
#[command(
    after_help = "Turns with short prompts in all slots of the configured generator, most of them stopped at a random moment: before
the prompt is read, meanwhile, or in the answer. Exit code 1 when a slot or a KV cell stays taken.

Examples:
  mentor bench cancel
  mentor bench cancel --turns 10000 --json"
)]
pub struct BenchCancelArgs {
    /// Turns.
    #[arg(long, default_value_t = 1_000)]
    pub turns: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (1..=256).contains(number)).ok_or_else(|| "must be 1 to 256".into())
}
