use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Id, headers, subject};
use futures::future::BoxFuture;
use ledger::{Delivery, Input, Outcome};
use proto::Message as _;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::consume::{Held, consume};
use crate::lanes::outcome;
use crate::spans;
use crate::{Broker, Lanes, Streams, Tasks, Wire, reply};

/// Brings a domain's commands from their queue to the lanes, and their outcomes to whoever waits.
pub struct CommandLoop {
    pub domain: String,
    pub broker: Broker,
    pub wire: Arc<dyn Wire>,
    pub lanes: Lanes,
    /// Verifies the seal, and does what must be done before the lane.
    pub intake: Arc<dyn Fn(Incoming) -> BoxFuture<'static, Intake> + Send + Sync>,
}

/// A command as it comes from the queue: not verified yet.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The kebab name of the method, from the subject. The seal must say the same.
    pub method: String,
    /// From the subject. The seal must say the same.
    pub id: Option<Id>,
    pub seal: String,
    /// The id of the aggregate that it is about; empty: its own.
    pub key: String,
    /// What must be here before it is begun; empty: nothing.
    pub consistency_token: String,
    pub body: Bytes,
    pub delivered: u32,
    pub span: Span,
}

/// What is to be done with an incoming command.
#[derive(Debug)]
pub enum Intake {
    Deliver(Box<Delivery>),
    /// Nothing, ever: its seal is wrong. It stops nobody.
    Drop(String),
    /// It cannot be judged yet: its key or its method is not known here. It stops nobody either.
    SetAside {
        delay: Duration,
        reason: String,
    },
    /// What its sender has seen is not here yet, or the command that it is to follow has not ended. It stops nobody.
    Wait {
        delay: Duration,
    },
    /// This service cannot do it now.
    GiveBack {
        delay: Duration,
        reason: String,
    },
}

impl std::fmt::Debug for CommandLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "commands of {}", self.domain)
    }
}

impl CommandLoop {
    /// Runs until told to stop. What was taken from the queue by then is finished by `tasks`.
    pub async fn run(self, streams: Streams, stop: CancellationToken, tasks: Tasks) {
        let this = Arc::new(self);
        let open = || streams.worker(&this.domain);
        consume(&this.domain, &stop, open, |held| {
            // No order is promised between commands in flight: what one of them waits for keeps nobody else, and what they look up they look
            // up together.
            tasks.spawn(Arc::clone(&this).take(held));
            std::future::ready(())
        })
        .await;
    }

    /// Carries a command out, and tells the broker what became of it.
    pub async fn take(self: Arc<Self>, held: Held) {
        held.has_come().await;
        let incoming = self.read(&held);
        let span = incoming.span.clone();
        match (self.intake)(incoming).instrument(span.clone()).await {
            Intake::Deliver(delivery) => {
                let Input::Command(command) = &delivery.input else { return };
                let (method, id) = (command.method.clone(), command.id);
                let reply_to = held.header(headers::REPLY).map(str::to_owned);
                let receiver = self.lanes.enqueue(*delivery).await;
                let settled = async {
                    let outcome = outcome(receiver).await;
                    settle(&*self.wire, held, reply_to, (&self.domain, &method, id), &outcome).await;
                };
                settled.instrument(span).await;
            }
            Intake::Drop(reason) => {
                meter::COMMANDS_DROPPED.counter(&[]).increment(1);
                trace::span::record_outcome(&span, "dropped");
                span.in_scope(|| tracing::error!(reason, subject = held.message.subject(), "a command was dropped"));
                held.ack().await;
            }
            Intake::SetAside { delay, reason } => {
                trace::span::record_outcome(&span, "given_back");
                span.in_scope(|| tracing::warn!(reason, subject = held.message.subject(), "a command was set aside"));
                held.set_aside(delay).await;
            }
            Intake::Wait { delay } => {
                trace::span::record_outcome(&span, "given_back");
                held.set_aside(delay).await;
            }
            Intake::GiveBack { delay, reason } => {
                trace::span::record_outcome(&span, "given_back");
                span.in_scope(|| tracing::warn!(reason, subject = held.message.subject(), "a command was given back"));
                held.give_back(delay).await;
            }
        }
    }

    /// The consumer has the domain's name.
    fn span(&self, held: &Held, method: &str, id: &str) -> Span {
        if !trace::span::somebody_looks() {
            return trace::span::unseen(Some(id), None::<Id>);
        }
        let template = format!("{}.cmd.{}.{method}", subject::NAMESPACE, self.domain);
        let message = spans::of_command(&template, held.message.subject(), id);
        trace::span::process(&message, &self.domain, held.delivery(&self.broker))
    }

    fn read(&self, held: &Held) -> Incoming {
        let text = |name| held.header(name).unwrap_or_default().to_owned();
        let mut parts = held.message.subject().rsplit('.');
        let (id, method) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let span = self.span(held, method, id);
        trace::go_on(&span, &held.trace());
        Incoming {
            method: method.to_owned(),
            id: id.parse().ok(),
            seal: text(headers::SEAL),
            key: text(headers::KEY),
            consistency_token: text(headers::CONSISTENCY_TOKEN),
            body: held.message.payload(),
            delivered: held.delivered(),
            span,
        }
    }
}

async fn settle(
    wire: &dyn Wire,
    held: Held,
    reply_to: Option<String>,
    (owner, method, id): (&str, &str, Id),
    outcome: &Outcome,
) {
    match outcome {
        Outcome::Ended(ended) => {
            if let Some(reply_to) = reply_to {
                let response = reply::response(owner, method, id, ended).encode_to_vec();
                // A lost reply costs nothing: the receipt says the same.
                wire.reply(reply_to, response.into()).await;
            }
            held.ack().await;
        }
        Outcome::GivenBack { delay, reason } => {
            tracing::debug!(method, reason, "a command was given back");
            held.give_back(*delay).await;
        }
        other => tracing::error!(method, ?other, "a command came to what only events come to"),
    }
}
