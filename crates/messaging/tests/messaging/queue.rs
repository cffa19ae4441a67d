//! The gateway's side of the queue, against a real nats-server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use bytes::Bytes;
use event::{History, Id, Key, Micros, Record, TraceContext, headers, subject};
use futures::StreamExt as _;
use millrace_messaging::queue::{Command, Queue, QueueError};
use millrace_messaging::{Broker, Client, Streams, Wire as _};
use proto::Message as _;
use proto::command::v1::{DeliverResponse, Receipt};
use testkit::{NatsServer, eventually};
use uuid::Uuid;

const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";

struct World {
    server: NatsServer,
    client: Client,
    streams: Streams,
    queue: Queue,
}

impl World {
    async fn new() -> Self {
        let server = NatsServer::start().await;
        let broker = Broker { url: server.url(), namespace: "ns".to_owned(), replicas: 1 };
        let client = millrace_messaging::connect(&broker, "test").await.unwrap();
        millrace_messaging::reached(&client, &broker.url, Duration::from_secs(10)).await.unwrap();
        let (queue, replies) = Queue::open(client.clone(), &broker).await.unwrap();
        tokio::spawn(replies.run());
        Self { server, streams: Streams::new(client.clone(), &broker), client, queue }
    }

    async fn with_queue() -> Self {
        let world = Self::new().await;
        world.streams.ensure_commands("order").await.unwrap();
        world
    }

    async fn publish(&self, command: Command) -> Result<(), QueueError> {
        self.queue.publish(command, &self.queue.expect_reply()).await
    }

    /// Takes what is queued, as an owner does.
    async fn take(&self) -> jetstream::Message {
        let stream = jetstream::new(self.client.clone()).get_stream("ns_cmd_order").await.unwrap();
        let config = pull::Config { durable_name: Some("order".to_owned()), ..pull::Config::default() };
        let consumer = stream.get_or_create_consumer("order", config).await.unwrap();
        consumer.stream().max_messages_per_batch(1).messages().await.unwrap().next().await.unwrap().unwrap()
    }
}

fn command(n: u8) -> Command {
    Command {
        method: METHOD.to_owned(),
        id: Id::timed(1, [n; 10]),
        seal: "seal".to_owned(),
        key: Some(Id::timed(2, [2; 10])),
        consistency_token: Some("token".to_owned()),
        body: Bytes::from_static(b"body"),
    }
}

#[tokio::test]
async fn a_command_is_stored_with_all_its_headers() {
    let world = World::with_queue().await;
    world.publish(command(1)).await.unwrap();
    let message = world.take().await;
    let header = |name| message.headers.as_ref().unwrap().get(name).map(async_nats::HeaderValue::as_str);
    assert_eq!(message.subject.as_str(), subject::of_command("ns", METHOD, command(1).id));
    assert_eq!(header(headers::SEAL), Some("seal"));
    assert_eq!(header(headers::KEY), Some(command(1).key.unwrap().to_string().as_str()));
    assert_eq!(header(headers::CONSISTENCY_TOKEN), Some("token"));
    assert!(header(headers::REPLY).is_some_and(|reply| reply.starts_with("_INBOX.test.")));
    assert_eq!(header("Nats-Msg-Id"), None, "or a retry of a done command would be swallowed");
    assert_eq!(message.payload, "body");
}

#[tokio::test]
async fn each_outcome_reaches_the_one_who_waits_for_it() {
    let world = World::with_queue().await;
    let (mut first, mut second) = (world.queue.expect_reply(), world.queue.expect_reply());
    world.queue.publish(command(1), &first).await.unwrap();
    world.queue.publish(command(2), &second).await.unwrap();
    for _ in 0..2 {
        let message = world.take().await;
        let reply = message.headers.as_ref().unwrap().get(headers::REPLY).unwrap().to_string();
        let command = message.subject.to_string();
        let outcome = DeliverResponse { receipt: Some(Receipt { command, ..Receipt::default() }), outcome: None };
        world.client.publish(reply, outcome.encode_to_vec().into()).await.unwrap();
        message.ack().await.unwrap();
    }
    let told = |outcome: DeliverResponse| outcome.receipt.unwrap().command;
    assert_eq!(told(second.outcome().await), subject::of_command("ns", METHOD, command(2).id));
    assert_eq!(told(first.outcome().await), subject::of_command("ns", METHOD, command(1).id));
}

#[tokio::test]
async fn a_copy_is_refused_while_the_first_waits_and_goes_in_once_it_is_done() {
    let world = World::with_queue().await;
    world.publish(command(1)).await.unwrap();
    assert_eq!(world.publish(command(1)).await, Err(QueueError::Copy));
    world.take().await.double_ack().await.unwrap();
    assert_eq!(world.publish(command(1)).await, Ok(()));
}

#[tokio::test]
async fn a_queued_command_is_found_until_it_is_done() {
    let world = World::with_queue().await;
    let find = async || world.queue.find(METHOD, command(1).id).await.unwrap();
    assert!(find().await.is_none());
    world.publish(command(1)).await.unwrap();
    let found = find().await.unwrap();
    assert_eq!((found.seal.as_str(), found.body.as_ref()), ("seal", &b"body"[..]));
    let taken = world.take().await;
    assert!(find().await.is_some(), "a command that is being done may still come back");
    taken.double_ack().await.unwrap();
    assert!(find().await.is_none());
}

#[tokio::test]
async fn without_a_stream_nothing_is_queued_and_nothing_goes_in() {
    let world = World::new().await;
    assert!(world.queue.find(METHOD, command(1).id).await.unwrap().is_none());
    assert_eq!(world.publish(command(1)).await, Err(QueueError::Unreachable));
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let world = World::new().await;
    let config = Config {
        name: "ns_cmd_order".to_owned(),
        subjects: vec!["ns.cmd.order.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: 1,
        ..Config::default()
    };
    jetstream::new(world.client.clone()).create_stream(config).await.unwrap();
    world.publish(command(1)).await.unwrap();
    assert_eq!(world.publish(command(2)).await, Err(QueueError::Full));
    let large = Command { body: vec![0; 2 << 20].into(), ..command(3) };
    assert_eq!(world.publish(large).await, Err(QueueError::TooLarge));
}

#[tokio::test]
async fn while_the_broker_is_away_nothing_is_promised_and_afterwards_everything_works() {
    let world = World::with_queue().await;
    world.server.kill();
    eventually("the loss of the broker is seen", async || {
        world.publish(command(1)).await == Err(QueueError::Unreachable)
    })
    .await;
    assert_eq!(world.queue.find(METHOD, command(1).id).await.unwrap_err(), QueueError::Unreachable);
    world.server.restart().await;
    eventually("the broker is back", async || world.publish(command(2)).await.is_ok()).await;
}

fn record(n: u8) -> Record {
    Record {
        id: Uuid::from_u128(u128::from(n)),
        source: Id::timed(1, [1; 10]),
        key: Key::new("session", Id::timed(2, [n; 10])),
        epoch: 1,
        revision: 1,
        history: History::default(),
        type_name: "millrace.registration.v1.LogoutSuccess".to_owned(),
        body: Bytes::new(),
        time: Micros(1),
        principal: "user/x".to_owned(),
        command_id: None,
        cause_id: None,
        trace: TraceContext::default(),
    }
}

#[tokio::test]
async fn a_feed_begins_with_what_was_published_and_outlives_the_broker() {
    let world = World::new().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    // Begun before there is a stream.
    let feed = world.queue.feed("registration", &["session", "signing-key"], Micros(0));
    tokio::spawn(feed.follow(move |record| note.lock().unwrap().push(record.id.as_u128())));
    world.streams.ensure_events("registration").await.unwrap();
    let publish = async |n| {
        let record = record(n);
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers::of(&record) {
            map.insert(name, value);
        }
        let context = jetstream::new(world.client.clone());
        let sent = context.publish_with_headers(subject::of_event("ns", &record), map, Bytes::new()).await.unwrap();
        sent.await.is_ok()
    };
    assert!(publish(1).await);
    eventually("the first event is read", async || seen.lock().unwrap().contains(&1)).await;
    world.server.kill();
    world.server.restart().await;
    eventually("the second event is published", async || publish(2).await).await;
    eventually("the second event is read", async || seen.lock().unwrap().contains(&2)).await;
}
