//! Drives PlaceOrder through a real gateway and real services, and measures it against its raw parts and against a floor: the same path
//! written by hand, without any of our crates. `--help` tells how; the README what the figures mean.
//!
//! - `plan`: what is measured, in which order. `report`: what is told of it.
//! - `instances`: one of order and billing on Postgres, and two.
//! - `shop`, `processes`, `customers`: the system under load, and what its processes cost.
//! - `drive`, `samples`: callers in a closed loop, or arrivals at a fixed rate.
//! - `raw`: one publication, one commit, one call.
//! - `floor`: the hand-written path.

#![expect(clippy::future_not_send, reason = "everything runs on one thread")]

mod customers;
mod drive;
mod floor;
mod instances;
mod plan;
mod processes;
mod raw;
mod report;
mod samples;
mod shop;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what an order costs, against its raw parts and against a hand-written path that writes the same rows and messages.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each figure is measured, in seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// A run of some two minutes: three seconds a figure. Its figures are coarse.
    #[arg(long)]
    quick: bool,
    /// Only a part of it: then the figures are told and not written.
    #[arg(long)]
    only: Option<plan::Part>,
    /// Where the figures go, as JSON.
    #[arg(long, default_value = "target/load.json")]
    output: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The floor's own processes.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    FloorGateway { nats_url: String },
    #[command(hide = true)]
    FloorOrder { nats_url: String, database: PathBuf },
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! { biased;
        interrupt = tokio::signal::ctrl_c() => Ok(interrupt?),
        _ = terminate.recv() => Ok(()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { seconds, quick, only, output, part } = Arguments::parse();
    let outcome = match part {
        Some(Part::FloorGateway { nats_url }) => floor::gateway::run(&nats_url).await,
        Some(Part::FloorOrder { nats_url, database }) => floor::order::run(&nats_url, &database).await,
        None => {
            // What was started is stopped with the run, however that ends.
            tokio::select! { biased;
                stopped = told_to_stop() => stopped.and_then(|()| anyhow::bail!("stopped before its end")),
                outcome = plan::run(Duration::from_secs(if quick { 3 } else { seconds }), only, &output) => outcome,
            }
        }
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "load: {error:#}");
    ExitCode::FAILURE
}
