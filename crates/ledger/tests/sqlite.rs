//! What is true of SQLite alone: one file, one process, one writer.

use millrace_ledger::{Database, OpenError};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::shop::{Shop, answer, command, created, database, killed_when, order, polled, redelivered, streamed};

#[tokio::test]
async fn a_file_that_is_in_use_is_refused_with_a_clear_sentence() {
    let shop = Shop::on_sqlite().await;
    let refused = Database::open(&shop.url, Vec::new()).await.unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused:?}");
    let sentence = refused.to_string();
    assert!(sentence.contains("toy.db") && sentence.contains("belongs to one process"), "{sentence}");
}

#[tokio::test]
async fn a_transaction_holds_the_right_to_write_from_its_beginning() {
    let folder = testkit::folder();
    let url = format!("sqlite://{}", folder.path().join("odd %41 name.db").display());
    let database = database(&url).await;
    let transaction = database.begin().await.unwrap();
    let other = millrace_ledger::connect(&url).await.unwrap();
    other.execute_unprepared("pragma busy_timeout = 0").await.unwrap();
    let refused = other.execute_unprepared("begin immediate").await.unwrap_err();
    assert!(refused.to_string().contains("locked"), "{refused}");
    transaction.commit().await.unwrap();
    other.execute_unprepared("begin immediate").await.unwrap();
}

#[tokio::test]
async fn a_database_that_was_closed_is_one_file() {
    let folder = testkit::folder();
    let file = folder.path().join("toy.db");
    let database = database(&format!("sqlite://{}", file.display())).await;
    let log = std::fs::metadata(file.with_extension("db-wal")).unwrap().len();
    database.close().await.unwrap();
    let left = std::fs::metadata(file.with_extension("db-wal")).map_or(0, |log| log.len());
    assert!(log > 0 && left == 0, "{log} bytes, and {left} after it was closed");
}

#[tokio::test]
async fn a_commit_that_fails_says_so_and_leaves_nothing() {
    let folder = testkit::folder();
    let database = Database::shared(&format!("sqlite://{}", folder.path().join("any.db").display())).await.unwrap();
    let txn = database.begin().await.unwrap();
    let child = "create table child (parent bigint references parent (id) deferrable initially deferred)";
    txn.execute_unprepared(&format!("create table parent (id bigint primary key); {child}")).await.unwrap();
    txn.commit().await.unwrap();

    let orphan = database.begin().await.unwrap();
    orphan.execute_unprepared("insert into child values (7)").await.unwrap();
    let refused = orphan.commit().await.unwrap_err();
    assert!(refused.to_string().contains("FOREIGN KEY"), "{refused}");

    let dropped = database.begin().await.unwrap();
    dropped.execute_unprepared("insert into parent values (1)").await.unwrap();
    drop(dropped);
    let next = database.begin().await.unwrap();
    for table in ["child", "parent"] {
        let rows = Statement::from_string(DbBackend::Sqlite, format!("select * from {table}"));
        assert!(next.query_all_raw(rows).await.unwrap().is_empty(), "{table}");
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill() {
    let shop = Shop::on_sqlite().await;
    let (counter, id) = (shop.counter(5).await, shop.id());
    let sell = command(shop.id(), counter, format!("sell 2 {counter}"));
    let first = answer(&shop.one(sell.clone()).await);
    shop.one(streamed(&created(id, 1, ""))).await;
    let killing = redelivered(3, command(shop.id(), counter, format!("sell 1 {counter}; write lost; hang")));
    killed_when(shop.one(killing.clone()), || shop.world.times("hang") == 1).await;
    let shop = shop.killed().await;
    assert_eq!((shop.told(counter).await.units, shop.notes().await, shop.seen(&order(id)).await), (3, vec![], vec![1]));
    assert_eq!(answer(&shop.one(sell).await), first);
    shop.world.repair();
    answer(&shop.one(killing).await);
    assert_eq!(shop.told(counter).await.units, 2);
}

/// K11 of the kill points: a process that dies in the middle of its first start.
#[tokio::test]
async fn a_kill_in_the_middle_of_a_migration_leaves_a_database_that_opens() {
    let folder = testkit::folder();
    let url = format!("sqlite://{}", folder.path().join("toy.db").display());
    let mut half: Vec<Box<dyn MigrationTrait>> = millrace_ledger::migrations();
    half.push(Box::new(Hangs));
    assert!(polled(Database::open(&url, half), 1).await.is_none(), "it is in the middle");
    database(&url).await;
}

struct Hangs;

impl MigrationName for Hangs {
    fn name(&self) -> &'static str {
        "m1000_hangs"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Hangs {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("create table shelf (id text primary key)").await?;
        std::future::pending().await
    }
}
