//! `mentor serve --supervised`: a parent that starts the server again when it dies.
//!
//! Errors of a GPU, and some of llama.cpp's own, end the process: nothing inside it can recover. What hangs or used up its restarts
//! ends the process itself, see `rescue`. The parent holds no model and
//! no socket, so there is little in it that could fail.

use std::collections::VecDeque;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mentor_actors::workers::RestartBudget;
use tokio::signal::unix::{SignalKind, signal};

/// The flag that makes a parent of the program.
pub const SUPERVISED: &str = "--supervised";

/// The flag that tells the server that it has a parent.
const HAS_PARENT: &str = "--has-parent";

/// Deaths that are forgiven: a server that dies more often has a fault that starting it again does not mend.
const BUDGET: RestartBudget =
    RestartBudget { restarts: 5, window: Duration::from_secs(600), backoff: Duration::from_millis(500) };

/// Starts the program again without the flag, until it ends by itself or is told to.
///
/// # Errors
/// A program that cannot be started, or dies again and again.
pub fn supervise() -> anyhow::Result<u8> {
    let mut deaths = VecDeque::new();
    loop {
        let status = super::block_on(one_life())??;
        // An exit code is a decision of the server: told to stop, or nothing that a second start would change.
        if let Some(code) = status.code() {
            return Ok(u8::try_from(code).unwrap_or(1));
        }
        let Some(wait) = BUDGET.admit(&mut deaths, Instant::now()) else {
            bail!("the server died {} times ({status}): not started again", BUDGET.restarts + 1);
        };
        tracing::error!(%status, wait_ms = wait.as_millis(), "the server died and is started again");
        std::thread::sleep(wait);
    }
}

/// Runs the server once; signals for this process are passed on to it.
async fn one_life() -> anyhow::Result<ExitStatus> {
    let program = std::env::current_exe().context("cannot find the program's own file")?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != SUPERVISED);
    let mut command = Command::new(program);
    command.args(arguments).arg(HAS_PARENT);
    end_with_parent(&mut command);
    let mut child = command.spawn().context("cannot start the server")?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut told = false;
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            _ = terminate.recv() => told = tell(&child),
            _ = interrupt.recv() => told = tell(&child),
            _ = look.tick() => {}
        }
        if let Some(status) = child.try_wait()? {
            // Killed while it was stopping: it was told to end, and has.
            if told && status.code().is_none() {
                bail!("the server did not stop cleanly ({status})");
            }
            return Ok(status);
        }
    }
}

/// Lets the server end, in good order, when its parent is killed: nobody would look after it any more.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: between fork and exec only `prctl` is called, which takes integers and may be called there.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: &mut Command) {}

fn tell(child: &Child) -> bool {
    let Ok(id) = libc::pid_t::try_from(child.id()) else { return false };
    // SAFETY: the child is not waited for yet, so its number is still its own.
    unsafe { libc::kill(id, libc::SIGTERM) == 0 }
}
