//! `make nemesis`: does faults to a shop of real processes while customers buy, and checks that it keeps what it promises.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use millrace_faults::nemesis::{Kind, Options, forget, run};
use tokio::signal::unix::{SignalKind, signal};

/// Does faults to a shop of real processes while customers buy, and checks that it keeps what it promises.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How long faults are done, in minutes; at least until each kind has come once.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// What the plan of faults is drawn from; drawn itself if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Customers who buy at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    shoppers: u16,
    /// The kinds of fault, separated by commas; all if none is named.
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    faults: Vec<Kind>,
    /// Keeps history, plan and logs also of a run without violations.
    #[arg(long)]
    keep: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.0..=10_000.0).contains(minutes));
    minutes.ok_or_else(|| "use a number of minutes, such as 10 or 0.5".to_owned())
}

fn kind(name: &str) -> Result<Kind, String> {
    let names = Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("use one of {names}"))
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        seed: arguments.seed.unwrap_or_else(|| RandomState::new().hash_one(()) % 1_000_000),
        time: Duration::from_secs_f64(arguments.minutes * 60.0),
        shoppers: arguments.shoppers.into(),
        kinds: if arguments.faults.is_empty() { Kind::ALL.into() } else { arguments.faults },
    };
    let Ok(mut term) = signal(SignalKind::terminate()) else { return ExitCode::FAILURE };
    let told_to_stop = async {
        tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = term.recv() => {} }
    };
    let report = tokio::select! {
        report = run(&options, &say) => report,
        () = told_to_stop => {
            say("stopped; the plan, the history and the logs so far are in the folder that was named");
            return ExitCode::from(130);
        }
    };
    say(&report.summary());
    if !report.is_good() {
        return ExitCode::FAILURE;
    }
    if arguments.keep {
        say(&format!("all is in {}", report.folder.display()));
    } else {
        forget(&report.folder);
    }
    ExitCode::SUCCESS
}

fn say(line: &str) {
    // Whoever reads may have read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
