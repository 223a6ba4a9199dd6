//! `mentor bench search`: how fast passages are found in a large store.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use mentor_engines::lance::{LanceRetriever, ReaderOptions, StoreSurvey};

use crate::bench::{MakeFigures, SearchBench, SearchFigures, SearchTimes, make_store, measure_search};
use crate::cli::BenchSearchArgs;
use crate::config::Config;

/// # Errors
/// When there is no store to take chunks from, the disk refuses, or a search fails.
pub fn bench_search(config: &Config, arguments: &BenchSearchArgs) -> anyhow::Result<u8> {
    let bench = SearchBench::new(&arguments.folder);
    if bench.is_made() {
        let identity = StoreSurvey::open(&bench.data_dir())?.context("the store is gone")?.identity().clone();
        let figures = super::block_on(measure_search(&bench, |data_dir| {
            Ok(Arc::new(LanceRetriever::open(data_dir, &identity, ReaderOptions::default())?))
        }))??;
        print_search(&figures, arguments.json)?;
        return Ok(0);
    }
    ensure!(arguments.chunks > 0, "a store of no chunks cannot be measured");
    print_make(make_store(&bench, &source(config)?, arguments.chunks)?, arguments.json)?;
    // What making has left in memory is not counted.
    let mut again = Command::new(std::env::current_exe()?);
    again.args(["bench", "search"]).arg(&arguments.folder).args(arguments.json.then_some("--json"));
    let code = again.status()?.code().context("the measuring process was killed")?;
    Ok(u8::try_from(code)?)
}

/// The store that the chunks come from.
pub(super) fn source(config: &Config) -> anyhow::Result<StoreSurvey> {
    let source = StoreSurvey::open(&config.data_dir)?;
    source.with_context(|| format!("there is no store in {}", config.data_dir.display()))
}

pub(super) fn print_make(figures: MakeFigures, json: bool) -> anyhow::Result<()> {
    let MakeFigures { chunks, put_seconds, finish_seconds, bytes } = figures;
    if json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        println!(
            "made      {chunks} chunks: {put_seconds:.1} s to put, {finish_seconds:.1} s to finish, {bytes} bytes"
        );
    }
    Ok(())
}

/// Times for people.
pub(super) fn times(SearchTimes { p50, p95, max }: SearchTimes) -> String {
    format!("p50 {p50:.2} ms, p95 {p95:.2}, max {max:.2}")
}

fn print_search(figures: &SearchFigures, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    println!("store     {} chunks, index: {}", figures.chunks, figures.index);
    println!("open      {:.3} s to the first answer", figures.open_seconds);
    println!("vectors   {}; recall {:.4}", times(figures.vectors), figures.recall);
    println!("hybrid    {}", times(figures.hybrid));
    println!("memory    {} MiB, {} of them of mapped files", figures.resident_mebibytes, figures.mapped_mebibytes);
    Ok(())
}
