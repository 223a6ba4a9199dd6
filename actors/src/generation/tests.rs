//! The driver's loop, step by step, on an engine that says what it is told to.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::ports::Begun;
use crate::telemetry::Silent;

/// Outputs of each step, first to last.
struct Scripted(VecDeque<Vec<(Slot, SlotOutput)>>);

impl GenerationEngine for Scripted {
    fn slots(&self) -> usize {
        2
    }

    fn context_tokens(&self) -> usize {
        1_000
    }

    fn count_prompt_tokens(&self, _: &[PromptMessage]) -> Result<usize, EngineError> {
        Ok(10)
    }

    fn count_cached_tokens(&self, _: &[PromptMessage], _: &str) -> Result<usize, EngineError> {
        Ok(4)
    }

    fn begin(&mut self, _: Slot, _: &Generation) -> Result<Begun, EngineError> {
        Ok(Begun { prompt_tokens: 10, cached_tokens: 4 })
    }

    fn step(&mut self) -> Result<Vec<(Slot, SlotOutput)>, EngineError> {
        Ok(self.0.pop_front().unwrap_or_default())
    }

    fn end(&mut self, _: Slot) {}
}

fn request(turn: &str) -> Generate {
    Generate {
        turn_id: TurnId::parse(turn).unwrap(),
        flow: Flow { client: None, conversation: None },
        parts: PromptParts {
            system: String::new(),
            history: Vec::new(),
            brief_exchanges: 0,
            passages: Vec::new(),
            question: "what is a heap?".into(),
            budget_tokens: 500,
        },
        max_tokens: 8,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        cache_scope: "c".into(),
        deadline: Deadline::after(Duration::from_secs(60)),
        cancel: CancelToken::default(),
    }
}

/// A turn that waits, and the channel of its events.
fn job(turn: &str) -> (Job, mpsc::Receiver<GenerationEvent>) {
    let (events, reader) = mpsc::channel(32);
    let request = request(turn);
    let span = tracing::info_span!("turn", turn_id = %request.turn_id);
    (Job { request, events, queued_at: Instant::now(), told: None, foreseen: None, span }, reader)
}

/// Puts a turn into the queue.
fn push(queue: &TurnQueue<Job>, job: Job) {
    let work = Workload::of_prompt(&job.request.parts, job.request.max_tokens);
    assert!(queue.try_push(job.request.flow.clone(), work, job).is_ok());
}

/// Runs these turns from the beginning through all steps of the script; the events of each.
fn run(turns: &[&str], script: Vec<Vec<(Slot, SlotOutput)>>) -> Vec<Vec<GenerationEvent>> {
    let steps = script.len();
    let mut engine = Scripted(script.into());
    let (queue, pulse) = (TurnQueue::new(8), Arc::<Pulse>::default());
    let mut readers = Vec::new();
    for turn in turns {
        let (job, reader) = job(turn);
        push(&queue, job);
        readers.push(reader);
    }
    let mut driver = Driver::new(&mut engine, &queue, &Silent, &pulse);
    driver.fill_free_slots();
    (0..steps).for_each(|_| driver.step().unwrap());
    let drain = |mut reader: mpsc::Receiver<_>| std::iter::from_fn(move || reader.try_recv().ok()).collect();
    readers.into_iter().map(drain).collect()
}

fn token(text: &str) -> SlotOutput {
    SlotOutput::Token(text.into())
}

fn finished(rest: &str, reason: FinishReason) -> SlotOutput {
    SlotOutput::Finished(rest.into(), reason)
}

fn used(events: &[GenerationEvent]) -> usize {
    match events.last() {
        Some(GenerationEvent::Finished { usage, .. }) => usage.completion_tokens,
        other => panic!("not an end: {other:?}"),
    }
}

fn said(events: &[GenerationEvent]) -> String {
    let text = |event: &GenerationEvent| match event {
        GenerationEvent::Piece(text) => text.clone(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}

#[test]
fn what_the_engine_counts_stands_whether_or_not_the_end_brings_text() {
    let counted =
        |completion_tokens| SlotOutput::Counted(Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens });
    // Two tokens, of which the second was held back until the model's end.
    let held_back = vec![
        vec![(0, token("a"))],
        vec![(0, token(""))],
        vec![(0, counted(2)), (0, finished("EN", FinishReason::Stop))],
    ];
    let [events] = &run(&["t"], held_back)[..] else { panic!() };
    assert_eq!((said(events).as_str(), used(events)), ("aEN", 2));
    // Two tokens, of which the second ends the answer and half a character is all it brings.
    let half = vec![vec![(0, token("a"))], vec![(0, counted(2)), (0, finished("", FinishReason::Length))]];
    let [events] = &run(&["t"], half)[..] else { panic!() };
    assert_eq!((said(events).as_str(), used(events)), ("a", 2));
}

#[test]
fn where_the_engine_does_not_count_pieces_stand_for_tokens() {
    let script = vec![vec![(0, token("a"))], vec![(0, finished("b", FinishReason::Length))]];
    let [events] = &run(&["t"], script)[..] else { panic!() };
    assert_eq!((said(events).as_str(), used(events)), ("ab", 2));
}

/// Reads a turn's events whenever slots are counted, and keeps each count with what was to be read by then.
struct Watcher {
    reader: Mutex<mpsc::Receiver<GenerationEvent>>,
    seen: Mutex<Vec<(usize, Vec<GenerationEvent>)>>,
}

impl Telemetry for Watcher {
    fn record(&self, measurement: Measurement) {
        if let Measurement::GenerationSlots { busy, .. } = measurement {
            let mut reader = self.reader.lock().unwrap();
            self.seen.lock().unwrap().push((busy, std::iter::from_fn(|| reader.try_recv().ok()).collect()));
        }
    }
}

#[test]
fn a_slot_is_counted_free_before_anybody_can_hear_of_the_end() {
    let mut engine = Scripted([vec![(0, finished("a", FinishReason::Stop))]].into());
    let (queue, pulse) = (TurnQueue::new(8), Arc::<Pulse>::default());
    let (job, reader) = job("t");
    push(&queue, job);
    let watcher = Watcher { reader: Mutex::new(reader), seen: Mutex::default() };
    let mut driver = Driver::new(&mut engine, &queue, &watcher, &pulse);
    driver.fill_free_slots();
    driver.step().unwrap();
    let seen = watcher.seen.lock().unwrap();
    let [(1, begun), (0, answer)] = &seen[..] else { panic!("{seen:?}") };
    assert!(matches!(begun.last(), Some(GenerationEvent::Begun { .. })), "{begun:?}");
    assert_eq!(answer, &[GenerationEvent::Piece("a".into())], "its end is not to be heard yet");
}

/// Writes down what is traced: spans with their fields, which follows from which, and events with the span they are in.
#[derive(Default)]
struct Capture {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Mutex<Vec<String>>,
    entered: Mutex<Vec<u64>>,
    numbers: AtomicU64,
}

struct Fields<'t>(&'t mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push_str(&format!(" {}={value}", field.name()));
    }
}

impl Capture {
    fn place(id: &Id) -> usize {
        usize::try_from(id.into_u64() - 1).unwrap()
    }
}

impl Subscriber for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = attributes.metadata().name().to_owned();
        attributes.record(&mut Fields(&mut text));
        self.spans.lock().unwrap().push(text);
        Id::from_u64(self.numbers.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.spans.lock().unwrap()[Self::place(id)]));
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        let spans = self.spans.lock().unwrap();
        let line = format!("{} follows from {}", spans[Self::place(id)], spans[Self::place(follows)]);
        self.lines.lock().unwrap().push(line);
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Fields(&mut text));
        let (spans, entered) = (self.spans.lock().unwrap(), self.entered.lock().unwrap());
        let span = entered.last().map_or("", |id| spans[*id as usize - 1].as_str());
        self.lines.lock().unwrap().push(format!("{} [{span}]{text}", event.metadata().level()));
    }

    fn enter(&self, id: &Id) {
        self.entered.lock().unwrap().push(id.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.entered.lock().unwrap().pop();
    }
}

#[test]
fn a_batch_names_its_turns_and_the_end_of_a_turn_its_batches() {
    let capture = Capture::default();
    let lines = capture.lines.clone();
    let script = vec![
        vec![(0, SlotOutput::Prefilled), (1, SlotOutput::Prefilled)],
        vec![(0, finished("yes", FinishReason::Stop)), (1, token("no"))],
        vec![(1, finished("", FinishReason::Length))],
    ];
    tracing::subscriber::with_default(capture, || run(&["first", "second"], script));
    let lines = lines.lock().unwrap();
    let has =
        |wanted: &str| assert!(lines.iter().any(|line| line.starts_with(wanted)), "{wanted} is not in {lines:#?}");
    has("batch number=1 follows from turn turn_id=first");
    has("batch number=2 follows from turn turn_id=second");
    has("DEBUG [batch number=1 turns=first second]");
    has("DEBUG [batch number=3 turns=second]");
    let end = |turn, outcome, steps, rows| {
        format!(
            "INFO [turn turn_id={turn}] message=a turn's answer ended outcome={outcome} first_batch=1 steps={steps} rows={rows} "
        )
    };
    has(&end("first", "stop", 2, 7));
    has(&end("second", "length", 3, 7));
}

#[test]
fn a_batch_names_no_more_turns_than_fit_a_line() {
    let turns: Vec<TurnId> = (0..NAMED_TURNS + 3).map(|n| TurnId::parse(&format!("t{n}")).unwrap()).collect();
    assert_eq!(names(turns[..2].iter()), "t0 t1");
    let all = names(turns.iter());
    assert!(all.ends_with(" t15 and 3 more") && !all.contains("t16"), "{all}");
}
