//! Counting what fails: before it is tried, in a transaction of its own, so that what kills the process is counted, too.

use ::event::Key;
use fault::{Point, reach};
use tracing::error;

use crate::delivery::{Answer, Command, CommandResult, Delivery, Ended, EventDelivery, Input, Outcome};
use crate::error::{Result, internal};
use crate::ledger::Ledger;
use crate::processor::event::{Verdict, judge, noted};
use crate::store::cursor;
use crate::store::cursor::{CursorId, State as CursorState};
use crate::store::effect::{self, State as EffectState};
use crate::store::receipt::{Model as Receipt, State as ReceiptState};
use crate::store::writes::write;
use crate::tx::Tx;

impl Ledger {
    /// Counts one attempt more of a delivery that has failed before, or that may have killed the process. The new count; 0 if it was taken
    /// in meanwhile, or is of a kind that is not counted here.
    pub(super) async fn count(&self, delivery: &Delivery) -> Result<i64> {
        self.change_count(delivery, 1).await
    }

    /// Takes an attempt back that ended for a reason which is not the delivery's.
    pub(super) async fn uncount(&self, delivery: &Delivery, counted: Option<i64>) -> Result<()> {
        if counted.is_some_and(|attempts| attempts > 0) {
            self.change_count(delivery, -1).await?;
        }
        Ok(())
    }

    async fn change_count(&self, delivery: &Delivery, by: i64) -> Result<i64> {
        let mut tx = self.begin().await?;
        let attempts = match &delivery.input {
            Input::Event(event) => {
                let (id, row) = lock_cursor(&mut tx, event).await?;
                if judge(&row, &event.record, event.means) != Verdict::Apply {
                    return Ok(0);
                }
                let attempts = (row.attempts + by).max(0);
                tx.book.set_cursor(&id, cursor::Model { attempts, ..row });
                attempts
            }
            Input::Command(command) if !command.anonymous => {
                let row = lock_receipt(&mut tx, command).await?;
                if row.state != ReceiptState::Accepted {
                    return Ok(0);
                }
                let attempts = (row.attempts + by).max(0);
                tx.book.set_receipt(command.id, Receipt { attempts, ..row });
                attempts
            }
            Input::Command(_) => return Ok(0),
            Input::Answer(answer) => {
                let row = effect::lock(&tx.txn, &answer.key, answer.kind, answer.n).await?;
                let Some(row) = row.filter(effect::Model::is_open) else { return Ok(0) };
                let attempts = (failures(&row) + by).max(0);
                let changed = effect::Model { attempts, ..keeping(row, answer) };
                write(&tx.txn, |writes| effect::write(writes, [changed])).await?;
                attempts
            }
            Input::Timer(timer) => Self::change_timer_count(&mut tx, timer, by).await?,
        };
        tx.commit().await?;
        Ok(attempts)
    }

    /// What comes of a delivery that failed in a way that is its own: another attempt later, or the end of attempts.
    pub(super) async fn failed(&self, delivery: &Delivery, counted: Option<i64>, reason: String) -> Result<Outcome> {
        let reason = storable(&reason);
        let mut tx = self.begin().await?;
        let outcome = match &delivery.input {
            Input::Event(event) => self.event_failed(&mut tx, event, counted, reason).await?,
            Input::Command(command) => self.command_failed(&mut tx, command, counted, reason).await?,
            Input::Answer(answer) => self.answer_failed(&mut tx, answer, counted, reason).await?,
            Input::Timer(timer) => self.timer_failed(&mut tx, timer, counted, reason).await?,
        };
        let parks = tx.touched.parks;
        tx.commit().await?;
        if parks {
            reach(Point::Parked).await;
        }
        Ok(outcome)
    }

    async fn event_failed(
        &self,
        tx: &mut Tx,
        event: &EventDelivery,
        counted: Option<i64>,
        reason: String,
    ) -> Result<Outcome> {
        let (id, row) = lock_cursor(tx, event).await?;
        match judge(&row, &event.record, event.means) {
            Verdict::Apply => {}
            Verdict::Duplicate => return Ok(Outcome::Duplicate),
            // Another instance was faster, and has failed as well.
            Verdict::Note | Verdict::Gap | Verdict::Wait | Verdict::Compare => {
                tx.book.set_cursor(&id, noted(row, &event.record));
                return Ok(Outcome::Noted);
            }
        }
        meter::RETRIES.counter(&[event.subscription]).increment(1);
        let attempts = with_this(counted, row.attempts);
        let last = attempts >= self.0.retry.attempts;
        let delay = self.0.retry.delay(attempts, &self.0.chance);
        let state = if last { CursorState::Parked } else { CursorState::Waiting };
        error!(subscription = event.subscription, key = %event.record.key, revision = event.record.revision, attempts, reason, "{}",
            if last { "an event failed for good; its key is parked" } else { "an event failed; it is tried again" });
        tx.touched.parks = last;
        let due = (!last).then(|| tx.now.plus(delay).0);
        let reason = Some(reason);
        tx.book.set_cursor(&id, cursor::Model { state, due, attempts, reason, ..noted(row, &event.record) });
        Ok(Outcome::Noted)
    }

    async fn command_failed(
        &self,
        tx: &mut Tx,
        command: &Command,
        counted: Option<i64>,
        reason: String,
    ) -> Result<Outcome> {
        error!(method = command.method, command = %command.id, attempts = counted, reason, "a command failed");
        if command.anonymous {
            return Ok(Outcome::Ended(failure()));
        }
        let row = lock_receipt(tx, command).await?;
        if row.state != ReceiptState::Accepted {
            return Ok(Outcome::Ended(super::command::replay(&row)?));
        }
        let attempts = with_this(counted, row.attempts);
        if attempts < self.0.retry.attempts {
            tx.book.set_receipt(command.id, Receipt { attempts, reason: Some(reason), ..row });
            return Ok(Outcome::GivenBack {
                delay: self.0.retry.delay(attempts, &self.0.chance),
                reason: "the command failed".to_owned(),
            });
        }
        let secret = self.0.handlers.commands.get(&command.method).is_none_or(|handler| handler.secret);
        let request = (!secret).then(|| crate::kept::encode(command));
        tx.touched.parks = true;
        let (state, reason) = (ReceiptState::Failed, Some(reason));
        tx.book.set_receipt(command.id, Receipt { state, attempts, request, reason, ..row });
        Ok(Outcome::Ended(failure()))
    }

    async fn answer_failed(
        &self,
        tx: &mut Tx,
        answer: &Answer,
        counted: Option<i64>,
        reason: String,
    ) -> Result<Outcome> {
        let row = effect::lock(&tx.txn, &answer.key, answer.kind, answer.n).await?;
        let Some(row) = row.filter(effect::Model::is_open) else { return Ok(Outcome::Duplicate) };
        let attempts = with_this(counted, failures(&row));
        let last = attempts >= self.0.retry.attempts;
        error!(key = %answer.key, kind = answer.kind, attempts, reason, "an answer could not be taken in");
        tx.touched.parks = last;
        let state = if last { EffectState::Parked } else { EffectState::Leased };
        let leased_until = tx.now.plus(self.0.retry.delay(attempts, &self.0.chance)).0;
        let changed = effect::Model { state, leased_until, attempts, reason: Some(reason), ..keeping(row, answer) };
        write(&tx.txn, |writes| effect::write(writes, [changed])).await?;
        Ok(Outcome::Noted)
    }

    /// What comes of a delivery whose handler had written before it found that something is not here yet.
    pub(super) async fn not_yet(&self, delivery: &Delivery, key: &Key) -> Result<Outcome> {
        if let Input::Event(event) = &delivery.input {
            let mut tx = self.begin().await?;
            let (id, row) = lock_cursor(&mut tx, event).await?;
            if judge(&row, &event.record, event.means) == Verdict::Apply {
                let waiting = self.waiting_for(noted(row, &event.record), key, tx.now);
                tx.book.set_cursor(&id, waiting);
                tx.commit().await?;
            }
            return Ok(Outcome::Noted);
        }
        Ok(self.not_here(key))
    }
}

async fn lock_cursor(tx: &mut Tx, event: &EventDelivery) -> Result<(CursorId, cursor::Model)> {
    let id = (event.subscription, event.record.key.clone());
    tx.book.lock_cursors(&tx.txn, vec![id.clone()]).await?;
    let row = tx.book.cursor(&id)?.clone();
    Ok((id, row))
}

async fn lock_receipt(tx: &mut Tx, command: &Command) -> Result<Receipt> {
    tx.book.lock_receipts(&tx.txn, &[command.id]).await?;
    Ok(tx.book.receipt(command.id).cloned().unwrap_or_else(|| Ledger::empty_receipt(tx, command)))
}

/// How many attempts there were with this one, which may have been counted before it was made.
pub(super) fn with_this(counted: Option<i64>, before: i64) -> i64 {
    counted.unwrap_or(0).max(before + i64::from(counted.is_none()))
}

/// How often an effect's answer could not be taken in. As long as the row holds none, its attempts are those of getting one.
const fn failures(row: &effect::Model) -> i64 {
    if row.answer.is_some() { row.attempts } else { 0 }
}

fn keeping(row: effect::Model, answer: &Answer) -> effect::Model {
    effect::Model { answer: Some(answer.body.to_vec()), ..row }
}

/// How much of a reason is kept, in characters.
const REASON_LEN_MAX: usize = 1000;

/// A reason as a text column takes it: Postgres refuses NUL, and then nothing would ever be parked.
fn storable(reason: &str) -> String {
    reason.chars().filter(|character| *character != '\0').take(REASON_LEN_MAX).collect()
}

fn failure() -> Ended {
    Ended { result: CommandResult::Failed(internal()), token: String::new(), replayed: false }
}
