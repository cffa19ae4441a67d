//! A nats-server, with the streams and the consumers that production makes on it.

use std::time::Duration;

use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::Context;
use async_trait::async_trait;
use bytes::Bytes;
use event::{Id, subject};
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use messaging::queue::{Command, Queue, QueueError};
use messaging::{Broker as Address, Brought, Client, Streams, Wire};
use prost::Message as _;
use proto::command::v1::DeliverResponse;
use testkit::{NatsServer, eventually};

use crate::broker::{Broker, Ear, METHOD, OWNER};

const NAMESPACE: &str = "real";

pub(crate) struct JetStream {
    server: NatsServer,
    client: Client,
    streams: Streams,
    queue: Queue,
    /// What production does not do, and an operator or a disk does.
    context: Context,
}

impl JetStream {
    pub(crate) async fn start() -> Self {
        let server = NatsServer::start().await;
        let address = Address { url: server.url(), namespace: NAMESPACE.to_owned(), replicas: 1 };
        let client = messaging::connect(&address, "test").await.unwrap();
        messaging::reached(&client, &address.url, Duration::from_secs(10)).await.unwrap();
        let (queue, _) = Queue::open(client.clone(), &address).await.unwrap();
        let context = async_nats::jetstream::new(client.clone());
        Self { server, streams: Streams::new(client.clone(), &address), client, queue, context }
    }

    async fn stream_names(&self) -> Vec<String> {
        self.context.stream_names().try_collect().await.unwrap()
    }
}

#[async_trait(?Send)]
impl Broker for JetStream {
    fn wire(&self) -> &dyn Wire {
        &self.streams
    }

    fn namespace(&self) -> &str {
        NAMESPACE
    }

    async fn subscriber(&self, domain: &str, name: &str, aggregates: &[&str]) -> Box<dyn Ear> {
        Box::new(JetStreamEar(self.streams.subscriber(domain, name, aggregates).await.unwrap()))
    }

    async fn worker(&self) -> Box<dyn Ear> {
        Box::new(JetStreamEar(self.streams.worker(OWNER).await.unwrap()))
    }

    async fn queue(&self, id: Id) -> Result<(), QueueError> {
        let command = Command {
            method: METHOD.to_owned(),
            id,
            seal: "seal".to_owned(),
            key: None,
            consistency_token: None,
            body: Bytes::from_static(b"body"),
        };
        self.queue.publish(command, &self.queue.expect_reply()).await
    }

    async fn expect_reply(&self) -> (String, BoxFuture<'static, DeliverResponse>) {
        let to = self.client.new_inbox();
        let mut replies = self.client.subscribe(to.clone()).await.unwrap();
        self.client.flush().await.unwrap();
        let reply = async move {
            let message = replies.next().await.expect("a reply arrives");
            DeliverResponse::decode(message.payload).expect("an outcome")
        };
        (to, reply.boxed())
    }

    async fn litter(&self, domain: &str) {
        let subject = subject::of_events(NAMESPACE, domain).replace('>', "litter");
        self.context.publish(subject, Bytes::new()).await.unwrap().await.unwrap();
    }

    async fn lose(&self, stream: &str, sequence: u64) {
        let deleted = self.context.get_stream(stream).await.unwrap().delete_message(sequence).await.unwrap();
        assert!(deleted, "it was there");
    }

    async fn unacknowledged(&self) -> usize {
        let mut count = 0;
        for name in self.stream_names().await {
            let stream = self.context.get_stream(name).await.unwrap();
            let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
            count += consumers.iter().map(|consumer| consumer.num_ack_pending).sum::<usize>();
        }
        count
    }

    async fn delete_consumers(&self) {
        for name in self.stream_names().await {
            let stream = self.context.get_stream(name).await.unwrap();
            let consumers: Vec<_> = stream.consumer_names().try_collect().await.unwrap();
            for consumer in consumers {
                stream.delete_consumer(&consumer).await.unwrap();
            }
        }
    }

    async fn delete_streams(&self) {
        for name in self.stream_names().await {
            self.context.delete_stream(name).await.unwrap();
        }
    }

    async fn stop(&self) {
        self.server.stop().await;
        eventually("the client has noticed", async || !self.streams.is_connected()).await;
    }

    async fn crash(&self) {
        // What was sent is there. It need not have been written.
        self.client.flush().await.unwrap();
        self.server.kill();
        eventually("the client has noticed", async || !self.streams.is_connected()).await;
    }

    async fn start(&self) {
        self.server.restart().await;
        eventually("the client is back", async || self.streams.is_connected()).await;
        eventually("its streams are there", async || self.context.query_account().await.is_ok()).await;
    }
}

struct JetStreamEar(Consumer<pull::Config>);

#[async_trait(?Send)]
impl Ear for JetStreamEar {
    async fn within(&mut self, limit: Duration) -> Option<Box<dyn Brought>> {
        let mut pulled = self.0.batch().max_messages(1).expires(limit).messages().await.unwrap();
        Some(Box::new(pulled.next().await?.unwrap()))
    }
}
