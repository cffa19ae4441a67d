//! Acting on the world outside: effects that were committed are leased, done, and their answers brought back to their aggregates.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Delivery, Input, Leased, Ledger, Outcome};
use messaging::{Committed, Lanes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

/// How long one attempt may take. After a crash its effect is taken up again by whoever finds it.
const LEASE: Duration = Duration::from_secs(15);
/// An attempt is given up before its lease ends, so that no two are under way at once.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How often it is looked for effects, whether or not a bell rang: another instance may have wished them.
const TICK: Duration = Duration::from_millis(500);
/// Effects that are leased at once, and under way at once.
const CHUNK: u64 = 64;

/// Does a service's effects.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) committed: Committed,
}

impl Worker {
    /// Runs until told to stop. What was begun by then is finished by `tasks`.
    pub(crate) async fn run(self, stop: CancellationToken, tasks: TaskTracker) {
        let this = Arc::new(self);
        let wished = this.committed.wished();
        loop {
            let leased = this.ledger.lease_effects(LEASE, CHUNK).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "effects cannot be leased");
                Vec::new()
            });
            let full = leased.len() as u64 == CHUNK;
            let under_way: Vec<_> = leased.into_iter().map(|one| tasks.spawn(Arc::clone(&this).act(one))).collect();
            if full {
                futures::future::join_all(under_way).await;
                continue;
            }
            let look_again = tokio::time::timeout(TICK, wished.notified());
            if stop.run_until_cancelled(look_again).await.is_none() {
                return;
            }
        }
    }

    async fn act(self: Arc<Self>, leased: Leased) {
        // Only its trace depends on that row, and whoever reads the log again will find it.
        let wish = self.ledger.wish_of(&leased.key, leased.n).await.ok().flatten();
        let command_id = wish.as_ref().and_then(|wish| wish.command_id).map(|id| id.to_string());
        let span = trace::span::effect(leased.kind, &leased.key.to_string(), command_id.as_deref());
        if let Some(wish) = wish {
            trace::follow(&span, &wish.trace);
        }
        self.perform(leased).instrument(span).await;
    }

    async fn perform(&self, leased: Leased) {
        let (key, kind, n) = (leased.key.clone(), leased.kind, leased.n);
        let reason = match tokio::time::timeout(ATTEMPT, self.ledger.perform(leased)).await {
            Ok(Ok(answer)) => {
                let delivery = Delivery { input: Input::Answer(answer), delivered: 0, span: Span::current() };
                match self.lanes.submit(delivery).await {
                    // The row is leased still: the provider is asked again, and its answer brought again.
                    Outcome::GivenBack { reason, .. } => reason,
                    _ => return,
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        trace::span::record_failure(&Span::current(), "unanswered");
        tracing::warn!(%key, kind, n, reason, "nobody knows what came of an effect; it will be asked for");
        if let Err(error) = self.ledger.postpone(&key, kind, n).await {
            tracing::debug!(%error, "an effect waits for its lease to run out");
        }
    }
}
