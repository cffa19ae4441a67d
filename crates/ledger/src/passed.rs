//! Whether replicas have seen what a caller has seen.

use std::collections::BTreeMap;

use event::Seen;

use crate::error::Result;
use crate::handlers::Subscription;
use crate::ledger::Ledger;
use crate::store::cursor::{self, CursorId};

impl Ledger {
    /// Whether every subscription that follows one of these keys has passed its revision. What nobody here follows cannot be behind.
    pub async fn has_passed(&self, seen: &[Seen]) -> Result<bool> {
        let mut awaited: BTreeMap<CursorId, (i64, i64)> = BTreeMap::new();
        for one in seen {
            for subscription in self.followers_of(one) {
                let wanted = awaited.entry((subscription.name, one.key.clone())).or_default();
                *wanted = (*wanted).max((one.epoch, one.revision));
            }
        }
        if awaited.is_empty() {
            return Ok(true);
        }
        let ids: Vec<CursorId> = awaited.keys().cloned().collect();
        let rows = cursor::find_all(self.0.db.reader(), &ids).await?;
        let reached: BTreeMap<_, _> =
            rows.into_iter().map(|row| ((row.subscription, row.key), (row.epoch, row.revision))).collect();
        Ok(awaited.iter().all(|((subscription, key), wanted)| {
            reached.get(&((*subscription).to_owned(), key.to_string())).is_some_and(|reached| reached >= wanted)
        }))
    }

    fn followers_of(&self, seen: &Seen) -> impl Iterator<Item = &Subscription> {
        self.0.handlers.subscriptions().filter(|subscription| {
            subscription.follows().iter().any(|followed| followed.aggregate == seen.key.aggregate())
        })
    }
}
