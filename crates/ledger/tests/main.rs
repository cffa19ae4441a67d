//! The ledger's promises, driven by hand: deliveries as a broker might bring them, a clock that only the test moves, and every test on
//! SQLite and on Postgres. The toy service is in `toy`, what drives it in `shop`.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests report by panicking")]
#![expect(clippy::future_not_send, reason = "each test stays on one thread")]

mod shop;
mod toy;

/// Makes two tests of each check: one on either database.
macro_rules! on_both {
    ($($check:ident),+ $(,)?) => {
        $(mod $check {
            #[tokio::test]
            async fn on_sqlite() {
                crate::in_time(async { super::$check(&crate::shop::Shop::on_sqlite().await).await }).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                crate::in_time(async { super::$check(&crate::shop::Shop::on_postgres().await).await }).await;
            }
        })+
    };
}

/// Makes a test of each check, with two instances of the service on one Postgres database.
macro_rules! on_two_instances {
    ($($check:ident),+ $(,)?) => {
        $(mod $check {
            #[tokio::test]
            async fn on_postgres() {
                crate::in_time(async {
                    let one = crate::shop::Shop::on_postgres().await;
                    let two = one.another_instance().await;
                    super::$check(&one, &two).await;
                })
                .await;
            }
        })+
    };
}

mod append;
mod atomicity;
mod audit;
mod backlog;
mod compare;
mod effects;
mod events;
mod interleavings;
mod operator;
mod passed;
mod poison;
mod reads;
mod receipts;
mod sqlite;
mod timers;

/// A test that hangs fails.
async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(std::time::Duration::from_mins(1), test).await.expect("the test hangs");
}
