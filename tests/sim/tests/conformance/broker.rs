//! A broker, as far as the suite asks one, and the words in which it asks.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use event::{History, Id, Key, Micros, Record, TraceContext, headers};
use futures::future::BoxFuture;
use messaging::queue::QueueError;
use messaging::{Brought, Wire};
use proto::command::v1::DeliverResponse;
use uuid::Uuid;

/// A method, whose commands wait in the queue of [`OWNER`].
pub(crate) const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";
pub(crate) const OWNER: &str = "order";
/// What production tells JetStream to wait for an acknowledgement.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(10);
/// What is there is brought by then, on any machine. Less than [`ACK_WAIT`]: what is brought was not brought by that.
const SOON: Duration = Duration::from_secs(8);
/// What was not brought by then is not there. A broker that is slower than this passes a test that it should not; none fails for it.
const QUIET: Duration = Duration::from_millis(400);

#[async_trait(?Send)]
pub(crate) trait Broker {
    /// The side of the owners.
    fn wire(&self) -> &dyn Wire;

    /// Where all subjects and streams begin.
    fn namespace(&self) -> &str;

    /// What an instance of a subscription hears. Its consumer is made, if it is not there.
    async fn subscriber(&self, domain: &str, name: &str, aggregates: &[&str]) -> Box<dyn Ear>;

    /// What an instance of [`OWNER`] hears of its queue. Queue and consumer are made, if they are not there.
    async fn worker(&self) -> Box<dyn Ear>;

    /// Puts a command into the queue, as the gateway does.
    async fn queue(&self, id: Id) -> Result<(), QueueError>;

    /// Somewhere to send what a command came to, and what arrives there.
    async fn expect_reply(&self) -> (String, BoxFuture<'static, DeliverResponse>);

    /// Puts something on the stream of a domain's events that is none.
    async fn litter(&self, domain: &str);

    /// Loses one message of a stream.
    async fn lose(&self, stream: &str, sequence: u64);

    /// How many messages were brought to somebody, and not acknowledged, as far as the broker knows.
    async fn unacknowledged(&self) -> usize;

    /// Forgets how far consumers are.
    async fn delete_consumers(&self);

    /// Loses all streams.
    async fn delete_streams(&self);

    /// Goes away, in good order.
    async fn stop(&self);

    /// Goes away as it is.
    async fn crash(&self);

    /// Comes back on the same disk.
    async fn start(&self);
}

/// What one instance hears from a consumer.
#[async_trait(?Send)]
pub(crate) trait Ear {
    /// The next that it is brought within a time.
    async fn within(&mut self, limit: Duration) -> Option<Box<dyn Brought>>;
}

impl dyn Ear {
    /// What must be there.
    pub(crate) async fn next(&mut self) -> Box<dyn Brought> {
        self.within(SOON).await.expect("something is brought")
    }

    /// So many that must be there, in the order in which they come; none is acknowledged.
    pub(crate) async fn take(&mut self, many: usize) -> Vec<Box<dyn Brought>> {
        let mut taken = Vec::new();
        while taken.len() < many {
            taken.push(self.next().await);
        }
        taken
    }

    /// Waits long enough to know that nothing is there.
    pub(crate) async fn hears_nothing(&mut self) {
        let heard = self.within(QUIET).await;
        assert!(heard.is_none(), "{heard:?} was brought");
    }
}

/// Where the broker has a message.
pub(crate) fn sequence(message: &dyn Brought) -> u64 {
    message.origin().expect("it is on a stream").1
}

/// How often it was brought.
pub(crate) fn times(message: &dyn Brought) -> u32 {
    message.origin().expect("it is on a stream").2
}

/// The event in a message.
pub(crate) fn event_in(message: &dyn Brought) -> Record {
    headers::read(|name| message.header(name), message.payload()).expect("an event")
}

pub(crate) async fn acknowledge(message: &dyn Brought) {
    message.settle(None).await;
}

/// The nth event of a domain: it is of an aggregate of its own. A domain for each case: so cases can share a broker.
pub(crate) fn event(domain: &str, n: u8) -> Record {
    event_of(domain, "thing", n)
}

pub(crate) fn event_of(domain: &str, aggregate: &'static str, n: u8) -> Record {
    Record {
        id: Uuid::from_u128(u128::from(n) + 1),
        source: id(0xee),
        key: Key::new(aggregate, id(n)),
        epoch: 3,
        revision: 1,
        history: History::default(),
        type_name: format!("millrace.{domain}.v1.ThingHappened"),
        body: Bytes::from(vec![n; 3]),
        time: Micros(1_700_000_000_000_000),
        principal: "service/test".to_owned(),
        command_id: None,
        cause_id: None,
        trace: TraceContext::default(),
    }
}

pub(crate) fn id(n: u8) -> Id {
    Id::timed(1, [n; 10])
}

/// Makes the stream of a domain, and publishes the first so many of its events.
pub(crate) async fn published(broker: &dyn Broker, domain: &str, many: u8) -> Vec<Record> {
    broker.wire().ensure_events(domain).await.unwrap();
    let events: Vec<_> = (1..=many).map(|n| event(domain, n)).collect();
    for event in &events {
        broker.wire().publish(event.clone()).await.unwrap();
    }
    events
}
