//! The queue of an owner's commands.

use std::time::Duration;

use event::{headers, subject};
use messaging::queue::QueueError;
use testkit::eventually;

use crate::broker::{Broker, METHOD, OWNER, acknowledge, id, sequence, times};

on_both!(
    a_command_is_brought_as_it_was_queued,
    a_copy_is_refused_while_the_first_waits_and_taken_again_once_that_is_done,
    an_acknowledged_command_leaves_the_queue,
    a_command_that_was_lost_can_be_queued_again,
    commands_are_shared_by_the_instances_of_their_owner,
    nothing_is_queued_where_no_queue_is,
);

async fn a_command_is_brought_as_it_was_queued(broker: &dyn Broker) {
    let mut ear = broker.worker().await;
    broker.queue(id(1)).await.unwrap();
    let message = ear.next().await;
    assert_eq!(message.subject(), subject::of_command(broker.namespace(), METHOD, id(1)));
    assert_eq!((message.header(headers::SEAL), &*message.payload()), (Some("seal"), &b"body"[..]));
    assert_eq!(message.origin(), Some((&*subject::command_stream(broker.namespace(), OWNER), 1, 1)));
}

async fn a_copy_is_refused_while_the_first_waits_and_taken_again_once_that_is_done(broker: &dyn Broker) {
    let mut ear = broker.worker().await;
    broker.queue(id(1)).await.unwrap();
    assert_eq!(broker.queue(id(1)).await, Err(QueueError::Copy));
    let brought = ear.next().await;
    assert_eq!(broker.queue(id(1)).await, Err(QueueError::Copy), "it is under way");
    brought.settle(Some(Duration::from_millis(300))).await;
    assert_eq!(broker.queue(id(1)).await, Err(QueueError::Copy), "it was given back");
    let again = ear.next().await;
    assert_eq!((sequence(&*again), times(&*again)), (1, 2));
    acknowledge(&*again).await;
    eventually("it is taken again", async || broker.queue(id(1)).await.is_ok()).await;
    let message = ear.next().await;
    assert_eq!((sequence(&*message), times(&*message)), (2, 1));
    ear.hears_nothing().await;
}

async fn an_acknowledged_command_leaves_the_queue(broker: &dyn Broker) {
    let mut ear = broker.worker().await;
    for n in 1..=3 {
        broker.queue(id(n)).await.unwrap();
    }
    let taken = ear.take(2).await;
    acknowledge(&*taken[1]).await;
    eventually("it is gone", async || broker.queue(id(2)).await.is_ok()).await;
    broker.delete_consumers().await;
    let mut ear = broker.worker().await;
    let left = ear.take(3).await;
    let subjects: Vec<_> = left.iter().map(|message| message.subject().to_owned()).collect();
    assert_eq!(subjects, [1, 3, 2].map(|n| subject::of_command(broker.namespace(), METHOD, id(n))));
    ear.hears_nothing().await;
}

async fn a_command_that_was_lost_can_be_queued_again(broker: &dyn Broker) {
    let mut ear = broker.worker().await;
    broker.queue(id(1)).await.unwrap();
    broker.lose(&subject::command_stream(broker.namespace(), OWNER), 1).await;
    ear.hears_nothing().await;
    broker.queue(id(1)).await.unwrap();
    assert_eq!(sequence(&*ear.next().await), 2);
}

async fn commands_are_shared_by_the_instances_of_their_owner(broker: &dyn Broker) {
    let (mut one, mut two) = (broker.worker().await, broker.worker().await);
    for n in 1..=4 {
        broker.queue(id(n)).await.unwrap();
    }
    let mut heard = Vec::new();
    for _ in 0..2 {
        for ear in [&mut one, &mut two] {
            heard.push(sequence(&*ear.next().await));
        }
    }
    assert_eq!(heard, [1, 2, 3, 4]);
    one.hears_nothing().await;
}

async fn nothing_is_queued_where_no_queue_is(broker: &dyn Broker) {
    assert_eq!(broker.queue(id(1)).await, Err(QueueError::Unreachable));
    broker.worker().await;
    broker.queue(id(1)).await.unwrap();
    broker.delete_streams().await;
    assert_eq!(broker.queue(id(1)).await, Err(QueueError::Unreachable));
}
