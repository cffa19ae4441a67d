//! Checks now and then what was heard against the owners' logs, so that even a lost last event, a broker that was wiped or a service that
//! joins after a year is healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event::Micros;
use fault::{Point, Protection, reach, without};
use ledger::{KeyHead, Ledger};
use messaging::Wire;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::owners::{OwnerError, Owners};

/// How often everything is audited; up to a quarter is taken off by chance, so that services do not ask in step.
const EVERY: Duration = Duration::from_mins(1);
/// The same while there is no broker to bring anything.
const WITHOUT_BROKER: Duration = Duration::from_secs(2);
/// How often it is looked what there is to do. An owner that did not answer is asked again as soon: peers start together.
const TICK: Duration = Duration::from_millis(250);
/// How long what happened just now may be on its way over the stream.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// Cursors that a comparison visits at once.
const CHUNK: u64 = 1000;

/// Audits every subscription of a service at every owner that it follows.
#[derive(Debug)]
pub(crate) struct Auditor {
    pub(crate) ledger: Ledger,
    pub(crate) owners: Owners,
    pub(crate) wire: Arc<dyn Wire>,
    /// Rings when an audit is wanted now.
    pub(crate) wanted: Arc<Notify>,
    /// Told when an audit began, once every owner that can be reached was audited.
    pub(crate) audited_until: watch::Sender<Micros>,
}

/// What is audited: a subscription, an owner, and the kinds of aggregates that it follows there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Audited {
    subscription: &'static str,
    owner: String,
    aggregates: Vec<&'static str>,
}

/// Why an audit was not finished. It is tried again.
#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl Auditor {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let all = self.all();
        // At the start everything is to be audited, and again whenever the broker comes back.
        let mut left: BTreeSet<&Audited> = all.iter().collect();
        let (mut connections, mut next) = (self.wire.connections(), self.next());
        let names: BTreeSet<_> = all.iter().map(|audited| audited.subscription).collect();
        while let Some(wanted) = stop.run_until_cancelled(self.look_again()).await {
            let reconnected = self.wire.connections() != connections;
            connections = self.wire.connections();
            // Whoever loses the broker does not wait for what was planned with it.
            next = next.min(self.next());
            let whole =
                wanted || reconnected || self.ledger.about_now() >= next || *self.audited_until.borrow() == Micros(0);
            if whole {
                left = all.iter().collect();
                next = self.next();
            }
            let began = self.ledger.now().await;
            self.look_at_versions(&names).await;
            let audits = left.iter().map(|audited| async { (*audited, self.audit(audited).await) });
            let Some(audited) = stop.run_until_cancelled(futures::future::join_all(audits)).await else { return };
            let reached = audited.iter().all(|(_, result)| !matches!(result, Err(AuditError::Ledger(_))));
            if let Some(began) = began.ok().filter(|_| whole && reached) {
                self.audited_until.send_replace(began);
            }
            left = audited.into_iter().filter_map(|(audited, result)| left_over(audited, &result)).collect();
        }
    }

    /// A subscription that another version has taken over may be handed back.
    async fn look_at_versions(&self, names: &BTreeSet<&'static str>) {
        for name in names.iter().filter(|name| !self.ledger.owned(name)) {
            if let Err(error) = self.ledger.owns(name).await {
                tracing::debug!(%error, name, "nobody knows who owns the subscription");
            }
        }
    }

    fn all(&self) -> Vec<Audited> {
        let mut all = Vec::new();
        for subscription in self.ledger.handlers().subscriptions() {
            let mut by_owner: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
            for followed in subscription.follows() {
                by_owner.entry(followed.domain).or_default().push(followed.aggregate);
            }
            let of = |(owner, aggregates)| Audited { subscription: subscription.name, owner, aggregates };
            all.extend(by_owner.into_iter().map(of));
        }
        all
    }

    /// Waits a moment, or until an audit is wanted, and says whether it is.
    async fn look_again(&self) -> bool {
        let rung = tokio::time::timeout(TICK, self.wanted.notified()).await.is_ok();
        self.ledger.take_wanted_audit() || rung
    }

    fn next(&self) -> Micros {
        let every = if self.wire.is_connected() { EVERY } else { WITHOUT_BROKER };
        let less = self.ledger.chance().below(u64::try_from(every.as_micros() / 4).unwrap_or(1));
        self.ledger.about_now().plus(every.saturating_sub(Duration::from_micros(less)))
    }

    async fn audit(&self, audited: &Audited) -> Result<(), AuditError> {
        let Audited { subscription, owner, aggregates } = audited;
        if !self.ledger.owns(subscription).await? {
            return Ok(());
        }
        let mut more = true;
        while more {
            let mut since = self.ledger.followed(subscription, owner).await?.since;
            let mut heads = self.owners.heads(owner, aggregates, &since).await?;
            reach(Point::AuditRead).await;
            if since.log_id.is_none() {
                // Now it is known which log is followed: its events are waiting, and need not wait for what follows.
                self.ledger.meet(subscription, owner, heads.log_id, heads.epoch).await?;
                since = self.ledger.followed(subscription, owner).await?.since;
            }
            more = heads.more;
            if without(Protection::AuditedPositionLast) {
                self.ledger.audited(subscription, owner, &since, &heads).await?;
            }
            let behind = self.ledger.behind_of(subscription, std::mem::take(&mut heads.heads)).await?;
            let now = self.ledger.about_now();
            let on_its_way = |head: &KeyHead| now.since(head.time) < ON_ITS_WAY;
            let behind = if self.wire.is_connected() && behind.iter().any(on_its_way) {
                tokio::time::sleep(ON_ITS_WAY).await;
                self.ledger.behind_of(subscription, behind).await?
            } else {
                behind
            };
            let noted = self.ledger.note(subscription, owner, heads.epoch, &behind).await?;
            meter::AUDIT_NOTED.counter(&[subscription]).increment(noted as u64);
            if noted > 0 {
                tracing::info!(subscription, owner, keys = noted, "the audit found keys that were not heard of");
                reach(Point::AuditNoted).await;
            }
            // A new epoch is audited from the beginning of the log.
            more |= self.ledger.audited(subscription, owner, &since, &heads).await?;
        }
        self.compare(audited).await?;
        meter::AUDIT_ROUNDS.counter(&[subscription]).increment(1);
        Ok(())
    }

    /// Goes on with a comparison, a few keys at a time, so that the others flow meanwhile.
    async fn compare(&self, audited: &Audited) -> Result<(), AuditError> {
        let Audited { subscription, owner, aggregates } = audited;
        let mut visited = 0;
        while self.ledger.followed(subscription, owner).await?.compared_to.is_some() {
            visited += self.ledger.compare_next(subscription, owner, aggregates, CHUNK).await?;
            tracing::info!(subscription, owner, visited, "comparing with the owner's log");
            while self.ledger.comparing(subscription).await? > CHUNK {
                tokio::time::sleep(TICK).await;
            }
        }
        Ok(())
    }
}

fn left_over<'a>(audited: &'a Audited, result: &Result<(), AuditError>) -> Option<&'a Audited> {
    let Err(error) = result else { return None };
    tracing::debug!(%error, subscription = audited.subscription, owner = audited.owner, "not audited yet");
    Some(audited)
}
