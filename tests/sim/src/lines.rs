//! What a run logs, at its own time.

use std::fmt;
use std::sync::OnceLock;

use tokio::time::Instant;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::executor::polled;

/// Where the lines of one run go: standard error, each with the seconds since the first line and with whose it is. To be used where the run is.
pub fn lines(filter: EnvFilter) -> Dispatch {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_timer(Since::default()).with_target(false);
    lines.with_ansi(false).with_writer(std::io::stderr).into()
}

/// The time of the simulation, which stands still while something is done.
#[derive(Default)]
struct Since(OnceLock<Instant>);

impl FormatTime for Since {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let since = self.0.get_or_init(Instant::now).elapsed();
        write!(line, "{:>10.3} {:<12}", since.as_secs_f64(), polled())
    }
}
