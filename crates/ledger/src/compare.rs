//! Comparing what was applied with the owner's log: the one verb for all that is out of step.

use std::collections::BTreeMap;

use ::event::{History, Key, Micros, Record};
use fault::{Protection, without};

use crate::database::Transaction;
use crate::error::{Error, Result};
use crate::followed::{Following, LogPart};
use crate::ledger::Ledger;
use crate::store::cursor::{self, Model as Cursor, State};
use crate::store::followed_log;
use crate::store::writes::write;

/// What a comparison of one key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// What was applied is what the owner has.
    Same,
    /// A replica: it is derived anew, from the key's first revision.
    Anew,
    /// The subscription has acted on what its owner has no longer, or never had. The key is parked, and listed.
    Diverged(String),
    /// The key was not to be compared any more.
    Elsewhere,
}

/// How the reason of a key begins that has diverged.
pub(crate) const DIVERGED: &str = "diverged: ";
/// How the reason of a key begins whose next row does not fit to its owner's log.
pub(crate) const DAMAGED: &str = "diverged: its owner's log is damaged";
/// The reason of a key that an operator lets go on from the last row that its owner has.
pub(crate) const ACCEPTED: &str = "its owner's log is accepted as it stands";

impl Ledger {
    /// Has every cursor of a subscription compared with its owner's log, key by key, while it serves. `anew`: every key is derived again,
    /// whether or not it differs; only for replicas.
    pub async fn begin_comparison(&self, name: &str, anew: bool) -> Result<()> {
        let txn = self.0.db.begin().await?;
        if followed_log::of(&txn, name).await?.is_empty() {
            return Err(Error::Transient(format!("{name} has not met the logs that it follows yet")));
        }
        begin(&txn, name, anew).await?;
        txn.commit().await?;
        self.want_audit();
        Ok(())
    }

    /// Visits the next cursors of a comparison: from now on they are compared when it is their turn. How many there were; fewer than
    /// `limit`: it has visited all.
    pub async fn compare_next(&self, name: &str, owner: &str, aggregates: &[&str], limit: u64) -> Result<u64> {
        let txn = self.0.db.begin().await?;
        let now = self.0.clock.now(&txn).await?;
        let Some(row) = followed_log::lock(&txn, name, owner).await? else { return Ok(0) };
        let Some(after) = &row.compared_to else { return Ok(0) };
        let cursors = cursor::lock_after(&txn, name, aggregates, after, limit).await?;
        let visited = cursors.len() as u64;
        let last = cursors.last().map(|cursor| cursor.key.clone());
        let changed = cursors.into_iter().filter_map(|cursor| self.visited(cursor, row.rebuilds, now));
        write(&txn, |writes| cursor::write(writes, changed)).await?;
        let done = visited < limit;
        let compared_to = if done { None } else { last };
        let rebuilds = row.rebuilds && !done;
        followed_log::write(&txn, followed_log::Model { compared_to, rebuilds, ..row }).await?;
        txn.commit().await?;
        Ok(visited)
    }

    /// How many keys of a subscription have been visited and are still to be compared.
    pub async fn comparing(&self, name: &str) -> Result<u64> {
        Ok(cursor::comparing(self.0.db.reader(), name).await?)
    }

    /// It keeps rows and does nothing else, so it can be derived anew.
    fn is_replica(&self, cursor: &Cursor) -> bool {
        let subscription = self.0.handlers.subscriptions.get(cursor.subscription.as_str());
        subscription.is_some_and(|subscription| subscription.acts_on.is_none())
    }

    fn visited(&self, cursor: Cursor, rebuilds: bool, now: Micros) -> Option<Cursor> {
        let due = Some(now.0);
        match cursor.state {
            // What has diverged is in an operator's hands already. What failed may have failed for what this version has mended.
            State::Parked if cursor.reason.as_deref().is_some_and(|reason| reason.starts_with(DIVERGED)) => None,
            _ if rebuilds && self.is_replica(&cursor) => Some(anew(cursor, "it is rebuilt", now)),
            _ => Some(Cursor { state: State::Comparing, due, attempts: 0, reason: None, ..cursor }),
        }
    }

    /// Compares keys with parts of their owner's log, in one transaction. Each part begins at the revision of its key that was applied last, if
    /// the owner has it; else it is all that it has of the key. The keys then flow, or wait for what the parts hold beyond that.
    ///
    /// What was read in an epoch that is over compares nothing: the owner may have lost it.
    pub async fn compare(
        &self,
        name: &'static str,
        owner: &str,
        parts: &[(Key, &LogPart)],
    ) -> Result<BTreeMap<Key, Compared>> {
        let txn = self.0.db.begin().await?;
        let now = self.0.clock.now(&txn).await?;
        let following = Following::hold(&txn, vec![name]).await?;
        let mut ids: Vec<_> = parts.iter().map(|(key, _)| (name, key.clone())).collect();
        ids.sort();
        let mut rows: BTreeMap<String, Cursor> =
            cursor::lock(&txn, &ids).await?.into_iter().map(|row| (row.key.clone(), row)).collect();
        let (mut all, mut changed) = (BTreeMap::new(), Vec::new());
        for (key, part) in parts {
            let row = rows.remove(&key.to_string()).filter(|row| row.state == State::Comparing);
            let compared = match row.filter(|_| !following.is_over(name, owner, part.epoch)) {
                Some(row) => {
                    let (compared, row) = self.compared(row, &part.records, now);
                    changed.push(row);
                    compared
                }
                None => Compared::Elsewhere,
            };
            all.insert(key.clone(), compared);
        }
        write(&txn, |writes| cursor::write(writes, changed)).await?;
        txn.commit().await?;
        for (key, compared) in &all {
            if let Compared::Diverged(reason) = compared {
                meter::AUDIT_DIVERGED.counter(&[name]).increment(1);
                tracing::error!(subscription = name, %key, reason, "a key has diverged from its owner's log; it is parked");
            }
        }
        Ok(all)
    }

    fn compared(&self, row: Cursor, events: &[Record], now: Micros) -> (Compared, Cursor) {
        let newest = events.last().map_or(0, |record| record.revision);
        let at = events.iter().find(|record| record.revision == row.revision);
        if let Some(record) = damaged(&row, events) {
            let reason = format!("{DAMAGED}: revision {} does not follow from the one before", record.revision);
            let parked = Cursor { state: State::Parked, due: None, reason: Some(reason.clone()), ..row };
            return (Compared::Diverged(reason), parked);
        }
        let accepted = row.reason.as_deref() == Some(ACCEPTED);
        let is_same = |record: &Record| record.history.0 == *row.history || without(Protection::ForkCheck);
        if row.revision == 0 || at.is_some_and(is_same) {
            let more = newest > row.revision;
            let state = if more { State::Waiting } else { State::Flowing };
            let due = more.then_some(now.0);
            // An owner that was restored twice may have written the same again in an earlier epoch than it was read in, and go on from there.
            let epoch = at.map_or(row.epoch, |record| record.epoch);
            return (
                Compared::Same,
                Cursor { epoch, state, due, noted: newest.max(row.revision), attempts: 0, reason: None, ..row },
            );
        }
        let reason = at.map_or_else(
            || format!("{DIVERGED}its owner's log ends at revision {newest}, before revision {}", row.revision),
            |record| {
                format!("{DIVERGED}revision {} of its owner's epoch {} has another past", row.revision, record.epoch)
            },
        );
        if self.is_replica(&row) && !events.is_empty() {
            return (Compared::Anew, anew(row, &reason, now));
        }
        if accepted {
            // The owner may have lost all of it: then the key goes on as one of which nothing has come yet.
            let last = events.iter().rev().find(|record| record.revision <= row.revision);
            let (epoch, revision) = last.map_or((0, 0), |last| (last.epoch, last.revision));
            let history = last.map_or_else(History::default, |last| last.history).0.to_vec();
            let more = newest > revision;
            let state = if more { State::Waiting } else { State::Flowing };
            let due = more.then_some(now.0);
            let accepted = Cursor { epoch, revision, history, state, due, noted: newest, ..row };
            return (Compared::Same, Cursor { attempts: 0, reason: None, ..accepted });
        }
        let parked = Cursor { state: State::Parked, due: None, reason: Some(reason.clone()), ..row };
        (Compared::Diverged(reason), parked)
    }
}

/// The event that is to be applied next, if it does not follow from the one that was applied last as the owner has them both.
fn damaged<'e>(row: &Cursor, events: &'e [Record]) -> Option<&'e Record> {
    let at = |revision: i64| events.iter().find(|record| record.revision == revision);
    let past = if row.revision == 0 { History::default() } else { at(row.revision)?.history };
    at(row.revision + 1)
        .filter(|next| next.revision > row.dropped && past.then(&next.type_name, &next.body) != next.history)
}

/// A comparison begins with an audit of the whole log, so that keys that have no cursor are found, too.
pub(crate) async fn begin(txn: &Transaction, name: &str, anew: bool) -> Result<()> {
    for row in followed_log::of(txn, name).await? {
        let rebuilds = row.rebuilds || anew;
        let (compared_to, audited_position, audited_event_id) = (Some(String::new()), 0, None);
        let compared = followed_log::Model { audited_position, audited_event_id, compared_to, rebuilds, ..row };
        followed_log::write(txn, compared).await?;
    }
    Ok(())
}

/// Back to before the first revision: what follows is applied over what the replica has.
fn anew(cursor: Cursor, reason: &str, now: Micros) -> Cursor {
    Cursor {
        epoch: 0,
        revision: 0,
        history: vec![0; 16],
        state: State::Waiting,
        due: Some(now.0),
        noted: 0,
        attempts: 0,
        reason: Some(reason.to_owned()),
        ..cursor
    }
}
