//! A hand at the broker: what an intruder, an accident or the broker itself may do to the streams.

use async_nats::HeaderMap;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, Stream};
use bytes::Bytes;
use testkit::{eventually, eventually_some};

use crate::shop::TestShop;

/// The events and commands of one domain.
pub(crate) struct Wire {
    context: Context,
}

pub(crate) const ORDER_EVENTS: &str = "test_evt_order";
pub(crate) const ORDER_COMMANDS: &str = "test_cmd_order";

impl Wire {
    pub(crate) async fn of(shop: &TestShop) -> Self {
        Self { context: async_nats::jetstream::new(async_nats::connect(shop.nats.url()).await.unwrap()) }
    }

    /// A stream, once its owner has made it.
    pub(crate) async fn stream(&self, name: &str) -> Stream {
        eventually_some(name, async || self.context.get_stream(name).await.ok()).await
    }

    /// Stores a message, whoever it is from.
    pub(crate) async fn put(&self, subject: &str, headers: HeaderMap, body: impl Into<Bytes>) {
        let stored = self.context.publish_with_headers(subject.to_owned(), headers, body.into()).await.unwrap();
        stored.await.unwrap();
    }

    /// The newest message of a subject, once it is there.
    pub(crate) async fn message(&self, stream: &str, subject: &str) -> StreamMessage {
        let stream = self.stream(stream).await;
        eventually_some(subject, async || stream.get_last_raw_message_by_subject(subject).await.ok()).await
    }

    /// Takes it away before anybody reads it.
    pub(crate) async fn lose(&self, stream: &str, subject: &str) {
        let message = self.message(stream, subject).await;
        assert!(self.stream(stream).await.delete_message(message.sequence).await.unwrap());
    }

    /// Waits until nothing is left of a subject.
    pub(crate) async fn is_gone(&self, stream: &str, subject: &str) {
        let stream = self.stream(stream).await;
        eventually(&format!("{subject} is taken from its queue"), async || {
            stream.get_last_raw_message_by_subject(subject).await.is_err()
        })
        .await;
    }

    /// All messages of a stream, in their order.
    pub(crate) async fn messages(&self, stream: &str) -> Vec<StreamMessage> {
        let mut stream = self.stream(stream).await;
        let state = stream.info().await.unwrap().state.clone();
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            messages.extend(stream.get_raw_message(sequence).await);
        }
        messages
    }

    /// Changes what a stream holds at most.
    pub(crate) async fn limit(&self, stream: &str, change: impl FnOnce(&mut Config)) {
        let mut stream = self.stream(stream).await;
        let mut config = stream.info().await.unwrap().config.clone();
        change(&mut config);
        self.context.update_stream(&config).await.unwrap();
    }

    /// As the loss of the broker's memory does. A consumer is made when its stream is there, which may take a moment.
    pub(crate) async fn forget_consumer(&self, stream: &str, consumer: &str) {
        let stream = self.stream(stream).await;
        eventually(&format!("{consumer} is forgotten"), async || stream.delete_consumer(consumer).await.is_ok()).await;
    }
}

/// The headers of a message that the broker shall take for another: without what tells it that it has this one already.
pub(crate) fn headers_of_a_copy(message: &StreamMessage) -> HeaderMap {
    let mut copy = HeaderMap::new();
    for (name, values) in message.headers.iter().filter(|(name, _)| !AsRef::<str>::as_ref(name).starts_with("Nats-")) {
        for value in values {
            copy.append(name.clone(), value.clone());
        }
    }
    copy
}

/// Where an order's event is.
pub(crate) fn order_event(event: &str, order_id: &str) -> String {
    format!("test.evt.order.order.{event}.{order_id}")
}
