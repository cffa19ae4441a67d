//! Acting on the world outside: effects that were committed are leased, done, and their answers brought back to their aggregates.

use std::sync::Arc;
use std::time::Duration;

use fault::{Point, reach};
use ledger::{Delivery, Input, LEASE, Leased, Ledger, Outcome};
use messaging::{Committed, Lanes, Tasks};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// An attempt is given up before its lease ends, so that no two are under way at once.
pub const ATTEMPT: Duration = Duration::from_secs(10);
/// How often it is looked for effects, whether or not a bell rang: another instance may have wished them.
const TICK: Duration = Duration::from_millis(500);
/// Effects that are leased at once, and under way at once.
const CHUNK: u64 = 64;
/// Effects that are under way besides, straight from the transactions that wished them.
const ROOM: usize = 256;

/// Does a service's effects.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) committed: Committed,
}

impl Worker {
    /// Runs until told to stop. What was begun by then is finished by `tasks`.
    pub(crate) async fn run(self, mut leased: mpsc::UnboundedReceiver<Leased>, stop: CancellationToken, tasks: Tasks) {
        let this = Arc::new(self);
        let wished = this.committed.wished();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        this.ledger.make_room(ROOM);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => break,
                Some(one) = leased.recv() => tasks.spawn(Arc::clone(&this).act_and_make_room(one, stop.clone())),
                () = wished.notified() => this.take(&tasks).await,
                _ = tick.tick() => this.take(&tasks).await,
            }
        }
        this.ledger.has_no_room();
        while let Ok(one) = leased.try_recv() {
            tasks.spawn(Arc::clone(&this).act(one));
        }
    }

    /// Takes what nobody has leased: wished by another instance, begun before a crash, or more than there was room for.
    async fn take(self: &Arc<Self>, tasks: &Tasks) {
        loop {
            let leased = self.ledger.lease_effects(LEASE, CHUNK).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "effects cannot be leased");
                Vec::new()
            });
            let full = leased.len() as u64 == CHUNK;
            let acts = futures::future::join_all(leased.into_iter().map(|one| Arc::clone(self).act(one)));
            if !full {
                return tasks.spawn(async { drop(acts.await) });
            }
            acts.await;
        }
    }

    async fn act_and_make_room(self: Arc<Self>, leased: Leased, stop: CancellationToken) {
        let ledger = self.ledger.clone();
        self.act(leased).await;
        if !stop.is_cancelled() {
            ledger.make_room(1);
        }
    }

    async fn act(self: Arc<Self>, leased: Leased) {
        let command_id = leased.wish.as_ref().and_then(|wish| wish.command_id).map(|id| id.to_string());
        let span = trace::span::effect(leased.kind, &leased.key.to_string(), command_id.as_deref());
        if let Some(wish) = &leased.wish {
            trace::follow(&span, &wish.trace);
        }
        self.perform(leased).instrument(span).await;
    }

    async fn perform(&self, leased: Leased) {
        let (key, kind, n) = (leased.key.clone(), leased.kind, leased.n);
        reach(Point::EffectLeased).await;
        let reason = match tokio::time::timeout(ATTEMPT, self.ledger.perform(leased)).await {
            Ok(Ok(answer)) => {
                reach(Point::EffectPerformed).await;
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
