use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// All that is written down. A run that lacks one of them has failed.
const KEYS: [&str; 19] = [
    "ratio.throughput_vs_floor",
    "ratio.p50_vs_raw",
    "ratio.cost_100k_vs_1k",
    "place_order.per_s",
    "place_order.p50_ms",
    "place_order.p99_ms",
    "place_order.cpu_ms",
    "processed.per_s",
    "processed.p50_ms",
    "processed.cpu_ms",
    "floor.per_s",
    "floor.cpu_ms",
    "raw.publish_per_s",
    "raw.commit_per_s",
    "raw.unary_per_s",
    "rss_mb.millrace_rest",
    "rss_mb.millrace_peak",
    "rss_mb.nats_peak",
    "start_s",
];

/// The figures of one run.
#[derive(Debug, Default)]
pub(crate) struct Report(BTreeMap<&'static str, f64>);

impl Report {
    pub(crate) fn set(&mut self, key: &'static str, figure: f64) {
        self.0.insert(key, figure);
    }

    /// Writes all figures as one JSON object, or none.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        for key in KEYS {
            let figure = self.0.get(key).with_context(|| format!("{key} was not measured"))?;
            ensure!(figure.is_finite() && *figure > 0.0, "{key} came to {figure}");
        }
        ensure!(self.0.len() == KEYS.len(), "there are figures that nobody asked for: {:?}", self.0.keys());
        let rounded: BTreeMap<_, _> =
            self.0.iter().map(|(key, figure)| (key, (figure * 1000.0).round() / 1000.0)).collect();
        let text = serde_json::to_string_pretty(&rounded)?;
        std::fs::write(path, format!("{text}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(std::io::stdout(), "{text}")?;
        Ok(())
    }
}

/// A line of progress.
pub(crate) fn say(line: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "{line}");
}
