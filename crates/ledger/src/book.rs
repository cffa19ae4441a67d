//! What one transaction has locked, and what it will write: read by its own later loads, and written once per table at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use event::{History, Id, Key, Micros, Record};

use crate::database::Transaction;
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::store::cursor::CursorId;
use crate::store::effect::EffectId;
use crate::store::timer::TimerId;
use crate::store::writes::Writes;
use crate::store::{cursor, effect, event_log, head, receipt, timer};

#[derive(Default)]
pub(crate) struct Book {
    heads: BTreeMap<Key, Head>,
    cursors: BTreeMap<CursorId, Entry<cursor::Model>>,
    receipts: BTreeMap<Id, Entry<receipt::Model>>,
    pub(crate) appended: Vec<Record>,
    /// Heads that a handler came to need, and that were not locked up front.
    pub(crate) late: Vec<Key>,
    /// What is wished anew.
    pub(crate) effects: Vec<effect::Model>,
    /// Timers that were set or changed; none: that were taken back, or have fired.
    pub(crate) timers: BTreeMap<TimerId, Option<timer::Model>>,
    /// What answers have come to.
    open_effects: BTreeMap<EffectId, Entry<effect::Model>>,
    pub(crate) rows: Rows,
    /// Events that were published, to be marked on the way.
    pub(crate) published: Vec<uuid::Uuid>,
}

/// A row that was locked, or is new, and perhaps changed since.
struct Entry<M> {
    row: M,
    new: bool,
    changed: bool,
}

/// The head of a loaded key. One at revision 0 does not exist, and nothing of it is written.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) epoch: i64,
    pub(crate) revision: i64,
    pub(crate) history: History,
    pub(crate) time: Micros,
    pub(crate) state: Vec<u8>,
    pub(crate) fold: i64,
    pub(crate) existed: bool,
    pub(crate) changed: bool,
}

impl Head {
    const fn none(epoch: i64) -> Self {
        let history = History([0; 16]);
        Self {
            epoch,
            revision: 0,
            history,
            time: Micros(0),
            state: Vec::new(),
            fold: 0,
            existed: false,
            changed: false,
        }
    }
}

impl Book {
    /// Nothing yet, but for these events that are to be marked as published.
    pub(crate) fn marking(published: Vec<uuid::Uuid>) -> Self {
        Self { published, ..Self::default() }
    }

    /// Locks the heads that are not locked yet.
    pub(crate) async fn lock_heads(&mut self, txn: &Transaction, keys: &[Key], epoch: i64) -> Result<()> {
        let wanted: Vec<&Key> = keys.iter().filter(|key| !self.heads.contains_key(key)).collect();
        let rows = head::lock(txn, wanted.iter().copied()).await?;
        let mut found: HashMap<String, head::Model> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        for key in wanted {
            let head = found.remove(&key.to_string()).map_or_else(|| Ok(Head::none(epoch)), Head::try_from)?;
            self.heads.insert(key.clone(), head);
        }
        Ok(())
    }

    pub(crate) fn head(&self, key: &Key) -> Option<&Head> {
        self.heads.get(key)
    }

    /// Replaces a locked head.
    pub(crate) fn set_head(&mut self, key: &Key, head: Head) {
        self.heads.insert(key.clone(), Head { changed: true, ..head });
    }

    pub(crate) async fn lock_cursors(&mut self, txn: &Transaction, mut ids: Vec<CursorId>) -> Result<()> {
        ids.sort();
        ids.dedup();
        let rows = cursor::lock(txn, &ids).await?;
        let mut found: HashMap<(String, String), cursor::Model> =
            rows.into_iter().map(|row| ((row.subscription.clone(), row.key.clone()), row)).collect();
        for id in ids {
            let row = found.remove(&(id.0.to_owned(), id.1.to_string()));
            let row = row.ok_or_else(|| Error::Failed(format!("the cursor of {} for {} was not found", id.0, id.1)))?;
            self.cursors.insert(id, Entry { row, new: false, changed: false });
        }
        Ok(())
    }

    /// Locks what answers have come to.
    pub(crate) async fn lock_effects(&mut self, txn: &Transaction, mut ids: Vec<EffectId>) -> Result<()> {
        ids.sort();
        ids.dedup();
        let mut found: HashMap<(String, String, i64), effect::Model> = effect::lock_all(txn, &ids)
            .await?
            .into_iter()
            .map(|row| ((row.key.clone(), row.kind.clone(), row.n), row))
            .collect();
        for id in ids {
            if let Some(row) = found.remove(&(id.0.to_string(), id.1.to_owned(), id.2)) {
                self.open_effects.insert(id, Entry { row, new: false, changed: false });
            }
        }
        Ok(())
    }

    /// The event with which an effect is wished in this transaction.
    pub(crate) fn wish(&self, row: &effect::Model) -> Option<Arc<Record>> {
        let key: Key = row.key.parse().ok()?;
        let wish = self.appended.iter().find(|record| record.revision == row.n && record.key == key);
        wish.cloned().map(Arc::new)
    }

    /// The row of a locked effect; None if there is none.
    pub(crate) fn effect(&self, id: &EffectId) -> Option<&effect::Model> {
        self.open_effects.get(id).map(|entry| &entry.row)
    }

    pub(crate) fn set_effect(&mut self, id: EffectId, row: effect::Model) {
        self.open_effects.insert(id, Entry { row, new: false, changed: true });
    }

    pub(crate) fn cursor(&self, id: &CursorId) -> Result<&cursor::Model> {
        let entry =
            self.cursors.get(id).ok_or_else(|| Error::Failed(format!("the cursor of {} is not locked", id.0)))?;
        Ok(&entry.row)
    }

    pub(crate) fn set_cursor(&mut self, id: &CursorId, row: cursor::Model) {
        self.cursors.insert(id.clone(), Entry { row, new: false, changed: true });
    }

    pub(crate) async fn lock_receipts(&mut self, txn: &Transaction, ids: &[Id]) -> Result<()> {
        for row in receipt::lock(txn, ids).await? {
            let id = row.command_id.parse().map_err(|_| Error::Failed("a receipt's id cannot be read".to_owned()))?;
            self.receipts.insert(id, Entry { row, new: false, changed: false });
        }
        Ok(())
    }

    pub(crate) fn receipt(&self, id: Id) -> Option<&receipt::Model> {
        self.receipts.get(&id).map(|entry| &entry.row)
    }

    pub(crate) fn set_receipt(&mut self, id: Id, row: receipt::Model) {
        let new = self.receipts.get(&id).is_none_or(|entry| entry.new);
        self.receipts.insert(id, Entry { row, new, changed: true });
    }

    /// What says that something was done, apart from what was done.
    pub(crate) fn split_off_fences(&mut self) -> Self {
        Self {
            cursors: std::mem::take(&mut self.cursors),
            receipts: std::mem::take(&mut self.receipts),
            open_effects: std::mem::take(&mut self.open_effects),
            ..Self::default()
        }
    }

    /// Writes all that changed, once per table, and hands out what was appended.
    pub(crate) fn write(self, writes: &mut Writes, now: Micros) -> Vec<Record> {
        let (mut new, mut locked) = (Vec::new(), Vec::new());
        for (key, head) in self.heads.into_iter().filter(|(_, head)| head.changed) {
            if head.existed { &mut locked } else { &mut new }.push(head.into_row(&key));
        }
        head::write(writes, new, locked);
        event_log::insert(writes, &self.appended);
        cursor::write(writes, changed(self.cursors).map(|entry| entry.row));
        writes.insert(self.effects);
        let (set, gone): (Vec<_>, Vec<_>) = self.timers.into_iter().partition(|(_, row)| row.is_some());
        timer::write(writes, set.into_iter().filter_map(|(_, row)| row));
        timer::delete(writes, &gone.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
        effect::write(writes, changed(self.open_effects).map(|entry| entry.row));
        self.rows.write(writes);
        event_log::mark_published(writes, &self.published, now);
        let (new, locked): (Vec<_>, Vec<_>) = changed(self.receipts).partition(|entry| entry.new);
        let rows = |entries: Vec<Entry<receipt::Model>>| entries.into_iter().map(|entry| entry.row).collect();
        receipt::write(writes, rows(new), rows(locked));
        self.appended
    }
}

fn changed<K, M>(entries: BTreeMap<K, Entry<M>>) -> impl Iterator<Item = Entry<M>> {
    entries.into_values().filter(|entry| entry.changed)
}

impl Head {
    fn into_row(self, key: &Key) -> head::Model {
        head::Model {
            key: key.to_string(),
            epoch: self.epoch,
            revision: self.revision,
            history: self.history.0.to_vec(),
            time: self.time.0,
            state: self.state,
            fold: self.fold,
        }
    }
}

impl TryFrom<head::Model> for Head {
    type Error = Error;

    fn try_from(row: head::Model) -> Result<Self> {
        let history =
            row.history.as_slice().try_into().map_err(|_| Error::Failed("a head's history is damaged".to_owned()))?;
        Ok(Self {
            epoch: row.epoch,
            revision: row.revision,
            history: History(history),
            time: Micros(row.time),
            state: row.state,
            fold: row.fold,
            existed: true,
            changed: false,
        })
    }
}
