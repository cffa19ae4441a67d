//! What is true of SQLite alone: one file, one process, one writer.

use millrace_ledger::{Database, OpenError};
use sea_orm::ConnectionTrait as _;

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
    let other = sea_orm::Database::connect(format!("sqlite://{}", folder.path().join("odd %2541 name.db").display()))
        .await
        .unwrap();
    other.execute_unprepared("pragma busy_timeout = 0").await.unwrap();
    let refused = other.execute_unprepared("begin immediate").await.unwrap_err();
    assert!(refused.to_string().contains("locked"), "{refused}");
    transaction.commit().await.unwrap();
    other.execute_unprepared("begin immediate").await.unwrap();
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
    let mut opened = false;
    for polls in 1.. {
        let folder = testkit::folder();
        let url = format!("sqlite://{}", folder.path().join("toy.db").display());
        opened = polled(database(&url), polls).await.is_some();
        database(&url).await;
        if opened {
            break;
        }
    }
    assert!(opened);
}
