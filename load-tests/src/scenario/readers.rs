//! Clients that do nothing wrong, to see what others do to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;

use crate::bench::{Bench, all};
use crate::student::{Ending, Leave, Names, Student};

/// What their times are called when they are alone.
pub const ALONE: Names =
    Names { first_token: "alone_first_token_ms", token_delay: "alone_delay_ms", total: "alone_total_ms" };

/// What they are called beside others.
pub const BESIDE: Names =
    Names { first_token: "beside_first_token_ms", token_delay: "beside_delay_ms", total: "beside_total_ms" };

/// Lets so many clients read one answer each, at once. `open` has the number of them that are connected.
///
/// # Errors
/// When a client panicked.
pub async fn read(bench: &Arc<Bench>, open: &Arc<AtomicUsize>, names: Names, clients: usize) -> anyhow::Result<()> {
    let mut reading = JoinSet::new();
    for number in 0..clients {
        reading.spawn(read_one(bench.clone(), open.clone(), names, number));
    }
    all(reading).await
}

async fn read_one(bench: Arc<Bench>, open: Arc<AtomicUsize>, names: Names, number: usize) {
    let mut student = Student::new(&bench, &format!("{}-{number}", names.total)).measured_as(names);
    if let Err(failure) = student.connect().await {
        return bench.figures.failed(&failure);
    }
    open.fetch_add(1, Ordering::Relaxed);
    match student.take_turn("turn", bench.question(number), Instant::now()).await {
        Ok(Ending::Completed(_)) => {}
        Ok(Ending::Failed(failure)) | Err(failure) => bench.figures.failed(&failure),
    }
    student.leave(Leave::Goodbye).await;
    open.fetch_sub(1, Ordering::Relaxed);
}

/// Sets how many times as late the words of those who read come beside others.
pub fn compare(bench: &Bench) {
    let figures = &bench.figures;
    if let (Some(alone), Some(beside)) = (figures.summary(ALONE.token_delay), figures.summary(BESIDE.token_delay)) {
        figures.set("delay_p99_ratio", beside.p99 / alone.p99.max(f64::MIN_POSITIVE));
    }
}
