//! One event for one subscription: the cursor is its fence.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::event::{History, Key, Micros, Record};
use fault::{Protection, without};

use super::{Abort, Attempt, guarded};
use crate::delivery::{Caller, Delivery, EventDelivery, Input, Means, Outcome};
use crate::error::Error;
use crate::followed::Origin;
use crate::ledger::Ledger;
use crate::store::cursor::{CursorId, Model, State};
use crate::tx::{Cause, Tx};

impl Ledger {
    pub(super) async fn event(
        &self,
        tx: &mut Tx,
        delivery: &EventDelivery,
        attempt: Attempt<'_>,
    ) -> Result<Outcome, Abort> {
        let record = &delivery.record;
        match self.origin(&tx.following, delivery) {
            Origin::Followed | Origin::Unmet => {}
            Origin::Another => return Ok(Outcome::Stranger),
            Origin::Over => return Ok(Outcome::Duplicate),
        }
        let id: CursorId = (delivery.subscription, record.key.clone());
        // Only events of a log that is known have a cursor.
        let Ok(cursor) = tx.book.cursor(&id).cloned() else {
            let reason = format!("the log of {} is not known yet", record.key);
            return Ok(Outcome::GivenBack { delay: UNKNOWN, reason });
        };
        match judge(&cursor, record, delivery.means) {
            Verdict::Apply => {}
            Verdict::Duplicate => return Ok(Outcome::Duplicate),
            Verdict::Gap => return Ok(Outcome::Gap),
            Verdict::Wait => {
                let reason = Some(format!("revision {} is missing", cursor.revision + 1));
                let due = Some(tx.now.0);
                tx.book.set_cursor(&id, Model { state: State::Waiting, due, reason, ..noted(cursor, record) });
                return Ok(Outcome::Noted);
            }
            Verdict::Compare => {
                let reason = Some(format!("revision {} has another past", record.revision));
                let due = Some(tx.now.0);
                tx.book.set_cursor(&id, Model { state: State::Comparing, due, reason, ..noted(cursor, record) });
                return Ok(Outcome::Noted);
            }
            Verdict::Note => {
                tx.book.set_cursor(&id, noted(cursor, record));
                return Ok(Outcome::Noted);
            }
        }
        if is_passed_over(tx, &cursor, delivery) {
            tx.book.set_cursor(&id, moved(cursor, record, tx.now));
            return Ok(Outcome::Skipped);
        }
        // What its protos do not have it does not know, as with commands, whatever its code could do.
        if !self.0.known_types.contains(&record.type_name) {
            let reason = format!("{} is newer than this instance", record.type_name);
            return Ok(Outcome::GivenBack { delay: NEWER, reason });
        }
        let subscription = self.0.handlers.subscriptions.get(delivery.subscription);
        let handler = subscription.and_then(|subscription| subscription.handlers.get(&record.type_name));
        let Some((_, handler)) = handler else {
            tx.book.set_cursor(&id, moved(cursor, record, tx.now));
            return Ok(Outcome::Skipped);
        };
        attempt.may_run(cursor.attempts)?;
        // What follows from an event is still the doing of whoever set it off.
        let caller = Caller { name: record.principal.clone(), ..Caller::default() };
        let absent = matches!(delivery.means, Means::Log { absent: true, .. });
        tx.cause = Cause { caller, command_id: record.command_id, record: Some(Arc::clone(record)), absent };
        match guarded(handler(tx, record.body.clone()), attempt.span).await {
            Ok(()) => {
                tx.book.set_cursor(&id, moved(cursor, record, tx.now));
                Ok(Outcome::Applied)
            }
            // An attempt that was counted has to be taken back first.
            Err(Error::NotYet(key)) if !tx.touched.wrote && !attempt.counted => {
                let cursor = self.waiting_for(noted(cursor, record), &key, tx.now);
                tx.book.set_cursor(&id, cursor);
                Ok(Outcome::Noted)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The key waits for another one, which is read from its owner when this cursor is due.
    pub(super) fn waiting_for(&self, cursor: Model, key: &Key, now: Micros) -> Model {
        let since = cursor
            .reason
            .as_deref()
            .and_then(parse_waits_for)
            .filter(|(waited, _)| waited == key)
            .map_or(now, |(_, since)| since);
        let waited = now.since(since).as_secs().saturating_add(1);
        // The longer it has waited, the more seldom it is looked for.
        let due = now.plus(self.0.retry.delay(i64::from(64 - waited.leading_zeros()), &self.0.chance));
        Model {
            state: State::Waiting,
            due: Some(due.0),
            reason: Some(format!("{WAITS_FOR}{key} since {}", since.0)),
            ..cursor
        }
    }
}

const WAITS_FOR: &str = "waits for ";
/// How long an event waits for the audit to say which log is followed.
const UNKNOWN: Duration = Duration::from_millis(200);
/// How long an event waits for an instance that knows its type.
const NEWER: Duration = Duration::from_secs(5);

/// What a cursor's reason says that it waits for, and since when.
pub(crate) fn parse_waits_for(reason: &str) -> Option<(Key, Micros)> {
    let (key, since) = reason.strip_prefix(WAITS_FOR)?.split_once(" since ")?;
    Some((key.parse().ok()?, Micros(since.parse().ok()?)))
}

/// What becomes of an event, by its cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Apply,
    Duplicate,
    /// A revision is missing, and may still come.
    Gap,
    /// A revision is missing: from now on the key waits.
    Wait,
    /// The key waits or is parked.
    Note,
    /// What was applied is not what this event goes on from: the owner's log decides.
    Compare,
}

/// Decides by the cursor alone. Duplicates, reordering, redelivery, a consumer that was reset and a second instance are all one case.
pub fn judge(cursor: &Model, record: &Record, means: Means) -> Verdict {
    let next = cursor.revision + 1;
    // What an earlier epoch had beyond the end of a log that was restored is in nobody's log any more.
    if (record.epoch < cursor.epoch && !without(Protection::Epoch))
        || (record.revision < next && record.epoch == cursor.epoch)
    {
        return Verdict::Duplicate;
    }
    match (cursor.state, means) {
        (State::Waiting | State::Parked, _) if record.revision > next && without(Protection::OrderAfterParking) => {
            Verdict::Apply
        }
        (State::Parked | State::Comparing, _) | (State::Waiting, Means::Stream | Means::StreamLate) => Verdict::Note,
        // Epochs only rise along a key, so the revision that was applied is not the one that the owner has now.
        _ if record.revision < next => Verdict::Compare,
        // What an operator has dropped is not applied, so its past does not matter.
        _ if record.revision == next && (record.revision <= cursor.dropped || goes_on_from(cursor, record)) => {
            Verdict::Apply
        }
        _ if record.revision == next => Verdict::Compare,
        (State::Waiting, _) => Verdict::Note,
        (State::Flowing, _) if without(Protection::GapHealing) => Verdict::Apply,
        (State::Flowing, Means::Stream) => Verdict::Gap,
        (State::Flowing, _) => Verdict::Wait,
    }
}

/// Whether the record's past is what the cursor has applied.
fn goes_on_from(cursor: &Model, record: &Record) -> bool {
    let past: Option<[u8; 16]> = cursor.history.as_slice().try_into().ok();
    past.is_some_and(|past| History(past).then(&record.type_name, &record.body) == record.history)
        || without(Protection::ForkCheck)
}

/// Whether a handler is to be called, if it cares for the event's type and what is before it in its batch is applied. `ahead`: the cursors
/// after that.
pub(super) fn comes_to_handler(tx: &Tx, delivery: &EventDelivery, ahead: &mut HashMap<CursorId, Model>) -> bool {
    let record = &delivery.record;
    let id: CursorId = (delivery.subscription, record.key.clone());
    // Only events of a log that is known have a cursor.
    let Some(cursor) = ahead.remove(&id).or_else(|| tx.book.cursor(&id).ok().cloned()) else { return false };
    let applies = judge(&cursor, record, delivery.means) == Verdict::Apply;
    let comes = applies && !is_passed_over(tx, &cursor, delivery);
    ahead.insert(id, if applies { moved(cursor, record, tx.now) } else { cursor });
    comes
}

impl Ledger {
    /// Whether all that can come of it is that a cursor moves on: no handler takes an event of its kind.
    pub fn is_skipped(&self, delivery: &Delivery) -> bool {
        let Input::Event(event) = &delivery.input else { return false };
        let type_name = &event.record.type_name;
        let subscription = self.0.handlers.subscriptions.get(event.subscription);
        self.0.known_types.contains(type_name)
            && subscription.is_some_and(|subscription| !subscription.handlers.contains_key(type_name))
    }
}

/// The cursor moves without a handler: an operator has dropped the event, or it happened before its work was wanted.
fn is_passed_over(tx: &Tx, cursor: &Model, delivery: &EventDelivery) -> bool {
    let (record, starts_at) = (&delivery.record, tx.following.starts_at(delivery.subscription));
    record.revision <= cursor.dropped || starts_at.is_some_and(|start| record.time.0 < start)
}

pub fn noted(cursor: Model, record: &Record) -> Model {
    Model { noted: cursor.noted.max(record.revision), ..cursor }
}

/// The cursor after the record was applied. It flows again, unless more was noted than it has seen.
pub fn moved(cursor: Model, record: &Record, now: Micros) -> Model {
    let more = cursor.noted > record.revision;
    Model {
        epoch: record.epoch,
        revision: record.revision,
        history: record.history.0.to_vec(),
        state: if more { State::Waiting } else { State::Flowing },
        due: more.then_some(now.0),
        noted: cursor.noted.max(record.revision),
        attempts: 0,
        reason: more.then(|| "more was noted meanwhile".to_owned()),
        ..cursor
    }
}
