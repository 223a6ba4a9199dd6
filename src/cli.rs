//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::Workload;
use crate::commands::Lifetime;
use crate::config::{ConfigLayer, EmbedArithmetic};
use crate::guard::Scope;
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
    /// Make the store what a folder of course materials is.
    Ingest(IngestArgs),
    /// Ask one question in the terminal.
    Ask(AskArgs),
    /// Find passages without generating an answer.
    Search(SearchArgs),
    /// Measure retrieval and answers on a file of questions with known places.
    Eval(EvalArgs),
    /// What the store holds.
    #[command(after_help = "Example:\n  mentor stats --json")]
    Stats(JsonArgs),
    /// Examine the store without changing it, and say what mends each finding.
    #[command(after_help = DOCTOR_HELP)]
    Doctor(JsonArgs),
    /// Write store and conversations into one archive, also while an ingest or a server uses them.
    #[command(after_help = "Example:\n  mentor backup course-2026-05-04.zip")]
    Backup(BackupArgs),
    /// Put what an archive holds in the place of what there is, checked first and all at once.
    #[command(after_help = "Example:\n  mentor restore course-2026-05-04.zip")]
    Restore(BackupArgs),
    /// Merge small files, and remove what no kept version needs.
    #[command(after_help = "Example:\n  mentor compact")]
    Compact(JsonArgs),
    /// Make the search index anew. An ingest does so by itself when it is worth it.
    #[command(after_help = "Example:\n  mentor reindex")]
    Reindex(JsonArgs),
    /// The versions of the store that can be gone back to, the newest first.
    #[command(after_help = "Example:\n  mentor history --limit 10")]
    History(HistoryArgs),
    /// Name the store as it is now, and keep that version until the name is removed.
    #[command(after_help = "Examples:\n  mentor tag spring-term\n  mentor tag --remove spring-term")]
    Tag(TagArgs),
    /// Make the store what it was at a version or a tag. The next ingest makes it what the folder is again.
    #[command(after_help = "Examples:\n  mentor rollback spring-term\n  mentor rollback 42")]
    Rollback(RollbackArgs),
    /// Embed the stored text again, with the configured embedder, and change over all at once.
    #[command(after_help = "Example:\n  mentor re-embed --embedder bge-small")]
    ReEmbed(JsonArgs),
    /// Measure how fast it is here.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// API keys of the server: create, list, revoke.
    #[command(subcommand)]
    Keys(KeysCommand),
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
    /// Said by that parent to the server: end when nothing but a new start helps.
    #[arg(long, hide = true)]
    pub has_parent: bool,
    /// Let tests order panics by `POST /debug/panic/{part}`. Never where people ask.
    #[arg(long, hide = true)]
    pub fault_injection: bool,
    /// For load tests: no model; instead of answers, so many words a second in each of `slots` answers at once.
    #[arg(long, hide = true, value_name = "TOKENS_PER_S")]
    pub fake_generator: Option<f64>,
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
#[command(
    after_help = "What has changed is read and embedded, what was renamed is renamed, what is gone is removed. Files with the same
content are stored once. A folder that is missing, unreadable or empty is refused: the store stays as it is.

Exit codes: 0 everything was ingested, 3 some documents or pages had no text (listed), 2 an error.

Examples:
  mentor ingest --directory course_materials
  mentor ingest --directory ~/books --dry-run
  mentor ingest --directory ~/books --watch"
)]
pub struct IngestArgs {
    /// Folder to ingest; the configured `materials_dir` when not given.
    #[arg(long, short)]
    pub directory: Option<PathBuf>,
    /// Make the store anew, whatever it was made with or by which rules: beside the one in use, which it replaces at the end in one
    /// step. Takes the room of both meanwhile, and begins a new history.
    #[arg(long)]
    pub overwrite: bool,
    /// Only say what would be done.
    #[arg(long, conflicts_with = "watch")]
    pub dry_run: bool,
    /// Also read documents again that failed before, as a whole or in some pages, though they have not changed.
    #[arg(long)]
    pub retry: bool,
    /// Go on following the folder until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Print the report as JSON; with --watch a line for each ingest.
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
#[command(after_help = EVAL_HELP)]
pub struct EvalArgs {
    /// Questions, one JSON object a line.
    pub questions: PathBuf,
    /// Ask again with this key of the configuration changed, and test the difference. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub compare: Vec<String>,
    /// Let the generator answer every question, and measure the answers: citations, support, points. Takes seconds a question.
    #[arg(long)]
    pub answers: bool,
    /// Only the first questions of the file.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Write a page with plots, tables and the questions that failed.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

const EVAL_HELP: &str = "Each line of the file is a JSON object:
  id, question  text
  kind          \"unanswerable\", \"follow_up\", or any other word; figures are given by kind
  sources       [{file, pages, section, quote}]: where it is answered, any of them; none for \"unanswerable\".
                Documents with pages go by `pages`, others by `section` or `quote`
  quote         words that stand in the first source, for documents without pages
  follow_up_to  id of the question before it, if it goes on from one
  answer_points what a good answer says, for --answers

Examples:
  mentor eval questions.jsonl
  mentor eval questions.jsonl --compare min_score=0.5 --html report.html
  mentor eval questions.jsonl --compare data_dir=vector_data.new --compare embedder=bge-small
  mentor eval questions.jsonl --answers --limit 20 --json";

const DOCTOR_HELP: &str = "Reads every row. Notes do not count as findings.

Exit codes: 0 nothing is wrong, 3 something is (listed, each with the command that mends it), 2 an error.

Example:
  mentor doctor --json";

/// Arguments of `backup` and `restore`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The archive, a zip file.
    pub file: PathBuf,
    /// Leave the conversations out: the archive gets the course alone, or only the course is restored from it.
    #[arg(long)]
    pub without_conversations: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Most versions to list.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Letters, digits, '-', '_' and dots; a name that another version has moves.
    pub name: String,
    /// Remove the name instead.
    #[arg(long)]
    pub remove: bool,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// A number or a tag of `mentor history`.
    pub version: String,
}

/// Commands whose output is data.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, and print it: once, since only a hash of it is kept. With the first one the server asks everybody for a key.
    Create(CreateKeyArgs),
    /// All keys, without what is secret of them.
    #[command(after_help = "Example:\n  mentor keys list --json")]
    List(JsonArgs),
    /// End a key. What it has under way on a running server ends within some seconds.
    #[command(after_help = "Examples:\n  mentor keys revoke autumn-course\n  mentor keys revoke f3kQ9zLa")]
    Revoke {
        /// Its id, or its name.
        key: String,
    },
}

/// Arguments of `keys create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mentor keys create --name autumn-course
  mentor keys create --name prometheus --scope metrics
  mentor keys create --name lecturer --scope ask,ingest,admin,metrics --expires 90d")]
pub struct CreateKeyArgs {
    /// Who or what it is for.
    #[arg(long)]
    pub name: String,
    /// What it may do: ask and search; ingest documents; admin, which is to remove documents; read metrics and health.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ask")]
    pub scope: Vec<Scope>,
    /// Do nothing when there is a key already, also one that has ended.
    #[arg(long)]
    pub if_none: bool,
    /// How long it is good, in hours, days or weeks: 12h, 90d, 8w. For ever when not given.
    #[arg(long)]
    pub expires: Option<Lifetime>,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Prefill and decode rates, times to the first and between tokens.
    Generate(BenchGenerateArgs),
    /// Tokens a second of the embedder alone.
    Embed(BenchEmbedArgs),
    /// Time from "stop" to a free slot, and what many stopped turns leave behind.
    Cancel(BenchCancelArgs),
    /// Times and recall of searches in a large store, which is made first.
    Search(BenchSearchArgs),
    /// Searches of several readers while one writer changes the store and tidies up, every answer checked.
    Upkeep(BenchUpkeepArgs),
    /// Searches in a store of many small additions, tidied, beside a fresh one.
    Additions(BenchAdditionsArgs),
    /// Tokens a second of an ingest beside those of the embedder alone, and how long a second run takes.
    Ingest(BenchIngestArgs),
}

/// Arguments of `bench upkeep`.
#[derive(Debug, Args)]
#[command(
    after_help = "Works in a copy (by links) of the store of `mentor bench search FOLDER`, which is made when it is not there. Readers ask one
question after the other, alone and then beside a writer that adds, replaces and removes documents, merges, indexes and removes
old versions without a pause. Exit code 1 when a search fails, something is lost, double or out of date, or p95 is more than
twice that of alone. Compare on a machine that does nothing else.

Example:
  mentor bench upkeep /tmp/large --chunks 100000 --seconds 600"
)]
pub struct BenchUpkeepArgs {
    /// Folder of `mentor bench search`.
    pub folder: PathBuf,
    /// Chunks of the store, when it is made.
    #[arg(long, default_value_t = 100_000)]
    pub chunks: usize,
    /// Readers at once.
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    pub readers: usize,
    /// How long beside the writer.
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench additions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes two stores of the same documents in FOLDER: one in a single ingest; one to which the last documents were added one at
a time, and which was then tidied as by `mentor compact`. Both are asked in turn. Exit code 1 when the second has more than 10
fragments, takes more than twice the disk of its live data, or its p95 is more than 1.2 times that of the first.

Examples:
  mentor bench additions /tmp/added --chunks 20000
  mentor bench additions /tmp/added-one-by-one --one-ingest-each --json"
)]
pub struct BenchAdditionsArgs {
    /// Where to make the stores, with about 10 KB of disk a chunk.
    pub folder: PathBuf,
    /// Documents that are added.
    #[arg(long, default_value_t = 1_000)]
    pub additions: usize,
    /// Chunks that are there before.
    #[arg(long, default_value_t = 20_000)]
    pub chunks: usize,
    /// End each addition as an ingest of its own, and not all of them together.
    #[arg(long)]
    pub one_ingest_each: bool,
    /// How often both are asked all questions.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench ingest`.
#[derive(Debug, Args)]
#[command(
    after_help = "Embeds the folder's passages with nothing else at work, and ingests the folder into a store of its own, in turn. Then ingests
it once more, with nothing to do, models loaded anew. Medians are printed. Exit code 1 when the ingest has less than 0.90 of the
embedder's tokens a second, or the second run takes 2 seconds or more. Its stores are in the data folder until it ends.

Example:
  mentor bench ingest --directory ~/books --rounds 5"
)]
pub struct BenchIngestArgs {
    /// Folder to ingest; the configured `materials_dir` when not given.
    #[arg(long, short)]
    pub directory: Option<PathBuf>,
    /// How often each.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub rounds: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench search`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes a store in FOLDER out of the chunks of the configured one, with noise on their vectors, and measures it in a
process of its own. A folder that holds one already is measured again. Beside the store are the vectors and questions (numbers
of 32 bits, side by side), the questions' words and the ten nearest rows of each, for other programs to be measured with the same.

Example:
  mentor bench search /tmp/large --chunks 100000"
)]
pub struct BenchSearchArgs {
    /// Where to make the store, with about 5 KB of disk a chunk.
    pub folder: PathBuf,
    /// Chunks of the store.
    #[arg(long, default_value_t = 100_000)]
    pub chunks: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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

/// Arguments of `bench embed`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads and cuts the documents of a folder, and then embeds all of it in the batches and with the workers of an ingest.
`mentor ingest --json` says how many tokens went through in how many seconds with everything else at work. Nothing is stored.

Examples:
  mentor bench embed --directory ~/books
  mentor bench embed --arithmetic float,int8 --rounds 3 --json"
)]
pub struct BenchEmbedArgs {
    /// Folder to read; the configured `materials_dir` when not given.
    #[arg(long, short)]
    pub directory: Option<PathBuf>,
    /// Values of `embed_arithmetic` to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "auto")]
    pub arithmetic: Vec<EmbedArithmetic>,
    /// How often.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
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
