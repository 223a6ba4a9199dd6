//! `mentor bench additions`: what many small additions leave behind once the store was tidied.

use anyhow::ensure;

use super::bench_search::{source, times};
use super::judge;
use crate::bench::{AdditionsFigures, AdditionsLoad, measure_additions};
use crate::cli::BenchAdditionsArgs;
use crate::config::Config;

/// # Errors
/// When there is no store to take chunks from, something is in the folder, the disk refuses, or a search fails.
pub fn bench_additions(config: &Config, arguments: &BenchAdditionsArgs) -> anyhow::Result<u8> {
    ensure!(arguments.chunks > 0 && arguments.rounds > 0, "no chunks or no rounds cannot be measured");
    let load = AdditionsLoad {
        folder: arguments.folder.clone(),
        chunks: arguments.chunks,
        additions: arguments.additions,
        one_ingest_each: arguments.one_ingest_each,
        rounds: arguments.rounds,
        keep_versions: config.keep_versions,
    };
    let figures = measure_additions(&source(config)?, &load)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(judge(&figures.missed()))
}

fn print(figures: &AdditionsFigures) {
    let AdditionsFigures { chunks, additions, add_seconds, maintenance_seconds, .. } = figures;
    println!("stores    {chunks} chunks each, {additions} documents added one at a time to the second");
    println!("took      {add_seconds:.1} s to add, {maintenance_seconds:.1} s to tidy");
    println!("fragments {}, {} before that; at most 10 wanted", figures.fragments, figures.fragments_before);
    let (bytes, live) = (figures.bytes, figures.live_bytes);
    println!("disk      {bytes} bytes, {:.2} times the {live} of live data; at most 2 wanted", figures.disk_ratio);
    println!("fresh     {}", times(figures.fresh));
    println!("added to  {}", times(figures.maintained));
    println!("ratio     {:.2} of p95, at most 1.2 wanted", figures.p95_ratio);
}
