//! What consumers are brought.

use std::collections::BTreeSet;
use std::time::Duration;

use event::subject;
use tokio::time::Instant;

use crate::broker::{ACK_WAIT, Broker, acknowledge, event, event_in, event_of, published, sequence, times};

on_both!(
    what_is_published_is_brought_in_its_order_the_first_time,
    each_subscription_hears_everything,
    two_instances_of_a_subscription_share_what_there_is,
    a_subscription_hears_of_its_aggregates_alone,
    what_is_given_back_comes_again_after_its_delay_and_not_before,
    what_one_subscription_gives_back_is_no_affair_of_another,
    what_was_lost_in_the_middle_is_passed_over,
    a_consumer_that_is_made_again_hears_everything_again,
);

async fn what_is_published_is_brought_in_its_order_the_first_time(broker: &dyn Broker) {
    let events = published(broker, "order", 9).await;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    for (event, place) in events.iter().zip(1..) {
        let message = ear.next().await;
        let (stream, sequence, times) = message.origin().unwrap();
        assert_eq!((sequence, times), (place, 1));
        assert_eq!(stream, subject::event_stream(broker.namespace(), "order"));
        assert_eq!(message.subject(), subject::of_event(broker.namespace(), event));
        assert_eq!(event_in(&*message), *event);
    }
    ear.hears_nothing().await;
    broker.wire().publish(event("order", 10)).await.unwrap();
    assert_eq!(sequence(&*ear.next().await), 10);
}

async fn each_subscription_hears_everything(broker: &dyn Broker) {
    published(broker, "order", 3).await;
    for name in ["one", "two"] {
        let mut ear = broker.subscriber("order", name, &["thing"]).await;
        for place in 1..=3 {
            let message = ear.next().await;
            assert_eq!(sequence(&*message), place);
            acknowledge(&*message).await;
        }
        ear.hears_nothing().await;
    }
}

async fn two_instances_of_a_subscription_share_what_there_is(broker: &dyn Broker) {
    published(broker, "order", 12).await;
    let mut one = broker.subscriber("order", "reader", &["thing"]).await;
    let mut two = broker.subscriber("order", "reader", &["thing"]).await;
    let mut heard = BTreeSet::new();
    for _ in 0..6 {
        for ear in [&mut one, &mut two] {
            heard.insert(sequence(&*ear.next().await));
        }
    }
    assert_eq!(heard, (1..=12).collect());
    one.hears_nothing().await;
    two.hears_nothing().await;
}

async fn a_subscription_hears_of_its_aggregates_alone(broker: &dyn Broker) {
    broker.wire().ensure_events("order").await.unwrap();
    for (n, aggregate) in (1..).zip(["thing", "other", "thingummy", "third", "thing"]) {
        broker.wire().publish(event_of("order", aggregate, n)).await.unwrap();
    }
    for (name, aggregates, heard) in
        [("one", &["thing"][..], &[1, 5][..]), ("two", &["third", "thing"], &[1, 4, 5]), ("none", &["nothing"], &[])]
    {
        let mut ear = broker.subscriber("order", name, aggregates).await;
        for place in heard {
            assert_eq!(sequence(&*ear.next().await), *place, "{name}");
        }
        ear.hears_nothing().await;
    }
}

async fn what_is_given_back_comes_again_after_its_delay_and_not_before(broker: &dyn Broker) {
    published(broker, "order", 2).await;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    let [given_back, kept] = &ear.take(2).await[..] else { panic!("two were taken") };
    let mut delays = [Duration::ZERO, Duration::from_millis(1_500), Duration::from_millis(300)].into_iter();
    let mut began = Instant::now();
    given_back.settle(delays.next()).await;
    let mut least = Duration::ZERO;
    for count in 2..=4 {
        let again = ear.next().await;
        let after = began.elapsed();
        assert_eq!((sequence(&*again), times(&*again)), (1, count));
        assert!(after >= least && after < least + ACK_WAIT / 2, "{after:?} after it was given back for {least:?}");
        (began, least) = (Instant::now(), delays.next().unwrap_or_default());
        again.settle((count < 4).then_some(least)).await;
    }
    ear.hears_nothing().await;
    assert_eq!(times(&**kept), 1);
}

async fn what_one_subscription_gives_back_is_no_affair_of_another(broker: &dyn Broker) {
    published(broker, "order", 1).await;
    let (mut one, mut two) =
        (broker.subscriber("order", "one", &["thing"]).await, broker.subscriber("order", "two", &["thing"]).await);
    let (first, second) = (one.next().await, two.next().await);
    acknowledge(&*second).await;
    first.settle(Some(Duration::from_millis(300))).await;
    let again = one.next().await;
    assert_eq!(times(&*again), 2);
    acknowledge(&*again).await;
    two.hears_nothing().await;
    one.hears_nothing().await;
}

async fn what_was_lost_in_the_middle_is_passed_over(broker: &dyn Broker) {
    published(broker, "order", 5).await;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    ear.next().await;
    for lost in [2, 3] {
        broker.lose(&subject::event_stream(broker.namespace(), "order"), lost).await;
    }
    let left = ear.take(2).await;
    assert_eq!([sequence(&*left[0]), sequence(&*left[1])], [4, 5]);
    ear.hears_nothing().await;
}

async fn a_consumer_that_is_made_again_hears_everything_again(broker: &dyn Broker) {
    published(broker, "order", 3).await;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    let heard = ear.take(3).await;
    acknowledge(&*heard[1]).await;
    broker.delete_consumers().await;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    for place in 1..=3 {
        let message = ear.next().await;
        assert_eq!((sequence(&*message), times(&*message)), (place, 1));
    }
    ear.hears_nothing().await;
}
