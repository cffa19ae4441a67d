use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::check::Evidence;
use super::history::{Entry, What};
use super::run::seconds;

/// So many violations are shown; the history has all.
const SHOWN: usize = 40;

/// What a run has shown.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// With the history, the plan and what the processes have said.
    pub folder: PathBuf,
    pub evidence: Evidence,
    pub violations: Vec<String>,
    /// Instances that ended although nobody killed them, such as those that found no database when they started.
    pub ended: Vec<String>,
}

impl Report {
    pub const fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    pub fn summary(&self) -> String {
        let mut text = String::new();
        let faults: usize = self.evidence.hits.values().map(|(planned, _)| planned).sum();
        let _ = writeln!(text, "{faults} faults (met something):");
        for (kind, (planned, met)) in &self.evidence.hits {
            let _ = writeln!(text, "  {:20} {planned:4} ({met})", kind.name());
        }
        let commands = self.evidence.commands();
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for command in commands.values() {
            let outcome = command.ended().map_or_else(|| "without an outcome".to_owned(), |told| format!("{told:?}"));
            *outcomes.entry(outcome).or_default() += 1;
        }
        let _ = writeln!(text, "{} commands: {outcomes:?}", commands.len());
        let attempts = self.evidence.history.iter().filter(|entry| entry.what == What::Invoke).count();
        let _ = writeln!(
            text,
            "{attempts} calls; {} orders, {} charges",
            self.evidence.books.orders.len(),
            self.evidence.books.charges.len()
        );
        let _ = writeln!(text, "{} instances ended by themselves and were started again", self.ended.len());
        let _ = writeln!(text, "{} keys were parked and decided about", self.evidence.parked.len());
        let (longest, key) = self.longest_outage();
        let _ = writeln!(text, "the longest that a customer waited for an answer: {:.1} s ({key})", seconds(longest));
        let _ = writeln!(text, "{} violations", self.violations.len());
        for violation in self.violations.iter().take(SHOWN) {
            let _ = writeln!(text, "  {violation}");
        }
        if !self.is_good() {
            let _ = writeln!(text, "seed {}; history.jsonl, plan and logs are in {}", self.seed, self.folder.display());
        }
        text
    }

    /// From the first time that something was asked to its first answer, and which key it was.
    fn longest_outage(&self) -> (u64, String) {
        let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
        let mut longest = (0, String::new());
        let of_key = |entry: &'_ Entry| entry.key.is_some();
        for entry in self.evidence.history.iter().filter(|entry| of_key(entry)) {
            let key = entry.key.as_deref().unwrap_or_default();
            let began = *asked.entry(key).or_insert(entry.at);
            if entry.what == What::Ok && asked.remove(key).is_some() {
                longest = longest.max((entry.at - began, key.to_owned()));
            }
        }
        longest
    }
}
