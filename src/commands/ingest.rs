//! `mentor ingest`: brings a folder into the store.

use std::sync::Arc;

use mentor_actors::ports::Corpus as _;
use mentor_actors::telemetry::Telemetry;

use super::{block_on, silent};
use crate::cli::IngestArgs;
use crate::config::Config;
use crate::engines;
use crate::ingest::{EmbedClock, Found, IngestParts, Plan, Progress, discover, plan, run};

/// # Errors
/// A folder that is missing or empty, a store that is locked or was made with another embedder, a model that is missing.
pub fn ingest(config: &Config, arguments: &IngestArgs) -> anyhow::Result<u8> {
    let directory = arguments.directory.as_ref().unwrap_or(&config.materials_dir);
    let found = discover(directory)?;
    if arguments.dry_run {
        return dry_run(config, arguments, found);
    }
    let clock = Arc::new(EmbedClock::default());
    let telemetry: Arc<dyn Telemetry> = clock.clone();
    let engines = engines::for_ingest(config, &telemetry)?;
    let mut corpus = engines::open_corpus(config, &engines.embedding.info, arguments.overwrite)?;
    let plan = plan(found, corpus.documents()?);
    eprintln!("{}: {}", directory.display(), plan.summary());
    let todo = || plan.new.iter().chain(&plan.changed);
    let progress = Progress::new(todo().count(), todo().map(|found| found.bytes).sum(), arguments.json);
    let parts = IngestParts {
        extractor: engines.extractor,
        chunker: engines.chunker,
        embedding: engines.embedding.workers.clone(),
        workers: engines.embedding.count,
        clock,
    };
    let report = run(&plan, &parts, &mut corpus, &progress);
    engines.embedding.stop();
    let report = report?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?)
    } else {
        println!("{report}")
    }
    Ok(report.exit_code())
}

/// Compares folder and store without a lock and without writing.
fn dry_run(config: &Config, arguments: &IngestArgs, found: Vec<Found>) -> anyhow::Result<u8> {
    let stored = if arguments.overwrite {
        Vec::new()
    } else {
        let retrieval = engines::for_retrieval(config, &silent())?;
        let stored = block_on(retrieval.store.documents())??;
        retrieval.embedding.stop();
        stored
    };
    show(&plan(found, stored), arguments.json);
    Ok(0)
}

fn show(plan: &Plan, json: bool) {
    let ids = |found: &[Found]| found.iter().map(|found| found.id.0.clone()).collect::<Vec<_>>();
    let (new, changed) = (ids(&plan.new), ids(&plan.changed));
    let gone: Vec<&str> = plan.gone.iter().map(|id| id.0.as_str()).collect();
    if json {
        println!(
            "{}",
            serde_json::json!({"new": new, "changed": changed, "unchanged": plan.unchanged.len(), "gone": gone})
        );
        return;
    }
    println!("{}", plan.summary());
    new.iter().for_each(|id| println!("  new      {id}"));
    changed.iter().for_each(|id| println!("  changed  {id}"));
    gone.iter().for_each(|id| println!("  gone     {id}"));
}
