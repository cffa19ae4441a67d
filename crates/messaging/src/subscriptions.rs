use std::sync::Arc;
use std::time::Duration;

use event::{Record, headers};
use ledger::{Delivery, EventDelivery, Input, Ledger, Means, Outcome};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::consume::{Held, consume};
use crate::lanes::outcome;
use crate::spans::process_event;
use crate::{Broker, Lanes, Streams, Tasks};

/// How often it is looked whether this version of the code owns the subscription.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long the stream may take to bring a revision that is missing, before it is read from the owner's log.
const GAP_WAIT: Duration = Duration::from_millis(250);

/// Brings the events of one domain to the lanes, for one subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionLoop {
    /// The subscription's name.
    pub name: &'static str,
    /// The service's name. With the subscription's it names the consumer, which all instances share.
    pub service: String,
    pub domain: String,
    pub aggregates: Vec<&'static str>,
    pub broker: Broker,
    pub lanes: Lanes,
    pub ledger: Ledger,
}

impl SubscriptionLoop {
    /// Runs until told to stop. What was taken from the stream by then is finished by `tasks`.
    pub async fn run(self, streams: Streams, stop: CancellationToken, tasks: Tasks) {
        let this = Arc::new(self);
        let group = this.group();
        let open = || streams.subscriber(&this.domain, &group, &this.aggregates);
        while let Some(()) = stop.run_until_cancelled(this.owned(true)).await {
            let lost = stop.child_token();
            let consuming = consume(&group, &lost, open, |held| {
                let (this, tasks) = (Arc::clone(&this), tasks.clone());
                async move {
                    if let Some(settled) = this.take(held).await {
                        tasks.spawn(settled);
                    }
                }
            });
            let watching = async {
                this.owned(false).await;
                tracing::info!(subscription = this.name, "another version of the code has taken the subscription over");
                lost.cancel();
                std::future::pending::<()>().await;
            };
            // Consuming ends by itself once it is told that the subscription is lost, or to stop.
            tokio::select! { biased;
                () = consuming => {}
                () = watching => {}
            }
        }
    }

    /// Waits until this version of the code owns the subscription, or owns it no longer.
    async fn owned(&self, owned: bool) {
        while self.ledger.owned(self.name) != owned {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The name of the consumer.
    pub fn group(&self) -> String {
        format!("{}_{}", self.service, self.name)
    }

    /// Puts an event into its lane. What is left, waiting for what becomes of it and telling the broker, is for a task of its own.
    pub async fn take(self: Arc<Self>, held: Held) -> Option<impl Future<Output = ()> + Send + use<>> {
        held.has_come().await;
        let record = match headers::read(|name| held.header(name), held.message.payload()) {
            Ok(record) => record,
            Err(error) => {
                meter::UNREADABLE.counter(&[self.name]).increment(1);
                // Whoever published this is no service of ours; the owner's log has nothing of it.
                tracing::error!(%error, subject = held.message.subject(), "what came as an event is none, and was dropped");
                held.ack().await;
                return None;
            }
        };
        let delivery = self.delivery(&held, record, Means::Stream);
        let receiver = self.lanes.enqueue(delivery.clone()).await;
        let span = delivery.span.clone();
        let settled = async move {
            let outcome = match outcome(receiver).await {
                Outcome::Gap => {
                    tokio::time::sleep(GAP_WAIT).await;
                    self.lanes.submit(late(delivery)).await
                }
                outcome => outcome,
            };
            settle(held, outcome).await;
        };
        Some(settled.instrument(span))
    }

    fn delivery(&self, held: &Held, record: Record, means: Means) -> Delivery {
        let span = process_event(&self.broker.namespace, &self.group(), &record, held.delivery(&self.broker));
        trace::go_on(&span, &held.trace());
        let input = Input::Event(EventDelivery { subscription: self.name, record: Arc::new(record), means });
        Delivery { input, delivered: held.delivered(), span }
    }
}

fn late(mut delivery: Delivery) -> Delivery {
    if let Input::Event(event) = &mut delivery.input {
        event.means = Means::StreamLate;
    }
    delivery
}

async fn settle(held: Held, outcome: Outcome) {
    match outcome {
        Outcome::GivenBack { delay, reason } => {
            tracing::debug!(reason, "an event was given back");
            held.give_back(delay).await;
        }
        Outcome::Stranger => {
            tracing::warn!(subject = held.message.subject(), "an event of another log was dropped");
            held.ack().await;
        }
        // Applied, or noted: what waits is read from the owner's log, so the stream need not keep it for us.
        _ => held.ack().await,
    }
}
