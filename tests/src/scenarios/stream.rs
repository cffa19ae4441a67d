//! What may be wrong with the streams, and what it costs: a moment, and never a fact.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use event::headers;
use futures::future::join_all;
use millrace::Role;
use millrace::demo::Customer;
use proto::command::v1::State;
use proto::order::v1::{OrderStatus, PaymentStatus};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use crate::buying::{Load, buy, buy_surely, cancel, ended, state_of};
use crate::invariants::{charges, count, everything_adds_up, everything_adds_up_but, orders};
use crate::shop::TestShop;
use crate::wire::{ORDER_COMMANDS, ORDER_EVENTS, Wire, headers_of_a_copy, order_event};

async fn all_processed(customer: &Customer, ids: &[String]) {
    for status in join_all(ids.iter().map(|id| ended(customer, id))).await {
        assert_eq!(status, OrderStatus::Processed);
    }
}

#[tokio::test]
async fn a_copy_of_a_queued_command_has_no_effect() {
    let mut shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_millis(200)).await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    shop.stop_role(Role::Order).await.unwrap();
    let (placed, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(state_of(&placed), State::Accepted);
    let subject = format!("test.cmd.order.place-order.{id}");
    let command = wire.message(ORDER_COMMANDS, &subject).await;
    let headers = headers_of_a_copy(&command);

    wire.put(&subject, headers.clone(), command.payload.clone()).await;
    shop.start_role(Role::Order).await.unwrap();
    assert_eq!(ended_when_taken(&wire, &customer, &subject, &id).await, OrderStatus::Processed);
    wire.put(&subject, headers, command.payload).await;
    assert_eq!(ended_when_taken(&wire, &customer, &subject, &id).await, OrderStatus::Processed);
    assert_eq!(orders(&shop).await.len(), 1);
    everything_adds_up(&shop, 1).await;
}

async fn ended_when_taken(wire: &Wire, customer: &Customer, subject: &str, id: &str) -> OrderStatus {
    wire.is_gone(ORDER_COMMANDS, subject).await;
    ended(customer, id).await
}

#[tokio::test]
async fn what_the_stream_lost_is_read_from_the_owner_s_log_while_others_flow() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    shop.stop_role(Role::Billing).await.unwrap();
    let ids = Load::begin(&customer, &card, 50).end().await;
    let (holed, whole) = ids.split_at(10);
    for id in holed {
        cancel(&customer, id).await.unwrap();
        wire.message(ORDER_EVENTS, &order_event("order-canceled", id)).await;
        wire.lose(ORDER_EVENTS, &order_event("order-created", id)).await;
    }

    shop.start_role(Role::Billing).await.unwrap();
    all_processed(&customer, whole).await;
    for id in holed {
        assert_eq!(ended(&customer, id).await, OrderStatus::Canceled);
    }
    everything_adds_up(&shop, 60).await;
}

/// The log is what happened. What the stream says besides is tried, fails, and is forgotten as soon as the log goes on.
#[tokio::test]
async fn an_event_that_cannot_be_decoded_and_is_in_no_log_stops_its_key_until_the_log_goes_on() {
    let shop = TestShop::with(|settings| settings.retry.attempts = 1000).await;
    let (customer, card) = shop.customer_with_card().await;
    let slow = customer.add_card("tok_late", "DE").await.unwrap();
    let wire = Wire::of(&shop).await;
    let mut load = Load::begin(&customer, &card, 50);
    load.reached(10).await;
    let (_, id) = buy(&customer, "slow", &slow).await.unwrap();
    let created = wire.message(ORDER_EVENTS, &order_event("order-created", &id)).await;
    wire.put(&order_event("order-canceled", &id), forged(&created), "\u{7f}no protobuf").await;

    all_processed(&customer, &load.end().await).await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 51).await;
}

/// The headers of a second event of the same key.
fn forged(created: &StreamMessage) -> HeaderMap {
    let mut forged = headers_of_a_copy(created);
    forged.insert(headers::TYPE, "millrace.order.v1.OrderCanceled");
    forged.insert(headers::SEQUENCE, "2");
    forged
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_parks_its_key_and_nothing_else() {
    let mut shop = TestShop::with(|settings| {
        settings.retry.attempts = 3;
        settings.retry.first = Duration::from_millis(10);
    })
    .await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    shop.stop_role(Role::Billing).await.unwrap();
    let mut ids = Load::begin(&customer, &card, 50).end().await;
    let poisoned = ids.pop().unwrap();
    everything_is_published(&shop).await;
    wire.lose(ORDER_EVENTS, &order_event("order-created", &poisoned)).await;
    damage_first_event(&shop, &poisoned).await;
    cancel(&customer, &poisoned).await.unwrap();

    shop.start_role(Role::Billing).await.unwrap();
    all_processed(&customer, &ids).await;
    let key = format!("order/{poisoned}");
    let parked = format!(
        "select count(*) as count from cursor where key = '{key}' and state = 3 and revision = 0 and noted = 2"
    );
    testkit::eventually("the key is parked, before its first event", async || {
        count(&shop, "billing", &parked).await == 1
    })
    .await;
    assert!(charges(&shop).await.iter().all(|charge| charge.order_id != poisoned));
    everything_adds_up_but(&shop, 51, &[key]).await;
}

async fn everything_is_published(shop: &TestShop) {
    testkit::eventually("everything is published", async || {
        count(shop, "order", "select count(*) as count from event_log where published_at is null").await == 0
    })
    .await;
}

/// As a flaw of the disk or of a former version would.
async fn damage_first_event(shop: &TestShop, order_id: &str) {
    let database = ledger::connect(&shop.settings().database_of("order")).await.unwrap();
    let damage = format!("update event_log set body = x'7f' where key = 'order/{order_id}' and revision = 1");
    assert_eq!(database.execute_unprepared(&damage).await.unwrap().rows_affected(), 1);
    database.close().await.unwrap();
}

#[tokio::test]
async fn an_order_that_comes_before_its_customer_waits_until_the_customer_was_asked_for() {
    let mut shop = TestShop::start().await;
    shop.stop_role(Role::Billing).await.unwrap();
    let stranger = shop.customer().await;
    let wire = Wire::of(&shop).await;
    lose_registration(&wire, &stranger).await;
    shop.start_role(Role::Billing).await.unwrap();
    let card = stranger.add_card("tok_approved", "DE").await.unwrap();
    let (other, other_card) = shop.customer_with_card().await;
    let load = Load::begin(&other, &other_card, 50);
    let (_, id) = buy(&stranger, "key", &card).await.unwrap();

    assert_eq!(ended(&stranger, &id).await, OrderStatus::Processed);
    all_processed(&other, &load.end().await).await;
    everything_adds_up(&shop, 51).await;
}

#[tokio::test]
async fn a_command_that_comes_before_its_customer_waits_until_the_customer_was_asked_for() {
    let mut shop = TestShop::start().await;
    shop.stop_role(Role::Order).await.unwrap();
    let (stranger, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    lose_registration(&wire, &stranger).await;
    shop.start_role(Role::Order).await.unwrap();
    let (_, id) = buy_surely(&stranger, "key", &card).await;
    wire.is_gone(ORDER_COMMANDS, &format!("test.cmd.order.place-order.{id}")).await;
    assert_eq!(ended(&stranger, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn a_command_that_is_given_back_stays_in_its_queue_until_it_is_carried_out() {
    let mut shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_millis(200)).await;
    shop.stop_role(Role::Order).await.unwrap();
    let (stranger, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    lose_registration(&wire, &stranger).await;
    shop.stop_role(Role::Registration).await.unwrap();
    shop.start_role(Role::Order).await.unwrap();
    let (placed, id) = buy(&stranger, "key", &card).await.unwrap();
    assert_eq!(state_of(&placed), State::Accepted);
    let commands = wire.stream(ORDER_COMMANDS).await;
    testkit::eventually("the same command came again", async || {
        commands.consumer_info("order").await.is_ok_and(|info| info.num_redelivered == 1)
    })
    .await;
    shop.start_role(Role::Registration).await.unwrap();
    assert_eq!(ended(&stranger, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

/// Before those who are stopped have heard of it.
async fn lose_registration(wire: &Wire, customer: &Customer) {
    let subject = format!("test.evt.registration.account.registration-new.{}", customer.user_id);
    wire.lose("test_evt_registration", &subject).await;
}

/// As while instances of two versions run side by side. Acknowledged too early, an event would be lost with the instance that had it.
#[tokio::test]
async fn an_event_that_is_given_back_stays_in_the_stream_until_it_is_applied() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let events = Wire::of(&shop).await.stream(ORDER_EVENTS).await;
    give_orders_to_version(&shop, 2).await;
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    testkit::eventually("this version pulls no more, and the event is still there", async || {
        let info = events.consumer_info("billing_orders").await;
        info.is_ok_and(|info| info.num_waiting == 0 && info.num_pending + info.num_ack_pending as u64 > 0)
    })
    .await;
    give_orders_to_version(&shop, 1).await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

/// From now on that version of billing's code does what follows from orders.
async fn give_orders_to_version(shop: &TestShop, version: i32) {
    let database = ledger::connect(&shop.settings().database_of("billing")).await.unwrap();
    let take_over = format!("update subscription set version = {version} where name = 'orders'");
    assert_eq!(database.execute_unprepared(&take_over).await.unwrap().rows_affected(), 1);
    database.close().await.unwrap();
}

/// As after a kill between the commit and the publication.
#[tokio::test]
async fn what_was_committed_and_not_published_is_published_by_the_next() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.nats.kill();
    let (_, id) = buy_surely(&customer, "key", &card).await;
    shop.stop_role(Role::Order).await.unwrap();
    shop.nats.restart().await;
    shop.start_role(Role::Order).await.unwrap();
    let stream = Wire::of(&shop).await.stream(ORDER_EVENTS).await;
    let created = order_event("order-created", &id);
    testkit::within(Duration::from_secs(10), "what a predecessor committed is published by the next", async || {
        stream.get_last_raw_message_by_subject(&created).await.is_ok()
    })
    .await;
}

/// Stored earlier, the audit of a service that dies in the middle would never come back to what it had not noted.
#[tokio::test]
async fn how_far_an_audit_came_is_stored_once_all_before_it_is_noted() {
    let mut shop = TestShop::on_postgres().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Billing).await.unwrap();
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    Wire::of(&shop).await.lose(ORDER_EVENTS, &order_event("order-created", &id)).await;
    // Whoever is to note this key waits for somebody who does the same, and does not come to an end.
    let noting = format!(
        "insert into cursor (subscription, key, epoch, revision, history, state, noted, attempts, dropped) \
         values ('orders', 'order/{id}', 0, 0, '\\x00000000000000000000000000000000', 1, 0, 0, 0)"
    );
    let other = shop.database("billing").await;
    let holder = other.begin().await.unwrap();
    holder.execute_unprepared(&noting).await.unwrap();

    shop.start_role(Role::Billing).await.unwrap();
    let waiting = "select count(*) as count from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock' and query ilike '%cursor%'";
    testkit::eventually("the audit notes the key", async || count(&shop, "billing", waiting).await > 0).await;
    let audited = "select count(*) as count from followed_log where owner = 'order' and audited_position > 0";
    assert_eq!(count(&shop, "billing", audited).await, 0, "nothing counts as audited that is not noted");
    holder.rollback().await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
}

#[tokio::test]
async fn consumers_that_are_made_again_hear_everything_again_and_do_nothing_twice() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    let mut load = Load::begin(&customer, &card, 50);
    load.reached(25).await;
    wire.forget_consumer(ORDER_EVENTS, "billing_orders").await;
    wire.forget_consumer("test_evt_billing", "order_payments").await;
    wire.forget_consumer(ORDER_COMMANDS, "order").await;
    let ids = load.end().await;
    all_processed(&customer, &ids).await;
    everything_adds_up(&shop, 50).await;
    assert_eq!(charges(&shop).await.len(), 50);
}

#[tokio::test]
async fn events_that_come_twice_and_backwards_are_taken_in_once_and_in_order() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    shop.stop_role(Role::Billing).await.unwrap();
    let ids = Load::begin(&customer, &card, 20).end().await;
    let (canceled, kept) = ids.split_at(10);
    for id in canceled {
        cancel(&customer, id).await.unwrap();
    }
    everything_is_published(&shop).await;
    let messages = wire.messages(ORDER_EVENTS).await;
    assert_eq!(messages.len(), 30);
    wire.stream(ORDER_EVENTS).await.purge().await.unwrap();
    for message in messages.iter().rev().chain(messages.iter().rev()) {
        wire.put(&message.subject, headers_of_a_copy(message), message.payload.clone()).await;
    }

    shop.start_role(Role::Billing).await.unwrap();
    all_processed(&customer, kept).await;
    for id in canceled {
        assert_eq!(ended(&customer, id).await, OrderStatus::Canceled);
    }
    everything_adds_up(&shop, 30).await;
    assert_eq!(count_captured(&shop).await, kept.len());
}

async fn count_captured(shop: &TestShop) -> usize {
    orders(shop).await.iter().filter(|order| order.payment_status() == PaymentStatus::Captured).count()
}
