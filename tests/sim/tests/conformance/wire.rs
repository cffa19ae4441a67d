//! The broker as an owner speaks to it.

use bytes::Bytes;
use event::{Record, subject};
use proto::Message as _;
use proto::command::v1::{DeliverResponse, Receipt};

use crate::broker::{Broker, event, event_in, event_of, published, sequence};

on_both!(
    an_event_is_published_once_under_its_id_whatever_is_in_it,
    nothing_is_published_or_known_where_no_stream_is,
    a_stream_that_is_there_is_left_as_it_is,
    the_newest_event_is_the_last_that_was_stored,
    what_is_no_event_is_told_to_be_none,
    a_purged_stream_is_empty_and_its_numbers_go_on,
    a_purged_stream_remembers_what_it_had,
    an_outcome_reaches_whoever_waits_for_it,
    while_it_is_away_nothing_is_published_and_it_is_known_that_it_came_back,
);

async fn newest(broker: &dyn Broker, domain: &str) -> Option<Record> {
    broker.wire().newest(domain).await.unwrap().map(|event| event.unwrap())
}

async fn an_event_is_published_once_under_its_id_whatever_is_in_it(broker: &dyn Broker) {
    let events = published(broker, "order", 2).await;
    broker.wire().publish(events[0].clone()).await.unwrap();
    let forged = Record { body: Bytes::from_static(b"something else"), ..events[0].clone() };
    broker.wire().publish(forged).await.unwrap();
    let elsewhere = Record { key: event("order", 7).key, ..events[1].clone() };
    broker.wire().publish(elsewhere).await.unwrap();
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    let heard = ear.take(2).await;
    assert_eq!([event_in(&*heard[0]), event_in(&*heard[1])], *events);
    ear.hears_nothing().await;
}

async fn nothing_is_published_or_known_where_no_stream_is(broker: &dyn Broker) {
    broker.wire().ensure_events("other").await.unwrap();
    assert!(broker.wire().publish(event("order", 1)).await.is_err());
    assert!(broker.wire().newest("order").await.is_err());
    assert!(broker.wire().purge_events("order").await.is_err());
    broker.wire().ensure_events("order").await.unwrap();
    broker.wire().publish(event("order", 1)).await.unwrap();
    broker.delete_streams().await;
    assert!(broker.wire().publish(event("order", 2)).await.is_err());
    assert!(broker.wire().newest("order").await.is_err());
}

async fn a_stream_that_is_there_is_left_as_it_is(broker: &dyn Broker) {
    let events = published(broker, "order", 2).await;
    broker.wire().ensure_events("order").await.unwrap();
    assert_eq!(newest(broker, "order").await.as_ref(), Some(&events[1]));
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    ear.take(2).await;
}

async fn the_newest_event_is_the_last_that_was_stored(broker: &dyn Broker) {
    broker.wire().ensure_events("order").await.unwrap();
    assert_eq!(newest(broker, "order").await, None);
    for (n, aggregate) in (1..).zip(["thing", "other"]) {
        broker.wire().publish(event_of("order", aggregate, n)).await.unwrap();
    }
    broker.wire().ensure_events("other").await.unwrap();
    broker.wire().publish(event("other", 9)).await.unwrap();
    broker.wire().publish(event("order", 1)).await.unwrap();
    assert_eq!(newest(broker, "order").await, Some(event_of("order", "other", 2)));
    broker.lose(&subject::event_stream(broker.namespace(), "order"), 2).await;
    assert_eq!(newest(broker, "order").await, Some(event("order", 1)));
}

async fn what_is_no_event_is_told_to_be_none(broker: &dyn Broker) {
    published(broker, "order", 1).await;
    broker.litter("order").await;
    assert!(matches!(broker.wire().newest("order").await, Ok(Some(Err(_)))));
}

async fn a_purged_stream_is_empty_and_its_numbers_go_on(broker: &dyn Broker) {
    published(broker, "order", 3).await;
    let mut old = broker.subscriber("order", "old", &["thing"]).await;
    old.next().await;
    broker.wire().purge_events("order").await.unwrap();
    assert_eq!(newest(broker, "order").await, None);
    old.hears_nothing().await;
    broker.wire().publish(event("order", 4)).await.unwrap();
    let mut new = broker.subscriber("order", "new", &["thing"]).await;
    for ear in [&mut old, &mut new] {
        let message = ear.next().await;
        assert_eq!((sequence(&*message), event_in(&*message)), (4, event("order", 4)));
    }
}

async fn a_purged_stream_remembers_what_it_had(broker: &dyn Broker) {
    let events = published(broker, "order", 1).await;
    broker.wire().purge_events("order").await.unwrap();
    broker.wire().publish(events[0].clone()).await.unwrap();
    assert_eq!(newest(broker, "order").await, None, "it was published, and is nowhere");
}

async fn an_outcome_reaches_whoever_waits_for_it(broker: &dyn Broker) {
    let (to, answered) = broker.expect_reply().await;
    let receipt = Receipt { command: "order.place-order/7".to_owned(), ..Receipt::default() };
    let outcome = DeliverResponse { receipt: Some(receipt), ..DeliverResponse::default() };
    broker.wire().reply("reply.nobody".to_owned(), outcome.encode_to_vec().into()).await;
    broker.wire().reply(to, outcome.encode_to_vec().into()).await;
    assert_eq!(answered.await, outcome);
}

async fn while_it_is_away_nothing_is_published_and_it_is_known_that_it_came_back(broker: &dyn Broker) {
    published(broker, "order", 1).await;
    let (wire, connections) = (broker.wire(), broker.wire().connections());
    assert!(wire.is_connected() && connections > 0);
    broker.stop().await;
    assert!(!wire.is_connected());
    assert!(wire.publish(event("order", 2)).await.is_err());
    broker.start().await;
    assert!(wire.is_connected() && wire.connections() > connections);
    assert_eq!(newest(broker, "order").await, Some(event("order", 1)), "what failed was not kept for later");
    wire.publish(event("order", 2)).await.unwrap();
    assert_eq!(newest(broker, "order").await, Some(event("order", 2)));
}
