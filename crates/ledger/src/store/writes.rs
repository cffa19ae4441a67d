//! Statements that write and answer nothing, made in one go.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IntoActiveModel,
    ModelTrait, QueryTrait, Statement, Values,
};

/// What a transaction writes, in this order. On SQLite, if it is little, it is all one trip to the connection's thread, which costs more than
/// such statements do.
pub(crate) struct Writes {
    backend: DbBackend,
    statements: Vec<Statement>,
}

/// More than these are written statement by statement. Each statement alone has been prepared before, because its text is its table and its
/// number of rows; all of them together hardly ever make the same text twice, and to prepare it would cost more than the trips.
const VALUES_AT_ONCE: usize = 250;

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

    pub(crate) async fn run(self, txn: &DatabaseTransaction) -> Result<(), DbErr> {
        let values: usize =
            self.statements.iter().filter_map(|one| one.values.as_ref()).map(|values| values.0.len()).sum();
        let at_once = self.backend == DbBackend::Sqlite && values <= VALUES_AT_ONCE;
        let statements = if at_once { joined(self.statements) } else { self.statements };
        for statement in statements {
            txn.execute_raw(statement).await?;
        }
        Ok(())
    }
}

/// Makes what is to be written at once.
pub(crate) async fn write(txn: &DatabaseTransaction, what: impl FnOnce(&mut Writes)) -> Result<(), DbErr> {
    let mut writes = Writes::new(txn.get_database_backend());
    what(&mut writes);
    writes.run(txn).await
}

/// One after the other, as one: SQLite takes the values in the order in which they are asked for. Postgres does not know this.
fn joined(statements: Vec<Statement>) -> Vec<Statement> {
    let one = statements.into_iter().reduce(|mut all, next| {
        all.sql.push(';');
        all.sql.push_str(&next.sql);
        all.values
            .get_or_insert_with(|| Values(Vec::new()))
            .0
            .extend(next.values.into_iter().flat_map(|values| values.0));
        all
    });
    one.into_iter().collect()
}
