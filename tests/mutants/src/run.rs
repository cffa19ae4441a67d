//! Runs tests by nextest, and reads from what it prints which of them failed first, and why.

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use fault::Protection;
use millrace_mutants::{Test, WITHOUT};

/// Which tests are run.
#[derive(Debug)]
pub enum Selection {
    All,
    These(Vec<Test>),
}

/// What became of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The first that failed, and what it said.
    Failed {
        test: String,
        said: String,
    },
}

/// nextest's own codes: tests failed, and there were none.
const FAILED: i32 = 100;
const NONE: i32 = 4;
/// What of a test's words is shown at most, in characters.
const SAID_MAX: usize = 240;

/// Builds what the tests need, and shows how far that is.
pub fn build() -> Result<()> {
    let status = nextest().arg("--no-run").status().context(MISSING)?;
    if status.success() { Ok(()) } else { bail!("the tests cannot be built: {status}") }
}

/// Runs tests until the first fails.
pub fn tests(without: Option<Protection>, selection: &Selection) -> Result<Outcome> {
    let mut command = nextest();
    command.args(["--max-fail", "1:immediate", "--failure-output", "immediate", "--color", "never"]);
    command.env(WITHOUT, without.map_or("", Protection::name));
    if let Selection::These(tests) = selection {
        let filters: Vec<_> = tests.iter().map(Test::filter).collect();
        command.args(["-E", &filters.join(" or ")]);
    }
    let output = command.stdin(Stdio::null()).output().context(MISSING)?;
    match output.status.code() {
        Some(0) => Ok(Outcome::Passed),
        Some(FAILED) => Ok(failed(&output)),
        Some(NONE) => bail!("there is none of the tests {selection:?}"),
        _ => bail!("the tests could not be run: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// As `make test` runs it, so that nothing is built twice.
fn nextest() -> Command {
    let mut command = Command::new("cargo");
    command.args(["nextest", "run", "--workspace"]).env("RUST_BACKTRACE", "0");
    command
}

const MISSING: &str = "cannot run cargo";

fn failed(output: &Output) -> Outcome {
    let printed = String::from_utf8_lossy(&output.stderr);
    let mut lines = printed.lines().map(str::trim);
    let is_failure =
        |line: &&str| ["FAIL [", "TIMEOUT [", "SIGABRT [", "SIGKILL ["].iter().any(|mark| line.starts_with(mark));
    let test = lines.find(is_failure).and_then(|line| line.split_once(']')).map_or("a test", |(_, test)| test);
    let test = test.trim().trim_start_matches(|character: char| !character.is_alphabetic()).to_owned();
    let words: Vec<_> = lines
        .skip_while(|line| !line.contains("panicked at"))
        .skip(1)
        .take_while(|line| !line.is_empty() && !line.starts_with("note: ") && !line.starts_with("stack backtrace"))
        .collect();
    let said = if words.is_empty() { "it did not end".to_owned() } else { words.join(", ") };
    Outcome::Failed { test, said: said.chars().take(SAID_MAX).collect() }
}
