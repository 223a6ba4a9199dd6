//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::address::Address;
use crate::scenario::Scenario;

/// Puts load on a running Mentor server, checks its protocol meanwhile, and reports what its clients would see.
#[derive(Debug, Parser)]
#[command(name = "mentor-load", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 no rule of the protocol was broken and every limit kept, 1 not so (listed), 2 an \
    error, or nothing was answered at all.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask questions over WebSockets, many conversations at once.
    Ask(AskArgs),
    /// Search over REST, many connections at once.
    Search(SearchArgs),
    #[command(flatten)]
    Scenario(Scenario),
}

/// Arguments of `ask`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  mentor-load ask --questions questions.jsonl --conversations 8 --turns 4 --max-tokens 96")]
pub struct AskArgs {
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:8000", value_parser = Address::web_socket)]
    pub url: Address,
    /// Questions: a JSON object with `question` on each line, or plain lines. Used in order, and again from the start.
    #[arg(long, value_name = "FILE")]
    pub questions: PathBuf,
    /// Conversations at once, each on a connection and an id of its own.
    #[arg(long, default_value = "4")]
    pub conversations: NonZeroUsize,
    /// Questions of each conversation, one after the other: the next when the one before has ended (a closed loop).
    #[arg(long, default_value = "4")]
    pub turns: NonZeroUsize,
    /// Longest answer, in tokens; the server's own limit when not given.
    #[arg(long)]
    pub max_tokens: Option<NonZeroUsize>,
    /// Seed of the sampler, so that runs have the same answers; the server's own when not given.
    #[arg(long)]
    pub seed: Option<u32>,
    /// Longest that a connection may take to be `ready`, in seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub connect_deadline: Duration,
    /// Longest that a turn may take, from the question to its end, in seconds. A conversation stops when it is over.
    #[arg(long, default_value = "300", value_parser = seconds)]
    pub turn_deadline: Duration,
    /// Print the report as one line of JSON, and the table to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `search`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  mentor-load search --questions questions.jsonl --connections 4 --requests 1000")]
pub struct SearchArgs {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8000", value_parser = Address::http)]
    pub url: Address,
    /// Questions: a JSON object with `question` on each line, or plain lines. Used in order, and again from the start.
    #[arg(long, value_name = "FILE")]
    pub questions: PathBuf,
    /// Connections at once; each sends its next request when the one before was answered (a closed loop).
    #[arg(long, default_value = "4")]
    pub connections: NonZeroUsize,
    /// Requests of all connections together.
    #[arg(long, default_value = "100")]
    pub requests: NonZeroUsize,
    /// Passages to ask for; the server's own number when not given.
    #[arg(long)]
    pub top_k: Option<NonZeroUsize>,
    /// Longest that connecting may take, in seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub connect_deadline: Duration,
    /// Longest that a request may take, in seconds.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub request_deadline: Duration,
    /// Print the report as one line of JSON, and the table to standard error.
    #[arg(long)]
    pub json: bool,
}

/// A positive whole number of seconds, at most a day.
///
/// # Errors
/// What is wrong with it, for people.
pub fn seconds(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60 * 60;
    match text.parse() {
        Ok(seconds @ 1..=DAY) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds from 1 to {DAY}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_lines_of_the_help_are_understood() {
        let line = "mentor-load ask --questions q.jsonl --conversations 8 --turns 4 --max-tokens 96";
        assert!(Cli::try_parse_from(line.split(' ')).is_ok());
        let line = "mentor-load search --questions q.jsonl --connections 4 --requests 1000";
        assert!(Cli::try_parse_from(line.split(' ')).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused =
            |more: &str| Cli::try_parse_from(format!("mentor-load ask --questions q {more}").split(' ')).is_err();
        assert!(refused("--turns 0"));
        assert!(refused("--turn-deadline 0"));
        assert!(refused("--url http://localhost"));
    }
}
