//! Searches the model, and then each model that lacks one protection. Prints what was searched, and the shortest counterexamples.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use millrace_model::{Protection, STEPS, Saga, shortest_failure};
use stateright::{Checker as _, Expectation, Model as _};

fn main() -> ExitCode {
    if whole() & mutants() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn whole() -> bool {
    let began = Instant::now();
    let whole = Saga::default().checker().threads(2).spawn_bfs().join();
    let (states, depth) = (whole.unique_state_count(), whole.max_depth());
    tell(&format!(
        "an order, whichever way it goes: {states} states, {depth} steps deep, in {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    let found = whole.discoveries();
    let mut good = true;
    for property in whole.model().properties() {
        let holds = found.contains_key(property.name) == (property.expectation == Expectation::Sometimes);
        good &= holds;
        tell(&format!("  {} {}", if holds { "holds " } else { "BROKEN" }, property.name));
        if let Some(path) = found.get(property.name).filter(|_| !holds) {
            tell(&format!("    {:?}", path.clone().into_actions()));
        }
    }
    good
}

/// Whether each is found out.
fn mutants() -> bool {
    let mut good = true;
    for without in Protection::ALL {
        let failure = shortest_failure(&Saga { without: Some(without) }, STEPS);
        good &= failure.is_some();
        match failure {
            None => tell(&format!("without {without:?} NOTHING IS FOUND")),
            Some((name, path)) => tell(&format!("without {without:?} it does not hold that {name}:\n    {path:?}")),
        }
    }
    good
}

fn tell(line: &str) {
    // Whoever reads may have read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
