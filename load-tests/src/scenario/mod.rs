//! Scenarios: one file each, with its arguments and what its clients do.

mod cancel;
mod chaos;
mod drop;
mod flood;
mod idle;
mod malformed;
mod overload;
mod readers;
mod slow;
mod soak;
mod stream;

use std::sync::Arc;

use clap::Subcommand;

use crate::bench::{Bench, Common};
use crate::report::RunReport;
use crate::sampler::Sampler;

/// Which scenario.
#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Clients come, ask, think and ask again: times from the moments they should have come (an open loop).
    Stream(stream::StreamArgs),
    /// Connections that only stay open; then, if wanted, a stop of the server that must tell all of them.
    Idle(idle::IdleArgs),
    /// Clients that never read, beside others that do.
    Slow(slow::SlowArgs),
    /// Clients that lose their connection at any moment of an answer, and come back for the rest.
    Drop(drop::DropArgs),
    /// Clients that stop their answers at any moment.
    Cancel(cancel::CancelArgs),
    /// Clients that send as fast as they can, or come and go without end, beside others.
    Flood(flood::FloodArgs),
    /// Frames that are none.
    Malformed(malformed::MalformedArgs),
    /// As much as there is room for, then many times that.
    Overload(overload::OverloadArgs),
    /// A server that is stopped, killed, and robbed of its disk and clock.
    Chaos(chaos::ChaosArgs),
    /// Everything in turn for a long time.
    Soak(soak::SoakArgs),
}

impl Scenario {
    fn name(&self) -> &'static str {
        match self {
            Self::Stream(_) => "stream",
            Self::Idle(_) => "idle",
            Self::Slow(_) => "slow",
            Self::Drop(_) => "drop",
            Self::Cancel(_) => "cancel",
            Self::Flood(_) => "flood",
            Self::Malformed(_) => "malformed",
            Self::Overload(_) => "overload",
            Self::Chaos(_) => "chaos",
            Self::Soak(_) => "soak",
        }
    }

    /// What all of them are told.
    pub fn common(&self) -> &Common {
        match self {
            Self::Stream(arguments) => &arguments.common,
            Self::Idle(arguments) => &arguments.common,
            Self::Slow(arguments) => &arguments.common,
            Self::Drop(arguments) => &arguments.common,
            Self::Cancel(arguments) => &arguments.common,
            Self::Flood(arguments) => &arguments.common,
            Self::Malformed(arguments) => &arguments.common,
            Self::Overload(arguments) => &arguments.common,
            Self::Chaos(arguments) => &arguments.common,
            Self::Soak(arguments) => &arguments.common,
        }
    }

    /// Runs it. What the server does wrong stands in the report.
    ///
    /// # Errors
    /// When the questions cannot be read, or the arguments do not fit each other.
    pub async fn run(&self) -> anyhow::Result<RunReport> {
        let bench = Bench::begin(self.common().clone())?;
        let sampler = Sampler::start(bench.clone());
        self.play(&bench).await?;
        let series = sampler.stop().await;
        Ok(RunReport::new(self.name(), &bench, series))
    }

    async fn play(&self, bench: &Arc<Bench>) -> anyhow::Result<()> {
        match self {
            Self::Stream(arguments) => stream::run(bench, arguments).await,
            Self::Idle(arguments) => idle::run(bench, arguments).await,
            Self::Slow(arguments) => slow::run(bench, arguments).await,
            Self::Drop(arguments) => drop::run(bench, arguments).await,
            Self::Cancel(arguments) => cancel::run(bench, arguments).await,
            Self::Flood(arguments) => flood::run(bench, arguments).await,
            Self::Malformed(arguments) => malformed::run(bench, arguments).await,
            Self::Overload(arguments) => overload::run(bench, arguments).await,
            Self::Chaos(arguments) => chaos::run(bench, arguments).await,
            Self::Soak(arguments) => soak::run(bench, arguments).await,
        }
    }
}
