//! `mentor bench`: how fast answers are written here, or by a server, and how soon they stop.

use std::sync::Arc;

use actix::Actor as _;
use mentor_actors::generation::GeneratorActor;
use mentor_actors::telemetry::Telemetry;

use crate::bench::{
    BareFigures, CANCEL_CONTEXT_TOKENS, CancelFigures, CancelTally, Figures, Interference, Load, MOST_GROWTH_MIB,
    SecondTurn, Tally, Workload, measure, measure_bare, measure_cancel, measure_interference, measure_second_turn,
    median,
};
use crate::cli::{BenchCancelArgs, BenchGenerateArgs};
use crate::config::Config;
use crate::engines::{self, BareGenerator};

/// Tokens of the first prompt of a second turn, and of the prompt that is read beside an answer.
const LONG_TOKENS: usize = 1_000;
const VERY_LONG_TOKENS: usize = 2_000;
/// Conversations between a first and a second turn, where there are no more slots than that.
const OTHERS: usize = 16;

#[derive(serde::Serialize)]
struct Row {
    workload: Workload,
    conversations: usize,
    #[serde(flatten)]
    figures: Figures,
}

/// # Errors
/// A generator that cannot be loaded or fails.
pub fn bench_generate(config: &Config, arguments: &BenchGenerateArgs) -> anyhow::Result<u8> {
    let slots = arguments.conversations.iter().copied().max().unwrap_or(1);
    let longest = (arguments.prompt_tokens + arguments.answer_tokens).max(VERY_LONG_TOKENS) * 5 / 4 + 256;
    let config = Config { slots, llm_parallel: slots, context_tokens: longest, kv_cells: 0, ..config.clone() };
    let tally = Arc::new(Tally::default());
    let telemetry: Arc<dyn Telemetry> = tally.clone();
    let generator = BareGenerator::new(&config)?;
    let mut bare = bare_runs(&generator, arguments)?;
    let mut engine = generator.engine(&telemetry)?;
    let name = generator.name();
    let mut rows = Vec::new();
    // A first small one warms up.
    measure(&mut *engine, &tally, &load(arguments, Workload::Apart, 1, 0))?;
    let mut round = 1;
    for &workload in &arguments.workloads {
        for &conversations in &arguments.conversations {
            let mut rounds = Vec::new();
            for _ in 0..arguments.rounds.max(1) {
                rounds.push(measure(&mut *engine, &tally, &load(arguments, workload, conversations, round))?);
                round += 1;
            }
            rows.push(Row { workload, conversations, figures: median(&rounds) });
        }
    }
    let (mut second, mut beside) = (None, None);
    if config.llm_server().is_none() && !arguments.table_only {
        second = Some(measure_second_turn(&mut *engine, LONG_TOKENS, OTHERS.max(slots), round)?);
        beside = (slots > 1).then(|| measure_interference(&mut *engine, VERY_LONG_TOKENS, round + 1)).transpose()?;
    }
    drop(engine);
    bare.extend(bare_runs(&generator, arguments)?);
    let alone = rows.iter().find(|row| row.is_alone()).map(|row| row.figures.decode_rate);
    let bare = BareFigures::of(&bare, alone);
    if arguments.json {
        let report = serde_json::json!({
            "model": name, "rows": rows, "bare": bare, "second_turn": second, "interference": beside,
        });
        println!("{report}");
    } else {
        print(&name, &rows, bare, second.as_ref(), beside.as_ref());
    }
    Ok(0)
}

impl Row {
    /// Whether it is what the bare loop does.
    fn is_alone(&self) -> bool {
        self.workload == Workload::Apart && self.conversations == 1
    }
}

/// The bare loop's rates, where it can be had and there is something to hold against it. Half of them are measured before everything
/// else and half behind, so that a machine that gets slower meanwhile does not decide.
fn bare_runs(generator: &BareGenerator, arguments: &BenchGenerateArgs) -> anyhow::Result<Vec<f64>> {
    let is_wanted = arguments.workloads.contains(&Workload::Apart) && arguments.conversations.contains(&1);
    let decoder = if is_wanted { generator.decoder()? } else { None };
    let Some(mut decoder) = decoder else { return Ok(Vec::new()) };
    // A first one warms up.
    measure_bare(&mut decoder, &load(arguments, Workload::Apart, 1, 0))?;
    let rounds = 1..=arguments.rounds.max(1);
    rounds.map(|round| measure_bare(&mut decoder, &load(arguments, Workload::Apart, 1, round))).collect()
}

fn load(arguments: &BenchGenerateArgs, workload: Workload, conversations: usize, round: usize) -> Load {
    let (prompt_tokens, answer_tokens) = (arguments.prompt_tokens, arguments.answer_tokens);
    Load { conversations, prompt_tokens, answer_tokens, workload, round }
}

fn print(
    name: &str,
    rows: &[Row],
    bare: Option<BareFigures>,
    second: Option<&SecondTurn>,
    beside: Option<&Interference>,
) {
    println!("{name}; rates in tokens a second, times in milliseconds");
    println!(
        "{:9} {:>5} {:>8} {:>7} {:>7} {:>8} {:>7} {:>8} {:>8} {:>7} {:>9} {:>9} {:>7} {:>7} {:>7}",
        "workload",
        "conv",
        "prompt",
        "cached",
        "answer",
        "guessed",
        "right",
        "prefill",
        "decode",
        "total",
        "first p50",
        "first p95",
        "gap p50",
        "gap p95",
        "gap max"
    );
    for Row { workload, conversations, figures } in rows {
        println!(
            "{:9} {:>5} {:>8} {:>7} {:>7} {:>8} {:>7} {:>8.1} {:>8.1} {:>7.1} {:>9.0} {:>9.0} {:>7.1} {:>7.1} {:>7.0}",
            format!("{workload:?}").to_lowercase(),
            conversations,
            figures.prompt_tokens,
            figures.cached_tokens,
            figures.answer_tokens,
            figures.guessed_tokens,
            figures.right_guesses,
            figures.prefill_rate,
            figures.decode_rate,
            figures.total_rate,
            figures.first_token_p50,
            figures.first_token_p95,
            figures.inter_token_p50,
            figures.inter_token_p95,
            figures.inter_token_max
        );
    }
    if let Some(BareFigures { decode_rate, ratio }) = bare {
        println!(
            "one conversation in a bare loop: {decode_rate:.1} decoded a second; the engine's rate is {ratio:.3} of it"
        );
    }
    if let Some(turn) = second {
        println!(
            "second turn after a prompt of {} tokens: first token {:.0}, then {:.0} ({} tokens evaluated), after {} other \
             conversations {:.0} ({} tokens evaluated)",
            turn.first_prompt_tokens,
            turn.first_turn,
            turn.second_turn,
            turn.second_evaluated,
            turn.others,
            turn.after_others,
            turn.after_others_evaluated
        );
    }
    if let Some(beside) = beside {
        println!(
            "an answer beside a prompt of {} tokens: longest gap {:.0}, a part of the prompt takes {:.0}",
            beside.prompt_tokens, beside.longest_gap, beside.chunk
        );
    }
}

/// Memory for conversations that left the context, in MiB: little, so that it is full after a tenth of the turns.
const STATE_CACHE_MB: usize = 16;

/// # Errors
/// A generator that cannot be loaded; a turn that fails or does not end.
pub fn bench_cancel(config: &Config, arguments: &BenchCancelArgs) -> anyhow::Result<u8> {
    let config = Config {
        context_tokens: CANCEL_CONTEXT_TOKENS,
        prompt_tokens: CANCEL_CONTEXT_TOKENS / 2,
        max_tokens: CANCEL_CONTEXT_TOKENS / 2,
        kv_cells: 0,
        state_cache_mb: STATE_CACHE_MB,
        max_turns: config.max_turns.max(2 * config.slots),
        ..config.clone()
    };
    let tally = Arc::new(CancelTally::default());
    let telemetry: Arc<dyn Telemetry> = tally.clone();
    let generator = engines::for_generation(&config, &telemetry)?;
    let name = generator.info.to_string();
    let slots = if config.llm_server().is_some() { config.llm_parallel } else { config.slots };
    let figures = actix::System::new().block_on(async {
        let actor = GeneratorActor::new(generator.worker.clone()).start();
        measure_cancel(&actor, &tally, slots, arguments.turns).await
    });
    generator.stop();
    let figures = figures?;
    if arguments.json {
        println!("{}", serde_json::json!({"model": name, "slots": slots, "figures": figures}));
    } else {
        print_cancel(&name, slots, &figures);
    }
    Ok(u8::from(figures.left_something()))
}

fn print_cancel(name: &str, slots: usize, figures: &CancelFigures) {
    println!("{name}; {slots} slots, {} turns", figures.turns);
    println!("stopped          {} ({} before their first token)", figures.cancelled, figures.cancelled_in_prefill);
    println!(
        "slot free after  p50 {:.1} ms, p95 {:.1}, p99 {:.1}, max {:.1}; the longest step took {:.1} ms",
        figures.cancel_p50, figures.cancel_p95, figures.cancel_p99, figures.cancel_max, figures.longest_step
    );
    println!(
        "memory           {} MiB at the start, {} after a tenth of the turns, {} at the end: {} more, of {MOST_GROWTH_MIB} that are \
         allowed",
        figures.memory_start,
        figures.memory_tenth,
        figures.memory_end,
        figures.growth()
    );
    let fit = if figures.all_fit_afterwards { "fits" } else { "DOES NOT FIT" };
    println!(
        "left             {} slots taken; {} of {} KV cells hold idle conversations, and a whole new one {fit} into every slot",
        figures.slots_taken, figures.cells_used, figures.cells_total
    );
}
