//! Which version of the code does a subscription's work. A raised one takes it over and compares; instances of the old one stop and go on
//! serving the same tables.

use std::sync::PoisonError;

use event::Micros;
use fault::{Protection, without};

use crate::compare;
use crate::database::Transaction;
use crate::error::{Error, Result};
use crate::followed::Following;
use crate::handlers::Handlers;
use crate::ledger::Ledger;
use crate::processor::Abort;
use crate::store::subscription::{self, Model};
use crate::tx::Tx;

/// Writes the subscriptions that are new, and takes over those that an older version has done so far.
pub(crate) async fn take_over(txn: &Transaction, handlers: &Handlers, now: Micros) -> Result<()> {
    let new = handlers.subscriptions().map(|subscription| Model {
        name: subscription.name.to_owned(),
        version: subscription.version,
        starts_at: subscription.from_now.then_some(now.0),
    });
    let mut new: Vec<_> = new.collect();
    new.sort_by(|one, other| one.name.cmp(&other.name));
    subscription::insert_missing(txn, new.clone()).await?;
    for ours in new {
        let row = subscription::lock(txn, &ours.name).await?;
        if let Some(row) = row.filter(|row| row.version < ours.version) {
            tracing::info!(
                subscription = row.name,
                from = row.version,
                to = ours.version,
                "a subscription is taken over"
            );
            compare::begin(txn, &row.name, false).await?;
            subscription::write(txn, Model { version: ours.version, ..row }).await?;
        }
    }
    Ok(())
}

impl Ledger {
    /// Gives a subscription's work to the version `version` of the code: the way back after a take-over. Instances of that version go on
    /// by themselves, and compare.
    pub async fn hand_over(&self, name: &str, version: i64) -> Result<()> {
        let txn = self.0.db.begin().await?;
        let row = subscription::lock(&txn, name).await?;
        let row = row.ok_or_else(|| Error::Failed(format!("there is no subscription {name}")))?;
        compare::begin(&txn, name, false).await?;
        subscription::write(&txn, Model { version, ..row }).await?;
        Ok(txn.commit().await?)
    }

    /// Whether this version of the code is to do a subscription's work.
    pub async fn owns(&self, name: &'static str) -> Result<bool> {
        let row = subscription::find(self.0.db.reader(), name).await?;
        let owns = row.is_none_or(|row| self.is_ours(name, row.version));
        self.remember(name, owns);
        Ok(owns)
    }

    /// What [`owns`](Self::owns), or a transaction, came to the last time.
    pub fn owned(&self, name: &'static str) -> bool {
        !self.0.disowned.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn is_ours(&self, name: &str, version: i64) -> bool {
        let ours = self.0.handlers.subscriptions.get(name).map(|subscription| subscription.version);
        ours == Some(version) || without(Protection::SubscriptionVersion)
    }

    fn remember(&self, name: &'static str, owns: bool) {
        if owns != self.owned(name) {
            let mut disowned = self.0.disowned.write().unwrap_or_else(PoisonError::into_inner);
            if owns {
                disowned.remove(name)
            } else {
                disowned.insert(name)
            };
        }
    }

    /// Holds the subscriptions, and stops if another version of the code has taken one over.
    pub(crate) async fn own(&self, tx: &mut Tx, names: Vec<&'static str>) -> Result<(), Abort> {
        tx.following = Following::hold(&tx.txn, names.clone()).await?;
        for row in &tx.following.subscriptions {
            if let Some(name) = names.iter().copied().find(|name| *name == row.name && !self.is_ours(name, row.version))
            {
                self.remember(name, false);
                return Err(Abort::Transient(format!("version {} of {name} owns its work", row.version)));
            }
        }
        Ok(())
    }
}
