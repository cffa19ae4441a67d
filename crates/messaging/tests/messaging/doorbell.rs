//! The bell of those who watch a key.

use std::pin::pin;
use std::time::Duration;

use async_nats::RequestErrorKind;
use bytes::Bytes;
use event::{Id, Key};
use futures::StreamExt as _;
use millrace_messaging::{Broker, Client, Streams, connect, reached, rings};
use testkit::{NatsServer, eventually, within};

async fn client(server: &NatsServer) -> (Client, Streams) {
    let broker = Broker { url: server.url(), namespace: "ns".to_owned(), replicas: 1 };
    let client = connect(&broker, "test").await.unwrap();
    reached(&client, &broker.url, Duration::from_secs(10)).await.unwrap();
    (client.clone(), Streams::new(client, &broker))
}

fn key(n: u8) -> Key {
    Key::new("order", Id::timed(u64::from(n), [n; 10]))
}

fn subject(key: &Key) -> String {
    format!("ns.evt.order.order.order-created.{}", key.id())
}

/// Whether anybody listens there: the broker itself says if nobody does.
async fn is_listened_to(client: &Client, subject: String) -> bool {
    let asked = tokio::time::timeout(Duration::from_millis(100), client.request(subject, Bytes::new())).await;
    !matches!(asked, Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders)
}

#[tokio::test]
async fn it_rings_for_its_key_whoever_publishes_and_not_for_others() {
    let server = NatsServer::start().await;
    let ((_, watching), (other, _)) = (client(&server).await, client(&server).await);
    let mut rings = pin!(rings(&watching, "order", &key(1)).await);
    eventually("the bell is hung", async || is_listened_to(&other, subject(&key(1))).await).await;
    // Asking whether it is hung rang it.
    while tokio::time::timeout(Duration::from_millis(50), rings.next()).await.is_ok() {}
    other.publish(subject(&key(2)), Bytes::new()).await.unwrap();
    other.publish(subject(&key(1)), Bytes::new()).await.unwrap();
    assert_eq!(rings.next().await, Some(()));
    assert!(tokio::time::timeout(Duration::from_millis(50), rings.next()).await.is_err(), "it rang for another key");
}

#[tokio::test]
async fn it_hangs_there_only_while_somebody_watches() {
    let server = NatsServer::start().await;
    let ((_, watching), (other, _)) = (client(&server).await, client(&server).await);
    assert!(!is_listened_to(&other, subject(&key(1))).await);
    let rings = rings(&watching, "order", &key(1)).await;
    eventually("the bell is hung", async || is_listened_to(&other, subject(&key(1))).await).await;
    drop(rings);
    eventually("the bell is gone", async || !is_listened_to(&other, subject(&key(1))).await).await;
}

#[tokio::test]
async fn it_rings_again_once_the_broker_is_back() {
    let server = NatsServer::start().await;
    let ((_, watching), (other, _)) = (client(&server).await, client(&server).await);
    server.kill();
    let mut rings = pin!(rings(&watching, "order", &key(1)).await);
    server.restart().await;
    within(Duration::from_secs(20), "it rings", async || {
        let _ = other.publish(subject(&key(1)), Bytes::new()).await;
        tokio::time::timeout(Duration::from_millis(100), rings.next()).await.is_ok()
    })
    .await;
}
