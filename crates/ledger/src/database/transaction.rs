use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::database::sqlite::Sqlite;

/// A transaction that writes. One that is dropped is rolled back: on SQLite at once, on Postgres when its connection is used again.
#[derive(Debug)]
pub enum Transaction {
    Sqlite(Sqlite),
    Postgres(DatabaseTransaction),
}

impl Transaction {
    /// Fails if it is not certain that all of it will be there after a crash.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self {
            Self::Sqlite(txn) => txn.commit(),
            Self::Postgres(txn) => txn.commit().await,
        }
    }

    pub async fn rollback(self) -> Result<(), DbErr> {
        match self {
            Self::Sqlite(txn) => {
                drop(txn);
                Ok(())
            }
            Self::Postgres(txn) => txn.rollback().await,
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(txn) => Ok(txn.execute(&statement)?.into()),
            Self::Postgres(txn) => txn.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(txn) => Ok(txn.execute(&Statement::from_string(DbBackend::Sqlite, sql))?.into()),
            Self::Postgres(txn) => txn.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(txn) => Ok(txn.query(&statement)?.into_iter().next().map(QueryResult::from)),
            Self::Postgres(txn) => txn.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(txn) => Ok(txn.query(&statement)?.into_iter().map(QueryResult::from).collect()),
            Self::Postgres(txn) => txn.query_all_raw(statement).await,
        }
    }
}
