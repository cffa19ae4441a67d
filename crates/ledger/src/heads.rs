//! The owner's side of the audit: which keys were appended to since a place in the whole log, and whether the log is the one it was.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use event::{History, Id, Key, Micros};
use fault::{Protection, without};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::{event_log, log};

/// A place in an owner's whole log, and the event there. The default is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub position: i64,
    pub event_id: Option<Uuid>,
}

/// How far somebody has read an owner's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// None: it was never read.
    pub log_id: Option<Id>,
    pub epoch: i64,
    pub place: Place,
}

/// A part of an owner's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    pub log_id: Id,
    pub epoch: i64,
    /// The newest revision of each key in this part.
    pub heads: Vec<KeyHead>,
    /// Where this part ends.
    pub place: Place,
    /// The log goes on after it.
    pub more: bool,
}

/// A revision of a key, without its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHead {
    pub key: Key,
    pub epoch: i64,
    pub revision: i64,
    pub history: History,
    pub time: Micros,
}

/// Rows that are given positions in one transaction.
const PLACE_CHUNK: u64 = 1000;
/// Such transactions of one call at most; the next call goes on.
const PLACE_CHUNKS: usize = 100;

impl Ledger {
    /// What the keys of these kinds have come to after a place, and where the next part begins. Fails if the log lacks what the caller
    /// has read: from then on this service does nothing until [the epoch is raised](Self::raise_epoch).
    pub async fn heads(&self, aggregates: &[String], since: &Since, limit: u64) -> Result<Heads> {
        let row = log::read(self.0.db.reader()).await?;
        if since.log_id == Some(self.log_id()) {
            self.compare_with_reader(row.epoch, since).await?;
        }
        self.give_positions().await?;
        let rows = event_log::placed_after(self.0.db.reader(), since.place.position, limit).await?;
        let more = rows.len() as u64 == limit;
        let place =
            rows.last().map_or(since.place, |last| Place { position: last.position, event_id: Some(last.event_id) });
        let mut heads = BTreeMap::new();
        for row in rows.into_iter().filter(|row| is_of(&row.key, aggregates)) {
            let head = KeyHead::try_from(row)?;
            heads
                .entry(head.key.clone())
                .and_modify(|newest: &mut KeyHead| {
                    if newest.revision < head.revision {
                        newest.clone_from(&head);
                    }
                })
                .or_insert(head);
        }
        Ok(Heads { log_id: self.log_id(), epoch: row.epoch, heads: heads.into_values().collect(), place, more })
    }

    async fn compare_with_reader(&self, epoch: i64, since: &Since) -> Result<()> {
        let Place { position, event_id } = since.place;
        let lacks = match event_id {
            _ if since.epoch > epoch => true,
            // A reader of an earlier epoch begins anew anyway.
            Some(id) if since.epoch == epoch => event_log::id_at(self.0.db.reader(), position).await? != Some(id),
            _ => false,
        };
        if lacks {
            let reason =
                format!("another service has read this log up to position {position} of epoch {}", since.epoch);
            self.suspend(epoch, &reason).await?;
        }
        Ok(())
    }

    async fn give_positions(&self) -> Result<()> {
        for _ in 0..PLACE_CHUNKS {
            // Most often there is nothing, and then nobody is kept from writing.
            if !event_log::any_unplaced(self.0.db.reader()).await? {
                break;
            }
            let txn = self.0.db.begin().await?;
            let row = log::lock(&txn).await?;
            let placed = event_log::place(&txn, row.next_position, PLACE_CHUNK).await?;
            let next_position = row.next_position + i64::try_from(placed).unwrap_or(i64::MAX);
            log::write(&txn, log::Model { next_position, ..row }).await?;
            txn.commit().await?;
            if placed < PLACE_CHUNK {
                break;
            }
        }
        Ok(())
    }

    /// Whether the log has this event.
    pub async fn has_event(&self, id: Uuid) -> Result<bool> {
        Ok(event_log::has(self.0.db.reader(), id).await?)
    }

    /// The log's id, drawn once.
    pub fn log_id(&self) -> Id {
        self.0.log.id
    }

    /// The log's generation.
    pub async fn epoch(&self) -> Result<i64> {
        Ok(log::read(self.0.db.reader()).await?.epoch)
    }

    /// Why this service may not act, if so: its log is older than what others have read of it.
    pub async fn behind(&self) -> Result<Option<String>> {
        let behind = log::read(self.0.db.reader()).await?.behind;
        self.0.behind.store(behind.is_some(), Ordering::Relaxed);
        Ok(behind)
    }

    /// What [`behind`](Self::behind) came to the last time.
    pub fn was_behind(&self) -> bool {
        self.0.behind.load(Ordering::Relaxed)
    }

    /// The log was found to be older than what others have read of it. From now on no instance appends or publishes, until the
    /// [epoch is raised](Self::raise_epoch). Always an error, which says so.
    ///
    /// `epoch` is the one that the log was found to be of. If it was raised meanwhile, what was found is what it was raised for.
    pub async fn suspend(&self, epoch: i64, reason: &str) -> Result<()> {
        if without(Protection::Epoch) {
            return Ok(());
        }
        let txn = self.0.db.begin().await?;
        let row = log::lock(&txn).await?;
        if row.epoch != epoch {
            txn.rollback().await?;
            return Err(Error::Transient(format!("the epoch was raised while the log of epoch {epoch} was judged")));
        }
        let behind = row.behind.clone().unwrap_or_else(|| reason.to_owned());
        log::write(&txn, log::Model { behind: Some(behind.clone()), ..row }).await?;
        txn.commit().await?;
        self.0.behind.store(true, Ordering::Relaxed);
        tracing::error!(
            service = self.0.name,
            reason,
            "this log is older than what others have read; nothing is done until its epoch is raised"
        );
        Err(suspended(&behind))
    }

    /// Begins a new generation of the log: what others have read beyond its end is given up, and every subscriber compares. Effects may
    /// have been done in the part that was lost, so from now on each is asked for first, and none is withdrawn. The new epoch; the one that
    /// there is if it is not `from` any more.
    pub async fn raise_epoch(&self, from: i64) -> Result<i64> {
        let txn = self.0.db.begin().await?;
        let row = log::lock(&txn).await?;
        if row.epoch != from {
            return Ok(row.epoch);
        }
        let epoch = row.epoch + 1;
        log::write(&txn, log::Model { epoch, behind: None, ..row }).await?;
        txn.commit().await?;
        self.0.behind.store(false, Ordering::Relaxed);
        Ok(epoch)
    }
}

/// Why nothing is done while a log is older than its readers.
pub(crate) fn suspended(reason: &str) -> Error {
    Error::Transient(format!("this log is older than what others have read ({reason}); raise its epoch"))
}

fn is_of(key: &str, aggregates: &[String]) -> bool {
    key.split_once('/').is_some_and(|(kind, _)| aggregates.iter().any(|aggregate| aggregate == kind))
}

impl TryFrom<event_log::Placed> for KeyHead {
    type Error = Error;

    fn try_from(row: event_log::Placed) -> Result<Self> {
        let damaged = |what: &str| Error::Failed(format!("the {what} of an event of {} cannot be read", row.key));
        Ok(Self {
            key: row.key.parse().map_err(|_| damaged("key"))?,
            epoch: row.epoch,
            revision: row.revision,
            history: History(row.history.as_slice().try_into().map_err(|_| damaged("history"))?),
            time: Micros(row.time),
        })
    }
}
