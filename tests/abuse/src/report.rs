//! What is told of a run, and which bounds must hold.

use std::io::Write as _;
use std::time::Duration;

use abuse::attack::{self, Attack};
use millrace_abuse as abuse;

use crate::honest::Seen;

/// What an honest order may take under attack, on a busy machine of two cores that the attackers share.
const PROMPTLY: Duration = Duration::from_secs(2);
/// Fewer calls than that say nothing.
const CALLS_MIN: usize = 10;

/// What one attack came to.
pub(crate) struct Figures {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    pub(crate) growth_mib: u64,
    /// Of one core.
    pub(crate) cpu_share: f64,
    /// Before and after.
    pub(crate) files: (usize, usize),
    pub(crate) files_left: bool,
    pub(crate) is_measured: bool,
    pub(crate) seen: Seen,
    /// What the attack's own expectation was, if it did not hold.
    pub(crate) broken: Option<String>,
}

pub(crate) fn list() {
    for attack in attack::all() {
        say(&format!("{:<22} {}\n{:22} → {}", attack.name, attack.does, "", attack.holds));
    }
}

pub(crate) fn head(peace: &Seen) {
    say(&format!(
        "{:<22} {:>7} {:>9} {:>8} {:>5} {:>9}  {:>17} {:>6}",
        "", "connec-", "requests", "memory", "CPU", "files", "honest p50 / p99", "failed"
    ));
    say(&format!("{:<22} {:>7} {:>9} {:>8} {:>5} {:>9}  {:>17} {:>6}", "attack", "tions", "", "MiB", "", "", "ms", ""));
    say(&format!("{:<22} {:>49}  {:>17} {:>6}", "(peace)", "", latency(peace), peace.failures.len()));
}

/// Tells of an attack; whether something did not hold.
pub(crate) fn row(attack: &Attack, figures: &Figures) -> bool {
    let measured = |text: String| if figures.is_measured { text } else { "-".to_owned() };
    let wrong = wrong(attack, figures);
    say(&format!(
        "{:<22} {:>7} {:>9} {:>8} {:>5} {:>9}  {:>17} {:>6}  {}",
        attack.name,
        figures.connections,
        figures.requests,
        measured(format!("+{}", figures.growth_mib)),
        measured(format!("{:.0}%", figures.cpu_share * 100.0)),
        measured(format!("{}→{}", figures.files.0, figures.files.1)),
        latency(&figures.seen),
        figures.seen.failures.len(),
        if wrong.is_empty() { "holds" } else { "BROKEN" },
    ));
    for wrong in &wrong {
        say(&format!("{:22} {wrong}", ""));
    }
    !wrong.is_empty()
}

fn wrong(attack: &Attack, figures: &Figures) -> Vec<String> {
    let mut wrong: Vec<_> = figures.broken.iter().cloned().collect();
    let seen = &figures.seen;
    if figures.growth_mib > attack.memory {
        wrong.push(format!("it cost {} MiB, and may cost {}", figures.growth_mib, attack.memory));
    }
    if figures.files_left {
        wrong.push(format!("{} files are still open after it, of {} before", figures.files.1, figures.files.0));
    }
    let calls = seen.orders.len() + seen.logins.len();
    if let Some(failure) = seen.failures.first() {
        let of = calls + seen.failures.len();
        wrong.push(format!("{} of {of} honest calls failed, such as: {failure}", seen.failures.len()));
    }
    if calls < CALLS_MIN {
        wrong.push(format!("only {calls} honest calls were answered"));
    }
    if percentile(&seen.orders, 99) > PROMPTLY {
        wrong.push(format!("honest orders took longer than {} s", PROMPTLY.as_secs()));
    }
    if figures.connections == 0 {
        wrong.push("nobody attacked: there was no connection".to_owned());
    }
    wrong
}

fn latency(seen: &Seen) -> String {
    let ms = |percent| percentile(&seen.orders, percent).as_millis();
    format!("{} / {}", ms(50), ms(99))
}

fn percentile(samples: &[Duration], percent: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

pub(crate) fn say(line: &str) {
    // Whoever reads may have read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
