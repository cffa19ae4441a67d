//! A broker that comes back on its disk. What was under way then takes an ack wait: few tests.

use std::collections::BTreeMap;
use std::time::Duration;

use event::Record;
use testkit::eventually;
use tokio::join;
use tokio::time::Instant;

use crate::broker::{ACK_WAIT, Broker, Ear, acknowledge, event, id, published, sequence, times};
use crate::simulated::{SEEDS, Simulated};

on_both!(what_a_restart_keeps_and_forgets, what_a_crash_keeps);

/// How much later than it could something may be brought.
const LATE: Duration = Duration::from_secs(4);

async fn what_a_restart_keeps_and_forgets(broker: &dyn Broker) {
    published(broker, "purged", 1).await;
    broker.wire().purge_events("purged").await.unwrap();
    let events = in_the_middle(broker).await;
    broker.stop().await;
    broker.start().await;
    broker.wire().publish(events[0].clone()).await.unwrap();
    broker.wire().publish(event("purged", 1)).await.unwrap();
    let newest = broker.wire().newest("purged").await.unwrap().map(Result::unwrap);
    assert_eq!(newest, Some(event("purged", 1)), "it remembers what it still has, and no more");
    let (events, commands) = heard_afterwards(broker).await;
    assert_eq!(events, [(2, 2), (3, 2), (4, 1)].into(), "what was not acknowledged, and once each");
    assert_eq!(commands, [(2, 2), (3, 1)].into());
}

async fn what_a_crash_keeps(broker: &dyn Broker) {
    in_the_middle(broker).await;
    broker.crash().await;
    broker.start().await;
    let (events, commands) = heard_afterwards(broker).await;
    // What was acknowledged may be brought again, or may not: that depends on what was written.
    let kept = |heard: BTreeMap<u64, u32>| heard.into_keys().filter(|place| *place > 1).collect::<Vec<_>>();
    assert_eq!((kept(events), kept(commands)), (vec![2, 3, 4], vec![2, 3]));
}

/// The real broker does so, too, if it is killed within a tenth of a second: too short to be forced.
#[tokio::test(start_paused = true)]
async fn in_the_simulation_a_crash_undoes_what_was_acknowledged_a_moment_ago() {
    for seed in 0..SEEDS {
        let broker = Simulated::new(seed);
        in_the_middle(&broker).await;
        broker.crash().await;
        broker.start().await;
        let (events, commands) = heard_afterwards(&broker).await;
        assert_eq!(events, [(1, 1), (2, 1), (3, 1), (4, 1)].into());
        assert_eq!(commands, [(1, 1), (2, 1), (3, 1)].into());
    }
}

/// Of four events one was not brought yet, and of three commands, and the first of either was acknowledged.
async fn in_the_middle(broker: &dyn Broker) -> Vec<Record> {
    let events = published(broker, "order", 4).await;
    let mut worker = broker.worker().await;
    for n in 1..=3 {
        broker.queue(id(n)).await.unwrap();
    }
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    let (heard, taken) = (ear.take(3).await, worker.take(2).await);
    acknowledge(&*heard[0]).await;
    acknowledge(&*taken[0]).await;
    // An acknowledgement is not answered, and may still be on its way.
    eventually("both have arrived", async || broker.unacknowledged().await == 3).await;
    events
}

/// What is brought of events and of commands, each at once acknowledged, and how often it was brought.
async fn heard_afterwards(broker: &dyn Broker) -> (BTreeMap<u64, u32>, BTreeMap<u64, u32>) {
    let until = Instant::now() + ACK_WAIT + LATE;
    let mut ear = broker.subscriber("order", "reader", &["thing"]).await;
    let mut worker = broker.worker().await;
    join!(heard(&mut *ear, until), heard(&mut *worker, until))
}

async fn heard(ear: &mut dyn Ear, until: Instant) -> BTreeMap<u64, u32> {
    let mut heard = BTreeMap::new();
    while let Some(message) = ear.within(until.duration_since(Instant::now())).await {
        let before = heard.insert(sequence(&*message), times(&*message));
        assert_eq!(before, None, "it was acknowledged");
        acknowledge(&*message).await;
    }
    heard
}
