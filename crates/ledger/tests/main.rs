//! The ledger's promises, driven by hand: deliveries as a broker might bring them, a clock that only the test moves, and every test on
//! SQLite and on Postgres. The toy service is in `toy`, what drives it in `shop`.
//!
//! On one of them alone run only
//!
//! - `interleavings`, `overlaps`, `timers::two_instances_take_different_timers`, and of `audit` what commits late: on Postgres. They need two
//!   connections that write at the same time, and SQLite has one writer in one process;
//! - `compare::a_raised_version_takes_over_and_compares` and `compare::a_subscription_that_is_handed_back_goes_on`: on Postgres. Two versions
//!   of the code have the database open, and a SQLite file belongs to one process;
//! - `sqlite`: what has no counterpart on Postgres, whose server does it by itself: the file and its lock, the right to write from a
//!   transaction's beginning, the log that is written back, and a kill of the process that is the database, too.
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
mod overlaps;
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
