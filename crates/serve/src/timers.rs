//! Timers that are due are taken from their table and brought to their aggregates.

use std::sync::Arc;
use std::time::Duration;

use event::Micros;
use ledger::{Delivery, DueTimer, Input, Ledger};
use messaging::Lanes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often it is looked for what is due.
const TICK: Duration = Duration::from_millis(500);
/// A timer that was taken is left alone by other instances for so long. After a crash it is taken again by whoever finds it.
const LEASE: Duration = Duration::from_secs(15);
/// Timers that are taken at once.
const CHUNK: u64 = 256;

/// Brings a service's timers.
#[derive(Debug)]
pub(crate) struct Timers {
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    /// Everything that was pending at this moment, at owners that can be reached, has been read since. Deadlines wait for it: after an
    /// outage of ours the answer may be there already, and only not read.
    pub(crate) read_until: watch::Receiver<Micros>,
    /// Rung to have it read now.
    pub(crate) audit: Arc<Notify>,
}

impl Timers {
    /// Runs until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            let read_until = *self.read_until.borrow();
            let due = self.ledger.take_due_timers(read_until, LEASE, CHUNK).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "timers that are due cannot be taken");
                Vec::new()
            });
            if self.ledger.holds_deadlines(read_until).await.unwrap_or(false) {
                self.audit.notify_one();
            }
            let full = due.len() as u64 == CHUNK;
            futures::future::join_all(due.into_iter().map(|timer| self.bring(timer))).await;
            if !full && stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_none() {
                return;
            }
        }
    }

    /// Whatever comes of it, the row says what comes next.
    async fn bring(&self, timer: DueTimer) {
        fault::reach(fault::Point::TimerTaken).await;
        // Only its trace depends on that row.
        let set = self.ledger.event_at(&timer.key, timer.n).await.ok().flatten();
        let command_id = set.as_ref().and_then(|set| set.command_id).map(|id| id.to_string());
        let span = trace::span::timer(timer.name, &timer.key.to_string(), command_id.as_deref());
        if let Some(set) = set {
            trace::follow(&span, &set.trace);
        }
        let delivered = timer.taken;
        self.lanes.submit(Delivery { input: Input::Timer(timer), delivered, span }).await;
    }
}
