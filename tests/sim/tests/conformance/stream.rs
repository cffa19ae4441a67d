//! Streams that are lost and made again, and the numbers that they use again.

use event::subject;
use testkit::eventually;

use crate::broker::{Broker, OWNER, acknowledge, event, event_in, id, published, sequence, times};

on_both!(
    a_stream_that_is_made_again_begins_at_1_and_with_new_consumers,
    an_acknowledgement_from_before_acknowledges_what_has_its_number_now,
    an_acknowledgement_of_what_was_not_brought_yet_changes_nothing,
);

async fn a_stream_that_is_made_again_begins_at_1_and_with_new_consumers(broker: &dyn Broker) {
    published(broker, "order", 3).await;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    for message in ear.take(3).await {
        acknowledge(&*message).await;
    }
    broker.delete_streams().await;
    broker.wire().ensure_events("order").await.unwrap();
    broker.wire().publish(event("order", 3)).await.unwrap();
    broker.wire().publish(event("order", 1)).await.unwrap();
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    for (place, n) in [(1, 3), (2, 1)] {
        let message = ear.next().await;
        assert_eq!((sequence(&*message), times(&*message), event_in(&*message)), (place, 1, event("order", n)));
    }
    ear.hears_nothing().await;
}

async fn an_acknowledgement_from_before_acknowledges_what_has_its_number_now(broker: &dyn Broker) {
    let mut ear = broker.worker().await;
    broker.queue(id(1)).await.unwrap();
    let before = ear.next().await;
    broker.delete_streams().await;
    let mut ear = broker.worker().await;
    broker.queue(id(2)).await.unwrap();
    let now = ear.next().await;
    assert_eq!(sequence(&*now), sequence(&*before));
    acknowledge(&*before).await;
    eventually("the other command is gone", async || broker.queue(id(2)).await.is_ok()).await;
}

async fn an_acknowledgement_of_what_was_not_brought_yet_changes_nothing(broker: &dyn Broker) {
    let mut ear = broker.worker().await;
    for n in 1..=3 {
        broker.queue(id(n)).await.unwrap();
    }
    let before = ear.take(3).await;
    broker.delete_consumers().await;
    let mut ear = broker.worker().await;
    assert_eq!(sequence(&*ear.next().await), 1);
    acknowledge(&*before[2]).await;
    let left = ear.take(2).await;
    assert_eq!([sequence(&*left[0]), sequence(&*left[1])], [2, 3]);
    assert!(left.iter().all(|message| message.subject().contains(OWNER)));
    assert_eq!(left[1].origin().unwrap().0, subject::command_stream(broker.namespace(), OWNER));
}
