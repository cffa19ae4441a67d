//! The databases that tests get are their own.

use millrace_testkit::Postgres;
use sea_orm::{ConnectionTrait as _, Database};

#[tokio::test]
async fn a_database_is_fresh_whatever_other_tests_do() {
    let (one, other) = tokio::join!(Postgres::database(), Postgres::database());
    for url in [one, other] {
        let database = Database::connect(url).await.unwrap();
        database.execute_unprepared("CREATE TABLE t (id int)").await.unwrap();
    }
}
