//! `mentor-load`: clients that put load on a running server, check its protocol while they do, and report.
//!
//! | module | what it is |
//! |---|---|
//! | `cli` | the command line |
//! | `address` | where the server is |
//! | `questions` | the file of questions |
//! | `failure` | what went wrong without a rule being broken; deadlines |
//! | `frame` | the WebSocket's frames, as far as a client needs them |
//! | `check` | the protocol's rules: a pure judge of the frames of one conversation |
//! | `clock` | the times of one turn |
//! | `socket` | frames over a WebSocket |
//! | `conversation` | one conversation: connect, ask, go |
//! | `ask` | many conversations at once |
//! | `http` | as much of HTTP/1.1 as a search needs |
//! | `search` | many searches at once |
//! | `spread` | the distribution of one quantity |
//! | `scenario` | one file a scenario: clients that come when they like, stay idle, do not read, vanish, come in crowds |
//! | `bench` | what the clients of a scenario share |
//! | `student` | one client of a scenario, that judges what it hears and can come back |
//! | `arrivals`, `random` | when clients come |
//! | `recital` | when each word of a fake generator was due |
//! | `figures`, `limits` | what is measured, and what fails a run |
//! | `sampler`, `process` | what the server's process uses meanwhile |
//! | `disk` | a disk that is full for a while |
//! | `report` | what is printed |

#![warn(clippy::unwrap_used)]

mod address;
mod arrivals;
mod ask;
mod bench;
mod check;
mod cli;
mod clock;
mod conversation;
mod disk;
mod failure;
#[cfg(test)]
mod fake_server;
mod figures;
mod frame;
mod http;
mod limits;
mod process;
mod questions;
mod random;
mod recital;
mod report;
mod sampler;
mod scenario;
mod search;
mod socket;
mod spread;
mod student;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use serde::Serialize;

use crate::cli::{Cli, Command};

/// A wrong command line or file; also what clap exits with.
const FAILED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mentor-load: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Ask(arguments) => {
            let report = ask::run(&arguments).await?;
            print(&report, arguments.json)?;
            Ok(report.trouble.exit_code(report.turns_completed))
        }
        Command::Search(arguments) => {
            let report = search::run(&arguments).await?;
            print(&report, arguments.json)?;
            Ok(report.trouble.exit_code(report.requests_completed))
        }
        Command::Scenario(scenario) => {
            let report = scenario.run().await?;
            if let Some(file) = &scenario.common().html {
                std::fs::write(file, report::page(&report))
                    .with_context(|| format!("the report cannot be written to {}", file.display()))?;
            }
            print(&report, scenario.common().json)?;
            Ok(report.exit_code())
        }
    }
}

/// The table goes to standard output; with `json` the JSON line goes there and the table to standard error.
fn print(report: &(impl Display + Serialize), json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        eprint!("{report}");
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(())
}
