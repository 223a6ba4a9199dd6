//! One function a command. Each gives the exit code, or an error that is printed in one line with exit code 2.

mod ask;
mod bench;
mod eval;
mod ingest;
mod search;
mod serve;
mod supervise;

use std::process::ExitCode;
use std::sync::Arc;

use mentor_actors::telemetry::{Silent, Telemetry};

pub use ask::ask;
pub use bench::{bench_cancel, bench_generate};
pub use eval::eval;
pub use ingest::ingest;
pub use search::search;
pub use serve::serve;
pub use supervise::supervise;

use crate::config::Config;
use crate::engines;
use crate::models::command::{self, ModelsArgs};

fn silent() -> Arc<dyn Telemetry> {
    Arc::new(Silent)
}

/// Waits for a future without actors; engines bring threads of their own.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
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

/// `mentor stats`.
///
/// # Errors
/// When the models or the store cannot be opened.
pub fn stats(config: &Config, json: bool) -> anyhow::Result<u8> {
    let retrieval = engines::for_retrieval(config, &silent())?;
    let stats = block_on(retrieval.store.stats())??;
    if json {
        let value = serde_json::json!({
            "documents": stats.documents, "pages": stats.pages, "chunks": stats.chunks, "bytes": stats.bytes,
            "dataset_version": stats.dataset_version, "fragments": stats.fragments, "index_state": stats.index_state,
            "embedder": retrieval.embedding.info.model_id,
        });
        println!("{value}");
    } else {
        println!("{:<10}{:>12}", "documents", stats.documents);
        println!("{:<10}{:>12}", "pages", stats.pages);
        println!("{:<10}{:>12}", "chunks", stats.chunks);
        println!("{:<10}{:>12}", "bytes", stats.bytes);
        println!("{:<10}{:>12}", "version", stats.dataset_version);
        println!("{:<10}{:>12}", "index", stats.index_state);
    }
    retrieval.embedding.stop();
    Ok(0)
}

/// The extractor's own process: reads one PDF, writes its pages.
#[must_use]
pub fn extract_pdf() -> ExitCode {
    let code = mentor_engines::extract::pdf::run_pdf_child();
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
