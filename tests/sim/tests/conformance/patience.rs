//! What only the ack wait shows. It is long: so all of it is one test, each case at a domain of its own, and all at once.

use std::time::Duration;

use event::subject;
use tokio::join;
use tokio::time::Instant;

use crate::broker::{ACK_WAIT, Broker, Ear, acknowledge, published, sequence, times};

on_both!(what_the_ack_wait_decides);

/// How much later than it could something may be brought.
const LATE: Duration = Duration::from_secs(5);

async fn what_the_ack_wait_decides(broker: &dyn Broker) {
    join!(
        what_is_not_acknowledged_is_brought_again_and_counted(broker),
        what_is_acknowledged_is_not_brought_again(broker),
        what_is_acknowledged_late_is_not_brought_again(broker),
        what_is_given_back_for_longer_comes_no_sooner(broker),
        what_was_lost_while_it_was_under_way_is_not_brought_again(broker),
        what_another_instance_left_is_brought_to_this_one(broker),
    );
}

async fn heard(broker: &dyn Broker, domain: &str, many: u8) -> Box<dyn Ear> {
    published(broker, domain, many).await;
    broker.subscriber(domain, "reader", &["thing"]).await
}

async fn what_is_not_acknowledged_is_brought_again_and_counted(broker: &dyn Broker) {
    let mut ear = heard(broker, "unacknowledged", 2).await;
    let began = Instant::now();
    ear.take(2).await;
    let mut again = Vec::new();
    for _ in 0..2 {
        let message = ear.within(ACK_WAIT + LATE).await.expect("it is brought again");
        assert!(began.elapsed() >= ACK_WAIT, "{:?}", began.elapsed());
        again.push((sequence(&*message), times(&*message)));
    }
    again.sort_unstable();
    assert_eq!(again, [(1, 2), (2, 2)]);
}

async fn what_is_acknowledged_is_not_brought_again(broker: &dyn Broker) {
    let mut ear = heard(broker, "acknowledged", 1).await;
    acknowledge(&*ear.next().await).await;
    assert!(ear.within(ACK_WAIT + LATE / 2).await.is_none());
}

/// By then it was given back, and is under way once more.
async fn what_is_acknowledged_late_is_not_brought_again(broker: &dyn Broker) {
    let mut ear = heard(broker, "late", 1).await;
    let first = ear.next().await;
    first.settle(Some(Duration::ZERO)).await;
    assert_eq!(times(&*ear.next().await), 2);
    acknowledge(&*first).await;
    assert!(ear.within(ACK_WAIT + LATE / 2).await.is_none());
}

async fn what_is_given_back_for_longer_comes_no_sooner(broker: &dyn Broker) {
    let mut ear = heard(broker, "longer", 1).await;
    let longer = ACK_WAIT + Duration::from_secs(2);
    let message = ear.next().await;
    let began = Instant::now();
    message.settle(Some(longer)).await;
    let again = ear.within(longer + LATE).await.expect("it is brought again");
    assert!(began.elapsed() >= longer, "{:?}", began.elapsed());
    assert_eq!(times(&*again), 2);
}

async fn what_was_lost_while_it_was_under_way_is_not_brought_again(broker: &dyn Broker) {
    let mut ear = heard(broker, "lost", 2).await;
    let taken = ear.take(2).await;
    acknowledge(&*taken[1]).await;
    broker.lose(&subject::event_stream(broker.namespace(), "lost"), 1).await;
    assert!(ear.within(ACK_WAIT + LATE / 2).await.is_none());
}

async fn what_another_instance_left_is_brought_to_this_one(broker: &dyn Broker) {
    let mut ear = heard(broker, "left", 1).await;
    drop(ear.next().await);
    drop(ear);
    let mut other = broker.subscriber("left", "reader", &["thing"]).await;
    let message = other.within(ACK_WAIT + LATE).await.expect("it is brought again");
    assert_eq!((sequence(&*message), times(&*message)), (1, 2));
}
