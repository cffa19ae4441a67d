//! Statements that write and answer nothing, made in one go.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait as _, DbBackend, DbErr, EntityTrait, IntoActiveModel, ModelTrait, QueryTrait,
    Statement,
};

use crate::database::Transaction;

/// What a transaction writes, in this order.
pub(crate) struct Writes {
    backend: DbBackend,
    statements: Vec<Statement>,
}

type ActiveModel<M> = <<M as ModelTrait>::Entity as EntityTrait>::ActiveModel;

impl Writes {
    pub(crate) const fn new(backend: DbBackend) -> Self {
        Self { backend, statements: Vec::new() }
    }

    pub(crate) fn add(&mut self, query: &impl QueryTrait) {
        self.statements.push(query.build(self.backend));
    }

    /// Rows, whole. Fails if one is there already.
    pub(crate) fn insert<M>(&mut self, rows: impl IntoIterator<Item = M>)
    where
        M: ModelTrait + IntoActiveModel<ActiveModel<M>>,
    {
        self.put(rows.into_iter().map(|row| row.into_active_model().reset_all()), None);
    }

    /// Rows, whole; and what becomes of those that are there already.
    pub(crate) fn upsert<M>(&mut self, rows: impl IntoIterator<Item = M>, conflict: OnConflict)
    where
        M: ModelTrait + IntoActiveModel<ActiveModel<M>>,
    {
        self.put(rows.into_iter().map(|row| row.into_active_model().reset_all()), Some(conflict));
    }

    /// Rows of which only some columns may be set.
    pub(crate) fn put<A>(&mut self, rows: impl IntoIterator<Item = A>, conflict: Option<OnConflict>)
    where
        A: ActiveModelTrait,
    {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        let mut insert = A::Entity::insert_many(rows);
        if let Some(conflict) = conflict {
            insert = insert.on_conflict(conflict);
        }
        self.add(&insert);
    }

    pub(crate) async fn run(self, txn: &Transaction) -> Result<(), DbErr> {
        for statement in self.statements {
            txn.execute_raw(statement).await?;
        }
        Ok(())
    }
}

/// Makes what is to be written at once.
pub(crate) async fn write(txn: &Transaction, what: impl FnOnce(&mut Writes)) -> Result<(), DbErr> {
    let mut writes = Writes::new(txn.get_database_backend());
    what(&mut writes);
    writes.run(txn).await
}
