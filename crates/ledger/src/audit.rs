//! The subscriber's side of the audit: what a subscription has heard, against what its owner says has happened.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use event::Micros;
use fault::{Protection, without};

use crate::error::{Error, Result};
use crate::followed::{Following, log_id};
use crate::heads::{Heads, KeyHead, Place, Since};
use crate::ledger::Ledger;
use crate::store::cursor::{self, Model as Cursor, State};
use crate::store::writes::write;
use crate::store::{followed_log, subscription};

/// What the audit of one subscription at one owner has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditedLog {
    pub since: Since,
    /// A comparison is under way, and has visited the cursors up to this key.
    pub compared_to: Option<String>,
}

impl Ledger {
    /// How far the audit of a subscription is with an owner's log.
    pub async fn followed(&self, subscription: &str, owner: &str) -> Result<AuditedLog> {
        let row = followed_log::find(self.0.db.reader(), subscription, owner).await?;
        row.map_or_else(|| Ok(AuditedLog::default()), AuditedLog::try_from)
    }

    /// The keys of which the subscription has heard less, or something else, than their owner says; those that it knows to be missing are
    /// not among them. A moment later the stream may have brought them: so ask twice before you [note](Self::note) them.
    pub async fn behind_of(&self, subscription: &'static str, heads: Vec<KeyHead>) -> Result<Vec<KeyHead>> {
        let ids: Vec<_> = heads.iter().map(|head| (subscription, head.key.clone())).collect();
        let rows = cursor::find_all(self.0.db.reader(), &ids).await?;
        let cursors: HashMap<String, Cursor> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        let is_behind = |head: &KeyHead| {
            cursors.get(&head.key.to_string()).is_none_or(|cursor| standing(cursor, head) != Standing::Heard)
        };
        Ok(heads.into_iter().filter(|head| is_behind(head) && !without(Protection::Audit)).collect())
    }

    /// Notes what was not heard: from now on these keys wait, and are read from their owner. How many there were; none if what was told of
    /// them is of an epoch that is over, for which [audited](Self::audited) stores nothing either.
    pub async fn note(&self, name: &'static str, owner: &str, epoch: i64, heads: &[KeyHead]) -> Result<usize> {
        if heads.is_empty() {
            return Ok(0);
        }
        let txn = self.0.db.begin().await?;
        let now = self.0.clock.now(&txn).await?;
        let following = Following::hold(&txn, vec![name]).await?;
        if following.is_over(name, owner, epoch) {
            txn.rollback().await?;
            return Ok(0);
        }
        let starts_at = following.starts_at(name);
        let mut ids: Vec<_> = heads.iter().map(|head| (name, head.key.clone())).collect();
        ids.sort();
        let by_key: HashMap<String, &KeyHead> = heads.iter().map(|head| (head.key.to_string(), head)).collect();
        let mut changed = Vec::new();
        for row in cursor::lock(&txn, &ids).await? {
            let Some(head) = by_key.get(&row.key) else { continue };
            changed.extend(not_heard(row, head, starts_at, now));
        }
        let noted = changed.len();
        write(&txn, |writes| cursor::write(writes, changed)).await?;
        txn.commit().await?;
        Ok(noted)
    }

    /// Everything up to the end of this part is applied or noted. If the owner's log has a new epoch, everything is audited from its
    /// beginning, and every cursor compared: then the answer is true. Fails if it is another log than the one that was followed.
    ///
    /// `since` is where it was asked from, in a log that the subscription has [met](Self::meet). If that is not where the subscription is any more, another instance has gone on, or a comparison has
    /// begun: then nothing is stored, and the answer is true, because there is more to audit from where it is now.
    pub async fn audited(&self, name: &str, owner: &str, since: &Since, heads: &Heads) -> Result<bool> {
        let txn = self.0.db.begin().await?;
        if heads.epoch > since.epoch {
            // What is taken in beside this knows the epoch until it is committed.
            subscription::lock(&txn, name).await?;
        }
        let Some(row) = followed_log::lock(&txn, name, owner).await? else {
            return Err(Error::Transient(format!("{name} has not met the log of {owner} yet")));
        };
        if row.log_id != heads.log_id.to_string() {
            return Err(Error::Failed(format!(
                "{owner} has another log, {}, than the one that {name} follows, {}",
                heads.log_id, row.log_id
            )));
        }
        if (row.epoch, row.audited_position) != (since.epoch, since.place.position) {
            txn.rollback().await?;
            return Ok(true);
        }
        let raised = row.epoch < heads.epoch && !without(Protection::Epoch);
        let place = if raised { Place::default() } else { heads.place };
        let row = followed_log::Model {
            epoch: heads.epoch,
            audited_position: place.position,
            audited_event_id: place.event_id,
            compared_to: row.compared_to.or_else(|| raised.then(String::new)),
            ..row
        };
        followed_log::write(&txn, row).await?;
        txn.commit().await?;
        Ok(raised)
    }

    /// Something was heard, or is asked for, that only an audit can clear up.
    pub(crate) fn want_audit(&self) {
        self.0.audit_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether an audit is wanted now. Whoever asks does it.
    pub fn take_wanted_audit(&self) -> bool {
        self.0.audit_wanted.swap(false, Ordering::Relaxed)
    }
}

/// How a cursor stands to what its owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has passed that revision, or knows that it lacks it.
    Heard,
    /// It lacks it, and does not know.
    Lacks,
    /// What it has applied is not what the owner has.
    Differs,
}

fn standing(cursor: &Cursor, head: &KeyHead) -> Standing {
    // A part of the log that was read before its key went on in a higher epoch.
    if cursor.epoch > head.epoch {
        return Standing::Heard;
    }
    let differs = match cursor.revision.cmp(&head.revision) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => cursor.history != head.history.0,
        std::cmp::Ordering::Greater => cursor.epoch < head.epoch,
    };
    match cursor.state {
        State::Comparing => Standing::Heard,
        State::Waiting | State::Parked if cursor.noted >= head.revision && !differs => Standing::Heard,
        State::Parked if differs => Standing::Heard,
        _ if differs => Standing::Differs,
        _ if cursor.revision >= head.revision => Standing::Heard,
        _ => Standing::Lacks,
    }
}

/// The cursor once it knows what it lacks; None if it does not lack it.
fn not_heard(cursor: Cursor, head: &KeyHead, starts_at: Option<i64>, now: Micros) -> Option<Cursor> {
    let noted = cursor.noted.max(head.revision);
    let due = Some(now.0);
    match standing(&cursor, head) {
        Standing::Heard => None,
        Standing::Differs => {
            let reason = Some("its owner has another past".to_owned());
            Some(Cursor { state: State::Comparing, due, noted, reason, ..cursor })
        }
        // Nobody wants work for it: so it need not be read either.
        Standing::Lacks if starts_at.is_some_and(|start| head.time.0 < start) && cursor.state == State::Flowing => {
            let (epoch, revision, history) = (head.epoch, head.revision, head.history.0.to_vec());
            Some(Cursor { epoch, revision, history, noted, ..cursor })
        }
        Standing::Lacks if cursor.state == State::Flowing => {
            let reason = Some(format!("revision {} is missing", cursor.revision + 1));
            Some(Cursor { state: State::Waiting, due, noted, reason, ..cursor })
        }
        Standing::Lacks => Some(Cursor { noted, ..cursor }),
    }
}

impl TryFrom<followed_log::Model> for AuditedLog {
    type Error = Error;

    fn try_from(row: followed_log::Model) -> Result<Self> {
        let place = Place { position: row.audited_position, event_id: row.audited_event_id };
        let since = Since { log_id: Some(log_id(&row)?), epoch: row.epoch, place };
        Ok(Self { since, compared_to: row.compared_to })
    }
}
