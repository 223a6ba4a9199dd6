//! `mentor bench ingest`: how much of the embedder's speed an ingest has, and what one costs that finds nothing to do.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use mentor_actors::ports::Corpus as _;
use mentor_actors::telemetry::Telemetry;

use super::judge;
use crate::bench::{IngestFigures, IngestRound, measure_embed, passages};
use crate::cli::BenchIngestArgs;
use crate::config::Config;
use crate::engines::{self, IngestEngines};
use crate::ingest::{Bars, CHUNKS_A_JOB, EmbedClock, Hashes, IngestParts, Report, Stop, discover, plan, run};

/// # Errors
/// A folder that is missing or empty, a model that is missing, an embedder that fails, a disk that refuses.
pub fn bench_ingest(config: &Config, arguments: &BenchIngestArgs) -> anyhow::Result<u8> {
    let directory = arguments.directory.as_ref().unwrap_or(&config.materials_dir);
    // On the file system of the store: `/tmp` may be main memory.
    fs::create_dir_all(&config.data_dir)?;
    let folder = tempfile::Builder::new().prefix(".bench-").tempdir_in(&config.data_dir)?;
    let stored_in = |round: usize| Config { data_dir: folder.path().join(round.to_string()), ..config.clone() };
    let loaded = Loaded::load(config)?;
    let all = plan(discover(directory, &mut Hashes::read(&config.data_dir))?, Vec::new(), false);
    let documents = passages(&all.to_ingest(), &*loaded.engines.extractor, &*loaded.engines.chunker);
    let (mut rounds, mut ingested) = (Vec::new(), Vec::new());
    // A first one warms up.
    measure_embed(&documents, &loaded.engines.embedding.workers)?;
    for round in 0..arguments.rounds {
        let mut embedder = 0.0;
        // Each is first in every other round.
        for turn in [round % 2, (round + 1) % 2] {
            if turn == 0 {
                embedder = measure_embed(&documents, &loaded.engines.embedding.workers)?.tokens_per_second;
            } else {
                let start = Instant::now();
                let report = loaded.ingest(&stored_in(round), directory)?;
                ingested.push((report, start.elapsed()));
            }
        }
        rounds.extend(ingested.last().map(|(report, took)| round_of(embedder, report, *took)));
    }
    loaded.engines.embedding.stop();
    let mut unchanged = Vec::new();
    for round in 0..arguments.rounds {
        unchanged.push(seconds_unchanged(&stored_in(round), directory)?);
    }
    let (pages, tokens) = ingested.last().map_or((0, 0), |(report, _)| (report.pages, report.tokens));
    let figures = IngestFigures::of(rounds, pages, tokens, &unchanged);
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(judge(&figures.missed()))
}

fn round_of(embedder: f64, report: &Report, took: Duration) -> IngestRound {
    let rate = |count: u64| count as f64 / took.as_secs_f64();
    IngestRound { embedder, ingest: rate(report.tokens), pages_per_second: rate(report.pages) }
}

/// What an ingest has loaded before it begins.
struct Loaded {
    engines: IngestEngines,
    clock: Arc<EmbedClock>,
}

impl Loaded {
    fn load(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<EmbedClock> = Arc::default();
        let telemetry: Arc<dyn Telemetry> = clock.clone();
        Ok(Self { engines: engines::for_ingest(config, &telemetry)?, clock })
    }

    /// As `mentor ingest` does it.
    fn ingest(&self, config: &Config, directory: &Path) -> anyhow::Result<Report> {
        let mut hashes = Hashes::read(&config.data_dir);
        let folder = discover(directory, &mut hashes)?;
        let mut corpus = engines::open_corpus(config, &self.engines.embedding.info)?;
        hashes.save();
        let plan = plan(folder, corpus.documents()?, false);
        let parts = IngestParts {
            extractor: self.engines.extractor.clone(),
            readers: self.engines.readers,
            chunker: self.engines.chunker.clone(),
            embedding: self.engines.embedding.workers.clone(),
            workers: self.engines.embedding.count,
            chunks_a_job: CHUNKS_A_JOB,
            clock: self.clock.clone(),
        };
        run(&plan, &parts, &mut corpus, &Bars::new(0, 0, true), &Stop::default())
    }
}

/// Ingests a folder that is in the store already, with everything loaded anew.
fn seconds_unchanged(config: &Config, directory: &Path) -> anyhow::Result<f64> {
    let start = Instant::now();
    let loaded = Loaded::load(config)?;
    let report = loaded.ingest(config, directory)?;
    loaded.engines.embedding.stop();
    let seconds = start.elapsed().as_secs_f64();
    ensure!(report.ingested == 0, "{} documents were ingested a second time", report.ingested);
    Ok(seconds)
}

fn print(figures: &IngestFigures) {
    let IngestRound { embedder, ingest, pages_per_second } = figures.median;
    println!(
        "folder    {} pages, {} tokens; medians of {} rounds",
        figures.pages,
        figures.tokens,
        figures.rounds.len()
    );
    println!("embedder  {embedder:.0} tokens/s alone");
    println!("ingest    {ingest:.0} tokens/s, {pages_per_second:.1} pages/s");
    println!("ratio     {:.3}, at least 0.90 wanted", figures.ratio);
    println!("again     {:.2} s with nothing to do, less than 2 wanted", figures.unchanged_seconds);
}
