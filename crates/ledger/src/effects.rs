//! Effects on their way: leased by the transaction that wishes them or when they are due, done, and given back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use event::{Key, Record};
use fault::{Protection, without};
use tracing::Span;

use crate::delivery::{Answer, Caller};
use crate::error::{Error, Result};
use crate::handlers::{Begun, reference};
use crate::ledger::Ledger;
use crate::processor::guarded;
use crate::store::writes::write;
use crate::store::{effect, event_log, log};
use crate::tx::Tx;

/// The epoch of a log that was never restored. In any later one, whatever is wished may have been wished and done before, under the same
/// reference, in the part of the log that was lost: nothing counts as not begun.
pub(crate) const FIRST_EPOCH: i64 = 1;

/// How long one attempt at an effect may take. After a crash it is taken up again by whoever finds it.
pub const LEASE: Duration = Duration::from_secs(15);

/// An effect that this instance may act on until its lease has run out.
#[derive(Clone, Debug)]
pub struct Leased {
    pub key: Key,
    pub kind: &'static str,
    pub n: i64,
    /// How often it was begun before.
    pub attempts: i64,
    /// The event with which it was wished: its trace goes on in the effect.
    pub wish: Option<Arc<Record>>,
    answer: Option<Bytes>,
    begun: Begun<Bytes>,
}

impl Ledger {
    /// Effects that are due, leased for `lease`. Each is to be [performed](Self::perform).
    pub async fn lease_effects(&self, lease: Duration, limit: u64) -> Result<Vec<Leased>> {
        if self.was_behind() {
            return Ok(Vec::new());
        }
        let kinds: Vec<_> = self.0.handlers.effects.keys().copied().collect();
        let now = self.0.clock.now(self.0.db.reader()).await?;
        if !effect::any_due(self.0.db.reader(), &kinds, now).await? {
            return Ok(Vec::new());
        }
        let txn = self.0.db.begin().await?;
        let epoch = log::read(&txn).await?.epoch;
        let rows = effect::lease(&txn, &kinds, now, lease, limit).await?;
        txn.commit().await?;
        let mut leased: Vec<_> = rows.into_iter().filter_map(|row| self.leased(row, None, epoch)).collect();
        let wishes: Vec<_> = leased.iter().map(|one| (one.key.clone(), one.n)).collect();
        let wishes = event_log::find_all(self.0.db.reader(), &wishes, self.0.log.id).await?;
        let mut wishes: HashMap<_, _> =
            wishes.into_iter().map(|wish| ((wish.key.clone(), wish.revision), Arc::new(wish))).collect();
        for one in &mut leased {
            one.wish = wishes.remove(&(one.key.clone(), one.n));
        }
        Ok(leased)
    }

    /// So many more effects may be leased by the very transactions that wish them: they are in [`Processed::leased`], and whoever takes them
    /// from there has room for them.
    ///
    /// [`Processed::leased`]: crate::Processed::leased
    pub fn make_room(&self, effects: usize) {
        self.0.room.fetch_add(effects, Ordering::Relaxed);
    }

    /// From now on only [`lease_effects`](Self::lease_effects) leases.
    pub fn has_no_room(&self) {
        self.0.room.store(0, Ordering::Relaxed);
    }

    /// Leases what a transaction wishes anew, as far as there is room. To be given back if it does not commit.
    pub(crate) fn lease_new(&self, tx: &mut Tx) -> Vec<Leased> {
        let wished = tx.book.effects.len();
        let has_room = |room: usize| room.checked_sub(wished);
        if wished == 0 || self.0.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).is_err() {
            return Vec::new();
        }
        let begin = |row: &effect::Model| self.leased(row.clone(), tx.book.wish(row), tx.log.epoch);
        let leased: Vec<_> = tx.book.effects.iter().filter_map(begin).collect();
        let leased_until = tx.now.plus(LEASE).0;
        for row in &mut tx.book.effects {
            (row.state, row.attempts, row.leased_until) = (effect::State::Leased, 1, leased_until);
        }
        leased
    }

    fn leased(&self, row: effect::Model, wish: Option<Arc<Record>>, epoch: i64) -> Option<Leased> {
        let (kind, _) = self.0.handlers.effects.get_key_value(row.kind.as_str())?;
        let reference = reference(&row.key, &row.kind, row.n);
        let may_be_done = row.state != effect::State::Wished || epoch > FIRST_EPOCH;
        let ask_first = may_be_done && !without(Protection::AskFirst);
        let begun = Begun { wish: row.body.into(), reference, ask_first };
        Some(Leased {
            key: row.key.parse().ok()?,
            kind,
            n: row.n,
            attempts: row.attempts,
            answer: row.answer.map(Into::into),
            begun,
            wish,
        })
    }

    /// Acts on the world outside. An error means that nobody knows what came of it: the lease runs out, and then it is asked.
    pub async fn perform(&self, leased: Leased) -> Result<Answer> {
        let Leased { key, kind, n, answer, begun, wish, .. } = leased;
        let handler = self.0.handlers.effects.get(kind).ok_or_else(|| Error::Failed(format!("no effect {kind}")))?;
        let body = if let Some(body) = answer {
            body
        } else {
            let reader = self.reader(Caller { name: self.0.name.clone(), ..Caller::default() }).await?;
            guarded((handler.perform)(reader, begun), &Span::current()).await?
        };
        Ok(Answer { key, kind, n, body, wish })
    }

    /// Gives an effect back whose outcome nobody knows, so that it is asked for sooner than its lease runs out: after a growing delay.
    pub async fn postpone(&self, key: &Key, kind: &str, n: i64) -> Result<()> {
        let txn = self.0.db.begin().await?;
        let now = self.0.clock.now(&txn).await?;
        if let Some(row) = effect::lock(&txn, key, kind, n).await?.filter(|row| row.state == effect::State::Leased) {
            let leased_until = now.plus(self.0.retry.delay(row.attempts, &self.0.chance)).0;
            let postponed = effect::Model { leased_until, ..row };
            write(&txn, |writes| effect::write(writes, [postponed])).await?;
        }
        Ok(txn.commit().await?)
    }
}
