//! What is read from the database to be measured, now and then.

use std::time::Duration;

use event::Micros;
use ledger::{Backlog, Counted, Ledger};
use meter::Gauge;
use tokio_util::sync::CancellationToken;

/// How old a gauge is at most.
const TICK: Duration = Duration::from_secs(5);

/// Measures until told to stop.
pub(crate) async fn sample(ledger: Ledger, stop: CancellationToken) {
    let subscriptions: Vec<&str> = ledger.handlers().subscriptions().map(|subscription| subscription.name).collect();
    meter::show_service(&subscriptions);
    let gauges = Gauges::of(&subscriptions);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match ledger.backlog().await {
            Ok(backlog) => gauges.set(&backlog),
            Err(error) => tracing::warn!(%error, "what is still to be done cannot be measured"),
        }
    }
}

struct Gauges {
    unpublished: Gauge,
    oldest_unpublished: Gauge,
    effects: Gauge,
    effects_overdue: Gauge,
    timers: Gauge,
    timers_overdue: Gauge,
    /// By subscription and state.
    keys: Vec<(String, &'static str, Gauge)>,
    /// By kind.
    parked: Vec<(String, &'static str, Gauge)>,
}

const STATES: [&str; 3] = ["waiting", "comparing", "parked"];
const KINDS: [&str; 4] = ["event", "answer", "timer", "command"];

impl Gauges {
    fn of(subscriptions: &[&str]) -> Self {
        let keys = subscriptions.iter().flat_map(|name| STATES.map(|state| (name, state)));
        Self {
            unpublished: meter::RELAY_PENDING.gauge(&[]),
            oldest_unpublished: meter::RELAY_OLDEST_SECONDS.gauge(&[]),
            effects: meter::EFFECTS_OPEN.gauge(&[]),
            effects_overdue: meter::EFFECTS_OVERDUE_SECONDS.gauge(&[]),
            timers: meter::TIMERS_OPEN.gauge(&[]),
            timers_overdue: meter::TIMERS_OVERDUE_SECONDS.gauge(&[]),
            keys: keys.map(|(name, state)| ((*name).to_owned(), state, meter::KEYS.gauge(&[name, state]))).collect(),
            parked: KINDS.map(|kind| (kind.to_owned(), "parked", meter::PARKED.gauge(&[kind]))).into(),
        }
    }

    fn set(&self, backlog: &Backlog) {
        let Backlog { now, totals, keys, parked } = backlog;
        let age = |since: Option<i64>| since.map_or(0.0, |since| now.since(Micros(since)).as_secs_f64());
        self.unpublished.set(number(totals.unpublished));
        self.oldest_unpublished.set(age(totals.oldest_unpublished));
        self.effects.set(number(totals.effects));
        self.effects_overdue.set(age(totals.next_effect));
        self.timers.set(number(totals.timers));
        self.timers_overdue.set(age(totals.next_timer));
        set_all(&self.keys, keys);
        set_all(&self.parked, parked);
    }
}

/// What was not found is 0.
fn set_all(gauges: &[(String, &'static str, Gauge)], found: &[Counted]) {
    for (name, state, gauge) in gauges {
        let counted = found.iter().find(|counted| counted.name == *name && counted.state == *state);
        gauge.set(number(counted.map_or(0, |counted| counted.count)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows; beyond 2^53 nobody cares for the last one")]
const fn number(count: i64) -> f64 {
    count as f64
}
