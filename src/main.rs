//! The program: reads the command line, loads the configuration, runs the command, and turns its outcome into an exit code.

#![warn(clippy::unwrap_used)]

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser as _;
use mentor::cli::{BenchCommand, Cli, Command, ServeArgs};
use mentor::commands;
use mentor::config::Config;
use mentor::engines::READ_DOCUMENT;
use tracing_subscriber::EnvFilter;

/// A wrong command line, configuration or environment; also what clap exits with.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    // The document reader's process gets no configuration, no log and no environment, and its orders are no command line of ours.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == READ_DOCUMENT) {
        return commands::read_document();
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mentor: {}", one_line(&error));
            ExitCode::from(FAILED)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    let missing = mentor_engines::llama::missing_cpu_features();
    if !missing.is_empty() {
        bail!(
            "this processor lacks {}, which this build needs: see the README on building for older processors",
            missing.join(", ")
        );
    }
    let config = Config::load(cli.config.as_deref(), cli.values)?;
    start_log(&config.log)?;
    match cli.command {
        Command::Serve(ServeArgs { supervised: true, .. }) => commands::supervise(),
        Command::Serve(arguments) => commands::serve(&config, &arguments),
        Command::Ingest(arguments) => commands::ingest(&config, &arguments),
        Command::Ask(arguments) => commands::ask(&config, arguments),
        Command::Search(arguments) => commands::search(&config, &arguments),
        Command::Eval(arguments) => commands::eval(&config, &arguments),
        Command::Stats(arguments) => commands::stats(&config, arguments.json),
        Command::Doctor(arguments) => commands::doctor(&config, arguments.json),
        Command::Backup(arguments) => commands::backup(&config, &arguments),
        Command::Restore(arguments) => commands::restore(&config, &arguments),
        Command::Compact(arguments) => commands::compact(&config, arguments.json),
        Command::Reindex(arguments) => commands::reindex(&config, arguments.json),
        Command::History(arguments) => commands::history(&config, &arguments),
        Command::Tag(arguments) => commands::tag(&config, &arguments),
        Command::Rollback(arguments) => commands::rollback(&config, &arguments),
        Command::ReEmbed(arguments) => commands::re_embed(&config, arguments.json),
        Command::Bench(BenchCommand::Generate(arguments)) => commands::bench_generate(&config, &arguments),
        Command::Bench(BenchCommand::Search(arguments)) => commands::bench_search(&config, &arguments),
        Command::Bench(BenchCommand::Upkeep(arguments)) => commands::bench_upkeep(&config, &arguments),
        Command::Bench(BenchCommand::Additions(arguments)) => commands::bench_additions(&config, &arguments),
        Command::Bench(BenchCommand::Ingest(arguments)) => commands::bench_ingest(&config, &arguments),
        Command::Bench(BenchCommand::Embed(arguments)) => commands::bench_embed(&config, &arguments),
        Command::Bench(BenchCommand::Cancel(arguments)) => commands::bench_cancel(&config, &arguments),
        Command::Keys(command) => commands::keys(&config, &command),
        Command::Models(arguments) => commands::models(&config, arguments),
        Command::Config => commands::config(&config),
    }
}

/// Logs go to standard error; standard output is for results.
fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("log = {filter:?}: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal).init();
    Ok(())
}

/// An error and its causes in one line.
fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if parts.last() != Some(&cause) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}
