//! `chaos`: the server is stopped, killed, robbed of its disk and of its sense of time, while clients go on asking.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::task::JoinSet;

use crate::bench::{Bench, Common, all};
use crate::check::Resuming;
use crate::cli::seconds;
use crate::disk::Filler;
use crate::failure::Failure;
use crate::process::Process;
use crate::student::{Ending, Leave, Student};

/// Longest wait for the server to answer again.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is tried.
const AGAIN: Duration = Duration::from_millis(200);

/// Parts of the server that are made to panic: each kind of thread and of actor that others depend on.
const PARTS: [&str; 9] =
    ["embed", "generate", "conversations", "search", "turn", "directory", "embedding-pool", "retriever", "generator"];

/// Arguments of `chaos`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Starts the server itself, and starts it again after killing it. What cannot be done here is left out, and the
report says so. A full disk needs the data folder on a small file system of its own, for instance in a user namespace:

  mentor-load chaos --questions q.jsonl --url ws://127.0.0.1:9000 --small-disk /tmp/small \\
    --at-least panics=9 --at-least full_disk_refusals=1 \\
    --command 'mentor serve --listen 127.0.0.1:9000 --data-dir /tmp/small --fake-generator 20 --fault-injection'

Panics are ordered from a server that was started with --fault-injection. For jumps of the clock the command must preload libfaketime, which reads the offset from the file named by --clock-file
(FAKETIME_TIMESTAMP_FILE, with FAKETIME_NO_CACHE=1 and FAKETIME_DONT_FAKE_MONOTONIC=1)."
)]
pub struct ChaosArgs {
    #[command(flatten)]
    pub common: Common,
    /// Starts the server, as a shell understands it.
    #[arg(long)]
    pub command: String,
    /// Clients that ask all the time.
    #[arg(long, default_value_t = 10)]
    pub clients: usize,
    /// Seconds of each trouble, and of quiet behind it.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// How often the process is killed.
    #[arg(long, default_value_t = 3)]
    pub kills: usize,
    /// Folder on a small file system, which is filled.
    #[arg(long, value_name = "DIR")]
    pub small_disk: Option<PathBuf>,
    /// File from which the server's libfaketime reads the offset of its clock.
    #[arg(long, value_name = "FILE")]
    pub clock_file: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When the server cannot be started, or does not answer any more.
pub async fn run(bench: &Arc<Bench>, arguments: &ChaosArgs) -> anyhow::Result<()> {
    for name in ["turns_completed", "stored_equal", "panics", "full_disk_refusals"] {
        bench.figures.add(name, 0);
    }
    let mut server = Server::start(&arguments.command)?;
    server.wait_until_ready(bench).await?;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients {
        clients.spawn(persist(bench.clone(), number, over.clone()));
    }
    let played = play(bench, arguments, &mut server).await;
    over.store(true, Ordering::Relaxed);
    all(clients).await?;
    server.stop().await?;
    played
}

async fn play(bench: &Arc<Bench>, arguments: &ChaosArgs, server: &mut Server) -> anyhow::Result<()> {
    let quiet = || tokio::time::sleep(arguments.seconds);
    let figures = &bench.figures;
    quiet().await;

    server.signal(libc::SIGSTOP)?;
    quiet().await;
    server.signal(libc::SIGCONT)?;
    recover(bench, "recovery_from_stop_s").await?;
    quiet().await;

    for _ in 0..arguments.kills {
        server.signal(libc::SIGKILL)?;
        server.wait_until_gone().await?;
        *server = Server::start(&arguments.command)?;
        recover(bench, "recovery_from_kill_s").await?;
        quiet().await;
    }

    break_parts(bench, arguments.seconds).await?;

    match &arguments.small_disk {
        Some(folder) => {
            fill_disk(bench, arguments, folder, server).await?;
            quiet().await;
        }
        None => figures.note("full disk: left out, there is no --small-disk"),
    }

    match &arguments.clock_file {
        Some(file) => {
            for offset in ["+1d", "-1d", "+0"] {
                std::fs::write(file, offset).with_context(|| format!("{} cannot be written", file.display()))?;
                quiet().await;
                recover(bench, "recovery_from_clock_s").await?;
            }
        }
        None => figures.note("clock jumps: left out, there is no --clock-file"),
    }
    Ok(())
}

/// Orders a panic of each part, and waits until the server answers again.
async fn break_parts(bench: &Arc<Bench>, quiet: Duration) -> anyhow::Result<()> {
    for part in PARTS {
        match bench.post(&format!("/debug/panic/{part}")).await {
            Ok(204) => bench.figures.count("panics"),
            Ok(404) => {
                bench.figures.note("panics: left out, the server was started without --fault-injection");
                return Ok(());
            }
            Ok(status) => bail!("a panic of {part} was answered {status}"),
            Err(failure) => bail!("a panic of {part} could not be ordered: {}", failure.detail),
        }
        recover(bench, "recovery_from_panic_s").await?;
        tokio::time::sleep(quiet / 5).await;
    }
    Ok(())
}

/// Fills the disk until questions are refused for it, then frees it. The server is started anew before: the log of one that has
/// written for a while is a file with room in it, which a full disk does not take away.
async fn fill_disk(
    bench: &Arc<Bench>,
    arguments: &ChaosArgs,
    folder: &Path,
    server: &mut Server,
) -> anyhow::Result<()> {
    server.stop().await?;
    *server = Server::start(&arguments.command)?;
    server.wait_until_ready(bench).await?;
    let filler = match Filler::fill(folder) {
        Ok(filler) => filler,
        Err(error) => {
            bench.figures.note(format!("full disk: left out, {error}"));
            return Ok(());
        }
    };
    bench.figures.note(format!("full disk: the last {} KiB were taken", filler.bytes / 1_024));
    let start = Instant::now();
    while ask_once(bench, "full-disk").await.is_ok() {
        ensure!(
            start.elapsed() < PATIENCE,
            "the disk is full, and questions are answered for {} s",
            PATIENCE.as_secs()
        );
    }
    bench.figures.count("full_disk_refusals");
    tokio::time::sleep(arguments.seconds).await;
    drop(filler);
    recover(bench, "recovery_from_full_disk_s").await
}

/// A new client asks one question; whether it was answered.
async fn ask_once(bench: &Arc<Bench>, name: &str) -> Result<(), Failure> {
    let mut student = Student::new(bench, &format!("{name}-{}", bench.start.elapsed().as_millis()));
    student.connect().await?;
    match student.take_turn("turn", bench.question(0), Instant::now()).await? {
        Ending::Completed(_) => Ok(()),
        Ending::Failed(failure) => Err(failure),
    }
}

/// Waits until a new client gets an answer; how long that takes is a figure, the longest of all times it is measured.
async fn recover(bench: &Arc<Bench>, name: &'static str) -> anyhow::Result<()> {
    let start = Instant::now();
    while let Err(failure) = ask_once(bench, name).await {
        if start.elapsed() > PATIENCE {
            bail!("the server did not answer within {} s: {}", PATIENCE.as_secs(), failure.detail);
        }
        tokio::time::sleep(AGAIN).await;
    }
    bench.figures.raise(name, start.elapsed().as_secs_f64());
    Ok(())
}

/// Asks one question after the other, whatever becomes of the server. Every answer that was called complete must be stored once
/// and as it was said, also in the end.
async fn persist(bench: Arc<Bench>, number: usize, over: Arc<AtomicBool>) {
    let mut student = Student::new(&bench, &format!("client-{number}"));
    let mut answers = Vec::new();
    let mut is_new = true;
    for turn in 0.. {
        let (turn_id, question) = (format!("turn-{turn}"), bench.question(number + turn).to_owned());
        loop {
            match one_try(&mut student, &turn_id, &question, is_new).await {
                Ok(Ending::Completed(done)) => {
                    answers.push((turn_id, done.answer));
                    is_new = false;
                    break;
                }
                Ok(Ending::Failed(failure)) => {
                    is_new = false;
                    bench.figures.failed(&failure);
                    failure.back_off().await;
                    break;
                }
                Err(failure) => {
                    bench.figures.failed(&failure);
                    is_new = is_new && !student.was_ready();
                    student.leave(Leave::Silently).await;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    student.leave(Leave::Silently).await;
    for (turn_id, answer) in answers {
        student.compare_stored(&turn_id, &answer).await;
    }
}

/// Connects where there is no connection, asks, and follows the answer to its end.
async fn one_try(student: &mut Student, turn_id: &str, question: &str, is_new: bool) -> Result<Ending, Failure> {
    if !student.is_connected() {
        if is_new { student.connect().await? } else { student.resume(Resuming::NewServer).await? }
    }
    student.take_turn(turn_id, question, Instant::now()).await
}

/// A server that was started here.
struct Server {
    child: Child,
}

impl Server {
    fn start(command: &str) -> anyhow::Result<Self> {
        // The shell becomes the server, so that signals reach it.
        let child = Command::new("sh").args(["-c", &format!("exec {command}")]).spawn();
        Ok(Self { child: child.with_context(|| format!("{command:?} cannot be started"))? })
    }

    fn signal(&self, signal: i32) -> anyhow::Result<()> {
        Ok(Process(self.child.id().cast_signed()).signal(signal)?)
    }

    async fn wait_until_gone(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(start.elapsed() < PATIENCE, "the server did not end within {} s", PATIENCE.as_secs());
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn wait_until_ready(&mut self, bench: &Bench) -> anyhow::Result<()> {
        let start = Instant::now();
        while let Err(failure) = bench.get("/readyz").await {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once: {status}");
            }
            if start.elapsed() > PATIENCE {
                bail!("the server is not ready after {} s: {}", PATIENCE.as_secs(), failure.detail);
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(libc::SIGTERM)?;
        self.wait_until_gone().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless something else failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
