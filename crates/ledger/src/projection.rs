//! Writing the rows that queries read again, from the events: after they were wiped, or when what makes them has changed.

use event::Id;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::aggregate::{Aggregate, At};
use crate::book::Head;
use crate::error::{Error, Result};
use crate::handlers::Handlers;
use crate::ledger::Ledger;
use crate::store::head;
use crate::tx::Tx;

pub(crate) type ProjectFn = Box<dyn for<'t> Fn(&'t mut Tx, Id) -> BoxFuture<'t, Result<()>> + Send + Sync>;

/// A part of a projection that was written again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many aggregates that were.
    pub rebuilt: u64,
    /// The key of the last one; none: there are no more.
    pub last: Option<String>,
    /// How many aggregates of this kind there are.
    pub total: u64,
}

impl Handlers {
    /// The rows of these aggregates can be written again, from their events.
    pub fn projection<A: Aggregate>(&mut self) {
        let project: ProjectFn = Box::new(|cx, id| cx.project_anew::<A>(id).boxed());
        self.projections.insert(A::KIND, project);
    }

    /// The kinds of aggregates that have projections, sorted.
    pub fn projections(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.projections.keys().copied().collect();
        kinds.sort_unstable();
        kinds
    }
}

impl Ledger {
    /// Writes the rows of the next `limit` aggregates of a kind again. Each is locked meanwhile, so no commit is lost; whoever calls goes on
    /// after the last one.
    pub async fn rebuild_projection(&self, kind: &str, after: &str, limit: u64) -> Result<Rebuilt> {
        let Some((kind, project)) = self.0.handlers.projections.get_key_value(kind) else {
            return Err(Error::Failed(format!("{kind} has no projection")));
        };
        let mut tx = self.begin().await?;
        tx.book.rows.anew = true;
        let keys = head::keys_after(&tx.txn, kind, after, limit).await?;
        let total = head::count(&tx.txn, kind).await?;
        let locked: Result<Vec<_>, _> = keys.iter().map(|key| key.parse()).collect();
        let locked = locked.map_err(|_| Error::Failed("a head's key cannot be read".to_owned()))?;
        tx.book.lock_heads(&tx.txn, &locked, tx.log.epoch).await?;
        for key in &locked {
            project(&mut tx, key.id()).await?;
        }
        tx.commit().await?;
        Ok(Rebuilt { rebuilt: keys.len() as u64, last: keys.into_iter().next_back(), total })
    }
}

impl Tx {
    async fn project_anew<A: Aggregate>(&mut self, id: Id) -> Result<()> {
        let key = event::Key::new(A::KIND, id);
        let state: A = self.fold_anew(&key).await?;
        let Some(head) = self.book.head(&key).cloned() else { return Ok(()) };
        state.project(&At { id, revision: head.revision, time: head.time }, &mut self.book.rows);
        let state = serde_json::to_vec(&state).map_err(|error| Error::Failed(error.to_string()))?;
        self.book.set_head(&key, Head { state, fold: A::FOLD, ..head });
        Ok(())
    }
}
