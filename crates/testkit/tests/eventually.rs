//! Patience has an end, and says for what it waited.

use std::{future::pending, time::Duration};

use millrace_testkit::{eventually, within};

#[tokio::test]
async fn a_condition_is_looked_at_until_it_holds() {
    let mut looks = 0;
    eventually("three looks were taken", async || {
        looks += 1;
        looks == 3
    })
    .await;
    assert_eq!(looks, 3);
}

#[tokio::test]
#[should_panic(expected = "not within 50ms: pigs fly")]
async fn a_condition_that_never_holds_is_named() {
    within(Duration::from_millis(50), "pigs fly", async || false).await;
}

#[tokio::test]
#[should_panic(expected = "pigs fly")]
async fn a_look_that_hangs_counts_as_no() {
    within(Duration::from_millis(50), "pigs fly", async || pending().await).await;
}
