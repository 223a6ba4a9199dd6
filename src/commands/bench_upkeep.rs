//! `mentor bench upkeep`: how fast and how right searches are while the store is changed and tidied.

use std::time::Duration;

use anyhow::ensure;

use super::bench_search::{print_make, source, times};
use super::judge;
use crate::bench::{Done, SearchBench, UpkeepFigures, UpkeepLoad, make_store, measure_upkeep};
use crate::cli::BenchUpkeepArgs;
use crate::config::Config;

/// # Errors
/// When there is no store to take chunks from, the disk refuses, or the writer fails.
pub fn bench_upkeep(config: &Config, arguments: &BenchUpkeepArgs) -> anyhow::Result<u8> {
    ensure!(arguments.seconds > 0, "nothing can be measured in no seconds");
    let bench = SearchBench::new(&arguments.folder);
    let source = source(config)?;
    if !bench.is_made() {
        print_make(make_store(&bench, &source, arguments.chunks)?, arguments.json)?;
    }
    let load = UpkeepLoad {
        readers: arguments.readers,
        time: Duration::from_secs(arguments.seconds),
        keep_versions: config.keep_versions,
    };
    let figures = measure_upkeep(&bench, &source, load)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(judge(&figures.missed()))
}

fn print(figures: &UpkeepFigures) {
    let Done { added, replaced, removed, finished, merged, reindexed } = figures.done;
    println!("store     {} chunks, and the writer's", figures.chunks);
    println!("readers   {}, {} seconds beside the writer", figures.readers, figures.seconds);
    println!("alone     {}; {} answers", times(figures.alone), figures.alone_answers);
    println!("beside    {}; {} answers", times(figures.beside), figures.beside_answers);
    println!("ratio     {:.2} of p95, at most 2 wanted", figures.p95_ratio);
    println!("changes   {added} added, {replaced} replaced, {removed} removed");
    println!("tidied    {finished} ingests ended, {merged} times merged, {reindexed} times indexed anew");
    println!("wrong     {} answers and rows; {} searches failed", figures.wrong, figures.errors);
}
