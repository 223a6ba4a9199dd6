//! `mentor bench embed`: how fast passages are embedded when nothing else is done.

use serde_json::json;

use super::silent;
use crate::bench::{EmbedFigures, measure_embed, passages};
use crate::cli::BenchEmbedArgs;
use crate::config::{Config, EmbedArithmetic};
use crate::engines;
use crate::ingest::{Hashes, discover, plan};

/// # Errors
/// A folder that is missing or empty, a model that is missing, an embedder that fails.
pub fn bench_embed(config: &Config, arguments: &BenchEmbedArgs) -> anyhow::Result<u8> {
    let directory = arguments.directory.as_ref().unwrap_or(&config.materials_dir);
    let plan = plan(discover(directory, &mut Hashes::read(&config.data_dir))?, Vec::new(), false);
    let mut documents = None;
    let mut rows: Vec<(EmbedArithmetic, EmbedFigures)> = Vec::new();
    for &arithmetic in &arguments.arithmetic {
        let config = Config { embed_arithmetic: arithmetic, ..config.clone() };
        let engines = engines::for_ingest(&config, &silent())?;
        let read = || passages(&plan.to_ingest(), &*engines.extractor, &*engines.chunker);
        let documents = documents.get_or_insert_with(read);
        for _ in 0..arguments.rounds.max(1) {
            rows.push((arithmetic, measure_embed(documents, &engines.embedding.workers)?));
        }
        engines.embedding.stop();
    }
    if arguments.json {
        let row = |(arithmetic, figures): &(EmbedArithmetic, EmbedFigures)| json!({"arithmetic": arithmetic, "figures": figures});
        println!("{}", json!({"directory": directory, "rows": rows.iter().map(row).collect::<Vec<_>>()}));
    } else {
        print(&rows);
    }
    Ok(0)
}

fn print(rows: &[(EmbedArithmetic, EmbedFigures)]) {
    println!(
        "{:9} {:>8} {:>9} {:>8} {:>8} {:>9} {:>14}",
        "arithmetic", "passages", "tokens", "seconds", "cpu", "tokens/s", "tokens/cpu s"
    );
    for (arithmetic, figures) in rows {
        println!(
            "{:9} {:>8} {:>9} {:>8.1} {:>8.1} {:>9.0} {:>14.0}",
            format!("{arithmetic:?}").to_lowercase(),
            figures.chunks,
            figures.tokens,
            figures.seconds,
            figures.cpu_seconds,
            figures.tokens_per_second,
            figures.tokens_per_cpu_second
        );
    }
}
