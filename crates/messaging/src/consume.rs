//! Pulling from a consumer, for ever, whatever the broker does meanwhile.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{Config as PullConfig, Stream as Messages};
use event::{TraceContext, headers};
use fault::{Point, Protection, reach, without};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use trace::span::Delivered;

use crate::Broker;
use crate::streams::{StreamError, WINDOW};
use crate::wire::Brought;

/// Between two attempts to have a consumer.
const RETRY: Duration = Duration::from_millis(500);
/// A pull asks for so many messages at most, waits so long, and hears from the server as often meanwhile.
const PULL: usize = 256;
const PULL_EXPIRES: Duration = Duration::from_secs(10);
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);

/// A message that holds its place in the window until it is settled.
#[derive(Debug)]
pub struct Held {
    pub(crate) message: Box<dyn Brought>,
    place: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// A message that takes no place: whoever brings it knows by itself how many there are.
    pub fn by_hand(message: impl Brought + 'static) -> Self {
        Self { message: Box::new(message), place: None }
    }

    /// Says that the message has arrived where it is taken in. Nothing of it is done yet, so the broker is not told.
    pub(crate) async fn has_come(&self) {
        if without(Protection::AcknowledgeAfterCommit) {
            self.message.settle(None).await;
        }
    }

    pub(crate) fn delivered(&self) -> u32 {
        self.message.origin().map_or(1, |(_, _, times)| times)
    }

    /// Where the broker had it, and how often it has brought it.
    pub(crate) fn delivery<'d>(&'d self, broker: &'d Broker) -> Option<Delivered<'d>> {
        let (stream, sequence, times) = self.message.origin()?;
        Some(Delivered { server: &broker.url, stream, sequence, times: u64::from(times) })
    }

    /// The context in which it was published.
    pub(crate) fn trace(&self) -> TraceContext {
        let text = |name| self.header(name).unwrap_or_default().to_owned();
        TraceContext { traceparent: text(headers::TRACEPARENT), tracestate: text(headers::TRACESTATE) }
    }

    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.message.header(name)
    }

    /// Plain, after the commit. A lost acknowledgement is a redelivery, and that a duplicate.
    pub(crate) async fn ack(self) {
        reach(Point::BeforeAcknowledgement).await;
        self.message.settle(None).await;
        reach(Point::AfterAcknowledgement).await;
    }

    /// Gives the message back for a while, and its place to the next one: whoever put it there may have put many.
    pub(crate) async fn set_aside(self, delay: Duration) {
        self.message.settle(Some(delay)).await;
    }

    /// Gives the message back for a while. Its place stays taken that long, so that a service whose database is away pulls no more.
    pub(crate) async fn give_back(self, delay: Duration) {
        self.message.settle(Some(delay)).await;
        if let Some(place) = self.place {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                drop(place);
            });
        }
    }
}

/// Gives every message to `on`, in the order in which they come, until told to stop. At most [`WINDOW`] are held at once.
pub(crate) async fn consume<Open, Opening, On, Taking>(name: &str, stop: &CancellationToken, open: Open, mut on: On)
where
    Open: Fn() -> Opening + Send + Sync,
    Opening: Future<Output = Result<Consumer<PullConfig>, StreamError>> + Send,
    On: FnMut(Held) -> Taking + Send,
    Taking: Future<Output = ()> + Send,
{
    let window = Arc::new(Semaphore::new(WINDOW));
    loop {
        let opened = stop.run_until_cancelled(async {
            let consumer = open().await?;
            let pulls = consumer.stream().max_messages_per_batch(PULL).expires(PULL_EXPIRES).heartbeat(PULL_HEARTBEAT);
            pulls.messages().await.map_err(StreamError::new)
        });
        let pulled = match opened.await {
            Some(Ok(messages)) => pull(messages, stop, &window, &mut on).await,
            Some(Err(error)) => Err(error),
            None => return,
        };
        if let Err(error) = pulled {
            tracing::debug!(name, %error, "pulling broke off; beginning again");
        }
        if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

/// Until told to stop, or something breaks off. What was pulled by then and not begun is given back, so that another instance need not wait.
async fn pull<On, Taking>(
    mut messages: Messages,
    stop: &CancellationToken,
    window: &Arc<Semaphore>,
    on: &mut On,
) -> Result<(), StreamError>
where
    On: FnMut(Held) -> Taking + Send,
    Taking: Future<Output = ()> + Send,
{
    loop {
        let next = stop.run_until_cancelled(async {
            let place = Arc::clone(window).acquire_owned().await.map_err(StreamError::new)?;
            Ok((place, messages.next().await))
        });
        match next.await.transpose()? {
            Some((place, Some(message))) => {
                let message = Box::new(message.map_err(StreamError::new)?);
                on(Held { message, place: Some(place) }).await;
            }
            Some((_, None)) => return Ok(()),
            None => break,
        }
    }
    while let Some(Some(Ok(message))) = messages.next().now_or_never() {
        message.settle(Some(Duration::ZERO)).await;
    }
    Ok(())
}
