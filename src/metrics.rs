//! Prometheus metrics: the one place where their names, labels and buckets stand.

use std::time::Duration;

use mentor_actors::domain::Usage;
use mentor_actors::telemetry::{Measurement, Telemetry};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Bucket bounds in seconds for work of milliseconds.
const SHORT_SECONDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// First-token bounds, as vLLM's `time_to_first_token_seconds` has them.
const FIRST_TOKEN_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
/// Inter-token bounds, as vLLM's `inter_token_latency_seconds` has them.
const INTER_TOKEN_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const LONG_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
const BATCH_TEXTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
const BATCH_TOKENS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 320.0, 512.0, 1024.0, 2048.0];
const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9];

/// All metrics of the program.
pub struct Metrics {
    registry: Registry,
    pub(crate) http_requests: IntCounterVec,
    pub(crate) http_seconds: HistogramVec,
    pub(crate) ws_connections: IntGauge,
    pub(crate) ws_evictions: IntCounterVec,
    pub(crate) dataset_version: IntGauge,
    pub(crate) dataset_fragments: IntGauge,
    pub(crate) dataset_rows: IntGauge,
    pub(crate) ingest_documents: IntCounterVec,
    pub(crate) ingest_chunks: IntCounter,
    turns: IntCounterVec,
    turns_rejected: IntCounterVec,
    turns_inside: IntGauge,
    tokens_inside: IntGauge,
    turn_queue_depth: IntGauge,
    turn_queue_wait: Histogram,
    wait_error: Histogram,
    embed_batch: Histogram,
    embed_queue_depth: IntGauge,
    embed_seconds: Histogram,
    retrieve_seconds: Histogram,
    retrieve_score: Histogram,
    refusals: IntCounterVec,
    citations: IntCounterVec,
    reranks: IntCounterVec,
    rerank_seconds: Histogram,
    attributions: IntCounterVec,
    attribution_seconds: Histogram,
    slots: IntGaugeVec,
    prompt_tokens: IntCounter,
    cached_tokens: IntCounter,
    generated_tokens: IntCounter,
    kv_cells: IntGauge,
    kv_cells_total: IntGauge,
    state_bytes: IntGauge,
    set_back: IntCounter,
    batch_rows: Histogram,
    batch_seconds: Histogram,
    drafted_tokens: IntCounterVec,
    cancel_seconds: Histogram,
    first_token: Histogram,
    inter_token: Histogram,
    worker_restarts: IntCounterVec,
    conversations: IntGauge,
    store_seconds: Histogram,
    build_info: IntGaugeVec,
}

/// Registers metrics under the program's prefix.
struct Builder(Registry);

impl Builder {
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("mentor")
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::with_opts(Self::opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Self::opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::with_opts(Self::opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: Self::opts(name, help), buckets: buckets.to_vec() }
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(Self::histogram_opts(name, help, buckets)))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> prometheus::Result<HistogramVec> {
        self.add(HistogramVec::new(Self::histogram_opts(name, help, buckets), labels))
    }
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// When a name is registered twice: a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let b = Builder(Registry::new());
        Ok(Self {
            http_requests: b.counters("http_requests_total", "Requests, by route and status", &["route", "status"])?,
            http_seconds: b.histograms(
                "http_request_duration_seconds",
                "Time to a response's head",
                LONG_SECONDS,
                &["route"],
            )?,
            ws_connections: b.gauge("ws_connections", "Open WebSocket connections")?,
            ws_evictions: b.counters("ws_evictions_total", "WebSocket clients that were cut off", &["reason"])?,
            dataset_version: b.gauge("dataset_version", "Version of the dataset")?,
            dataset_fragments: b.gauge("dataset_fragments", "Fragments of the dataset")?,
            dataset_rows: b.gauge("dataset_rows", "Chunks in the dataset")?,
            ingest_documents: b.counters("ingest_documents_total", "Documents of ingest jobs", &["outcome"])?,
            ingest_chunks: b.counter("ingest_chunks_total", "Chunks stored by ingest jobs")?,
            turns: b.counters("turns_total", "Turns ended, by finish reason or error code", &["outcome"])?,
            turns_rejected: b.counters("turns_rejected_total", "Questions that got no place", &["reason"])?,
            turns_inside: b.gauge("turns_admitted", "Turns in the program, running or waiting")?,
            tokens_inside: b.gauge("prompt_tokens_admitted", "Expected prompt tokens of the turns in the program")?,
            turn_queue_depth: b.gauge("turn_queue_depth", "Turns waiting for the generator")?,
            turn_queue_wait: b.histogram("turn_queue_wait_seconds", "Wait for the generator", LONG_SECONDS)?,
            wait_error: b.histogram(
                "turn_wait_estimate_error_seconds",
                "Between the wait that a turn was first told and the one it had",
                LONG_SECONDS,
            )?,
            embed_batch: b.histogram("embed_batch_size", "Texts embedded together", BATCH_TEXTS)?,
            embed_queue_depth: b.gauge("embed_queue_depth", "Batches waiting for an embedding worker")?,
            embed_seconds: b.histogram("embed_duration_seconds", "Time to embed a batch", SHORT_SECONDS)?,
            retrieve_seconds: b.histogram("retrieve_duration_seconds", "Time to search the dataset", SHORT_SECONDS)?,
            retrieve_score: b.histogram("retrieve_top_score", "How likely the materials answer a question", SCORES)?,
            refusals: b.counters("refusals_total", "Questions refused without generating", &["reason"])?,
            citations: b.counters("citations_total", "Sentences looked for in the sources", &["supported"])?,
            reranks: b.counters("reranks_total", "Searches whose passages were to be looked at again", &["outcome"])?,
            rerank_seconds: b.histogram("rerank_duration_seconds", "Time to look at passages again", SHORT_SECONDS)?,
            attributions: b.counters("attributions_total", "Answers compared with their sources", &["method"])?,
            attribution_seconds: b.histogram(
                "attribution_duration_seconds",
                "Time to compare an answer with its sources",
                SHORT_SECONDS,
            )?,
            slots: b.gauges("generation_slots", "Places of the generator", &["state"])?,
            prompt_tokens: b.counter("prompt_tokens_total", "Tokens of prompts")?,
            cached_tokens: b.counter("cached_prompt_tokens_total", "Prompt tokens that needed no evaluation")?,
            generated_tokens: b.counter("generated_tokens_total", "Tokens of answers")?,
            kv_cells: b.gauge("kv_cells_used", "Cells of the generator's context that hold tokens")?,
            kv_cells_total: b.gauge("kv_cells", "Cells of the generator's context")?,
            state_bytes: b.gauge("kv_saved_bytes", "Memory for evaluated tokens outside of the generator's context")?,
            set_back: b.counter("turns_set_back_total", "Turns that lost their cells to others, and are read again")?,
            batch_rows: b.histogram("decode_batch_size", "Tokens evaluated together", BATCH_TOKENS)?,
            batch_seconds: b.histogram("decode_batch_seconds", "Time to evaluate a batch", INTER_TOKEN_SECONDS)?,
            drafted_tokens: b.counters("drafted_tokens_total", "Guessed tokens of answers", &["right"])?,
            cancel_seconds: b.histogram(
                "cancel_latency_seconds",
                "From a cancel to the generator's end of the turn",
                INTER_TOKEN_SECONDS,
            )?,
            first_token: b.histogram(
                "time_to_first_token_seconds",
                "From question to first token",
                FIRST_TOKEN_SECONDS,
            )?,
            inter_token: b.histogram(
                "inter_token_latency_seconds",
                "Between two tokens of an answer",
                INTER_TOKEN_SECONDS,
            )?,
            worker_restarts: b.counters(
                "worker_restarts_total",
                "Workers rebuilt after a loss",
                &["worker", "cause"],
            )?,
            conversations: b.gauge("conversations_active", "Conversations in memory")?,
            store_seconds: b.histogram(
                "conversation_store_seconds",
                "Time to store beginnings and ends of turns",
                SHORT_SECONDS,
            )?,
            build_info: b.gauges("build_info", "What runs", &["version", "model", "embedder", "execution_provider"])?,
            registry: b.0,
        })
    }

    /// Says what runs.
    pub fn set_build_info(&self, model: &str, embedder: &str, execution_provider: &str) {
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), model, embedder, execution_provider]).set(1);
    }

    /// Conversations in memory.
    #[must_use]
    pub fn conversations_now(&self) -> i64 {
        self.conversations.get()
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// When the encoder refuses a metric.
    pub fn render(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn add_tokens(&self, usage: Usage) {
        self.prompt_tokens.inc_by(usage.prompt_tokens as u64);
        self.cached_tokens.inc_by(usage.cached_tokens as u64);
        self.generated_tokens.inc_by(usage.completion_tokens as u64);
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// A count as a gauge shows it.
fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Telemetry for Metrics {
    fn record(&self, measurement: Measurement) {
        match measurement {
            Measurement::TurnEnded { outcome, .. } => {
                let outcome = outcome.map_or_else(|code| code.as_str(), |reason| reason.as_str());
                self.turns.with_label_values(&[outcome]).inc();
            }
            Measurement::TokensUsed(usage) => self.add_tokens(usage),
            Measurement::Embedded { texts, took } => {
                #[allow(clippy::cast_precision_loss)] // a batch has tens of texts
                self.embed_batch.observe(texts as f64);
                self.embed_seconds.observe(seconds(took));
            }
            Measurement::EmbedQueueDepth(depth) => self.embed_queue_depth.set(gauge(depth)),
            Measurement::Retrieved { took, top_score } => {
                self.retrieve_seconds.observe(seconds(took));
                top_score.into_iter().for_each(|score| self.retrieve_score.observe(score.into()));
            }
            Measurement::Refused { reason } => self.refusals.with_label_values(&[reason]).inc(),
            Measurement::CitationChecked { supported } => {
                self.citations.with_label_values(&[if supported { "true" } else { "false" }]).inc();
            }
            Measurement::Reranked { outcome, took } => {
                self.reranks.with_label_values(&[outcome.as_str()]).inc();
                self.rerank_seconds.observe(seconds(took));
            }
            Measurement::Attributed { method, took } => {
                self.attributions.with_label_values(&[method.as_str()]).inc();
                self.attribution_seconds.observe(seconds(took));
            }
            Measurement::TurnRejected { reason } => self.turns_rejected.with_label_values(&[reason]).inc(),
            Measurement::TurnsInside { turns, prompt_tokens } => {
                self.turns_inside.set(gauge(turns));
                self.tokens_inside.set(gauge(prompt_tokens));
            }
            Measurement::WaitForeseen { foreseen, waited } => {
                self.wait_error.observe(seconds(foreseen.abs_diff(waited)))
            }
            Measurement::TurnQueueDepth(depth) => self.turn_queue_depth.set(gauge(depth)),
            Measurement::TurnQueueWaited(wait) => self.turn_queue_wait.observe(seconds(wait)),
            Measurement::GenerationSlots { busy, total } => {
                self.slots.with_label_values(&["busy"]).set(gauge(busy));
                self.slots.with_label_values(&["free"]).set(gauge(total - busy));
            }
            Measurement::CellsUsed { used, total } => {
                self.kv_cells.set(gauge(used));
                self.kv_cells_total.set(gauge(total));
            }
            Measurement::SetBack { times } => self.set_back.inc_by(times),
            Measurement::StateBytes(bytes) => self.state_bytes.set(gauge(bytes)),
            Measurement::BatchEvaluated { rows, took } => {
                #[allow(clippy::cast_precision_loss)] // a batch has at most thousands of tokens
                self.batch_rows.observe(rows as f64);
                self.batch_seconds.observe(seconds(took));
            }
            Measurement::Drafted { guessed, right } => {
                self.drafted_tokens.with_label_values(&["true"]).inc_by(right as u64);
                self.drafted_tokens.with_label_values(&["false"]).inc_by((guessed - right) as u64);
            }
            Measurement::Cancelled(time) => self.cancel_seconds.observe(seconds(time)),
            Measurement::FirstToken(time) => self.first_token.observe(seconds(time)),
            Measurement::InterToken(time) => self.inter_token.observe(seconds(time)),
            Measurement::WorkerRestarted { worker, cause } => {
                self.worker_restarts.with_label_values(&[worker, cause]).inc()
            }
            Measurement::TurnsStored { took } => self.store_seconds.observe(seconds(took)),
            Measurement::ConversationsActive(count) => self.conversations.set(gauge(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::FinishReason;

    /// Of the generator, as the protocol promises them, each with the label that it has.
    const OF_GENERATION: [&str; 17] = [
        "turns_total{outcome",
        "turn_queue_depth",
        "turn_queue_wait_seconds",
        "generation_slots{state",
        "prompt_tokens_total",
        "cached_prompt_tokens_total",
        "generated_tokens_total",
        "kv_cells_used",
        "kv_cells",
        "kv_saved_bytes",
        "turns_set_back_total",
        "decode_batch_size",
        "decode_batch_seconds",
        "drafted_tokens_total{right",
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "cancel_latency_seconds",
    ];

    #[test]
    fn every_metric_of_generation_is_there_with_what_was_measured() {
        let (metrics, ms) = (Metrics::new().unwrap(), Duration::from_millis);
        let measured = [
            Measurement::TurnEnded { outcome: Ok(FinishReason::Stop), total: ms(9) },
            Measurement::TurnQueueDepth(3),
            Measurement::TurnQueueWaited(ms(9)),
            Measurement::GenerationSlots { busy: 1, total: 4 },
            Measurement::TokensUsed(Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2 }),
            Measurement::CellsUsed { used: 5, total: 9 },
            Measurement::StateBytes(7),
            Measurement::SetBack { times: 2 },
            Measurement::BatchEvaluated { rows: 8, took: ms(9) },
            Measurement::Drafted { guessed: 3, right: 1 },
            Measurement::FirstToken(ms(9)),
            Measurement::InterToken(ms(9)),
            Measurement::Cancelled(ms(9)),
        ];
        measured.into_iter().for_each(|measurement| metrics.record(measurement));
        let text = metrics.render().unwrap();
        // A histogram's count, or the value itself: each was measured above, so none is 0.
        let is_measured = |name: &str, line: &str| {
            let rest = line.strip_prefix("mentor_").and_then(|line| line.strip_prefix(name));
            let is_whole = |rest: &str| name.contains('{') || rest.starts_with(' ') || rest.starts_with("_count ");
            rest.is_some_and(|rest| is_whole(rest) && !rest.ends_with(" 0"))
        };
        for name in OF_GENERATION {
            assert!(text.lines().any(|line| is_measured(name, line)), "{name} is missing in\n{text}");
        }
        assert!(text.contains("mentor_turns_set_back_total 2"));
    }

    #[test]
    fn what_the_actors_measure_appears_under_its_name() {
        let metrics = Metrics::new().unwrap();
        metrics.record(Measurement::TurnEnded { outcome: Ok(FinishReason::Stop), total: Duration::from_secs(1) });
        metrics.record(Measurement::Retrieved { took: Duration::from_millis(3), top_score: Some(0.7) });
        metrics.set_build_info("model", "embedder", "cpu");
        let text = metrics.render().unwrap();
        for line in [
            "mentor_turns_total{outcome=\"stop\"} 1",
            "mentor_retrieve_duration_seconds_bucket{le=\"0.004\"} 1",
            "mentor_build_info{",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
