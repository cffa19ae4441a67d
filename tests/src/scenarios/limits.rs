//! What is limited, and what whoever meets a limit is told.

use std::time::Duration;

use gateway::Rate;
use millrace::Role;
use proto::command::v1::State;
use proto::order::v1::{ListOrdersRequest, OrderStatus};
use proto::registration::v1::LoginRequest;
use tonic::{Code, Status};

use crate::buying::{buy, buy_surely, ended, state_of};
use crate::shop::TestShop;
use crate::stranger::{GET_PROFILE, LIST_ORDERS, LOGIN, Refusal, Stranger, tally};
use crate::wire::{ORDER_COMMANDS, Wire};

/// It says when to come again, and what was used up.
#[track_caller]
fn assert_limited(status: &Status, reason: &str, quotas: &[&str]) {
    let refusal = Refusal::of(status);
    refusal.is(Code::ResourceExhausted, reason);
    assert_eq!(refusal.quotas, quotas);
    let delay = Duration::try_from(refusal.retry.unwrap().retry_delay.unwrap()).unwrap();
    assert!(delay > Duration::ZERO && delay <= Duration::from_secs(10), "{delay:?}");
}

#[tokio::test]
async fn a_full_queue_says_so_and_its_owner_is_not_called_past_it() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    wire.limit(ORDER_COMMANDS, |config| config.max_bytes = 1).await;
    let before = tally(&shop).await;
    assert_limited(&buy(&customer, "key", &card).await.unwrap_err(), "QUEUE_FULL", &[]);
    assert_eq!(tally(&shop).await, before, "nobody did it");

    wire.limit(ORDER_COMMANDS, |config| config.max_bytes = -1).await;
    let (placed, _) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!((state_of(&placed), placed.receipt.unwrap().replayed), (State::Completed, false));
}

#[tokio::test]
async fn a_retry_of_what_a_full_queue_holds_is_accepted() {
    let mut shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_millis(100)).await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Order).await.unwrap();
    let wire = Wire::of(&shop).await;
    wire.limit(ORDER_COMMANDS, |config| config.max_messages = 1).await;
    let (placed, id) = buy(&customer, "first", &card).await.unwrap();
    assert_eq!(state_of(&placed), State::Accepted);
    assert_limited(&buy(&customer, "second", &card).await.unwrap_err(), "QUEUE_FULL", &[]);
    assert_eq!(buy(&customer, "first", &card).await.unwrap().1, id);
    shop.start_role(Role::Order).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    wire.is_gone(ORDER_COMMANDS, &format!("test.cmd.order.place-order.{id}")).await;
    let (_, other) = buy_surely(&customer, "second", &card).await;
    assert_eq!(ended(&customer, &other).await, OrderStatus::Processed);
}

#[tokio::test]
async fn who_guesses_passwords_is_slowed_down_and_who_is_logged_in_is_not() {
    // Registering, logging in, and three guesses.
    let shop = TestShop::with(|settings| {
        settings.limits.attempts_per_address = Rate { per_second: 1, burst: 5 };
    })
    .await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let guess = LoginRequest {
        address: "somebody@example.com".to_owned(),
        password: "a guess of some length".to_owned(),
        ..LoginRequest::default()
    };
    let mut guesses = 0;
    let refused = loop {
        match somebody.call(LOGIN, &guess).await.unwrap_err() {
            wrong if wrong.code() == Code::Unauthenticated => guesses += 1,
            refused => break refused,
        }
    };
    assert_limited(&refused, "RATE_LIMITED", &["attempts"]);
    assert!((1..20).contains(&guesses), "{guesses} guesses");
    somebody.send(GET_PROFILE, "").await.unwrap();
}

#[tokio::test]
async fn an_address_and_a_user_each_have_a_limit_of_their_own() {
    let once = Rate { per_second: 1, burst: 20 };
    for (quota, is_of_address) in [("address", true), ("user", false)] {
        let shop = TestShop::with(|settings| {
            let rate =
                if is_of_address { &mut settings.limits.per_address } else { &mut settings.limits.per_principal };
            *rate = once;
        })
        .await;
        let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
        let refused = loop {
            if let Err(status) = somebody.call(LIST_ORDERS, &ListOrdersRequest::default()).await {
                break status;
            }
        };
        assert_limited(&refused, "RATE_LIMITED", &[quota]);
    }
}
