//! Rows that are read at once: one statement for each table, where each handler and each call would make one of its own.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, Iterable as _, ModelTrait as _, PrimaryKeyTrait,
    QueryFilter as _, Value,
};

use crate::database::Transaction;

/// A table whose rows are found by one text.
pub trait ByText:
    EntityTrait<PrimaryKey: PrimaryKeyTrait<ValueType = String>, Model: Clone + Send + Sync + 'static>
{
}

impl<E> ByText for E where
    E: EntityTrait<PrimaryKey: PrimaryKeyTrait<ValueType = String>, Model: Clone + Send + Sync + 'static>
{
}

/// What the handlers of a batch will read of the service's own tables, as far as their inputs tell.
#[derive(Default)]
pub struct Reads {
    tables: BTreeMap<TypeId, Box<dyn Table>>,
}

/// What was read. A row that is not there was read, too.
#[derive(Default)]
pub(crate) struct Found(HashMap<(TypeId, String), Option<Arc<dyn Any + Send + Sync>>>);

impl Reads {
    /// The row with this primary key.
    pub fn row<E: ByText>(&mut self, id: impl Into<String>) {
        let table =
            self.tables.entry(TypeId::of::<E>()).or_insert_with(|| Box::new(Wanted::<E>(Vec::new(), PhantomData)));
        let any: &mut dyn Any = table.as_mut();
        if let Some(wanted) = any.downcast_mut::<Wanted<E>>() {
            wanted.0.push(id.into());
        }
    }

    pub(crate) async fn find(self, txn: &Transaction) -> Result<Found, DbErr> {
        let mut found = Found::default();
        for table in self.tables.into_values() {
            table.find(txn, &mut found).await?;
        }
        Ok(found)
    }
}

impl Found {
    /// None if nobody looked.
    #[expect(clippy::option_option, reason = "that a row was looked for and is not there is known, too")]
    pub(crate) fn get<E: ByText>(&self, id: &str) -> Option<Option<E::Model>> {
        let row = self.0.get(&(TypeId::of::<E>(), id.to_owned()))?;
        Some(row.as_ref().and_then(|row| row.downcast_ref::<E::Model>()).cloned())
    }
}

struct Wanted<E>(Vec<String>, PhantomData<fn() -> E>);

trait Table: Any + Send + Sync {
    fn find<'t>(self: Box<Self>, txn: &'t Transaction, found: &'t mut Found) -> BoxFuture<'t, Result<(), DbErr>>;
}

impl<E: ByText> Table for Wanted<E> {
    fn find<'t>(self: Box<Self>, txn: &'t Transaction, found: &'t mut Found) -> BoxFuture<'t, Result<(), DbErr>> {
        async move {
            let mut rows = by_id::<E>(txn, self.0.iter().map(String::as_str)).await?;
            for id in self.0 {
                let row = rows.remove(&id).map(|row| Arc::new(row) as Arc<dyn Any + Send + Sync>);
                // The same row may be wanted more than once.
                found.0.entry((TypeId::of::<E>(), id)).or_insert(row);
            }
            Ok(())
        }
        .boxed()
    }
}

async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn by_id<E: ByText>(
    connection: &impl ConnectionTrait,
    ids: impl Iterator<Item = &str>,
) -> Result<HashMap<String, E::Model>, DbErr> {
    let key = E::PrimaryKey::iter().next().map(sea_orm::PrimaryKeyToColumn::into_column);
    let key = key.ok_or_else(|| DbErr::Custom("a table without a primary key".to_owned()))?;
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = E::find().filter(key.is_in(ids)).all(connection).await?;
    let name = |row: &E::Model| if let Value::String(Some(id)) = row.get(key) { id } else { String::new() };
    Ok(rows.into_iter().map(|row| (name(&row), row)).collect())
}

/// Finds rows outside of transactions. Whoever asks while others are being answered waits for the next statement, which is made for all of
/// them.
pub struct Lookup<E: EntityTrait> {
    waiting: Mutex<Vec<Waiting<E>>>,
    turn: futures::lock::Mutex<()>,
}

type Waiting<E> = (String, oneshot::Sender<Option<<E as EntityTrait>::Model>>);

impl<E: ByText> Lookup<E> {
    /// The row with this primary key, as it is committed.
    pub async fn find(&self, connection: &impl ConnectionTrait, id: &str) -> Result<Option<E::Model>, DbErr> {
        loop {
            let (answer, found) = oneshot::channel();
            self.waiting().push((id.to_owned(), answer));
            let turn = self.turn.lock().await;
            // Whoever comes first lets those ask who were woken with them.
            yield_now().await;
            let waiting = std::mem::take(&mut *self.waiting());
            if !waiting.is_empty() {
                let rows = by_id::<E>(connection, waiting.iter().map(|(id, _)| id.as_str())).await?;
                for (id, answer) in waiting {
                    // Whoever asked may have gone.
                    let _ = answer.send(rows.get(&id).cloned());
                }
            }
            drop(turn);
            // Whoever read for us may have failed, or have been dropped: then it is our turn.
            if let Ok(row) = found.await {
                return Ok(row);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<E>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: EntityTrait> Default for Lookup<E> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: futures::lock::Mutex::default() }
    }
}

impl<E: EntityTrait> std::fmt::Debug for Lookup<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookup")
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reads of {} tables", self.tables.len())
    }
}
