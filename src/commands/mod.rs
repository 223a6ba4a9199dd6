//! One function a command. Each gives the exit code, or an error that is printed in one line with exit code 2.

mod ask;
mod backup;
mod bench;
mod bench_additions;
mod bench_embed;
mod bench_ingest;
mod bench_search;
mod bench_upkeep;
mod doctor;
mod eval;
mod ingest;
mod keys;
mod re_embed;
mod rescue;
mod search;
mod serve;
mod stats;
mod supervise;
mod versions;

use std::process::ExitCode;
use std::sync::Arc;

use mentor_actors::telemetry::{Silent, Telemetry};

pub use ask::ask;
pub use backup::{backup, restore};
pub use bench::{bench_cancel, bench_generate};
pub use bench_additions::bench_additions;
pub use bench_embed::bench_embed;
pub use bench_ingest::bench_ingest;
pub use bench_search::bench_search;
pub use bench_upkeep::bench_upkeep;
pub use doctor::doctor;
pub use eval::eval;
pub use ingest::ingest;
pub use keys::{Lifetime, keys};
pub use re_embed::re_embed;
pub use search::search;
pub use serve::serve;
pub use stats::stats;
pub use supervise::supervise;
pub use versions::{compact, history, reindex, rollback, tag};

use crate::config::Config;
use crate::models::command::{self, ModelsArgs};

fn silent() -> Arc<dyn Telemetry> {
    Arc::new(Silent)
}

/// Waits for a future without actors; engines bring threads of their own.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Names what a measurement missed, on standard error; the exit code of a command whose bars these are.
fn judge(missed: &[String]) -> u8 {
    missed.iter().for_each(|line| eprintln!("missed: {line}"));
    u8::from(!missed.is_empty())
}

/// `mentor config`.
///
/// # Errors
/// None in practice.
pub fn config(config: &Config) -> anyhow::Result<u8> {
    print!("{}", config.to_toml()?);
    Ok(0)
}

/// `mentor models`.
///
/// # Errors
/// What the models' command reports.
pub fn models(config: &Config, arguments: ModelsArgs) -> anyhow::Result<u8> {
    let code = command::run(&arguments, config)?;
    Ok(u8::try_from(code).unwrap_or(1))
}

/// The document reader's own process: reads one document, writes its pages.
#[must_use]
pub fn read_document() -> ExitCode {
    let code = mentor_engines::extract::reader::run_document_reader();
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
