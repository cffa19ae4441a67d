//! Runs seeds, tells how it goes, and which of them broke a promise.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use event::Schema;
use millrace_sim::{Fault, Report, run};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;

/// Simulates the shop: production's services in one thread, in a world that loses, doubles, delays, kills and restores as a seed decides.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    seeds: u64,
    /// The first of them; the others follow. By default it is taken from the clock, so that each call runs seeds that never were run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=LAST))]
    from: Option<u64>,
    /// Runs this seed alone, twice, and says whether both runs were the same.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With --seed: log lines of the run on standard error, at the simulation's time (such as info, or millrace_ledger=debug).
    #[arg(long, value_name = "FILTER", requires = "seed")]
    log: Option<EnvFilter>,
    /// How many are run at the same time.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

/// Far enough from the greatest number to count on.
const LAST: u64 = 1 << 62;
/// Between two lines that tell how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Sum {
    seeds: u64,
    commands: usize,
    turns: u64,
    faults: BTreeMap<Fault, u64>,
    broken: Vec<Report>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.commands += report.commands;
        self.turns += report.turns;
        for (fault, times) in &report.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        if !report.violations.is_empty() {
            tell_broken(&report);
            self.broken.push(report);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let schema = match Schema::embedded() {
        Ok(schema) => Arc::new(schema),
        Err(error) => {
            tell(&format!("the protos cannot be read: {error}"));
            return ExitCode::FAILURE;
        }
    };
    millrace_sim::sweep();
    match arguments.seed {
        Some(seed) => twice(seed, arguments.log, &schema),
        None => many(&arguments, &schema),
    }
}

fn twice(seed: u64, log: Option<EnvFilter>, schema: &Arc<Schema>) -> ExitCode {
    let logged = log.map_or_else(Dispatch::none, millrace_sim::lines);
    let first = tracing::dispatcher::with_default(&logged, || run(seed, Arc::clone(schema)));
    let second = run(seed, Arc::clone(schema));
    let same = first.digest == second.digest;
    tell(&format!(
        "seed {seed}: {} turns, {} commands; the second run was {}",
        first.turns,
        first.commands,
        if same { "the same" } else { "ANOTHER" }
    ));
    tell_faults(&first.faults);
    if !first.violations.is_empty() {
        tell_broken(&first);
    }
    if same && first.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(arguments: &Arguments, schema: &Arc<Schema>) -> ExitCode {
    let from = arguments.from.unwrap_or_else(|| ledger::process_now().0.unsigned_abs() / 1_000_000 * 100_000);
    tell(&format!("{} seeds from {from} on", arguments.seeds));
    let (began, next, sum) = (Instant::now(), AtomicU64::new(0), Mutex::new(Sum::default()));
    let told = Mutex::new(Instant::now());
    thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= arguments.seeds {
                        return;
                    }
                    let report = run(from + nth, Arc::clone(schema));
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(report);
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    if told.elapsed() > PROGRESS {
                        *told = Instant::now();
                        tell_progress(&sum, began);
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell_progress(&sum, began);
    tell(&format!("{} commands, {} turns of the scheduler", sum.commands, sum.turns));
    tell_faults(&sum.faults);
    if sum.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell_progress(sum: &Sum, began: Instant) {
    let rate = sum.seeds * 60 / began.elapsed().as_secs().max(1);
    tell(&format!("{} seeds, {rate} a minute; {} broke a promise", sum.seeds, sum.broken.len()));
}

fn tell_faults(faults: &BTreeMap<Fault, u64>) {
    for fault in Fault::ALL {
        tell(&format!("{:>9}  {}", faults.get(fault).copied().unwrap_or(0), fault.words()));
    }
}

fn tell_broken(report: &Report) {
    tell(&format!("seed {} broke a promise; again with: make sim SEED={}", report.seed, report.seed));
    for violation in &report.violations {
        tell(&format!("  {violation}"));
    }
}

fn tell(line: &str) {
    // Whoever reads may have read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
