//! Switches off each protection in turn, runs the tests that must notice, and shows what they said. `--help` tells how.

mod run;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use fault::Protection;
use millrace_mutants::{noticed_by, table};

use crate::run::{Outcome, Selection};

/// Switches off each protection of the product in turn, and shows which test notices, what it says, and after how long. Ends with 1 if one
/// is not noticed within five minutes. Needs cargo-nextest; `make mutants` brings the rest.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only this protection, by its name in `--list`. Can be given more than once.
    #[arg(long, value_name = "PROTECTION", value_parser = named)]
    only: Vec<Protection>,
    /// Runs all tests for each, and not only those that must notice, as `make test` would. Each ends with its first failure.
    #[arg(long)]
    all_tests: bool,
    /// Prints the protections, and the tests that must notice.
    #[arg(long)]
    list: bool,
}

fn named(name: &str) -> Result<Protection, String> {
    let found = Protection::ALL.iter().find(|protection| protection.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Protection::ALL.iter().map(|protection| protection.name()).collect();
        format!("there is none of that name; there are {}", names.join(", "))
    })
}

/// After so long nobody waits for a test run to tell.
const LIMIT: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    let outcome = all(&Arguments::parse());
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "mutants: {error:#}");
    ExitCode::FAILURE
}

fn all(arguments: &Arguments) -> Result<()> {
    let mut out = std::io::stdout();
    if arguments.list {
        return Ok(write!(out, "{}", table())?);
    }
    let wanted = if arguments.only.is_empty() { Protection::ALL.to_vec() } else { arguments.only.clone() };
    let select = |protections: &[Protection]| {
        let tests = protections.iter().flat_map(|protection| noticed_by(*protection)).copied().collect();
        if arguments.all_tests { Selection::All } else { Selection::These(tests) }
    };
    writeln!(out, "building")?;
    run::build()?;
    if !arguments.all_tests {
        writeln!(out, "with nothing switched off")?;
        if let Outcome::Failed { test, said } = run::tests(None, &select(&wanted))? {
            bail!("{test} fails with nothing switched off, so it tells nothing: {said}");
        }
    }
    let mut unnoticed = Vec::new();
    for (number, protection) in wanted.iter().enumerate() {
        let what = protection.what().trim();
        writeln!(out, "\n{}/{} {}: {what}", number + 1, wanted.len(), protection.name())?;
        let began = std::time::Instant::now();
        let outcome = run::tests(Some(*protection), &select(&[*protection]))?;
        let seconds = began.elapsed().as_secs_f64();
        match &outcome {
            Outcome::Failed { test, said } => writeln!(out, "  after {seconds:.1} s by {test}\n  {said}")?,
            Outcome::Passed => writeln!(out, "  nobody noticed, in {seconds:.1} s")?,
        }
        if outcome == Outcome::Passed || seconds > LIMIT.as_secs_f64() {
            unnoticed.push(protection.name());
        }
    }
    writeln!(out, "\n{} of {} caught", wanted.len() - unnoticed.len(), wanted.len())?;
    if unnoticed.is_empty() { Ok(()) } else { bail!("not noticed within {LIMIT:?}: {}", unnoticed.join(", ")) }
}
