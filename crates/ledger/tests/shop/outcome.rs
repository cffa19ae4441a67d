//! What became of it.

use std::task::Poll;

use bytes::Bytes;
use event::{Id, Key, Record};
use millrace_ledger::{Caller, CommandResult, Ended, Outcome};
use proto::Message as _;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, Value};

use super::Shop;
use crate::toy::Counter;

impl Shop {
    /// The counter as its log tells it.
    pub(crate) async fn told(&self, id: Id) -> Counter {
        let reader = self.ledger.reader(Caller::default()).await.unwrap();
        reader.fold::<Counter>(id, None).await.unwrap().map(|(counter, _)| counter).unwrap_or_default()
    }

    pub(crate) async fn log(&self, id: Id) -> Vec<Record> {
        self.ledger.read(&[(Key::new("counter", id), 0)], 1000).await.unwrap().records
    }

    /// The units of a counter, as its projection shows them, and at which revision.
    pub(crate) async fn shown(&self, id: Id) -> Option<(i64, i64)> {
        self.query("select units, revision from shelf where id = $1", [id.to_string().into()]).await.pop()
    }

    /// The revisions of a key that the replica has seen, in that order. Panics if one was seen twice.
    pub(crate) async fn seen(&self, key: &Key) -> Vec<i64> {
        let sql = "select revision, times from seen where key = $1 order by place";
        let rows: Vec<(i64, i64)> = self.query(sql, [key.to_string().into()]).await;
        assert!(rows.iter().all(|(_, times)| *times == 1), "applied twice: {rows:?}");
        rows.into_iter().map(|(revision, _)| revision).collect()
    }

    pub(crate) async fn notes(&self) -> Vec<String> {
        let rows = self.query::<(String, i64)>("select text, cast(0 as bigint) from note order by text", []).await;
        rows.into_iter().map(|(text, _)| text).collect()
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.number(&format!("select count(*) from {table}")).await
    }

    /// The number that a statement comes to.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.query::<(i64, i64)>(&format!("select cast(({sql}) as bigint), cast(0 as bigint)"), []).await[0].0
    }

    /// The rows of a statement with two columns.
    async fn query<R: sea_orm::TryGetableMany>(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Vec<R> {
        let reader = self.ledger.reader(Caller::default()).await.unwrap();
        // By the names' order: columns of SQLite have no other.
        let sql = format!("with asked(a, b) as ({sql}) select a, b from asked");
        let statement = Statement::from_sql_and_values(reader.db().get_database_backend(), sql, values);
        let rows = reader.db().query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| R::try_get_many_by_index(row).unwrap()).collect()
    }

    /// A connection of the test's own.
    pub(crate) async fn connection(&self) -> DatabaseConnection {
        millrace_ledger::connect(&self.url).await.unwrap()
    }
}

pub(crate) fn order(id: Id) -> Key {
    Key::new("order", id)
}

pub(crate) fn ended(outcome: &Outcome) -> &Ended {
    match outcome {
        Outcome::Ended(ended) => ended,
        other => panic!("not ended: {other:?}"),
    }
}

/// The bytes of the answer to a command that was completed.
pub(crate) fn answer(outcome: &Outcome) -> Bytes {
    match &ended(outcome).result {
        CommandResult::Completed(bytes) => bytes.clone(),
        other => panic!("not completed: {other:?}"),
    }
}

/// The reason for which a command was rejected.
pub(crate) fn reason(outcome: &Outcome) -> String {
    match &ended(outcome).result {
        CommandResult::Rejected(status) | CommandResult::KeyReused(status) => {
            proto::rpc::ErrorInfo::decode(&*status.details[0].value).unwrap().reason
        }
        other => panic!("not rejected: {other:?}"),
    }
}

pub(crate) fn failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ended(Ended { result: CommandResult::Failed(_), .. }))
}

pub(crate) fn given_back(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::GivenBack { .. })
}

/// Drives a future for so many polls, and drops it if it has not ended by then.
pub(crate) async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut polled = 0;
    std::future::poll_fn(|cx| {
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drives a future until a condition holds, and drops it then, as a kill does.
pub(crate) async fn killed_when<F: Future>(future: F, condition: impl Fn() -> bool) {
    let mut future = Box::pin(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(_) => panic!("it ended before it was killed"),
        Poll::Pending if condition() => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    })
    .await;
}
